//! Folders, roles, subscriptions, and making an account.

use mailstore_trait::batch::OpOutcome;
use mailstore_trait::error::OpError;
use mailstore_trait::folder::{Counts, Role};
use mailstore_trait::id::{AccountId, FolderId, UidValidity};
use mailstore_trait::uid_set::UidSet;
use rusqlite::{OptionalExtension, params};

use super::Tx;
use super::account::{AccountTx, role_number, unsigned};
use super::{abilities, content, items};
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::rows::FolderRow;

/// The longest leaf name, in octets.
const MAX_NAME: usize = 255;
/// The longest path of a subscription, in octets.
const MAX_PATH: usize = 8192;

/// Between the leaf names of a subscription; names hold no control characters.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// Makes an account with its first folders; does nothing when it exists.
pub(crate) fn provision(tx: &mut Tx<'_>, id: AccountId, folders: &[(Role, String)]) -> Result<()> {
    let removed: Option<bool> = tx
        .prepare("SELECT removed FROM account WHERE id = ?1")?
        .query_row([sql(id.value())], |row| row.get(0))
        .optional()?;
    match removed {
        Some(false) => return Ok(()),
        Some(true) => return Err(Fault::unavailable(format!("account {id} was removed"))),
        None => {}
    }
    tx.prepare(
        "INSERT INTO account (id, at, next_item, next_folder, uid_validity, messages, octets, quota, floor)
         VALUES (?1, 1, 1, 1, 0, 0, 0, NULL, 1)",
    )?
    .execute([sql(id.value())])?;
    tx.reserve_account(id);
    let missing = || Fault::corrupt(format!("account {id}"));
    let mut account = AccountTx::load(tx, id)?.ok_or_else(missing)?;
    insert(tx, &mut account, None, "INBOX", Some(Role::Inbox))?;
    for (role, name) in folders.iter().filter(|(role, _)| *role != Role::Inbox) {
        create(tx, &mut account, None, name, Some(*role))?;
    }
    account.flush(tx)
}

/// Makes a folder, or makes one that is a name only hold messages again.
pub(crate) fn create(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    parent: Option<FolderId>,
    name: &str,
    role: Option<Role>,
) -> Result<OpOutcome> {
    legal(parent, name)?;
    let depth = match parent {
        Some(parent) => depth(tx, account, parent)?,
        None => 0,
    };
    let known = by_name(tx, account, parent, name)?;
    if let Some(id) = known
        && account.folder(tx, id)?.selectable
    {
        return Err(OpError::Exists.into());
    }
    match role {
        // Only provisioning makes an inbox.
        Some(Role::Inbox) => return Err(OpError::Inbox.into()),
        Some(role) => role_free(tx, account, role, known)?,
        None => {}
    }
    if depth >= tx.env.config.max_depth {
        return Err(OpError::Limit.into());
    }
    if let Some(limit) = account.row.limits.folders
        && abilities::folders(tx.connection(), account.id)? >= limit
    {
        return Err(OpError::OverQuota.into());
    }
    let Some(id) = known else {
        let id = insert(tx, account, parent, name, role)?;
        abilities::inherit(tx, account.id, parent, id)?;
        return Ok(OpOutcome::Folder(account.shown(tx, id)?));
    };
    let uid_validity = account.next_uid_validity(tx)?;
    let change = account.next_change()?;
    let folder = account.folder(tx, id)?;
    // A new generation, of which nothing before is known.
    *folder = FolderRow {
        uid_validity,
        uid_next: folder.uid_next,
        recent: folder.uid_next,
        highest: change,
        floor: change,
        created: change,
        change,
        members: change,
        named: folder.named,
        attributes: folder.attributes,
        emptied: folder.emptied,
        ..FolderRow::new(id, parent, name, role)
    };
    account.save_folder(tx, id)?;
    abilities::inherit(tx, account.id, parent, id)?;
    Ok(OpOutcome::Folder(account.shown(tx, id)?))
}

fn insert(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    parent: Option<FolderId>,
    name: &str,
    role: Option<Role>,
) -> Result<FolderId> {
    let count: i64 = tx
        .prepare("SELECT count(*) FROM folder WHERE account = ?1")?
        .query_row([sql(account.id.value())], |row| row.get(0))?;
    if unsigned(count) >= tx.env.config.max_folders {
        return Err(OpError::Limit.into());
    }
    let uid_validity = account.next_uid_validity(tx)?;
    let id = account.next_folder()?;
    let change = account.next_change()?;
    let row =
        FolderRow { uid_validity, created: change, change, members: change, ..FolderRow::new(id, parent, name, role) };
    account.insert_folder(tx, id, row)?;
    Ok(id)
}

