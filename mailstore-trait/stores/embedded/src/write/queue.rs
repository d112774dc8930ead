//! Operations on the queue inside a batch, and entries as rows.

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{Leased, QueueEntry, QueueLease, QueueOp, QueueRecipient, RecipientState};
use rusqlite::{OptionalExtension, params};

use super::Tx;
use super::content;
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::octets::{Reader, Writer};
use crate::write::account::unsigned;
use mailstore_trait::id::BlobId;

/// Does one operation; the id of an entry that was appended.
pub(crate) fn apply(tx: &mut Tx<'_>, op: &QueueOp) -> Result<Option<QueueId>> {
    match op {
        QueueOp::Append { entry, trace, content } => {
            content::use_blob(tx, content)?;
            let taken = tx.prepare("SELECT 1 FROM queue WHERE id = ?1")?.exists([&entry.id.0[..]])?;
            if taken {
                return Err(Fault::unavailable(format!("queue entry {} exists already", entry.id)));
            }
            let size = content::octets(content).saturating_add(trace.len() as u64);
            tx.prepare(
                "INSERT INTO queue (id, priority, due, leased_until, token, size, entry, blob, trace)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                &entry.id.0[..],
                entry.priority,
                entry.due.0,
                NOBODY,
                sql(size),
                encode(entry),
                &content.blob.0[..],
                &trace[..],
            ])?;
            Ok(Some(entry.id))
        }
        QueueOp::Update { lease, entry } => {
            let changed = tx
                .prepare(
                    "UPDATE queue SET priority = ?4, due = ?5, leased_until = ?3, token = token + 1, entry = ?6
                     WHERE id = ?1 AND token = ?2 AND leased_until > ?3",
                )?
                .execute(params![
                    &lease.id.0[..],
                    sql(lease.token),
                    NOBODY,
                    entry.priority,
                    entry.due.0,
                    encode(entry),
                ])?;
            if changed == 0 { Err(Fault::Fenced) } else { Ok(None) }
        }
        QueueOp::Remove { lease } => {
            if remove(tx, lease.id, Some(*lease))? {
                Ok(None)
            } else {
                Err(Fault::Fenced)
            }
        }
    }
}

/// The lease of an entry that nobody has.
const NOBODY: i64 = i64::MIN;

/// Takes an entry away, with its lease or whoever has it.
pub(crate) fn remove(tx: &mut Tx<'_>, id: QueueId, lease: Option<QueueLease>) -> Result<bool> {
    let token = lease.map(|lease| sql(lease.token));
    let blob: Option<[u8; 16]> = tx
        .prepare(
            "DELETE FROM queue WHERE id = ?1 AND (?2 IS NULL OR (token = ?2 AND leased_until > ?3)) RETURNING blob",
        )?
        .query_row(params![&id.0[..], token, NOBODY], |row| row.get(0))
        .optional()?;
    match blob {
        Some(blob) => content::release_blob(tx, BlobId(blob)).map(|()| true),
        None => Ok(false),
    }
}

const VERSION: u8 = 1;

fn encode(entry: &QueueEntry) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u8(VERSION);
    writer.option(entry.return_path.as_deref(), |writer, path| writer.text(path));
    writer.list(&entry.recipients, write_recipient);
    writer.list(&entry.mail_parameters, |writer, text| writer.text(text));
    writer.signed(entry.queued.0);
    writer.number(entry.attempts.into());
    writer.option(entry.delay_reported, |writer, at| writer.signed(at.0));
    writer.finish()
}

fn write_recipient(writer: &mut Writer, recipient: &QueueRecipient) {
    writer.text(&recipient.address);
    writer.list(&recipient.parameters, |writer, text| writer.text(text));
    match &recipient.state {
        RecipientState::Pending { last } => {
            writer.u8(0);
            writer.option(last.as_deref(), |writer, text| writer.text(text));
        }
        RecipientState::Delivered { reply } => {
            writer.u8(1);
            writer.text(reply);
        }
        RecipientState::Failed { reply } => {
            writer.u8(2);
            writer.text(reply);
        }
    }
}

/// The columns of [`decode`], in order.
macro_rules! QUEUE_COLUMNS {
    () => {
        "id, priority, due, entry, size"
    };
}
pub(crate) use QUEUE_COLUMNS;

pub(crate) fn decode(row: &rusqlite::Row<'_>) -> Result<QueueEntry> {
    let id = QueueId(row.get(0)?);
    let octets: Vec<u8> = row.get(3)?;
    let what = format!("queue entry {id}");
    let mut reader = Reader::new(&octets, &what);
    if reader.u8()? != VERSION {
        return Err(reader.corrupt());
    }
    let entry = QueueEntry {
        id,
        return_path: reader.option(Reader::text)?,
        recipients: reader.list(read_recipient)?,
        size: unsigned(row.get(4)?),
        mail_parameters: reader.list(Reader::text)?,
        queued: Timestamp(reader.signed()?),
        due: Timestamp(row.get(2)?),
        attempts: reader.small()?,
        delay_reported: reader.option(Reader::signed)?.map(Timestamp),
        priority: row.get(1)?,
    };
    reader.end()?;
    Ok(entry)
}

fn read_recipient(reader: &mut Reader<'_>) -> Result<QueueRecipient> {
    Ok(QueueRecipient {
        address: reader.text()?,
        parameters: reader.list(Reader::text)?,
        state: match reader.u8()? {
            0 => RecipientState::Pending { last: reader.option(Reader::text)? },
            1 => RecipientState::Delivered { reply: reader.text()? },
            2 => RecipientState::Failed { reply: reader.text()? },
            _ => return Err(reader.corrupt()),
        },
    })
}

/// Leases entries that are due.
pub(crate) fn lease(tx: &mut Tx<'_>, now: Timestamp, max: usize, until: Timestamp) -> Result<Vec<Leased>> {
    let mut leased = Vec::new();
    for priority in (-9_i64..=9).rev() {
        let left = max.saturating_sub(leased.len());
        if left == 0 {
            break;
        }
        let mut due = tx.prepare(concat!(
            "SELECT ",
            QUEUE_COLUMNS!(),
            ", seq, token FROM queue WHERE priority = ?1 AND due <= ?2 AND leased_until <= ?2 ORDER BY due, id LIMIT ?3"
        ))?;
        let mut rows = due.query(params![priority, now.0, sql(left as u64)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((decode(row)?, row.get::<_, i64>(5)?, row.get::<_, i64>(6)?));
        }
        for (entry, seq, token) in found {
            let token = token.saturating_add(1);
            tx.prepare("UPDATE queue SET leased_until = ?2, token = ?3 WHERE seq = ?1")?
                .execute([seq, until.0, token])?;
            let lease = QueueLease { id: entry.id, token: unsigned(token) };
            leased.push(Leased { lease, entry });
        }
    }
    Ok(leased)
}

/// Makes entries due now that are due later: this one, or all. How many there were.
pub(crate) fn flush(tx: &mut Tx<'_>, id: Option<QueueId>, now: Timestamp) -> Result<u64> {
    let id = id.map(|id| id.0.to_vec());
    let flushed = tx
        .prepare("UPDATE queue SET due = ?2 WHERE due > ?2 AND (?1 IS NULL OR id = ?1)")?
        .execute(params![id, now.0])?;
    Ok(flushed as u64)
}
