//! Folders as plain data: a tree of leaf names, each with the numbers its protocols need.

use std::sync::Arc;

use crate::flags::Keyword;
use crate::id::{FolderId, ModSeq, Uid, UidValidity};
use crate::uid_set::UidMap;

/// What a folder is for (RFC 6154 §2, RFC 8457 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The one folder every account has; its name is `INBOX` in any case.
    Inbox,
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important`
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl Role {
    /// Every role that has a special-use attribute, with that attribute.
    pub const ATTRIBUTES: [(Role, &'static str); 8] = [
        (Role::All, "\\All"),
        (Role::Archive, "\\Archive"),
        (Role::Drafts, "\\Drafts"),
        (Role::Flagged, "\\Flagged"),
        (Role::Important, "\\Important"),
        (Role::Junk, "\\Junk"),
        (Role::Sent, "\\Sent"),
        (Role::Trash, "\\Trash"),
    ];

    /// The special-use attribute; none for the inbox.
    #[must_use]
    pub fn attribute(self) -> Option<&'static str> {
        Role::ATTRIBUTES.iter().find(|(role, _)| *role == self).map(|(_, attribute)| *attribute)
    }

    /// The role of this special-use attribute, in any case.
    #[must_use]
    pub fn by_attribute(attribute: &str) -> Option<Role> {
        Role::ATTRIBUTES.iter().find(|(_, known)| known.eq_ignore_ascii_case(attribute)).map(|(role, _)| *role)
    }
}

/// How much a folder holds. Kept by the store with every commit, never counted on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages.
    pub exists: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// The sum of their sizes in octets.
    pub octets: u64,
}

/// One folder at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its identity, which survives renaming.
    pub id: FolderId,
    /// The folder it lies in; `None` at the top.
    pub parent: Option<FolderId>,
    /// Its own name: 1 to 255 octets of UTF-8 without control characters, unique under its parent. The inbox is `INBOX`.
    pub name: String,
    /// What it is for.
    pub role: Option<Role>,
    /// Whether it can hold messages. A deleted folder that still has children stays as a name only.
    pub selectable: bool,
    /// The generation of its UIDs.
    pub uid_validity: UidValidity,
    /// The UID the next message gets: 1 in a new folder, and one more with each message. Goes on where it was when a
    /// name becomes a folder again.
    pub uid_next: Uid,
    /// The highest change of any message that is or was here (RFC 7162 HIGHESTMODSEQ), at least 1.
    pub highest_modseq: ModSeq,
    /// Since this change every removal is known; for earlier ones the store answers `Gap`.
    pub floor: ModSeq,
    /// The change that made it.
    pub created: ModSeq,
    /// The last change of the folder itself (name, role, subscription).
    pub change: ModSeq,
    /// How much it holds.
    pub counts: Counts,
}

/// All folders of an account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderList {
    /// The folders, by id.
    pub folders: Vec<Folder>,
    /// Names the user subscribed to, as paths of leaf names. A name stays when its folder goes (RFC 9051 §6.3.7).
    pub subscriptions: Vec<Vec<String>>,
    /// The account's change counter at this moment.
    pub at: Option<ModSeq>,
}

impl FolderList {
    /// The folder with this id.
    #[must_use]
    pub fn by_id(&self, id: FolderId) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == id)
    }

    /// The folder at this path of leaf names. `INBOX` in any case is the inbox.
    #[must_use]
    pub fn by_path<S: AsRef<str>>(&self, path: &[S]) -> Option<&Folder> {
        let mut parent = None;
        let mut found = None;
        for (depth, leaf) in path.iter().enumerate() {
            let leaf = leaf.as_ref();
            let here = self.folders.iter().find(|folder| {
                folder.parent == parent && (folder.name == leaf || (depth == 0 && is_inbox(folder, leaf)))
            })?;
            parent = Some(here.id);
            found = Some(here);
        }
        found
    }

    /// The leaf names from the top to this folder.
    #[must_use]
    pub fn path(&self, folder: &Folder) -> Vec<&str> {
        let mut path = Vec::new();
        let mut next = self.by_id(folder.id);
        // A store that hands out a cycle must not hang its callers.
        while let Some(folder) = next.filter(|_| path.len() <= self.folders.len()) {
            path.push(folder.name.as_str());
            next = folder.parent.and_then(|parent| self.by_id(parent));
        }
        path.reverse();
        path
    }

    /// Whether another folder lies in this one.
    #[must_use]
    pub fn has_children(&self, id: FolderId) -> bool {
        self.folders.iter().any(|folder| folder.parent == Some(id))
    }

    /// The inbox.
    #[must_use]
    pub fn inbox(&self) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.role == Some(Role::Inbox))
    }
}

fn is_inbox(folder: &Folder, leaf: &str) -> bool {
    folder.role == Some(Role::Inbox) && leaf.eq_ignore_ascii_case("INBOX")
}

/// A folder opened for a session: one snapshot from which it builds its own view.
#[derive(Clone, Debug)]
pub struct FolderView {
    /// The folder.
    pub folder: Folder,
    /// Its UIDs, shared between sessions.
    pub uids: Arc<UidMap>,
    /// The account's change counter at this snapshot: the cursor to ask for changes from.
    pub at: ModSeq,
    /// The first message without `\Seen`.
    pub first_unseen: Option<Uid>,
    /// Messages from this UID on were claimed as recent by nobody before this opening (RFC 3501 §2.3.2), whether it
    /// claims them or not.
    pub recent_from: Option<Uid>,
    /// Keywords in use here.
    pub keywords: Arc<[Keyword]>,
}
