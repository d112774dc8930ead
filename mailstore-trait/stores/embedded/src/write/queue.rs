//! Operations on the queue inside a batch, and entries as rows.

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{
    Delivery, FLUSHED, HELD, LastAttempt, Leased, QueueEntry, QueueLease, QueueOp, QueueRecipient, RecipientState,
};
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
                    "UPDATE queue SET priority = ?4, due = iif(due = ?7, due, ?5), leased_until = ?3, token = token + 1, entry = ?6
                     WHERE id = ?1 AND token = ?2 AND leased_until > ?3",
                )?
                .execute(params![
                    &lease.id.0[..],
                    sql(lease.token),
                    NOBODY,
                    entry.priority,
                    entry.due.0,
                    encode(entry),
                    HELD.0,
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

const VERSION: u8 = 2;

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
    let known = STATES.iter().zip(0..).find(|(state, _)| **state == recipient.state);
    writer.u8(known.map_or(u8::MAX, |(_, number)| number));
    writer.option(recipient.last.as_ref(), |writer, last| {
        writer.signed(last.at.0);
        writer.text(&last.reply);
        writer.option(last.remote_mta.as_deref(), |writer, name| writer.text(name));
    });
}

/// How far recipients are; each is written as its place in the list.
const STATES: [RecipientState; 7] = [
    RecipientState::Relay,
    RecipientState::Spool,
    RecipientState::Failed,
    RecipientState::Delivered(Delivery::Mailbox),
    RecipientState::Delivered(Delivery::Expanded),
    RecipientState::Delivered(Delivery::Relayed),
    RecipientState::Delivered(Delivery::Passed),
];

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
        state: match STATES.get(usize::from(reader.u8()?)) {
            Some(state) => *state,
            None => return Err(reader.corrupt()),
        },
        last: reader.option(|reader| {
            Ok(LastAttempt {
                at: Timestamp(reader.signed()?),
                reply: reader.text()?,
                remote_mta: reader.option(Reader::text)?,
            })
        })?,
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

/// Moves the end of leases; those that are still their holder's.
pub(crate) fn renew(tx: &mut Tx<'_>, leases: &[QueueLease], until: Timestamp) -> Result<Vec<QueueLease>> {
    let mut renewed = Vec::new();
    for lease in leases {
        let held = tx
            .prepare("UPDATE queue SET leased_until = ?4 WHERE id = ?1 AND token = ?2 AND leased_until > ?3")?
            .execute(params![&lease.id.0[..], sql(lease.token), NOBODY, until.0])?;
        if held > 0 {
            renewed.push(*lease);
        }
    }
    Ok(renewed)
}

/// Makes entries due now that are due later: these, or all. How many there were.
pub(crate) fn flush(tx: &mut Tx<'_>, ids: Option<&[QueueId]>, now: Timestamp) -> Result<u64> {
    let Some(ids) = ids else {
        let mut all = tx.prepare("UPDATE queue SET due = ?3 WHERE due > ?1 AND due < ?2")?;
        return Ok(all.execute([now.0, HELD.0, FLUSHED.0])? as u64);
    };
    let mut flushed = 0;
    for id in ids {
        let mut one = tx.prepare("UPDATE queue SET due = ?3 WHERE id = ?4 AND due > ?1 AND due < ?2")?;
        flushed += one.execute(params![now.0, HELD.0, FLUSHED.0, &id.0[..]])?;
    }
    Ok(flushed as u64)
}

/// Makes these entries due then: all of them, or those that are due at `from`. How many there were.
pub(crate) fn reschedule(tx: &mut Tx<'_>, ids: &[QueueId], from: Option<Timestamp>, due: Timestamp) -> Result<u64> {
    let mut moved = 0;
    for id in ids {
        let mut one = tx.prepare("UPDATE queue SET due = ?2 WHERE id = ?1 AND (?3 IS NULL OR due = ?3)")?;
        moved += one.execute(params![&id.0[..], due.0, from.map(|from| from.0)])?;
    }
    Ok(moved as u64)
}
