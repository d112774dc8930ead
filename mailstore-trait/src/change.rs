//! What changed since a number: the truth behind every hint, view and cursor.

use crate::flags::FlagSet;
use crate::id::{FolderId, ItemId, ModSeq, Uid};

bitflags::bitflags! {
    /// What happened to an item or a folder since the cursor.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ChangeKind: u16 {
        /// The item came into the folder, or the folder was made.
        const ADDED = 1;
        /// The item left the folder, or the folder was deleted with everything in it (and perhaps made again: then
        /// together with `ADDED`). Nothing else is known of it.
        const REMOVED = 2;
        /// `\Seen` changed.
        const SEEN = 4;
        /// Another flag or a keyword changed.
        const FLAGS = 8;
        /// MAPI properties changed.
        const PROPERTIES = 16;
        /// The folder was renamed or moved.
        const NAME = 32;
        /// The folder's role or another attribute changed.
        const ATTRIBUTES = 64;
    }
}

/// The newest state of one item or folder that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The number of its last change.
    pub change: ModSeq,
    /// The number at which it was made; at most the cursor when the reader knew it already. Who gathers pages compares
    /// with the cursor of the first.
    pub created: ModSeq,
    /// The folder it is about, or in which the item lies.
    pub folder: FolderId,
    /// The item; `None` when the record is about the folder itself.
    pub item: Option<(ItemId, Uid)>,
    /// What happened since the cursor that was asked for, as far as the store can tell; never less than did. Of removals
    /// since, only those of what was made before the cursor must be told.
    pub kind: ChangeKind,
    /// The item's flags now; empty for a removed item or a folder.
    pub flags: FlagSet,
}

/// What to ask of [`MailStore::changes`](crate::store::MailStore::changes).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ChangesOptions {
    /// Only this folder and its items; `None` for the whole account.
    pub folder: Option<FolderId>,
    /// The cursor: everything after it is told.
    pub since: ModSeq,
    /// At most this many records in one page.
    pub max: usize,
}

impl ChangesOptions {
    /// Everything in the account after `since`, in pages of 1,000.
    #[must_use]
    pub fn since(since: ModSeq) -> ChangesOptions {
        ChangesOptions { folder: None, since, max: 1000 }
    }

    /// The same for one folder.
    #[must_use]
    pub fn in_folder(self, folder: FolderId) -> ChangesOptions {
        ChangesOptions { folder: Some(folder), ..self }
    }

    /// The same with another page length.
    #[must_use]
    pub fn at_most(self, max: usize) -> ChangesOptions {
        ChangesOptions { max: max.max(1), ..self }
    }
}

/// Records in ascending order of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// The records.
    pub records: Vec<ChangeRecord>,
    /// The cursor for the next question.
    pub upto: ModSeq,
    /// Whether more is to be read before `upto` is a state anybody may be shown.
    ///
    /// While this is true the page may end inside a batch: gather the pages, and tell nothing before the last.
    pub more: bool,
}
