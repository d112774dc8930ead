//! The arguments of the commands about annotations (RFC 5464 §4.2, §4.3).

use mailstore_trait::metadata::{Depth, EntryName};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result, Text};
use super::{Bounds, Expected};

/// A command about annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataCommand<'a> {
    /// GETMETADATA
    Get {
        /// Of which mailbox; empty for the server.
        mailbox: Text<'a>,
        /// Values of more octets are left out.
        max_size: Option<u64>,
        /// How far below the names to look.
        depth: Depth,
        /// Which.
        entries: Entries,
    },
    /// SETMETADATA
    Set {
        /// Of which mailbox; empty for the server.
        mailbox: Text<'a>,
        /// What they are to be; nothing takes one away.
        values: Vec<(WireEntry, Option<Text<'a>>)>,
    },
}

/// Names of entries.
pub type Entries = SmallVec<[WireEntry; 1]>;

/// An entry's name as it stands on the wire: with its scope (RFC 5464 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireEntry {
    /// `/private` rather than `/shared`.
    pub private: bool,
    /// What stands behind; nothing where that is all.
    pub name: Option<EntryName>,
}

impl WireEntry {
    /// Reads a name; nothing when it is none.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<WireEntry> {
        let name = std::str::from_utf8(name).ok()?;
        let scopes = [("/shared", false), ("/private", true)];
        scopes.into_iter().find_map(|(scope, private)| {
            let (head, rest) = name.split_at_checked(scope.len())?;
            let name = match rest {
                "" => None,
                rest => Some(EntryName::new(rest)?),
            };
            head.eq_ignore_ascii_case(scope).then_some(WireEntry { private, name })
        })
    }
}

fn entry(cursor: &mut Cursor<'_>) -> Result<WireEntry> {
    let from = *cursor;
    let name = cursor.astring()?;
    WireEntry::parse(&name).map_or_else(|| from.fail(Expected::Entry), Ok)
}

/// One name, or several in parentheses.
pub(crate) fn entries(cursor: &mut Cursor<'_>, bounds: &Bounds) -> Result<Entries> {
    let mut entries = Entries::new();
    if !cursor.eat(b'(') {
        entries.push(entry(cursor)?);
        return Ok(entries);
    }
    loop {
        if entries.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        entries.push(entry(cursor)?);
        if cursor.eat(b')') {
            return Ok(entries);
        }
        cursor.space()?;
    }
}

/// RFC 5464 §5, getmetadata, behind the command's name.
///
/// The grammar has the options before the mailbox, the examples of §4.2.1 and §4.2.2 behind it: both are taken. So are
/// several names without parentheses, as §4.4.1 shows them.
pub(crate) fn get<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<MetadataCommand<'a>> {
    let (mut max_size, mut depth) = (None, Depth::Zero);
    let mut given = cursor.peek() == Some(b'(');
    if given {
        options(cursor, &mut max_size, &mut depth)?;
        cursor.space()?;
    }
    let mailbox = cursor.astring()?;
    cursor.space()?;
    if !given && cursor.peek() == Some(b'(') {
        let mut ahead = *cursor;
        // Parentheses with names instead are no options.
        if options(&mut ahead, &mut max_size, &mut depth).is_ok() && ahead.eat(b' ') {
            *cursor = ahead;
            given = true;
        }
    }
    if !given {
        (max_size, depth) = (None, Depth::Zero);
    }
    let mut names = entries(cursor, bounds)?;
    while cursor.eat(b' ') {
        if names.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        names.push(entry(cursor)?);
    }
    Ok(MetadataCommand::Get { mailbox, max_size, depth, entries: names })
}

fn options(cursor: &mut Cursor<'_>, max_size: &mut Option<u64>, depth: &mut Depth) -> Result<()> {
    cursor.open()?;
    loop {
        if max_size.is_none() && cursor.eat_word(b"MAXSIZE") {
            cursor.space()?;
            *max_size = Some(cursor.number()?);
        } else if cursor.eat_word(b"DEPTH") {
            cursor.space()?;
            *depth = match () {
                () if cursor.eat_word(b"0") => Depth::Zero,
                () if cursor.eat_word(b"1") => Depth::One,
                () if cursor.eat_word(b"INFINITY") => Depth::Infinity,
                () => return cursor.fail(Expected::Option),
            };
        } else {
            return cursor.fail(Expected::Option);
        }
        if cursor.eat(b')') {
            return Ok(());
        }
        cursor.space()?;
    }
}

