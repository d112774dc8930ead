//! ETRN: a host that was away asks for its mail.
//!
//! RFC 1985. The session checks the argument; what it starts is asked, as
//! [`ExtensionCommand`](crate::request::ExtensionCommand), because only whoever holds the queue knows what waits in it.
//! The mail then goes out over connections of our own making, to where the domain's MX points, so that whoever asks gains
//! nothing but the moment.

use super::{CommandLine, Course};
use crate::address::is_domain;
use crate::reply::{self, EnhancedCode, Reply};

/// The verb.
pub const VERB: &str = "ETRN";

/// What is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// Mail for this host.
    Host(&'a str),
    /// `@`: mail for this domain and all below it.
    Domain(&'a str),
    /// `#`: a queue by its name here.
    Queue(&'a str),
}

impl<'a> Node<'a> {
    /// Reads the command's argument; `None` when it is none.
    // RFC 1985 §5, RFC 1985 §5.3: a domain, or `@` and a domain, or `#` and a name.
    #[must_use]
    pub fn parse(argument: &'a str) -> Option<Node<'a>> {
        match argument.as_bytes() {
            [b'@', ..] => argument.get(1..).filter(|name| is_domain(name)).map(Node::Domain),
            [b'#', ..] => {
                let is_word =
                    |name: &&str| (1..=255).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_graphic());
                argument.get(1..).filter(is_word).map(Node::Queue)
            }
            _ => Some(argument).filter(|name| is_domain(name)).map(Node::Host),
        }
    }

    /// Whether mail for this domain is meant.
    #[must_use]
    pub fn matches(self, domain: &str) -> bool {
        match self {
            Node::Host(host) => host.eq_ignore_ascii_case(domain),
            Node::Domain(parent) => {
                let at = domain.len().checked_sub(parent.len());
                let tail = at.and_then(|at| domain.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(parent));
                let whole = at.is_some_and(|at| at == 0 || domain.as_bytes().get(at - 1) == Some(&b'.'));
                tail && whole
            }
            Node::Queue(_) => false,
        }
    }
}

/// The reply when so many messages were started.
// RFC 1985 §5.1: 251 nothing waits, 253 with the number of messages.
#[must_use]
pub fn started(messages: u64) -> Reply {
    match messages {
        0 => Reply::new(251, EnhancedCode::new(2, 0, 0), "No messages waiting"),
        messages => Reply::new(253, EnhancedCode::new(2, 0, 0), format!("{messages} pending messages started")),
    }
}

/// RFC 1985 §5.1: the queue can't be started now.
pub const UNABLE: Reply = reply::ETRN_UNABLE;
/// RFC 1985 §5.1: not for this node, or not by this client.
pub const NOT_ALLOWED: Reply = reply::ETRN_NOT_ALLOWED;

pub(super) fn command(line: &CommandLine<'_>) -> Course {
    if line.in_mail {
        return Course::Say(reply::IN_MAIL);
    }
    match Node::parse(line.arguments) {
        Some(_) => Course::Ask,
        None => Course::Say(reply::BAD_ARGUMENTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        assert_eq!(Node::parse("example.org"), Some(Node::Host("example.org")));
        assert_eq!(Node::parse("@example.org"), Some(Node::Domain("example.org")));
        assert_eq!(Node::parse("#uucp-1"), Some(Node::Queue("uucp-1")));
        for bad in ["", "@", "#", "#a b", "two words", "a@b", "@.org", "-x", "exam_ple;"] {
            assert_eq!(Node::parse(bad), None, "{bad:?}");
        }
        let domain = Node::Domain("example.org");
        assert!(domain.matches("EXAMPLE.org") && domain.matches("a.example.org"));
        assert!(!domain.matches("badexample.org") && !domain.matches("org") && !domain.matches(""));
        assert!(Node::Host("a.b").matches("A.B") && !Node::Host("b").matches("a.b"));
        assert_eq!((started(0).code, started(7).code), (251, 253));
    }
}
