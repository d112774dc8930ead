//! Making accounts, forgetting removals, and what is no longer needed, taken away in slices.
//!
//! Every machine may tidy at any time: each slice is a short transaction of its own that takes what nobody else has
//! locked. What belongs to an account is touched under the account's lock only.

use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::folder::Role;
use mailstore_trait::id::{AccountId, FolderId, MAX_UID};
use mailstore_trait::quota::QuotaLimits;

use super::account::{ACCOUNT_COLUMNS, Account, AccountRow};
use super::flush;
use super::folders;
use super::queue::LOOSEN;
use crate::call::{call, millis, sql};
use crate::env::{Env, NOW, now};
use crate::fault::{Fault, Result};
use crate::rows::{FOLDER_COLUMNS, FolderRow, get, number};
use tokio_postgres::Row;

/// Rows a slice touches.
const SLICE: i64 = 500;

/// Whether there may be more to do.
type More = bool;

/// Makes an account with its first folders; does nothing when it exists.
pub(crate) async fn provision(env: &Env, id: AccountId, wanted: &[(Role, String)]) -> Result<()> {
    let mut tx = env.link.write().await?;
    let flight = tx
        .flight(vec![
            call!(NOW, env.given_now()),
            call!(
                "INSERT INTO mailstore.account (id, at, next_item, next_folder, next_shelf, uid_validity, messages,
                    octets, floor, removed)
                 VALUES ($1, 1, 1, 1, 1, 0, 0, 0, 1, false) ON CONFLICT DO NOTHING RETURNING 1",
                sql(id.value())
            ),
            call!("SELECT removed FROM mailstore.account WHERE id = $1", sql(id.value())),
            call!("UPDATE mailstore.store SET next_account = $1 + 1 WHERE next_account <= $1", sql(id.value())),
        ])
        .await?;
    let mut answers = flight.iter();
    let mut next = || answers.next().map(Vec::as_slice).unwrap_or_default();
    let (now, made, there) = (next(), next(), next());
    if made.is_empty() {
        return match there.first().map(|row| get::<bool>(row, 0)).transpose()? {
            Some(true) => Err(Fault::unavailable(format!("account {id} was removed"))),
            Some(false) => Ok(()),
            None => Err(Fault::Raced(format!("account {id}").into())),
        };
    }
    let now = Timestamp(get(now.first().ok_or_else(|| Fault::corrupt("the clock"))?, 0)?);
    let mut row = AccountRow {
        id,
        at: 1,
        next_item: 1,
        next_folder: 1,
        next_shelf: 1,
        uid_validity: 0,
        messages: 0,
        octets: 0,
        limits: QuotaLimits::none(),
        floor: 1,
    };
    let found = row;
    // UIDVALIDITY begins at the time of day, so that a database made anew never has old values; below the upper
    // quarter, so that there is room.
    row.uid_validity = u64::try_from(now.seconds()).unwrap_or(0).min(u64::from(MAX_UID / 4 * 3));
    let mut account = Account::new(row);
    account.found = found;
    let refused = |at| {
        move |fault| match fault {
            Fault::Op(error) => Fault::Refused { account: 0, at, error },
            other => other,
        }
    };
    folders::create(&mut account, &env.config, None, "INBOX", Some(Role::Inbox)).map_err(refused(0))?;
    for (at, (role, name)) in wanted.iter().enumerate() {
        folders::create(&mut account, &env.config, None, name, Some(*role)).map_err(refused(at))?;
    }
    let upto = account.row.at()?;
    let mut calls = Vec::new();
    flush::account(&account, now, &mut calls);
    tx.end(calls).await?;
    env.hints.committed(id, upto);
    Ok(())
}

pub(crate) const LOCK: &str =
    concat!("SELECT ", ACCOUNT_COLUMNS!(), " FROM mailstore.account WHERE id = $1 AND NOT removed FOR UPDATE");
const FOLDERS: &str = concat!("SELECT ", FOLDER_COLUMNS!(), " FROM mailstore.folder WHERE account = $1");

