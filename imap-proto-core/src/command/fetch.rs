//! What FETCH asks for (RFC 9051 §6.4.5, RFC 3516 §4.2): items, sections, partials.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::cursor::{Cursor, Result, Text};
use super::{Bounds, Expected};

/// One item of a FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchItem<'a> {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY` without a section: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `MODSEQ` (RFC 7162 §3.1.4.2)
    ModSeq,
    /// `EMAILID` (RFC 8474 §5.1)
    EmailId,
    /// `THREADID` (RFC 8474 §5.2)
    ThreadId,
    /// `SAVEDATE` (RFC 8514 §4.2)
    SaveDate,
    /// `BINARY.SIZE[…]`: how many octets a part has once it is decoded (RFC 3516 §4.2).
    BinarySize(Part),
    /// `PREVIEW`: the beginning of its text (RFC 8970 §3).
    Preview {
        /// Whether one that has to be made first may be left out (RFC 8970 §4.1).
        lazy: bool,
    },
    /// `BODY[…]`, `BODY.PEEK[…]`, the `RFC822` forms, `BINARY[…]` and `BINARY.PEEK[…]`.
    Section(BodySection<'a>),
}

/// A piece of a message to be brought as a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySection<'a> {
    /// What the answer is to be called.
    pub spelling: Spelling,
    /// Whether `\Seen` stays as it is.
    pub peek: bool,
    /// Which part.
    pub section: Section<'a>,
    /// First octet and how many; the second is not 0.
    pub partial: Option<(u64, u64)>,
}

/// How a section was asked for, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `BODY[…]`
    Body,
    /// `BINARY[…]`: decoded; its section has nothing but a part.
    Binary,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// Part numbers from the top; empty for the message itself.
pub type Part = SmallVec<[u32; 4]>;

/// A section (RFC 9051 §9, section-spec).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section<'a> {
    /// Which part.
    pub part: Part,
    /// What of the part.
    pub of: SectionOf<'a>,
}

/// What of a part is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SectionOf<'a> {
    /// All of it: the whole message, or the part's body.
    #[default]
    Whole,
    /// `HEADER`: the message's header.
    Header,
    /// `HEADER.FIELDS`: these fields of it.
    Fields(Vec<Text<'a>>),
    /// `HEADER.FIELDS.NOT`: the other fields of it.
    FieldsNot(Vec<Text<'a>>),
    /// `TEXT`: the message without its header.
    Text,
    /// `MIME`: the part's own header.
    Mime,
}

impl SectionOf<'_> {
    pub(super) fn into_owned(self) -> SectionOf<'static> {
        let owned = |fields: Vec<Text<'_>>| fields.into_iter().map(|field| Cow::Owned(field.into_owned())).collect();
        match self {
            SectionOf::Whole => SectionOf::Whole,
            SectionOf::Header => SectionOf::Header,
            SectionOf::Fields(fields) => SectionOf::Fields(owned(fields)),
            SectionOf::FieldsNot(fields) => SectionOf::FieldsNot(owned(fields)),
            SectionOf::Text => SectionOf::Text,
            SectionOf::Mime => SectionOf::Mime,
        }
    }
}

impl FetchItem<'_> {
    /// The same without borrowing from the command.
    #[must_use]
    pub fn into_owned(self) -> FetchItem<'static> {
        match self {
            FetchItem::Flags => FetchItem::Flags,
            FetchItem::Uid => FetchItem::Uid,
            FetchItem::InternalDate => FetchItem::InternalDate,
            FetchItem::Size => FetchItem::Size,
            FetchItem::Envelope => FetchItem::Envelope,
            FetchItem::Body => FetchItem::Body,
            FetchItem::BodyStructure => FetchItem::BodyStructure,
            FetchItem::ModSeq => FetchItem::ModSeq,
            FetchItem::EmailId => FetchItem::EmailId,
            FetchItem::ThreadId => FetchItem::ThreadId,
            FetchItem::SaveDate => FetchItem::SaveDate,
            FetchItem::BinarySize(part) => FetchItem::BinarySize(part),
            FetchItem::Preview { lazy } => FetchItem::Preview { lazy },
            FetchItem::Section(BodySection { spelling, peek, section, partial }) => {
                let section = Section { part: section.part, of: section.of.into_owned() };
                FetchItem::Section(BodySection { spelling, peek, section, partial })
            }
        }
    }
}

/// The items of a FETCH, in the order they were asked for.
pub type FetchItems<'a> = SmallVec<[FetchItem<'a>; 4]>;

/// The argument of FETCH behind the sequence set: a macro, an item, or items in parentheses.
pub(crate) fn items<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<FetchItems<'a>> {
    let mut items = FetchItems::new();
    if !cursor.eat(b'(') {
        let from = *cursor;
        return match macro_items(cursor.item_word()) {
            Some(macro_items) => Ok(macro_items),
            None => {
                *cursor = from;
                items.push(item(cursor, bounds)?);
                Ok(items)
            }
        };
    }
    loop {
        if items.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        items.push(item(cursor, bounds)?);
        if cursor.eat(b')') {
            return Ok(items);
        }
        cursor.space()?;
    }
}

