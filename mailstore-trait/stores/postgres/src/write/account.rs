//! An account in the hands of a batch: read once under its lock, changed in memory, written once at the end.
//!
//! Every operation asks everything that can fail before its first change, so that a failed one in
//! [`Mode::PerOperation`](mailstore_trait::batch::Mode) leaves nothing behind and no savepoint is needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mailstore_trait::date::Timestamp;
use mailstore_trait::error::OpError;
use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};
use mailstore_trait::folder::Folder;
use mailstore_trait::id::{
    AccountId, BlobId, EmailId, FolderId, ItemId, MAX_48, MAX_UID, ModSeq, ThreadId, Uid, UidValidity,
};
use mailstore_trait::item::RowHead;
use mailstore_trait::quota::QuotaLimits;
use mailstore_trait::uid_set::UidSet;
use tokio_postgres::Row;

use super::content::{NewBlob, NewEmail};
use crate::call::{call, sql, unsigned};
use crate::config::Config;
use crate::fault::{Fault, Result};
use crate::link::Tx;
use crate::rows::{FolderRow, ITEM_COLUMNS, ItemRow, get, number};

/// What an operation needs beside the account.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a Config,
}

/// The columns of [`AccountRow::read`], in order.
macro_rules! ACCOUNT_COLUMNS {
    () => {
        "id, at, next_item, next_folder, next_shelf, uid_validity, messages, octets, quota, floor, quota_messages, \
         quota_folders"
    };
}
pub(crate) use ACCOUNT_COLUMNS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AccountRow {
    pub(crate) id: AccountId,
    /// The change counter.
    pub(crate) at: u64,
    pub(crate) next_item: u64,
    pub(crate) next_folder: u64,
    pub(crate) next_shelf: i64,
    /// The UIDVALIDITY given out last.
    pub(crate) uid_validity: u64,
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) limits: QuotaLimits,
    pub(crate) floor: u64,
}

impl AccountRow {
    pub(crate) fn read(row: &Row) -> Result<AccountRow> {
        let id = number(row, 0)?;
        Ok(AccountRow {
            id: AccountId::new(id).ok_or_else(|| Fault::corrupt(format!("account {id}")))?,
            at: number(row, 1)?,
            next_item: number(row, 2)?,
            next_folder: number(row, 3)?,
            next_shelf: get(row, 4)?,
            uid_validity: number(row, 5)?,
            messages: number(row, 6)?,
            octets: number(row, 7)?,
            limits: QuotaLimits::none()
                .with_storage(get::<Option<i64>>(row, 8)?.map(unsigned))
                .with_messages(get::<Option<i64>>(row, 10)?.map(unsigned))
                .with_folders(get::<Option<i64>>(row, 11)?.map(unsigned)),
            floor: number(row, 9)?,
        })
    }

    /// The change counter as others see it.
    pub(crate) fn at(&self) -> Result<ModSeq> {
        ModSeq::new(self.at).ok_or_else(|| Fault::corrupt(format!("account {}", self.id)))
    }
}

/// A folder, and how it was found.
pub(crate) struct Held {
    pub(crate) row: FolderRow,
    /// `None` when this batch made it.
    pub(crate) found: Option<FolderRow>,
}

/// What a batch does to the list of rights of a folder, and to its annotations.
#[derive(Clone, Copy)]
pub(crate) enum Listed {
    /// A folder was made, with its parent's list.
    Inherits { parent: FolderId, folder: FolderId },
    /// A folder went, or became a name only.
    Ends { folder: FolderId },
}

/// A message that was looked at or changed.
pub(crate) struct Slot {
    /// Whether the table has a row for it.
    pub(crate) found: bool,
    pub(crate) changed: bool,
    /// `None` when it was taken away.
    pub(crate) row: Option<ItemRow>,
}

pub(crate) struct Tombstone {
    pub(crate) shelf: i64,
    pub(crate) change: u64,
    pub(crate) uid: Uid,
    pub(crate) item: ItemId,
    pub(crate) created: ModSeq,
}

