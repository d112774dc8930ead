//! Add, Copy, Move, Remove, SetFlags: what a batch does to messages in folders.
//!
//! Every version of a message takes the account's next change number, and a removal takes one too. The rows an
//! operation is about are read before it writes, so that copying into the same folder ends.

use mailstore_trait::batch::{AddItem, OpOutcome};
use mailstore_trait::error::OpError;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::{FolderId, ItemId, MAX_48, ModSeq, Uid, UidValidity};
use mailstore_trait::item::{ItemPageBuilder, RowParts};
use mailstore_trait::uid_set::UidSet;
use rusqlite::params;

use super::Tx;
use super::account::{AccountTx, Counted};
use super::content;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::rows::{ITEM_COLUMNS, ItemRowRaw, keyword_column};
use crate::words::Words;

/// Puts a message into a folder.
pub(crate) fn add(tx: &mut Tx<'_>, account: &mut AccountTx, add: &AddItem) -> Result<OpOutcome> {
    account.selectable(tx, add.folder)?;
    account.has_room(1, content::size(tx, account.id, &add.content)?)?;
    let keywords = account.intern(tx, add.flags.keywords())?;
    let email = content::place(tx, account.id, &add.content)?;
    let change = account.next_change()?;
    let row = ItemRowRaw {
        uid: 0,
        item: 0,
        email: email.number,
        thread: email.thread,
        flags: add.flags.system,
        generation: 0,
        created: sql(change),
        content_change: sql(change),
        read_change: sql(change),
        change: sql(change),
        keywords,
        internal_date: add.internal_date,
        saved: tx.now,
        size: email.size,
    };
    let (item, uid, uid_validity) = insert(tx, account, add.folder, row, change)?;
    Ok(OpOutcome::Added { item, uid, uid_validity, email: tx.env.ids.email(email.number) })
}

/// Gives a row its place and counts it in.
fn insert(
    tx: &Tx<'_>,
    account: &mut AccountTx,
    to: FolderId,
    row: ItemRowRaw,
    change: u64,
) -> Result<(ItemId, Uid, UidValidity)> {
    let item = account.next_item()?;
    let folder = account.selectable(tx, to)?;
    let uid = folder.next_uid()?;
    let uid_validity = folder.uid_validity;
    tx.prepare(
        "INSERT INTO item (account, folder, uid, item, email, thread, flags, generation, created, content_change,
            read_change, change, keywords, internal_date, zone, saved, size)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        sql(account.id.value()),
        sql(to.value()),
        uid,
        sql(item),
        row.email,
        row.thread,
        row.flags.bits(),
        row.generation,
        sql(change),
        keyword_column(&row.keywords),
        row.internal_date.instant.0,
        row.internal_date.offset_minutes,
        row.saved.0,
        sql(row.size),
    ])?;
    let counted = Counted { size: row.size, flags: row.flags, keywords: &row.keywords };
    account.count(tx, to, &counted, change, true)?;
    let corrupt = || Fault::corrupt(format!("folder {to}"));
    let item = ItemId::new(item).ok_or(OpError::Limit)?;
    Ok((item, Uid::new(uid).ok_or_else(corrupt)?, UidValidity::new(uid_validity).ok_or_else(corrupt)?))
}

/// The rows of these messages that are there, ascending; more than `max` are too many.
pub(crate) fn rows(
    tx: &Tx<'_>,
    account: &AccountTx,
    folder: FolderId,
    uids: &UidSet,
    only_deleted: bool,
    max: usize,
) -> Result<Vec<ItemRowRaw>> {
    let mut statement = tx.prepare(if only_deleted {
        concat!(
            "SELECT ",
            ITEM_COLUMNS!(),
            " FROM item WHERE account = ?1 AND folder = ?2 AND uid BETWEEN ?3 AND ?4 AND (flags & 8) = 8 ORDER BY uid"
        )
    } else {
        concat!(
            "SELECT ",
            ITEM_COLUMNS!(),
            " FROM item WHERE account = ?1 AND folder = ?2 AND uid BETWEEN ?3 AND ?4 ORDER BY uid"
        )
    })?;
    let mut found = Vec::new();
    for range in uids.ranges() {
        let bounds = params![sql(account.id.value()), sql(folder.value()), range.start().value(), range.end().value()];
        let mut rows = statement.query(bounds)?;
        while let Some(row) = rows.next()? {
            if found.len() >= max {
                return Err(OpError::Limit.into());
            }
            found.push(ItemRowRaw::read(row)?);
        }
    }
    Ok(found)
}

