//! One account: its folders, messages and subscriptions, and what a batch does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::annotations::Annotations;
use super::numbers::Numbers;
use super::shelf::{Item, Shelf};
use crate::acl::{Acl, AclChange};
use crate::batch::{AddItem, Content, Hold, Op, OpOutcome, Staged};
use crate::change::{ChangeKind, ChangePage, ChangeRecord, ChangesOptions};
use crate::date::Timestamp;
use crate::error::{AclError, CommitError, MetadataError, OpError, ReadError};
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::folder::{FolderList, Role};
use crate::id::{BlobId, EmailId, FolderId, ModSeq, Uid};
use crate::item::{ItemPage, ItemPageBuilder, ItemsOptions, Projection, RowParts};
use crate::metadata::{EntryChange, MetadataLimits};
use crate::quota::{Quota, QuotaLimits, QuotaUsage};
use crate::store::AccountState;
use crate::testkit::random::Random;
use crate::uid_set::UidSet;

/// An immutable message of an account.
#[derive(Clone, Debug)]
struct Email {
    content: Bytes,
    skeleton: Bytes,
    summary: Bytes,
    /// How many places it has.
    places: usize,
    /// The upload it came from, when it is exactly that: uploads added twice are one message.
    blob: Option<BlobId>,
}

/// What a batch needs beside the account.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) random: &'a mut Random,
    pub(super) max_ops: usize,
    pub(super) max_message: u64,
}

/// Why an operation was not done.
pub(super) enum Refused {
    Op(OpError),
    Batch(CommitError),
}

