//! Leases and their fencing tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::date::Timestamp;
use crate::error::LeaseError;
use crate::leases::{Fence, Lease, LeaseScope};

#[derive(Clone, Debug, Default)]
struct Slot {
    /// The highest token given out; kept for ever, or an old holder could come back.
    token: u64,
    holder: Option<([u8; 16], Timestamp)>,
}

/// All leases of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct MemLeases {
    slots: BTreeMap<LeaseScope, Slot>,
}

impl MemLeases {
    pub(super) fn acquire(
        &mut self,
        scope: &LeaseScope,
        owner: [u8; 16],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Lease, LeaseError> {
        let slot = self.slots.entry(scope.clone()).or_default();
        if slot.holder.is_some_and(|(holder, expires)| holder != owner && expires > now) {
            return Err(LeaseError::Held);
        }
        slot.token += 1;
        let expires = now.plus(ttl);
        slot.holder = Some((owner, expires));
        Ok(Lease { scope: scope.clone(), owner, token: slot.token, expires })
    }

    /// The slot, while this lease is its newest and was not given back.
    fn current(&mut self, lease: &Lease) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(&lease.scope)?;
        let current = slot.token == lease.token && slot.holder.is_some_and(|(holder, _)| holder == lease.owner);
        current.then_some(slot)
    }

    pub(super) fn renew(&mut self, lease: &Lease, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        let slot = self.current(lease).ok_or(LeaseError::Lost)?;
        let expires = now.plus(ttl);
        slot.holder = Some((lease.owner, expires));
        Ok(Lease { expires, ..lease.clone() })
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if let Some(slot) = self.current(lease) {
            slot.holder = None;
        }
    }

    /// Whether a batch with this fence may be done.
    pub(super) fn allows(&self, fence: &Fence) -> bool {
        self.slots.get(&fence.scope).is_none_or(|slot| fence.token >= slot.token)
    }
}