/// RFC 5464 §5, setmetadata, behind the command's name.
pub(crate) fn set<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<MetadataCommand<'a>> {
    let mailbox = cursor.astring()?;
    cursor.space()?;
    cursor.open()?;
    let mut values = Vec::new();
    loop {
        if values.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        let from = *cursor;
        let name = entry(cursor)?;
        // The bare scope is no entry.
        if name.name.is_none() {
            return from.fail(Expected::Entry);
        }
        cursor.space()?;
        values.push((name, cursor.nstring()?));
        if cursor.eat(b')') {
            return Ok(MetadataCommand::Set { mailbox, values });
        }
        // RFC 5464 §4.3: the first example has a space before the last parenthesis.
        cursor.space()?;
        if cursor.eat(b')') {
            return Ok(MetadataCommand::Set { mailbox, values });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<T>(text: &'static str, read: impl Fn(&mut Cursor<'static>, &Bounds) -> Result<T>) -> Result<T> {
        let mut cursor = Cursor::new(text.as_bytes());
        let read = read(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(read)
    }

    fn shape(text: &'static str) -> Option<(Option<u64>, Depth, usize)> {
        match whole(text, get) {
            Ok(MetadataCommand::Get { max_size, depth, entries, .. }) => Some((max_size, depth, entries.len())),
            _ => None,
        }
    }

    #[test]
    fn names_have_a_scope() {
        let name = |text: &[u8]| WireEntry::parse(text);
        assert!(!name(b"/shared/Comment").unwrap().private);
        assert_eq!(name(b"/PRIVATE/comment").unwrap().name, EntryName::new("/comment"));
        assert_eq!(name(b"/shared").unwrap().name, None);
        for bad in [&b"/other/comment"[..], b"comment", b"/sharedcomment", b"/shared/", b"/shared/a*", b"", b"\xff"] {
            assert_eq!(name(bad), None);
        }
    }

    #[test]
    fn options_stand_before_or_behind_the_mailbox() {
        assert_eq!(shape("\"\" /shared/comment"), Some((None, Depth::Zero, 1)));
        assert_eq!(shape("INBOX (/shared/comment /private/comment)"), Some((None, Depth::Zero, 2)));
        assert_eq!(shape("INBOX /private/comment /shared/comment"), Some((None, Depth::Zero, 2)));
        assert_eq!(shape("INBOX (MAXSIZE 1024) (/shared/a)"), Some((Some(1024), Depth::Zero, 1)));
        assert_eq!(shape("(DEPTH infinity MAXSIZE 5) INBOX /shared"), Some((Some(5), Depth::Infinity, 1)));
        assert_eq!(shape("INBOX (DEPTH 1) (/private/filters/values)"), Some((None, Depth::One, 1)));
        for bad in [
            "",
            "INBOX",
            "INBOX ()",
            "INBOX (DEPTH 2) /shared/a",
            "INBOX (MAXSIZE 1)",
            "INBOX /other",
            "(X 1) INBOX /shared/a",
        ] {
            assert_eq!(shape(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_are_strings_or_nil() {
        let values = |text| match whole(text, set) {
            Ok(MetadataCommand::Set { values, .. }) => Some(values.iter().map(|(_, value)| value.is_some()).collect()),
            _ => None,
        };
        assert_eq!(values("INBOX (/private/comment \"a\" /shared/comment NIL)"), Some(vec![true, false]));
        assert_eq!(values("INBOX (/private/comment {3}\r\na\0b )"), Some(vec![true]));
        assert_eq!(values("INBOX (/private/comment ~{3}\r\na\0b)"), Some(vec![true]));
        for bad in
            ["INBOX ()", "INBOX (/shared \"x\")", "INBOX (/shared/a)", "INBOX /shared/a \"x\"", "INBOX (/shared/a x)"]
        {
            assert_eq!(values(bad), None::<Vec<bool>>, "{bad}");
        }
    }
}