/// Forgets removals older than this; floors rise to the newest forgotten one.
pub(crate) async fn forget_removals(env: &Env, id: AccountId, older_than: Duration) -> Result<()> {
    let mut tx = env.link.write().await?;
    let number_of = sql(id.value());
    let flight = tx
        .flight(vec![
            call!(LOCK, number_of),
            call!(FOLDERS, number_of),
            call!(
                concat!(
                    "SELECT shelf, max(change) FROM mailstore.gone WHERE account = $1 AND at <= ",
                    now!("$2"),
                    " - $3 GROUP BY shelf
                     UNION ALL
                     SELECT 0, max(change) FROM mailstore.folder_gone WHERE account = $1 AND at <= ",
                    now!("$2"),
                    " - $3"
                ),
                number_of,
                env.given_now(),
                millis(older_than)
            ),
        ])
        .await?;
    let mut answers = flight.iter();
    let mut next = || answers.next().map(Vec::as_slice).unwrap_or_default();
    let (locked, rows, floors) = (next(), next(), next());
    let mut account = Account::new(AccountRow::read(locked.first().ok_or(Fault::NotFound)?)?);
    for row in rows {
        account.hold(FolderRow::read(row)?);
    }
    let mut calls = Vec::new();
    for row in floors {
        let (shelf, floor): (i64, Option<i64>) = (get(row, 0)?, get(row, 1)?);
        let Some(floor) = floor else { continue };
        let raised = u64::try_from(floor).unwrap_or(0);
        account.row.floor = account.row.floor.max(raised);
        if shelf == 0 {
            calls.push(call!(
                "DELETE FROM mailstore.folder_gone WHERE account = $1 AND change <= $2",
                number_of,
                floor
            ));
            continue;
        }
        calls.push(call!(
            "DELETE FROM mailstore.gone WHERE account = $1 AND shelf = $2 AND change <= $3",
            number_of,
            shelf,
            floor
        ));
        // The tombstones of a folder that is itself gone have no floor to raise.
        if let Some(held) = account.folders.values_mut().find(|held| held.row.shelf == shelf) {
            held.row.floor = held.row.floor.max(raised);
        }
    }
    flush::account(&account, Timestamp(0), &mut calls);
    tx.end(calls).await.map(drop)
}

/// Accounts that jump in one transaction.
const JUMP: i64 = 500;

/// What every account does after a restore or a lossy failover, before it is used: numbers that may have been given out
/// and lost are passed over, and no older cursor is good.
pub(crate) async fn jump(env: &Env) -> Result<()> {
    let mut after = Some(0);
    while let Some(last) = after {
        after = env.link.again(|| Box::pin(jump_some(env, last))).await?;
    }
    Ok(())
}

/// The next accounts; the last of them.
async fn jump_some(env: &Env, after: i64) -> Result<Option<i64>> {
    let mut tx = env.link.write().await?;
    let lock = call!("SELECT id FROM mailstore.account WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE", after, JUMP);
    let some = tx.one(lock).await?.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    let Some(last) = some.last().copied() else { return Ok(None) };
    let calls = vec![
        call!(
            "UPDATE mailstore.account SET at = least(at + 4294967296, 281474976710655),
                next_item = least(next_item + 4294967296, 281474976710655),
                floor = least(at + 4294967296, 281474976710655)
             WHERE id = ANY($1)",
            some.clone()
        ),
        call!(
            "UPDATE mailstore.folder SET uid_next = least(uid_next + 1048576, 2147483647), floor = account.at
             FROM mailstore.account WHERE account.id = folder.account AND account.id = ANY($1)",
            some.clone()
        ),
        call!("DELETE FROM mailstore.gone WHERE account = ANY($1)", some.clone()),
        call!("DELETE FROM mailstore.folder_gone WHERE account = ANY($1)", some),
    ];
    tx.end(calls).await.map(|_| Some(last))
}

