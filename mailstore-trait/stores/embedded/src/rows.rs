//! Rows as they lie in the tables, shared by those who read and those who write.

use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::folder::{Counts, Role};
use mailstore_trait::id::{FolderId, ItemId, ModSeq, Uid};
use mailstore_trait::item::RowHead;
use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type, ValueRef};

use crate::env::Ids;
use crate::fault::{Fault, Result};
use crate::write::account::{role_by_number, unsigned};

/// The columns of [`FolderRow::read`], in order.
macro_rules! FOLDER_COLUMNS {
    () => {
        "id, parent, name, role, selectable, uid_validity, uid_next, highest, floor, created, change, named, \
         attributes, members, messages, unseen, deleted, octets, recent, emptied"
    };
}
pub(crate) use FOLDER_COLUMNS;

/// A folder's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderRow {
    pub(crate) id: FolderId,
    pub(crate) parent: Option<FolderId>,
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
    pub(crate) selectable: bool,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    /// HIGHESTMODSEQ.
    pub(crate) highest: u64,
    pub(crate) floor: u64,
    pub(crate) created: u64,
    /// The last change of the folder itself, and of its name and its attributes.
    pub(crate) change: u64,
    pub(crate) named: u64,
    pub(crate) attributes: u64,
    /// When it became a name only, last.
    pub(crate) emptied: u64,
    /// The last change that brought or took a message.
    pub(crate) members: u64,
    pub(crate) counts: Counts,
    /// Messages from this UID on are recent to nobody yet.
    pub(crate) recent: u32,
}

impl FolderRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<FolderRow> {
        let id = row.get::<_, i64>(0)?;
        let id = FolderId::new(unsigned(id)).ok_or_else(|| damaged(0, Type::Integer, format!("folder {id}")))?;
        Ok(FolderRow {
            id,
            parent: FolderId::new(unsigned(row.get(1)?)),
            name: row.get(2)?,
            role: role_by_number(row.get(3)?),
            selectable: row.get(4)?,
            uid_validity: row.get(5)?,
            uid_next: row.get(6)?,
            highest: unsigned(row.get(7)?),
            floor: unsigned(row.get(8)?),
            created: unsigned(row.get(9)?),
            change: unsigned(row.get(10)?),
            named: unsigned(row.get(11)?),
            attributes: unsigned(row.get(12)?),
            emptied: unsigned(row.get(19)?),
            members: unsigned(row.get(13)?),
            counts: Counts {
                exists: row.get(14)?,
                unseen: row.get(15)?,
                deleted: row.get(16)?,
                octets: unsigned(row.get(17)?),
            },
            recent: row.get(18)?,
        })
    }
}

fn damaged(column: usize, kind: Type, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, what.into())
}

/// The columns of [`ItemRowRaw::read`], in order.
macro_rules! ITEM_COLUMNS {
    () => {
        "uid, item, email, thread, flags, generation, created, content_change, read_change, change, keywords, \
         internal_date, zone, saved, size"
    };
}
pub(crate) use ITEM_COLUMNS;

/// An item's row.
#[derive(Clone, Debug)]
pub(crate) struct ItemRowRaw {
    pub(crate) uid: u32,
    pub(crate) item: i64,
    pub(crate) email: i64,
    pub(crate) thread: i64,
    pub(crate) flags: SystemFlags,
    pub(crate) generation: u32,
    pub(crate) created: i64,
    pub(crate) content_change: i64,
    pub(crate) read_change: i64,
    pub(crate) change: i64,
    /// Numbers of keywords, ascending.
    pub(crate) keywords: Vec<u16>,
    pub(crate) internal_date: DateTime,
    pub(crate) saved: Timestamp,
    pub(crate) size: u64,
}

impl ItemRowRaw {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<ItemRowRaw> {
        let offset_minutes = row.get(12)?;
        Ok(ItemRowRaw {
            uid: row.get(0)?,
            item: row.get(1)?,
            email: row.get(2)?,
            thread: row.get(3)?,
            flags: SystemFlags::from_bits_retain(row.get(4)?),
            generation: row.get(5)?,
            created: row.get(6)?,
            content_change: row.get(7)?,
            read_change: row.get(8)?,
            change: row.get(9)?,
            keywords: keywords(row, 10)?,
            internal_date: DateTime { instant: Timestamp(row.get(11)?), offset_minutes },
            saved: Timestamp(row.get(13)?),
            size: unsigned(row.get(14)?),
        })
    }

    /// The row as others see it, unless its ids are impossible.
    pub(crate) fn head(&self, ids: Ids, folder: FolderId) -> Result<RowHead> {
        let corrupt = || Fault::corrupt(format!("message {} of folder {folder}", self.uid));
        let change = |value| ModSeq::new(unsigned(value)).ok_or_else(corrupt);
        if self.email <= 0 || self.thread <= 0 {
            return Err(corrupt());
        }
        Ok(RowHead {
            item: ItemId::new(unsigned(self.item)).ok_or_else(corrupt)?,
            uid: Uid::new(self.uid).ok_or_else(corrupt)?,
            email: ids.email(self.email),
            thread: ids.thread(self.thread),
            internal_date: self.internal_date,
            save_date: self.saved,
            size: self.size,
            generation: self.generation,
            created: change(self.created)?,
            content_change: change(self.content_change)?,
            read_change: change(self.read_change)?,
            change: change(self.change)?,
        })
    }
}

/// Numbers of keywords in a column: two octets each, or NULL for none.
pub(crate) fn keywords(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u16>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(Vec::new()),
        ValueRef::Blob(octets) if octets.len() % 2 == 0 => Ok(octets
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |number, &octet| (number << 8) | u16::from(octet)))
            .collect()),
        other => Err(damaged(column, other.data_type(), FromSqlError::InvalidType.to_string())),
    }
}

/// The column for these numbers.
pub(crate) fn keyword_column(keywords: &[u16]) -> Option<Vec<u8>> {
    (!keywords.is_empty()).then(|| keywords.iter().flat_map(|keyword| keyword.to_be_bytes()).collect())
}
