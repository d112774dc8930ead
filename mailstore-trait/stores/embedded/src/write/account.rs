//! An account and its folders while a batch changes them.
//!
//! Counters and counts are read once, changed in memory and written once at the end of the batch, so that a batch of
//! a thousand messages writes one account row and one row for each folder.

use std::collections::{BTreeMap, BTreeSet};

use mailstore_trait::error::OpError;
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::folder::{Counts, Folder, Role};
use mailstore_trait::id::{AccountId, FolderId, ItemId, MAX_48, MAX_UID, ModSeq, Uid, UidValidity};
use mailstore_trait::quota::QuotaLimits;
use rusqlite::{OptionalExtension, Row, params};

use super::Tx;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::rows::{FOLDER_COLUMNS, FolderRow};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AccountRow {
    pub(crate) at: u64,
    pub(crate) next_item: u64,
    pub(crate) next_folder: u64,
    pub(crate) uid_validity: u32,
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) limits: QuotaLimits,
    pub(crate) floor: u64,
}

/// The limits in these columns: octets, messages, folders.
pub(crate) fn limits(row: &Row<'_>, columns: [usize; 3]) -> rusqlite::Result<QuotaLimits> {
    let [storage, messages, folders] = columns.map(|column| row.get::<_, Option<i64>>(column));
    Ok(QuotaLimits::none()
        .with_storage(storage?.map(unsigned))
        .with_messages(messages?.map(unsigned))
        .with_folders(folders?.map(unsigned)))
}

/// An account in the hands of a batch.
#[derive(Clone)]
pub(crate) struct AccountTx {
    pub(crate) id: AccountId,
    pub(crate) row: AccountRow,
    found: AccountRow,
    folders: BTreeMap<FolderId, Held>,
    /// How often more (or less) a keyword is used in a folder.
    uses: BTreeMap<(FolderId, u16), i64>,
    /// Keywords this batch asked for, some of which no message has yet.
    wanted: BTreeSet<u16>,
}

#[derive(Clone)]
struct Held {
    row: FolderRow,
    found: FolderRow,
}

impl AccountTx {
    /// The account, unless there is none.
    pub(crate) fn load(tx: &Tx<'_>, id: AccountId) -> Result<Option<AccountTx>> {
        let row = tx
            .prepare(
                "SELECT at, next_item, next_folder, uid_validity, messages, octets, quota, floor,
                    quota_messages, quota_folders
                 FROM account WHERE id = ?1 AND removed = 0",
            )?
            .query_row([sql(id.value())], |row| {
                Ok(AccountRow {
                    at: unsigned(row.get(0)?),
                    next_item: unsigned(row.get(1)?),
                    next_folder: unsigned(row.get(2)?),
                    uid_validity: row.get(3)?,
                    messages: unsigned(row.get(4)?),
                    octets: unsigned(row.get(5)?),
                    limits: limits(row, [6, 8, 9])?,
                    floor: unsigned(row.get(7)?),
                })
            })
            .optional()?;
        Ok(row.map(|row| AccountTx {
            id,
            row,
            found: row,
            folders: BTreeMap::new(),
            uses: BTreeMap::new(),
            wanted: BTreeSet::new(),
        }))
    }