/// What is known of a message of the account.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) size: u64,
    pub(crate) thread: ThreadId,
}

/// An account and all that a batch does to it.
pub(crate) struct Account {
    pub(crate) row: AccountRow,
    pub(crate) found: AccountRow,
    /// Those the batch names, or all.
    pub(crate) folders: BTreeMap<FolderId, Held>,
    /// Folders that go: their id, creation and the change that removes them.
    pub(crate) folders_gone: Vec<(FolderId, u64, u64)>,
    /// What happens to lists of rights and annotations, in order.
    pub(crate) listed: Vec<Listed>,
    /// Shelves whose messages nobody reaches any more.
    pub(crate) purged: Vec<i64>,
    pub(crate) slots: BTreeMap<(i64, u32), Slot>,
    /// UIDs of which every row is in `slots`; and those of which every row with `\Deleted` is.
    covered: HashMap<i64, UidSet>,
    covered_deleted: HashMap<i64, UidSet>,
    pub(crate) gone: Vec<Tombstone>,
    pub(crate) emails: HashMap<EmailId, Known>,
    pub(crate) by_blob: HashMap<BlobId, EmailId>,
    /// How many more (or fewer) places messages have.
    pub(crate) places: BTreeMap<EmailId, i64>,
    pub(crate) new_emails: Vec<NewEmail>,
    pub(crate) new_blobs: Vec<NewBlob>,
    /// How often more (or less) a keyword is used on a shelf, by its folded word, with a spelling.
    pub(crate) words: BTreeMap<(i64, String), (String, i64)>,
    /// Folded keywords in use in the account, when the batch brings any.
    pub(crate) known_words: HashSet<String>,
    pub(crate) subscriptions: BTreeSet<String>,
    pub(crate) found_subscriptions: BTreeSet<String>,
}

impl Account {
    pub(crate) fn new(row: AccountRow) -> Account {
        Account {
            row,
            found: row,
            folders: BTreeMap::new(),
            folders_gone: Vec::new(),
            listed: Vec::new(),
            purged: Vec::new(),
            slots: BTreeMap::new(),
            covered: HashMap::new(),
            covered_deleted: HashMap::new(),
            gone: Vec::new(),
            emails: HashMap::new(),
            by_blob: HashMap::new(),
            places: BTreeMap::new(),
            new_emails: Vec::new(),
            new_blobs: Vec::new(),
            words: BTreeMap::new(),
            known_words: HashSet::new(),
            subscriptions: BTreeSet::new(),
            found_subscriptions: BTreeSet::new(),
        }
    }

    pub(crate) fn hold(&mut self, row: FolderRow) {
        self.folders.insert(row.id, Held { found: Some(row.clone()), row });
    }

    pub(crate) fn folder(&self, id: FolderId) -> Result<&FolderRow, OpError> {
        self.folders.get(&id).map(|held| &held.row).ok_or(OpError::NotFound)
    }

    pub(crate) fn folder_mut(&mut self, id: FolderId) -> Result<&mut FolderRow, OpError> {
        self.folders.get_mut(&id).map(|held| &mut held.row).ok_or(OpError::NotFound)
    }

    /// A folder that holds messages.
    pub(crate) fn selectable(&self, id: FolderId) -> Result<&FolderRow, OpError> {
        let folder = self.folder(id)?;
        if folder.selectable { Ok(folder) } else { Err(OpError::NotSelectable) }
    }

    pub(crate) fn shown(&self, id: FolderId) -> Result<Folder> {
        self.folder(id)?.shown()
    }

    /// Whether this many changes and items can still be numbered.
    pub(crate) fn numbers_for(&self, changes: usize) -> Result<(), OpError> {
        let fits = |last: u64| last.saturating_add(changes as u64) <= MAX_48;
        if fits(self.row.at) && fits(self.row.next_item) { Ok(()) } else { Err(OpError::Limit) }
    }

