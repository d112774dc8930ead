//! Extensions as objects: a line of EHLO, parameters of MAIL and RCPT, verbs.
//!
//! RFC 5321 §2.2.1, §4.1.1.1 and §4.1.1.11. The crate's own are in one table of such objects (`OURS`): what EHLO says,
//! what HELP names and which rarer verbs run comes from there. Their parameters are typed, so those the parser knows
//! itself. Whoever embeds a server registers more in [`Config::registered`] and touches nothing here: the session checks
//! what the object says of a parameter, carries it in the envelope, and asks
//! [`ExtensionCommand`](crate::request::ExtensionCommand) for a verb it does not know.
//!
//! ```
//! use std::borrow::Cow;
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use mailstore_trait::session::{Output, Peer, Session};
//! use smtp_proto::extension::{Extension, Offer, Parameter};
//! use smtp_proto::reply::{EnhancedCode, Reply};
//! use smtp_proto::request::Decision;
//! use smtp_proto::{Config, Request, Server};
//!
//! /// Says which office a message comes from: `XOFFICE` in EHLO, `OFFICE=` in MAIL, and a verb that lists them.
//! #[derive(Debug)]
//! struct Office;
//!
//! impl Extension for Office {
//!     fn offer(&self, to: &Offer<'_>) -> Option<Cow<'static, str>> {
//!         // Only under TLS. Not offered, its parameter and its verb are unknown too.
//!         to.origin.tls.is_none().then_some("XOFFICE".into())
//!     }
//!
//!     fn mail_parameter(&self, keyword: &str, value: Option<&str>) -> Parameter {
//!         match value {
//!             _ if !keyword.eq_ignore_ascii_case("OFFICE") => Parameter::Unknown,
//!             Some("vienna" | "osaka") => Parameter::Taken,
//!             _ => Parameter::Malformed,
//!         }
//!     }
//!
//!     fn verbs(&self) -> &[&'static str] {
//!         &["XOFFICES"]
//!     }
//! }
//!
//! let config = Config { registered: vec![Arc::new(Office)], ..Config::new("mx.example.org") };
//! let mut server = Server::new(Arc::new(config), Peer::new(([192, 0, 2, 1], 25).into()));
//! let script = b"EHLO a.example\r\nXOFFICES\r\nMAIL FROM:<a@a.example> OFFICE=osaka\r\nQUIT\r\n";
//! let (now, mut said) = (Instant::now(), String::new());
//! server.handle_input(script);
//! loop {
//!     match server.poll_output(now, 0) {
//!         Output::Send(octets) => said.push_str(std::str::from_utf8(&octets)?),
//!         Output::Request(Request::ExtensionCommand(pending)) => {
//!             let reply = Reply::new(250, EnhancedCode::new(2, 0, 0), "vienna osaka");
//!             server.resume(pending.answer(reply));
//!         }
//!         Output::Request(Request::MailFrom(pending)) => {
//!             assert_eq!(pending.query.sender.others[0].value.as_deref(), Some("osaka"));
//!             server.resume(pending.answer(Decision::Accepted));
//!         }
//!         Output::Request(other) => server.resume(other.decline()),
//!         Output::Close(_) => break,
//!         _ => {}
//!     }
//! }
//! assert!(said.contains("250 XOFFICE\r\n250 2.0.0 vienna osaka\r\n250 2.1.0 Sender OK\r\n"), "{said}");
//! # Ok::<(), std::str::Utf8Error>(())
//! ```

pub mod etrn;

use std::borrow::Cow;
use std::fmt;

use mailstore_trait::date::Timestamp;

use crate::config::{Ask, Config, Extensions};
use crate::reply::Reply;
use crate::request::Origin;

/// What a server can do beyond RFC 5321, as one object.
pub trait Extension: fmt::Debug + Send + Sync {
    /// Its line in the reply to EHLO, without a code; `None` where it is not offered on this stream. Then its parameters
    /// and verbs are unknown as well.
    fn offer(&self, to: &Offer<'_>) -> Option<Cow<'static, str>>;

    /// Whether a parameter of MAIL is its own, and well-formed. Asked for those that are of no extension of this crate.
    fn mail_parameter(&self, keyword: &str, value: Option<&str>) -> Parameter {
        let _ = (keyword, value);
        Parameter::Unknown
    }

    /// The same of RCPT.
    fn rcpt_parameter(&self, keyword: &str, value: Option<&str>) -> Parameter {
        let _ = (keyword, value);
        Parameter::Unknown
    }

    /// Its verbs, upper case. Those of this crate can't be replaced.
    fn verbs(&self) -> &[&'static str] {
        &[]
    }

    /// What one of its verbs leads to.
    fn command(&self, line: &CommandLine<'_>) -> Course {
        let _ = line;
        Course::Ask
    }
}

/// To whom an extension is offered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Offer<'a> {
    /// The server's own configuration.
    pub config: &'a Config,
    /// Who the client is.
    pub origin: &'a Origin,
    /// What the session knows of the time, if it was told ([`Server::at`](crate::Server::at)).
    pub date: Option<Timestamp>,
}

/// What an extension says of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Not its own.
    Unknown,
    /// Its own; it goes into the envelope.
    Taken,
    /// Its own, and its value is not.
    Malformed,
}

/// A line with one of an extension's verbs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CommandLine<'a> {
    /// The verb, as [`Extension::verbs`] has it.
    pub verb: &'static str,
    /// What stood behind it, without spaces around it.
    pub arguments: &'a str,
    /// Who says it.
    pub origin: &'a Origin,
    /// Whether it came between MAIL and the end of the message.
    pub in_mail: bool,
}

