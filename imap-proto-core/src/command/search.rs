//! What SEARCH asks for (RFC 9051 §6.4.4, RFC 4731, RFC 5032, RFC 7162, RFC 8474, RFC 8514): keys as a flat row of tokens.
//!
//! The row is in the order it was written. Reading it is a loop with a stack of open combinations, so nesting costs no
//! stack, and `query::Builder` takes it token by token once the session has turned numbers into UIDs.

use std::borrow::Cow;

use mailstore_trait::date::{days_from_civil, month_by_name};
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::id::{EmailId, ThreadId, Uid};
use mailstore_trait::query::{Combine, DateOf};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result, Text};
use super::{Bounds, Expected, SequenceSet};

bitflags::bitflags! {
    /// What an extended SEARCH is to return (RFC 9051 §6.4.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SearchReturn: u16 {
        /// `MIN`
        const MIN = 1;
        /// `MAX`
        const MAX = 2;
        /// `ALL`
        const ALL = 4;
        /// `COUNT`
        const COUNT = 8;
        /// `SAVE` (RFC 5182 §2.1)
        const SAVE = 16;
        /// `PARTIAL` (RFC 9394 §3.1), with [`SearchArguments::partial`]
        const PARTIAL = 32;
        /// `UPDATE` (RFC 5267 §4.3)
        const UPDATE = 64;
        /// `CONTEXT` (RFC 5267 §4.2): a hint that the same will be asked again
        const CONTEXT = 128;
    }
}

/// A piece of a list of results: both ends counted from 1, from its start or its end (RFC 9394 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialRange {
    /// One end, as it was written.
    pub first: u32,
    /// The other, which may be the smaller one.
    pub last: u32,
    /// Counted from the end: `-1:-100`.
    pub from_end: bool,
}

/// A SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchArguments<'a> {
    /// `RETURN (…)`: answer with ESEARCH; `None` for the old answer.
    pub returns: Option<SearchReturn>,
    /// The argument of `PARTIAL`.
    pub partial: Option<PartialRange>,
    /// Whether a charset was named that might have been left out.
    pub charset_named: bool,
    /// Whether the charset is one this crate knows: US-ASCII or UTF-8.
    pub charset_known: bool,
    /// The keys.
    pub tokens: SmallVec<[SearchToken<'a>; 4]>,
}

impl SearchArguments<'_> {
    /// Whether one of the keys is `MODSEQ`.
    #[must_use]
    pub fn has_modseq(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, SearchToken::Key(SearchKey::ModSeq(_))))
    }

    /// Whether one of the keys is a set of message numbers.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, SearchToken::Key(SearchKey::Sequence(_))))
    }
}

/// A piece of the keys, in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchToken<'a> {
    /// `(`, `OR` or `NOT`: operands follow.
    Open(Combine),
    /// `)`
    Close,
    /// A key.
    Key(SearchKey<'a>),
}

/// A key that stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchKey<'a> {
    /// `ALL`
    All,
    /// A system flag is set (`SEEN`) or not (`UNSEEN`).
    Flag(SystemFlags, bool),
    /// `KEYWORD`, `UNKEYWORD`
    Keyword(&'a [u8], bool),
    /// `RECENT` (RFC 3501 §6.4.4)
    Recent,
    /// `NEW`: recent and not seen.
    New,
    /// `OLD`: not recent.
    Old,
    /// `FROM`, `TO`, `CC`, `BCC`, `SUBJECT`, `HEADER`: a field of this name contains this.
    Header(Text<'a>, Cow<'a, str>),
    /// `BODY`
    Body(Cow<'a, str>),
    /// `TEXT`
    Text(Cow<'a, str>),
    /// `LARGER`
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `BEFORE`, `ON`, `SINCE` and their `SENT` forms; the day counts from 1970-01-01.
    Date(DateOf, When, i64),
    /// `YOUNGER` or, with false, `OLDER`, in seconds (RFC 5032).
    Younger(u64, bool),
    /// `MODSEQ`: changed at this number or later (RFC 7162 §3.1.5).
    ModSeq(u64),
    /// `EMAILID`: this message, or none when the id is none of ours (RFC 8474 §6).
    Email(Option<EmailId>),
    /// `THREADID`: of this conversation (RFC 8474 §6).
    Thread(Option<ThreadId>),
    /// `SAVEDATESUPPORTED` (RFC 8514 §4.3)
    SaveDateSupported,
    /// `UID`
    Uid(SequenceSet),
    /// `UIDAFTER`, `UIDBEFORE`: UIDs above this one, or with false below it (RFC 9738 §3.2).
    UidBeyond(Uid, bool),
    /// A sequence set of message numbers.
    Sequence(SequenceSet),
}

/// On which side of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Earlier than it.
    Before,
    /// It.
    On,
    /// It or later.
    Since,
}

pub(crate) fn arguments<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<SearchArguments<'a>> {
    let returns = returns(cursor)?;
    let mut charset_known = true;
    let charset_named = cursor.eat_word(b"CHARSET");
    if charset_named {
        cursor.space()?;
        charset_known = charset(cursor)?;
        cursor.space()?;
    }
    Ok(SearchArguments { charset_named, ..keys(cursor, bounds, returns, charset_known)? })
}