    /// Whether this many more messages can get UIDs there.
    pub(crate) fn uids_for(&self, folder: FolderId, messages: usize) -> Result<(), OpError> {
        let last = u64::from(self.selectable(folder)?.uid_next.value()).saturating_add(messages as u64);
        if last <= u64::from(MAX_UID) { Ok(()) } else { Err(OpError::Limit) }
    }

    pub(crate) fn quota_for(&self, messages: u64, octets: u64) -> Result<(), OpError> {
        let over = |adds: u64, has: u64, limit: Option<u64>| {
            adds > 0 && limit.is_some_and(|limit| has.saturating_add(adds) > limit)
        };
        let AccountRow { limits, messages: held, octets: size, .. } = self.row;
        let over = over(octets, size, limits.storage) || over(messages, held, limits.messages);
        if over { Err(OpError::OverQuota) } else { Ok(()) }
    }

    pub(crate) fn next_change(&mut self) -> Result<ModSeq, OpError> {
        let change = ModSeq::new(self.row.at + 1).ok_or(OpError::Limit)?;
        self.row.at = change.value();
        Ok(change)
    }

    fn next_item(&mut self) -> Result<ItemId, OpError> {
        let item = ItemId::new(self.row.next_item).ok_or(OpError::Limit)?;
        self.row.next_item += 1;
        Ok(item)
    }

    pub(crate) fn next_folder(&mut self) -> Result<FolderId, OpError> {
        let folder = FolderId::new(self.row.next_folder).ok_or(OpError::Limit)?;
        self.row.next_folder += 1;
        Ok(folder)
    }

    pub(crate) fn next_uid_validity(&mut self) -> Result<UidValidity, OpError> {
        let next = u32::try_from(self.row.uid_validity + 1).ok().filter(|next| *next <= MAX_UID);
        let value = next.and_then(UidValidity::new).ok_or(OpError::Limit)?;
        self.row.uid_validity += 1;
        Ok(value)
    }

    /// A number for the messages of a folder that is made: nothing lies there.
    pub(crate) fn next_shelf(&mut self) -> i64 {
        let shelf = self.row.next_shelf;
        self.row.next_shelf = shelf.saturating_add(1);
        self.covered.insert(shelf, UidSet::all());
        shelf
    }

    /// Notes that all rows of these UIDs were taken in.
    pub(crate) fn cover(&mut self, shelf: i64, uids: &UidSet, only_deleted: bool) {
        let covered = if only_deleted { &mut self.covered_deleted } else { &mut self.covered };
        let covered = covered.entry(shelf).or_default();
        uids.ranges().for_each(|range| covered.insert_range(range));
    }

    fn covers(&self, shelf: i64, uids: &UidSet, only_deleted: bool) -> bool {
        let all = |covered: Option<&UidSet>| covered.is_some_and(|covered| covered.intersection(uids) == *uids);
        all(self.covered.get(&shelf)) || (only_deleted && all(self.covered_deleted.get(&shelf)))
    }

    /// Takes a row in, unless it is known better.
    pub(crate) fn take_in(&mut self, row: ItemRow) {
        let key = (row.shelf, row.head.uid.value());
        self.slots.entry(key).or_insert(Slot { found: true, changed: false, row: Some(row) });
    }

    /// The messages of these UIDs, ascending. More than the store takes at once are too many.
    pub(crate) async fn touched(
        &mut self,
        tx: &mut Tx<'_>,
        moment: Moment<'_>,
        folder: FolderId,
        uids: &UidSet,
        only_deleted: bool,
    ) -> Result<Vec<ItemRow>> {
        let shelf = self.selectable(folder)?.shelf;
        let max = moment.config.max_ops;
        if !self.covers(shelf, uids, only_deleted) {
            self.load(tx, shelf, uids, only_deleted, max).await?;
        }
        let mut rows = Vec::new();
        for range in uids.ranges() {
            let slots = self.slots.range((shelf, range.start().value())..=(shelf, range.end().value()));
            let there = slots.filter_map(|(_, slot)| slot.row.as_ref());
            rows.extend(there.filter(|row| !only_deleted || row.flags.system.contains(SystemFlags::DELETED)).cloned());
            if rows.len() > max {
                return Err(OpError::Limit.into());
            }
        }
        self.numbers_for(rows.len().saturating_mul(2))?;
        Ok(rows)
    }

