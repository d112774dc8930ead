//! What changed since a cursor: merged from the items, the tombstones and the folders, by number.
//!
//! Every record has a number of its own, so a page may end anywhere and the next one begins behind it.

use mailstore_trait::change::{ChangeKind, ChangePage, ChangeRecord, ChangesOptions};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::id::{AccountId, FolderId, ItemId, ModSeq, Uid};
use tokio_postgres::Row;

use super::{Answers, account, ask_account};
use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::{FOLDER_COLUMNS, FolderRow, change, flags, get, number};

/// $1 account, $2 folder or 0 for all, $3 cursor, $4 records.
macro_rules! of_folders {
    ($columns:literal, $table:literal) => {
        concat!(
            "SELECT folder.id, ",
            $columns,
            " FROM mailstore.folder CROSS JOIN LATERAL (SELECT * FROM mailstore.",
            $table,
            " WHERE ",
            $table,
            ".account = folder.account AND ",
            $table,
            ".shelf = folder.shelf AND ",
            $table,
            ".change > $3 ORDER BY ",
            $table,
            ".change LIMIT $4) AS n
             WHERE folder.account = $1 AND ($2 = 0 OR folder.id = $2) AND folder.highest > $3 ORDER BY n.change LIMIT $4"
        )
    };
}
const ITEMS: &str =
    of_folders!("n.change, n.created, n.item, n.uid, n.flags, n.keywords, n.read_change, n.content_change", "item");
const GONE: &str = of_folders!("n.change, n.created, n.item, n.uid", "gone");
const FOLDERS: &str = concat!(
    "SELECT ",
    FOLDER_COLUMNS!(),
    " FROM mailstore.folder WHERE account = $1 AND (id = $2 OR $2 = 0 AND change > $3)"
);
const FOLDERS_GONE: &str = "SELECT folder, change, created FROM mailstore.folder_gone
                            WHERE account = $1 AND ($2 = 0 AND change > $3 OR folder = $2) ORDER BY change";

pub(crate) async fn page(env: &Env, id: AccountId, options: &ChangesOptions) -> Result<ChangePage> {
    let since = options.since;
    let max = options.max.max(1);
    let folder = options.folder.map_or(0, |folder| sql(folder.value()));
    let key = || (sql(id.value()), folder, sql(since.value()), sql((max as u64).saturating_add(1)));
    let (account_number, folder_number, cursor, limit) = key();
    let mut tx = env.link.read().await?;
    let flight = tx.flight(vec![
        ask_account(id),
        call!(FOLDERS, account_number, folder_number, cursor),
        call!(FOLDERS_GONE, account_number, folder_number, cursor),
        call!(ITEMS, account_number, folder_number, cursor, limit),
        call!(GONE, account_number, folder_number, cursor, limit),
    ]);
    let mut answers = Answers::new(flight.await?);
    let head = account(env, &answers.take())?;
    let at = head.at()?;
    if since > at {
        return Err(Fault::Gap(at));
    }
    let folders = answers.take().iter().map(FolderRow::read).collect::<Result<Vec<_>>>()?;
    let gone = answers.take();
    let floor = match (options.folder, folders.first()) {
        (None, _) => head.floor,
        (Some(_), Some(folder)) => folder.floor,
        (Some(_), None) if gone.is_empty() => return Err(Fault::NotFound),
        (Some(_), None) => 0,
    };
    if since.value() < floor {
        return Err(Fault::Gap(ModSeq::new(floor).ok_or_else(|| Fault::corrupt(format!("floor {floor}")))?));
    }
    let mut records = Vec::new();
    for folder in folders.iter().filter(|folder| folder.change > since.value()) {
        records.push(own_record(folder, since.value())?);
    }
    for row in &gone {
        let record = folder_gone(row)?;
        if record.change > since {
            records.push(record);
        }
    }
    for row in &answers.take() {
        records.push(live(row, since)?);
    }
    for row in &answers.take() {
        let mut record = placed(row)?;
        record.kind = ChangeKind::REMOVED;
        records.push(record);
    }
    records.sort_unstable_by_key(|record| record.change);
    let more = records.len() > max;
    records.truncate(max);
    let upto = records.last().filter(|_| more).map_or(at, |record| record.change);
    Ok(ChangePage { records, upto, more })
}

fn own_record(folder: &FolderRow, since: u64) -> Result<ChangeRecord> {
    let mut kind = ChangeKind::empty();
    kind.set(ChangeKind::ADDED, folder.selectable && folder.created > since);
    kind.set(ChangeKind::REMOVED, folder.emptied > since);
    kind.set(ChangeKind::NAME, folder.renamed > since);
    kind.set(ChangeKind::ATTRIBUTES, folder.attributed > since);
    let number = |value| ModSeq::new(value).ok_or_else(|| Fault::corrupt(format!("folder {}", folder.id)));
    Ok(ChangeRecord {
        change: number(folder.change)?,
        created: number(folder.created)?,
        folder: folder.id,
        item: None,
        kind,
        flags: FlagSet::new(),
    })
}

fn folder_gone(row: &Row) -> Result<ChangeRecord> {
    Ok(ChangeRecord {
        change: change(row, 1)?,
        created: change(row, 2)?,
        folder: folder_id(row)?,
        item: None,
        kind: ChangeKind::REMOVED,
        flags: FlagSet::new(),
    })
}

fn folder_id(row: &Row) -> Result<FolderId> {
    let id = number(row, 0)?;
    FolderId::new(id).ok_or_else(|| Fault::corrupt(format!("folder {id}")))
}

/// A record of a message, without what happened to it.
fn placed(row: &Row) -> Result<ChangeRecord> {
    let (item, uid) = (number(row, 3)?, number(row, 4)?);
    let ids = ItemId::new(item).zip(u32::try_from(uid).ok().and_then(Uid::new));
    Ok(ChangeRecord {
        change: change(row, 1)?,
        created: change(row, 2)?,
        folder: folder_id(row)?,
        item: Some(ids.ok_or_else(|| Fault::corrupt(format!("message {uid}")))?),
        kind: ChangeKind::empty(),
        flags: FlagSet::new(),
    })
}

fn live(row: &Row, since: ModSeq) -> Result<ChangeRecord> {
    let mut record = placed(row)?;
    let (read, content) = (change(row, 7)?, change(row, 8)?);
    let created = record.created;
    record.kind.set(ChangeKind::ADDED, created > since);
    record.kind.set(ChangeKind::SEEN, read > since && read > created);
    record.kind.set(ChangeKind::FLAGS, content > since && content > created);
    record.flags = flags(get(row, 5)?, get(row, 6)?);
    Ok(record)
}
