//! The queue, looked at.

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::{BlobId, QueueId};
use mailstore_trait::queue::{HELD, QueueEntry};
use rusqlite::{OptionalExtension, params};

use super::Snapshot;
use super::content::Whole;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::write::account::unsigned;
use crate::write::queue::{QUEUE_COLUMNS, decode};

pub(crate) fn list(snapshot: &Snapshot<'_>, after: Option<QueueId>, max: usize) -> Result<Vec<QueueEntry>> {
    let mut statement = snapshot.connection.prepare_cached(concat!(
        "SELECT ",
        QUEUE_COLUMNS!(),
        " FROM queue WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    let after = after.map_or(Vec::new(), |id| id.0.to_vec());
    let mut rows = statement.query(params![after, sql(max as u64)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(decode(row)?);
    }
    Ok(entries)
}

/// When somebody may next take an entry: when one is due that nobody has, or a lease runs out.
pub(crate) fn next_due(snapshot: &Snapshot<'_>) -> Result<Option<Timestamp>> {
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT max(due, leased_until) FROM queue INDEXED BY queue_free ORDER BY max(due, leased_until) LIMIT 1",
    )?;
    let free: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(free.map(Timestamp).filter(|at| *at < HELD))
}

pub(crate) fn piece(snapshot: &Snapshot<'_>, id: QueueId, offset: u64, max: usize) -> Result<Bytes> {
    let (trace, blob, size) = snapshot
        .connection
        .prepare_cached(
            "SELECT queue.trace, queue.blob, blob.size FROM queue LEFT JOIN blob ON blob.name = queue.blob
             WHERE queue.id = ?1",
        )?
        .query_row([&id.0[..]], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?
        .ok_or(Fault::NotFound)?;
    let size = size.ok_or_else(|| Fault::corrupt(format!("queue entry {id} has no octets")))?;
    let size = unsigned(size).saturating_add(trace.len() as u64);
    Whole { prefix: trace, size, blob: BlobId(blob) }.part(snapshot, offset, max)
}
