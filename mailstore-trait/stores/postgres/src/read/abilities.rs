//! Limits, lists of rights and annotations: what is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailstore_trait::acl::{Acl, AclEntry, Grantee, Rights};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Entry, EntryName, Scope, Subject, Wanted};
use mailstore_trait::quota::{Quota, QuotaUsage};
use tokio_postgres::Row;

use super::{Answers, account, ask_account};
use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::{get, number};

/// Folders of an account that can hold messages.
pub(crate) const COUNT_FOLDERS: &str = "SELECT count(*) FROM mailstore.folder WHERE account = $1 AND selectable";

pub(crate) async fn quota(env: &Env, id: AccountId) -> Result<Quota> {
    let mut tx = env.link.read().await?;
    let flight = tx.flight(vec![ask_account(id), call!(COUNT_FOLDERS, sql(id.value()))]);
    let mut answers = Answers::new(flight.await?);
    let row = account(env, &answers.take())?;
    let folders = answers.take().first().map_or(Ok(0), |row| number(row, 0))?;
    Ok(Quota::new(row.limits, QuotaUsage::new(row.octets, row.messages, folders)))
}

pub(crate) async fn deleted_octets(env: &Env, id: AccountId) -> Result<Vec<(FolderId, u64)>> {
    let mut tx = env.link.read().await?;
    let flight = tx.flight(vec![
        ask_account(id),
        call!(
            "SELECT folder.id, sum(item.size)::int8 FROM mailstore.folder JOIN mailstore.item
                ON item.account = folder.account AND item.shelf = folder.shelf AND item.flags & 8 = 8
             WHERE folder.account = $1 GROUP BY folder.id HAVING sum(item.size) > 0 ORDER BY folder.id",
            sql(id.value())
        ),
    ]);
    let mut answers = Answers::new(flight.await?);
    account(env, &answers.take())?;
    answers.take().iter().map(|row| Ok((folder_id(row, 0)?, number(row, 1)?))).collect()
}

fn folder_id(row: &Row, column: usize) -> Result<FolderId> {
    let id = number(row, column)?;
    FolderId::new(id).ok_or_else(|| Fault::corrupt(format!("folder {id}")))
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

/// An account's lists; rows as [`lists`] takes them.
pub(crate) const ACLS: &str = "SELECT folder, grantee, negative, rights FROM mailstore.acl WHERE account = $1
     ORDER BY folder, grantee, negative";

pub(crate) fn lists(rows: &[Row]) -> Result<BTreeMap<FolderId, Acl>> {
    let mut lists: BTreeMap<FolderId, Acl> = BTreeMap::new();
    for row in rows {
        let grantee = AccountId::new(number(row, 1)?).map_or(Grantee::Anyone, Grantee::Account);
        let rights = u16::try_from(number(row, 3)?).map(Rights::from_bits_truncate);
        let rights = rights.map_err(|_| Fault::corrupt("a list of rights"))?;
        let entry = AclEntry { grantee, negative: get(row, 2)?, rights };
        lists.entry(folder_id(row, 0)?).or_default().entries.push(entry);
    }
    Ok(lists)
}

pub(crate) async fn acls(env: &Env, id: AccountId) -> Result<Vec<(FolderId, Acl)>> {
    let mut tx = env.link.read().await?;
    let mut answers = Answers::new(tx.flight(vec![ask_account(id), call!(ACLS, sql(id.value()))]).await?);
    account(env, &answers.take())?;
    Ok(lists(&answers.take())?.into_iter().collect())
}

pub(crate) async fn shared_with(
    env: &Env,
    who: AccountId,
    after: Option<AccountId>,
    max: usize,
) -> Result<Vec<AccountId>> {
    let call = call!(
        "SELECT DISTINCT account FROM mailstore.acl
         WHERE NOT negative AND grantee IN (0, $1) AND account > $2 ORDER BY account LIMIT $3",
        sql(who.value()),
        after.map_or(0, |after| sql(after.value())),
        i64::try_from(max).unwrap_or(i64::MAX)
    );
    let found = env.link.ask(call).await?;
    let id = |row: &Row| number(row, 0).map(AccountId::new);
    found.iter().map(|row| id(row)?.ok_or_else(|| Fault::corrupt("an account number"))).collect()
}

pub(crate) async fn entries(env: &Env, subjects: &[Subject], wanted: &[Wanted]) -> Result<Vec<Entry>> {
    let mut subjects = subjects.to_vec();
    subjects.sort_unstable();
    subjects.dedup();
    let mut owners: Vec<i64> = wanted.iter().map(|wanted| scope_number(wanted.scope)).collect();
    owners.sort_unstable();
    owners.dedup();
    let (accounts, folders): (Vec<i64>, Vec<i64>) = subjects.iter().map(|subject| subject_numbers(*subject)).unzip();
    let call = call!(
        "SELECT n.account, n.folder, annotation.owner, annotation.name, annotation.value
         FROM unnest($1::int8[], $2::int8[]) AS n (account, folder) JOIN mailstore.annotation
            ON annotation.account = n.account AND annotation.folder = n.folder AND annotation.owner = ANY($3)",
        accounts,
        folders,
        owners
    );
    let mut found = Vec::new();
    for row in &env.link.ask(call).await? {
        let subject = match (AccountId::new(number(row, 0)?), FolderId::new(number(row, 1)?)) {
            (Some(account), Some(folder)) => Subject::Folder(account, folder),
            _ => Subject::Server,
        };
        let scope = AccountId::new(number(row, 2)?).map_or(Scope::Shared, Scope::Private);
        let corrupt = || Fault::corrupt(format!("an annotation of {subject:?}"));
        let name = EntryName::new(get::<&str>(row, 3)?).ok_or_else(corrupt)?;
        if wanted.iter().any(|wanted| wanted.matches(scope, &name)) {
            found.push(Entry { subject, scope, name, value: Bytes::copy_from_slice(get::<&[u8]>(row, 4)?) });
        }
    }
    // Sorted here: how the database sorts text depends on how it was made.
    found.sort_by(|a, b| (a.subject, a.scope, &a.name).cmp(&(b.subject, b.scope, &b.name)));
    Ok(found)
}
