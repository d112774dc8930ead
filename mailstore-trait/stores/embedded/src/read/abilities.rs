//! Limits, lists of rights and annotations: what is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailstore_trait::acl::{Acl, AclEntry, Grantee, Rights};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Entry, EntryName, Scope, Subject, Wanted};
use mailstore_trait::quota::{Quota, QuotaUsage};
use rusqlite::{Connection, Row};

use super::Snapshot;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::write::abilities::folders;
use crate::write::account::unsigned;

pub(crate) fn quota(snapshot: &Snapshot<'_>, account: AccountId) -> Result<Quota> {
    let head = snapshot.account(account)?;
    let usage = QuotaUsage::new(head.octets, head.messages, folders(snapshot.connection, account)?);
    Ok(Quota::new(head.limits, usage))
}

pub(crate) fn deleted_octets(snapshot: &Snapshot<'_>, account: AccountId) -> Result<Vec<(FolderId, u64)>> {
    snapshot.account(account)?;
    // Joined, for the messages of a folder that is gone lie there until they are cleared away.
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT folder.id, sum(item.size) FROM folder JOIN item INDEXED BY item_deleted
            ON item.account = folder.account AND item.folder = folder.id AND (item.flags & 8) = 8
         WHERE folder.account = ?1 GROUP BY folder.id HAVING sum(item.size) > 0 ORDER BY folder.id",
    )?;
    let rows = statement.query_map([sql(account.value())], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    rows.map(|row| row.map_err(Fault::from).and_then(|(folder, octets)| Ok((folder_id(folder)?, octets)))).collect()
}

fn folder_id(number: i64) -> Result<FolderId> {
    FolderId::new(unsigned(number)).ok_or_else(|| Fault::corrupt(format!("folder {number}")))
}

/// The column for a grantee.
pub(crate) fn grantee_number(grantee: Grantee) -> i64 {
    match grantee {
        Grantee::Anyone => 0,
        Grantee::Account(account) => sql(account.value()),
    }
}

/// The column for a scope.
pub(crate) fn scope_number(scope: Scope) -> i64 {
    match scope {
        Scope::Shared => 0,
        Scope::Private(account) => sql(account.value()),
    }
}

/// The columns for a subject.
pub(crate) fn subject_numbers(subject: Subject) -> (i64, i64) {
    match subject {
        Subject::Server => (0, 0),
        Subject::Folder(account, folder) => (sql(account.value()), sql(folder.value())),
    }
}

/// A folder's number, with one entry.
fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, AclEntry)> {
    let grantee = AccountId::new(unsigned(row.get(1)?)).map_or(Grantee::Anyone, Grantee::Account);
    let rights = Rights::from_bits_truncate(row.get(3)?);
    Ok((row.get(0)?, AclEntry { grantee, negative: row.get(2)?, rights }))
}

/// One folder's list.
pub(crate) fn read_acl(connection: &Connection, account: AccountId, folder: FolderId) -> Result<Acl> {
    let mut statement = connection.prepare_cached(
        "SELECT folder, grantee, negative, rights FROM acl WHERE account = ?1 AND folder = ?2
         ORDER BY grantee, negative",
    )?;
    let rows = statement.query_map([sql(account.value()), sql(folder.value())], entry)?;
    let entries = rows.map(|row| row.map(|(_, entry)| entry)).collect::<rusqlite::Result<_>>()?;
    Ok(Acl { entries })
}

pub(crate) fn acls(snapshot: &Snapshot<'_>, account: AccountId) -> Result<Vec<(FolderId, Acl)>> {
    snapshot.account(account)?;
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT folder, grantee, negative, rights FROM acl WHERE account = ?1 ORDER BY folder, grantee, negative",
    )?;
    let mut acls: BTreeMap<FolderId, Acl> = BTreeMap::new();
    for row in statement.query_map([sql(account.value())], entry)? {
        let (folder, entry) = row?;
        acls.entry(folder_id(folder)?).or_default().entries.push(entry);
    }
    Ok(acls.into_iter().collect())
}

pub(crate) fn shared_with(
    snapshot: &Snapshot<'_>,
    who: AccountId,
    after: Option<AccountId>,
    max: usize,
) -> Result<Vec<AccountId>> {
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT DISTINCT account FROM acl INDEXED BY acl_grantee
         WHERE negative = 0 AND grantee IN (0, ?1) AND account > ?2 ORDER BY account LIMIT ?3",
    )?;
    let after = after.map_or(0, |after| sql(after.value()));
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = statement.query_map([sql(who.value()), after, max], |row| row.get::<_, i64>(0))?;
    rows.map(|row| {
        let number = row?;
        AccountId::new(unsigned(number)).ok_or_else(|| Fault::corrupt(format!("account {number}")))
    })
    .collect()
}

pub(crate) fn entries(snapshot: &Snapshot<'_>, subjects: &[Subject], wanted: &[Wanted]) -> Result<Vec<Entry>> {
    let mut subjects = subjects.to_vec();
    subjects.sort_unstable();
    subjects.dedup();
    let mut scopes: Vec<Scope> = wanted.iter().map(|wanted| wanted.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT name, value FROM annotation WHERE account = ?1 AND folder = ?2 AND owner = ?3 ORDER BY name",
    )?;
    let mut found = Vec::new();
    for subject in subjects {
        let (account, folder) = subject_numbers(subject);
        for &scope in &scopes {
            let mut rows = statement.query([account, folder, scope_number(scope)])?;
            while let Some(row) = rows.next()? {
                let corrupt = || Fault::corrupt(format!("an annotation of folder {folder} of account {account}"));
                let name = EntryName::new(row.get_ref(0)?.as_str().map_err(|_| corrupt())?).ok_or_else(corrupt)?;
                if wanted.iter().any(|wanted| wanted.matches(scope, &name)) {
                    let value = Bytes::copy_from_slice(row.get_ref(1)?.as_blob().map_err(|_| corrupt())?);
                    found.push(Entry { subject, scope, name, value });
                }
            }
        }
    }
    Ok(found)
}