/// Whether a transfer leaves the old messages where they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Copy,
    Move,
}

/// Copies or moves messages.
pub(crate) fn transfer(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    from: FolderId,
    uids: &UidSet,
    to: FolderId,
    how: Transfer,
) -> Result<OpOutcome> {
    account.selectable(tx, from)?;
    let uid_validity = account.selectable(tx, to)?.uid_validity;
    let sources = rows(tx, account, from, uids, false, tx.env.config.max_ops)?;
    if how == Transfer::Copy {
        let octets = sources.iter().fold(0, |sum, row| row.size.saturating_add(sum));
        account.has_room(sources.len() as u64, octets)?;
    }
    let (mut old, mut new) = (UidSet::new(), UidSet::new());
    for row in &sources {
        let corrupt = || Fault::corrupt(format!("message {} of folder {from}", row.uid));
        old.insert(Uid::new(row.uid).ok_or_else(corrupt)?);
        if how == Transfer::Copy {
            content::use_email(tx, row.email)?;
        }
        let change = account.next_change()?;
        let row = ItemRowRaw { generation: 0, saved: tx.now, ..row.clone() };
        let (_, uid, _) = insert(tx, account, to, row, change)?;
        new.insert(uid);
    }
    if how == Transfer::Move {
        // Behind the new places: who reads in order never sees the messages nowhere.
        for row in &sources {
            take(tx, account, from, row)?;
        }
    }
    let corrupt = || Fault::corrupt(format!("folder {to}"));
    let uid_validity = UidValidity::new(uid_validity).ok_or_else(corrupt)?;
    Ok(OpOutcome::Transferred { uid_validity, from: old, to: new })
}

