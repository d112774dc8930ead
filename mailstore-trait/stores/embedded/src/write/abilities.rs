//! Limits, lists of rights and annotations: what is written, and what happens to them with their folder.

use bytes::Bytes;
use mailstore_trait::acl::{Acl, AclChange};
use mailstore_trait::error::{AclError, MetadataError};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{EntryChange, MetadataLimits, Subject};
use mailstore_trait::quota::{Quota, QuotaLimits, QuotaUsage};
use rusqlite::{Connection, OptionalExtension, params};

use super::Tx;
use super::account::{AccountTx, unsigned};
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::read::abilities::{grantee_number, read_acl, scope_number, subject_numbers};

/// Folders of the account that can hold messages.
pub(crate) fn folders(connection: &Connection, account: AccountId) -> Result<u64> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM folder WHERE account = ?1 AND selectable = 1")?
        .query_row([sql(account.value())], |row| row.get(0))?;
    Ok(unsigned(count))
}

/// Changes how much an account may hold.
pub(crate) fn set_quota(tx: &mut Tx<'_>, id: AccountId, change: impl Fn(QuotaLimits) -> QuotaLimits) -> Result<Quota> {
    let mut account = AccountTx::load(tx, id)?.ok_or(Fault::NotFound)?;
    account.row.limits = change(account.row.limits);
    account.flush(tx)?;
    let usage = QuotaUsage::new(account.row.octets, account.row.messages, folders(tx.connection(), id)?);
    Ok(Quota::new(account.row.limits, usage))
}

/// Changes one entry of a folder's list.
pub(crate) fn change_acl(
    tx: &mut Tx<'_>,
    id: AccountId,
    folder: FolderId,
    change: AclChange,
) -> Result<Result<Acl, AclError>> {
    let mut account = AccountTx::load(tx, id)?.ok_or(Fault::NotFound)?;
    account.selectable(tx, folder)?;
    let before = read_acl(tx.connection(), id, folder)?;
    let mut acl = before.clone();
    if let Err(error) = acl.change(change) {
        return Ok(Err(error));
    }
    if acl == before {
        return Ok(Ok(acl));
    }
    let (account_number, folder_number) = (sql(id.value()), sql(folder.value()));
    let (grantee, negative) = (grantee_number(change.grantee), change.negative);
    let now = acl.entries.iter().find(|entry| (entry.grantee, entry.negative) == (change.grantee, negative));
    match now {
        Some(entry) => tx
            .prepare(
                "INSERT INTO acl (account, folder, grantee, negative, rights) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET rights = excluded.rights",
            )?
            .execute(params![account_number, folder_number, grantee, negative, entry.rights.bits()])?,
        None => tx
            .prepare("DELETE FROM acl WHERE account = ?1 AND folder = ?2 AND grantee = ?3 AND negative = ?4")?
            .execute(params![account_number, folder_number, grantee, negative])?,
    };
    attribute(tx, &mut account, folder)?;
    Ok(Ok(acl))
}

/// Gives the folder itself a change.
fn attribute(tx: &mut Tx<'_>, account: &mut AccountTx, folder: FolderId) -> Result<()> {
    let change = account.next_change()?;
    let row = account.folder(tx, folder)?;
    (row.change, row.attributes) = (change, change);
    account.flush(tx)
}

/// Gives a new folder its parent's list.
pub(crate) fn inherit(tx: &Tx<'_>, account: AccountId, parent: Option<FolderId>, folder: FolderId) -> Result<()> {
    if let Some(parent) = parent {
        tx.prepare(
            "INSERT INTO acl (account, folder, grantee, negative, rights)
             SELECT account, ?3, grantee, negative, rights FROM acl WHERE account = ?1 AND folder = ?2",
        )?
        .execute([sql(account.value()), sql(parent.value()), sql(folder.value())])?;
    }
    Ok(())
}

/// Ends the list and the annotations of a folder that goes.
pub(crate) fn forget(tx: &Tx<'_>, account: AccountId, folder: FolderId) -> Result<()> {
    for statement in [
        "DELETE FROM acl WHERE account = ?1 AND folder = ?2",
        "DELETE FROM annotation WHERE account = ?1 AND folder = ?2",
    ] {
        tx.prepare(statement)?.execute([sql(account.value()), sql(folder.value())])?;
    }
    Ok(())
}

/// Makes annotations what they are to be: all, or none.
pub(crate) fn set_entries(
    tx: &mut Tx<'_>,
    subject: Subject,
    changes: &[EntryChange],
    limits: MetadataLimits,
) -> Result<Result<(), MetadataError>> {
    let mut account = match subject {
        Subject::Server => None,
        Subject::Folder(id, folder) => {
            let mut account = AccountTx::load(tx, id)?.ok_or(Fault::NotFound)?;
            account.selectable(tx, folder)?;
            Some((account, folder))
        }
    };
    let too_large = |value: &&Bytes| value.len() as u64 > limits.value;
    if changes.iter().filter_map(|change| change.value.as_ref()).any(|value| too_large(&value)) {
        return Ok(Err(MetadataError::TooLarge { limit: limits.value }));
    }
    let (account_number, folder_number) = subject_numbers(subject);
    let count = |tx: &Tx<'_>, owner: i64| -> Result<i64> {
        let mut count =
            tx.prepare("SELECT count(*) FROM annotation WHERE account = ?1 AND folder = ?2 AND owner = ?3")?;
        Ok(count.query_row([account_number, folder_number, owner], |row| row.get(0))?)
    };
    let mut owners: Vec<i64> = changes.iter().map(|change| scope_number(change.scope)).collect();
    owners.sort_unstable();
    owners.dedup();
    let before = owners.iter().map(|owner| count(tx, *owner)).collect::<Result<Vec<i64>>>()?;
    // A savepoint: too many are only known when all is done.
    let mut changed = false;
    let outcome = tx.isolated(|tx| {
        for change in changes {
            let owner = scope_number(change.scope);
            let key = params![account_number, folder_number, owner, change.name.as_str()];
            let old: Option<Vec<u8>> = tx
                .prepare(
                    "SELECT value FROM annotation WHERE account = ?1 AND folder = ?2 AND owner = ?3 AND name = ?4",
                )?
                .query_row(key, |row| row.get(0))
                .optional()?;
            if old.as_deref() == change.value.as_deref() {
                continue;
            }
            changed = true;
            match &change.value {
                Some(value) => tx
                    .prepare(
                        "INSERT INTO annotation (account, folder, owner, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT DO UPDATE SET value = excluded.value",
                    )?
                    .execute(params![account_number, folder_number, owner, change.name.as_str(), &value[..]])?,
                None => tx
                    .prepare("DELETE FROM annotation WHERE account = ?1 AND folder = ?2 AND owner = ?3 AND name = ?4")?
                    .execute(key)?,
            };
        }
        let limit = i64::try_from(limits.entries).unwrap_or(i64::MAX);
        for (owner, before) in owners.iter().zip(&before) {
            let now = count(tx, *owner)?;
            // Who is over the limit already may still change and remove.
            if now > limit && now > *before {
                return Err(Fault::TooLarge);
            }
        }
        Ok(())
    });
    match outcome {
        Err(Fault::TooLarge) => return Ok(Err(MetadataError::TooMany)),
        other => other?,
    }
    if let Some((account, folder)) = account.as_mut().filter(|_| changed) {
        attribute(tx, account, *folder)?;
    }
    Ok(Ok(()))
}
