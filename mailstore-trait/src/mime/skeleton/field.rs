//! The fields of a part inside a skeleton, each behind its tag.

use crate::mime::wire::Reader;

/// What a string of a part's fields is. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::mime) enum Tag {
    /// Type, subtype, then pairs of name and value.
    ContentType = 1,
    /// Type, then pairs of name and value.
    Disposition = 2,
    Id = 3,
    Description = 4,
    Encoding = 5,
    Md5 = 6,
    Language = 7,
    Location = 8,
    Date = 16,
    Subject = 17,
    From = 18,
    Sender = 19,
    ReplyTo = 20,
    To = 21,
    Cc = 22,
    Bcc = 23,
    InReplyTo = 24,
    MessageId = 25,
}

impl Tag {
    pub(in crate::mime) fn new(octet: u8) -> Option<Tag> {
        Some(match octet {
            1 => Tag::ContentType,
            2 => Tag::Disposition,
            3 => Tag::Id,
            4 => Tag::Description,
            5 => Tag::Encoding,
            6 => Tag::Md5,
            7 => Tag::Language,
            8 => Tag::Location,
            16 => Tag::Date,
            17 => Tag::Subject,
            18 => Tag::From,
            19 => Tag::Sender,
            20 => Tag::ReplyTo,
            21 => Tag::To,
            22 => Tag::Cc,
            23 => Tag::Bcc,
            24 => Tag::InReplyTo,
            25 => Tag::MessageId,
            _ => return None,
        })
    }

    /// Whether the string is an address list.
    pub(in crate::mime) fn is_addresses(self) -> bool {
        matches!(self, Tag::From | Tag::Sender | Tag::ReplyTo | Tag::To | Tag::Cc | Tag::Bcc)
    }
}

/// The fields of one part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tagged<'a>(pub(super) Reader<'a>);

impl<'a> Tagged<'a> {
    pub(super) fn find(fields: &'a [u8], wanted: Tag) -> Option<&'a [u8]> {
        Tagged(Reader(fields)).find(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Tagged<'a> {
    type Item = (Tag, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = Tag::new(self.0.octet()?)?;
        Some((tag, self.0.octets()?))
    }
}
