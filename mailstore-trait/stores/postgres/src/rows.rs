//! Rows as they lie in the tables, shared by those who read and those who write.

use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};
use mailstore_trait::folder::{Counts, Folder, Role};
use mailstore_trait::id::{EmailId, FolderId, ItemId, ModSeq, ThreadId, Uid, UidValidity};
use mailstore_trait::item::RowHead;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::call::unsigned;
use crate::fault::{Fault, Result};

/// A column's value; one of another type is damage.
pub(crate) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|error| Fault::corrupt(error.to_string()))
}

pub(crate) fn number(row: &Row, column: usize) -> Result<u64> {
    get(row, column).map(unsigned)
}

fn small<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T> {
    let value: i64 = get(row, column)?;
    T::try_from(value).map_err(|_| Fault::corrupt(format!("number {value}")))
}

/// Sixteen octets of a column.
pub(crate) fn fixed(row: &Row, column: usize) -> Result<[u8; 16]> {
    let octets: &[u8] = get(row, column)?;
    octets.try_into().map_err(|_| Fault::corrupt("an id of other than 16 octets"))
}

/// A change number of a column.
pub(crate) fn change(row: &Row, column: usize) -> Result<ModSeq> {
    let value = number(row, column)?;
    ModSeq::new(value).ok_or_else(|| Fault::corrupt(format!("change {value}")))
}

const ROLES: [Role; 9] = [
    Role::Inbox,
    Role::All,
    Role::Archive,
    Role::Drafts,
    Role::Flagged,
    Role::Important,
    Role::Junk,
    Role::Sent,
    Role::Trash,
];

/// A role as its column: its place in the table from 1, or 0.
pub(crate) fn role_number(role: Option<Role>) -> i64 {
    let at = role.and_then(|role| ROLES.iter().position(|known| *known == role));
    at.and_then(|at| i64::try_from(at + 1).ok()).unwrap_or(0)
}

pub(crate) fn role_by_number(number: i64) -> Option<Role> {
    usize::try_from(number).ok()?.checked_sub(1).and_then(|at| ROLES.get(at)).copied()
}

/// The columns of [`FolderRow::read`], in order.
macro_rules! FOLDER_COLUMNS {
    () => {
        "folder.account, folder.id, folder.shelf, folder.parent, folder.name, folder.role, folder.selectable, \
         folder.uid_validity, folder.uid_next, folder.highest, folder.floor, folder.created, folder.change, \
         folder.renamed, folder.attributed, folder.emptied, folder.members, folder.messages, folder.unseen, \
         folder.deleted, folder.octets, folder.recent"
    };
}
pub(crate) use FOLDER_COLUMNS;

/// A folder's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderRow {
    pub(crate) id: FolderId,
    /// Under which number its messages lie: another one each time the folder is made anew.
    pub(crate) shelf: i64,
    pub(crate) parent: Option<FolderId>,
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
    pub(crate) selectable: bool,
    pub(crate) uid_validity: UidValidity,
    pub(crate) uid_next: Uid,
    /// HIGHESTMODSEQ.
    pub(crate) highest: u64,
    pub(crate) floor: u64,
    pub(crate) created: u64,
    /// The last change of the folder itself, of its name, of its attributes; when it became a name only.
    pub(crate) change: u64,
    pub(crate) renamed: u64,
    pub(crate) attributed: u64,
    pub(crate) emptied: u64,
    /// The last change that brought or took a message.
    pub(crate) members: u64,
    pub(crate) counts: Counts,
    /// Messages from this UID on are recent to nobody yet. Not written by batches.
    pub(crate) recent: u64,
}

