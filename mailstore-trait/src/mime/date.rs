//! The Date field (RFC 5322 §3.3, obsolete forms of §4.3 included).

use smallvec::SmallVec;

use super::parameter::comment_len;
use crate::date::{DateTime, WEEKDAYS, month_by_name};

/// Words of a date that are looked at.
const WORDS: usize = 10;

/// The instant and zone of a Date field's value; `None` where no date can be made out.
///
/// Accepts what mail contains beside the standard's form: weekdays and months in full, two- and three-digit years, names
/// of zones, missing seconds or zone (then UTC), dashes in the date, and the order of C's `asctime`.
pub fn parse_date(value: &[u8]) -> Option<DateTime> {
    let value = plain(value);
    let words = words(&value);
    let mut words = words.iter().copied().peekable();
    // A weekday is decoration, whether it agrees with the date or not.
    words.next_if(|word| is_weekday(word));
    let first = words.next()?;
    if let Some(month) = month(first) {
        // asctime: `Nov 22 22:53:59 2026`, with a zone before the year as date(1) has it.
        let day = number(words.next()?, 2)?;
        let time = time(words.next()?)?;
        let zone = words.next_if(|word| number(word, 4).is_none()).and_then(zone).unwrap_or(0);
        return DateTime::from_civil((year(words.next()?)?, month, day), time, zone);
    }
    let day = number(first, 2)?;
    let month = month(words.next()?)?;
    let year = year(words.next()?)?;
    let time = match words.next() {
        Some(word) => time(word)?,
        None => (0, 0, 0),
    };
    // RFC 5322 §4.3: a zone nobody can tell counts as `-0000`.
    let zone = words.next().and_then(zone).unwrap_or(0);
    DateTime::from_civil((year, month, day), time, zone)
}

/// Octets of a date that are looked at, comments and blanks not counted.
const OCTETS: usize = 128;

/// The value with a space for each gap: blanks, commas, comments. RFC 5322 §4.3: none are left around colons.
fn plain(value: &[u8]) -> SmallVec<[u8; OCTETS]> {
    let mut out: SmallVec<[u8; OCTETS]> = SmallVec::new();
    let mut gap = false;
    let mut rest = value;
    while let Some((&octet, after)) = rest.split_first() {
        let with_comment = rest;
        if out.len() >= OCTETS {
            break;
        }
        rest = after;
        match octet {
            b'(' => {
                gap = true;
                rest = comment_len(with_comment).and_then(|len| with_comment.get(len..)).unwrap_or_default();
            }
            b',' => gap = true,
            _ if octet.is_ascii_whitespace() => gap = true,
            _ => {
                if gap && octet != b':' && !matches!(out.last(), None | Some(b':')) {
                    out.push(b' ');
                }
                gap = false;
                out.push(octet);
            }
        }
    }
    out
}

/// The words between spaces; `22-Nov-2026` is three, `22:53:59+0100` two.
fn words(value: &[u8]) -> SmallVec<[&[u8]; WORDS]> {
    let mut words = SmallVec::new();
    for word in value.split(|&octet| octet == b' ').take(WORDS).filter(|word| !word.is_empty()) {
        if word.contains(&b':') {
            let sign =
                word.iter().skip(1).position(|octet| matches!(octet, b'+' | b'-')).map_or(word.len(), |at| at + 1);
            let (time, zone) = word.split_at_checked(sign).unwrap_or((word, b""));
            words.push(time);
            if !zone.is_empty() {
                words.push(zone);
            }
        } else if word.first().is_some_and(u8::is_ascii_digit) {
            words.extend(word.split(|&octet| octet == b'-').filter(|word| !word.is_empty()));
        } else {
            words.push(word);
        }
    }
    words
}

fn is_weekday(word: &[u8]) -> bool {
    word.get(..3).is_some_and(|front| WEEKDAYS.iter().any(|day| front.eq_ignore_ascii_case(day.as_bytes())))
}

fn month(word: &[u8]) -> Option<u32> {
    month_by_name(word.get(..3)?)
}

