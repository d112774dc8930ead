//! What a batch needs to know before it is worked out: asked in one flight, behind the locks.
//!
//! The statements of a flight run in order and each sees what was committed before it began, so everything after the
//! account's lock is newest and stays so. Lock order: leases, accounts, queue entries, blobs, each by id.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mailstore_trait::batch::{Batch, Content, Hold, Op, Staged};
use mailstore_trait::date::Timestamp;
use mailstore_trait::flags::{FlagChange, FlagSet};
use mailstore_trait::id::{AccountId, BlobId, EmailId, FolderId, ThreadId};
use mailstore_trait::queue::QueueOp;
use mailstore_trait::uid_set::UidSet;
use tokio_postgres::Row;

use super::account::{ACCOUNT_COLUMNS, Account, AccountRow, Known, bounds};
use super::queue::{self, Queue};
use crate::call::{Call, call, id_octets, millis, sql};
use crate::env::{Env, NOW, now};
use crate::fault::{Fault, Result};
use crate::leases::scope_key;
use crate::link::Tx;
use crate::rows::{FOLDER_COLUMNS, FolderRow, ITEM_COLUMNS, ItemRow, fixed, get, number};

/// What the operations of a batch name.
#[derive(Default)]
struct Needs<'b> {
    accounts: BTreeSet<AccountId>,
    folders: BTreeSet<(AccountId, FolderId)>,
    /// Accounts of which all folders are needed.
    trees: BTreeSet<AccountId>,
    /// Accounts whose subscriptions are needed.
    subscribers: BTreeSet<AccountId>,
    /// Accounts that may get new keywords.
    wordy: BTreeSet<AccountId>,
    items: BTreeMap<(AccountId, FolderId), UidSet>,
    deleted: BTreeMap<(AccountId, FolderId), UidSet>,
    emails: BTreeSet<EmailId>,
    staged: Vec<&'b Staged>,
    queue: BTreeSet<mailstore_trait::id::QueueId>,
}

impl<'b> Needs<'b> {
    fn of(batch: &'b Batch) -> Needs<'b> {
        let mut needs = Needs::default();
        for (account, op) in batch.accounts.iter().flat_map(|ops| ops.ops.iter().map(|op| (ops.account, op))) {
            needs.op(account, op);
        }
        needs.accounts.extend(batch.accounts.iter().map(|ops| ops.account));
        for op in &batch.queue {
            needs.queue.insert(queue::entry_of(op));
            if let QueueOp::Append { content, .. } = op {
                needs.staged.push(content);
            }
        }
        needs
    }

    fn op(&mut self, account: AccountId, op: &'b Op) {
        match op {
            Op::Add(add) => {
                self.folders.insert((account, add.folder));
                self.words(account, &add.flags);
                match &add.content {
                    Content::Staged(staged) | Content::Prefixed(_, staged) => self.staged.push(staged),
                    Content::Email(email) => {
                        self.emails.insert(*email);
                    }
                }
            }
            Op::Copy { from, uids, to } | Op::Move { from, uids, to } => {
                self.folders.insert((account, *to));
                self.items(account, *from, uids, false);
            }
            Op::MoveAll { from, to } => {
                self.folders.insert((account, *to));
                self.items(account, *from, &UidSet::all(), false);
            }
            Op::Remove { folder, uids, only_deleted } => self.items(account, *folder, uids, *only_deleted),
            Op::SetFlags { folder, uids, change, .. } => {
                self.items(account, *folder, uids, false);
                if let FlagChange::Add(set) | FlagChange::Replace(set) = change {
                    self.words(account, set);
                }
            }
            Op::AssertFolder { folder, .. } => {
                self.folders.insert((account, *folder));
            }
            Op::Subscribe { .. } => {
                self.subscribers.insert(account);
                self.trees.insert(account);
            }
            // Those about folders; of others it is better to know too much.
            _ => {
                self.trees.insert(account);
            }
        }
    }

    fn words(&mut self, account: AccountId, set: &FlagSet) {
        if !set.keywords().is_empty() {
            self.wordy.insert(account);
        }
    }

    fn items(&mut self, account: AccountId, folder: FolderId, uids: &UidSet, only_deleted: bool) {
        self.folders.insert((account, folder));
        let sets = if only_deleted { &mut self.deleted } else { &mut self.items };
        let set = sets.entry((account, folder)).or_default();
        uids.ranges().for_each(|range| set.insert_range(range));
    }
}

/// What there is when the work begins.
pub(crate) struct Gathered {
    pub(crate) now: Timestamp,
    /// The result of the batch, when it was done before.
    pub(crate) replay: Option<Bytes>,
    /// The highest token given for the fence's lease.
    pub(crate) token: Option<u64>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) queue: Queue,
    /// Whether there is a row for the batch's record already.
    pub(crate) claimed: bool,
}

