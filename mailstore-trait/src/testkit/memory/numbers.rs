//! The numbers of an account: changes, items, folders and UIDVALIDITY, each given out once and ascending.

use crate::date::Timestamp;
use crate::error::OpError;
use crate::id::{FolderId, ItemId, MAX_48, MAX_UID, ModSeq, UidValidity};

/// What was given out last.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    change: u64,
    item: u64,
    folder: u64,
    uid_validity: u32,
}

impl Numbers {
    pub(super) fn new(now: Timestamp) -> Numbers {
        // UIDVALIDITY begins at the time of day, so that an account made anew with an old address never has old values.
        let seconds = u32::try_from(now.seconds().max(0)).unwrap_or(0).min(MAX_UID / 2 + MAX_UID / 4);
        Numbers { change: ModSeq::FIRST.value(), item: 0, folder: 0, uid_validity: seconds }
    }

    /// The change counter.
    pub(super) fn at(&self) -> ModSeq {
        ModSeq::new(self.change).unwrap_or(ModSeq::FIRST)
    }

    /// Whether this many changes and items can still be given out.
    pub(super) fn room_for(&self, changes: usize) -> Result<(), OpError> {
        let changes = changes as u64;
        let fits = |last: u64| last.saturating_add(changes) <= MAX_48;
        if fits(self.change) && fits(self.item) { Ok(()) } else { Err(OpError::Limit) }
    }

    pub(super) fn next_change(&mut self) -> Result<ModSeq, OpError> {
        let change = ModSeq::new(self.change + 1).ok_or(OpError::Limit)?;
        self.change = change.value();
        Ok(change)
    }

    pub(super) fn next_item(&mut self) -> Result<ItemId, OpError> {
        let item = ItemId::new(self.item + 1).ok_or(OpError::Limit)?;
        self.item = item.value();
        Ok(item)
    }

    pub(super) fn next_folder(&mut self) -> Result<FolderId, OpError> {
        let folder = FolderId::new(self.folder + 1).ok_or(OpError::Limit)?;
        self.folder = folder.value();
        Ok(folder)
    }

    pub(super) fn next_uid_validity(&mut self) -> Result<UidValidity, OpError> {
        let next = self.uid_validity.saturating_add(1);
        let value = UidValidity::new(next).filter(|value| value.value() <= MAX_UID).ok_or(OpError::Limit)?;
        self.uid_validity = next;
        Ok(value)
    }

    /// After a restore: everything given out from now on lies above what may have been given out and lost.
    pub(super) fn jump(&mut self) {
        self.change = (self.change + (1 << 32)).min(MAX_48);
        self.item = (self.item + (1 << 32)).min(MAX_48);
    }
}