    /// The folder, for changing it.
    pub(crate) fn folder(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<&mut FolderRow> {
        if !self.folders.contains_key(&id) {
            let row = tx
                .prepare(concat!("SELECT ", FOLDER_COLUMNS!(), " FROM folder WHERE account = ?1 AND id = ?2"))?
                .query_row([sql(self.id.value()), sql(id.value())], FolderRow::read)
                .optional()?
                .ok_or(OpError::NotFound)?;
            self.hold(id, row);
        }
        self.folders.get_mut(&id).map(|held| &mut held.row).ok_or(Fault::Op(OpError::NotFound))
    }

    fn hold(&mut self, id: FolderId, row: FolderRow) {
        self.folders.insert(id, Held { found: row.clone(), row });
    }

    /// The folder, which must be able to hold messages.
    pub(crate) fn selectable(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<&mut FolderRow> {
        let folder = self.folder(tx, id)?;
        if folder.selectable { Ok(folder) } else { Err(OpError::NotSelectable.into()) }
    }

    /// The next change number.
    pub(crate) fn next_change(&mut self) -> Result<u64> {
        if self.row.at >= MAX_48 {
            return Err(OpError::Limit.into());
        }
        self.row.at += 1;
        Ok(self.row.at)
    }

    pub(crate) fn next_item(&mut self) -> Result<u64> {
        let item = self.row.next_item;
        if item > MAX_48 {
            return Err(OpError::Limit.into());
        }
        self.row.next_item = item + 1;
        Ok(item)
    }

    pub(crate) fn next_folder(&mut self) -> Result<FolderId> {
        let id = FolderId::new(self.row.next_folder).ok_or(OpError::Limit)?;
        self.row.next_folder += 1;
        Ok(id)
    }

    /// A UIDVALIDITY higher than any this account has given: the time, so that an account made anew continues it.
    pub(crate) fn next_uid_validity(&mut self, tx: &Tx<'_>) -> Result<u32> {
        let time = u32::try_from(tx.now.seconds()).unwrap_or(0).min(MAX_UID);
        let next = self.row.uid_validity.saturating_add(1).max(time).max(1);
        // Past 2^31 clients that keep it in a signed integer break.
        let next = if next > MAX_UID { self.row.uid_validity.saturating_add(1) } else { next };
        if next > MAX_UID {
            return Err(OpError::Limit.into());
        }
        self.row.uid_validity = next;
        Ok(next)
    }

    /// Whether this many more messages with so many octets may be held.
    pub(crate) fn has_room(&self, messages: u64, octets: u64) -> Result<()> {
        let over = |adds: u64, has: u64, limit: Option<u64>| {
            adds > 0 && limit.is_some_and(|limit| has.saturating_add(adds) > limit)
        };
        let AccountRow { limits, messages: held, octets: size, .. } = self.row;
        let over = over(octets, size, limits.storage) || over(messages, held, limits.messages);
        if over { Err(OpError::OverQuota.into()) } else { Ok(()) }
    }

    /// Counts a message in or out.
    pub(crate) fn count(
        &mut self,
        tx: &Tx<'_>,
        id: FolderId,
        message: &Counted<'_>,
        change: u64,
        into: bool,
    ) -> Result<()> {
        let folder = self.folder(tx, id)?;
        let flags = message.flags;
        let unseen = u32::from(!flags.contains(SystemFlags::SEEN));
        let deleted = u32::from(flags.contains(SystemFlags::DELETED));
        let corrupt = || Fault::corrupt(format!("counts of folder {id}"));
        let counts = &mut folder.counts;
        if into {
            counts.exists = counts.exists.checked_add(1).ok_or(OpError::Limit)?;
            counts.unseen += unseen;
            counts.deleted += deleted;
            counts.octets = counts.octets.saturating_add(message.size);
        } else {
            counts.exists = counts.exists.checked_sub(1).ok_or_else(corrupt)?;
            counts.unseen = counts.unseen.checked_sub(unseen).ok_or_else(corrupt)?;
            counts.deleted = counts.deleted.checked_sub(deleted).ok_or_else(corrupt)?;
            counts.octets = counts.octets.checked_sub(message.size).ok_or_else(corrupt)?;
        }
        folder.highest = change;
        folder.members = change;
        let step = if into { 1 } else { -1 };
        for &keyword in message.keywords {
            self.use_keyword(id, keyword, step);
        }
        let row = &mut self.row;
        if into {
            row.messages += 1;
            row.octets = row.octets.saturating_add(message.size);
        } else {
            row.messages = row.messages.checked_sub(1).ok_or_else(corrupt)?;
            row.octets = row.octets.checked_sub(message.size).ok_or_else(corrupt)?;
        }
        Ok(())
    }

    pub(crate) fn use_keyword(&mut self, folder: FolderId, keyword: u16, step: i64) {
        *self.uses.entry((folder, keyword)).or_default() += step;
    }

    /// The numbers of these keywords, ascending; words not met before get one.
    pub(crate) fn intern(&mut self, tx: &Tx<'_>, words: &[Keyword]) -> Result<Vec<u16>> {
        let mut ids = BTreeSet::new();
        for word in words {
            let id = match self.keyword(tx, word)? {
                Some(id) => id,
                None => self.new_keyword(tx, word)?,
            };
            ids.insert(id);
            self.wanted.insert(id);
        }
        Ok(ids.into_iter().collect())
    }

    /// The numbers of those of these keywords that the account knows.
    pub(crate) fn known(&self, tx: &Tx<'_>, words: &[Keyword]) -> Result<Vec<u16>> {
        let mut ids = BTreeSet::new();
        for word in words {
            ids.extend(self.keyword(tx, word)?);
        }
        Ok(ids.into_iter().collect())
    }

    fn keyword(&self, tx: &Tx<'_>, word: &Keyword) -> Result<Option<u16>> {
        let mut find = tx.prepare("SELECT id FROM keyword WHERE account = ?1 AND word = ?2")?;
        Ok(find.query_row(params![sql(self.id.value()), word.as_str()], |row| row.get(0)).optional()?)
    }

    fn new_keyword(&mut self, tx: &Tx<'_>, word: &Keyword) -> Result<u16> {
        let account = sql(self.id.value());
        let mut last = tx.prepare("SELECT ifnull(max(id), 0) FROM keyword WHERE account = ?1")?;
        let mut id = last.query_row([account], |row| row.get::<_, u32>(0))? + 1;
        if id > u32::from(tx.env.config.max_keywords) {
            id = self.free_keyword(tx)?;
        }
        tx.prepare("INSERT INTO keyword (account, id, word) VALUES (?1, ?2, ?3)")?.execute(params![
            account,
            id,
            word.as_str()
        ])?;
        u16::try_from(id).map_err(|_| OpError::Limit.into())
    }

    /// Forgets a word that no message has any more, and answers the number it leaves.
    fn free_keyword(&mut self, tx: &Tx<'_>) -> Result<u32> {
        self.flush_uses(tx)?;
        let account = sql(self.id.value());
        let mut unused = tx.prepare(
            "SELECT id FROM keyword WHERE account = ?1
             AND id NOT IN (SELECT keyword FROM keyword_use WHERE account = ?1)",
        )?;
        let mut rows = unused.query([account])?;
        while let Some(row) = rows.next()? {
            let id: u16 = row.get(0)?;
            if !self.wanted.contains(&id) {
                tx.prepare("DELETE FROM keyword WHERE account = ?1 AND id = ?2")?.execute(params![account, id])?;
                return Ok(id.into());
            }
        }
        Err(OpError::Limit.into())
    }

    /// Adds a folder.
    pub(crate) fn insert_folder(&mut self, tx: &Tx<'_>, id: FolderId, row: FolderRow) -> Result<()> {
        tx.prepare(
            "INSERT INTO folder (account, id, parent, name, role, selectable, uid_validity, uid_next, highest, floor,
                created, change, named, attributes, members, messages, unseen, deleted, octets, recent, emptied)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            sql(self.id.value()),
            sql(id.value()),
            row.parent.map_or(0, |parent| sql(parent.value())),
            row.name,
            role_number(row.role),
            row.selectable,
            row.uid_validity,
            row.uid_next,
            sql(row.highest),
            sql(row.floor),
            sql(row.created),
            sql(row.change),
            sql(row.named),
            sql(row.attributes),
            sql(row.members),
            row.counts.exists,
            row.counts.unseen,
            row.counts.deleted,
            sql(row.counts.octets),
            row.recent,
            sql(row.emptied),
        ])?;
        self.hold(id, row);
        Ok(())
    }

