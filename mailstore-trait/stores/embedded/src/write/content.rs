//! Octets and who uses them.
//!
//! ```text
//! item -> email (account, prefix, skeleton, summary) -> blob (size) -> body in the database, or a file
//! ```
//! An email counts the items that show it and a blob counts the emails and queue entries that name it. An email that
//! nobody shows stays readable for the grace period; [`super::upkeep`] takes it away then.

use mailstore_trait::batch::{Content, Hold, Staged};
use mailstore_trait::error::OpError;
use mailstore_trait::id::{AccountId, BlobId};
use rusqlite::{OptionalExtension, params};

use super::Tx;
use super::account::unsigned;
use crate::blobs::StoredBlob;
use crate::env::sql;
use crate::fault::{Fault, Result};

/// The message behind a new item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Email {
    pub(crate) number: i64,
    pub(crate) thread: i64,
    pub(crate) size: u64,
}

/// How many octets a new item will have.
pub(crate) fn size(tx: &Tx<'_>, account: AccountId, content: &Content) -> Result<u64> {
    let size = match content {
        Content::Staged(staged) => octets(staged),
        Content::Prefixed(prefix, staged) => octets(staged).saturating_add(prefix.len() as u64),
        Content::Email(id) => {
            let number = tx.env.ids.email_number(*id).ok_or(OpError::NotFound)?;
            return Ok(existing(tx, account, number)?.size);
        }
    };
    if size > tx.env.config.max_message { Err(Fault::TooLarge) } else { Ok(size) }
}

/// Makes sure of the octets of one new item, and counts it.
pub(crate) fn place(tx: &mut Tx<'_>, account: AccountId, content: &Content) -> Result<Email> {
    match content {
        Content::Staged(staged) => match same(tx, account, staged)? {
            Some(email) => use_email(tx, email.number).map(|()| email),
            None => new_email(tx, account, &[], staged),
        },
        Content::Prefixed(prefix, staged) => new_email(tx, account, prefix, staged),
        Content::Email(id) => {
            let number = tx.env.ids.email_number(*id).ok_or(OpError::NotFound)?;
            let email = existing(tx, account, number)?;
            use_email(tx, number)?;
            Ok(email)
        }
    }
}

fn existing(tx: &Tx<'_>, account: AccountId, number: i64) -> Result<Email> {
    tx.prepare("SELECT thread, size FROM email WHERE id = ?1 AND account = ?2")?
        .query_row([number, sql(account.value())], |row| {
            Ok(Email { number, thread: row.get(0)?, size: unsigned(row.get(1)?) })
        })
        .optional()?
        .ok_or(Fault::Op(OpError::NotFound))
}

/// The message that is exactly this upload: one that is added twice is one message.
fn same(tx: &Tx<'_>, account: AccountId, staged: &Staged) -> Result<Option<Email>> {
    let find = "SELECT id, thread, size FROM email WHERE blob = ?1 AND account = ?2 AND prefix = x''";
    let found = tx.prepare(find)?.query_row(params![&staged.blob.0[..], sql(account.value())], |row| {
        Ok(Email { number: row.get(0)?, thread: row.get(1)?, size: unsigned(row.get(2)?) })
    });
    Ok(found.optional()?)
}

fn new_email(tx: &mut Tx<'_>, account: AccountId, prefix: &[u8], staged: &Staged) -> Result<Email> {
    use_blob(tx, staged)?;
    let number = tx.next_email();
    let size = octets(staged).saturating_add(prefix.len() as u64);
    tx.prepare(
        "INSERT INTO email (id, account, uses, size, thread, blob, prefix, summary, skeleton)
         VALUES (?1, ?2, 1, ?3, ?1, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        number,
        sql(account.value()),
        sql(size),
        &staged.blob.0[..],
        prefix,
        &staged.summary[..],
        &staged.skeleton[..]
    ])?;
    Ok(Email { number, thread: number, size })
}

/// Counts one more item.
pub(crate) fn use_email(tx: &Tx<'_>, number: i64) -> Result<()> {
    let uses: i64 = tx
        .prepare("UPDATE email SET uses = uses + 1 WHERE id = ?1 RETURNING uses")?
        .query_row([number], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Fault::corrupt(format!("email {number}")))?;
    if uses == 1 {
        // It was on its way out; its next way out begins its own grace period.
        tx.prepare("DELETE FROM dead WHERE email = ?1")?.execute([number])?;
    }
    Ok(())
}

/// Counts one item less.
pub(crate) fn release_email(tx: &Tx<'_>, number: i64) -> Result<()> {
    let uses: Option<i64> = tx
        .prepare("UPDATE email SET uses = uses - 1 WHERE id = ?1 RETURNING uses")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    if uses.is_some_and(|uses| uses <= 0) {
        tx.prepare("INSERT OR IGNORE INTO dead (at, email) VALUES (?1, ?2)")?.execute([tx.now.0, number])?;
    }
    Ok(())
}

/// How many octets an upload brought.
pub(crate) fn octets(staged: &Staged) -> u64 {
    match &staged.hold {
        Hold::Inline(octets) => octets.len() as u64,
        Hold::Stored(_) => staged.size,
    }
}

/// Makes sure of an upload's octets and counts one more that names them.
pub(crate) fn use_blob(tx: &Tx<'_>, staged: &Staged) -> Result<()> {
    let known = tx.prepare("UPDATE blob SET uses = uses + 1 WHERE name = ?1")?.execute([&staged.blob.0[..]])?;
    if known > 0 {
        return Ok(());
    }
    let body = match &staged.hold {
        Hold::Inline(octets) => {
            tx.prepare("INSERT INTO body (octets) VALUES (?1)")?.execute([&octets[..]])?;
            Some(tx.last_row())
        }
        Hold::Stored(hold) => {
            let gone = || Fault::BlobGone(staged.blob);
            let stored = hold.downcast_ref::<StoredBlob>().filter(|stored| stored.name() == staged.blob);
            // From here on only the collector may remove the file, and only when no row names it.
            stored.ok_or_else(gone)?.named();
            if tx.env.blobs.len(staged.blob)? != Some(staged.size) {
                return Err(gone());
            }
            None
        }
    };
    tx.prepare("INSERT INTO blob (name, size, uses, body) VALUES (?1, ?2, 1, ?3)")?.execute(params![
        &staged.blob.0[..],
        sql(octets(staged)),
        body
    ])?;
    Ok(())
}

/// Counts one less that names these octets; without any they go.
pub(crate) fn release_blob(tx: &mut Tx<'_>, name: BlobId) -> Result<()> {
    let left = tx
        .prepare("UPDATE blob SET uses = uses - 1 WHERE name = ?1 RETURNING uses, body")?
        .query_row([&name.0[..]], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
        .optional()?;
    let Some((_, body)) = left.filter(|&(uses, _)| uses <= 0) else { return Ok(()) };
    tx.prepare("DELETE FROM blob WHERE name = ?1")?.execute([&name.0[..]])?;
    match body {
        Some(body) => {
            tx.prepare("DELETE FROM body WHERE id = ?1")?.execute([body])?;
        }
        None => tx.effects.unlink.push(name),
    }
    Ok(())
}
