//! Annotations of folders and of the server (RFC 5464): small values under hierarchical names.
//!
//! An entry is shared by everybody who may see its folder, or private to one account; the same name can be both. Names are
//! kept without the `/shared` or `/private` they begin with on the wire, and in lower case, for their case means nothing.

use bytes::Bytes;

#[cfg(feature = "async")]
use crate::error::MetadataError;
#[cfg(feature = "async")]
use crate::future::BoxFuture;
use crate::id::{AccountId, FolderId};

/// Octets a name may have.
pub const MAX_NAME: usize = 1024;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The whole server.
    Server,
    /// One folder.
    Folder(AccountId, FolderId),
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everybody's.
    Shared,
    /// This account's alone.
    Private(AccountId),
}

/// A name without its scope, such as `/comment` (RFC 5464 §3.2): in lower case, printable ASCII but `*` and `%`, beginning
/// with a slash, ending with none, and without two in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(String);

impl EntryName {
    /// The name in its one form; nothing when it is none.
    #[must_use]
    pub fn new(name: &str) -> Option<EntryName> {
        let legal = name.len() <= MAX_NAME
            && name.starts_with('/')
            && !name.ends_with('/')
            && !name.contains("//")
            && name.bytes().all(|octet| (0x20..0x7f).contains(&octet) && octet != b'*' && octet != b'%');
        legal.then(|| EntryName(name.to_ascii_lowercase()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many levels this name lies below another, or below the root of its scope; nothing when it does not.
    #[must_use]
    pub fn levels_below(&self, above: Option<&EntryName>) -> Option<usize> {
        let rest = match above {
            Some(above) => self.0.strip_prefix(above.as_str())?,
            None => &self.0,
        };
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.matches('/').count())
    }
}

/// How far below a name to look (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// The name alone.
    #[default]
    Zero,
    /// The name and those one level below.
    One,
    /// The name and all below.
    Infinity,
}

/// Which entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub scope: Scope,
    /// The name; `None` for the root of the scope, which is no entry itself.
    pub name: Option<EntryName>,
    /// How far below it.
    pub depth: Depth,
}

impl Wanted {
    /// Whether an entry is wanted.
    #[must_use]
    pub fn matches(&self, scope: Scope, name: &EntryName) -> bool {
        scope == self.scope
            && name.levels_below(self.name.as_ref()).is_some_and(|levels| match self.depth {
                Depth::Zero => levels == 0,
                Depth::One => levels <= 1,
                Depth::Infinity => true,
            })
    }
}

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub subject: Subject,
    /// Whose it is.
    pub scope: Scope,
    /// Its name.
    pub name: EntryName,
    /// Its value: any octets.
    pub value: Bytes,
}

/// What one entry is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryChange {
    /// Whose it is.
    pub scope: Scope,
    /// Its name.
    pub name: EntryName,
    /// Its value; `None` takes it away.
    pub value: Option<Bytes>,
}

/// How much one subject may carry, in each scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadataLimits {
    /// Octets of one value.
    pub value: u64,
    /// Entries.
    pub entries: usize,
}

impl MetadataLimits {
    /// At most this much.
    #[must_use]
    pub const fn new(value: u64, entries: usize) -> MetadataLimits {
        MetadataLimits { value, entries }
    }
}

impl Default for MetadataLimits {
    fn default() -> MetadataLimits {
        MetadataLimits { value: 16 * 1024, entries: 100 }
    }
}

/// Annotations. Optional: [`MailStore::as_metadata`](crate::store::MailStore::as_metadata).
///
/// Entries of a folder go with it: renaming takes them along, deleting ends them, also where the name stays for the folders
/// below. Dropping the future of any method leaves all of it done or nothing.
#[cfg(feature = "async")]
pub trait MetadataStore: Send + Sync {
    /// The entries of these subjects that anything in `wanted` matches, ascending by subject, scope and name, from one
    /// snapshot no older than the last commit that was answered. A folder that is not there has none.
    ///
    /// # Errors
    /// Only those of a store that fails.
    fn entries<'a>(
        &'a self,
        subjects: &'a [Subject],
        wanted: &'a [Wanted],
    ) -> BoxFuture<'a, Result<Vec<Entry>, MetadataError>>;

    /// Makes entries of one subject what they are to be: all of them, or none when one can't be.
    ///
    /// The limits are asked inside the commit, after all changes. Durable when answered. When anything about a folder became
    /// another, the folder takes one change number ([`ChangeKind::ATTRIBUTES`](crate::change::ChangeKind::ATTRIBUTES)) and
    /// watchers get a hint; the server takes none. A crash leaves all old values or all new. Repeating it is harmless.
    ///
    /// # Errors
    /// [`MetadataError::NotFound`] when there is no such folder or it is a name only, [`MetadataError::TooLarge`],
    /// [`MetadataError::TooMany`]. After [`MetadataError::Unknown`] repeat it.
    fn set_entries(
        &self,
        subject: Subject,
        changes: Vec<EntryChange>,
        limits: MetadataLimits,
    ) -> BoxFuture<'_, Result<(), MetadataError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> EntryName {
        EntryName::new(name).unwrap()
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(name("/Comment"), name("/comment"));
        for illegal in ["", "comment", "/", "/a/", "/a//b", "/a*", "/%", "/\u{e9}", "/a\tb"] {
            assert_eq!(EntryName::new(illegal), None, "{illegal:?}");
        }
        assert_eq!(EntryName::new(&format!("/{}", "a".repeat(MAX_NAME))), None);
    }

    #[test]
    fn depth_counts_levels() {
        let wants = |above: Option<&str>, depth| {
            let wanted = Wanted { scope: Scope::Shared, name: above.map(name), depth };
            let all = ["/a", "/a/b", "/a/b/c", "/ab"];
            all.into_iter().filter(|one| wanted.matches(Scope::Shared, &name(one))).collect::<Vec<_>>()
        };
        assert_eq!(wants(Some("/a"), Depth::Zero), ["/a"]);
        assert_eq!(wants(Some("/a"), Depth::One), ["/a", "/a/b"]);
        assert_eq!(wants(Some("/a"), Depth::Infinity), ["/a", "/a/b", "/a/b/c"]);
        assert_eq!(wants(None, Depth::Zero), [""; 0]);
        assert_eq!(wants(None, Depth::One), ["/a", "/ab"]);
        assert_eq!(wants(None, Depth::Infinity).len(), 4);
    }
}