/// Renames or moves a folder.
pub(crate) fn rename(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    id: FolderId,
    parent: Option<FolderId>,
    name: &str,
) -> Result<OpOutcome> {
    not_inbox(account.folder(tx, id)?)?;
    legal(parent, name)?;
    if let Some(parent) = parent {
        let above = ancestors(tx, account, parent)?;
        if above.contains(&id) {
            return Err(OpError::Cycle.into());
        }
        if above.len() + height(tx, account, id)? > tx.env.config.max_depth {
            return Err(OpError::Limit.into());
        }
    }
    // Its own name included: there is nothing to rename.
    if by_name(tx, account, parent, name)?.is_some() {
        return Err(OpError::Exists.into());
    }
    let change = account.next_change()?;
    let folder = account.folder(tx, id)?;
    folder.parent = parent;
    name.clone_into(&mut folder.name);
    (folder.change, folder.named) = (change, change);
    account.save_folder(tx, id)?;
    Ok(OpOutcome::Folder(account.shown(tx, id)?))
}

/// Deletes a folder; with children it stays as a name.
pub(crate) fn delete(tx: &mut Tx<'_>, account: &mut AccountTx, id: FolderId) -> Result<OpOutcome> {
    let folder = account.folder(tx, id)?;
    not_inbox(folder)?;
    let folder = folder.clone();
    let has_children = tx
        .prepare("SELECT 1 FROM folder WHERE account = ?1 AND parent = ?2")?
        .exists([sql(account.id.value()), sql(id.value())])?;
    if has_children && !folder.selectable {
        return Err(OpError::HasChildren.into());
    }
    let corrupt = || Fault::corrupt(format!("counts of folder {id}"));
    let row = &mut account.row;
    row.messages = row.messages.checked_sub(u64::from(folder.counts.exists)).ok_or_else(corrupt)?;
    row.octets = row.octets.checked_sub(folder.counts.octets).ok_or_else(corrupt)?;
    abilities::forget(tx, account.id, id)?;
    if has_children {
        leave_name(tx, account, id)?
    } else {
        gone(tx, account, &folder)?
    };
    Ok(OpOutcome::Done)
}

/// Only the name stays, for the sake of the folders inside; the folder's own record tells that everything went.
fn leave_name(tx: &mut Tx<'_>, account: &mut AccountTx, id: FolderId) -> Result<()> {
    for row in items::rows(tx, account, id, &UidSet::all(), false, usize::MAX)? {
        content::release_email(tx, row.email)?;
    }
    let key = [sql(account.id.value()), sql(id.value())];
    tx.prepare("DELETE FROM item WHERE account = ?1 AND folder = ?2")?.execute(key)?;
    tx.prepare("DELETE FROM gone WHERE account = ?1 AND folder = ?2")?.execute(key)?;
    account.forget_uses(tx, id)?;
    let change = account.next_change()?;
    let folder = account.folder(tx, id)?;
    folder.selectable = false;
    folder.role = None;
    folder.counts = Counts::default();
    (folder.floor, folder.highest, folder.members) = (change, change, change);
    (folder.change, folder.emptied) = (change, change);
    account.save_folder(tx, id)
}

