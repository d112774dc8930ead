//! Folders, roles, subscriptions. All folders of the account are at hand, so these are plain computation.

use std::collections::BTreeSet;

use mailstore_trait::batch::OpOutcome;
use mailstore_trait::error::OpError;
use mailstore_trait::folder::{Counts, Role};
use mailstore_trait::id::{FolderId, Uid, UidValidity};

use super::account::{Account, Held, Listed};
use crate::config::Config;
use crate::fault::Result;
use crate::rows::FolderRow;

/// Between the leaf names of a subscription; names hold no control characters.
pub(crate) const SEPARATOR: char = '\u{1f}';
/// The longest path of a subscription, in octets.
const MAX_PATH: usize = 8192;

fn is_inbox(name: &str) -> bool {
    name.eq_ignore_ascii_case("INBOX")
}

fn legal(name: &str) -> Result<(), OpError> {
    let legal = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
    if legal { Ok(()) } else { Err(OpError::IllegalName) }
}

fn named(account: &Account, parent: Option<FolderId>, name: &str) -> Option<FolderId> {
    let same = |have: &str| have == name || (parent.is_none() && is_inbox(have) && is_inbox(name));
    let mut folders = account.folders.values().map(|held| &held.row);
    folders.find(|folder| folder.parent == parent && same(&folder.name)).map(|folder| folder.id)
}

fn has_role(account: &Account, role: Option<Role>, except: Option<FolderId>) -> bool {
    let mut folders = account.folders.values().map(|held| &held.row);
    role.is_some_and(|role| folders.any(|folder| folder.role == Some(role) && Some(folder.id) != except))
}

/// The folder and those it lies in, from the inside out.
fn above(account: &Account, id: FolderId) -> Result<Vec<FolderId>, OpError> {
    let mut chain = Vec::new();
    let mut next = Some(id);
    while let Some(id) = next {
        // A circle in the table must not hang its reader.
        if chain.len() > account.folders.len() {
            return Err(OpError::Cycle);
        }
        chain.push(id);
        next = account.folder(id)?.parent;
    }
    Ok(chain)
}

/// How many levels the folder and what lies in it have.
fn height(account: &Account, id: FolderId) -> usize {
    let mut level: BTreeSet<FolderId> = BTreeSet::from([id]);
    let mut levels = 0;
    while !level.is_empty() && levels <= account.folders.len() {
        levels += 1;
        let folders = account.folders.values().map(|held| &held.row);
        level =
            folders.filter(|row| row.parent.is_some_and(|parent| level.contains(&parent))).map(|row| row.id).collect();
    }
    levels
}

/// Makes a folder, or makes one that is a name only hold messages again.
pub(crate) fn create(
    account: &mut Account,
    config: &Config,
    parent: Option<FolderId>,
    name: &str,
    role: Option<Role>,
) -> Result<OpOutcome> {
    legal(name)?;
    let depth = match parent {
        Some(parent) => above(account, parent)?.len(),
        None => 0,
    };
    let name_only = match named(account, parent, name) {
        Some(id) if account.selectable(id).is_ok() => return Err(OpError::Exists.into()),
        other => other,
    };
    if has_role(account, role, None) {
        // Only making the account makes an inbox.
        return Err(if role == Some(Role::Inbox) { OpError::Inbox } else { OpError::RoleTaken }.into());
    }
    account.numbers_for(1)?;
    let full = name_only.is_none() && account.folders.len() >= config.max_folders;
    if full || depth >= config.max_depth {
        return Err(OpError::Limit.into());
    }
    let folders = account.folders.values().filter(|held| held.row.selectable).count() as u64;
    if account.row.limits.folders.is_some_and(|limit| folders >= limit) {
        return Err(OpError::OverQuota.into());
    }
    let uid_validity = account.next_uid_validity()?;
    let id = match name_only {
        Some(id) => id,
        None => account.next_folder()?,
    };
    let shelf = account.next_shelf();
    let change = account.next_change()?.value();
    let (highest, floor) = if name_only.is_some() { (change, change) } else { (1, 1) };
    let before = account.folders.remove(&id);
    let kept = |field: fn(&FolderRow) -> u64| before.as_ref().map_or(0, |held| field(&held.row));
    let row = FolderRow {
        id,
        shelf,
        parent,
        name: before.as_ref().map_or_else(|| name.to_owned(), |held| held.row.name.clone()),
        role,
        selectable: true,
        uid_validity,
        // Goes on where it was when a name becomes a folder again.
        uid_next: before.as_ref().map_or(Uid::MIN, |held| held.row.uid_next),
        highest,
        floor,
        created: change,
        change,
        renamed: kept(|row| row.renamed),
        attributed: kept(|row| row.attributed),
        emptied: kept(|row| row.emptied),
        members: change,
        counts: Counts::default(),
        recent: 1,
    };
    account.folders.insert(id, Held { row, found: before.and_then(|held| held.found) });
    account.listed.extend(parent.map(|parent| Listed::Inherits { parent, folder: id }));
    Ok(OpOutcome::Folder(account.shown(id)?))
}

