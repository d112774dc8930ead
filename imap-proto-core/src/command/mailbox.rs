//! What commands about mailboxes say: LIST and its options, STATUS items, CREATE's special uses.

use smallvec::SmallVec;

use super::cursor::{Cursor, Result, Text};
use super::metadata::{self, Entries};
use super::{Bounds, Expected};

bitflags::bitflags! {
    /// What STATUS is to tell (RFC 9051 §6.3.11, RFC 3501 §6.3.10, RFC 8438, RFC 7889, RFC 7162 §3.1.7, RFC 8474 §4.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StatusItems: u16 {
        /// `MESSAGES`
        const MESSAGES = 1;
        /// `RECENT`
        const RECENT = 2;
        /// `UIDNEXT`
        const UIDNEXT = 4;
        /// `UIDVALIDITY`
        const UIDVALIDITY = 8;
        /// `UNSEEN`
        const UNSEEN = 16;
        /// `DELETED`
        const DELETED = 32;
        /// `SIZE`
        const SIZE = 64;
        /// `APPENDLIMIT`
        const APPENDLIMIT = 128;
        /// `HIGHESTMODSEQ`
        const HIGHESTMODSEQ = 256;
        /// `MAILBOXID`
        const MAILBOXID = 512;
        /// `DELETED-STORAGE` (RFC 9208 §4.1.4)
        const DELETED_STORAGE = 1 << 15;
    }

    /// Which names LIST looks for (RFC 5258 §3.1, RFC 6154 §2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ListSelect: u8 {
        /// `SUBSCRIBED`
        const SUBSCRIBED = 1;
        /// `REMOTE`
        const REMOTE = 2;
        /// `RECURSIVEMATCH`
        const RECURSIVEMATCH = 4;
        /// `SPECIAL-USE`
        const SPECIAL_USE = 8;
    }

    /// What LIST tells of them (RFC 5258 §3.2, RFC 6154 §2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ListReturn: u8 {
        /// `SUBSCRIBED`
        const SUBSCRIBED = 1;
        /// `CHILDREN`
        const CHILDREN = 2;
        /// `SPECIAL-USE`
        const SPECIAL_USE = 4;
        /// `MYRIGHTS` (RFC 8440)
        const MYRIGHTS = 8;
    }
}

/// The names of [`StatusItems`].
pub const STATUS_NAMES: [(StatusItems, &str); 11] = [
    (StatusItems::MESSAGES, "MESSAGES"),
    (StatusItems::RECENT, "RECENT"),
    (StatusItems::UIDNEXT, "UIDNEXT"),
    (StatusItems::UIDVALIDITY, "UIDVALIDITY"),
    (StatusItems::UNSEEN, "UNSEEN"),
    (StatusItems::DELETED, "DELETED"),
    (StatusItems::SIZE, "SIZE"),
    (StatusItems::APPENDLIMIT, "APPENDLIMIT"),
    (StatusItems::HIGHESTMODSEQ, "HIGHESTMODSEQ"),
    (StatusItems::MAILBOXID, "MAILBOXID"),
    (StatusItems::DELETED_STORAGE, "DELETED-STORAGE"),
];

/// A LIST, plain or extended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListArguments<'a> {
    /// Which names.
    pub select: ListSelect,
    /// The reference name.
    pub reference: Text<'a>,
    /// Patterns with `%` and `*`.
    pub patterns: SmallVec<[Text<'a>; 1]>,
    /// What to tell.
    pub returns: ListReturn,
    /// STATUS of each selectable name (RFC 5819).
    pub status: StatusItems,
    /// Annotations of each name (RFC 9590).
    pub metadata: Entries,
    /// Whether any of RFC 5258's syntax was used.
    pub extended: bool,
}

