//! Mail waiting to leave.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::account::octets;
use crate::date::Timestamp;
use crate::error::CommitError;
use crate::id::QueueId;
use crate::queue::{FLUSHED, HELD, Leased, QueueEntry, QueueLease, QueueOp};

#[derive(Clone, Debug)]
struct Waiting {
    entry: QueueEntry,
    content: Bytes,
    token: u64,
    leased_until: Option<Timestamp>,
}

impl Waiting {
    /// When somebody may take it: when it is due, and nobody has it.
    fn free_at(&self) -> Timestamp {
        self.leased_until.map_or(self.entry.due, |until| self.entry.due.max(until))
    }
}

/// All entries.
#[derive(Clone, Debug, Default)]
pub(super) struct MemQueue {
    entries: BTreeMap<QueueId, Waiting>,
}

impl MemQueue {
    /// Does one operation; answers the id of an appended entry.
    pub(super) fn apply(&mut self, op: &QueueOp) -> Result<Option<QueueId>, CommitError> {
        match op {
            QueueOp::Append { entry, trace, content } => {
                if self.entries.contains_key(&entry.id) {
                    return Err(CommitError::Unavailable(format!("queue entry {} is there already", entry.id).into()));
                }
                let mut octets_with_trace = BytesMut::from(trace.as_ref());
                octets_with_trace.extend_from_slice(&octets(content)?);
                let content = octets_with_trace.freeze();
                let entry = QueueEntry { size: content.len() as u64, ..entry.clone() };
                let id = entry.id;
                self.entries.insert(id, Waiting { entry, content, token: 0, leased_until: None });
                Ok(Some(id))
            }
            QueueOp::Update { lease, entry } => {
                let waiting = self.leased(lease)?;
                waiting.leased_until = None;
                // The lease is over: the same one can't be used again.
                waiting.token += 1;
                let due = if waiting.entry.due == HELD { HELD } else { entry.due };
                waiting.entry = QueueEntry { id: lease.id, size: waiting.entry.size, due, ..entry.clone() };
                Ok(None)
            }
            QueueOp::Remove { lease } => {
                self.leased(lease)?;
                self.entries.remove(&lease.id);
                Ok(None)
            }
        }
    }

    fn leased(&mut self, lease: &QueueLease) -> Result<&mut Waiting, CommitError> {
        let waiting = self.entries.get_mut(&lease.id).ok_or(CommitError::Fenced)?;
        let current = waiting.leased_until.is_some() && waiting.token == lease.token;
        if current { Ok(waiting) } else { Err(CommitError::Fenced) }
    }

    pub(super) fn lease(&mut self, now: Timestamp, max: usize, ttl: Duration) -> Vec<Leased> {
        let mut free: Vec<&mut Waiting> =
            self.entries.values_mut().filter(|waiting| waiting.free_at() <= now && waiting.entry.due < HELD).collect();
        free.sort_by_key(|waiting| (Reverse(waiting.entry.priority), waiting.entry.due, waiting.entry.id));
        let lease = |waiting: &mut Waiting| {
            waiting.token += 1;
            waiting.leased_until = Some(now.plus(ttl));
            let lease = QueueLease { id: waiting.entry.id, token: waiting.token };
            Leased { lease, entry: waiting.entry.clone() }
        };
        free.into_iter().take(max).map(lease).collect()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.entries.values().map(Waiting::free_at).filter(|at| *at < HELD).min()
    }

    pub(super) fn list(&self, after: Option<QueueId>, max: usize) -> Vec<QueueEntry> {
        let entries = self.entries.values().map(|waiting| &waiting.entry);
        entries.filter(|entry| after.is_none_or(|after| entry.id > after)).take(max).cloned().collect()
    }

    pub(super) fn content(&self, id: QueueId) -> Option<Bytes> {
        self.entries.get(&id).map(|waiting| waiting.content.clone())
    }

    pub(super) fn renew(&mut self, leases: &[QueueLease], until: Timestamp) -> Vec<QueueLease> {
        let mut renewed = Vec::new();
        for lease in leases {
            if let Ok(waiting) = self.leased(lease) {
                waiting.leased_until = Some(until);
                renewed.push(*lease);
            }
        }
        renewed
    }

    pub(super) fn flush(&mut self, ids: Option<&[QueueId]>, now: Timestamp) -> u64 {
        let wanted = |waiting: &Waiting| ids.is_none_or(|ids| ids.contains(&waiting.entry.id));
        self.reschedule(|waiting| waiting.entry.due > now && waiting.entry.due < HELD && wanted(waiting), FLUSHED)
    }

    pub(super) fn hold(&mut self, ids: &[QueueId]) -> u64 {
        self.reschedule(|waiting| ids.contains(&waiting.entry.id), HELD)
    }

    pub(super) fn release(&mut self, ids: &[QueueId], now: Timestamp) -> u64 {
        self.reschedule(|waiting| waiting.entry.due == HELD && ids.contains(&waiting.entry.id), now)
    }

    fn reschedule(&mut self, which: impl Fn(&Waiting) -> bool, due: Timestamp) -> u64 {
        let set = |waiting: &mut Waiting| waiting.entry.due = due;
        self.entries.values_mut().filter(|waiting| which(waiting)).map(set).count() as u64
    }

    pub(super) fn discard(&mut self, id: QueueId) -> bool {
        self.entries.remove(&id).is_some()
    }
}
