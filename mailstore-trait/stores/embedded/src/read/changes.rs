//! What changed since a cursor: merged from the items, the tombstones and the folders, by number.
//!
//! Every record has a number of its own, so a page may end anywhere and the next one begins behind it.

use mailstore_trait::change::{ChangeKind, ChangePage, ChangeRecord, ChangesOptions};
use mailstore_trait::flags::{FlagSet, SystemFlags};
use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid};
use rusqlite::Row;

use super::Snapshot;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::rows::{FolderRow, keywords};
use crate::words::Words;
use crate::write::account::{item_id, unsigned};

pub(crate) fn page(snapshot: &Snapshot<'_>, account: AccountId, options: &ChangesOptions) -> Result<ChangePage> {
    let head = snapshot.account(account)?;
    let since = options.since;
    if since > head.at {
        // From before a restore, perhaps: what it stands for is not known here.
        return Err(Fault::Gap(head.at));
    }
    let (folders, floor) = match options.folder.map(|id| snapshot.folder(account, id)) {
        Some(Ok(folder)) => {
            let floor = change(folder.floor, &folder)?;
            (vec![folder], floor)
        }
        // That it is gone is the last that is told of it.
        Some(Err(Fault::NotFound)) => (Vec::new(), ModSeq::FIRST),
        Some(Err(other)) => return Err(other),
        None => (snapshot.folders(account)?, head.floor),
    };
    if since < floor {
        return Err(Fault::Gap(floor));
    }
    let max = options.max.max(1);
    let mut asked = Asked { snapshot, account, since, limit: max.saturating_add(1), words: Words::new(account) };
    let mut records = Vec::new();
    for folder in &folders {
        if folder.change > since.value() {
            records.push(asked.folder(folder)?);
        }
        if folder.highest > since.value() {
            asked.items(folder.id, &mut records)?;
            asked.gone(folder, &mut records)?;
        }
    }
    match options.folder {
        None => asked.folders_gone(&mut records)?,
        Some(id) if folders.is_empty() => records.extend(asked.folder_gone(id)?),
        Some(_) => {}
    }
    records.sort_unstable_by_key(|record| record.change);
    let more = records.len() > max;
    records.truncate(max);
    let upto = match records.last() {
        Some(last) if more => last.change,
        _ => head.at,
    };
    Ok(ChangePage { records, upto, more })
}

fn change(value: u64, folder: &FolderRow) -> Result<ModSeq> {
    ModSeq::new(value).ok_or_else(|| Fault::corrupt(format!("folder {}", folder.id)))
}

struct Asked<'a> {
    snapshot: &'a Snapshot<'a>,
    account: AccountId,
    since: ModSeq,
    limit: usize,
    words: Words,
}