/// Renames or moves a folder.
pub(crate) fn rename(
    account: &mut Account,
    config: &Config,
    id: FolderId,
    parent: Option<FolderId>,
    name: &str,
) -> Result<OpOutcome> {
    if account.folder(id)?.role == Some(Role::Inbox) {
        return Err(OpError::Inbox.into());
    }
    legal(name)?;
    if let Some(parent) = parent {
        let chain = above(account, parent)?;
        if chain.contains(&id) {
            return Err(OpError::Cycle.into());
        }
        if chain.len() + height(account, id) > config.max_depth {
            return Err(OpError::Limit.into());
        }
    }
    if named(account, parent, name).is_some() {
        return Err(OpError::Exists.into());
    }
    let change = account.next_change()?.value();
    let folder = account.folder_mut(id)?;
    folder.parent = parent;
    name.clone_into(&mut folder.name);
    (folder.change, folder.renamed) = (change, change);
    Ok(OpOutcome::Folder(account.shown(id)?))
}

/// Deletes a folder; with children it stays as a name.
pub(crate) fn delete(account: &mut Account, id: FolderId) -> Result<OpOutcome> {
    let folder = account.folder(id)?;
    if folder.role == Some(Role::Inbox) {
        return Err(OpError::Inbox.into());
    }
    let has_children = account.folders.values().any(|held| held.row.parent == Some(id));
    if has_children && !folder.selectable {
        return Err(OpError::HasChildren.into());
    }
    let (shelf, counts, created) = (folder.shelf, folder.counts, folder.created);
    let selectable = folder.selectable;
    let change = account.next_change()?.value();
    account.row.messages = account.row.messages.saturating_sub(counts.exists.into());
    account.row.octets = account.row.octets.saturating_sub(counts.octets);
    if selectable {
        account.abandon(shelf);
        account.listed.push(Listed::Ends { folder: id });
    }
    if has_children {
        let folder = account.folder_mut(id)?;
        folder.role = None;
        folder.selectable = false;
        // Nothing lies under this number.
        folder.shelf = 0;
        (folder.floor, folder.highest, folder.change, folder.emptied) = (change, change, change, change);
        folder.attributed = 0;
        folder.members = change;
        folder.counts = Counts::default();
    } else {
        account.folders.remove(&id);
        account.folders_gone.push((id, created, change));
    }
    Ok(OpOutcome::Done)
}

/// Gives a folder a role or takes it.
pub(crate) fn set_role(account: &mut Account, id: FolderId, role: Option<Role>) -> Result<OpOutcome> {
    let now = account.selectable(id)?.role;
    if now == Some(Role::Inbox) || role == Some(Role::Inbox) {
        return Err(OpError::Inbox.into());
    }
    if has_role(account, role, Some(id)) {
        return Err(OpError::RoleTaken.into());
    }
    if now != role {
        let change = account.next_change()?.value();
        let folder = account.folder_mut(id)?;
        folder.role = role;
        (folder.change, folder.attributed) = (change, change);
    }
    Ok(OpOutcome::Folder(account.shown(id)?))
}

/// Adds a name to the subscriptions or takes it away.
pub(crate) fn subscribe(
    account: &mut Account,
    config: &Config,
    path: &[String],
    subscribed: bool,
) -> Result<OpOutcome> {
    let mut leaves: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(first) = leaves.first_mut().filter(|first| is_inbox(first)) {
        *first = "INBOX";
    }
    leaves.iter().try_for_each(|leaf| legal(leaf))?;
    let joined = leaves.join(&SEPARATOR.to_string());
    if leaves.is_empty() || joined.len() > MAX_PATH {
        return Err(OpError::IllegalName.into());
    }
    if account.subscriptions.contains(&joined) == subscribed {
        return Ok(OpOutcome::Done);
    }
    if subscribed && account.subscriptions.len() >= config.max_subscriptions {
        return Err(OpError::Limit.into());
    }
    let change = account.next_change()?.value();
    let mut found = None;
    for leaf in &leaves {
        found = named(account, found, leaf);
        if found.is_none() {
            break;
        }
    }
    if let Some(id) = found {
        let folder = account.folder_mut(id)?;
        (folder.change, folder.attributed) = (change, change);
    }
    if subscribed {
        account.subscriptions.insert(joined);
    } else {
        account.subscriptions.remove(&joined);
    }
    Ok(OpOutcome::Done)
}

/// Whether the folder is still as the caller saw it.
pub(crate) fn assert(account: &Account, id: FolderId, uid_validity: UidValidity) -> Result<OpOutcome> {
    let same = account.selectable(id).is_ok_and(|folder| folder.uid_validity == uid_validity);
    if same { Ok(OpOutcome::Done) } else { Err(OpError::Conflict.into()) }
}
