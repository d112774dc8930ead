//! What a server offers in its EHLO reply: RFC 5321 §4.1.1.1, RFC 1870 §3, RFC 2852 §4,
//! RFC 4954 §3, RFC 9422 §3.

use crate::config::Extensions;
use crate::reply::ServerReply;

/// What the server offers on this stream since the last hello.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Extensions this crate knows.
    pub extensions: Extensions,
    /// The largest message it takes, in octets; `None` when it does not say.
    pub size: Option<u64>,
    /// SASL mechanisms, upper case.
    pub mechanisms: Vec<String>,
    /// What LIMITS names.
    pub limits: ServerLimits,
    /// RFC 2852 §4: the shortest time, in seconds, within which DELIVERBY may ask for the return of a message.
    pub deliver_by: Option<u32>,
}

/// How much a server takes, as it says by LIMITS (RFC 9422 §4). What is `None` it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// MAILMAX: transactions on one connection.
    pub mails: Option<usize>,
    /// RCPTMAX: recipients of one transaction.
    pub recipients: Option<usize>,
    /// RCPTDOMAINMAX: domains among the recipients of one transaction.
    pub domains: Option<usize>,
}

impl ServerLimits {
    /// RFC 9422 §3: words of `name=value` in any order; unknown names are passed over.
    // A value has one to six digits and is not 0; any other is as good as none.
    fn read(words: &str) -> ServerLimits {
        let mut limits = ServerLimits::default();
        for (name, value) in words.split([' ', '\t']).filter_map(|word| word.split_once('=')) {
            let digits = (1..=6).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
            let value = if digits { value.parse().ok().filter(|value| *value > 0) } else { None };
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mails = value,
                "RCPTMAX" => limits.recipients = value,
                "RCPTDOMAINMAX" => limits.domains = value,
                _ => {}
            }
        }
        limits
    }
}

impl Capabilities {
    /// Nothing offered: before EHLO, after TLS, after HELO.
    #[must_use]
    pub fn none() -> Capabilities {
        Capabilities {
            extensions: Extensions::empty(),
            size: None,
            mechanisms: Vec::new(),
            limits: ServerLimits::default(),
            deliver_by: None,
        }
    }

    /// Reads an EHLO reply; its first line is the greeting.
    pub(super) fn read(reply: &ServerReply) -> Capabilities {
        let mut found = Capabilities::none();
        for line in reply.lines.iter().skip(1) {
            // Some servers wrote `AUTH=LOGIN` before RFC 4954; the words behind it count all the same.
            let mut words = line.split([' ', '=', '\t']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            let extension = match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => Extensions::PIPELINING,
                "8BITMIME" => Extensions::EIGHT_BIT_MIME,
                "ENHANCEDSTATUSCODES" => Extensions::ENHANCED_STATUS_CODES,
                "STARTTLS" => Extensions::STARTTLS,
                "CHUNKING" => Extensions::CHUNKING,
                "BINARYMIME" => Extensions::BINARY_MIME,
                "SMTPUTF8" => Extensions::SMTPUTF8,
                "DSN" => Extensions::DSN,
                "REQUIRETLS" => Extensions::REQUIRETLS,
                "MT-PRIORITY" => Extensions::MT_PRIORITY,
                "FUTURERELEASE" => Extensions::FUTURERELEASE,
                "RRVS" => Extensions::RRVS,
                "NO-SOLICITING" => Extensions::NO_SOLICITING,
                "ETRN" => Extensions::ETRN,
                "XCLIENT" => Extensions::XCLIENT,
                "XFORWARD" => Extensions::XFORWARD,
                "LIMITS" => {
                    found.limits = ServerLimits::read(line);
                    Extensions::LIMITS
                }
                "DELIVERBY" => {
                    found.deliver_by = words.next().and_then(|least| least.parse().ok());
                    Extensions::DELIVERBY
                }
                "SIZE" => {
                    // RFC 1870 §3: 0 means no fixed limit.
                    found.size = words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
                    Extensions::SIZE
                }
                "AUTH" => {
                    for word in words {
                        let word = word.to_ascii_uppercase();
                        if !found.mechanisms.contains(&word) {
                            found.mechanisms.push(word);
                        }
                    }
                    Extensions::AUTH
                }
                _ => continue,
            };
            found.extensions |= extension;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ehlo_reply_is_read() {
        let lines =
            ["mx greets you", "size 1000", "AUTH PLAIN login", "AUTH=LOGIN", "PIPELINING", "X-UNKNOWN y", "8bitmime"];
        let reply = ServerReply { code: 250, lines: lines.map(str::to_owned).to_vec() };
        let found = Capabilities::read(&reply);
        assert_eq!(found.size, Some(1000));
        assert_eq!(found.mechanisms, ["PLAIN", "LOGIN"]);
        let expected = Extensions::SIZE | Extensions::AUTH | Extensions::PIPELINING | Extensions::EIGHT_BIT_MIME;
        assert_eq!(found.extensions, expected);
        let reply = ServerReply { code: 250, lines: vec!["PIPELINING".into(), "SIZE 0".into()] };
        assert_eq!(Capabilities::read(&reply).size, None);
        assert_eq!(Capabilities::read(&reply).extensions, Extensions::SIZE, "the first line is a greeting");
    }

    #[test]
    fn limits_are_read() {
        let read = |line: &str| {
            let limits = Capabilities::read(&ServerReply { code: 250, lines: vec!["mx".into(), line.into()] }).limits;
            (limits.mails, limits.recipients, limits.domains)
        };
        assert_eq!(read("LIMITS RCPTMAX=20 MAILMAX=5 NEWMAX=9"), (Some(5), Some(20), None));
        assert_eq!(read("limits rcptdomainmax=1"), (None, None, Some(1)));
        for bad in ["LIMITS", "LIMITS RCPTMAX", "LIMITS RCPTMAX=0", "LIMITS RCPTMAX=1000000", "LIMITS RCPTMAX=+5"] {
            assert_eq!(read(bad), (None, None, None), "{bad}");
        }
    }
}