/// What is to be returned, and the argument of PARTIAL.
pub(super) type Returns = (Option<SearchReturn>, Option<PartialRange>);

/// `RETURN (…)` and a space, or nothing.
pub(super) fn returns(cursor: &mut Cursor<'_>) -> Result<Returns> {
    if !cursor.eat_word(b"RETURN") {
        return Ok((None, None));
    }
    cursor.space()?;
    let (returns, partial) = return_options(cursor)?;
    cursor.space()?;
    Ok((Some(returns), partial))
}

/// Whether it is a charset that is known.
pub(super) fn charset(cursor: &mut Cursor<'_>) -> Result<bool> {
    let charset = cursor.astring()?;
    Ok(charset.eq_ignore_ascii_case(b"UTF-8") || charset.eq_ignore_ascii_case(b"US-ASCII"))
}

/// The keys, behind everything else.
pub(super) fn keys<'a>(
    cursor: &mut Cursor<'a>,
    bounds: &Bounds,
    (returns, partial): Returns,
    charset_known: bool,
) -> Result<SearchArguments<'a>> {
    let tokens = tokens(cursor, bounds, charset_known)?;
    Ok(SearchArguments { returns, partial, charset_named: false, charset_known, tokens })
}

fn return_options(cursor: &mut Cursor<'_>) -> Result<(SearchReturn, Option<PartialRange>)> {
    cursor.open()?;
    let (mut returns, mut partial) = (SearchReturn::empty(), None);
    if cursor.eat(b')') {
        // RFC 4731 §3.1: an empty list means ALL.
        return Ok((SearchReturn::ALL, None));
    }
    loop {
        let from = *cursor;
        let word = cursor.atom()?;
        returns |= match word.to_ascii_uppercase().as_slice() {
            b"MIN" => SearchReturn::MIN,
            b"MAX" => SearchReturn::MAX,
            b"ALL" => SearchReturn::ALL,
            b"COUNT" => SearchReturn::COUNT,
            b"SAVE" => SearchReturn::SAVE,
            b"UPDATE" => SearchReturn::UPDATE,
            b"CONTEXT" => SearchReturn::CONTEXT,
            b"PARTIAL" if partial.is_none() => {
                cursor.space()?;
                partial = Some(partial_range(cursor)?);
                SearchReturn::PARTIAL
            }
            _ => return from.fail(Expected::Option),
        };
        // RFC 9394 §3.1: not both.
        if returns.contains(SearchReturn::PARTIAL | SearchReturn::ALL) {
            return from.fail(Expected::Option);
        }
        if cursor.eat(b')') {
            return Ok((returns, partial));
        }
        cursor.space()?;
    }
}

/// RFC 9394 §4, partial-range: `1:500`, or `-1:-100` from the end.
pub(crate) fn partial_range(cursor: &mut Cursor<'_>) -> Result<PartialRange> {
    let from = *cursor;
    let from_end = cursor.eat(b'-');
    let first = cursor.number32()?;
    if !cursor.eat(b':') || cursor.eat(b'-') != from_end {
        return from.fail(Expected::Number);
    }
    let last = cursor.number32()?;
    if first == 0 || last == 0 {
        return from.fail(Expected::Number);
    }
    Ok(PartialRange { first, last, from_end })
}

/// A combination that still takes operands.
struct Open {
    combine: Combine,
    operands: u32,
}