impl Asked<'_> {
    fn folder(&self, folder: &FolderRow) -> Result<ChangeRecord> {
        let since = self.since.value();
        let mut kind = ChangeKind::empty();
        kind.set(ChangeKind::ADDED, folder.selectable && folder.created > since);
        kind.set(ChangeKind::REMOVED, folder.emptied > since);
        kind.set(ChangeKind::NAME, folder.named > since);
        kind.set(ChangeKind::ATTRIBUTES, folder.attributes > since);
        Ok(ChangeRecord {
            change: change(folder.change, folder)?,
            created: change(folder.created, folder)?,
            folder: folder.id,
            item: None,
            kind,
            flags: FlagSet::new(),
        })
    }

    fn items(&mut self, folder: FolderId, records: &mut Vec<ChangeRecord>) -> Result<()> {
        let mut statement = self.snapshot.connection.prepare_cached(
            "SELECT change, created, uid, item, flags, keywords, read_change, content_change
             FROM item INDEXED BY item_change
             WHERE account = ?1 AND folder = ?2 AND change > ?3 ORDER BY change LIMIT ?4",
        )?;
        let mut rows = statement.query(self.key(folder))?;
        while let Some(row) = rows.next()? {
            let created = row.get::<_, i64>(1)?;
            let known = created.max(sql(self.since.value()));
            let mut kind = ChangeKind::empty();
            kind.set(ChangeKind::ADDED, created > sql(self.since.value()));
            kind.set(ChangeKind::SEEN, row.get::<_, i64>(6)? > known);
            kind.set(ChangeKind::FLAGS, row.get::<_, i64>(7)? > known);
            let words = self.words.all(self.snapshot.connection, &keywords(row, 5)?)?;
            let mut flags: FlagSet = words.into_iter().collect();
            flags.system = SystemFlags::from_bits_truncate(row.get(4)?);
            records.push(item_record(folder, row, kind, flags)?);
        }
        Ok(())
    }

    fn gone(&self, folder: &FolderRow, records: &mut Vec<ChangeRecord>) -> Result<()> {
        let mut statement = self.snapshot.connection.prepare_cached(
            "SELECT change, created, uid, item FROM gone
             WHERE account = ?1 AND folder = ?2 AND change > ?3 ORDER BY change LIMIT ?4",
        )?;
        let mut rows = statement.query(self.key(folder.id))?;
        while let Some(row) = rows.next()? {
            records.push(item_record(folder.id, row, ChangeKind::REMOVED, FlagSet::new())?);
        }
        Ok(())
    }

    fn folders_gone(&self, records: &mut Vec<ChangeRecord>) -> Result<()> {
        let mut statement = self.snapshot.connection.prepare_cached(
            "SELECT change, created, folder FROM folder_gone WHERE account = ?1 AND change > ?2
             ORDER BY change LIMIT ?3",
        )?;
        let key = [sql(self.account.value()), sql(self.since.value()), sql(self.limit as u64)];
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            records.push(self.gone_record(row)?);
        }
        Ok(())
    }

    /// The end of a folder, when it came after the cursor.
    fn folder_gone(&self, id: FolderId) -> Result<Option<ChangeRecord>> {
        let mut statement = self
            .snapshot
            .connection
            .prepare_cached("SELECT change, created, folder FROM folder_gone WHERE account = ?1 AND folder = ?2")?;
        let mut rows = statement.query([sql(self.account.value()), sql(id.value())])?;
        let record = self.gone_record(rows.next()?.ok_or(Fault::NotFound)?)?;
        Ok(Some(record).filter(|record| record.change > self.since))
    }

    /// From the columns change, created, folder.
    fn gone_record(&self, row: &Row<'_>) -> Result<ChangeRecord> {
        let corrupt = || Fault::corrupt(format!("removed folder of account {}", self.account));
        Ok(ChangeRecord {
            change: ModSeq::new(unsigned(row.get(0)?)).ok_or_else(corrupt)?,
            created: ModSeq::new(unsigned(row.get(1)?)).ok_or_else(corrupt)?,
            folder: FolderId::new(unsigned(row.get(2)?)).ok_or_else(corrupt)?,
            item: None,
            kind: ChangeKind::REMOVED,
            flags: FlagSet::new(),
        })
    }

    fn key(&self, folder: FolderId) -> [i64; 4] {
        [sql(self.account.value()), sql(folder.value()), sql(self.since.value()), sql(self.limit as u64)]
    }
}

/// From the columns change, created, uid, item.
fn item_record(folder: FolderId, row: &Row<'_>, kind: ChangeKind, flags: FlagSet) -> Result<ChangeRecord> {
    let uid: u32 = row.get(2)?;
    let corrupt = || Fault::corrupt(format!("message {uid} of folder {folder}"));
    Ok(ChangeRecord {
        change: ModSeq::new(unsigned(row.get(0)?)).ok_or_else(corrupt)?,
        created: ModSeq::new(unsigned(row.get(1)?)).ok_or_else(corrupt)?,
        folder,
        item: Some((item_id(row.get(3)?)?, Uid::new(uid).ok_or_else(corrupt)?)),
        kind,
        flags,
    })
}