/// Everything there is to tidy up.
pub(crate) async fn tidy(env: &Env) -> Result<()> {
    while deleted_folders(env).await? {}
    while dead_emails(env).await? {}
    while loose_blobs(env).await? {}
    while old_results(env).await? {}
    Ok(())
}

/// Rows of folders that were deleted.
async fn deleted_folders(env: &Env) -> Result<More> {
    let found =
        env.link.ask(call!("SELECT account, shelf FROM mailstore.purge ORDER BY account, shelf LIMIT 100")).await?;
    let mut more = false;
    for row in &found {
        let (account, shelf): (i64, i64) = (get(row, 0)?, get(row, 1)?);
        while purge(env, account, shelf).await? {
            more = true;
        }
    }
    Ok(more && found.len() >= 100)
}

/// A slice of a shelf that nobody reaches. Busy accounts are left for later.
async fn purge(env: &Env, account: i64, shelf: i64) -> Result<More> {
    let mut tx = env.link.write().await?;
    let locked = call!("SELECT 1 FROM mailstore.account WHERE id = $1 FOR UPDATE SKIP LOCKED", account);
    let slice = call!(
        "SELECT uid, email FROM mailstore.item WHERE account = $1 AND shelf = $2 ORDER BY uid LIMIT $3",
        account,
        shelf,
        SLICE
    );
    if tx.one(locked).await?.is_empty() {
        return Ok(false);
    }
    let rows = tx.one(slice).await?;
    let Some(last) = rows.last().map(|row| get::<i64>(row, 0)).transpose()? else {
        let calls = vec![
            call!("DELETE FROM mailstore.gone WHERE account = $1 AND shelf = $2", account, shelf),
            call!("DELETE FROM mailstore.keyword WHERE account = $1 AND shelf = $2", account, shelf),
            call!("DELETE FROM mailstore.purge WHERE account = $1 AND shelf = $2", account, shelf),
        ];
        return tx.end(calls).await.map(|_| false);
    };
    let emails = octets(&rows, 1)?;
    let calls = vec![
        call!("DELETE FROM mailstore.item WHERE account = $1 AND shelf = $2 AND uid <= $3", account, shelf, last),
        call!(
            concat!(
                "UPDATE mailstore.email SET uses = email.uses - n.places,
                    dead_at = CASE WHEN email.uses - n.places <= 0 THEN ",
                now!("$3"),
                " END
                 FROM (SELECT id, count(*) AS places FROM unnest($2::bytea[]) AS u (id) GROUP BY id) AS n
                 WHERE email.account = $1 AND email.id = n.id"
            ),
            account,
            emails,
            env.given_now()
        ),
    ];
    tx.end(calls).await.map(|_| true)
}

fn octets(rows: &[Row], column: usize) -> Result<Vec<Bytes>> {
    rows.iter().map(|row| get(row, column).map(Bytes::copy_from_slice)).collect()
}

/// Emails that no item has shown for the grace period.
async fn dead_emails(env: &Env) -> Result<More> {
    let grace = millis(env.config.grace);
    let find = call!(
        concat!(
            "SELECT DISTINCT account FROM (SELECT account FROM mailstore.email WHERE dead_at <= ",
            now!("$1"),
            " - $2 ORDER BY dead_at LIMIT $3) AS old"
        ),
        env.given_now(),
        grace,
        SLICE
    );
    let mut more = false;
    for row in &env.link.ask(find).await? {
        let account: i64 = get(row, 0)?;
        let mut tx = env.link.write().await?;
        if tx
            .one(call!("SELECT 1 FROM mailstore.account WHERE id = $1 FOR UPDATE SKIP LOCKED", account))
            .await?
            .is_empty()
        {
            continue;
        }
        let removed = tx
            .one(call!(
                concat!(
                    "DELETE FROM mailstore.email WHERE account = $1 AND uses <= 0 AND id IN (
                        SELECT id FROM mailstore.email WHERE account = $1 AND dead_at <= ",
                    now!("$2"),
                    " - $3 LIMIT $4) RETURNING blob"
                ),
                account,
                env.given_now(),
                grace,
                SLICE
            ))
            .await?;
        more |= !removed.is_empty();
        tx.end(vec![call!(LOOSEN, octets(&removed, 0)?)]).await?;
    }
    Ok(more)
}