fn tokens<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds, text: bool) -> Result<SmallVec<[SearchToken<'a>; 4]>> {
    let mut tokens = SmallVec::new();
    let mut open: SmallVec<[Open; 8]> = SmallVec::new();
    loop {
        if tokens.len() >= bounds.keys {
            return cursor.fail(Expected::Fewer);
        }
        if open.len() > bounds.depth {
            return cursor.fail(Expected::LessDepth);
        }
        let combine = if cursor.eat(b'(') {
            Some(Combine::And)
        } else if cursor.eat_word(b"NOT") {
            cursor.space()?;
            Some(Combine::Not)
        } else if cursor.eat_word(b"OR") {
            cursor.space()?;
            Some(Combine::Either)
        } else {
            None
        };
        if let Some(combine) = combine {
            tokens.push(SearchToken::Open(combine));
            open.push(Open { combine, operands: 0 });
            continue;
        }
        tokens.push(SearchToken::Key(key(cursor, text)?));
        close_complete(&mut open);
        while open.last().is_some_and(|open| open.combine == Combine::And) && cursor.eat(b')') {
            open.pop();
            tokens.push(SearchToken::Close);
            close_complete(&mut open);
        }
        if open.is_empty() && (cursor.is_end() || cursor.end().is_ok()) {
            return Ok(tokens);
        }
        cursor.space()?;
    }
}

/// An operand is complete: so are the NOTs around it, and an OR whose second it was.
fn close_complete(open: &mut SmallVec<[Open; 8]>) {
    while let Some(last) = open.last_mut() {
        last.operands += 1;
        match last.combine {
            Combine::Not => {}
            Combine::Either if last.operands == 2 => {}
            _ => return,
        }
        open.pop();
    }
}

fn key<'a>(cursor: &mut Cursor<'a>, text: bool) -> Result<SearchKey<'a>> {
    if cursor.peek().is_some_and(|octet| octet.is_ascii_digit() || matches!(octet, b'*' | b'$')) {
        return SequenceSet::parse(cursor).map(SearchKey::Sequence);
    }
    let from = *cursor;
    let word = cursor.item_word();
    let mut upper = [0u8; 20];
    let Some(upper) = upper.get_mut(..word.len()) else { return from.fail(Expected::SearchKey) };
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    let flag = |flag, set| Ok(SearchKey::Flag(flag, set));
    match &*upper {
        b"ALL" => Ok(SearchKey::All),
        b"ANSWERED" => flag(SystemFlags::ANSWERED, true),
        b"DELETED" => flag(SystemFlags::DELETED, true),
        b"DRAFT" => flag(SystemFlags::DRAFT, true),
        b"FLAGGED" => flag(SystemFlags::FLAGGED, true),
        b"SEEN" => flag(SystemFlags::SEEN, true),
        b"UNANSWERED" => flag(SystemFlags::ANSWERED, false),
        b"UNDELETED" => flag(SystemFlags::DELETED, false),
        b"UNDRAFT" => flag(SystemFlags::DRAFT, false),
        b"UNFLAGGED" => flag(SystemFlags::FLAGGED, false),
        b"UNSEEN" => flag(SystemFlags::SEEN, false),
        b"NEW" => Ok(SearchKey::New),
        b"OLD" => Ok(SearchKey::Old),
        b"RECENT" => Ok(SearchKey::Recent),
        b"KEYWORD" => keyword(cursor, true),
        b"UNKEYWORD" => keyword(cursor, false),
        b"FROM" => field(cursor, b"From", text),
        b"TO" => field(cursor, b"To", text),
        b"CC" => field(cursor, b"Cc", text),
        b"BCC" => field(cursor, b"Bcc", text),
        b"SUBJECT" => field(cursor, b"Subject", text),
        b"HEADER" => {
            cursor.space()?;
            let name = cursor.astring()?;
            Ok(SearchKey::Header(name, string(cursor, text)?))
        }
        b"BODY" => string(cursor, text).map(SearchKey::Body),
        b"TEXT" => string(cursor, text).map(SearchKey::Text),
        b"LARGER" => number(cursor).map(SearchKey::Larger),
        b"SMALLER" => number(cursor).map(SearchKey::Smaller),
        b"BEFORE" => date(cursor, DateOf::Internal, When::Before),
        b"ON" => date(cursor, DateOf::Internal, When::On),
        b"SINCE" => date(cursor, DateOf::Internal, When::Since),
        b"SENTBEFORE" => date(cursor, DateOf::Sent, When::Before),
        b"SENTON" => date(cursor, DateOf::Sent, When::On),
        b"SENTSINCE" => date(cursor, DateOf::Sent, When::Since),
        b"SAVEDBEFORE" => date(cursor, DateOf::Saved, When::Before),
        b"SAVEDON" => date(cursor, DateOf::Saved, When::On),
        b"SAVEDSINCE" => date(cursor, DateOf::Saved, When::Since),
        b"SAVEDATESUPPORTED" => Ok(SearchKey::SaveDateSupported),
        b"EMAILID" => Ok(SearchKey::Email(object_id(cursor, b'M')?.map(EmailId))),
        b"THREADID" => Ok(SearchKey::Thread(object_id(cursor, b'T')?.map(ThreadId))),
        b"YOUNGER" => interval(cursor, true),
        b"OLDER" => interval(cursor, false),
        b"MODSEQ" => super::modifiers::search(cursor).map(SearchKey::ModSeq),
        b"UIDAFTER" => beyond(cursor, true),
        b"UIDBEFORE" => beyond(cursor, false),
        b"UID" => {
            cursor.space()?;
            SequenceSet::parse(cursor).map(SearchKey::Uid)
        }
        _ => from.fail(Expected::SearchKey),
    }
}

