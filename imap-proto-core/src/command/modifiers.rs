//! Modifiers of SELECT, FETCH and STORE: the parentheses of RFC 4466 with what RFC 7162 §7 puts into them.

use super::cursor::{Cursor, Result};
use super::{Expected, PartialRange, SequenceSet};

/// Parameters of SELECT and EXAMINE (RFC 7162 §3.1.8, §3.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectParameters {
    /// `CONDSTORE`
    pub condstore: bool,
    /// `QRESYNC`
    pub qresync: Option<QResync>,
}

/// What a client still knows of a mailbox it opens again (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    /// The UIDVALIDITY it knew.
    pub uid_validity: u32,
    /// The mod-sequence up to which it knows everything.
    pub since: u64,
    /// The UIDs it knows; `None` for all there can be.
    pub known: Option<SequenceSet>,
    /// Message numbers and their UIDs, in the same order.
    pub matches: Option<(SequenceSet, SequenceSet)>,
}

/// Modifiers of FETCH (RFC 7162 §3.1.4.1, §3.2.6; RFC 9394 §3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchModifiers {
    /// `CHANGEDSINCE`: only messages changed after this.
    pub changed_since: Option<u64>,
    /// `VANISHED`: removals since are wanted too.
    pub vanished: bool,
    /// `PARTIAL`: only this piece of the messages that are there.
    pub partial: Option<PartialRange>,
}

/// `(CONDSTORE)`, `(QRESYNC (…))`, or nothing.
pub(crate) fn select(cursor: &mut Cursor<'_>) -> Result<SelectParameters> {
    let mut parameters = SelectParameters::default();
    if cursor.end().is_ok() {
        return Ok(parameters);
    }
    cursor.space()?;
    cursor.open()?;
    loop {
        if cursor.eat_word(b"CONDSTORE") {
            parameters.condstore = true;
        } else if parameters.qresync.is_none() && cursor.eat_word(b"QRESYNC") {
            cursor.space()?;
            parameters.qresync = Some(qresync(cursor)?);
        } else {
            return cursor.fail(Expected::Option);
        }
        if cursor.eat(b')') {
            return Ok(parameters);
        }
        cursor.space()?;
    }
}

fn qresync(cursor: &mut Cursor<'_>) -> Result<QResync> {
    cursor.open()?;
    let from = *cursor;
    let uid_validity = cursor.number32()?;
    if uid_validity == 0 {
        return from.fail(Expected::Number);
    }
    cursor.space()?;
    let since = cursor.number()?;
    let mut qresync = QResync { uid_validity, since, known: None, matches: None };
    let mut ahead = *cursor;
    if ahead.eat(b' ') && ahead.peek() != Some(b'(') {
        *cursor = ahead;
        qresync.known = Some(numbers(cursor)?);
    }
    if cursor.eat(b' ') {
        cursor.open()?;
        let from = *cursor;
        let seqs = numbers(cursor)?;
        cursor.space()?;
        let uids = numbers(cursor)?;
        // RFC 7162 §3.2.5.2: each number has its UID.
        if seqs.count() != uids.count() {
            return from.fail(Expected::SequenceSet);
        }
        cursor.close()?;
        qresync.matches = Some((seqs, uids));
    }
    cursor.close()?;
    Ok(qresync)
}

/// A sequence set in which `*` may not stand.
fn numbers(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
    let from = *cursor;
    let set = SequenceSet::parse(cursor)?;
    if set.has_star() || set.is_saved() { from.fail(Expected::SequenceSet) } else { Ok(set) }
}

/// `(CHANGEDSINCE n)`, `(CHANGEDSINCE n VANISHED)`, `(PARTIAL 1:500)` and these together, or nothing.
pub(crate) fn fetch(cursor: &mut Cursor<'_>, uid: bool) -> Result<FetchModifiers> {
    let mut modifiers = FetchModifiers::default();
    if cursor.end().is_ok() {
        return Ok(modifiers);
    }
    cursor.space()?;
    cursor.open()?;
    let from = *cursor;
    loop {
        if modifiers.changed_since.is_none() && cursor.eat_word(b"CHANGEDSINCE") {
            cursor.space()?;
            modifiers.changed_since = Some(cursor.number()?);
        } else if uid && cursor.eat_word(b"VANISHED") {
            // RFC 7162 §3.2.6: of UID FETCH only.
            modifiers.vanished = true;
        } else if uid && modifiers.partial.is_none() && cursor.eat_word(b"PARTIAL") {
            // RFC 9394 §3.3: of UID FETCH only.
            cursor.space()?;
            modifiers.partial = Some(super::search::partial_range(cursor)?);
        } else {
            return cursor.fail(Expected::Option);
        }
        if cursor.eat(b')') {
            break;
        }
        cursor.space()?;
    }
    // RFC 7162 §3.2.6: VANISHED never stands alone.
    if modifiers.vanished && modifiers.changed_since.is_none() { from.fail(Expected::Option) } else { Ok(modifiers) }
}

