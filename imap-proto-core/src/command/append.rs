//! The head of APPEND, up to the message's literal (RFC 9051 §6.3.12, RFC 3516 §4.4, RFC 7888).

use mailstore_trait::date::{DateTime, month_by_name};

use super::cursor::{Cursor, Result, Text};
use super::flags::{self, FlagList};
use super::{Bounds, Expected};

/// What is said before a message's octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHead<'a> {
    /// The target.
    pub mailbox: Text<'a>,
    /// The flags.
    pub flags: FlagList<'a>,
    /// The INTERNALDATE.
    pub internal_date: Option<DateTime>,
    /// Whether its literal is a literal8, in which NUL may stand (RFC 3516 §4.4).
    pub binary: bool,
}

/// How far an APPEND has come when a literal is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendProgress<'a> {
    /// The literal is the mailbox's name: it is framed like any other.
    Mailbox,
    /// The literal is the message.
    Message(AppendHead<'a>),
}

/// Reads an APPEND's arguments up to and including the literal announced at their end.
pub(crate) fn head<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<AppendProgress<'a>> {
    let mut ahead = *cursor;
    if ahead.literal_head().is_ok() && ahead.is_exhausted() {
        return Ok(AppendProgress::Mailbox);
    }
    let mailbox = cursor.astring()?;
    cursor.space()?;
    let mut flags = FlagList::default();
    if cursor.peek() == Some(b'(') {
        flags = flags::list(cursor, bounds)?;
        cursor.space()?;
    }
    let mut internal_date = None;
    if cursor.peek() == Some(b'"') {
        internal_date = Some(date_time(cursor)?);
        cursor.space()?;
    }
    let binary = cursor.peek() == Some(b'~');
    cursor.literal_head()?;
    if !cursor.is_exhausted() {
        return cursor.fail(Expected::End);
    }
    Ok(AppendProgress::Message(AppendHead { mailbox, flags, internal_date, binary }))
}

/// RFC 9051 §9, date-time: `"17-Jul-1996 02:44:25 -0700"`, the day with a leading space or 0.
fn date_time(cursor: &mut Cursor<'_>) -> Result<DateTime> {
    let from = *cursor;
    let fail = |_| from.fail(Expected::Date);
    cursor.eat(b'"');
    let day_digits = if cursor.eat(b' ') { 1 } else { 2 };
    let day = cursor.digits(day_digits).or_else(fail)?;
    let expect = |cursor: &mut Cursor<'_>, octet| if cursor.eat(octet) { Ok(()) } else { from.fail(Expected::Date) };
    expect(cursor, b'-')?;
    let month = cursor.take(3).and_then(month_by_name);
    expect(cursor, b'-')?;
    let year = cursor.digits(4)?;
    expect(cursor, b' ')?;
    let hour = cursor.digits(2)?;
    expect(cursor, b':')?;
    let minute = cursor.digits(2)?;
    expect(cursor, b':')?;
    let second = cursor.digits(2)?;
    expect(cursor, b' ')?;
    let east = cursor.eat(b'+');
    if !east {
        expect(cursor, b'-')?;
    }
    let zone = i16::try_from(cursor.digits(2)? * 60 + cursor.digits(2)?).unwrap_or(i16::MAX);
    expect(cursor, b'"')?;
    let zone = if east { zone } else { -zone };
    let date =
        month.and_then(|month| DateTime::from_civil((i64::from(year), month, day), (hour, minute, second), zone));
    match date {
        Some(date) => Ok(date),
        None => from.fail(Expected::Date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AppendProgress<'_>> {
        head(&mut Cursor::new(text.as_bytes()), &Bounds::default())
    }

    #[test]
    fn a_head_ends_at_its_literal() {
        let AppendProgress::Message(head) =
            parse("\"Sent Mail\" (\\Seen $x) \" 7-Feb-1994 21:52:25 -0800\" {310+}\r\n").unwrap()
        else {
            panic!()
        };
        assert_eq!(head.mailbox, &b"Sent Mail"[..]);
        assert_eq!(head.internal_date.unwrap().imap().to_string(), " 7-Feb-1994 21:52:25 -0800");
        assert!(matches!(parse("INBOX {1}\r\n"), Ok(AppendProgress::Message(head)) if !head.binary));
        assert!(matches!(parse("INBOX ~{1+}\r\n"), Ok(AppendProgress::Message(head)) if head.binary));
    }

    #[test]
    fn a_mailbox_may_be_a_literal_too() {
        assert_eq!(parse("{5}\r\n"), Ok(AppendProgress::Mailbox));
        assert!(matches!(parse("{5}\r\nINBOX () {5}\r\n"), Ok(AppendProgress::Message(_))));
    }

    #[test]
    fn what_is_no_append_is_refused() {
        for bad in [
            "INBOX\r\n",
            "INBOX (\\Seen {5}\r\n",
            "INBOX \"nonsense\" {5}\r\n",
            "INBOX \"31-Feb-1994 21:52:25 -0800\" {5}\r\n",
            "INBOX \" 7-Feb-1994 21:52:25 0800\" {5}\r\n",
            "INBOX ~ {5}\r\n",
            "INBOX  {5}\r\n",
            "INBOX {5}\r\nabc",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