    /// Forgets which keywords the folder uses.
    pub(crate) fn forget_uses(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<()> {
        self.uses.retain(|&(folder, _), _| folder != id);
        tx.prepare("DELETE FROM keyword_use WHERE account = ?1 AND folder = ?2")?
            .execute([sql(self.id.value()), sql(id.value())])?;
        Ok(())
    }

    /// Takes the folder's row away.
    pub(crate) fn delete_folder(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<()> {
        self.folders.remove(&id);
        tx.prepare("DELETE FROM folder WHERE account = ?1 AND id = ?2")?
            .execute([sql(self.id.value()), sql(id.value())])?;
        self.forget_uses(tx, id)
    }

    /// Writes a folder at once, so that questions by name see it.
    pub(crate) fn save_folder(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<()> {
        let account = self.id;
        match self.folders.get_mut(&id) {
            Some(held) => held.save(tx, account, id),
            None => Ok(()),
        }
    }

    /// Writes what changed.
    pub(crate) fn flush(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.flush_uses(tx)?;
        for (&id, held) in &mut self.folders {
            held.save(tx, self.id, id)?;
        }
        if self.row != self.found {
            let row = self.row;
            tx.prepare(
                "UPDATE account SET at = ?2, next_item = ?3, next_folder = ?4, uid_validity = ?5, messages = ?6,
                    octets = ?7, quota = ?8, floor = ?9, quota_messages = ?10, quota_folders = ?11 WHERE id = ?1",
            )?
            .execute(params![
                sql(self.id.value()),
                sql(row.at),
                sql(row.next_item),
                sql(row.next_folder),
                row.uid_validity,
                sql(row.messages),
                sql(row.octets),
                row.limits.storage.map(sql),
                sql(row.floor),
                row.limits.messages.map(sql),
                row.limits.folders.map(sql),
            ])?;
            if row.at != self.found.at {
                tx.moved(self.id, self.at()?);
            }
            self.found = row;
        }
        Ok(())
    }

    fn flush_uses(&mut self, tx: &Tx<'_>) -> Result<()> {
        for ((folder, keyword), step) in std::mem::take(&mut self.uses) {
            if step == 0 {
                continue;
            }
            let key = params![sql(self.id.value()), sql(folder.value()), keyword, step];
            tx.prepare(
                "INSERT INTO keyword_use (account, folder, keyword, uses) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",
            )?
            .execute(key)?;
            if step < 0 {
                tx.prepare(
                    "DELETE FROM keyword_use WHERE account = ?1 AND folder = ?2 AND keyword = ?3 AND uses <= 0",
                )?
                .execute(params![sql(self.id.value()), sql(folder.value()), keyword])?;
            }
        }
        Ok(())
    }

    /// The change counter as others see it.
    pub(crate) fn at(&self) -> Result<ModSeq> {
        ModSeq::new(self.row.at).ok_or_else(|| Fault::corrupt(format!("account {}", self.id)))
    }

    /// The folder as others see it.
    pub(crate) fn shown(&mut self, tx: &Tx<'_>, id: FolderId) -> Result<Folder> {
        self.folder(tx, id)?.shown()
    }
}

impl Held {
    fn save(&mut self, tx: &Tx<'_>, account: AccountId, id: FolderId) -> Result<()> {
        if self.row == self.found {
            return Ok(());
        }
        let row = &self.row;
        tx.prepare(
            "UPDATE folder SET parent = ?3, name = ?4, role = ?5, selectable = ?6, uid_validity = ?7, uid_next = ?8,
                highest = ?9, floor = ?10, created = ?11, change = ?12, named = ?13, attributes = ?14, members = ?15,
                messages = ?16, unseen = ?17, deleted = ?18, octets = ?19, recent = ?20, emptied = ?21
             WHERE account = ?1 AND id = ?2",
        )?
        .execute(params![
            sql(account.value()),
            sql(id.value()),
            row.parent.map_or(0, |parent| sql(parent.value())),
            row.name,
            role_number(row.role),
            row.selectable,
            row.uid_validity,
            row.uid_next,
            sql(row.highest),
            sql(row.floor),
            sql(row.created),
            sql(row.change),
            sql(row.named),
            sql(row.attributes),
            sql(row.members),
            row.counts.exists,
            row.counts.unseen,
            row.counts.deleted,
            sql(row.counts.octets),
            row.recent,
            sql(row.emptied),
        ])?;
        self.found = self.row.clone();
        Ok(())
    }
}

/// What of a message its folder counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) size: u64,
    pub(crate) flags: SystemFlags,
    pub(crate) keywords: &'a [u16],
}

impl FolderRow {
    pub(crate) fn next_uid(&mut self) -> Result<u32> {
        let uid = self.uid_next;
        if uid > MAX_UID {
            return Err(OpError::Limit.into());
        }
        self.uid_next = uid + 1;
        Ok(uid)
    }

    pub(crate) fn shown(&self) -> Result<Folder> {
        let corrupt = || Fault::corrupt(format!("folder {}", self.id));
        let change = |value| ModSeq::new(value).ok_or_else(corrupt);
        Ok(Folder {
            id: self.id,
            parent: self.parent,
            name: self.name.clone(),
            role: self.role,
            selectable: self.selectable,
            uid_validity: UidValidity::new(self.uid_validity).ok_or_else(corrupt)?,
            uid_next: Uid::new(self.uid_next).ok_or_else(corrupt)?,
            highest_modseq: change(self.highest)?,
            floor: change(self.floor)?,
            created: change(self.created)?,
            change: change(self.change)?,
            counts: self.counts,
        })
    }

    /// A folder that holds nothing yet.
    pub(crate) fn new(id: FolderId, parent: Option<FolderId>, name: &str, role: Option<Role>) -> FolderRow {
        FolderRow {
            id,
            parent,
            name: name.to_owned(),
            role,
            selectable: true,
            uid_validity: 1,
            uid_next: 1,
            highest: 1,
            floor: 1,
            created: 1,
            change: 1,
            named: 1,
            attributes: 1,
            emptied: 1,
            members: 1,
            counts: Counts::default(),
            recent: 1,
        }
    }
}

/// A number as SQLite holds it; negative ones are damage and read as nothing.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
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

/// Roles by number, 0 for none. The numbers are part of the format.
pub(crate) fn role_number(role: Option<Role>) -> i64 {
    let at = role.and_then(|role| ROLES.iter().position(|&known| known == role));
    at.map_or(0, |at| sql(at as u64) + 1)
}

pub(crate) fn role_by_number(number: i64) -> Option<Role> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    ROLES.get(at).copied()
}

/// Turns an item's number into its id.
pub(crate) fn item_id(number: i64) -> Result<ItemId> {
    ItemId::new(unsigned(number)).ok_or_else(|| Fault::corrupt(format!("item {number}")))
}
