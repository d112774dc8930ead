//! APPEND and REPLACE, line by line up to each literal that is a message's or a part's (RFC 9051 §6.3.12, RFC 3502,
//! RFC 3516 §4.4, RFC 4469, RFC 6855 §4, RFC 8508, RFC 7888).
//!
//! Messages never are part of a frame, so the command is read in lines: the first from its mailbox on, each further one
//! from where the literal before it ended. A literal that is a name or a URL is framed like any other.
//!
//! ```text
//!  a APPEND Drafts (\Draft) CATENATE (URL "/Sent/;UID=1" TEXT {42}     first line: a message, a URL, octets
//!  …42 octets… TEXT {8}                                                octets
//!  …8 octets…) {310}                                                   the next message, octets
//!  …310 octets…                                                        the command's end
//! ```

use mailstore_trait::date::{DateTime, month_by_name};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result, Text};
use super::flags::{self, FlagList};
use super::{Bounds, Expected, SequenceSet};

/// What is said before the first message's octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHead<'a> {
    /// Of a REPLACE, the message to be replaced (RFC 8508 §3): one number.
    pub replaces: Option<SequenceSet>,
    /// The target.
    pub mailbox: Text<'a>,
    /// The rest of the line.
    pub line: AppendLine<'a>,
}

/// Where in the grammar a line of an APPEND begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendPlace {
    /// Before a message, or the command's end.
    #[default]
    Message,
    /// Inside CATENATE's parentheses, behind a part.
    Part,
    /// Inside `UTF8 (`, behind its literal; whether that stands inside CATENATE.
    Utf8 {
        /// Whether CATENATE goes on behind it.
        part: bool,
    },
}

/// A line of an APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendLine<'a> {
    /// What it says before its end.
    pub pieces: SmallVec<[AppendPiece<'a>; 2]>,
    /// How it ends.
    pub end: AppendEnd,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendPiece<'a> {
    /// A message begins.
    Message {
        /// The flags.
        flags: FlagList<'a>,
        /// The INTERNALDATE.
        internal_date: Option<DateTime>,
        /// Whether it is put together from parts (RFC 4469).
        catenate: bool,
    },
    /// The next part is a copy of this (RFC 4469 §3): an IMAP URL, not looked at yet.
    Url(Text<'a>),
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendEnd {
    /// With a literal: the message's octets, or those of a part.
    Octets {
        /// A literal8, in which NUL may stand (RFC 3516 §4.4).
        binary: bool,
        /// It stands in `UTF8 (` (RFC 6855 §4).
        utf8: bool,
        /// Where the next line begins.
        next: AppendPlace,
    },
    /// With the command.
    Command,
}

/// Reads an APPEND's or, when it `replaces`, a REPLACE's arguments up to the end of the first line; nothing when a
/// literal is announced there that is a name or a URL.
pub(crate) fn head<'a>(cursor: &mut Cursor<'a>, replaces: bool, bounds: &Bounds) -> Result<Option<AppendHead<'a>>> {
    let mut number = None;
    if replaces {
        let from = *cursor;
        let set = SequenceSet::parse(cursor)?;
        // RFC 8508 §5, replace: one seq-number.
        if set.is_saved() || set.count() != 1 {
            return from.fail(Expected::SequenceSet);
        }
        number = Some(set);
        cursor.space()?;
    }
    if is_announced(cursor) {
        return Ok(None);
    }
    let mailbox = cursor.astring()?;
    let from = *cursor;
    match line(cursor, AppendPlace::Message, bounds)? {
        Some(line) if line.pieces.is_empty() => from.fail(Expected::Literal),
        line => Ok(line.map(|line| AppendHead { replaces: number, mailbox, line })),
    }
}

/// Whether nothing follows but a literal that is not in the frame.
fn is_announced(cursor: &Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    ahead.literal_head().is_ok() && ahead.is_exhausted()
}

