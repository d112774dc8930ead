//! Parameters that say when and how urgently: deliver by, hold until, priority, valid since.
//!
//! RFC 2852 §4, RFC 4865 §3, RFC 6710 §3, RFC 7293 §3.1. Each is a small `Copy` value that reads its parameter's value and
//! writes it again. Times that count from "now" stay relative, as the client said them: the session has no clock, and
//! whoever has one turns them into instants when the message is taken.

use std::fmt;
use std::time::Duration;

use mailstore_trait::date::{DateTime, Timestamp};

/// `BY=` (RFC 2852 §4): when the message must be delivered, and what happens if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliverBy {
    /// From the end of the message until it must be delivered; below zero when that has passed already. At most nine
    /// digits.
    pub seconds: i32,
    /// What happens then.
    pub mode: ByMode,
    /// Whether each hop reports that it took the request over.
    pub trace: bool,
}

/// What happens to a message that was not delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByMode {
    /// `N`: its sender is told, and it is tried on.
    Notify,
    /// `R`: it is returned.
    Return,
}

impl DeliverBy {
    /// Reads the parameter's value.
    // RFC 2852 §4: an optional sign, one to nine digits, `;`, the mode, perhaps a `T`. To return a message that may not
    // be tried even once makes no sense, and is refused.
    #[must_use]
    pub fn parse(value: &str) -> Option<DeliverBy> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        let seconds = time.parse().ok()?;
        let (mode, trace) = match mode.as_bytes() {
            [mode] => (mode, false),
            [mode, b'T' | b't'] => (mode, true),
            _ => return None,
        };
        let mode = match mode {
            b'N' | b'n' => ByMode::Notify,
            b'R' | b'r' if seconds > 0 => ByMode::Return,
            _ => return None,
        };
        Some(DeliverBy { seconds, mode, trace })
    }

    /// When a message taken then must be delivered.
    #[must_use]
    pub fn deadline(self, taken: Timestamp) -> Timestamp {
        Timestamp(taken.0.saturating_add(i64::from(self.seconds).saturating_mul(1000)))
    }

    /// What is left of it for the next hop.
    // RFC 2852 §4: each hop takes off the time the message spent with it.
    #[must_use]
    pub fn left(self, taken: Timestamp, now: Timestamp) -> DeliverBy {
        let left = self.deadline(taken).0.saturating_sub(now.0).div_euclid(1000).clamp(-999_999_999, 999_999_999);
        DeliverBy { seconds: i32::try_from(left).unwrap_or(0), ..self }
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Notify => 'N',
            ByMode::Return => 'R',
        };
        write!(f, "{};{mode}{}", self.seconds, if self.trace { "T" } else { "" })
    }
}

/// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865 §3): how long a submitted message is held before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// So many seconds from the end of the message, 1 to 999,999,999.
    For(u32),
    /// Until then.
    Until(Timestamp),
}

impl Hold {
    /// Reads the value of HOLDFOR.
    // RFC 4865 §3: one to nine digits, the first not zero.
    #[must_use]
    pub fn parse_for(value: &str) -> Option<Hold> {
        let plain = (1..=9).contains(&value.len()) && !value.starts_with('0');
        let digits = plain && value.bytes().all(|octet| octet.is_ascii_digit());
        digits.then(|| value.parse().ok()).flatten().map(Hold::For)
    }

    /// Reads the value of HOLDUNTIL.
    // RFC 4865 §3, erratum 2040: an RFC 3339 date-time.
    #[must_use]
    pub fn parse_until(value: &str) -> Option<Hold> {
        DateTime::parse_rfc3339(value).map(|date| Hold::Until(date.instant))
    }

    /// Until when a message taken then is held.
    #[must_use]
    pub fn until(self, taken: Timestamp) -> Timestamp {
        match self {
            Hold::For(seconds) => taken.plus(Duration::from_secs(u64::from(seconds))),
            Hold::Until(until) => until,
        }
    }
}

impl fmt::Display for Hold {
    /// The whole parameter, its keyword included: which of the two it is says which keyword it has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::For(seconds) => write!(f, "HOLDFOR={seconds}"),
            Hold::Until(until) => write!(f, "HOLDUNTIL={}", until.at_offset(0).rfc3339()),
        }
    }
}

/// `MT-PRIORITY=` (RFC 6710 §3): from -9 to 9, higher goes first, 0 is the usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(i8);

impl Priority {
    /// 9.
    pub const HIGHEST: Priority = Priority(9);

    /// A priority; `None` outside of -9 to 9.
    #[must_use]
    pub const fn new(priority: i8) -> Option<Priority> {
        if priority >= -9 && priority <= 9 { Some(Priority(priority)) } else { None }
    }

    /// From -9 to 9.
    #[must_use]
    pub const fn value(self) -> i8 {
        self.0
    }