    async fn load(&mut self, tx: &mut Tx<'_>, shelf: i64, uids: &UidSet, only_deleted: bool, max: usize) -> Result<()> {
        let statement = if only_deleted { LOAD_DELETED } else { LOAD };
        let (first, last) = bounds(uids);
        let limit = sql((max as u64).saturating_add(1));
        let rows = tx.one(call!(statement, sql(self.row.id.value()), shelf, first, last, limit)).await?;
        if rows.len() > max {
            return Err(OpError::Limit.into());
        }
        for row in &rows {
            self.take_in(ItemRow::read(row)?);
        }
        self.cover(shelf, uids, only_deleted);
        Ok(())
    }

    /// Puts a message at the end of a folder; the caller asked whether it fits.
    pub(crate) fn place(&mut self, folder: FolderId, head: NewHead, flags: FlagSet) -> Result<RowHead, OpError> {
        let change = self.next_change()?;
        let item = self.next_item()?;
        let row = self.folder_mut(folder)?;
        let (shelf, uid) = (row.shelf, row.uid_next);
        row.uid_next = uid.plus(1);
        row.members = change.value();
        let head = RowHead {
            item,
            uid,
            email: head.email,
            thread: head.thread,
            internal_date: head.internal_date,
            save_date: head.save_date,
            size: head.size,
            generation: 0,
            created: change,
            content_change: change,
            read_change: change,
            change,
        };
        self.count(folder, &flags, head.size, change, 1)?;
        *self.places.entry(head.email).or_default() += 1;
        let row = ItemRow { shelf, head, flags };
        self.slots.insert((shelf, uid.value()), Slot { found: false, changed: false, row: Some(row) });
        Ok(head)
    }

    /// Takes a message away and remembers that it was there.
    pub(crate) fn take_away(&mut self, folder: FolderId, row: &ItemRow) -> Result<(), OpError> {
        let change = self.next_change()?;
        let RowHead { uid, item, created, email, size, .. } = row.head;
        let key = (row.shelf, uid.value());
        if self.slots.get(&key).is_some_and(|slot| slot.found) {
            self.slots.insert(key, Slot { found: true, changed: true, row: None });
        } else {
            self.slots.remove(&key);
        }
        self.gone.push(Tombstone { shelf: row.shelf, change: change.value(), uid, item, created });
        self.folder_mut(folder)?.members = change.value();
        *self.places.entry(email).or_default() -= 1;
        self.count(folder, &row.flags, size, change, -1)
    }

    /// Gives a message other flags; the caller saw that they differ.
    pub(crate) fn reflag(&mut self, folder: FolderId, row: &ItemRow, flags: FlagSet) -> Result<(), OpError> {
        let change = self.next_change()?;
        let mut head = row.head;
        head.change = change;
        if (flags.system ^ row.flags.system).contains(SystemFlags::SEEN) {
            head.read_change = change;
        }
        let rest = |set: &FlagSet| set.system - SystemFlags::SEEN;
        if rest(&flags) != rest(&row.flags) || flags.keywords() != row.flags.keywords() {
            head.content_change = change;
        }
        self.count(folder, &row.flags, head.size, change, -1)?;
        self.count(folder, &flags, head.size, change, 1)?;
        if let Some(slot) = self.slots.get_mut(&(row.shelf, head.uid.value())) {
            slot.changed = true;
            slot.row = Some(ItemRow { shelf: row.shelf, head, flags });
        }
        Ok(())
    }

