//! Accounts, folder lists, and opening a folder.

use std::sync::Arc;

use mailstore_trait::flags::Keyword;
use mailstore_trait::folder::{FolderList, FolderView};
use mailstore_trait::id::{AccountId, FolderId, Uid};
use mailstore_trait::store::{AccountState, ViewOptions};
use mailstore_trait::uid_set::{UidMap, UidSet};
use tokio_postgres::Row;

use super::{Answers, account, ask_account};
use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::{FOLDER_COLUMNS, FolderRow, get, number};
use crate::uid_cache::Entry;
use crate::write::folders::SEPARATOR;
use crate::write::upkeep;

pub(crate) async fn state(env: &Env, id: AccountId) -> Result<AccountState> {
    let row = account(env, &env.link.ask(ask_account(id)).await?)?;
    Ok(AccountState::new(row.at()?, row.messages, row.octets, row.limits.storage))
}

const FOLDERS: &str = concat!("SELECT ", FOLDER_COLUMNS!(), " FROM mailstore.folder WHERE account = $1 ORDER BY id");
pub(crate) const FOLDER: &str =
    concat!("SELECT ", FOLDER_COLUMNS!(), " FROM mailstore.folder WHERE account = $1 AND id = $2");

pub(crate) async fn list(env: &Env, id: AccountId) -> Result<FolderList> {
    let number = sql(id.value());
    let mut tx = env.link.read().await?;
    let flight = tx.flight(vec![
        ask_account(id),
        call!(FOLDERS, number),
        call!("SELECT path FROM mailstore.subscription WHERE account = $1", number),
    ]);
    let mut answers = Answers::new(flight.await?);
    let at = account(env, &answers.take())?.at()?;
    let folders = answers.take().iter().map(|row| FolderRow::read(row)?.shown()).collect::<Result<_>>()?;
    let path = |row: &Row| get::<&str>(row, 0).map(|path| path.split(SEPARATOR).map(str::to_owned).collect());
    let mut subscriptions: Vec<Vec<String>> = answers.take().iter().map(path).collect::<Result<_>>()?;
    subscriptions.sort_unstable();
    Ok(FolderList { folders, subscriptions, at: Some(at) })
}

/// The shelf of the folder, asked inside the statement, so that it needs no round trip of its own.
macro_rules! shelf {
    () => {
        "(SELECT shelf FROM mailstore.folder WHERE account = $1 AND id = $2)"
    };
}

const FIRST_UNSEEN: &str = concat!(
    "SELECT uid FROM mailstore.item WHERE account = $1 AND shelf = ",
    shelf!(),
    " AND flags & 1 = 0 ORDER BY uid LIMIT 1"
);
const KEYWORDS: &str = concat!("SELECT word FROM mailstore.keyword WHERE account = $1 AND shelf = ", shelf!());
/// Runs of consecutive UIDs: a folder without gaps is one row.
const UIDS: &str = concat!(
    "SELECT min(uid), max(uid) FROM (
        SELECT uid, uid - row_number() OVER (ORDER BY uid) AS island
        FROM mailstore.item WHERE account = $1 AND shelf = ",
    shelf!(),
    ") AS uids GROUP BY island ORDER BY 1"
);
const GONE_SINCE: &str = concat!(
    "SELECT uid FROM mailstore.gone WHERE account = $1 AND shelf = ",
    shelf!(),
    " AND change > $3 ORDER BY uid"
);
const NEW_SINCE: &str =
    concat!("SELECT uid FROM mailstore.item WHERE account = $1 AND shelf = ", shelf!(), " AND uid >= $3 ORDER BY uid");

pub(crate) async fn view(env: &Env, id: AccountId, folder: FolderId, options: ViewOptions) -> Result<FolderView> {
    let key = (sql(id.value()), sql(folder.value()));
    let known = env.uids.find(id, folder);
    let mut calls = vec![
        ask_account(id),
        call!(FOLDER, key.0, key.1),
        call!(FIRST_UNSEEN, key.0, key.1),
        call!(KEYWORDS, key.0, key.1),
    ];
    match &known {
        // What is known is most often nearly right: what happened since comes along at once.
        Some(entry) => calls.extend([
            call!(GONE_SINCE, key.0, key.1, sql(entry.members)),
            call!(NEW_SINCE, key.0, key.1, i64::from(entry.uid_next)),
        ]),
        None => calls.push(call!(UIDS, key.0, key.1)),
    }
    let mut tx = env.link.read().await?;
    let mut answers = Answers::new(tx.flight(calls).await?);
    let at = account(env, &answers.take())?.at()?;
    let row = FolderRow::read(answers.take().first().ok_or(Fault::NotFound)?)?;
    if !row.selectable {
        return Err(Fault::NotFound);
    }
    let first_unseen = answers.take().first().map(|row| uid(row, 0)).transpose()?;
    let mut keywords = Vec::new();
    for row in &answers.take() {
        keywords.extend(Keyword::new(get(row, 0)?));
    }
    keywords.sort_unstable();
    let (first, second) = (answers.take(), answers.take());
    let uids = match known {
        None => Arc::new(runs(&first)?),
        Some(entry) if entry.shelf == row.shelf && entry.members == row.members => entry.uids,
        Some(entry) if entry.shelf == row.shelf && entry.members < row.members && entry.members >= row.floor => {
            Arc::new(follow(entry, &first, &second)?)
        }
        // Of another time or another generation.
        Some(_) => Arc::new(runs(&tx.one(call!(UIDS, key.0, key.1)).await?)?),
    };
    drop(tx);
    let uid_next = row.uid_next.value();
    let entry = Entry { shelf: row.shelf, members: row.members, uid_next, uids: Arc::clone(&uids) };
    env.uids.keep(id, folder, entry);
    let mut recent_from = None;
    if row.recent < u64::from(uid_next) {
        let from = match options.claim_recent {
            true => upkeep::claim(env, id, folder, row.shelf, uid_next).await?,
            false => Some(row.recent),
        };
        let from = from.and_then(|from| Uid::new(u32::try_from(from).ok()?));
        recent_from = from.and_then(|from| first_from(&uids, from));
    }
    Ok(FolderView { folder: row.shown()?, uids, at, first_unseen, recent_from, keywords: keywords.into() })
}

fn uid(row: &Row, column: usize) -> Result<Uid> {
    let value = number(row, column)?;
    u32::try_from(value).ok().and_then(Uid::new).ok_or_else(|| Fault::corrupt(format!("UID {value}")))
}

fn runs(rows: &[Row]) -> Result<UidMap> {
    let mut uids = UidMap::new();
    for row in rows {
        let (first, last) = (uid(row, 0)?, uid(row, 1)?);
        (first.value()..=last.value()).filter_map(Uid::new).for_each(|uid| uids.push(uid));
    }
    Ok(uids)
}

fn follow(entry: Entry, gone: &[Row], new: &[Row]) -> Result<UidMap> {
    let mut uids = Arc::unwrap_or_clone(entry.uids);
    let gone = gone.iter().map(|row| uid(row, 0)).collect::<Result<UidSet>>()?;
    uids.remove(&gone);
    for row in new {
        uids.push(uid(row, 0)?);
    }
    Ok(uids)
}

/// The first message that is there from this UID on.
fn first_from(uids: &UidMap, from: Uid) -> Option<Uid> {
    let next = mailstore_trait::id::SeqNum::new(uids.before(from).checked_add(1)?)?;
    uids.uid(next)
}
