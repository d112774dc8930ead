//! Capabilities: what CAPA says, computed by a server and read by a client.
//!
//! RFC 2449 §5 and §6, RFC 2449 §6.3 (SASL), RFC 2595 §4, RFC 3206 §6, RFC 5034 §3, RFC 6856 §2 and §3.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use mailstore_trait::sasl::Mechanism;

use crate::reply::write_decimal;
use crate::text::write_clean;

bitflags::bitflags! {
    /// The capabilities that are there or not.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Capability: u16 {
        /// TOP, RFC 2449 §6.1.
        const TOP = 1;
        /// USER and PASS, RFC 2449 §6.2.
        const USER = 2;
        /// `[IN-USE]` and its kind, RFC 2449 §6.4.
        const RESP_CODES = 4;
        /// Several commands at once, RFC 2449 §6.6.
        const PIPELINING = 8;
        /// UIDL, RFC 2449 §6.8.
        const UIDL = 16;
        /// STLS, RFC 2595 §4.
        const STLS = 32;
        /// `[AUTH]` and `[SYS/…]`, RFC 3206 §6.
        const AUTH_RESP_CODE = 64;
        /// UTF8, RFC 6856 §2.
        const UTF8 = 128;
        /// UTF-8 in USER and PASS, RFC 6856 §2.2.
        const UTF8_USER = 256;
        /// LANG, RFC 6856 §3.
        const LANG = 512;
    }
}

/// The least time between two logins (RFC 2449 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginDelay {
    /// The time; told in whole seconds, rounded up.
    pub minimum: Duration,
    /// Whether it may differ between users. Said before login only.
    pub per_user: bool,
}

/// How long messages are kept (RFC 2449 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expire {
    /// The least number of days, `None` for ever. With 0 a message that was retrieved is removed at QUIT.
    pub days: Option<u32>,
    /// Whether it may differ between users. Said before login only.
    pub per_user: bool,
}

/// What a server can do at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Those that are there or not.
    pub flags: Capability,
    /// SASL mechanisms, RFC 5034 §3. A client keeps those it knows.
    pub mechanisms: Vec<Mechanism>,
    /// LOGIN-DELAY.
    pub login_delay: Option<LoginDelay>,
    /// EXPIRE.
    pub expire: Option<Expire>,
    /// IMPLEMENTATION, RFC 2449 §6.9.
    pub implementation: Option<String>,
}

impl Capabilities {
    /// Appends the lines of a CAPA response, without its terminator.
    pub fn write(&self, out: &mut BytesMut) {
        let plain = [
            (Capability::TOP, "TOP"),
            (Capability::UIDL, "UIDL"),
            (Capability::RESP_CODES, "RESP-CODES"),
            (Capability::AUTH_RESP_CODE, "AUTH-RESP-CODE"),
            (Capability::PIPELINING, "PIPELINING"),
            (Capability::STLS, "STLS"),
            (Capability::USER, "USER"),
        ];
        for (_, name) in plain.iter().filter(|(flag, _)| self.flags.contains(*flag)) {
            write_line(name, out);
        }
        if !self.mechanisms.is_empty() {
            out.put_slice(b"SASL");
            for mechanism in &self.mechanisms {
                out.put_slice(b" ");
                out.put_slice(mechanism.name().as_bytes());
            }
            out.put_slice(b"\r\n");
        }
        if let Some(delay) = self.login_delay {
            out.put_slice(b"LOGIN-DELAY ");
            write_decimal(whole_seconds(delay.minimum), out);
            write_line(if delay.per_user { " USER" } else { "" }, out);
        }
        if let Some(expire) = self.expire {
            out.put_slice(b"EXPIRE ");
            match expire.days {
                Some(days) => write_decimal(u64::from(days), out),
                None => out.put_slice(b"NEVER"),
            }
            write_line(if expire.per_user { " USER" } else { "" }, out);
        }
        if self.flags.contains(Capability::UTF8) {
            write_line(if self.flags.contains(Capability::UTF8_USER) { "UTF8 USER" } else { "UTF8" }, out);
        }
        if self.flags.contains(Capability::LANG) {
            write_line("LANG", out);
        }
        if let Some(implementation) = &self.implementation {
            out.put_slice(b"IMPLEMENTATION ");
            write_clean(implementation, out);
            out.put_slice(b"\r\n");
        }
    }

