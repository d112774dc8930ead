//! One folder with its messages, its indexes and the removals it remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::{ChangeKind, ChangeRecord};
use crate::date::{DateTime, Timestamp};
use crate::error::OpError;
use crate::flags::{FlagSet, Keyword, SystemFlags};
use crate::folder::{Counts, Folder, FolderView, Role};
use crate::id::{EmailId, FolderId, ItemId, MAX_UID, ModSeq, Uid, UidValidity};
use crate::item::RowHead;
use crate::uid_set::{UidMap, UidSet};

/// A message in a folder.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) item: ItemId,
    pub(super) email: EmailId,
    pub(super) size: u64,
    pub(super) flags: FlagSet,
    pub(super) internal_date: DateTime,
    pub(super) save_date: Timestamp,
    pub(super) created: ModSeq,
    pub(super) content_change: ModSeq,
    pub(super) read_change: ModSeq,
    pub(super) change: ModSeq,
}

impl Item {
    /// What happened since a cursor.
    fn kind(&self, since: ModSeq) -> ChangeKind {
        let mut kind = ChangeKind::empty();
        kind.set(ChangeKind::ADDED, self.created > since);
        kind.set(ChangeKind::SEEN, self.read_change > since && self.read_change > self.created);
        kind.set(ChangeKind::FLAGS, self.content_change > since && self.content_change > self.created);
        kind
    }
}

/// A message that is gone.
#[derive(Clone, Debug)]
struct Tombstone {
    item: ItemId,
    uid: Uid,
    created: ModSeq,
    when: Timestamp,
}

/// A folder with everything in it.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) folder: Folder,
    items: BTreeMap<Uid, Item>,
    uids: Arc<UidMap>,
    by_change: BTreeMap<ModSeq, Uid>,
    tombstones: BTreeMap<ModSeq, Tombstone>,
    keywords: BTreeMap<Keyword, u32>,
    /// The first UID that no opening has claimed as recent.
    unclaimed: Uid,
    pub(super) renamed: Option<ModSeq>,
    pub(super) attributed: Option<ModSeq>,
    emptied: Option<ModSeq>,
}

impl Shelf {
    pub(super) fn new(
        id: FolderId,
        parent: Option<FolderId>,
        name: String,
        role: Option<Role>,
        uid_validity: UidValidity,
        created: ModSeq,
    ) -> Shelf {
        let folder = Folder {
            id,
            parent,
            name,
            role,
            selectable: true,
            uid_validity,
            uid_next: Uid::MIN,
            highest_modseq: ModSeq::FIRST,
            floor: ModSeq::FIRST,
            created,
            change: created,
            counts: Counts::default(),
        };
        Shelf {
            folder,
            items: BTreeMap::new(),
            uids: Arc::default(),
            by_change: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            keywords: BTreeMap::new(),
            unclaimed: Uid::MIN,
            renamed: None,
            attributed: None,
            emptied: None,
        }
    }

    /// Leaves only the name, for the sake of the folders inside. Answers what was in it.
    pub(super) fn leave_name(&mut self, change: ModSeq) -> Vec<EmailId> {
        let emails = self.items.values().map(|item| item.email).collect();
        let folder = Folder {
            role: None,
            selectable: false,
            floor: change,
            highest_modseq: change,
            change,
            counts: Counts::default(),
            ..self.folder.clone()
        };
        let Folder { id, parent, name, uid_validity, created, .. } = folder.clone();
        let renamed = self.renamed;
        *self = Shelf {
            folder,
            renamed,
            emptied: Some(change),
            ..Shelf::new(id, parent, name, None, uid_validity, created)
        };
        emails
    }

    /// Makes a name a folder again: a new generation, of which nothing before is known.
    pub(super) fn make_selectable(&mut self, role: Option<Role>, uid_validity: UidValidity, change: ModSeq) {
        self.folder = Folder {
            role,
            selectable: true,
            uid_validity,
            highest_modseq: change,
            floor: change,
            created: change,
            change,
            ..self.folder.clone()
        };
    }