/// `(UNCHANGEDSINCE n)` and a space, or nothing.
pub(crate) fn store(cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
    if !cursor.eat(b'(') {
        return Ok(None);
    }
    if !cursor.eat_word(b"UNCHANGEDSINCE") {
        return cursor.fail(Expected::Option);
    }
    cursor.space()?;
    let since = cursor.number()?;
    cursor.close()?;
    cursor.space()?;
    Ok(Some(since))
}

/// RFC 7162 §7, search-modsequence: ` [entry-name entry-type] n` behind `MODSEQ`.
///
/// One number is kept for all of a message's flags, so §3.1.5 has the entry's name and type passed over.
pub(crate) fn search(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.space()?;
    if cursor.peek() == Some(b'"') {
        let from = *cursor;
        if !cursor.string()?.starts_with(b"/flags/") {
            return from.fail(Expected::Option);
        }
        cursor.space()?;
        if ![&b"all"[..], b"priv", b"shared"].iter().any(|word| cursor.eat_word(word)) {
            return cursor.fail(Expected::Option);
        }
        cursor.space()?;
    }
    cursor.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<T>(text: &str, read: impl Fn(&mut Cursor<'_>) -> Result<T>) -> Result<T> {
        let mut cursor = Cursor::new(text.as_bytes());
        let read = read(&mut cursor)?;
        cursor.end()?;
        Ok(read)
    }

    #[test]
    fn select_parameters_come_in_any_order() {
        assert_eq!(whole("", select).unwrap(), SelectParameters::default());
        assert!(whole(" (condstore)", select).unwrap().condstore);
        let both = whole(" (CONDSTORE QRESYNC (67890007 90060115194045000 41:211,214:541))", select).unwrap();
        assert!(both.condstore);
        let qresync = both.qresync.unwrap();
        assert_eq!((qresync.uid_validity, qresync.since), (67_890_007, 90_060_115_194_045_000));
        assert!(qresync.known.is_some() && qresync.matches.is_none());
        let bare = whole(" (QRESYNC (1 2))", select).unwrap().qresync.unwrap();
        assert!(bare.known.is_none() && bare.matches.is_none());
        let matches = whole(" (QRESYNC (1 2 (5,9:10 15,27,29)))", select).unwrap().qresync.unwrap();
        assert!(matches.known.is_none() && matches.matches.is_some());
        assert!(whole(" (QRESYNC (1 2 1:29 (5,9:10 15,27,29)))", select).is_ok());
    }

    #[test]
    fn fetch_and_store_modifiers() {
        assert_eq!(whole("", |c| fetch(c, true)).unwrap(), FetchModifiers::default());
        let since = FetchModifiers { changed_since: Some(0), ..FetchModifiers::default() };
        assert_eq!(whole(" (CHANGEDSINCE 0)", |c| fetch(c, false)).unwrap(), since);
        assert!(whole(" (VANISHED changedsince 5)", |c| fetch(c, true)).unwrap().vanished);
        let piece = whole(" (PARTIAL -1:-30 CHANGEDSINCE 98305)", |c| fetch(c, true)).unwrap();
        assert_eq!(piece.partial, Some(PartialRange { first: 1, last: 30, from_end: true }));
        assert!(whole(" (PARTIAL 1:5)", |c| fetch(c, false)).is_err());
        assert_eq!(whole("(UNCHANGEDSINCE 320162338) ", store).unwrap(), Some(320_162_338));
        assert_eq!(whole(" \"/flags/\\\\draft\" all 620162338", search).unwrap(), 620_162_338);
        assert_eq!(whole(" 5", search).unwrap(), 5);
    }

    #[test]
    fn what_is_no_modifier_is_refused() {
        for bad in [
            " ()",
            " (NONSENSE)",
            " CONDSTORE",
            " (QRESYNC)",
            " (QRESYNC (0 1))",
            " (QRESYNC (1))",
            " (QRESYNC (1 2 1:*))",
            " (QRESYNC (1 2 1:5 (1:3 4:5)))",
            " (QRESYNC (1 2 1:5 (1 2) 3))",
            " (QRESYNC (1 2)",
            " (QRESYNC (1 2) QRESYNC (1 2))",
        ] {
            assert!(whole(bad, select).is_err(), "{bad}");
        }
        for bad in [" ()", " (VANISHED)", " (CHANGEDSINCE)", " (CHANGEDSINCE 1 CHANGEDSINCE 2)", " (CHANGEDSINCE x)"] {
            assert!(whole(bad, |c| fetch(c, true)).is_err(), "{bad}");
        }
        assert!(whole(" (CHANGEDSINCE 1 VANISHED)", |c| fetch(c, false)).is_err());
        assert!(whole("(UNCHANGEDSINCE) ", store).is_err());
        for bad in ["", " \"/flags/a\" 5", " \"/flags/a\" some 5", " \"a\" all 5", " x"] {
            assert!(whole(bad, search).is_err(), "{bad}");
        }
    }
}
