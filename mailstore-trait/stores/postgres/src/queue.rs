//! The queue's reading side: leasing, looking, hurrying, discarding.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{FLUSHED, HELD, Leased, QueueEntry, QueueLease};

use crate::call::{call, id_octets, sql};
use crate::env::Env;
use crate::fault::Result;
use crate::rows::{fixed, get, number};
use crate::write::queue::{LOOSEN, QUEUE_COLUMNS, decode};

/// One priority after the other, each from its index in the order of its due times; what another worker is just taking
/// is passed over.
const LEASE: &str = concat!(
    "UPDATE mailstore.queue SET token = queue.token + 1, leased_until = $3, free_at = greatest(queue.due, $3)
     FROM (SELECT next.id FROM generate_series(9, -9, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT id FROM mailstore.queue WHERE queue.priority = level.priority AND due <= $1 AND free_at <= $1
            ORDER BY due, id LIMIT $2 FOR UPDATE SKIP LOCKED) AS next LIMIT $2) AS free
     WHERE queue.id = free.id RETURNING ",
    QUEUE_COLUMNS!(),
    ", queue.token"
);

pub(crate) async fn lease(env: &Env, now: Timestamp, max: usize, ttl: Duration) -> Result<Vec<Leased>> {
    env.link.again(|| Box::pin(lease_once(env, now, max, ttl))).await
}

/// Repeating it is harmless: what may have been leased to nobody is due again when that lease runs out.
async fn lease_once(env: &Env, now: Timestamp, max: usize, ttl: Duration) -> Result<Vec<Leased>> {
    let mut tx = env.link.write().await?;
    let rows = tx.one(call!(LEASE, now.0, sql(max as u64), now.plus(ttl).0)).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    tx.end(Vec::new()).await?;
    let mut leased = Vec::with_capacity(rows.len());
    for row in &rows {
        let entry = decode(row)?;
        leased.push(Leased { lease: QueueLease { id: entry.id, token: number(row, 5)? }, entry });
    }
    leased.sort_by_key(|leased| (Reverse(leased.entry.priority), leased.entry.due, leased.entry.id));
    Ok(leased)
}

pub(crate) async fn next_due(env: &Env) -> Result<Option<Timestamp>> {
    let rows = env.link.ask(call!("SELECT min(free_at) FROM mailstore.queue")).await?;
    let due: Option<i64> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
    Ok(due.map(Timestamp).filter(|at| *at < HELD))
}

pub(crate) async fn list(env: &Env, after: Option<QueueId>, max: usize) -> Result<Vec<QueueEntry>> {
    let after = after.map_or_else(Bytes::new, |after| Bytes::copy_from_slice(&after.0));
    let call = call!(
        concat!("SELECT ", QUEUE_COLUMNS!(), " FROM mailstore.queue WHERE id > $1 ORDER BY id LIMIT $2"),
        after,
        sql(max as u64)
    );
    env.link.ask(call).await?.iter().map(decode).collect()
}

/// Moves the end of leases; those that are still their holder's.
pub(crate) async fn renew(env: &Env, leases: &[QueueLease], until: Timestamp) -> Result<Vec<QueueLease>> {
    let call = call!(
        "UPDATE mailstore.queue SET leased_until = $3, free_at = greatest(due, $3)
         FROM unnest($1::bytea[], $2::int8[]) AS held (id, token)
         WHERE queue.id = held.id AND queue.token = held.token AND leased_until IS NOT NULL
         RETURNING queue.id, queue.token",
        leases.iter().map(|lease| id_octets(&lease.id.0)).collect::<Vec<_>>(),
        leases.iter().map(|lease| sql(lease.token)).collect::<Vec<_>>(),
        until.0
    );
    let rows = env.link.ask(call).await?;
    rows.iter().map(|row| Ok(QueueLease { id: QueueId(fixed(row, 0)?), token: number(row, 1)? })).collect()
}

pub(crate) async fn flush(env: &Env, ids: Option<&[QueueId]>, now: Timestamp) -> Result<u64> {
    let call = match ids {
        Some(ids) => call!(concat!(FLUSH!(), " AND id = ANY($4) RETURNING 1"), now.0, HELD.0, FLUSHED.0, octets(ids)),
        None => call!(concat!(FLUSH!(), " RETURNING 1"), now.0, HELD.0, FLUSHED.0),
    };
    Ok(env.link.ask(call).await?.len() as u64)
}

/// What is due later, and not held, is due at once.
macro_rules! FLUSH {
    () => {
        "UPDATE mailstore.queue SET due = $3, free_at = greatest($3, leased_until) WHERE due > $1 AND due < $2"
    };
}
use FLUSH;

pub(crate) async fn hold(env: &Env, ids: &[QueueId]) -> Result<u64> {
    let call =
        call!("UPDATE mailstore.queue SET due = $2, free_at = $2 WHERE id = ANY($1) RETURNING 1", octets(ids), HELD.0);
    Ok(env.link.ask(call).await?.len() as u64)
}

pub(crate) async fn release(env: &Env, ids: &[QueueId], now: Timestamp) -> Result<u64> {
    let call = call!(
        "UPDATE mailstore.queue SET due = $2, free_at = greatest($2, leased_until)
         WHERE id = ANY($1) AND due = $3 RETURNING 1",
        octets(ids),
        now.0,
        HELD.0
    );
    Ok(env.link.ask(call).await?.len() as u64)
}

fn octets(ids: &[QueueId]) -> Vec<Bytes> {
    ids.iter().map(|id| id_octets(&id.0)).collect()
}

pub(crate) async fn discard(env: &Env, id: QueueId) -> Result<bool> {
    env.link.again(|| Box::pin(discard_once(env, id))).await
}

async fn discard_once(env: &Env, id: QueueId) -> Result<bool> {
    let mut tx = env.link.write().await?;
    let rows = tx.one(call!("DELETE FROM mailstore.queue WHERE id = $1 RETURNING blob", id.0)).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let blob = Bytes::copy_from_slice(get(row, 0)?);
    tx.end_once(vec![call!(LOOSEN, vec![blob])]).await?;
    Ok(true)
}