    /// Notes one line of a CAPA response, given without its line end. RFC 2449 §5: a client ignores what it does not
    /// know.
    pub fn read(&mut self, line: &[u8]) {
        let mut words = line.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        let Some(tag) = words.next() else { return };
        let is = |name: &str| tag.eq_ignore_ascii_case(name.as_bytes());
        let plain = [
            (Capability::TOP, "TOP"),
            (Capability::UIDL, "UIDL"),
            (Capability::RESP_CODES, "RESP-CODES"),
            (Capability::AUTH_RESP_CODE, "AUTH-RESP-CODE"),
            (Capability::PIPELINING, "PIPELINING"),
            (Capability::STLS, "STLS"),
            (Capability::USER, "USER"),
            (Capability::LANG, "LANG"),
            (Capability::UTF8, "UTF8"),
        ];
        self.flags.extend(plain.into_iter().filter(|(_, name)| is(name)).map(|(flag, _)| flag));
        let user = |word: Option<&[u8]>| word.is_some_and(|word| word.eq_ignore_ascii_case(b"USER"));
        if is("UTF8") && user(words.next()) {
            self.flags |= Capability::UTF8_USER;
        } else if is("SASL") {
            for mechanism in words.filter_map(Mechanism::parse) {
                if !self.mechanisms.contains(&mechanism) {
                    self.mechanisms.push(mechanism);
                }
            }
        } else if is("LOGIN-DELAY") {
            let minimum = words.next().and_then(number::<u64>).map(Duration::from_secs);
            self.login_delay = minimum.map(|minimum| LoginDelay { minimum, per_user: user(words.next()) });
        } else if is("EXPIRE") {
            let days = match words.next() {
                Some(word) if word.eq_ignore_ascii_case(b"NEVER") => Some(None),
                word => word.and_then(number::<u32>).map(Some),
            };
            self.expire = days.map(|days| Expire { days, per_user: user(words.next()) });
        } else if is("IMPLEMENTATION") {
            let text = line.get(tag.len()..).unwrap_or_default();
            self.implementation = Some(String::from_utf8_lossy(text).trim().to_owned());
        }
    }
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn write_line(text: &str, out: &mut BytesMut) {
    out.put_slice(text.as_bytes());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Capabilities {
        let mut capabilities = Capabilities::default();
        lines.lines().for_each(|line| capabilities.read(line.as_bytes()));
        capabilities
    }

    #[test]
    fn capabilities_read_back_as_written() {
        let all = Capabilities {
            flags: Capability::all(),
            mechanisms: Mechanism::ALL.to_vec(),
            login_delay: Some(LoginDelay { minimum: Duration::from_millis(900_001), per_user: true }),
            expire: Some(Expire { days: None, per_user: false }),
            implementation: Some("Some Server 1".into()),
        };
        let mut out = BytesMut::new();
        all.write(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.contains("LOGIN-DELAY 901 USER\r\n") && text.contains("EXPIRE NEVER\r\n"), "{text}");
        let mut back = read(&text);
        back.login_delay = all.login_delay;
        assert_eq!(back, all);
    }

    #[test]
    fn unknown_and_broken_lines_are_ignored() {
        let odd = read("X-NEW a b\n\nEXPIRE soon\nLOGIN-DELAY\nSASL X-UNKNOWN PLAIN PLAIN\nexpire 30 user");
        assert_eq!(odd.mechanisms, [Mechanism::Plain]);
        assert_eq!(odd.login_delay, None);
        assert_eq!(odd.expire, Some(Expire { days: Some(30), per_user: true }));
        assert_eq!(odd.flags, Capability::empty());
    }
}