/// RFC 8474 §7, objectid; nothing for one that was not given out here: a letter and 32 hexadecimal digits.
fn object_id(cursor: &mut Cursor<'_>, letter: u8) -> Result<Option<[u8; 16]>> {
    cursor.space()?;
    let from = *cursor;
    let id = cursor.atom()?;
    if id.len() > 255 || !id.iter().all(|&octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-')) {
        return from.fail(Expected::SearchKey);
    }
    let digits = id.strip_prefix(&[letter]).filter(|digits| digits.len() == 32);
    Ok(digits.and_then(|digits| {
        let mut octets = [0u8; 16];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                *octet = (*octet << 4) | value;
            }
        }
        Some(octets)
    }))
}

/// RFC 9738 §3.2: a UID.
fn beyond<'a>(cursor: &mut Cursor<'a>, above: bool) -> Result<SearchKey<'a>> {
    cursor.space()?;
    let from = *cursor;
    match Uid::new(cursor.number32()?) {
        Some(uid) => Ok(SearchKey::UidBeyond(uid, above)),
        None => from.fail(Expected::Number),
    }
}

fn keyword<'a>(cursor: &mut Cursor<'a>, set: bool) -> Result<SearchKey<'a>> {
    cursor.space()?;
    Ok(SearchKey::Keyword(cursor.atom()?, set))
}

fn field<'a>(cursor: &mut Cursor<'a>, name: &'static [u8], text: bool) -> Result<SearchKey<'a>> {
    Ok(SearchKey::Header(Cow::Borrowed(name), string(cursor, text)?))
}

/// A space and a string in UTF-8. When the charset is not known the search is refused anyway, so its texts are not read.
fn string<'a>(cursor: &mut Cursor<'a>, text: bool) -> Result<Cow<'a, str>> {
    cursor.space()?;
    let from = *cursor;
    let octets = match cursor.astring()? {
        Cow::Borrowed(octets) => std::str::from_utf8(octets).map(Cow::Borrowed).ok(),
        Cow::Owned(octets) => String::from_utf8(octets).map(Cow::Owned).ok(),
    };
    match octets {
        Some(octets) => Ok(octets),
        None if !text => Ok(Cow::Borrowed("")),
        None => from.fail(Expected::Text),
    }
}

fn number<'a>(cursor: &mut Cursor<'a>) -> Result<u64> {
    cursor.space()?;
    cursor.number()
}

/// RFC 5032 §3: an interval in seconds, not 0.
fn interval<'a>(cursor: &mut Cursor<'a>, younger: bool) -> Result<SearchKey<'a>> {
    cursor.space()?;
    let from = *cursor;
    match cursor.number32()? {
        0 => from.fail(Expected::Number),
        seconds => Ok(SearchKey::Younger(u64::from(seconds), younger)),
    }
}

