//! Instants and civil dates: what trace headers, INTERNALDATE and schedules are made of.
//!
//! The clock is never read here; an [`Environment`](crate::environment::Environment) gives the time.

use std::fmt;
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds since 1970.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(1000))
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long since `earlier`; zero when that lies later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same instant with a zone: minutes east of UTC.
    #[must_use]
    pub fn at_offset(self, offset_minutes: i16) -> DateTime {
        DateTime { instant: self, offset_minutes }
    }
}

/// An instant and the zone it was said in: IMAP's INTERNALDATE, a header's Date.
///
/// Order is by instant; `Display` is RFC 5322 §3.3 (`Sun, 22 Nov 2026 22:53:59 +0000`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// The instant.
    pub instant: Timestamp,
    /// Minutes east of UTC, from -1439 to 1439.
    pub offset_minutes: i16,
}

/// A date and a time of day in some zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year.
    pub year: i64,
    /// The month, from 1.
    pub month: u32,
    /// The day of the month, from 1.
    pub day: u32,
    /// The hour, 0 to 23.
    pub hour: u32,
    /// The minute, 0 to 59.
    pub minute: u32,
    /// The second, 0 to 59.
    pub second: u32,
    /// The day of the week, 0 for Sunday.
    pub weekday: u32,
}

/// The months as mail writes them.
pub const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The days of the week as mail writes them.
pub const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl DateTime {
    /// From a civil date and time in a zone; `None` for a date or time that does not exist.
    ///
    /// A second of 60 (a leap second) counts as 59.
    #[must_use]
    pub fn from_civil(date: (i64, u32, u32), time: (u32, u32, u32), offset_minutes: i16) -> Option<DateTime> {
        let (year, month, day) = date;
        let (hour, minute, second) = time;
        let legal = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60
            && (-1439..=1439).contains(&offset_minutes);
        if !legal {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400
            + i64::from(hour) * 3600
            + i64::from(minute) * 60
            + i64::from(second.min(59))
            - i64::from(offset_minutes) * 60;
        Some(Timestamp::from_seconds(seconds).at_offset(offset_minutes))
    }

    /// The civil date and time in this value's own zone.
    #[must_use]
    pub fn civil(self) -> Civil {
        let local = self.instant.seconds().saturating_add(i64::from(self.offset_minutes) * 60);
        let (days, of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let part = |value: i64| u32::try_from(value).unwrap_or(0);
        Civil {
            year,
            month,
            day,
            hour: part(of_day / 3600),
            minute: part(of_day / 60 % 60),
            second: part(of_day % 60),
            weekday: part((days + 4).rem_euclid(7)),
        }
    }

    /// The days since 1970-01-01 of the date in this value's own zone: what IMAP's date searches compare.
    #[must_use]
    pub fn local_day(self) -> i64 {
        self.instant.seconds().saturating_add(i64::from(self.offset_minutes) * 60).div_euclid(86_400)
    }

    /// RFC 9051 §9, `date-time` without its quotes: `22-Nov-2026 22:53:59 +0000`.
    #[must_use]
    pub fn imap(self) -> ImapDate {
        ImapDate(self)
    }

    /// RFC 3339 §5.6, `date-time`: `2026-11-22T22:53:59Z`, whole seconds.
    #[must_use]
    pub fn rfc3339(self) -> Rfc3339 {
        Rfc3339(self)
    }

    /// Reads an RFC 3339 §5.6 `date-time`; a fraction of a second counts to the millisecond.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<DateTime> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|it| it.bytes().all(|octet| octet.is_ascii_digit()))?;
            digits.parse::<u32>().ok()
        };
        // RFC 3339 §5.6: fields of a fixed width, `T` and `Z` in any case, a zone always.
        let marks = [(4, b'-'), (7, b'-'), (10, b't'), (13, b':'), (16, b':')];
        let octet = |at: usize| text.as_bytes().get(at).map(u8::to_ascii_lowercase);
        if !marks.iter().all(|(at, mark)| octet(*at) == Some(*mark)) {
            return None;
        }
        let date = (i64::from(number(0, 4)?), number(5, 7)?, number(8, 10)?);
        let time = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let mut rest = text.get(19..)?;
        let mut millis = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            let (digits, zone) = fraction.split_at(digits);
            millis = format!("{digits:0<3}").get(..3)?.parse().ok()?;
            rest = zone;
        }
        let offset_minutes = match rest.as_bytes() {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1 @ b'0'..=b'2', h2 @ b'0'..=b'9', b':', m1 @ b'0'..=b'5', m2 @ b'0'..=b'9'] => {
                let two = |tens: u8, ones: u8| i16::from(tens - b'0') * 10 + i16::from(ones - b'0');
                let (hours, minutes) = (two(*h1, *h2), two(*m1, *m2));
                if hours > 23 {
                    return None;
                }
                let minutes = hours * 60 + minutes;
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let read = DateTime::from_civil(date, time, offset_minutes)?;
        Some(Timestamp(read.instant.0.saturating_add(millis)).at_offset(offset_minutes))
    }

    fn zone(self) -> (char, u16, u16) {
        let minutes = self.offset_minutes.unsigned_abs();
        (if self.offset_minutes < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, weekday } = self.civil();
        let (sign, zone_hours, zone_minutes) = self.zone();
        let weekday = WEEKDAYS.get(weekday as usize).unwrap_or(&"Sun");
        let month = month_name(month);
        write!(
            f,
            "{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}"
        )
    }
}