/// RFC 9051 §6.4.5: ALL, FAST and FULL stand alone.
fn macro_items<'a>(word: &[u8]) -> Option<FetchItems<'a>> {
    let fast = || smallvec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
    let mut items: FetchItems<'a>;
    if word.eq_ignore_ascii_case(b"FAST") {
        items = fast();
    } else if word.eq_ignore_ascii_case(b"ALL") {
        items = fast();
        items.push(FetchItem::Envelope);
    } else if word.eq_ignore_ascii_case(b"FULL") {
        items = fast();
        items.extend([FetchItem::Envelope, FetchItem::Body]);
    } else {
        return None;
    }
    Some(items)
}

fn item<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<FetchItem<'a>> {
    let from = *cursor;
    let word = cursor.item_word();
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let whole = |spelling, of, peek| {
        let section = Section { part: SmallVec::new(), of };
        FetchItem::Section(BodySection { spelling, peek, section, partial: None })
    };
    let item = match word.len() {
        3 if is(b"UID") => FetchItem::Uid,
        4 if is(b"BODY") && cursor.peek() == Some(b'[') => return section_item(cursor, Spelling::Body, false, bounds),
        4 if is(b"BODY") => FetchItem::Body,
        5 if is(b"FLAGS") => FetchItem::Flags,
        6 if is(b"MODSEQ") => FetchItem::ModSeq,
        6 if is(b"RFC822") => whole(Spelling::Rfc822, SectionOf::Whole, false),
        7 if is(b"EMAILID") => FetchItem::EmailId,
        7 if is(b"PREVIEW") => FetchItem::Preview { lazy: lazy(cursor)? },
        8 if is(b"THREADID") => FetchItem::ThreadId,
        8 if is(b"SAVEDATE") => FetchItem::SaveDate,
        8 if is(b"ENVELOPE") => FetchItem::Envelope,
        6 if is(b"BINARY") => return section_item(cursor, Spelling::Binary, false, bounds),
        9 if is(b"BODY.PEEK") => return section_item(cursor, Spelling::Body, true, bounds),
        11 if is(b"BINARY.PEEK") => return section_item(cursor, Spelling::Binary, true, bounds),
        11 if is(b"BINARY.SIZE") => FetchItem::BinarySize(bracketed(cursor, Spelling::Binary, bounds)?.part),
        11 if is(b"RFC822.SIZE") => FetchItem::Size,
        // No RFC has RFC822.PEEK and RFC822.TEXT.PEEK; Outlook and others have asked for them since IMAP2bis.
        11 if is(b"RFC822.PEEK") => whole(Spelling::Rfc822, SectionOf::Whole, true),
        11 if is(b"RFC822.TEXT") => whole(Spelling::Rfc822Text, SectionOf::Text, false),
        16 if is(b"RFC822.TEXT.PEEK") => whole(Spelling::Rfc822Text, SectionOf::Text, true),
        12 if is(b"INTERNALDATE") => FetchItem::InternalDate,
        13 if is(b"BODYSTRUCTURE") => FetchItem::BodyStructure,
        // RFC 3501 §6.4.5: RFC822.HEADER is BODY.PEEK[HEADER], so it never sets \Seen.
        13 if is(b"RFC822.HEADER") => whole(Spelling::Rfc822Header, SectionOf::Header, true),
        _ => return from.fail(Expected::FetchItem),
    };
    Ok(item)
}

/// RFC 8970 §6, preview-mod: `(LAZY)` behind the item. Other parentheses there belong to FETCH.
fn lazy(cursor: &mut Cursor<'_>) -> Result<bool> {
    let mut ahead = *cursor;
    if !(ahead.eat(b' ') && ahead.eat(b'(') && ahead.eat_word(b"LAZY")) {
        return Ok(false);
    }
    *cursor = ahead;
    while !cursor.eat(b')') {
        cursor.space()?;
        if !cursor.eat_word(b"LAZY") {
            return cursor.fail(Expected::Option);
        }
    }
    Ok(true)
}

/// A section in its brackets. RFC 9051 §9, section-binary: only a part.
fn bracketed<'a>(cursor: &mut Cursor<'a>, spelling: Spelling, bounds: &Bounds) -> Result<Section<'a>> {
    if !cursor.eat(b'[') {
        return cursor.fail(Expected::Section);
    }
    let from = *cursor;
    let section = section(cursor, bounds)?;
    if spelling == Spelling::Binary && section.of != SectionOf::Whole {
        return from.fail(Expected::Section);
    }
    if !cursor.eat(b']') {
        return cursor.fail(Expected::Section);
    }
    Ok(section)
}

fn section_item<'a>(cursor: &mut Cursor<'a>, spelling: Spelling, peek: bool, bounds: &Bounds) -> Result<FetchItem<'a>> {
    let section = bracketed(cursor, spelling, bounds)?;
    let mut partial = None;
    if cursor.eat(b'<') {
        let first = cursor.number()?;
        if !cursor.eat(b'.') {
            return cursor.fail(Expected::Section);
        }
        let from = *cursor;
        let count = cursor.number()?;
        // RFC 9051 §9, partial: the count is not 0.
        if count == 0 {
            return from.fail(Expected::Number);
        }
        if !cursor.eat(b'>') {
            return cursor.fail(Expected::Section);
        }
        partial = Some((first, count));
    }
    Ok(FetchItem::Section(BodySection { spelling, peek, section, partial }))
}