/// A number of at most `digits` digits.
fn number(word: &[u8], digits: usize) -> Option<u32> {
    if word.is_empty() || word.len() > digits || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// RFC 5322 §4.3: years of two digits below 50 are of this century, others of two or three digits count from 1900.
fn year(word: &[u8]) -> Option<i64> {
    let year = i64::from(number(word, 4)?);
    Some(match word.len() {
        1 | 2 if year < 50 => year + 2000,
        1..=3 => year + 1900,
        _ => year,
    })
}

fn time(word: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = word.split(|octet| matches!(octet, b':' | b'.'));
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = match parts.next() {
        Some(part) => number(part, 2)?,
        None => 0,
    };
    Some((hour, minute, second))
}

/// Minutes east of UTC.
fn zone(word: &[u8]) -> Option<i16> {
    let (sign, digits) = match word.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return zone_name(word),
    };
    let digits: SmallVec<[u8; 8]> = digits.iter().copied().filter(|&octet| octet != b':').take(8).collect();
    let value = number(&digits, 4)?;
    let (hours, minutes) = if digits.len() <= 2 { (value, 0) } else { (value / 100, value % 100) };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * i16::try_from(hours * 60 + minutes).ok()?)
}

/// RFC 5322 §4.3: the zones it names. The military letters have been used with both signs and tell nothing.
fn zone_name(word: &[u8]) -> Option<i16> {
    let zones: [(&[u8], i16); 13] = [
        (b"UT", 0),
        (b"GMT", 0),
        (b"UTC", 0),
        (b"EDT", -4),
        (b"EST", -5),
        (b"CDT", -5),
        (b"CST", -6),
        (b"MDT", -6),
        (b"MST", -7),
        (b"PDT", -7),
        (b"PST", -8),
        (b"CET", 1),
        (b"CEST", 2),
    ];
    zones.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, hours)| hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(value: &str) -> Option<String> {
        parse_date(value.as_bytes()).map(|date| date.to_string())
    }

    #[test]
    fn the_forms_of_the_standard() {
        for (value, wanted) in [
            ("Fri, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"),
            ("21 Nov 1997 09:55 +0130", "Fri, 21 Nov 1997 09:55:00 +0130"),
            ("Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)", "Thu, 13 Feb 1969 23:32:00 -0330"),
            ("21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000"),
            ("1 Jan 49 00:00:00 EST", "Fri, 1 Jan 2049 00:00:00 -0500"),
            ("1 Jan 50 00:00:00 Z", "Sun, 1 Jan 1950 00:00:00 +0000"),
            ("1 Jan 100 00:00:00 Z", "Sat, 1 Jan 2000 00:00:00 +0000"),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"),
            ("31 Dec 2016 23:59:60 +0000", "Sat, 31 Dec 2016 23:59:59 +0000"),
        ] {
            assert_eq!(date(value).as_deref().unwrap_or("none"), wanted, "{value:?}");
        }
    }

    #[test]
    fn the_forms_of_the_world() {
        for (value, wanted) in [
            ("Sunday, 22 November 2026 22:53:59 +0100", "Sun, 22 Nov 2026 22:53:59 +0100"),
            ("Sun Nov 22 22:53:59 2026", "Sun, 22 Nov 2026 22:53:59 +0000"),
            ("Sun Nov 22 22:53:59 EST 2026", "Sun, 22 Nov 2026 22:53:59 -0500"),
            ("22-Nov-2026 22:53:59 +0000", "Sun, 22 Nov 2026 22:53:59 +0000"),
            ("22 Nov 2026", "Sun, 22 Nov 2026 00:00:00 +0000"),
            ("22 Nov 2026 22.53.59", "Sun, 22 Nov 2026 22:53:59 +0000"),
            ("22 Nov 2026 22:53:59+0100", "Sun, 22 Nov 2026 22:53:59 +0100"),
            ("22 Nov 2026 22:53:59 -05:00", "Sun, 22 Nov 2026 22:53:59 -0500"),
            ("22 Nov 2026 22:53:59 Nowhere", "Sun, 22 Nov 2026 22:53:59 +0000"),
            ("Mon 22 Nov 2026 22:53:59 +9999", "Sun, 22 Nov 2026 22:53:59 +0000"),
        ] {
            assert_eq!(date(value).as_deref(), Some(wanted), "{value:?}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for value in [
            "",
            "x",
            "(",
            "Mon,",
            "31 Feb 2024 00:00:00 +0000",
            "1 Jan 2024 25:00",
            "99999 Jan 2024",
            "2024-01-01T00:00:00Z",
        ] {
            assert_eq!(date(value), None, "{value:?}");
        }
    }
}
