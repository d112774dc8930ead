//! Folders: the list, and one opened.

use std::sync::Arc;

use mailstore_trait::flags::Keyword;
use mailstore_trait::folder::{FolderList, FolderView};
use mailstore_trait::id::{AccountId, FolderId, SeqNum, Uid};
use mailstore_trait::store::AccountState;
use mailstore_trait::uid_set::UidMap;
use rusqlite::OptionalExtension;

use super::Snapshot;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::write::Tx;
use crate::write::account::AccountTx;
use crate::write::folders::SEPARATOR;

pub(crate) fn state(snapshot: &Snapshot<'_>, account: AccountId) -> Result<AccountState> {
    let head = snapshot.account(account)?;
    Ok(AccountState::new(head.at, head.messages, head.octets, head.limits.storage))
}

pub(crate) fn list(snapshot: &Snapshot<'_>, account: AccountId) -> Result<FolderList> {
    let head = snapshot.account(account)?;
    let folders = snapshot.folders(account)?.iter().map(|row| row.shown()).collect::<Result<_>>()?;
    let mut statement =
        snapshot.connection.prepare_cached("SELECT path FROM subscription WHERE account = ?1 ORDER BY path")?;
    let subscriptions = statement
        .query_map([sql(account.value())], |row| row.get::<_, String>(0))?
        .map(|path| path.map(|path| path.split(SEPARATOR).map(str::to_owned).collect()))
        .collect::<rusqlite::Result<_>>()?;
    Ok(FolderList { folders, subscriptions, at: Some(head.at) })
}

/// The folder opened, and up to which UID there are messages nobody claimed as recent.
pub(crate) fn view(snapshot: &Snapshot<'_>, account: AccountId, id: FolderId) -> Result<(FolderView, Option<u32>)> {
    let head = snapshot.account(account)?;
    let folder = snapshot.folder(account, id)?;
    if !folder.selectable {
        return Err(Fault::NotFound);
    }
    let uids = snapshot.env.uids.uids(snapshot.connection, account, &folder)?;
    let key = [sql(account.value()), sql(id.value())];
    let first_unseen = match folder.counts.unseen {
        0 => None,
        _ => snapshot
            .connection
            .prepare_cached(
                "SELECT uid FROM item INDEXED BY item_unseen
                 WHERE account = ?1 AND folder = ?2 AND (flags & 1) = 0 ORDER BY uid LIMIT 1",
            )?
            .query_row(key, |row| row.get(0))
            .optional()?
            .and_then(Uid::new),
    };
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT keyword.word FROM keyword_use JOIN keyword
            ON keyword.account = keyword_use.account AND keyword.id = keyword_use.keyword
         WHERE keyword_use.account = ?1 AND keyword_use.folder = ?2",
    )?;
    let mut keywords: Vec<Keyword> = statement
        .query_map(key, |row| row.get::<_, String>(0))?
        .filter_map(|word| word.map(|word| Keyword::new(&word)).transpose())
        .collect::<rusqlite::Result<_>>()?;
    keywords.sort_unstable();
    let claimable = (folder.recent < folder.uid_next).then_some(folder.uid_next);
    let recent_from = claimable.and_then(|_| first_from(&uids, Uid::new(folder.recent)?));
    let view = FolderView {
        folder: folder.shown()?,
        uids,
        at: head.at,
        first_unseen,
        recent_from,
        keywords: Arc::from(keywords),
    };
    Ok((view, claimable))
}

/// The first message from this UID on that is still there.
pub(crate) fn first_from(uids: &UidMap, from: Uid) -> Option<Uid> {
    uids.uid(SeqNum::new(uids.before(from) + 1)?)
}

/// Claims the messages below `upto` that nobody claimed before: the first of them.
pub(crate) fn claim(tx: &mut Tx<'_>, account: AccountId, id: FolderId, upto: u32) -> Result<Option<Uid>> {
    let mut account = AccountTx::load(tx, account)?.ok_or(Fault::NotFound)?;
    let folder = account.folder(tx, id)?;
    let from = folder.recent;
    if from >= upto {
        return Ok(None);
    }
    folder.recent = upto;
    account.flush(tx)?;
    Ok(Uid::new(from))
}