/// RFC 9051 §9, list, with RFC 5258's options.
pub(crate) fn list<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<ListArguments<'a>> {
    let mut select = ListSelect::empty();
    let mut extended = false;
    if cursor.eat(b'(') {
        extended = true;
        options(cursor, |cursor, word| {
            select |= match word {
                b"SUBSCRIBED" => ListSelect::SUBSCRIBED,
                b"REMOTE" => ListSelect::REMOTE,
                b"RECURSIVEMATCH" => ListSelect::RECURSIVEMATCH,
                b"SPECIAL-USE" => ListSelect::SPECIAL_USE,
                _ => return cursor.fail(Expected::Option),
            };
            Ok(())
        })?;
        // RFC 5258 §3.1: RECURSIVEMATCH can't stand alone or with REMOTE only.
        if select.contains(ListSelect::RECURSIVEMATCH)
            && !select.intersects(ListSelect::SUBSCRIBED | ListSelect::SPECIAL_USE)
        {
            return cursor.fail(Expected::Option);
        }
        cursor.space()?;
    }
    let reference = cursor.astring()?;
    cursor.space()?;
    let mut patterns = SmallVec::new();
    if cursor.eat(b'(') {
        extended = true;
        loop {
            if patterns.len() >= bounds.patterns {
                return cursor.fail(Expected::Fewer);
            }
            patterns.push(cursor.list_mailbox()?);
            if cursor.eat(b')') {
                break;
            }
            cursor.space()?;
        }
    } else {
        patterns.push(cursor.list_mailbox()?);
    }
    let (mut returns, mut status, mut metadata) = (ListReturn::empty(), StatusItems::empty(), Entries::new());
    let mut before = *cursor;
    if before.eat(b' ') && before.eat_word(b"RETURN") {
        *cursor = before;
        extended = true;
        cursor.space()?;
        cursor.open()?;
        options(cursor, |cursor, word| {
            match word {
                b"SUBSCRIBED" => returns |= ListReturn::SUBSCRIBED,
                b"CHILDREN" => returns |= ListReturn::CHILDREN,
                b"SPECIAL-USE" => returns |= ListReturn::SPECIAL_USE,
                b"MYRIGHTS" => returns |= ListReturn::MYRIGHTS,
                b"METADATA" => {
                    cursor.space()?;
                    metadata = metadata::entries(cursor, bounds)?;
                }
                b"STATUS" => {
                    cursor.space()?;
                    status = status_items(cursor)?;
                }
                _ => return cursor.fail(Expected::Option),
            }
            Ok(())
        })?;
    }
    Ok(ListArguments { select, reference, patterns, returns, status, metadata, extended })
}

/// Words up to `)`, in upper case, each with what `one` takes behind it.
fn options<'a>(cursor: &mut Cursor<'a>, mut one: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<()>) -> Result<()> {
    if cursor.eat(b')') {
        return Ok(());
    }
    loop {
        let word = cursor.atom()?.to_ascii_uppercase();
        one(cursor, &word)?;
        if cursor.eat(b')') {
            return Ok(());
        }
        cursor.space()?;
    }
}

/// `(MESSAGES UIDNEXT …)`
pub(crate) fn status_items(cursor: &mut Cursor<'_>) -> Result<StatusItems> {
    cursor.open()?;
    let mut items = StatusItems::empty();
    loop {
        let from = *cursor;
        let word = cursor.atom()?;
        match STATUS_NAMES.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word)) {
            Some((item, _)) => items |= *item,
            None => return from.fail(Expected::StatusItem),
        }
        if cursor.eat(b')') {
            return Ok(items);
        }
        cursor.space()?;
    }
}

/// RFC 6154 §3: `(USE (\Sent))` behind a CREATE's name. Attributes come with their backslash.
pub(crate) fn create_uses<'a>(cursor: &mut Cursor<'a>) -> Result<SmallVec<[&'a [u8]; 1]>> {
    let mut uses = SmallVec::new();
    if cursor.end().is_ok() {
        return Ok(uses);
    }
    cursor.space()?;
    cursor.open()?;
    if !cursor.eat_word(b"USE") {
        return cursor.fail(Expected::Option);
    }
    cursor.space()?;
    cursor.open()?;
    loop {
        if cursor.eat(b')') {
            break;
        }
        if !uses.is_empty() {
            cursor.space()?;
        }
        let from = cursor.at();
        if !cursor.eat(b'\\') {
            return cursor.fail(Expected::Flag);
        }
        cursor.atom()?;
        uses.push(cursor.since(from));
    }
    cursor.close()?;
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ListArguments<'_>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let list = list(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(list)
    }

    #[test]
    fn plain_and_extended_lists() {
        let plain = parse("\"\" *").unwrap();
        assert!(!plain.extended);
        assert_eq!(plain.patterns.as_slice(), [&b"*"[..]]);
        let extended = parse(
            "(SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" a/%) RETURN (CHILDREN STATUS (MESSAGES unseen) SPECIAL-USE)",
        )
        .unwrap();
        assert!(extended.extended);
        assert_eq!(extended.patterns.len(), 2);
        assert_eq!(extended.status, StatusItems::MESSAGES | StatusItems::UNSEEN);
        assert_eq!(extended.returns, ListReturn::CHILDREN | ListReturn::SPECIAL_USE);
        assert!(parse("() \"\" \"\"").unwrap().extended);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [
            "",
            "\"\"",
            "(RECURSIVEMATCH) \"\" *",
            "(NONSENSE) \"\" *",
            "\"\" ()",
            "\"\" * RETURN",
            "\"\" * RETURN (STATUS)",
            "\"\" * RETURN (STATUS ())",
            "\"\" * RETURN (NONSENSE)",
            "a(b *",
            "\"\" * *",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many = format!("\"\" ({}a)", "a ".repeat(40));
        assert_eq!(parse(&many).unwrap_err().expected, Expected::Fewer);
    }
}
