//! Property types, tags and values ([MS-OXCDATA] §2.9, §2.11): the one data model under every ROP and table.
//!
//! A value does not say its own type: the tag in front of it does, or the column it stands in. Its octets are the same
//! everywhere but for the width of counts, which is what [`Form`] names:
//!
//! | | length of a PtypBinary | count of a PtypMultiple… |
//! |---|---|---|
//! | [`Form::Rop`] | 16 bits | 32 bits |
//! | [`Form::Wide`]: extended rules, MAPI over HTTP | 32 bits | 32 bits |
//!
//! The address book's own structures put a presence octet before some values ([MS-OXCMAPIHTTP] §2.2.1.1); that is for
//! the address book's codec, around these.

mod types;
mod value;

pub use types::{PropertyTag, PropertyType};
pub use value::{Flagged, Form, Limits, PropertyValue, ServerId, TaggedPropertyValue, WideString};
