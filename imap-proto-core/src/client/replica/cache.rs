//! What outlives connections: UIDs with flags, and up to where their changes are known.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};
use mailstore_trait::id::{Uid, UidValidity};
use mailstore_trait::uid_set::UidSet;

use crate::client::response::Row;
use crate::client::value::ModSeq;

/// What is known of a mailbox.
///
/// `Display` and `FromStr` are a form to keep it in, one message a line:
///
/// ```
/// use imap_proto_core::client::Cache;
///
/// let cache: Cache = "67 12\n3 9 \\Seen work\n5 12\n".parse()?;
/// assert_eq!(cache.len(), 2);
/// assert_eq!(cache.to_string(), "67 12\n3 9 \\Seen work\n5 12\n");
/// # Ok::<(), imap_proto_core::client::replica::CacheError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    pub(super) uid_validity: Option<UidValidity>,
    pub(super) modseq: ModSeq,
    pub(super) rows: BTreeMap<Uid, Cached>,
}

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// Its flags, but for `\Recent`.
    pub flags: FlagSet,
    /// The mod-sequence these flags have; 0 where the server keeps none.
    pub modseq: ModSeq,
}

/// What a row does to what is known of a message's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// They were told.
    Told,
    /// They have changed to what was not told.
    Stale,
    /// The row says nothing of them.
    Nothing,
}

impl Cache {
    /// The generation of the UIDs; nothing while nothing is known.
    #[must_use]
    pub fn uid_validity(&self) -> Option<UidValidity> {
        self.uid_validity
    }

    /// Up to where all changes are known; 0 where the server keeps no mod-sequences.
    #[must_use]
    pub fn modseq(&self) -> ModSeq {
        self.modseq
    }

    /// What is known of each message, by UID.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Uid, &Cached)> {
        self.rows.iter().map(|(uid, cached)| (*uid, cached))
    }

    /// What is known of this message.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<&Cached> {
        self.rows.get(&uid)
    }

    /// How many messages are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no message is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn remove(&mut self, uids: &UidSet) {
        for range in uids.ranges() {
            let gone: Vec<Uid> = self.rows.range(range).map(|(uid, _)| *uid).collect();
            gone.iter().for_each(|uid| drop(self.rows.remove(uid)));
        }
    }

    /// Takes a row in.
    pub(super) fn update(&mut self, uid: Uid, row: &Row) -> Update {
        let new = !self.rows.contains_key(&uid);
        let cached = self.rows.entry(uid).or_default();
        match (&row.flags, row.modseq) {
            (Some(flags), modseq) => {
                cached.flags = flags.set.clone();
                cached.modseq = modseq.unwrap_or(cached.modseq);
                Update::Told
            }
            // RFC 7162 §3.1.3: behind a silent STORE only the mod-sequence is told.
            (None, Some(modseq)) if modseq != cached.modseq => Update::Stale,
            (None, _) if new => Update::Stale,
            (None, _) => Update::Nothing,
        }
    }
}

/// Why a text is no cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is none of a cache")]
pub struct CacheError {
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(uid_validity) = self.uid_validity else { return Ok(()) };
        writeln!(f, "{uid_validity} {}", self.modseq)?;
        for (uid, Cached { flags, modseq }) in &self.rows {
            write!(f, "{uid} {modseq}")?;
            for (_, name) in SystemFlags::NAMES.iter().filter(|(flag, _)| flags.system.contains(*flag)) {
                write!(f, " {name}")?;
            }
            flags.keywords().iter().try_for_each(|keyword| write!(f, " {}", keyword.as_str()))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl FromStr for Cache {
    type Err = CacheError;

    /// What [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Cache, CacheError> {
        let mut cache = Cache::default();
        for (at, line) in text.lines().enumerate() {
            let bad = CacheError { line: at + 1 };
            let mut words = line.split(' ');
            let number: u32 = words.next().and_then(|word| word.parse().ok()).ok_or(bad)?;
            let modseq = ModSeq(words.next().and_then(|word| word.parse().ok()).ok_or(bad)?);
            if at == 0 {
                cache.uid_validity = Some(UidValidity::new(number).ok_or(bad)?);
                cache.modseq = modseq;
                continue;
            }
            let mut flags = FlagSet::new();
            for word in words {
                match (SystemFlags::by_name(word), Keyword::new(word)) {
                    (Some(flag), _) => flags.system |= flag,
                    (None, Some(keyword)) => flags.insert(keyword),
                    (None, None) => return Err(bad),
                }
            }
            cache.rows.insert(Uid::new(number).ok_or(bad)?, Cached { flags, modseq });
        }
        Ok(cache)
    }
}
