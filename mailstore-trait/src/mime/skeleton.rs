//! The MIME structure of a message as a compact, versioned run of octets that is read in place.
//!
//! ```text
//! skeleton = version(1) part                  numbers are LEB128, strings have their length before them
//! part     = length { flags(1) header-start header-length body-length lines
//!                     fields-length { *( tag(1) string ) } *part }
//! ```
//!
//! Parts lie in the order of the message, each child inside its parent, so a section is found by stepping over
//! siblings, BODYSTRUCTURE is one walk, and nothing is allocated. [`SkeletonRef::from_bytes`] checks the whole once;
//! the accessors can then not fail, and on octets that were never checked they would answer nothing rather than panic.
//!
//! Offsets are octets of the message as it was given to the [`Scanner`](super::Scanner). Text is unfolded and otherwise
//! as sent: NULs and line ends are gone, encoded words and RFC 2231 forms are not decoded.

mod field;
mod part;

pub(super) use field::Tag;
pub use part::{Children, ContentType, Disposition, Envelope, PartKind, PartRef, Parts};
pub(super) use part::{HAS_ENVELOPE, KIND_MESSAGE, KIND_MULTIPART, NO_TYPE_DIGEST, NO_TYPE_PLAIN, OPAQUE, SYNTHETIC};

use std::ops::Range;

use super::wire::Reader;

/// The first octet of a skeleton. Another one means: scan the message again.
pub(super) const VERSION: u8 = 1;

/// Why octets are no skeleton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkeletonError {
    /// Written by another version of this library; the message has to be scanned again.
    #[error("the skeleton has version {0}")]
    Version(u8),
    /// Not written by this library, or damaged.
    #[error("the skeleton is damaged")]
    Damaged,
}

/// The MIME structure of one message, owned.
#[derive(Clone, PartialEq, Eq)]
pub struct Skeleton {
    octets: Box<[u8]>,
}

impl Skeleton {
    pub(super) fn trusted(octets: Vec<u8>) -> Skeleton {
        debug_assert!(SkeletonRef::from_bytes(&octets).is_ok(), "the scanner wrote a skeleton that cannot be read");
        Skeleton { octets: octets.into_boxed_slice() }
    }

    /// A skeleton from what [`to_bytes`](Skeleton::to_bytes) gave.
    ///
    /// # Errors
    ///
    /// [`SkeletonError`] for octets of another version and for anything else that is not whole.
    pub fn from_bytes(octets: &[u8]) -> Result<Skeleton, SkeletonError> {
        SkeletonRef::from_bytes(octets)?;
        Ok(Skeleton { octets: octets.into() })
    }

    /// The octets to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.octets.to_vec()
    }

    /// The octets to store, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.octets.into_vec()
    }

    /// The octets to store, borrowed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// The view all reading goes through.
    pub fn view(&self) -> SkeletonRef<'_> {
        SkeletonRef { octets: &self.octets }
    }

    /// See [`SkeletonRef::root`].
    pub fn root(&self) -> PartRef<'_> {
        self.view().root()
    }

    /// See [`SkeletonRef::section`].
    pub fn section(&self, path: &[u32]) -> Option<PartRef<'_>> {
        self.view().section(path)
    }

    /// See [`SkeletonRef::section_range`].
    pub fn section_range(&self, path: &[u32], specifier: Specifier) -> Option<Range<u64>> {
        self.view().section_range(path, specifier)
    }
}

impl std::fmt::Debug for Skeleton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

/// What of a section is wanted (RFC 9051 §6.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Specifier {
    /// `BODY[]`, `BODY[1.2]`: the content, without the MIME header.
    Content,
    /// `BODY[HEADER]`, `BODY[1.HEADER]` and the sections made of its fields.
    Header,
    /// `BODY[TEXT]`, `BODY[1.TEXT]`.
    Text,
    /// `BODY[1.MIME]`.
    Mime,
}

/// The MIME structure of one message, read in place.
#[derive(Clone, Copy)]
pub struct SkeletonRef<'a> {
    octets: &'a [u8],
}

impl<'a> SkeletonRef<'a> {
    /// Looks over `octets` once, whole; the work is linear in them and nothing is allocated but a stack of as many
    /// entries as parts are nested.
    ///
    /// # Errors
    ///
    /// [`SkeletonError`] for octets of another version and for anything else that is not whole.
    pub fn from_bytes(octets: &'a [u8]) -> Result<SkeletonRef<'a>, SkeletonError> {
        let (&version, record) = octets.split_first().ok_or(SkeletonError::Damaged)?;
        if version != VERSION {
            return Err(SkeletonError::Version(version));
        }
        part::check(record).ok_or(SkeletonError::Damaged)?;
        Ok(SkeletonRef { octets })
    }

    /// The octets to store.
    pub fn as_bytes(self) -> &'a [u8] {
        self.octets
    }

    /// The message itself.
    pub fn root(self) -> PartRef<'a> {
        let record = self.octets.get(1..).and_then(|rest| Reader(rest).octets()).unwrap_or_default();
        PartRef::read(record).unwrap_or_default()
    }

    /// The message's length in octets.
    pub fn size(self) -> u64 {
        self.root().body().end
    }

    /// All parts in the order of the message, the message itself first, nested messages included.
    pub fn parts(self) -> Parts<'a> {
        Parts::new(self.octets.get(1..).unwrap_or_default())
    }

    /// The part at `path`; the empty path is the message itself.
    ///
    /// RFC 9051 §6.4.5.1: every message has at least one part number. The parts of a multipart are numbered from 1; a
    /// message that is not a multipart has part 1, its body; behind the number of a message/rfc822 part come those of
    /// the message inside.
    pub fn section(self, path: &[u32]) -> Option<PartRef<'a>> {
        let mut part = self.root();
        // The multipart or message whose numbers come next; `None` where there are none.
        let mut numbers = Some(part);
        for &number in path {
            let holder = numbers?;
            part = match holder.kind() {
                PartKind::Multipart => holder.children().nth(usize::try_from(number.checked_sub(1)?).ok()?)?,
                PartKind::Leaf | PartKind::Message if number == 1 => holder,
                PartKind::Leaf | PartKind::Message => return None,
            };
            numbers = match part.kind() {
                PartKind::Multipart => Some(part),
                PartKind::Message => part.message(),
                PartKind::Leaf => None,
            };
        }
        Some(part)
    }

    /// The octets of the message that `BODY[path.specifier]` is made of. `None`: there is no such section (IMAP answers
    /// NIL), as for HEADER and TEXT of a part that is not a message.
    pub fn section_range(self, path: &[u32], specifier: Specifier) -> Option<Range<u64>> {
        let part = self.section(path)?;
        // RFC 9051 §6.4.5.1: HEADER and TEXT of a part mean the message inside it.
        let message = if path.is_empty() { Some(part) } else { part.message() };
        match specifier {
            Specifier::Content if path.is_empty() => Some(0..self.size()),
            Specifier::Content => Some(part.body()),
            Specifier::Header => message.map(|message| message.header()),
            Specifier::Text => message.map(|message| message.body()),
            Specifier::Mime if path.is_empty() => None,
            Specifier::Mime => Some(part.header()),
        }
    }
}

impl std::fmt::Debug for SkeletonRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.parts()).finish()
    }
}