/// What a verb leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// Ask [`ExtensionCommand`](crate::request::ExtensionCommand).
    Ask,
    /// Say this at once.
    Say(Reply),
}

/// One of the crate's own. What follows from a name alone is in the table.
pub(crate) struct Ours {
    /// Offered where these are in force.
    pub(crate) of: Extensions,
    line: fn(&Offer<'_>) -> Option<Cow<'static, str>>,
    verbs: &'static [&'static str],
    command: fn(&CommandLine<'_>) -> Course,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours").field("of", &self.of).field("verbs", &self.verbs).finish_non_exhaustive()
    }
}

impl Extension for Ours {
    fn offer(&self, to: &Offer<'_>) -> Option<Cow<'static, str>> {
        (self.line)(to)
    }

    fn verbs(&self) -> &[&'static str] {
        self.verbs
    }

    fn command(&self, line: &CommandLine<'_>) -> Course {
        (self.command)(line)
    }
}

const fn ours(of: Extensions, line: fn(&Offer<'_>) -> Option<Cow<'static, str>>) -> Ours {
    Ours { of, line, verbs: &[], command: |_| Course::Ask }
}

/// The crate's own, in the order in which EHLO names them.
// RFC 5321 §4.1.1.1: every command that not all servers have is listed. RFC 5321 §3.5.2: EXPN is.
pub(crate) const OURS: [Ours; 22] = [
    ours(Extensions::PIPELINING, |_| Some("PIPELINING".into())),
    ours(Extensions::EIGHT_BIT_MIME, |_| Some("8BITMIME".into())),
    ours(Extensions::ENHANCED_STATUS_CODES, |_| Some("ENHANCEDSTATUSCODES".into())),
    Ours { verbs: &["BDAT"], ..ours(Extensions::CHUNKING, |_| Some("CHUNKING".into())) },
    ours(Extensions::BINARY_MIME, |_| Some("BINARYMIME".into())),
    ours(Extensions::DSN, |_| Some("DSN".into())),
    ours(Extensions::SMTPUTF8, |_| Some("SMTPUTF8".into())),
    Ours { verbs: &["STARTTLS"], ..ours(Extensions::STARTTLS, |_| Some("STARTTLS".into())) },
    ours(Extensions::REQUIRETLS, |_| Some("REQUIRETLS".into())),
    ours(Extensions::DELIVERBY, deliver_by),
    ours(Extensions::MT_PRIORITY, |to| Some(words("MT-PRIORITY", to.config.priority_profile.as_deref()))),
    ours(Extensions::FUTURERELEASE, future_release),
    ours(Extensions::RRVS, |_| Some("RRVS".into())),
    ours(Extensions::NO_SOLICITING, |to| {
        let keywords = &to.config.solicitations;
        Some(words("NO-SOLICITING", (!keywords.is_empty()).then(|| keywords.join(",")).as_deref()))
    }),
    ours(Extensions::LIMITS, limits),
    Ours { verbs: &["ETRN"], command: etrn::command, ..ours(Extensions::ETRN, |_| Some("ETRN".into())) },
    Ours {
        verbs: &["XCLIENT"],
        ..ours(Extensions::XCLIENT, |_| Some("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT".into()))
    },
    Ours {
        verbs: &["XFORWARD"],
        ..ours(Extensions::XFORWARD, |_| Some("XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE".into()))
    },
    ours(Extensions::empty(), |to| to.config.ask.contains(Ask::EXPAND).then_some("EXPN".into())),
    ours(Extensions::empty(), |_| Some("HELP".into())),
    ours(Extensions::SIZE, |to| Some(format!("SIZE {}", to.config.limits.message).into())),
    Ours {
        verbs: &["AUTH"],
        ..ours(Extensions::AUTH, |to| {
            let names: Vec<_> = crate::server::mechanisms(to.config, to.origin).collect();
            Some(words("AUTH", Some(&names.join(" "))))
        })
    },
];

fn words(keyword: &'static str, words: Option<&str>) -> Cow<'static, str> {
    words.map_or(Cow::Borrowed(keyword), |words| Cow::Owned(format!("{keyword} {words}")))
}

// RFC 2852 §3: the least time that may be asked for with mode R, where there is one.
fn deliver_by(to: &Offer<'_>) -> Option<Cow<'static, str>> {
    let least = to.config.limits.deliver_by;
    Some(words("DELIVERBY", (least > 0).then(|| least.to_string()).as_deref()))
}

// RFC 4865 §3: the longest hold, in seconds and as a date; so it takes someone who knows the date.
fn future_release(to: &Offer<'_>) -> Option<Cow<'static, str>> {
    let longest = to.config.limits.hold;
    let until = to.date?.plus(std::time::Duration::from_secs(longest.into()));
    Some(format!("FUTURERELEASE {longest} {}", until.at_offset(0).rfc3339()).into())
}

// RFC 9422 §3: the limits that are there, and none for what has no limit.
fn limits(to: &Offer<'_>) -> Option<Cow<'static, str>> {
    let limits = &to.config.limits;
    let mut line = String::from("LIMITS");
    if limits.messages < u32::MAX {
        line.push_str(&format!(" MAILMAX={}", limits.messages));
    }
    line.push_str(&format!(" RCPTMAX={}", limits.recipients));
    Some(line.into())
}
