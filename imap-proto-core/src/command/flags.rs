//! Flags as a client writes them (RFC 9051 §2.3.2, §9 flag-list).

use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result};
use super::{Bounds, Expected};

/// Flags and keywords, in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagList<'a> {
    /// The system flags.
    pub system: SystemFlags,
    /// The keywords, as they were written.
    pub keywords: SmallVec<[&'a str; 4]>,
}

impl FlagList<'_> {
    /// The same as the store keeps it.
    #[must_use]
    pub fn to_set(&self) -> FlagSet {
        let mut set: FlagSet = self.keywords.iter().filter_map(|word| Keyword::new(word)).collect();
        set.system = self.system;
        set
    }
}

/// RFC 9051 §9, flag-list: flags in parentheses.
pub(crate) fn list<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<FlagList<'a>> {
    cursor.open()?;
    let mut flags = FlagList::default();
    if cursor.eat(b')') {
        return Ok(flags);
    }
    loop {
        flag(cursor, &mut flags, bounds)?;
        if cursor.eat(b')') {
            return Ok(flags);
        }
        cursor.space()?;
    }
}

/// Flags in parentheses, or without up to the command's end (RFC 9051 §9, store-att-flags).
pub(crate) fn list_or_run<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<FlagList<'a>> {
    if cursor.peek() == Some(b'(') {
        return list(cursor, bounds);
    }
    let mut flags = FlagList::default();
    loop {
        flag(cursor, &mut flags, bounds)?;
        if cursor.end().is_ok() {
            return Ok(flags);
        }
        cursor.space()?;
    }
}

fn flag<'a>(cursor: &mut Cursor<'a>, flags: &mut FlagList<'a>, bounds: &Bounds) -> Result<()> {
    let from = *cursor;
    if cursor.eat(b'\\') {
        let word = cursor.atom()?;
        let known = SystemFlags::NAMES
            .iter()
            .find(|(_, name)| name.as_bytes().get(1..).is_some_and(|name| name.eq_ignore_ascii_case(word)));
        match known {
            Some((flag, _)) => flags.system |= *flag,
            // RFC 3501 §2.3.2: \Recent can't be set by a client; some send back every flag they were told.
            None if word.eq_ignore_ascii_case(b"Recent") => {}
            None => return from.fail(Expected::Flag),
        }
        return Ok(());
    }
    // RFC 9051 §2.3.2, RFC 8457 §2: $Forwarded, $Important and the like are keywords as any other.
    match std::str::from_utf8(cursor.atom()?) {
        Ok(word) if word.len() <= Keyword::MAX_LEN && flags.keywords.len() < bounds.items => flags.keywords.push(word),
        _ => return from.fail(Expected::Flag),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FlagList<'_>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let flags = list_or_run(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(flags)
    }

    #[test]
    fn flags_come_with_and_without_parentheses() {
        let flags = parse("(\\seen $Forwarded \\DELETED)").unwrap();
        assert_eq!(flags.system, SystemFlags::SEEN | SystemFlags::DELETED);
        assert_eq!(flags.keywords.as_slice(), ["$Forwarded"]);
        assert_eq!(parse("\\Seen work").unwrap().keywords.as_slice(), ["work"]);
        assert_eq!(parse("()").unwrap(), FlagList::default());
        assert_eq!(parse("(\\Recent)").unwrap(), FlagList::default());
        assert_eq!(flags.to_set().keywords().len(), 1);
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for bad in ["", "(", "(\\Seen", "\\*", "\\Nonsense", "(a  b)", "( a)", "\\", "(a\"b)"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
