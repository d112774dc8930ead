//! The date a message says it was sent on, as far as it can be read (RFC 5322 §3.3, obsolete forms of §4.3).

use crate::date::{DateTime, month_by_name};

/// Reads a `Date` field's value. The day of the week and comments are passed over; a missing or unknown zone is UTC.
pub(super) fn sent_date(value: &[u8]) -> Option<DateTime> {
    let mut words = Words(value);
    let mut word = words.next()?;
    if word.first()?.is_ascii_alphabetic() {
        // The day of the week, its comma included or not.
        word = words.next()?;
    }
    let day = number(word)?;
    let month = month_by_name(words.next()?.get(..3)?)?;
    let year = words.next()?;
    let year = match (year.len(), i64::from(number(year)?)) {
        // RFC 5322 §4.3: two digits below 50 are of this century, other short ones count from 1900.
        (2, year @ 0..=49) => 2000 + year,
        (2 | 3, year) => 1900 + year,
        (_, year) => year,
    };
    let mut time = words.next().unwrap_or(b"00:00").split(|&octet| octet == b':');
    let mut part = |missing| time.next().map_or(Some(missing), number);
    let time = (part(0)?, part(0)?, part(0)?);
    let zone = words.next().map_or(0, zone);
    DateTime::from_civil((year, month, day), time, zone)
}

fn number(word: &[u8]) -> Option<u32> {
    let legal = (1..=6).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    legal.then(|| word.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn zone(word: &[u8]) -> i16 {
    let named = |hours: i16| hours * 60;
    match word {
        [sign @ (b'+' | b'-'), digits @ ..] if digits.len() == 4 => {
            let Some(digits) = number(digits) else { return 0 };
            let minutes = i16::try_from(digits / 100 * 60 + digits % 100).unwrap_or(0);
            if minutes > 1439 {
                return 0;
            }
            if *sign == b'-' { -minutes } else { minutes }
        }
        // RFC 5322 §4.3: the named zones that mean something; the military ones were used both ways.
        _ => match word.to_ascii_uppercase().as_slice() {
            b"EDT" => named(-4),
            b"EST" | b"CDT" => named(-5),
            b"CST" | b"MDT" => named(-6),
            b"MST" | b"PDT" => named(-7),
            b"PST" => named(-8),
            _ => 0,
        },
    }
}

/// The words of a date: blanks, commas and comments stand between them.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut depth = 0usize;
        let start = self.0.iter().position(|octet| match octet {
            b'(' => {
                depth += 1;
                false
            }
            b')' => {
                depth = depth.saturating_sub(1);
                false
            }
            b' ' | b'\t' | b'\r' | b'\n' | b',' => false,
            _ => depth == 0,
        });
        let (_, rest) = self.0.split_at_checked(start?)?;
        // RFC 5322 §4.3 has no dates with dashes; `22-Nov-2026` is common enough. A zone begins with one.
        let ends = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'(' | b'-');
        let len = rest.iter().skip(1).position(ends).map_or(rest.len(), |at| at + 1);
        let (word, rest) = rest.split_at_checked(len)?;
        self.0 = match rest {
            [b'-', digit, ..] if word.len() <= 3 && digit.is_ascii_alphanumeric() => rest.get(1..)?,
            _ => rest,
        };
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<String> {
        sent_date(value.as_bytes()).map(|date| date.to_string())
    }

    #[test]
    fn dates_as_mail_writes_them() {
        for (value, date) in [
            ("Fri, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"),
            ("21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000"),
            ("Thu,\r\n\t13 Feb 1969\r\n 23:32\r\n -0330 (Newfoundland Time)", "Thu, 13 Feb 1969 23:32:00 -0330"),
            ("Tue, 1 Jul 2003 10:52:37 +0200 (CEST)", "Tue, 1 Jul 2003 10:52:37 +0200"),
            ("Mon (a (nested) one), 3 February 2020 1:02:03 EST", "Mon, 3 Feb 2020 01:02:03 -0500"),
            ("22-Nov-2026 22:53:59 +0100", "Sun, 22 Nov 2026 22:53:59 +0100"),
            ("Sun Nov, 22 Nov 05", ""),
            ("22 Nov 05", "Tue, 22 Nov 2005 00:00:00 +0000"),
            ("22 Nov 2026 12:00:00 Z", "Sun, 22 Nov 2026 12:00:00 +0000"),
            ("22 Nov 2026 12:00:00-0800", "Sun, 22 Nov 2026 12:00:00 -0800"),
            ("31 Feb 2026 12:00:00 +0000", ""),
            ("Sun, Nov 22 2026", ""),
            ("", ""),
            ("((((", ""),
        ] {
            assert_eq!(read(value).unwrap_or_default(), date, "{value:?}");
        }
    }
}