/// Takes a row out of its folder and leaves a tombstone. The email keeps its count.
fn take(tx: &Tx<'_>, account: &mut AccountTx, folder: FolderId, row: &ItemRowRaw) -> Result<()> {
    let change = account.next_change()?;
    let key = (sql(account.id.value()), sql(folder.value()));
    tx.prepare("DELETE FROM item WHERE account = ?1 AND folder = ?2 AND uid = ?3")?
        .execute(params![key.0, key.1, row.uid])?;
    tx.prepare(
        "INSERT INTO gone (account, folder, change, uid, item, created, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![key.0, key.1, sql(change), row.uid, row.item, row.created, tx.now.0])?;
    let counted = Counted { size: row.size, flags: row.flags, keywords: &row.keywords };
    account.count(tx, folder, &counted, change, false)
}

/// Removes messages.
pub(crate) fn remove(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    folder: FolderId,
    uids: &UidSet,
    only_deleted: bool,
) -> Result<OpOutcome> {
    account.selectable(tx, folder)?;
    let found = rows(tx, account, folder, uids, only_deleted, tx.env.config.max_ops)?;
    Ok(OpOutcome::Removed { uids: remove_rows(tx, account, folder, &found)? })
}

pub(crate) fn remove_rows(
    tx: &Tx<'_>,
    account: &mut AccountTx,
    folder: FolderId,
    found: &[ItemRowRaw],
) -> Result<UidSet> {
    let mut removed = UidSet::new();
    for row in found {
        take(tx, account, folder, row)?;
        content::release_email(tx, row.email)?;
        removed.extend_one(row.uid);
    }
    Ok(removed)
}

trait ExtendOne {
    fn extend_one(&mut self, uid: u32);
}

impl ExtendOne for UidSet {
    fn extend_one(&mut self, uid: u32) {
        if let Some(uid) = Uid::new(uid) {
            self.insert(uid);
        }
    }
}

/// A change of flags with its keywords as numbers.
struct Delta {
    kind: Kind,
    system: SystemFlags,
    keywords: Vec<u16>,
}

#[derive(Clone, Copy)]
enum Kind {
    Add,
    Remove,
    Replace,
}

impl Delta {
    fn new(tx: &Tx<'_>, account: &mut AccountTx, change: &FlagChange) -> Result<Delta> {
        let with = |kind, set: &FlagSet, keywords| Delta { kind, system: set.system, keywords };
        Ok(match change {
            FlagChange::Add(set) => with(Kind::Add, set, account.intern(tx, set.keywords())?),
            FlagChange::Remove(set) => with(Kind::Remove, set, account.known(tx, set.keywords())?),
            FlagChange::Replace(set) => with(Kind::Replace, set, account.intern(tx, set.keywords())?),
        })
    }

    fn apply(&self, flags: SystemFlags, keywords: &[u16]) -> (SystemFlags, Vec<u16>) {
        match self.kind {
            Kind::Add => {
                let mut all = keywords.to_vec();
                all.extend(self.keywords.iter().filter(|keyword| !keywords.contains(keyword)));
                all.sort_unstable();
                (flags | self.system, all)
            }
            Kind::Remove => {
                let left = keywords.iter().copied().filter(|keyword| !self.keywords.contains(keyword));
                (flags - self.system, left.collect())
            }
            Kind::Replace => (self.system, self.keywords.clone()),
        }
    }
}

/// Changes flags.
pub(crate) fn set_flags(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    folder: FolderId,
    uids: &UidSet,
    change: &FlagChange,
    unchanged_since: Option<ModSeq>,
) -> Result<OpOutcome> {
    account.selectable(tx, folder)?;
    let found = rows(tx, account, folder, uids, false, tx.env.config.max_ops)?;
    // Words are only taken in when there is a message to carry them.
    let delta = match found.is_empty() {
        true => Delta { kind: Kind::Remove, system: SystemFlags::empty(), keywords: Vec::new() },
        false => Delta::new(tx, account, change)?,
    };
    let since = unchanged_since.map_or(MAX_48, ModSeq::value);
    let mut conflicts = UidSet::new();
    let mut page = ItemPageBuilder::new();
    let mut words = Words::new(account.id);
    for mut row in found {
        if row.change > sql(since) {
            conflicts.extend_one(row.uid);
        } else {
            let (flags, keywords) = delta.apply(row.flags, &row.keywords);
            if flags != row.flags || keywords != row.keywords {
                set_row_flags(tx, account, folder, &mut row, flags, keywords)?;
            }
        }
        let mut head = row.head(tx.env.ids, folder)?;
        // Not asked for, and not kept for a repetition.
        (head.internal_date, head.save_date, head.size) = Default::default();
        let keywords = words.all(tx.connection(), &row.keywords)?;
        page.push(head, row.flags, keywords.iter(), RowParts::default());
    }
    Ok(OpOutcome::FlagsSet { page: page.finish(None), conflicts })
}

fn set_row_flags(
    tx: &Tx<'_>,
    account: &mut AccountTx,
    id: FolderId,
    row: &mut ItemRowRaw,
    flags: SystemFlags,
    keywords: Vec<u16>,
) -> Result<()> {
    let change = account.next_change()?;
    row.change = sql(change);
    if (flags ^ row.flags).contains(SystemFlags::SEEN) {
        row.read_change = row.change;
    }
    if flags - SystemFlags::SEEN != row.flags - SystemFlags::SEEN || keywords != row.keywords {
        row.content_change = row.change;
    }
    tx.prepare(
        "UPDATE item SET flags = ?4, keywords = ?5, content_change = ?6, read_change = ?7, change = ?8
         WHERE account = ?1 AND folder = ?2 AND uid = ?3",
    )?
    .execute(params![
        sql(account.id.value()),
        sql(id.value()),
        row.uid,
        flags.bits(),
        keyword_column(&keywords),
        row.content_change,
        row.read_change,
        row.change,
    ])?;
    let folder = account.folder(tx, id)?;
    folder.highest = change;
    let corrupt = || Fault::corrupt(format!("counts of folder {id}"));
    let (unseen, deleted) = (&mut folder.counts.unseen, &mut folder.counts.deleted);
    match (row.flags.contains(SystemFlags::SEEN), flags.contains(SystemFlags::SEEN)) {
        (true, false) => *unseen += 1,
        (false, true) => *unseen = unseen.checked_sub(1).ok_or_else(corrupt)?,
        _ => {}
    }
    match (row.flags.contains(SystemFlags::DELETED), flags.contains(SystemFlags::DELETED)) {
        (false, true) => *deleted += 1,
        (true, false) => *deleted = deleted.checked_sub(1).ok_or_else(corrupt)?,
        _ => {}
    }
    for &keyword in row.keywords.iter().filter(|keyword| !keywords.contains(keyword)) {
        account.use_keyword(id, keyword, -1);
    }
    for &keyword in keywords.iter().filter(|keyword| !row.keywords.contains(keyword)) {
        account.use_keyword(id, keyword, 1);
    }
    row.flags = flags;
    row.keywords = keywords;
    Ok(())
}