/// Octets that were uploaded and not committed in time, or that nothing refers to any more.
async fn loose_blobs(env: &Env) -> Result<More> {
    let mut tx = env.link.write().await?;
    let take = call!(
        concat!(
            "DELETE FROM mailstore.loose WHERE blob IN (SELECT blob FROM mailstore.loose WHERE due <= ",
            now!("$1"),
            " ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING blob"
        ),
        env.given_now(),
        SLICE
    );
    let names = octets(&tx.one(take).await?, 0)?;
    if names.is_empty() {
        return Ok(false);
    }
    // Behind the lock nobody can begin to refer to them, and the next statement sees whoever did before.
    let lock = call!("SELECT 1 FROM mailstore.blob WHERE id = ANY($1) ORDER BY id FOR UPDATE", names.clone());
    tx.one(lock).await?;
    let delete = call!(
        "DELETE FROM mailstore.blob WHERE id = ANY($1)
            AND NOT EXISTS (SELECT 1 FROM mailstore.email WHERE email.blob = blob.id)
            AND NOT EXISTS (SELECT 1 FROM mailstore.queue WHERE queue.blob = blob.id)",
        names
    );
    tx.end(vec![delete]).await.map(|_| true)
}

/// Results of batches that nobody repeats any more.
async fn old_results(env: &Env) -> Result<More> {
    let call = call!(
        concat!(
            "DELETE FROM mailstore.batch WHERE id IN (SELECT id FROM mailstore.batch WHERE at <= ",
            now!("$1"),
            " - $2 ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING 1"
        ),
        env.given_now(),
        millis(env.config.results_kept),
        SLICE
    );
    Ok(sql(env.link.ask(call).await?.len() as u64) == SLICE)
}

/// Makes an account vanish: at once for everybody, its rows in slices.
pub(crate) async fn remove_account(tx: &mut crate::link::Tx<'_>, account: i64) -> Result<()> {
    let calls = vec![
        call!("SELECT 1 FROM mailstore.account WHERE id = $1 FOR UPDATE", account),
        call!(
            "INSERT INTO mailstore.purge (account, shelf)
             SELECT account, shelf FROM mailstore.folder WHERE account = $1 AND shelf > 0 ON CONFLICT DO NOTHING",
            account
        ),
        call!("DELETE FROM mailstore.folder WHERE account = $1", account),
        call!("DELETE FROM mailstore.folder_gone WHERE account = $1", account),
        call!("DELETE FROM mailstore.subscription WHERE account = $1", account),
        // What others granted it, and what it noted for itself with others, too.
        call!("DELETE FROM mailstore.acl WHERE account = $1 OR grantee = $1", account),
        call!("DELETE FROM mailstore.annotation WHERE account = $1 OR owner = $1", account),
        call!("UPDATE mailstore.account SET removed = true, messages = 0, octets = 0 WHERE id = $1", account),
    ];
    tx.flight(calls).await.map(drop)
}

/// Claims the messages below `upto` that no opening claimed before; the first UID of those there may be.
pub(crate) async fn claim(
    env: &Env,
    account: AccountId,
    folder: FolderId,
    shelf: i64,
    upto: u32,
) -> Result<Option<u64>> {
    let call = call!(
        "WITH before AS (
            SELECT recent FROM mailstore.folder WHERE account = $1 AND id = $2 AND shelf = $3 FOR UPDATE)
         UPDATE mailstore.folder SET recent = $4 FROM before
         WHERE account = $1 AND id = $2 AND shelf = $3 AND before.recent < $4 RETURNING before.recent",
        sql(account.value()),
        sql(folder.value()),
        shelf,
        i64::from(upto)
    );
    env.link.ask(call).await?.first().map(|row| number(row, 0)).transpose()
}