/// Reads a line from a place on; nothing when a literal is announced at its end that is a URL.
pub(crate) fn line<'a>(cursor: &mut Cursor<'a>, place: AppendPlace, bounds: &Bounds) -> Result<Option<AppendLine<'a>>> {
    let mut pieces = SmallVec::new();
    let mut place = place;
    // Whether a part has to stand before the closing parenthesis.
    let mut first = false;
    loop {
        if pieces.len() > bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        match place {
            AppendPlace::Utf8 { part } => {
                cursor.close()?;
                place = if part { AppendPlace::Part } else { AppendPlace::Message };
            }
            AppendPlace::Message if cursor.end().is_ok() => {
                return Ok(Some(AppendLine { pieces, end: AppendEnd::Command }));
            }
            AppendPlace::Message => {
                cursor.space()?;
                let (flags, internal_date) = attributes(cursor, bounds)?;
                let catenate = cursor.eat_word(b"CATENATE");
                pieces.push(AppendPiece::Message { flags, internal_date, catenate });
                if !catenate {
                    let end = octets(cursor, false)?;
                    return Ok(Some(AppendLine { pieces, end }));
                }
                cursor.space()?;
                cursor.open()?;
                (first, place) = (true, AppendPlace::Part);
            }
            AppendPlace::Part if !first && cursor.eat(b')') => place = AppendPlace::Message,
            AppendPlace::Part => {
                if !std::mem::take(&mut first) {
                    cursor.space()?;
                }
                if cursor.eat_word(b"URL") {
                    cursor.space()?;
                    if is_announced(cursor) {
                        return Ok(None);
                    }
                    pieces.push(AppendPiece::Url(cursor.astring()?));
                    continue;
                }
                let mut ahead = *cursor;
                if cursor.eat_word(b"TEXT") {
                    cursor.space()?;
                } else if !ahead.eat_word(b"UTF8") {
                    return cursor.fail(Expected::Literal);
                }
                let end = octets(cursor, true)?;
                return Ok(Some(AppendLine { pieces, end }));
            }
        }
    }
}

fn attributes<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<(FlagList<'a>, Option<DateTime>)> {
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
    Ok((flags, internal_date))
}

