//! What is no longer needed, taken away in slices so that no session waits long behind it.

use std::time::Duration;

use mailstore_trait::id::{AccountId, BlobId, FolderId};
use rusqlite::{OptionalExtension, params};

use super::Tx;
use super::account::{AccountTx, unsigned};
use super::content;
use crate::env::sql;
use crate::fault::{Fault, Result};

/// Rows a slice touches.
const SLICE: i64 = 500;

/// Whether there may be more to do.
pub(crate) type More = bool;

fn before(tx: &Tx<'_>, age: Duration) -> i64 {
    tx.now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// Emails that no item has shown for the grace period.
pub(crate) fn dead_emails(tx: &mut Tx<'_>) -> Result<More> {
    let until = before(tx, tx.env.config.grace);
    let mut find = tx.prepare("SELECT at, email FROM dead WHERE at <= ?1 ORDER BY at LIMIT ?2")?;
    let found = find
        .query_map([until, SLICE], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for &(at, email) in &found {
        tx.prepare("DELETE FROM dead WHERE at = ?1 AND email = ?2")?.execute([at, email])?;
        let blob: Option<[u8; 16]> = tx
            .prepare("DELETE FROM email WHERE id = ?1 AND uses <= 0 RETURNING blob")?
            .query_row([email], |row| row.get(0))
            .optional()?;
        if let Some(blob) = blob {
            content::release_blob(tx, BlobId(blob))?;
        }
    }
    Ok(sql(found.len() as u64) == SLICE)
}

/// Rows of folders that were deleted.
pub(crate) fn deleted_folders(tx: &mut Tx<'_>) -> Result<More> {
    let next: Option<(i64, i64)> = tx
        .prepare("SELECT account, folder FROM purge LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((account, folder)) = next else { return Ok(false) };
    let mut find =
        tx.prepare("SELECT uid, email FROM item WHERE account = ?1 AND folder = ?2 ORDER BY uid LIMIT ?3")?;
    let found = find
        .query_map([account, folder, SLICE], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for &(uid, email) in &found {
        tx.prepare("DELETE FROM item WHERE account = ?1 AND folder = ?2 AND uid = ?3")?
            .execute([account, folder, uid])?;
        content::release_email(tx, email)?;
    }
    if sql(found.len() as u64) == SLICE {
        return Ok(true);
    }
    tx.prepare("DELETE FROM gone WHERE account = ?1 AND folder = ?2")?.execute([account, folder])?;
    tx.prepare("DELETE FROM keyword_use WHERE account = ?1 AND folder = ?2")?.execute([account, folder])?;
    tx.prepare("DELETE FROM purge WHERE account = ?1 AND folder = ?2")?.execute([account, folder])?;
    Ok(true)
}

/// Makes an account vanish: at once for everybody, its rows in slices.
pub(crate) fn remove_account(tx: &mut Tx<'_>, id: AccountId) -> Result<()> {
    let number = sql(id.value());
    tx.prepare("INSERT OR IGNORE INTO purge (account, folder) SELECT account, id FROM folder WHERE account = ?1")?
        .execute([number])?;
    for table in ["folder", "folder_gone", "subscription", "keyword", "acl", "annotation"] {
        tx.prepare(&format!("DELETE FROM {table} WHERE account = ?1"))?.execute([number])?;
    }
    // What others granted it, and what it noted for itself with others.
    tx.prepare("DELETE FROM acl WHERE grantee = ?1")?.execute([number])?;
    tx.prepare("DELETE FROM annotation WHERE owner = ?1")?.execute([number])?;
    tx.prepare("UPDATE account SET removed = 1, messages = 0, octets = 0 WHERE id = ?1")?.execute([number])?;
    Ok(())
}

/// Results of batches that nobody repeats any more.
pub(crate) fn old_results(tx: &mut Tx<'_>) -> Result<More> {
    let until = before(tx, tx.env.config.results_kept);
    // Numbers ascend with time, so the oldest are the first.
    let deleted = tx
        .prepare(
            "DELETE FROM batch WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM batch ORDER BY seq LIMIT ?2)
             WHERE at < ?1)",
        )?
        .execute([until, SLICE])?;
    Ok(sql(deleted as u64) == SLICE)
}

/// Forgets removals older than this; floors rise to the newest forgotten one.
pub(crate) fn forget_removals(tx: &mut Tx<'_>, id: AccountId, older_than: Duration) -> Result<()> {
    let until = before(tx, older_than);
    let number = sql(id.value());
    let mut account = AccountTx::load(tx, id)?.ok_or(Fault::NotFound)?;
    let mut forget = tx.prepare(
        "SELECT folder, max(change) FROM gone WHERE account = ?1 AND at <= ?2 GROUP BY folder
         UNION ALL
         SELECT 0, max(change) FROM folder_gone WHERE account = ?1 AND at <= ?2",
    )?;
    let floors = forget
        .query_map([number, until], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (folder, floor) in floors {
        let Some(floor) = floor else { continue };
        account.row.floor = account.row.floor.max(unsigned(floor));
        if folder == 0 {
            tx.prepare("DELETE FROM folder_gone WHERE account = ?1 AND change <= ?2")?.execute([number, floor])?;
            continue;
        }
        tx.prepare("DELETE FROM gone WHERE account = ?1 AND folder = ?2 AND change <= ?3")?
            .execute(params![number, folder, floor])?;
        // The tombstones of a folder that is itself gone have no floor to raise.
        if let Some(id) = FolderId::new(unsigned(folder)) {
            match account.folder(tx, id) {
                Ok(row) => row.floor = row.floor.max(unsigned(floor)),
                Err(Fault::Op(_)) => {}
                Err(other) => return Err(other),
            }
        }
    }
    account.flush(tx)
}

/// Removes files that no row names; asked under the write lock, so no commit can begin to name them meanwhile.
pub(crate) fn orphans(tx: &mut Tx<'_>, names: &[BlobId]) -> Result<()> {
    for &name in names {
        let known = tx.prepare("SELECT 1 FROM blob WHERE name = ?1")?.exists([&name.0[..]])?;
        if !known {
            // At once and not after the commit: outside the lock another process may take the name up again.
            tx.env.blobs.unlink(name);
        }
    }
    Ok(())
}