impl FolderRow {
    pub(crate) fn read(row: &Row) -> Result<FolderRow> {
        let id = number(row, 1)?;
        let corrupt = || Fault::corrupt(format!("folder {id}"));
        Ok(FolderRow {
            id: FolderId::new(id).ok_or_else(corrupt)?,
            shelf: get(row, 2)?,
            parent: FolderId::new(number(row, 3)?),
            name: get(row, 4)?,
            role: role_by_number(get(row, 5)?),
            selectable: get(row, 6)?,
            uid_validity: UidValidity::new(small(row, 7)?).ok_or_else(corrupt)?,
            uid_next: Uid::new(small(row, 8)?).ok_or_else(corrupt)?,
            highest: number(row, 9)?,
            floor: number(row, 10)?,
            created: number(row, 11)?,
            change: number(row, 12)?,
            renamed: number(row, 13)?,
            attributed: number(row, 14)?,
            emptied: number(row, 15)?,
            members: number(row, 16)?,
            counts: Counts {
                exists: small(row, 17)?,
                unseen: small(row, 18)?,
                deleted: small(row, 19)?,
                octets: number(row, 20)?,
            },
            recent: number(row, 21)?,
        })
    }

    /// The folder as others see it.
    pub(crate) fn shown(&self) -> Result<Folder> {
        let change = |value| ModSeq::new(value).ok_or_else(|| Fault::corrupt(format!("folder {}", self.id)));
        Ok(Folder {
            id: self.id,
            parent: self.parent,
            name: self.name.clone(),
            role: self.role,
            selectable: self.selectable,
            uid_validity: self.uid_validity,
            uid_next: self.uid_next,
            highest_modseq: change(self.highest)?,
            floor: change(self.floor)?,
            created: change(self.created)?,
            change: change(self.change)?,
            counts: self.counts,
        })
    }
}

/// The columns of [`ItemRow::read`], in order.
macro_rules! ITEM_COLUMNS {
    () => {
        "item.shelf, item.uid, item.item, item.email, item.thread, item.flags, item.keywords, item.generation, \
         item.created, item.content_change, item.read_change, item.change, item.internal_date, item.zone, item.saved, \
         item.size"
    };
}
pub(crate) use ITEM_COLUMNS;

/// A message in a folder.
#[derive(Clone, Debug)]
pub(crate) struct ItemRow {
    pub(crate) shelf: i64,
    pub(crate) head: RowHead,
    pub(crate) flags: FlagSet,
}

impl ItemRow {
    pub(crate) fn read(row: &Row) -> Result<ItemRow> {
        let uid: u32 = small(row, 1)?;
        let corrupt = || Fault::corrupt(format!("message {uid}"));
        Ok(ItemRow {
            shelf: get(row, 0)?,
            head: RowHead {
                uid: Uid::new(uid).ok_or_else(corrupt)?,
                item: ItemId::new(number(row, 2)?).ok_or_else(corrupt)?,
                email: EmailId(fixed(row, 3)?),
                thread: ThreadId(fixed(row, 4)?),
                generation: small(row, 7)?,
                created: change(row, 8)?,
                content_change: change(row, 9)?,
                read_change: change(row, 10)?,
                change: change(row, 11)?,
                internal_date: DateTime { instant: Timestamp(get(row, 12)?), offset_minutes: small(row, 13)? },
                save_date: Timestamp(get(row, 14)?),
                size: number(row, 15)?,
            },
            flags: flags(get(row, 5)?, get(row, 6)?),
        })
    }
}

/// Flags out of their two columns.
pub(crate) fn flags(system: i64, keywords: &str) -> FlagSet {
    let mut flags: FlagSet = keywords.split_ascii_whitespace().filter_map(Keyword::new).collect();
    flags.system = SystemFlags::from_bits_truncate(u8::try_from(system).unwrap_or(0));
    flags
}

/// Keywords as their column: words between spaces, which no keyword holds.
pub(crate) fn keyword_column(flags: &FlagSet) -> String {
    flags.keywords().iter().map(Keyword::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_keywords_come_back() {
        for role in ROLES {
            assert_eq!(role_by_number(role_number(Some(role))), Some(role));
        }
        assert_eq!((role_number(None), role_by_number(0), role_by_number(99)), (0, None, None));
        let mut set: FlagSet = ["$Work", "play"].iter().filter_map(|word| Keyword::new(word)).collect();
        set.system = SystemFlags::SEEN | SystemFlags::DRAFT;
        assert_eq!(flags(set.system.bits().into(), &keyword_column(&set)), set);
        assert_eq!(flags(0, ""), FlagSet::new());
    }
}