/// RFC 9051 §9, date: `1-Feb-1994`, with or without quotes.
fn date<'a>(cursor: &mut Cursor<'a>, of: DateOf, when: When) -> Result<SearchKey<'a>> {
    cursor.space()?;
    let from = *cursor;
    let quoted = cursor.eat(b'"');
    let day = match cursor.number32() {
        Ok(day @ 1..=31) => day,
        _ => return from.fail(Expected::Date),
    };
    let dash = |cursor: &mut Cursor<'a>| if cursor.eat(b'-') { Ok(()) } else { from.fail(Expected::Date) };
    dash(cursor)?;
    let month = cursor.take(3).and_then(month_by_name);
    dash(cursor)?;
    let year = cursor.digits(4)?;
    if quoted && !cursor.eat(b'"') {
        return from.fail(Expected::Date);
    }
    match month {
        Some(month) => Ok(SearchKey::Date(of, when, days_from_civil(i64::from(year), month, day))),
        None => from.fail(Expected::Date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SearchArguments<'_>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let search = arguments(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(search)
    }

    /// The tokens as a line: combinations as `&`, `|`, `!`, their end as `.`, keys as `k`.
    fn shape(text: &str) -> String {
        let search = parse(text).unwrap();
        let mark = |token: &SearchToken<'_>| match token {
            SearchToken::Open(Combine::And) => '&',
            SearchToken::Open(Combine::Not) => '!',
            SearchToken::Open(_) => '|',
            SearchToken::Close => '.',
            SearchToken::Key(_) => 'k',
        };
        search.tokens.iter().map(mark).collect()
    }

    #[test]
    fn keys_combine() {
        assert_eq!(shape("ALL"), "k");
        assert_eq!(shape("1:3 UNSEEN"), "kk");
        assert_eq!(shape("OR SEEN NOT FLAGGED DRAFT"), "|k!kk");
        assert_eq!(shape("OR (SEEN DRAFT) NOT (1,2 OR 3 4)"), "|&kk.!&k|kk.");
        assert_eq!(shape("((ALL))"), "&&k..");
        assert_eq!(shape("NOT NOT ALL \r\n"), "!!k");
    }

    #[test]
    fn keys_have_arguments() {
        let search = parse("RETURN (MIN COUNT) CHARSET UTF-8 HEADER \"X-A\" {2}\r\nhi SENTSINCE 1-Feb-1994").unwrap();
        assert_eq!(search.returns, Some(SearchReturn::MIN | SearchReturn::COUNT));
        assert!(search.charset_known);
        assert_eq!(search.tokens[0], SearchToken::Key(SearchKey::Header(Cow::Borrowed(b"X-A"), Cow::Borrowed("hi"))));
        assert_eq!(
            search.tokens[1],
            SearchToken::Key(SearchKey::Date(DateOf::Sent, When::Since, days_from_civil(1994, 2, 1)))
        );
        assert_eq!(parse("RETURN () ALL").unwrap().returns, Some(SearchReturn::ALL));
        assert!(!parse("CHARSET KOI8-R TEXT \"\u{fc}\"").unwrap().charset_known);
        let search = parse("RETURN (UPDATE PARTIAL -1:-100 CONTEXT) ALL").unwrap();
        assert_eq!(search.returns, Some(SearchReturn::UPDATE | SearchReturn::PARTIAL | SearchReturn::CONTEXT));
        assert_eq!(search.partial, Some(PartialRange { first: 1, last: 100, from_end: true }));
        let search = parse("RETURN (PARTIAL 500:400) ALL").unwrap();
        assert_eq!(search.partial, Some(PartialRange { first: 500, last: 400, from_end: false }));
    }

    #[test]
    fn what_is_no_search_is_refused() {
        for bad in [
            "",
            "()",
            "(ALL",
            "ALL)",
            "OR ALL",
            "NOT",
            "NOT ",
            "OR",
            "KEYWORD",
            "KEYWORD \"a\"",
            "SINCE 32-Feb-1994",
            "SINCE 1-Fbr-1994",
            "ON \"1-Feb-1994",
            "HEADER a",
            "YOUNGER 0",
            "NONSENSE",
            "RETURN ALL",
            "RETURN (ALL)",
            "CHARSET",
            "ALL  ALL",
            "TEXT",
            "RETURN (PARTIAL) ALL",
            "RETURN (PARTIAL 1) ALL",
            "RETURN (PARTIAL 0:1) ALL",
            "RETURN (PARTIAL 1:*) ALL",
            "RETURN (PARTIAL -1:2) ALL",
            "RETURN (PARTIAL 1:-2) ALL",
            "RETURN (PARTIAL 1:2 ALL) ALL",
            "RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let deep = format!("{}ALL{}", "(".repeat(100), ")".repeat(100));
        assert_eq!(parse(&deep).unwrap_err().expected, Expected::LessDepth);
        let deep = format!("{}ALL", "NOT ".repeat(5000));
        assert_eq!(parse(&deep).unwrap_err().expected, Expected::LessDepth);
        let long = vec!["ALL"; 1001].join(" ");
        assert_eq!(parse(&long).unwrap_err().expected, Expected::Fewer);
    }
}