const ACCOUNTS: &str = concat!(
    "SELECT ",
    ACCOUNT_COLUMNS!(),
    " FROM mailstore.account WHERE id = ANY($1) AND NOT removed ORDER BY id FOR UPDATE"
);
const FOLDERS: &str = concat!(
    "SELECT ",
    FOLDER_COLUMNS!(),
    " FROM mailstore.folder JOIN unnest($1::int8[], $2::int8[]) AS n (account, id)
        ON folder.account = n.account AND folder.id = n.id"
);
const TREES: &str = concat!("SELECT ", FOLDER_COLUMNS!(), " FROM mailstore.folder WHERE account = ANY($1)");

macro_rules! items {
    ($more:literal) => {
        concat!(
            "SELECT ",
            ITEM_COLUMNS!(),
            ", item.account FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[]) AS n (account, folder, first, last)
             JOIN mailstore.folder ON folder.account = n.account AND folder.id = n.folder
             JOIN mailstore.item ON item.account = folder.account AND item.shelf = folder.shelf
                AND item.uid BETWEEN n.first AND n.last",
            $more,
            " LIMIT $5"
        )
    };
}
const ITEMS: &str = items!("");
const DELETED: &str = items!(" AND item.flags & 8 = 8");

macro_rules! emails {
    ($which:literal) => {
        concat!(
            "SELECT account, id, blob, size, thread, octet_length(prefix) = 0 FROM mailstore.email
             WHERE account = ANY($1) AND ",
            $which,
            " AND (dead_at IS NULL OR dead_at > ",
            now!("$3"),
            " - $4)"
        )
    };
}
const EMAILS: &str = emails!("id = ANY($2)");
const BLOB_EMAILS: &str = emails!("blob = ANY($2) AND octet_length(prefix) = 0");

type Sets = BTreeMap<(AccountId, FolderId), UidSet>;