    /// Whether this many more messages can get UIDs.
    pub(super) fn room_for(&self, messages: usize) -> Result<(), OpError> {
        let last = u64::from(self.folder.uid_next.value()) + messages as u64;
        if last <= u64::from(MAX_UID) { Ok(()) } else { Err(OpError::Limit) }
    }

    pub(super) fn items(&self, uids: &UidSet) -> impl Iterator<Item = (Uid, &Item)> {
        let present = self.uids.intersection(uids);
        let uids: Vec<Uid> = present.iter().collect();
        uids.into_iter().filter_map(|uid| Some((uid, self.items.get(&uid)?)))
    }

    /// The messages of these UIDs from the first on, until the visitor says stop; answers the UID it stopped at.
    pub(super) fn visit(&self, uids: &UidSet, mut visit: impl FnMut(Uid, &Item) -> bool) -> Option<Uid> {
        for range in uids.ranges() {
            for (uid, item) in self.items.range(range) {
                if !visit(*uid, item) {
                    return Some(*uid);
                }
            }
        }
        None
    }

    pub(super) fn all(&self) -> UidSet {
        self.uids.to_set()
    }

    /// Puts a message at the end; the caller has asked [`room_for`](Shelf::room_for).
    pub(super) fn add(&mut self, item: Item) -> Uid {
        let uid = self.folder.uid_next;
        self.folder.uid_next = uid.plus(1);
        self.count(&item, 1);
        self.by_change.insert(item.change, uid);
        self.folder.highest_modseq = self.folder.highest_modseq.max(item.change);
        Arc::make_mut(&mut self.uids).push(uid);
        self.items.insert(uid, item);
        uid
    }

    /// Takes a message away and remembers that it was there.
    pub(super) fn remove(&mut self, uid: Uid, change: ModSeq, when: Timestamp) -> Option<Item> {
        let item = self.items.remove(&uid)?;
        self.by_change.remove(&item.change);
        Arc::make_mut(&mut self.uids).remove(&UidSet::from_iter([uid]));
        self.tombstones.insert(change, Tombstone { item: item.item, uid, created: item.created, when });
        self.folder.highest_modseq = self.folder.highest_modseq.max(change);
        self.count(&item, -1);
        Some(item)
    }

    /// Gives a message other flags; the caller has seen that they differ.
    pub(super) fn set_flags(&mut self, uid: Uid, flags: FlagSet, change: ModSeq) {
        let Some(before) = self.items.get(&uid).cloned() else { return };
        self.count(&before, -1);
        self.by_change.remove(&before.change);
        let mut item = Item { flags, change, ..before.clone() };
        let seen = |item: &Item| item.flags.system & SystemFlags::SEEN;
        if seen(&item) != seen(&before) {
            item.read_change = change;
        }
        let rest = |item: &Item| (item.flags.system - SystemFlags::SEEN, item.flags.keywords().to_vec());
        if rest(&item) != rest(&before) {
            item.content_change = change;
        }
        self.count(&item, 1);
        self.by_change.insert(change, uid);
        self.folder.highest_modseq = self.folder.highest_modseq.max(change);
        self.items.insert(uid, item);
    }

    fn count(&mut self, item: &Item, by: i32) {
        let step = |count: &mut u32, counted: bool| {
            if counted {
                *count = count.saturating_add_signed(by);
            }
        };
        let counts = &mut self.folder.counts;
        step(&mut counts.exists, true);
        step(&mut counts.unseen, !item.flags.system.contains(SystemFlags::SEEN));
        step(&mut counts.deleted, item.flags.system.contains(SystemFlags::DELETED));
        counts.octets =
            if by > 0 { counts.octets.saturating_add(item.size) } else { counts.octets.saturating_sub(item.size) };
        for keyword in item.flags.keywords() {
            let used = self.keywords.entry(keyword.clone()).or_default();
            *used = used.saturating_add_signed(by);
            if *used == 0 {
                self.keywords.remove(keyword);
            }
        }
    }