/// A [`DateTime`] in IMAP's form. Made by [`DateTime::imap`].
#[derive(Clone, Copy, Debug)]
pub struct ImapDate(DateTime);

impl fmt::Display for ImapDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.0.civil();
        let (sign, zone_hours, zone_minutes) = self.0.zone();
        let month = month_name(month);
        write!(f, "{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}")
    }
}

/// A [`DateTime`] in RFC 3339's form. Made by [`DateTime::rfc3339`].
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(DateTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.0.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0.zone() {
            (_, 0, 0) => f.write_str("Z"),
            (sign, hours, minutes) => write!(f, "{sign}{hours:02}:{minutes:02}"),
        }
    }
}

/// The month of this English abbreviation, from 1, in any case.
#[must_use]
pub fn month_by_name(name: &[u8]) -> Option<u32> {
    let at = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(name))?;
    u32::try_from(at + 1).ok()
}

fn month_name(month: u32) -> &'static str {
    MONTHS.get((month as usize).wrapping_sub(1)).unwrap_or(&"Jan")
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
#[must_use]
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    // Years begin in March here, so that the leap day is the last day of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        let start = days_from_civil(1999, 12, 31);
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        for day in start..start + 146_100 {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }

    #[test]
    fn forms_are_those_of_the_standards() {
        let date = DateTime::from_civil((2026, 11, 2), (3, 4, 5), -570).unwrap();
        assert_eq!(date.to_string(), "Mon, 2 Nov 2026 03:04:05 -0930");
        assert_eq!(date.imap().to_string(), " 2-Nov-2026 03:04:05 -0930");
        assert_eq!(Timestamp::default().at_offset(0).to_string(), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(month_by_name(b"nov"), Some(11));
    }

    #[test]
    fn rfc_3339_is_read_and_written() {
        for text in ["2026-11-22T22:53:59Z", "1999-02-28T00:00:00-09:30", "2024-02-29T23:59:59+23:59"] {
            assert_eq!(DateTime::parse_rfc3339(text).unwrap().rfc3339().to_string(), text);
        }
        let fraction = DateTime::parse_rfc3339("1970-01-01t00:00:01.25z").unwrap();
        assert_eq!(fraction.instant, Timestamp(1250));
        assert_eq!(DateTime::parse_rfc3339("1970-01-01T00:00:01.123456Z").unwrap().instant, Timestamp(1123));
        assert_eq!(DateTime::parse_rfc3339("2026-01-01T00:00:00-00:00").unwrap().offset_minutes, 0);
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T22:53:59",
            "2026-11-22 22:53:59Z",
            "2026-11-22T22:53Z",
            "2026-02-30T00:00:00Z",
            "2026-11-22T22:53:59+0100",
            "2026-11-22T22:53:59+24:00",
            "2026-11-22T22:53:59.Z",
            "2026-11-22T22:53:59Zx",
            "+026-11-22T22:53:59Z",
            "2026-11-22T22:53:5\u{e9}Z",
        ] {
            assert_eq!(DateTime::parse_rfc3339(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for (date, time, zone) in [
            ((2025, 2, 29), (0, 0, 0), 0),
            ((2024, 13, 1), (0, 0, 0), 0),
            ((2024, 4, 31), (0, 0, 0), 0),
            ((2024, 1, 1), (24, 0, 0), 0),
            ((2024, 1, 1), (0, 0, 61), 0),
            ((0, 1, 1), (0, 0, 0), 0),
            ((2024, 1, 1), (0, 0, 0), 1440),
        ] {
            assert_eq!(DateTime::from_civil(date, time, zone), None, "{date:?} {time:?} {zone}");
        }
        assert!(DateTime::from_civil((2024, 2, 29), (23, 59, 60), 0).is_some());
    }
}