pub(super) fn section<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<Section<'a>> {
    let mut section = Section::default();
    while cursor.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        let from = *cursor;
        match cursor.number32()? {
            0 => return from.fail(Expected::Section),
            number => section.part.push(number),
        }
        if section.part.len() > bounds.depth {
            return from.fail(Expected::LessDepth);
        }
        if !cursor.eat(b'.') {
            return Ok(section);
        }
    }
    let from = *cursor;
    let word = cursor.item_word();
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    section.of = match word.len() {
        0 if section.part.is_empty() => SectionOf::Whole,
        4 if is(b"TEXT") => SectionOf::Text,
        // RFC 9051 §6.4.5.1: MIME needs a part number before it.
        4 if is(b"MIME") && !section.part.is_empty() => SectionOf::Mime,
        6 if is(b"HEADER") => SectionOf::Header,
        13 if is(b"HEADER.FIELDS") => SectionOf::Fields(fields(cursor, bounds)?),
        17 if is(b"HEADER.FIELDS.NOT") => SectionOf::FieldsNot(fields(cursor, bounds)?),
        _ => return from.fail(Expected::Section),
    };
    Ok(section)
}

/// RFC 9051 §9, header-list.
fn fields<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<Vec<Text<'a>>> {
    cursor.space()?;
    cursor.open()?;
    let mut fields = Vec::new();
    loop {
        if fields.len() >= bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        fields.push(cursor.astring()?);
        if cursor.eat(b')') {
            return Ok(fields);
        }
        cursor.space()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FetchItems<'_>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let items = items(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(items)
    }

    fn one(text: &str) -> BodySection<'_> {
        match parse(text).unwrap().remove(0) {
            FetchItem::Section(section) => section,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn macros_stand_alone() {
        assert_eq!(parse("full").unwrap().len(), 5);
        assert_eq!(parse("ALL").unwrap()[3], FetchItem::Envelope);
        assert_eq!(parse("fast").unwrap().len(), 3);
        assert!(parse("(ALL)").is_err());
    }

    #[test]
    fn sections_with_parts_fields_and_partials() {
        let section = one("BODY.PEEK[1.2.HEADER.FIELDS (\"From\" TO)]<5.10>");
        assert!(section.peek);
        assert_eq!(section.section.part.as_slice(), [1, 2]);
        assert_eq!(section.partial, Some((5, 10)));
        let SectionOf::Fields(fields) = section.section.of else { panic!() };
        assert_eq!(fields, [&b"From"[..], b"TO"]);
        assert_eq!(one("BODY[]").section, Section::default());
        assert_eq!(one("body[text]").section.of, SectionOf::Text);
        assert_eq!(one("BODY[2.MIME]").section.of, SectionOf::Mime);
        assert_eq!(one("BODY[1]").section.part.as_slice(), [1]);
        assert_eq!(one("BINARY[1.2]<0.5>").spelling, Spelling::Binary);
        assert!(one("binary.peek[]").peek);
        assert_eq!(parse("BINARY.SIZE[2]").unwrap()[0], FetchItem::BinarySize(smallvec![2]));
        assert_eq!(parse("(PREVIEW (LAZY) FLAGS)").unwrap()[0], FetchItem::Preview { lazy: true });
        assert_eq!(parse("PREVIEW").unwrap()[0], FetchItem::Preview { lazy: false });
        assert_eq!(parse("(preview (lazy LAZY))").unwrap()[0], FetchItem::Preview { lazy: true });
        assert!(one("RFC822.HEADER").peek);
        assert!(!one("RFC822.TEXT").peek);
        assert_eq!(parse("(UID FLAGS BODY BODYSTRUCTURE RFC822.SIZE)").unwrap().len(), 5);
    }

    #[test]
    fn what_is_no_fetch_item_is_refused() {
        for bad in [
            "",
            "()",
            "(FLAGS",
            "(FLAGS )",
            "FLAGS UID",
            "BODY[",
            "BODY[0]",
            "BODY[MIME]",
            "BODY[1.]",
            "BODY[]<0.0>",
            "BODY[]<0>",
            "BODY[HEADER.FIELDS ()]",
            "BODY[HEADER.FIELDS FROM]",
            "BODY.PEEK",
            "BINARY",
            "BINARY[HEADER]",
            "BINARY[1.MIME]",
            "BINARY[1.]",
            "BINARY.SIZE",
            "PREVIEW (LAZY",
            "PREVIEW (LAZY OTHER)",
            "(PREVIEW (OTHER))",
            "BINARY.SIZE[1]<0.1>",
            "NONSENSE",
            "(FLAGS  UID)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deep = format!("BODY[{}1]", "1.".repeat(200));
        assert_eq!(parse(&deep).unwrap_err().expected, Expected::LessDepth);
    }
}