    pub(super) fn view(&mut self, at: ModSeq, claim_recent: bool) -> FolderView {
        let recent_from = self.items.range(self.unclaimed..).next().map(|(uid, _)| *uid);
        if claim_recent {
            self.unclaimed = self.folder.uid_next;
        }
        let unseen = |item: &Item| !item.flags.system.contains(SystemFlags::SEEN);
        FolderView {
            folder: self.folder.clone(),
            uids: self.uids.clone(),
            at,
            first_unseen: self.items.iter().find(|(_, item)| unseen(item)).map(|(uid, _)| *uid),
            recent_from,
            keywords: self.keywords.keys().cloned().collect(),
        }
    }

    /// The folder's own record, when it changed after the cursor.
    pub(super) fn own_record(&self, since: ModSeq) -> Option<ChangeRecord> {
        let after = |change: Option<ModSeq>| change.is_some_and(|change| change > since);
        let mut kind = ChangeKind::empty();
        kind.set(ChangeKind::ADDED, self.folder.selectable && self.folder.created > since);
        kind.set(ChangeKind::REMOVED, after(self.emptied));
        kind.set(ChangeKind::NAME, after(self.renamed));
        kind.set(ChangeKind::ATTRIBUTES, after(self.attributed));
        (self.folder.change > since).then(|| ChangeRecord {
            change: self.folder.change,
            created: self.folder.created,
            folder: self.folder.id,
            item: None,
            kind,
            flags: FlagSet::new(),
        })
    }

    /// Up to `max` records of messages that changed or went after the cursor, ascending.
    pub(super) fn records(&self, since: ModSeq, max: usize) -> Vec<ChangeRecord> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (Excluded(since), Unbounded);
        let folder = self.folder.id;
        let live = self.by_change.range(range).filter_map(|(change, uid)| {
            let item = self.items.get(uid)?;
            Some(ChangeRecord {
                change: *change,
                created: item.created,
                folder,
                item: Some((item.item, *uid)),
                kind: item.kind(since),
                flags: item.flags.clone(),
            })
        });
        let gone = self.tombstones.range(range).map(|(change, tombstone)| ChangeRecord {
            change: *change,
            created: tombstone.created,
            folder,
            item: Some((tombstone.item, tombstone.uid)),
            kind: ChangeKind::REMOVED,
            flags: FlagSet::new(),
        });
        let mut records: Vec<ChangeRecord> = live.take(max).chain(gone.take(max)).collect();
        records.sort_by_key(|record| record.change);
        records.truncate(max);
        records
    }

    /// Forgets removals up to this moment; answers the newest one forgotten.
    pub(super) fn forget(&mut self, now: Timestamp, older_than: Duration) -> Option<ModSeq> {
        let old = |tombstone: &Tombstone| now.since(tombstone.when) >= older_than;
        // Removals are remembered in the order they happened, so the old ones are the first ones.
        let newest = self.tombstones.iter().rev().find(|(_, tombstone)| old(tombstone)).map(|(change, _)| *change)?;
        self.tombstones.retain(|change, _| *change > newest);
        self.folder.floor = self.folder.floor.max(newest);
        Some(newest)
    }

    /// After a restore: UIDs that may have been given out and lost are passed over, and no older cursor is good.
    pub(super) fn jump(&mut self, at: ModSeq) {
        let next = self.folder.uid_next.value().saturating_add(1 << 20).min(MAX_UID);
        self.folder.uid_next = Uid::new(next).unwrap_or(self.folder.uid_next);
        self.folder.floor = at;
        self.tombstones.clear();
    }
}

impl Item {
    pub(super) fn head(&self, uid: Uid) -> RowHead {
        RowHead {
            item: self.item,
            uid,
            email: self.email,
            thread: crate::id::ThreadId(self.email.0),
            internal_date: self.internal_date,
            save_date: self.save_date,
            size: self.size,
            generation: 0,
            created: self.created,
            content_change: self.content_change,
            read_change: self.read_change,
            change: self.change,
        }
    }
}
