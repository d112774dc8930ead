//! Octets of messages, piece by piece.

use bytes::Bytes;
use mailstore_trait::id::{AccountId, BlobId, EmailId, QueueId};
use tokio_postgres::Row;

use crate::call::{Call, call, millis, sql};
use crate::env::{Env, now};
use crate::fault::{Fault, Result};
use crate::rows::{fixed, get, number};

/// $2 offset, $3 octets at most. The head of the message, and of its blob what lies with its row.
macro_rules! piece {
    ($prefix:literal, $from:expr) => {
        concat!(
            "SELECT substring(",
            $prefix,
            " FROM least($2 + 1, 2147483647)::int4 FOR $3::int8::int4),
             octet_length(",
            $prefix,
            ")::int8, blob.size, blob.piece, blob.id,
             substring(blob.octets FROM greatest(least($2 + 1 - octet_length(",
            $prefix,
            "), 2147483647), 1)::int4 FOR $3::int8::int4) FROM ",
            $from
        )
    };
}
const EMAIL: &str = piece!(
    "email.prefix",
    concat!(
        "mailstore.email JOIN mailstore.blob ON blob.id = email.blob
         WHERE email.id = $1 AND email.account = $4 AND (dead_at IS NULL OR dead_at > ",
        now!("$5"),
        " - $6)
         AND EXISTS (SELECT 1 FROM mailstore.account WHERE account.id = $4 AND NOT removed)"
    )
);
const QUEUED: &str =
    piece!("queue.trace", "mailstore.queue JOIN mailstore.blob ON blob.id = queue.blob WHERE queue.id = $1");

/// The most octets of one answer.
const MOST: u64 = 8 << 20;

pub(crate) async fn email(env: &Env, account: AccountId, id: EmailId, offset: u64, max: usize) -> Result<Bytes> {
    let max = (max as u64).clamp(1, MOST);
    let grace = millis(env.config.grace);
    let call = call!(EMAIL, id.0, sql(offset), sql(max), sql(account.value()), env.given_now(), grace);
    piece(env, call, offset, max).await
}

pub(crate) async fn queued(env: &Env, id: QueueId, offset: u64, max: usize) -> Result<Bytes> {
    let max = (max as u64).clamp(1, MOST);
    piece(env, call!(QUEUED, id.0, sql(offset), sql(max)), offset, max).await
}

async fn piece(env: &Env, call: Call, offset: u64, max: u64) -> Result<Bytes> {
    let rows = env.link.ask(call).await?;
    let row: &Row = rows.first().ok_or(Fault::NotFound)?;
    let head: &[u8] = get(row, 0)?;
    if !head.is_empty() {
        return Ok(Bytes::copy_from_slice(head));
    }
    let (prefix, size, length) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
    let Some(at) = offset.checked_sub(prefix).filter(|at| *at < size) else { return Ok(Bytes::new()) };
    if let Some(octets) = get::<Option<&[u8]>>(row, 5)? {
        return Ok(Bytes::copy_from_slice(octets));
    }
    stored(env, BlobId(fixed(row, 4)?), length, at, max).await
}

/// Octets that lie in pieces: from `at` to the end of a piece at most.
async fn stored(env: &Env, blob: BlobId, length: u64, at: u64, max: u64) -> Result<Bytes> {
    let corrupt = || Fault::corrupt(format!("octets {blob}"));
    let no = at.checked_div(length).ok_or_else(corrupt)?;
    let octets = env.blobs.piece(env, blob, no, at - no * length, max.min(length)).await?;
    if octets.is_empty() { Err(corrupt()) } else { Ok(octets) }
}

/// All octets of a blob of this size, behind what is there.
pub(crate) async fn whole(env: &Env, blob: BlobId, size: u64, out: &mut Vec<u8>) -> Result<()> {
    let rows = env.link.ask(call!("SELECT piece FROM mailstore.blob WHERE id = $1", blob.0)).await?;
    let length = number(rows.first().ok_or(Fault::NotFound)?, 0)?;
    let mut at = 0;
    while at < size {
        let octets = stored(env, blob, length, at, size - at).await?;
        at += octets.len() as u64;
        out.extend_from_slice(&octets);
    }
    Ok(())
}