/// A literal announced at the line's end, or `UTF8 (` and one.
fn octets(cursor: &mut Cursor<'_>, part: bool) -> Result<AppendEnd> {
    let utf8 = cursor.eat_word(b"UTF8");
    if utf8 {
        cursor.space()?;
        cursor.open()?;
    }
    let binary = cursor.peek() == Some(b'~');
    // RFC 6855 §4, utf8-literal: always a literal8.
    if utf8 && !binary {
        return cursor.fail(Expected::Literal);
    }
    cursor.literal_head()?;
    if !cursor.is_exhausted() {
        return cursor.fail(Expected::End);
    }
    let next = match (utf8, part) {
        (true, part) => AppendPlace::Utf8 { part },
        (false, true) => AppendPlace::Part,
        (false, false) => AppendPlace::Message,
    };
    Ok(AppendEnd::Octets { binary, utf8, next })
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

    fn parse(text: &str) -> Result<Option<AppendHead<'_>>> {
        head(&mut Cursor::new(text.as_bytes()), false, &Bounds::default())
    }

    fn more(text: &str, place: AppendPlace) -> Result<Option<AppendLine<'_>>> {
        line(&mut Cursor::new(text.as_bytes()), place, &Bounds::default())
    }

    fn message(binary: bool) -> AppendEnd {
        AppendEnd::Octets { binary, utf8: false, next: AppendPlace::Message }
    }

    #[test]
    fn a_head_ends_at_its_literal() {
        let head = parse("\"Sent Mail\" (\\Seen $x) \" 7-Feb-1994 21:52:25 -0800\" {310+}\r\n").unwrap();
        let AppendHead { replaces: None, mailbox, line } = head.unwrap() else { panic!() };
        assert_eq!((mailbox, line.end), (b"Sent Mail"[..].into(), message(false)));
        let [AppendPiece::Message { flags, internal_date, catenate: false }] = line.pieces.as_slice() else { panic!() };
        assert_eq!(flags.keywords.as_slice(), ["$x"]);
        assert_eq!(internal_date.unwrap().imap().to_string(), " 7-Feb-1994 21:52:25 -0800");
        assert_eq!(parse("INBOX {1}\r\n").unwrap().unwrap().line.end, message(false));
        assert_eq!(parse("INBOX ~{1+}\r\n").unwrap().unwrap().line.end, message(true));
        assert_eq!(
            parse("INBOX UTF8 (~{1}\r\n").unwrap().unwrap().line.end,
            AppendEnd::Octets { binary: true, utf8: true, next: AppendPlace::Utf8 { part: false } }
        );
    }

    #[test]
    fn names_and_urls_may_be_literals_too() {
        assert_eq!(parse("{5}\r\n"), Ok(None));
        assert!(parse("{5}\r\nINBOX () {5}\r\n").unwrap().is_some());
        assert_eq!(parse("INBOX CATENATE (URL {5}\r\n"), Ok(None));
        assert!(parse("INBOX CATENATE (URL {5}\r\n/a/b/ TEXT {1}\r\n").unwrap().is_some());
    }

    #[test]
    fn messages_and_parts_follow_each_other() {
        let line = more(" (\\Seen) {295}\r\n", AppendPlace::Message).unwrap().unwrap();
        assert_eq!((line.pieces.len(), line.end), (1, message(false)));
        assert_eq!(more("\r\n", AppendPlace::Message).unwrap().unwrap().end, AppendEnd::Command);
        let line = more(" URL a URL \"b\" TEXT {44}\r\n", AppendPlace::Part).unwrap().unwrap();
        let part = AppendEnd::Octets { binary: false, utf8: false, next: AppendPlace::Part };
        assert_eq!((line.pieces.len(), line.end), (2, part));
        let line = more(") CATENATE (URL c) ~{1}\r\n", AppendPlace::Part).unwrap().unwrap();
        assert_eq!((line.pieces.len(), line.end), (3, message(true)));
        let line = more(")\r\n", AppendPlace::Part).unwrap().unwrap();
        assert_eq!((line.pieces.len(), line.end), (0, AppendEnd::Command));
        assert_eq!(more(")\r\n", AppendPlace::Utf8 { part: false }).unwrap().unwrap().end, AppendEnd::Command);
        assert!(more(" URL a)\r\n", AppendPlace::Utf8 { part: true }).is_err());
        assert_eq!(more(") URL a)\r\n", AppendPlace::Utf8 { part: true }).unwrap().unwrap().pieces.len(), 1);
    }

    #[test]
    fn one_message_is_replaced() {
        let replace = |text: &'static str| head(&mut Cursor::new(text.as_bytes()), true, &Bounds::default());
        assert!(replace("4 Drafts (\\Seen \\Draft) {312}\r\n").unwrap().unwrap().replaces.is_some());
        assert!(replace("* Drafts {312}\r\n").unwrap().unwrap().replaces.is_some());
        for bad in ["Drafts {1}\r\n", "1:2 Drafts {1}\r\n", "$ Drafts {1}\r\n", "1,2 Drafts {1}\r\n", "1:* a {1}\r\n"] {
            assert!(replace(bad).is_err(), "{bad}");
        }
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
            "INBOX TEXT {5}\r\n",
            "INBOX CATENATE ()\r\n",
            "INBOX CATENATE (URL a\r\n",
            "INBOX CATENATE (URL)\r\n",
            "INBOX CATENATE (NONSENSE a)\r\n",
            "INBOX UTF8 ({1}\r\n",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many = format!("INBOX CATENATE (URL a{})\r\n", " URL a".repeat(200));
        assert_eq!(parse(&many).unwrap_err().expected, Expected::Fewer);
    }
}