/// The folder goes at once; its rows, which nobody can reach any more, are cleared away in slices.
fn gone(tx: &mut Tx<'_>, account: &mut AccountTx, folder: &FolderRow) -> Result<()> {
    let change = account.next_change()?;
    let key = (sql(account.id.value()), sql(folder.id.value()));
    account.delete_folder(tx, folder.id)?;
    tx.prepare("INSERT INTO folder_gone (account, change, folder, created, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![key.0, sql(change), key.1, sql(folder.created), tx.now.0])?;
    tx.prepare("INSERT INTO purge (account, folder) VALUES (?1, ?2)")?.execute([key.0, key.1])?;
    Ok(())
}

/// Gives a folder a role or takes it.
pub(crate) fn set_role(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    id: FolderId,
    role: Option<Role>,
) -> Result<OpOutcome> {
    let folder = account.selectable(tx, id)?;
    not_inbox(folder)?;
    if role == Some(Role::Inbox) {
        return Err(OpError::Inbox.into());
    }
    if folder.role != role {
        if let Some(role) = role {
            role_free(tx, account, role, Some(id))?;
        }
        let change = account.next_change()?;
        let folder = account.folder(tx, id)?;
        folder.role = role;
        (folder.change, folder.attributes) = (change, change);
        account.save_folder(tx, id)?;
    }
    Ok(OpOutcome::Folder(account.shown(tx, id)?))
}

/// Adds a name to the subscriptions or takes it away.
pub(crate) fn subscribe(
    tx: &mut Tx<'_>,
    account: &mut AccountTx,
    path: &[String],
    subscribed: bool,
) -> Result<OpOutcome> {
    let mut leaves: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(first) = leaves.first_mut().filter(|first| first.eq_ignore_ascii_case("INBOX")) {
        *first = "INBOX";
    }
    let joined = leaves.join(&SEPARATOR.to_string());
    if leaves.is_empty() || leaves.iter().any(|leaf| !is_name(leaf)) || joined.len() > MAX_PATH {
        return Err(OpError::IllegalName.into());
    }
    let number = sql(account.id.value());
    let changed = if subscribed {
        let count: i64 = tx
            .prepare("SELECT count(*) FROM subscription WHERE account = ?1")?
            .query_row([number], |row| row.get(0))?;
        let known = tx
            .prepare("SELECT 1 FROM subscription WHERE account = ?1 AND path = ?2")?
            .exists(params![number, joined])?;
        if !known && unsigned(count) >= tx.env.config.max_subscriptions {
            return Err(OpError::Limit.into());
        }
        tx.prepare("INSERT OR IGNORE INTO subscription (account, path) VALUES (?1, ?2)")?
            .execute(params![number, joined])?
    } else {
        tx.prepare("DELETE FROM subscription WHERE account = ?1 AND path = ?2")?.execute(params![number, joined])?
    };
    if changed > 0 {
        let change = account.next_change()?;
        if let Some(id) = by_path(tx, account, &leaves)? {
            let folder = account.folder(tx, id)?;
            (folder.change, folder.attributes) = (change, change);
        }
    }
    Ok(OpOutcome::Done)
}

/// Whether the folder is still as the caller saw it.
pub(crate) fn assert(
    tx: &Tx<'_>,
    account: &mut AccountTx,
    id: FolderId,
    uid_validity: UidValidity,
) -> Result<OpOutcome> {
    match account.selectable(tx, id) {
        Ok(folder) if folder.uid_validity == uid_validity.value() => Ok(OpOutcome::Done),
        Ok(_) | Err(Fault::Op(_)) => Err(OpError::Conflict.into()),
        Err(other) => Err(other),
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether a folder may have this name here. The inbox has its own in every case of its letters.
fn legal(parent: Option<FolderId>, name: &str) -> Result<()> {
    if !is_name(name) {
        Err(OpError::IllegalName.into())
    } else if parent.is_none() && name.eq_ignore_ascii_case("INBOX") {
        Err(OpError::Exists.into())
    } else {
        Ok(())
    }
}

fn not_inbox(folder: &FolderRow) -> Result<()> {
    if folder.role == Some(Role::Inbox) { Err(OpError::Inbox.into()) } else { Ok(()) }
}

fn role_free(tx: &Tx<'_>, account: &AccountTx, role: Role, but: Option<FolderId>) -> Result<()> {
    let taken = tx.prepare("SELECT 1 FROM folder WHERE account = ?1 AND role = ?2 AND id <> ?3")?.exists([
        sql(account.id.value()),
        role_number(Some(role)),
        but.map_or(0, |id| sql(id.value())),
    ])?;
    if taken { Err(OpError::RoleTaken.into()) } else { Ok(()) }
}

fn by_name(tx: &Tx<'_>, account: &AccountTx, parent: Option<FolderId>, name: &str) -> Result<Option<FolderId>> {
    let parent = parent.map_or(0, |parent| sql(parent.value()));
    let id: Option<i64> = tx
        .prepare("SELECT id FROM folder WHERE account = ?1 AND parent = ?2 AND name = ?3")?
        .query_row(params![sql(account.id.value()), parent, name], |row| row.get(0))
        .optional()?;
    Ok(id.and_then(|id| FolderId::new(unsigned(id))))
}

fn by_path(tx: &Tx<'_>, account: &AccountTx, path: &[&str]) -> Result<Option<FolderId>> {
    let mut found = None;
    for leaf in path {
        match by_name(tx, account, found, leaf)? {
            Some(id) => found = Some(id),
            None => return Ok(None),
        }
    }
    Ok(found)
}

/// The folder and all it lies in.
fn ancestors(tx: &Tx<'_>, account: &mut AccountTx, id: FolderId) -> Result<Vec<FolderId>> {
    let mut above = Vec::new();
    let mut next = Some(id);
    while let Some(id) = next {
        if above.contains(&id) {
            return Err(Fault::corrupt(format!("folder {id} lies in itself")));
        }
        above.push(id);
        next = account.folder(tx, id)?.parent;
    }
    Ok(above)
}

fn depth(tx: &Tx<'_>, account: &mut AccountTx, id: FolderId) -> Result<usize> {
    Ok(ancestors(tx, account, id)?.len())
}

/// How many levels the folder and what lies in it have.
fn height(tx: &Tx<'_>, account: &AccountTx, id: FolderId) -> Result<usize> {
    let levels: i64 = tx
        .prepare(
            "WITH RECURSIVE below (id, level) AS (
                SELECT ?2, 1
                UNION ALL
                SELECT folder.id, below.level + 1 FROM folder, below
                WHERE folder.account = ?1 AND folder.parent = below.id AND below.level < 1000
             ) SELECT max(level) FROM below",
        )?
        .query_row([sql(account.id.value()), sql(id.value())], |row| row.get(0))?;
    Ok(usize::try_from(levels).unwrap_or(usize::MAX))
}