impl From<OpError> for Refused {
    fn from(error: OpError) -> Refused {
        Refused::Op(error)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    numbers: Numbers,
    shelves: BTreeMap<FolderId, Arc<Shelf>>,
    /// Folders that are gone, by the change that removed them: id, creation, when.
    removed: BTreeMap<ModSeq, (FolderId, ModSeq, Timestamp)>,
    subscriptions: BTreeSet<Vec<String>>,
    emails: BTreeMap<EmailId, Arc<Email>>,
    by_blob: BTreeMap<BlobId, EmailId>,
    /// Messages without a place, since when.
    fading: BTreeMap<EmailId, Timestamp>,
    floor: ModSeq,
    pub(super) limits: QuotaLimits,
    /// Lists that have an entry.
    acls: BTreeMap<FolderId, Acl>,
    annotations: BTreeMap<FolderId, Annotations>,
}

impl Account {
    pub(super) fn new(now: Timestamp) -> Account {
        Account {
            numbers: Numbers::new(now),
            shelves: BTreeMap::new(),
            removed: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            emails: BTreeMap::new(),
            by_blob: BTreeMap::new(),
            fading: BTreeMap::new(),
            floor: ModSeq::FIRST,
            limits: QuotaLimits::none(),
            acls: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn at(&self) -> ModSeq {
        self.numbers.at()
    }

    pub(super) fn state(&self) -> AccountState {
        let usage = self.usage();
        AccountState::new(self.at(), usage.messages, usage.storage, self.limits.storage)
    }

    fn usage(&self) -> QuotaUsage {
        let folders = self.shelves.values().map(|shelf| &shelf.folder).filter(|folder| folder.selectable);
        folders.fold(QuotaUsage::default(), |usage, folder| QuotaUsage {
            storage: usage.storage + folder.counts.octets,
            messages: usage.messages + u64::from(folder.counts.exists),
            folders: usage.folders + 1,
        })
    }

    pub(super) fn quota(&self) -> Quota {
        Quota::new(self.limits, self.usage())
    }

    pub(super) fn deleted_octets(&self) -> Vec<(FolderId, u64)> {
        let all = UidSet::all();
        let deleted = self.shelves.iter().map(|(id, shelf)| {
            let items = shelf.items(&all);
            let deleted = items.filter(|(_, item)| item.flags.system.contains(SystemFlags::DELETED));
            (*id, deleted.map(|(_, item)| item.size).sum())
        });
        deleted.filter(|(_, octets)| *octets > 0).collect()
    }

    pub(super) fn acls(&self) -> Vec<(FolderId, Acl)> {
        self.acls.iter().map(|(folder, acl)| (*folder, acl.clone())).collect()
    }

    pub(super) fn change_acl(&mut self, folder: FolderId, change: AclChange) -> Result<Acl, AclError> {
        self.shelf(folder).map_err(|_| AclError::NotFound)?;
        let before = self.acls.get(&folder).cloned().unwrap_or_default();
        let mut acl = before.clone();
        acl.change(change)?;
        if acl != before {
            self.attribute(folder).map_err(|_| AclError::Limit)?;
            self.set_acl(folder, acl.clone());
        }
        Ok(acl)
    }

    fn set_acl(&mut self, folder: FolderId, acl: Acl) {
        if acl.entries.is_empty() {
            self.acls.remove(&folder);
        } else {
            self.acls.insert(folder, acl);
        }
    }

    /// Gives the folder itself a change.
    fn attribute(&mut self, folder: FolderId) -> Result<(), OpError> {
        let change = self.numbers.next_change()?;
        let shelf = self.shelf_mut(folder)?;
        shelf.folder.change = change;
        shelf.attributed = Some(change);
        Ok(())
    }

    pub(super) fn annotations(&self, folder: FolderId) -> Option<&Annotations> {
        self.annotations.get(&folder)
    }

    pub(super) fn annotate(
        &mut self,
        folder: FolderId,
        changes: &[EntryChange],
        limits: MetadataLimits,
    ) -> Result<(), MetadataError> {
        self.shelf(folder).map_err(|_| MetadataError::NotFound)?;
        let mut annotations = self.annotations.get(&folder).cloned().unwrap_or_default();
        if annotations.change(changes, limits)? {
            self.attribute(folder).map_err(|_| MetadataError::TooMany)?;
            self.annotations.insert(folder, annotations);
        }
        Ok(())
    }

    pub(super) fn folders(&self) -> FolderList {
        FolderList {
            folders: self.shelves.values().map(|shelf| shelf.folder.clone()).collect(),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            at: Some(self.at()),
        }
    }

    /// A folder that holds messages.
    pub(super) fn shelf(&self, id: FolderId) -> Result<&Shelf, OpError> {
        let shelf = self.shelves.get(&id).ok_or(OpError::NotFound)?;
        if shelf.folder.selectable { Ok(shelf) } else { Err(OpError::NotSelectable) }
    }

    pub(super) fn shelf_mut(&mut self, id: FolderId) -> Result<&mut Shelf, OpError> {
        let shelf = self.shelves.get_mut(&id).ok_or(OpError::NotFound)?;
        if shelf.folder.selectable { Ok(Arc::make_mut(shelf)) } else { Err(OpError::NotSelectable) }
    }

    /// Does one operation, or nothing: everything that can fail is asked before the first change.
    pub(super) fn apply(&mut self, op: &Op, moment: &mut Moment<'_>) -> Result<OpOutcome, Refused> {
        Ok(match op {
            Op::Add(add) => return self.add(add, moment),
            Op::Copy { from, uids, to } => self.copy(*from, uids, *to, moment)?,
            Op::Move { from, uids, to } => self.transfer(*from, uids, *to, moment)?,
            Op::MoveAll { from, to } => {
                let uids = self.shelf(*from)?.all();
                self.transfer(*from, &uids, *to, moment)?
            }
            Op::Remove { folder, uids, only_deleted } => self.remove(*folder, uids, *only_deleted, moment)?,
            Op::SetFlags { folder, uids, change, unchanged_since } => {
                self.set_flags(*folder, uids, change, *unchanged_since, moment)?
            }
            Op::CreateFolder { parent, name, role } => self.create(*parent, name, *role)?,
            Op::RenameFolder { folder, parent, name } => self.rename(*folder, *parent, name)?,
            Op::DeleteFolder { folder } => self.delete(*folder, moment.now)?,
            Op::SetRole { folder, role } => self.set_role(*folder, *role)?,
            Op::Subscribe { path, subscribed } => self.subscribe(path, *subscribed)?,
            Op::AssertFolder { folder, uid_validity } => {
                let same = self.shelf(*folder).is_ok_and(|shelf| shelf.folder.uid_validity == *uid_validity);
                if !same {
                    return Err(OpError::Conflict.into());
                }
                OpOutcome::Done
            }
        })
    }

    fn add(&mut self, add: &AddItem, moment: &mut Moment<'_>) -> Result<OpOutcome, Refused> {
        self.numbers.room_for(1)?;
        self.shelf(add.folder)?.room_for(1)?;
        let size = match &add.content {
            Content::Staged(staged) => staged.size,
            Content::Prefixed(prefix, staged) => staged.size.saturating_add(prefix.len() as u64),
            Content::Email(email) => self.emails.get(email).ok_or(OpError::NotFound)?.content.len() as u64,
        };
        if size > moment.max_message {
            return Err(Refused::Batch(CommitError::TooLarge));
        }
        self.has_quota_for(1, size)?;
        let email = match &add.content {
            Content::Email(email) => *email,
            Content::Staged(staged) => match self.by_blob.get(&staged.blob) {
                Some(email) => *email,
                None => self.keep(octets(staged).map_err(Refused::Batch)?, Some(staged), moment),
            },
            Content::Prefixed(prefix, staged) => {
                let mut content = BytesMut::from(prefix.as_ref());
                content.extend_from_slice(&octets(staged).map_err(Refused::Batch)?);
                self.keep(content.freeze(), None, moment)
            }
        };
        let change = self.numbers.next_change()?;
        let item = Item {
            item: self.numbers.next_item()?,
            email,
            size,
            flags: add.flags.clone(),
            internal_date: add.internal_date,
            save_date: moment.now,
            created: change,
            content_change: change,
            read_change: change,
            change,
        };
        self.hold(email);
        let shelf = self.shelf_mut(add.folder)?;
        let item_id = item.item;
        let uid = shelf.add(item);
        Ok(OpOutcome::Added { item: item_id, uid, uid_validity: shelf.folder.uid_validity, email })
    }

    /// Makes a message of these octets.
    fn keep(&mut self, content: Bytes, staged: Option<&Staged>, moment: &mut Moment<'_>) -> EmailId {
        let id = EmailId(moment.random.id());
        let blob = staged.map(|staged| staged.blob);
        self.by_blob.extend(blob.map(|blob| (blob, id)));
        let (skeleton, summary) = match staged {
            Some(staged) => (staged.skeleton.clone(), staged.summary.clone()),
            None => super::upload::ingest(&content),
        };
        self.emails.insert(id, Arc::new(Email { content, skeleton, summary, places: 0, blob }));
        id
    }

    fn hold(&mut self, id: EmailId) {
        if let Some(email) = self.emails.get_mut(&id) {
            Arc::make_mut(email).places += 1;
            self.fading.remove(&id);
        }
    }

    fn release(&mut self, id: EmailId, now: Timestamp) {
        if let Some(email) = self.emails.get_mut(&id) {
            let email = Arc::make_mut(email);
            email.places = email.places.saturating_sub(1);
            if email.places == 0 {
                self.fading.insert(id, now);
            }
        }
    }

    /// Forgets messages that have had no place for this long.
    pub(super) fn fade(&mut self, now: Timestamp, grace: Duration) {
        let over: Vec<EmailId> =
            self.fading.iter().filter(|(_, since)| now.since(**since) >= grace).map(|(id, _)| *id).collect();
        for id in over {
            self.fading.remove(&id);
            if let Some(blob) = self.emails.remove(&id).and_then(|email| email.blob) {
                self.by_blob.remove(&blob);
            }
        }
    }

    fn has_quota_for(&self, messages: u64, octets: u64) -> Result<(), OpError> {
        let usage = self.usage();
        let over = |adds: u64, has: u64, limit: Option<u64>| {
            adds > 0 && limit.is_some_and(|limit| has.saturating_add(adds) > limit)
        };
        let over =
            over(octets, usage.storage, self.limits.storage) || over(messages, usage.messages, self.limits.messages);
        if over { Err(OpError::OverQuota) } else { Ok(()) }
    }

    /// The messages an operation is about, when they are not too many.
    fn touched(&self, from: FolderId, uids: &UidSet, moment: &Moment<'_>) -> Result<Vec<(Uid, Item)>, OpError> {
        let shelf = self.shelf(from)?;
        let items: Vec<_> = shelf.items(uids).map(|(uid, item)| (uid, item.clone())).collect();
        if items.len() > moment.max_ops {
            return Err(OpError::Limit);
        }
        self.numbers.room_for(items.len().saturating_mul(2))?;
        Ok(items)
    }

    fn copy(&mut self, from: FolderId, uids: &UidSet, to: FolderId, moment: &Moment<'_>) -> Result<OpOutcome, OpError> {
        let items = self.touched(from, uids, moment)?;
        self.shelf(to)?.room_for(items.len())?;
        self.has_quota_for(items.len() as u64, items.iter().map(|(_, item)| item.size).sum())?;
        self.place(items, to, moment.now)
    }

    /// Puts copies of these into a folder.
    fn place(&mut self, items: Vec<(Uid, Item)>, to: FolderId, now: Timestamp) -> Result<OpOutcome, OpError> {
        let (mut old, mut new) = (UidSet::new(), UidSet::new());
        for (uid, item) in items {
            let change = self.numbers.next_change()?;
            let id = self.numbers.next_item()?;
            self.hold(item.email);
            let copy = Item {
                item: id,
                save_date: now,
                created: change,
                content_change: change,
                read_change: change,
                change,
                ..item
            };
            old.insert(uid);
            new.insert(self.shelf_mut(to)?.add(copy));
        }
        Ok(OpOutcome::Transferred { uid_validity: self.shelf(to)?.folder.uid_validity, from: old, to: new })
    }

    fn transfer(
        &mut self,
        from: FolderId,
        uids: &UidSet,
        to: FolderId,
        moment: &Moment<'_>,
    ) -> Result<OpOutcome, OpError> {
        let items = self.touched(from, uids, moment)?;
        self.shelf(to)?.room_for(items.len())?;
        let gone: Vec<Uid> = items.iter().map(|(uid, _)| *uid).collect();
        let outcome = self.place(items, to, moment.now)?;
        self.take_away(from, gone, moment.now)?;
        Ok(outcome)
    }

    fn take_away(&mut self, from: FolderId, uids: Vec<Uid>, now: Timestamp) -> Result<(), OpError> {
        for uid in uids {
            let change = self.numbers.next_change()?;
            if let Some(item) = self.shelf_mut(from)?.remove(uid, change, now) {
                self.release(item.email, now);
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        folder: FolderId,
        uids: &UidSet,
        only_deleted: bool,
        moment: &Moment<'_>,
    ) -> Result<OpOutcome, OpError> {
        let mut items = self.touched(folder, uids, moment)?;
        items.retain(|(_, item)| !only_deleted || item.flags.system.contains(SystemFlags::DELETED));
        let uids: Vec<Uid> = items.iter().map(|(uid, _)| *uid).collect();
        let removed = uids.iter().copied().collect();
        self.take_away(folder, uids, moment.now)?;
        Ok(OpOutcome::Removed { uids: removed })
    }

    fn set_flags(
        &mut self,
        folder: FolderId,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
        moment: &Moment<'_>,
    ) -> Result<OpOutcome, OpError> {
        let mut conflicts = UidSet::new();
        let items = self.touched(folder, uids, moment)?;
        for (uid, item) in &items {
            if unchanged_since.is_some_and(|since| item.change > since) {
                conflicts.insert(*uid);
                continue;
            }
            let flags = change.apply(&item.flags);
            // RFC 7162 §3.1.3: what is as asked already gets no new mod-sequence.
            if flags != item.flags {
                let number = self.numbers.next_change()?;
                self.shelf_mut(folder)?.set_flags(*uid, flags, number);
            }
        }
        let looked_at = items.iter().map(|(uid, _)| *uid).collect();
        let options = ItemsOptions { max_rows: usize::MAX, max_octets: usize::MAX, ..ItemsOptions::default() };
        Ok(OpOutcome::FlagsSet { page: self.page(folder, &looked_at, options)?, conflicts })
    }

    pub(super) fn page(&self, folder: FolderId, uids: &UidSet, options: ItemsOptions) -> Result<ItemPage, OpError> {
        let mut page = ItemPageBuilder::new();
        let wants = |what| options.projection.contains(what);
        let next = self.shelf(folder)?.visit(uids, |uid, item| {
            let mut parts = RowParts::default();
            if let Some(email) = self.emails.get(&item.email) {
                if wants(Projection::SKELETON) {
                    parts.skeleton = &email.skeleton;
                }
                if wants(Projection::SUMMARY) {
                    parts.summary = &email.summary;
                }
                if wants(Projection::CONTENT) && item.size <= options.content_up_to {
                    parts.content = &email.content;
                }
            }
            let fits = !page.is_full(&options, &parts);
            if fits {
                page.push(item.head(uid), item.flags.system, item.flags.keywords(), parts);
            }
            fits
        });
        Ok(page.finish(next))
    }

    pub(super) fn read(&self, id: EmailId, now: Timestamp, grace: Duration) -> Option<Bytes> {
        let faded = self.fading.get(&id).is_some_and(|since| now.since(*since) >= grace);
        self.emails.get(&id).filter(|_| !faded).map(|email| email.content.clone())
    }

    fn named(&self, parent: Option<FolderId>, name: &str) -> Option<FolderId> {
        let same = |have: &str| have == name || (parent.is_none() && is_inbox(have) && is_inbox(name));
        let mut shelves = self.shelves.values().map(|shelf| &shelf.folder);
        shelves.find(|folder| folder.parent == parent && same(&folder.name)).map(|folder| folder.id)
    }

    fn has_role(&self, role: Option<Role>, except: Option<FolderId>) -> bool {
        role.is_some_and(|role| {
            self.shelves.values().any(|shelf| shelf.folder.role == Some(role) && Some(shelf.folder.id) != except)
        })
    }

    pub(super) fn create(
        &mut self,
        parent: Option<FolderId>,
        name: &str,
        role: Option<Role>,
    ) -> Result<OpOutcome, OpError> {
        legal(name)?;
        if parent.is_some_and(|parent| !self.shelves.contains_key(&parent)) {
            return Err(OpError::NotFound);
        }
        let name_only = match self.named(parent, name) {
            Some(id) if self.shelf(id).is_ok() => return Err(OpError::Exists),
            other => other,
        };
        // Only provisioning makes an inbox.
        if role == Some(Role::Inbox) && self.has_role(role, None) {
            return Err(OpError::Inbox);
        }
        if self.has_role(role, None) {
            return Err(OpError::RoleTaken);
        }
        if self.limits.folders.is_some_and(|limit| self.usage().folders >= limit) {
            return Err(OpError::OverQuota);
        }
        self.numbers.room_for(1)?;
        let uid_validity = self.numbers.next_uid_validity()?;
        let id = match name_only {
            Some(id) => id,
            None => self.numbers.next_folder()?,
        };
        let change = self.numbers.next_change()?;
        match self.shelves.get_mut(&id) {
            Some(shelf) => Arc::make_mut(shelf).make_selectable(role, uid_validity, change),
            None => {
                let shelf = Shelf::new(id, parent, name.to_owned(), role, uid_validity, change);
                self.shelves.insert(id, Arc::new(shelf));
            }
        }
        // RFC 4314 gives no rule for a new folder's list: it is its parent's, as people expect of a shared tree.
        if let Some(acl) = parent.and_then(|parent| self.acls.get(&parent)).cloned() {
            self.set_acl(id, acl);
        }
        Ok(OpOutcome::Folder(self.shelf(id)?.folder.clone()))
    }

    fn rename(&mut self, id: FolderId, parent: Option<FolderId>, name: &str) -> Result<OpOutcome, OpError> {
        let shelf = self.shelves.get(&id).ok_or(OpError::NotFound)?;
        if shelf.folder.role == Some(Role::Inbox) {
            return Err(OpError::Inbox);
        }
        legal(name)?;
        let mut above = parent;
        while let Some(at) = above {
            if at == id {
                return Err(OpError::Cycle);
            }
            above = self.shelves.get(&at).ok_or(OpError::NotFound)?.folder.parent;
        }
        if self.named(parent, name).is_some() {
            return Err(OpError::Exists);
        }
        let change = self.numbers.next_change()?;
        let shelf = Arc::make_mut(self.shelves.get_mut(&id).ok_or(OpError::NotFound)?);
        shelf.folder.parent = parent;
        shelf.folder.name = name.to_owned();
        shelf.folder.change = change;
        shelf.renamed = Some(change);
        Ok(OpOutcome::Folder(shelf.folder.clone()))
    }

    fn delete(&mut self, id: FolderId, now: Timestamp) -> Result<OpOutcome, OpError> {
        let shelf = self.shelves.get(&id).ok_or(OpError::NotFound)?;
        let (role, selectable, created) = (shelf.folder.role, shelf.folder.selectable, shelf.folder.created);
        if role == Some(Role::Inbox) {
            return Err(OpError::Inbox);
        }
        let has_children = self.shelves.values().any(|shelf| shelf.folder.parent == Some(id));
        if has_children && !selectable {
            return Err(OpError::HasChildren);
        }
        let change = self.numbers.next_change()?;
        let emails = match self.shelves.get_mut(&id) {
            Some(shelf) => Arc::make_mut(shelf).leave_name(change),
            None => Vec::new(),
        };
        self.acls.remove(&id);
        self.annotations.remove(&id);
        if !has_children {
            self.shelves.remove(&id);
            self.removed.insert(change, (id, created, now));
        }
        emails.into_iter().for_each(|email| self.release(email, now));
        Ok(OpOutcome::Done)
    }

    fn set_role(&mut self, id: FolderId, role: Option<Role>) -> Result<OpOutcome, OpError> {
        let shelf = self.shelf(id)?;
        let now = shelf.folder.role;
        if now == Some(Role::Inbox) || role == Some(Role::Inbox) {
            return Err(OpError::Inbox);
        }
        if self.has_role(role, Some(id)) {
            return Err(OpError::RoleTaken);
        }
        if now != role {
            let change = self.numbers.next_change()?;
            let shelf = self.shelf_mut(id)?;
            shelf.folder.role = role;
            shelf.folder.change = change;
            shelf.attributed = Some(change);
        }
        Ok(OpOutcome::Folder(self.shelf(id)?.folder.clone()))
    }

    fn subscribe(&mut self, path: &[String], subscribed: bool) -> Result<OpOutcome, OpError> {
        if path.is_empty() {
            return Err(OpError::IllegalName);
        }
        path.iter().try_for_each(|name| legal(name))?;
        let mut path = path.to_vec();
        if let Some(first) = path.first_mut().filter(|first| is_inbox(first)) {
            *first = "INBOX".to_owned();
        }
        if self.subscriptions.contains(&path) == subscribed {
            return Ok(OpOutcome::Done);
        }
        let change = self.numbers.next_change()?;
        let folder = self.folders().by_path(&path).map(|folder| folder.id);
        if let Some(shelf) = folder.and_then(|id| self.shelves.get_mut(&id)) {
            let shelf = Arc::make_mut(shelf);
            shelf.folder.change = change;
            shelf.attributed = Some(change);
        }
        if subscribed {
            self.subscriptions.insert(path);
        } else {
            self.subscriptions.remove(&path);
        }
        Ok(OpOutcome::Done)
    }

    pub(super) fn changes(&self, options: &ChangesOptions) -> Result<ChangePage, ReadError> {
        let since = options.since;
        let gap = |floor: ModSeq| Err(ReadError::Gap { floor });
        if since > self.at() {
            return gap(self.at());
        }
        // One more than asked for tells whether there are more.
        let max = options.max.max(1).saturating_add(1);
        let mut records = Vec::new();
        match options.folder {
            None if since < self.floor => return gap(self.floor),
            None => {
                for shelf in self.shelves.values() {
                    records.extend(shelf.own_record(since));
                    records.extend(shelf.records(since, max));
                }
                records.extend(self.removed_after(since));
            }
            Some(id) => match self.shelves.get(&id) {
                Some(shelf) if since < shelf.folder.floor => return gap(shelf.folder.floor),
                Some(shelf) => {
                    records.extend(shelf.own_record(since));
                    records.extend(shelf.records(since, max));
                }
                None => {
                    let gone = self.removed.values().any(|(removed, ..)| *removed == id);
                    if !gone {
                        return Err(ReadError::NotFound);
                    }
                    records.extend(self.removed_after(since).filter(|record| record.folder == id));
                }
            },
        }
        records.sort_by_key(|record| record.change);
        let more = records.len() >= max;
        records.truncate(max - 1);
        let upto = records.last().filter(|_| more).map_or(self.at(), |record| record.change);
        Ok(ChangePage { records, upto, more })
    }

    fn removed_after(&self, since: ModSeq) -> impl Iterator<Item = ChangeRecord> {
        self.removed.iter().filter(move |(change, _)| **change > since).map(|(change, (folder, created, _))| {
            ChangeRecord {
                change: *change,
                created: *created,
                folder: *folder,
                item: None,
                kind: ChangeKind::REMOVED,
                flags: FlagSet::new(),
            }
        })
    }

    pub(super) fn forget_removals(&mut self, now: Timestamp, older_than: Duration) {
        let old = |(_, (.., when)): &(&ModSeq, &(FolderId, ModSeq, Timestamp))| now.since(*when) >= older_than;
        let mut newest = self.removed.iter().filter(old).map(|(change, _)| *change).max();
        self.removed.retain(|change, _| newest.is_none_or(|newest| *change > newest));
        for shelf in self.shelves.values_mut() {
            newest = newest.max(Arc::make_mut(shelf).forget(now, older_than));
        }
        self.floor = self.floor.max(newest.unwrap_or(self.floor));
    }

    /// What a store does with every account after a restore or a lossy failover.
    pub(super) fn jump(&mut self) {
        self.numbers.jump();
        self.floor = self.at();
        self.removed.clear();
        for shelf in self.shelves.values_mut() {
            Arc::make_mut(shelf).jump(self.numbers.at());
        }
    }
}

fn is_inbox(name: &str) -> bool {
    name.eq_ignore_ascii_case("INBOX")
}

fn legal(name: &str) -> Result<(), OpError> {
    let legal = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
    if legal { Ok(()) } else { Err(OpError::IllegalName) }
}

/// The octets of an upload of this store.
pub(super) fn octets(staged: &Staged) -> Result<Bytes, CommitError> {
    match &staged.hold {
        Hold::Inline(octets) => Ok(octets.clone()),
        // This store holds nothing back, so this upload is another store's.
        Hold::Stored(_) => Err(CommitError::BlobGone(staged.blob)),
    }
}
