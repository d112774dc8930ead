//! Limits, lists of rights and annotations: what is written, under the account's lock.
//!
//! Each of these writes what is to be, not a difference, so that repeating one whose outcome is not known is harmless.

use std::collections::BTreeMap;

use mailstore_trait::acl::{Acl, AclChange};
use mailstore_trait::date::Timestamp;
use mailstore_trait::error::{AclError, MetadataError, OpError};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{EntryChange, EntryName, MetadataLimits, Subject};
use mailstore_trait::quota::{Quota, QuotaLimits, QuotaUsage};

use super::account::{Account, AccountRow};
use super::flush;
use super::upkeep::LOCK;
use crate::call::{Call, call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::read::Answers;
use crate::read::abilities::{ACLS, COUNT_FOLDERS, grantee_number, lists, scope_number, subject_numbers};
use crate::read::view::FOLDER;
use crate::rows::{FolderRow, get, number};

/// Changes how much an account may hold.
pub(crate) async fn set_quota(env: &Env, id: AccountId, change: impl Fn(QuotaLimits) -> QuotaLimits) -> Result<Quota> {
    let account = sql(id.value());
    let mut tx = env.link.write().await?;
    let mut answers = Answers::new(tx.flight(vec![call!(LOCK, account), call!(COUNT_FOLDERS, account)]).await?);
    let row = AccountRow::read(answers.take().first().ok_or(Fault::NotFound)?)?;
    let folders = answers.take().first().map_or(Ok(0), |row| number(row, 0))?;
    let limits = change(row.limits);
    let set = call!(
        "UPDATE mailstore.account SET quota = $2, quota_messages = $3, quota_folders = $4 WHERE id = $1",
        account,
        limits.storage.map(sql),
        limits.messages.map(sql),
        limits.folders.map(sql)
    );
    tx.end(vec![set]).await?;
    Ok(Quota::new(limits, QuotaUsage::new(row.octets, row.messages, folders)))
}

/// The account under its lock, with this folder, which must hold messages.
fn locked(answers: &mut Answers, folder: FolderId) -> Result<Account> {
    let mut account = Account::new(AccountRow::read(answers.take().first().ok_or(Fault::NotFound)?)?);
    for row in &answers.take() {
        account.hold(FolderRow::read(row)?);
    }
    account.selectable(folder)?;
    Ok(account)
}

/// Gives the folder itself a change, and says what to write for it.
fn attribute(account: &mut Account, folder: FolderId, calls: &mut Vec<Call>) -> Result<()> {
    let change = account.next_change()?.value();
    let row = account.folder_mut(folder)?;
    (row.change, row.attributed) = (change, change);
    // Nothing here takes a tombstone, which alone would need the time.
    flush::account(account, Timestamp(0), calls);
    Ok(())
}

/// Changes one entry of a folder's list.
pub(crate) async fn change_acl(
    env: &Env,
    id: AccountId,
    folder: FolderId,
    change: AclChange,
) -> Result<Result<Acl, AclError>> {
    let (account_number, folder_number) = (sql(id.value()), sql(folder.value()));
    let mut tx = env.link.write().await?;
    let flight = tx
        .flight(vec![
            call!(LOCK, account_number),
            call!(FOLDER, account_number, folder_number),
            call!(ACLS, account_number),
        ])
        .await?;
    let mut answers = Answers::new(flight);
    let mut account = locked(&mut answers, folder)?;
    let before = lists(&answers.take())?.remove(&folder).unwrap_or_default();
    let mut acl = before.clone();
    if let Err(error) = acl.change(change) {
        return Ok(Err(error));
    }
    if acl == before {
        return Ok(Ok(acl));
    }
    let (grantee, negative) = (grantee_number(change.grantee), change.negative);
    let now = acl.entries.iter().find(|entry| (entry.grantee, entry.negative) == (change.grantee, negative));
    let mut calls = vec![match now {
        Some(entry) => call!(
            "INSERT INTO mailstore.acl (account, folder, grantee, negative, rights) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account, folder, grantee, negative) DO UPDATE SET rights = excluded.rights",
            account_number,
            folder_number,
            grantee,
            negative,
            i64::from(entry.rights.bits())
        ),
        None => call!(
            "DELETE FROM mailstore.acl WHERE account = $1 AND folder = $2 AND grantee = $3 AND negative = $4",
            account_number,
            folder_number,
            grantee,
            negative
        ),
    }];
    attribute(&mut account, folder, &mut calls)?;
    let upto = account.row.at()?;
    tx.end(calls).await?;
    env.hints.committed(id, upto);
    Ok(Ok(acl))
}

/// Makes annotations what they are to be: all, or none.
pub(crate) async fn set_entries(
    env: &Env,
    subject: Subject,
    changes: &[EntryChange],
    limits: MetadataLimits,
) -> Result<Result<(), MetadataError>> {
    let (account_number, folder_number) = subject_numbers(subject);
    let too_large = changes.iter().filter_map(|change| change.value.as_ref()).any(|it| it.len() as u64 > limits.value);
    let mut owners: Vec<i64> = changes.iter().map(|change| scope_number(change.scope)).collect();
    owners.sort_unstable();
    owners.dedup();
    let known = call!(
        "SELECT owner, name, value FROM mailstore.annotation WHERE account = $1 AND folder = $2 AND owner = ANY($3)",
        account_number,
        folder_number,
        owners.clone()
    );
    let mut tx = env.link.write().await?;
    let locks = match subject {
        Subject::Folder(..) => vec![call!(LOCK, account_number), call!(FOLDER, account_number, folder_number), known],
        // The server's are few and seldom changed: its own row keeps the order.
        Subject::Server => vec![call!("SELECT one FROM mailstore.store WHERE one = 1 FOR UPDATE"), known],
    };
    let mut answers = Answers::new(tx.flight(locks).await?);
    let mut account = match subject {
        Subject::Folder(id, folder) => Some((id, folder, locked(&mut answers, folder)?)),
        Subject::Server => {
            answers.take();
            None
        }
    };
    if too_large {
        return Ok(Err(MetadataError::TooLarge { limit: limits.value }));
    }
    let mut before: BTreeMap<(i64, EntryName), Vec<u8>> = BTreeMap::new();
    for row in &answers.take() {
        let name = EntryName::new(get::<&str>(row, 1)?);
        let name = name.ok_or_else(|| Fault::corrupt(format!("an annotation of {subject:?}")))?;
        before.insert((get(row, 0)?, name), get(row, 2)?);
    }
    let mut after = before.clone();
    for change in changes {
        let key = (scope_number(change.scope), change.name.clone());
        match &change.value {
            Some(value) => after.insert(key, value.to_vec()),
            None => after.remove(&key),
        };
    }
    let count = |entries: &BTreeMap<(i64, EntryName), Vec<u8>>, owner: i64| {
        entries.keys().filter(|(of, _)| *of == owner).count()
    };
    // Who is over the limit already may still change and remove.
    if owners.iter().any(|&owner| count(&after, owner) > limits.entries.max(count(&before, owner))) {
        return Ok(Err(MetadataError::TooMany));
    }
    if after == before {
        return Ok(Ok(()));
    }
    let mut calls = Vec::new();
    for (owner, name) in before.keys().filter(|key| !after.contains_key(*key)) {
        calls.push(call!(
            "DELETE FROM mailstore.annotation WHERE account = $1 AND folder = $2 AND owner = $3 AND name = $4",
            account_number,
            folder_number,
            *owner,
            name.as_str()
        ));
    }
    for ((owner, name), value) in after.into_iter().filter(|(key, value)| before.get(key) != Some(value)) {
        calls.push(call!(
            "INSERT INTO mailstore.annotation (account, folder, owner, name, value) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account, folder, owner, name) DO UPDATE SET value = excluded.value",
            account_number,
            folder_number,
            owner,
            name.as_str(),
            value
        ));
    }
    let mut told = None;
    if let Some((id, folder, account)) = &mut account {
        attribute(account, *folder, &mut calls)?;
        told = Some((*id, account.row.at()?));
    }
    tx.end(calls).await?;
    if let Some((account, upto)) = told {
        env.hints.committed(account, upto);
    }
    Ok(Ok(()))
}

/// A folder that can't carry a list or an annotation is none.
pub(crate) fn missing(fault: Fault) -> Fault {
    match fault {
        Fault::Op(OpError::NotFound | OpError::NotSelectable) => Fault::NotFound,
        other => other,
    }
}