fn items_call(statement: &'static str, sets: &Sets, limit: usize) -> Call {
    let (mut accounts, mut folders, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((account, folder), uids) in sets {
        let (first, last) = bounds(uids);
        accounts.extend(first.iter().map(|_| sql(account.value())));
        folders.extend(first.iter().map(|_| sql(folder.value())));
        firsts.extend(first);
        lasts.extend(last);
    }
    call!(statement, accounts, folders, firsts, lasts, sql(limit as u64 + 1))
}

fn numbers(accounts: &BTreeSet<AccountId>) -> Vec<i64> {
    accounts.iter().map(|account| sql(account.value())).collect()
}

/// Locks what the batch is about and reads what it needs.
pub(crate) async fn gather(env: &Env, tx: &mut Tx<'_>, batch: &Batch) -> Result<Gathered> {
    let needs = Needs::of(batch);
    let given = env.given_now();
    let claim = needs.accounts.is_empty();
    let all = numbers(&needs.accounts);
    let max = env.config.max_ops;
    let stored: BTreeSet<BlobId> = needs.staged.iter().filter(|it| is_stored(it)).map(|it| it.blob).collect();
    let emails: Vec<Bytes> = needs.emails.iter().map(|id| id_octets(&id.0)).collect();
    let blobs: BTreeSet<BlobId> = needs.staged.iter().map(|staged| staged.blob).collect();
    let id_list = |ids: &BTreeSet<BlobId>| ids.iter().map(|id| id_octets(&id.0)).collect::<Vec<_>>();
    let grace = millis(env.config.grace);

    let mut flight = Pick::default();
    flight.add(Ask::Now, Some(call!(NOW, given)));
    flight.add(
        Ask::Token,
        batch.fence.as_ref().map(|fence| {
            call!("SELECT token FROM mailstore.lease WHERE scope = $1 FOR SHARE", scope_key(&fence.scope))
        }),
    );
    flight.add(Ask::Accounts, (!claim).then(|| call!(ACCOUNTS, all.clone())));
    // Without an account's lock a record of the same batch, begun by an earlier attempt, is what to wait for.
    flight.add(
        Ask::Claim,
        claim.then(|| {
            call!(
                "INSERT INTO mailstore.batch (id, at, result) VALUES ($1, 0, '') ON CONFLICT DO NOTHING RETURNING 1",
                batch.id.0
            )
        }),
    );
    flight.add(Ask::Replay, Some(call!("SELECT result, at FROM mailstore.batch WHERE id = $1 FOR UPDATE", batch.id.0)));
    let named = needs.folders.iter().filter(|(account, _)| !needs.trees.contains(account));
    let (accounts, folders): (Vec<i64>, Vec<i64>) =
        named.map(|(account, folder)| (sql(account.value()), sql(folder.value()))).unzip();
    flight.add(Ask::Folders, (!accounts.is_empty()).then(|| call!(FOLDERS, accounts, folders)));
    flight.add(Ask::Trees, (!needs.trees.is_empty()).then(|| call!(TREES, numbers(&needs.trees))));
    flight.add(Ask::Items, (!needs.items.is_empty()).then(|| items_call(ITEMS, &needs.items, max)));
    flight.add(Ask::Deleted, (!needs.deleted.is_empty()).then(|| items_call(DELETED, &needs.deleted, max)));
    flight.add(Ask::Emails, (!emails.is_empty()).then(|| call!(EMAILS, all.clone(), emails, given, grace)));
    let look = !claim && !blobs.is_empty();
    flight.add(Ask::BlobEmails, look.then(|| call!(BLOB_EMAILS, all.clone(), id_list(&blobs), given, grace)));
    let wordy = !needs.wordy.is_empty();
    flight.add(
        Ask::Words,
        wordy.then(|| {
            call!(
                "SELECT DISTINCT account, folded FROM mailstore.keyword WHERE account = ANY($1)",
                numbers(&needs.wordy)
            )
        }),
    );
    let subscribers = !needs.subscribers.is_empty();
    flight.add(
        Ask::Subscriptions,
        subscribers.then(|| {
            call!(
                "SELECT account, path FROM mailstore.subscription WHERE account = ANY($1)",
                numbers(&needs.subscribers)
            )
        }),
    );
    let entries: Vec<Bytes> = needs.queue.iter().map(|id| id_octets(&id.0)).collect();
    flight.add(Ask::Queue, (!entries.is_empty()).then(|| call!(queue::LOCK, entries)));
    flight.add(
        Ask::Blobs,
        (!stored.is_empty()).then(|| {
            call!("SELECT id FROM mailstore.blob WHERE id = ANY($1) ORDER BY id FOR KEY SHARE", id_list(&stored))
        }),
    );
    let Pick { asks, calls } = flight;
    let answers: BTreeMap<Ask, Vec<Row>> = asks.into_iter().zip(tx.flight(calls).await?).collect();
    let rows = |ask: Ask| answers.get(&ask).map(Vec::as_slice).unwrap_or_default();

    let now: i64 = get(rows(Ask::Now).first().ok_or_else(|| Fault::corrupt("the clock"))?, 0)?;
    let recorded = rows(Ask::Replay).first();
    let claimed = recorded.is_some();
    let replay = match recorded {
        // Our own claim, or a record whose time is over and that nobody cleared away yet, is written over.
        Some(row) if rows(Ask::Claim).is_empty() => {
            let kept = get::<i64>(row, 1)?.saturating_add(millis(env.config.results_kept));
            (kept > now).then(|| get(row, 0).map(Bytes::copy_from_slice)).transpose()?
        }
        _ => None,
    };
    let mut gathered = Gathered {
        now: Timestamp(now),
        replay,
        token: rows(Ask::Token).first().map(|row| number(row, 0)).transpose()?,
        accounts: BTreeMap::new(),
        queue: Queue::found(rows(Ask::Queue))?,
        claimed,
    };
    if gathered.replay.is_some() {
        return Ok(gathered);
    }
    let there = rows(Ask::Blobs).iter().map(|row| fixed(row, 0)).collect::<Result<BTreeSet<_>>>()?;
    if let Some(missing) = stored.iter().find(|blob| !there.contains(&blob.0)) {
        return Err(Fault::BlobGone(*missing));
    }
    for row in rows(Ask::Accounts) {
        let row = AccountRow::read(row)?;
        gathered.accounts.insert(row.id, Account::new(row));
    }
    for row in rows(Ask::Folders).iter().chain(rows(Ask::Trees)) {
        if let Some(account) = gathered.account(row, 0)? {
            account.hold(FolderRow::read(row)?);
        }
    }
    for (ask, sets, only_deleted) in [(Ask::Items, &needs.items, false), (Ask::Deleted, &needs.deleted, true)] {
        gathered.take_in(rows(ask), sets, only_deleted, max)?;
    }
    for row in rows(Ask::Emails).iter().chain(rows(Ask::BlobEmails)) {
        let Some(account) = gathered.account(row, 0)? else { continue };
        let id = EmailId(fixed(row, 1)?);
        account.emails.insert(id, Known { size: number(row, 3)?, thread: ThreadId(fixed(row, 4)?) });
        if get(row, 5)? {
            account.by_blob.insert(BlobId(fixed(row, 2)?), id);
        }
    }
    for row in rows(Ask::Words) {
        if let Some(account) = gathered.account(row, 0)? {
            account.known_words.insert(get(row, 1)?);
        }
    }
    for row in rows(Ask::Subscriptions) {
        if let Some(account) = gathered.account(row, 0)? {
            account.found_subscriptions.insert(get(row, 1)?);
            account.subscriptions = account.found_subscriptions.clone();
        }
    }
    Ok(gathered)
}

fn is_stored(staged: &Staged) -> bool {
    matches!(staged.hold, Hold::Stored(_))
}

impl Gathered {
    fn account(&mut self, row: &Row, column: usize) -> Result<Option<&mut Account>> {
        let id = AccountId::new(number(row, column)?);
        Ok(id.and_then(|id| self.accounts.get_mut(&id)))
    }

    fn take_in(&mut self, rows: &[Row], sets: &Sets, only_deleted: bool, max: usize) -> Result<()> {
        for row in rows {
            if let Some(account) = self.account(row, 16)? {
                account.take_in(ItemRow::read(row)?);
            }
        }
        if rows.len() > max {
            // More than one question brings: each operation asks for its own.
            return Ok(());
        }
        for ((account, folder), uids) in sets {
            let Some(account) = self.accounts.get_mut(account) else { continue };
            if let Ok(shelf) = account.folder(*folder).map(|folder| folder.shelf) {
                account.cover(shelf, uids, only_deleted);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Now,
    Token,
    Accounts,
    Claim,
    Replay,
    Folders,
    Trees,
    Items,
    Deleted,
    Emails,
    BlobEmails,
    Words,
    Subscriptions,
    Queue,
    Blobs,
}

/// The questions of a flight that are wanted.
#[derive(Default)]
struct Pick {
    asks: Vec<Ask>,
    calls: Vec<Call>,
}

impl Pick {
    fn add(&mut self, ask: Ask, call: Option<Call>) {
        if let Some(call) = call {
            self.asks.push(ask);
            self.calls.push(call);
        }
    }
}
