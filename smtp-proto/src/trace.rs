//! Trace headers as values: Received, Return-Path and Delivered-To.
//!
//! RFC 5321 §4.4, RFC 9228 §3, RFC 3848 §1, RFC 6531 §3.7.3, RFC 8314 §4.3. Whoever stores a message writes them, because it has a clock and
//! knows the message's id; the session knows the rest.

use std::fmt;
use std::net::IpAddr;

use mailstore_trait::date::DateTime;

use crate::address::Address;
use crate::request::Origin;

/// A Received header, written by `Display` with its line ends.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent the message.
    pub origin: &'a Origin,
    /// This host's name.
    pub by: &'a str,
    /// Whether it came by LMTP.
    pub lmtp: bool,
    /// Whether it came with SMTPUTF8.
    pub smtputf8: bool,
    /// Its name here: a queue's id most often.
    pub id: &'a str,
    /// The recipient, if there is exactly one: more would tell each of the others.
    pub recipient: Option<&'a Address>,
    /// When it came.
    pub date: DateTime,
    /// Leave the client's name and address out: for users who do not want to be found.
    pub hide_client: bool,
}

impl Received<'_> {
    /// The protocol's registered name: RFC 3848 §1 and RFC 6531 §3.7.3.
    #[must_use]
    pub fn with(&self) -> &'static str {
        let origin = self.origin;
        // A client that said HELO had no extension to use.
        let (secured, authenticated) = (origin.tls.is_some(), origin.identity.is_some());
        match (self.lmtp, self.smtputf8, secured, authenticated) {
            (false, ..) if !origin.extended => "SMTP",
            (false, false, false, false) => "ESMTP",
            (false, false, false, true) => "ESMTPA",
            (false, false, true, false) => "ESMTPS",
            (false, false, true, true) => "ESMTPSA",
            (false, true, false, false) => "UTF8SMTP",
            (false, true, false, true) => "UTF8SMTPA",
            (false, true, true, false) => "UTF8SMTPS",
            (false, true, true, true) => "UTF8SMTPSA",
            (true, false, false, false) => "LMTP",
            (true, false, false, true) => "LMTPA",
            (true, false, true, false) => "LMTPS",
            (true, false, true, true) => "LMTPSA",
            (true, true, false, false) => "UTF8LMTP",
            (true, true, false, true) => "UTF8LMTPA",
            (true, true, true, false) => "UTF8LMTPS",
            (true, true, true, true) => "UTF8LMTPSA",
        }
    }
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Received: ")?;
        if self.hide_client {
            // RFC 5321 §4.4: the from clause is mandatory; the message begins its way here, for all that others see.
            writeln(f, format_args!("from {}", Word(self.by)))?;
        } else {
            let name = if self.origin.hello.is_empty() { "unknown" } else { &self.origin.hello };
            writeln(f, format_args!("from {} ({})", Word(name), Literal(self.origin.peer.ip())))?;
        }
        writeln(f, format_args!("by {} with {} id {}", Word(self.by), self.with(), Word(self.id)))?;
        if let Some(recipient) = self.recipient.filter(|it| it.domain().is_some()) {
            writeln(f, format_args!("for <{recipient}>"))?;
        }
        // RFC 8314 §4.3: the cipher suite has a clause of its own, behind all others.
        if let Some(cipher) = self.origin.tls.as_ref().and_then(|tls| tls.cipher) {
            writeln(f, format_args!("tls {}", Word(cipher)))?;
        }
        // The clause before the date ends with a semicolon; a folded line of its own keeps lines short.
        write!(f, "; {}\r\n", self.date)
    }
}

/// A clause and the fold behind it.
fn writeln(f: &mut fmt::Formatter<'_>, clause: fmt::Arguments<'_>) -> fmt::Result {
    write!(f, "{clause}\r\n\t")
}

/// A Return-Path header: final delivery puts one before everything else (RFC 5321 §4.4).
#[derive(Clone, Copy, Debug)]
pub struct ReturnPath<'a>(pub Option<&'a str>);

impl fmt::Display for ReturnPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Return-Path: <{}>\r\n", self.0.unwrap_or_default())
    }
}

/// A Delivered-To header: final delivery leaves one in each mailbox, and a message that comes to a mailbox with its own
/// went round in circles (RFC 9228 §3).
#[derive(Clone, Copy, Debug)]
pub struct DeliveredTo<'a>(pub &'a str);

impl fmt::Display for DeliveredTo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivered-To: {}\r\n", self.0)
    }
}

/// A word from the peer, with everything out of it that could end a clause or a header.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars().take(255) {
            let plain = c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '@' | '+' | '=');
            f.write_char(if plain { c } else { '?' })?;
        }
        Ok(())
    }
}

/// RFC 5321 §4.1.3: an address literal.
struct Literal(IpAddr);

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Grammar;
    use mailstore_trait::date::Timestamp;
    use mailstore_trait::session::LayerInfo;

    #[test]
    fn received_header() {
        let mut origin = Origin::new("192.0.2.1:25".parse().unwrap(), None);
        origin.hello = "evil;\u{7} (x)".into();
        origin.extended = true;
        let address = Address::parse("a@b.example", Grammar::default()).unwrap();
        let date = Timestamp::from_seconds(1_700_000_000).at_offset(60);
        let received = Received {
            origin: &origin,
            by: "mx.example.org",
            lmtp: false,
            smtputf8: false,
            id: "42",
            recipient: Some(&address),
            date,
            hide_client: false,
        };
        assert_eq!(
            received.to_string(),
            "Received: from evil????x? ([192.0.2.1])\r\n\tby mx.example.org with ESMTP id 42\r\n\t\
             for <a@b.example>\r\n\t; Tue, 14 Nov 2023 23:13:20 +0100\r\n"
        );
        let mut secured = origin.clone();
        let mut tls = LayerInfo::new();
        (tls.version, tls.cipher) = (Some("TLSv1.3"), Some("TLS_AES_256_GCM_SHA384"));
        (secured.tls, secured.identity) = (Some(tls), Some("user".into()));
        let hidden = Received { origin: &secured, recipient: None, hide_client: true, ..received };
        assert_eq!(
            hidden.to_string(),
            "Received: from mx.example.org\r\n\tby mx.example.org with ESMTPSA id 42\r\n\t\
             tls TLS_AES_256_GCM_SHA384\r\n\t; Tue, 14 Nov 2023 23:13:20 +0100\r\n"
        );
    }

    #[test]
    fn with_values() {
        let mut origin = Origin::new("[2001:db8::1]:25".parse().unwrap(), None);
        let date = Timestamp::from_seconds(0).at_offset(-330);
        let with = |origin: &Origin, lmtp, smtputf8| {
            Received { origin, by: "b", lmtp, smtputf8, id: "1", recipient: None, date, hide_client: false }.with()
        };
        assert_eq!(with(&origin, false, false), "SMTP");
        origin.extended = true;
        assert_eq!((with(&origin, true, false), with(&origin, false, true)), ("LMTP", "UTF8SMTP"));
        origin.tls = Some(LayerInfo::new());
        assert_eq!((with(&origin, false, false), with(&origin, true, true)), ("ESMTPS", "UTF8LMTPS"));
        assert_eq!(Literal(origin.peer.ip()).to_string(), "[IPv6:2001:db8::1]");
        assert_eq!(DeliveredTo("a@b.example").to_string(), "Delivered-To: a@b.example\r\n");
        assert_eq!(ReturnPath(None).to_string(), "Return-Path: <>\r\n");
    }
}
