//! What commands and responses are made of: mailbox names, flags, sections, mod-sequences.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};

use super::response::reader::{Reader, Result, lossy};
use crate::error::Expected;
use crate::utf7;

/// A mod-sequence as servers count: up to 63 bits (RFC 7162 §3.1.1). 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A mailbox's name.
///
/// Names are UTF-8 here, whatever a server speaks. One that a server spells in no proper form (raw octets of some charset,
/// modified UTF-7 that is not canonical) keeps its octets beside a name that people can read, and is sent back as it came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    name: String,
    wire: Option<Box<[u8]>>,
}

impl Mailbox {
    /// The mailbox of this name.
    #[must_use]
    pub fn new(name: &str) -> Mailbox {
        Mailbox { name: name.to_owned(), wire: None }
    }

    /// The name, with the server's hierarchy delimiter in it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is INBOX, which has no case.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.name.eq_ignore_ascii_case("INBOX")
    }

    /// As a server wrote it.
    pub(super) fn read(octets: &[u8], utf8: bool) -> Mailbox {
        if octets.eq_ignore_ascii_case(b"INBOX") {
            return Mailbox::new("INBOX");
        }
        let name = if utf8 { std::str::from_utf8(octets).ok().map(Cow::Borrowed) } else { utf7::decode(octets).ok() };
        match name {
            Some(name) => Mailbox::new(&name),
            None => Mailbox { name: lossy(octets), wire: Some(octets.into()) },
        }
    }

    /// As it is written to a server.
    pub(super) fn wire(&self, utf8: bool) -> Cow<'_, [u8]> {
        match &self.wire {
            Some(wire) => Cow::Borrowed(wire),
            None if utf8 || utf7::is_plain(&self.name) => Cow::Borrowed(self.name.as_bytes()),
            None => {
                let mut encoded = BytesMut::with_capacity(self.name.len());
                utf7::encode(&self.name, &mut encoded);
                Cow::Owned(encoded.to_vec())
            }
        }
    }
}

impl From<&str> for Mailbox {
    fn from(name: &str) -> Mailbox {
        Mailbox::new(name)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        if self.wire.is_some() { f.write_str(" (misspelt)") } else { Ok(()) }
    }
}

/// Flags as servers list them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// System flags and keywords.
    pub set: FlagSet,
    /// `\Recent` (RFC 3501 §2.3.2)
    pub recent: bool,
    /// `\*`: clients may make up keywords.
    pub any: bool,
    /// Flags that begin with a backslash and are none of RFC 9051 §2.3.2, and words that can't be keywords.
    pub other: Vec<String>,
}

impl Flags {
    /// Flags in parentheses.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Flags> {
        let mut flags = Flags::default();
        let mut keywords = Vec::new();
        reader.open()?;
        loop {
            if reader.closes() {
                break;
            }
            let word = reader.word();
            if word.is_empty() {
                return reader.fail(Expected::Flag);
            }
            reader.charge(8)?;
            if word == br"\*" {
                flags.any = true;
            } else if word.eq_ignore_ascii_case(br"\Recent") {
                flags.recent = true;
            } else {
                let known = SystemFlags::NAMES.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word));
                match (known, std::str::from_utf8(word).ok().and_then(Keyword::new)) {
                    (Some((flag, _)), _) => flags.set.system |= *flag,
                    (None, Some(keyword)) => keywords.push(keyword),
                    (None, None) => flags.other.push(lossy(word)),
                }
            }
        }
        if !keywords.is_empty() {
            // One by one into an ordered list would let a server choose the order that costs most.
            keywords.sort();
            let system = flags.set.system;
            flags.set = keywords.into_iter().collect();
            flags.set.system = system;
        }
        Ok(flags)
    }
}

/// What of a message: what stands between `BODY[` and `]` (RFC 9051 §6.4.5).
///
/// Equality ignores case, as servers do with the names in it.
#[derive(Clone)]
pub struct Section(Arc<str>);

impl Section {
    /// The whole message.
    #[must_use]
    pub fn whole() -> Section {
        Section("".into())
    }

    /// The message's header.
    #[must_use]
    pub fn header() -> Section {
        Section("HEADER".into())
    }

    /// The message without its header.
    #[must_use]
    pub fn text() -> Section {
        Section("TEXT".into())
    }

    /// These fields of the message's header. Names that can't stand in a header are left out.
    #[must_use]
    pub fn header_fields(names: &[&str]) -> Section {
        let legal = |name: &&&str| {
            !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && !br#"(){%*"\]:"#.contains(&octet))
        };
        let names: Vec<&str> = names.iter().filter(legal).copied().collect();
        Section(format!("HEADER.FIELDS ({})", names.join(" ")).into())
    }

    /// The body of a part, by its number from [`Structure`](super::response::Structure): `1.2`.
    #[must_use]
    pub fn part(number: &[u32]) -> Section {
        Section(dotted(number).into())
    }

    /// The header of a part.
    #[must_use]
    pub fn mime(number: &[u32]) -> Section {
        Section(format!("{}.MIME", dotted(number)).into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn read(octets: &[u8]) -> Section {
        Section(String::from_utf8_lossy(octets).into())
    }
}

fn dotted(number: &[u32]) -> String {
    number.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

impl PartialEq for Section {
    fn eq(&self, other: &Section) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Section {}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}
