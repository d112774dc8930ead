//! The octets of messages.

use bytes::Bytes;
use mailstore_trait::id::{AccountId, BlobId, EmailId};
use rusqlite::{OptionalExtension, params};

use super::Snapshot;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::stats::count;
use crate::write::account::unsigned;

/// Where the octets behind a prefix lie.
enum Body {
    Database(i64),
    File(BlobId),
}

/// A non-empty piece of a message; empty only at its end.
pub(crate) fn piece(
    snapshot: &Snapshot<'_>,
    account: AccountId,
    email: EmailId,
    offset: u64,
    max: usize,
) -> Result<Bytes> {
    snapshot.account(account)?;
    let number = snapshot.env.ids.email_number(email).ok_or(Fault::NotFound)?;
    // The prefix is not looked at when the whole is in memory.
    let (size, small, blob, prefix) = snapshot
        .connection
        .prepare_cached(
            "SELECT size, size <= ?3, blob, iif(size <= ?3, x'', prefix) FROM email WHERE id = ?1 AND account = ?2",
        )?
        .query_row(params![number, sql(account.value()), sql(snapshot.env.config.inline_up_to as u64)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, [u8; 16]>(2)?, row.get::<_, Vec<u8>>(3)?))
        })
        .optional()?
        .ok_or(Fault::NotFound)?;
    let size = unsigned(size);
    let part = if small {
        whole(snapshot, number, size).map(|whole| slice(&whole, offset, max.max(1)))
    } else {
        Whole { prefix, size, blob: BlobId(blob) }.part(snapshot, offset, max)
    };
    part.map_err(|fault| match fault {
        Fault::Corrupt(what) => Fault::Corrupt(format!("email {email}: {what}")),
        other => other,
    })
}

/// A prefix and a blob behind it.
pub(crate) struct Whole {
    pub(crate) prefix: Vec<u8>,
    /// Octets of both together.
    pub(crate) size: u64,
    pub(crate) blob: BlobId,
}

impl Whole {
    pub(crate) fn part(self, snapshot: &Snapshot<'_>, offset: u64, max: usize) -> Result<Bytes> {
        let Whole { prefix, size, blob } = self;
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let many = left.min(max.max(1));
        if many == 0 {
            return Ok(Bytes::new());
        }
        let before = prefix.len() as u64;
        if offset < before {
            return Ok(slice(&Bytes::from(prefix), offset, many));
        }
        let offset = offset - before;
        let octets = match find(snapshot, blob)? {
            Body::Database(body) => slice(&read_body(snapshot, body, blob)?, offset, many),
            Body::File(blob) => snapshot.env.blobs.read(blob, offset, many)?,
        };
        // A shorter answer would be taken for the end of the message.
        if octets.len() == many { Ok(octets) } else { Err(Fault::corrupt(format!("octets {blob} are short"))) }
    }
}

fn slice(octets: &Bytes, offset: u64, many: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    octets.slice(start..start.saturating_add(many).min(octets.len()))
}

/// All octets of a small message whose row is in the snapshot.
pub(crate) fn whole(snapshot: &Snapshot<'_>, email: i64, size: u64) -> Result<Bytes> {
    let env = snapshot.env;
    if size > env.config.inline_up_to as u64 {
        return read_whole(snapshot, email, size);
    }
    if let Some(content) = env.contents.find(email).filter(|content| content.len() as u64 == size) {
        count(&env.counters.content_hits, 1);
        return Ok(content);
    }
    count(&env.counters.content_misses, 1);
    let content = read_whole(snapshot, email, size)?;
    env.contents.keep(email, &content);
    Ok(content)
}

/// In one question: pages are full of them.
fn read_whole(snapshot: &Snapshot<'_>, email: i64, size: u64) -> Result<Bytes> {
    let corrupt = || Fault::corrupt(format!("email {}", snapshot.env.ids.email(email)));
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT email.prefix, email.blob, blob.name IS NULL, blob.body IS NULL, body.octets FROM email
            LEFT JOIN blob ON blob.name = email.blob LEFT JOIN body ON body.id = blob.body WHERE email.id = ?1",
    )?;
    let mut rows = statement.query([email])?;
    let row = rows.next()?.ok_or_else(corrupt)?;
    let blob = BlobId(row.get(1)?);
    let mut octets = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    octets.extend_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
    if row.get(2)? {
        return Err(Fault::corrupt(format!("octets {blob} have no row")));
    }
    if row.get(3)? {
        let many = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(octets.len());
        octets.extend_from_slice(&snapshot.env.blobs.read(blob, 0, many)?);
    } else {
        let body = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        octets.extend_from_slice(body.ok_or_else(|| Fault::corrupt(format!("octets {blob} have no body")))?);
    }
    if octets.len() as u64 == size { Ok(octets.into()) } else { Err(corrupt()) }
}

fn find(snapshot: &Snapshot<'_>, blob: BlobId) -> Result<Body> {
    let body: Option<Option<i64>> = snapshot
        .connection
        .prepare_cached("SELECT body FROM blob WHERE name = ?1")?
        .query_row([&blob.0[..]], |row| row.get(0))
        .optional()?;
    match body {
        Some(Some(body)) => Ok(Body::Database(body)),
        Some(None) => Ok(Body::File(blob)),
        None => Err(Fault::corrupt(format!("octets {blob} have no row"))),
    }
}

fn read_body(snapshot: &Snapshot<'_>, body: i64, blob: BlobId) -> Result<Bytes> {
    let octets: Option<Vec<u8>> = snapshot
        .connection
        .prepare_cached("SELECT octets FROM body WHERE id = ?1")?
        .query_row([body], |row| row.get(0))
        .optional()?;
    octets.map(Bytes::from).ok_or_else(|| Fault::corrupt(format!("octets {blob} have no body")))
}
