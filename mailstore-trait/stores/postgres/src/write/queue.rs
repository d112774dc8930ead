//! Operations on the queue inside a batch, and entries as octets.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::{BlobId, QueueId};
use mailstore_trait::queue::{
    Delivery, HELD, LastAttempt, QueueEntry, QueueLease, QueueOp, QueueRecipient, RecipientState,
};
use tokio_postgres::Row;

use super::content::{NewBlob, new_blob};
use crate::call::{Call, call, id_octets, sql};
use crate::fault::{Fault, Result};
use crate::octets::{Reader, Writer};
use crate::rows::{fixed, get, number};

/// An entry as it was found under lock, and what becomes of it.
struct Entry {
    token: u64,
    leased: bool,
    size: u64,
    blob: BlobId,
    done: Done,
}

enum Done {
    Nothing,
    Appended { entry: QueueEntry, trace: Bytes },
    Updated(QueueEntry),
    Removed,
}

/// The entries a batch is about.
#[derive(Default)]
pub(crate) struct Queue {
    entries: BTreeMap<QueueId, Entry>,
    pub(crate) new_blobs: Vec<NewBlob>,
}

pub(crate) const LOCK: &str = "SELECT id, token, leased_until IS NOT NULL, size, blob FROM mailstore.queue \
                               WHERE id = ANY($1) ORDER BY id FOR UPDATE";

/// The entry an operation is about.
pub(crate) fn entry_of(op: &QueueOp) -> QueueId {
    match op {
        QueueOp::Append { entry, .. } => entry.id,
        QueueOp::Update { lease, .. } | QueueOp::Remove { lease } => lease.id,
    }
}

impl Queue {
    /// From the rows of [`LOCK`].
    pub(crate) fn found(rows: &[Row]) -> Result<Queue> {
        let mut queue = Queue::default();
        for row in rows {
            let entry = Entry {
                token: number(row, 1)?,
                leased: get(row, 2)?,
                size: number(row, 3)?,
                blob: BlobId(fixed(row, 4)?),
                done: Done::Nothing,
            };
            queue.entries.insert(QueueId(fixed(row, 0)?), entry);
        }
        Ok(queue)
    }

    /// Does one operation; the id of an entry that was appended.
    pub(crate) fn apply(&mut self, op: &QueueOp) -> Result<Option<QueueId>> {
        match op {
            QueueOp::Append { entry, trace, content } => {
                if self.entries.contains_key(&entry.id) {
                    return Err(Fault::unavailable(format!("queue entry {} is there already", entry.id)));
                }
                self.new_blobs.extend(new_blob(content)?);
                let size = content.size.saturating_add(trace.len() as u64);
                let done = Done::Appended { entry: QueueEntry { size, ..entry.clone() }, trace: trace.clone() };
                let row = Entry { token: 0, leased: false, size, blob: content.blob, done };
                self.entries.insert(entry.id, row);
                Ok(Some(entry.id))
            }
            QueueOp::Update { lease, entry } => {
                let row = self.leased(lease)?;
                row.done = Done::Updated(QueueEntry { id: lease.id, size: row.size, ..entry.clone() });
                row.leased = false;
                Ok(None)
            }
            QueueOp::Remove { lease } => {
                let row = self.leased(lease)?;
                row.done = Done::Removed;
                row.leased = false;
                Ok(None)
            }
        }
    }

    fn leased(&mut self, lease: &QueueLease) -> Result<&mut Entry> {
        let entry = self.entries.get_mut(&lease.id).ok_or(Fault::Fenced)?;
        if entry.leased && entry.token == lease.token { Ok(entry) } else { Err(Fault::Fenced) }
    }

    /// What writes all this down.
    pub(crate) fn calls(&self, calls: &mut Vec<Call>) {
        let mut removed = Vec::new();
        let mut loose = Vec::new();
        for (id, row) in &self.entries {
            match &row.done {
                Done::Nothing => {}
                Done::Appended { entry, trace } => calls.push(call!(
                    "INSERT INTO mailstore.queue
                        (id, priority, due, leased_until, free_at, token, size, entry, trace, blob)
                     VALUES ($1, $2, $3, NULL, $3, 0, $4, $5, $6, $7)",
                    id.0,
                    i64::from(entry.priority),
                    entry.due.0,
                    sql(entry.size),
                    encode(entry),
                    trace.clone(),
                    row.blob.0,
                )),
                Done::Updated(entry) => calls.push(call!(
                    "UPDATE mailstore.queue SET priority = $2, due = CASE due WHEN $5 THEN due ELSE $3 END, leased_until = NULL,
                        free_at = CASE due WHEN $5 THEN due ELSE $3 END, token = token + 1, entry = $4
                     WHERE id = $1",
                    id.0,
                    i64::from(entry.priority),
                    entry.due.0,
                    encode(entry),
                    HELD.0,
                )),
                Done::Removed => {
                    removed.push(id_octets(&id.0));
                    loose.push(id_octets(&row.blob.0));
                }
            }
        }
        if !removed.is_empty() {
            calls.push(call!("DELETE FROM mailstore.queue WHERE id = ANY($1)", removed));
            calls.push(call!(LOOSEN, loose));
        }
    }
}

/// Has these octets looked at whether anybody still needs them.
pub(crate) const LOOSEN: &str = "INSERT INTO mailstore.loose (blob, due) SELECT blob, 0 FROM unnest($1::bytea[]) AS \
                                 n (blob) ON CONFLICT DO NOTHING";

const VERSION: u8 = 2;

/// What has no column of its own.
fn encode(entry: &QueueEntry) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.octet(VERSION);
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
    writer.octet(known.map_or(u8::MAX, |(_, number)| number));
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
        "queue.id, queue.priority, queue.due, queue.size, queue.entry"
    };
}
pub(crate) use QUEUE_COLUMNS;

pub(crate) fn decode(row: &Row) -> Result<QueueEntry> {
    let id = QueueId(fixed(row, 0)?);
    let octets: &[u8] = get(row, 4)?;
    let what = format!("queue entry {id}");
    let mut reader = Reader::new(octets, &what);
    if reader.octet()? != VERSION {
        return Err(reader.corrupt());
    }
    let priority: i64 = get(row, 1)?;
    let entry = QueueEntry {
        id,
        return_path: reader.option(Reader::text)?,
        recipients: reader.list(read_recipient)?,
        size: number(row, 3)?,
        mail_parameters: reader.list(Reader::text)?,
        queued: Timestamp(reader.signed()?),
        due: Timestamp(get(row, 2)?),
        attempts: reader.small()?,
        delay_reported: reader.option(Reader::signed)?.map(Timestamp),
        priority: i8::try_from(priority).map_err(|_| reader.corrupt())?,
    };
    reader.end()?;
    Ok(entry)
}

fn read_recipient(reader: &mut Reader<'_>) -> Result<QueueRecipient> {
    Ok(QueueRecipient {
        address: reader.text()?,
        parameters: reader.list(Reader::text)?,
        state: match STATES.get(usize::from(reader.octet()?)) {
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