    /// Counts a message into its folder and the account, or out of them.
    fn count(&mut self, id: FolderId, flags: &FlagSet, size: u64, change: ModSeq, by: i32) -> Result<(), OpError> {
        let step = |count: &mut u32, counted: bool| {
            if counted {
                *count = count.saturating_add_signed(by);
            }
        };
        let sum = |octets: u64| if by > 0 { octets.saturating_add(size) } else { octets.saturating_sub(size) };
        let folder = self.folder_mut(id)?;
        folder.highest = folder.highest.max(change.value());
        let counts = &mut folder.counts;
        step(&mut counts.exists, true);
        step(&mut counts.unseen, !flags.system.contains(SystemFlags::SEEN));
        step(&mut counts.deleted, flags.system.contains(SystemFlags::DELETED));
        counts.octets = sum(counts.octets);
        let shelf = folder.shelf;
        self.row.octets = sum(self.row.octets);
        self.row.messages = self.row.messages.saturating_add_signed(by.into());
        for keyword in flags.keywords() {
            let word = keyword.as_str();
            let (_, uses) =
                self.words.entry((shelf, word.to_ascii_lowercase())).or_insert_with(|| (word.to_owned(), 0));
            *uses += i64::from(by);
        }
        Ok(())
    }

    /// Whether the account may use these keywords too.
    pub(crate) fn words_for(&self, keywords: &[Keyword], max: usize) -> Result<(), OpError> {
        let new =
            keywords.iter().filter(|word| !self.known_words.contains(&word.as_str().to_ascii_lowercase())).count();
        if new > 0 && self.known_words.len() + new > max { Err(OpError::Limit) } else { Ok(()) }
    }

    pub(crate) fn learn_words(&mut self, keywords: &[Keyword]) {
        self.known_words.extend(keywords.iter().map(|word| word.as_str().to_ascii_lowercase()));
    }

    /// Everything on a shelf goes out of reach; what lies there is cleared away later.
    pub(crate) fn abandon(&mut self, shelf: i64) {
        let keys: Vec<(i64, u32)> = self.slots.range((shelf, 0)..=(shelf, u32::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(slot) = self.slots.get(&key) else { continue };
            match &slot.row {
                // Never written: its place is given up here.
                Some(row) if !slot.found => {
                    *self.places.entry(row.head.email).or_default() -= 1;
                    self.slots.remove(&key);
                }
                // Goes with the shelf.
                Some(_) => {
                    self.slots.remove(&key);
                }
                // Taken away by this batch, which gave its place up.
                None => {}
            }
        }
        self.gone.retain(|gone| gone.shelf != shelf);
        self.words.retain(|(on, _), _| *on != shelf);
        self.purged.push(shelf);
    }
}

/// What a new place is made of.
pub(crate) struct NewHead {
    pub(crate) email: EmailId,
    pub(crate) thread: ThreadId,
    pub(crate) internal_date: mailstore_trait::date::DateTime,
    pub(crate) save_date: Timestamp,
    pub(crate) size: u64,
}

const LOAD: &str = concat!(
    "SELECT ",
    ITEM_COLUMNS!(),
    " FROM unnest($3::int8[], $4::int8[]) AS range (first, last)
     JOIN mailstore.item ON account = $1 AND shelf = $2 AND uid BETWEEN range.first AND range.last LIMIT $5"
);
const LOAD_DELETED: &str = concat!(
    "SELECT ",
    ITEM_COLUMNS!(),
    " FROM unnest($3::int8[], $4::int8[]) AS range (first, last)
     JOIN mailstore.item ON account = $1 AND shelf = $2 AND uid BETWEEN range.first AND range.last AND flags & 8 = 8
     LIMIT $5"
);

/// A set as two lists: the first and the last UID of each range.
pub(crate) fn bounds(uids: &UidSet) -> (Vec<i64>, Vec<i64>) {
    uids.ranges().map(|range| (i64::from(range.start().value()), i64::from(range.end().value()))).unzip()
}