    /// Reads the parameter's value.
    // RFC 6710 §7: a digit, perhaps a minus before it, and no minus before 0.
    #[must_use]
    pub fn parse(value: &str) -> Option<Priority> {
        match value.as_bytes() {
            [digit @ b'0'..=b'9'] | [b'-', digit @ b'1'..=b'9'] => {
                let magnitude = i8::try_from(digit - b'0').ok()?;
                Priority::new(if value.starts_with('-') { -magnitude } else { magnitude })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `RRVS=` (RFC 7293 §3.1): the mailbox must have had the same owner ever since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValidSince {
    /// Since when.
    pub since: Timestamp,
    /// What a relay does whose next hop does not know RRVS.
    pub unsupported: Unsupported,
}

/// What becomes of a message with RRVS that must go on to a host without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unsupported {
    /// `R`, and when neither is said: it is refused.
    #[default]
    Reject,
    /// `C`: it goes on, the request in its header.
    Continue,
}

impl ValidSince {
    /// Reads the parameter's value.
    // RFC 7293 §3.1: an RFC 3339 date-time, perhaps `;C` or `;R`.
    #[must_use]
    pub fn parse(value: &str) -> Option<ValidSince> {
        let (date, action) = value.split_once(';').map_or((value, None), |(date, action)| (date, Some(action)));
        let unsupported = match action {
            None => Unsupported::default(),
            Some(action) if action.eq_ignore_ascii_case("R") => Unsupported::Reject,
            Some(action) if action.eq_ignore_ascii_case("C") => Unsupported::Continue,
            Some(_) => return None,
        };
        DateTime::parse_rfc3339(date).map(|date| ValidSince { since: date.instant, unsupported })
    }
}

impl fmt::Display for ValidSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.unsupported {
            Unsupported::Reject => "R",
            Unsupported::Continue => "C",
        };
        write!(f, "{};{action}", self.since.at_offset(0).rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliver_by() {
        for (value, seconds, mode, trace) in [
            ("120;R", 120, ByMode::Return, false),
            ("+5;nT", 5, ByMode::Notify, true),
            ("-123456789;N", -123_456_789, ByMode::Notify, false),
            ("0;N", 0, ByMode::Notify, false),
        ] {
            let by = DeliverBy { seconds, mode, trace };
            assert_eq!(DeliverBy::parse(value), Some(by));
            assert_eq!(DeliverBy::parse(&by.to_string()), Some(by));
        }
        for bad in ["", "120", "120;", "120;X", "120;RR", "0;R", "-1;R", "1234567890;N", "+-1;N", "1 ;N", ";N", "+;N"] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad:?}");
        }
        let by = DeliverBy { seconds: 60, mode: ByMode::Return, trace: false };
        let taken = Timestamp::from_seconds(1000);
        assert_eq!(by.deadline(taken), Timestamp::from_seconds(1060));
        assert_eq!(by.left(taken, Timestamp(1_090_500)).seconds, -31, "rounded to the stricter side");
    }

    #[test]
    fn hold() {
        assert_eq!(Hold::parse_for("86400"), Some(Hold::For(86_400)));
        assert_eq!(Hold::For(5).until(Timestamp::from_seconds(1)), Timestamp::from_seconds(6));
        for bad in ["", "0", "01", "-1", "1234567890", "1h"] {
            assert_eq!(Hold::parse_for(bad), None, "{bad:?}");
        }
        let until = Hold::parse_until("2026-11-22T22:53:59+01:00").unwrap();
        assert_eq!(until.to_string(), "HOLDUNTIL=2026-11-22T21:53:59Z");
        assert_eq!(Hold::parse_until("2026-11-22T21:53:59Z"), Some(until));
        assert_eq!(Hold::parse_until("2026-11-22"), None);
    }

    #[test]
    fn priority() {
        for value in -9..=9_i8 {
            let priority = Priority::new(value).unwrap();
            assert_eq!(Priority::parse(&value.to_string()), Some(priority));
        }
        for bad in ["", "10", "-10", "-0", "+1", "a", "-"] {
            assert_eq!(Priority::parse(bad), None, "{bad:?}");
        }
        assert_eq!((Priority::new(10), Priority::new(-10)), (None, None));
    }

    #[test]
    fn valid_since() {
        let since = Timestamp::from_seconds(1_400_000_000);
        let value = ValidSince { since, unsupported: Unsupported::Reject };
        assert_eq!(ValidSince::parse("2014-05-13T16:53:20Z"), Some(value));
        assert_eq!(ValidSince::parse("2014-05-13T16:53:20Z;r"), Some(value));
        let value = ValidSince { since, unsupported: Unsupported::Continue };
        assert_eq!(ValidSince::parse(&value.to_string()), Some(value));
        for bad in ["", "2014-05-13T16:53:20Z;", "2014-05-13T16:53:20Z;X", "yesterday"] {
            assert_eq!(ValidSince::parse(bad), None, "{bad:?}");
        }
    }
}
