//! What a batch did, as few statements: one for each table and kind of change, whatever the number of rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mailstore_trait::batch::Batch;
use mailstore_trait::date::Timestamp;
use mailstore_trait::id::{AccountId, FolderId};

use super::account::{Account, Held, Listed};
use super::content::NewBlob;
use super::queue::Queue;
use crate::call::{Call, Value, call, id_octets, sql};
use crate::rows::{FolderRow, ItemRow, keyword_column, role_number};

/// Columns of rows to be written, filled row by row.
struct Columns {
    columns: Vec<Column>,
}

enum Column {
    Ints(Vec<i64>),
    OptionInts(Vec<Option<i64>>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    Octets(Vec<Bytes>),
}

enum Cell {
    Int(i64),
    OptionInt(Option<i64>),
    Bool(bool),
    Text(String),
    Octets(Bytes),
}

macro_rules! cell {
    ($($kind:ty => $cell:ident),* $(,)?) => {
        $(impl From<$kind> for Cell {
            fn from(value: $kind) -> Cell {
                Cell::$cell(value)
            }
        })*
    };
}
cell!(i64 => Int, Option<i64> => OptionInt, bool => Bool, String => Text, Bytes => Octets);

impl From<u64> for Cell {
    fn from(value: u64) -> Cell {
        Cell::Int(sql(value))
    }
}

impl From<&[u8; 16]> for Cell {
    fn from(id: &[u8; 16]) -> Cell {
        Cell::Octets(id_octets(id))
    }
}

macro_rules! row {
    ($columns:expr; $($cell:expr),* $(,)?) => {
        $columns.push([$(Cell::from($cell)),*])
    };
}

impl Columns {
    fn new() -> Columns {
        Columns { columns: Vec::new() }
    }

    /// Adds a row. All rows have the same kinds of cells.
    fn push<const N: usize>(&mut self, row: [Cell; N]) {
        if self.columns.is_empty() {
            self.columns = row
                .iter()
                .map(|cell| match cell {
                    Cell::Int(_) => Column::Ints(Vec::new()),
                    Cell::OptionInt(_) => Column::OptionInts(Vec::new()),
                    Cell::Bool(_) => Column::Bools(Vec::new()),
                    Cell::Text(_) => Column::Texts(Vec::new()),
                    Cell::Octets(_) => Column::Octets(Vec::new()),
                })
                .collect();
        }
        for (column, cell) in self.columns.iter_mut().zip(row) {
            match (column, cell) {
                (Column::Ints(column), Cell::Int(value)) => column.push(value),
                (Column::OptionInts(column), Cell::OptionInt(value)) => column.push(value),
                (Column::Bools(column), Cell::Bool(value)) => column.push(value),
                (Column::Texts(column), Cell::Text(value)) => column.push(value),
                (Column::Octets(column), Cell::Octets(value)) => column.push(value),
                // The macro gives every row of a statement the same kinds; a short column fails in the database.
                _ => debug_assert!(false, "rows of different kinds"),
            }
        }
    }

    /// Adds the statement, when there are rows.
    fn call(self, statement: &'static str, calls: &mut Vec<Call>) {
        if self.columns.is_empty() {
            return;
        }
        let values = self.columns.into_iter().map(|column| match column {
            Column::Ints(values) => Value::Ints(values),
            Column::OptionInts(values) => Value::OptionInts(values),
            Column::Bools(values) => Value::Bools(values),
            Column::Texts(values) => Value::Texts(values),
            Column::Octets(values) => Value::OctetsList(values),
        });
        calls.push(Call { statement, values: values.collect() });
    }
}

type Accounts<'a> = BTreeMap<AccountId, &'a Account>;

/// Everything the batch changed.
pub(crate) fn calls(
    batch: &Batch,
    now: Timestamp,
    accounts: &BTreeMap<AccountId, Account>,
    queue: &Queue,
    claimed: bool,
    result: Vec<u8>,
) -> Vec<Call> {
    let mut calls = Vec::new();
    blobs(accounts.values().flat_map(|account| &account.new_blobs).chain(&queue.new_blobs), &mut calls);
    let accounts = &accounts.iter().map(|(id, account)| (*id, account)).collect();
    emails(accounts, now, &mut calls);
    items(accounts, &mut calls);
    tombstones(accounts, now, &mut calls);
    words(accounts, &mut calls);
    folders(accounts, &mut calls);
    listed(accounts, &mut calls);
    subscriptions(accounts, &mut calls);
    rows_of_accounts(accounts, &mut calls);
    queue.calls(&mut calls);
    calls.push(if claimed {
        call!("UPDATE mailstore.batch SET at = $2, result = $3 WHERE id = $1", batch.id.0, now.0, result)
    } else {
        call!("INSERT INTO mailstore.batch (id, at, result) VALUES ($1, $2, $3)", batch.id.0, now.0, result)
    });
    calls
}

/// Everything that was changed in one account, outside a batch.
pub(crate) fn account(account: &Account, now: Timestamp, calls: &mut Vec<Call>) {
    let accounts = &BTreeMap::from([(account.row.id, account)]);
    items(accounts, calls);
    tombstones(accounts, now, calls);
    folders(accounts, calls);
    listed(accounts, calls);
    rows_of_accounts(accounts, calls);
}

fn blobs<'a>(blobs: impl Iterator<Item = &'a NewBlob>, calls: &mut Vec<Call>) {
    // By id, so that two batches with the same octets wait for each other and never in a circle.
    let distinct: BTreeMap<_, _> = blobs.map(|blob| (blob.id, &blob.octets)).collect();
    let mut rows = Columns::new();
    for (id, octets) in distinct {
        row!(rows; &id.0, octets.len() as u64, octets.clone());
    }
    rows.call(
        "INSERT INTO mailstore.blob (id, size, octets, piece)
         SELECT *, 0 FROM unnest($1::bytea[], $2::int8[], $3::bytea[]) ON CONFLICT (id) DO NOTHING",
        calls,
    );
}

fn emails(accounts: &Accounts<'_>, now: Timestamp, calls: &mut Vec<Call>) {
    let (mut new, mut moved) = (Columns::new(), Columns::new());
    for (account, state) in accounts {
        let number = account.value();
        let mut made = BTreeSet::new();
        for email in &state.new_emails {
            made.insert(email.id);
            let places = state.places.get(&email.id).copied().unwrap_or(0);
            let dead = (places <= 0).then_some(now.0);
            row!(new; number, &email.id.0, &email.blob.0, email.prefix.clone(), email.size, &email.id.0,
                email.skeleton.clone(), email.summary.clone(), places, dead);
        }
        for (email, places) in state.places.iter().filter(|(email, by)| **by != 0 && !made.contains(email)) {
            row!(moved; number, &email.0, *places, now.0);
        }
    }
    new.call(
        "INSERT INTO mailstore.email (account, id, blob, prefix, size, thread, skeleton, summary, uses, dead_at)
         SELECT * FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::bytea[], $5::int8[], $6::bytea[], $7::bytea[],
            $8::bytea[], $9::int8[], $10::int8[])",
        calls,
    );
    moved.call(
        "UPDATE mailstore.email SET uses = email.uses + n.places,
            dead_at = CASE WHEN email.uses + n.places <= 0 THEN n.now END
         FROM unnest($1::int8[], $2::bytea[], $3::int8[], $4::int8[]) AS n (account, id, places, now)
         WHERE email.account = n.account AND email.id = n.id",
        calls,
    );
}

fn items(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    let (mut new, mut changed, mut gone) = (Columns::new(), Columns::new(), Columns::new());
    for (account, state) in accounts {
        let number = account.value();
        for ((shelf, uid), slot) in &state.slots {
            let uid = u64::from(*uid);
            match &slot.row {
                Some(ItemRow { head, flags, .. }) if !slot.found => {
                    row!(new; number, *shelf, uid, head.item.value(), &head.email.0, &head.thread.0,
                        u64::from(flags.system.bits()), keyword_column(flags), u64::from(head.generation),
                        head.created.value(), head.content_change.value(), head.read_change.value(),
                        head.change.value(), head.internal_date.instant.0,
                        i64::from(head.internal_date.offset_minutes), head.save_date.0, head.size);
                }
                Some(ItemRow { head, flags, .. }) if slot.changed => {
                    row!(changed; number, *shelf, uid, u64::from(flags.system.bits()), keyword_column(flags),
                        head.content_change.value(), head.read_change.value(), head.change.value());
                }
                Some(_) => {}
                None => row!(gone; number, *shelf, uid),
            }
        }
    }
    gone.call(
        "DELETE FROM mailstore.item USING unnest($1::int8[], $2::int8[], $3::int8[]) AS n (account, shelf, uid)
         WHERE item.account = n.account AND item.shelf = n.shelf AND item.uid = n.uid",
        calls,
    );
    changed.call(
        "UPDATE mailstore.item SET flags = n.flags, keywords = n.keywords, content_change = n.content_change,
            read_change = n.read_change, change = n.change
         FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::int8[], $7::int8[], $8::int8[])
            AS n (account, shelf, uid, flags, keywords, content_change, read_change, change)
         WHERE item.account = n.account AND item.shelf = n.shelf AND item.uid = n.uid",
        calls,
    );
    new.call(
        "INSERT INTO mailstore.item (account, shelf, uid, item, email, thread, flags, keywords, generation, created,
            content_change, read_change, change, internal_date, zone, saved, size)
         SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::bytea[], $6::bytea[], $7::int8[],
            $8::text[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::int8[], $17::int8[])",
        calls,
    );
}

fn tombstones(accounts: &Accounts<'_>, now: Timestamp, calls: &mut Vec<Call>) {
    let (mut items, mut folders, mut purged) = (Columns::new(), Columns::new(), Columns::new());
    for (account, state) in accounts {
        let number = account.value();
        for gone in &state.gone {
            let uid = u64::from(gone.uid.value());
            row!(items; number, gone.shelf, gone.change, uid, gone.item.value(), gone.created.value(), now.0);
        }
        for (folder, created, change) in &state.folders_gone {
            row!(folders; number, *change, folder.value(), *created, now.0);
        }
        for shelf in &state.purged {
            row!(purged; number, *shelf);
        }
    }
    items.call(
        "INSERT INTO mailstore.gone (account, shelf, change, uid, item, created, at) SELECT * FROM
            unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])",
        calls,
    );
    folders.call(
        "INSERT INTO mailstore.folder_gone (account, change, folder, created, at) SELECT * FROM
            unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])",
        calls,
    );
    purged.call("INSERT INTO mailstore.purge (account, shelf) SELECT * FROM unnest($1::int8[], $2::int8[])", calls);
}

fn words(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    let (mut counted, mut fewer) = (Columns::new(), Columns::new());
    for (account, state) in accounts {
        for ((shelf, folded), (word, by)) in state.words.iter().filter(|(_, (_, by))| *by != 0) {
            row!(counted; account.value(), *shelf, folded.clone(), word.clone(), *by);
            if *by < 0 {
                row!(fewer; account.value(), *shelf, folded.clone());
            }
        }
    }
    counted.call(
        "INSERT INTO mailstore.keyword (account, shelf, folded, word, uses)
         SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], $4::text[], $5::int8[])
         ON CONFLICT (account, shelf, folded) DO UPDATE SET uses = keyword.uses + excluded.uses",
        calls,
    );
    fewer.call(
        "DELETE FROM mailstore.keyword USING unnest($1::int8[], $2::int8[], $3::text[]) AS n (account, shelf, folded)
         WHERE keyword.account = n.account AND keyword.shelf = n.shelf AND keyword.folded = n.folded
            AND keyword.uses <= 0",
        calls,
    );
}

fn folders(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    let (mut new, mut changed, mut gone) = (Columns::new(), Columns::new(), Columns::new());
    for (account, state) in accounts {
        let number = account.value();
        for Held { row, found } in state.folders.values() {
            match found {
                None => folder_row(&mut new, number, row),
                Some(found) if found != row => folder_row(&mut changed, number, row),
                Some(_) => {}
            }
        }
        for (folder, ..) in &state.folders_gone {
            row!(gone; number, folder.value());
        }
    }
    gone.call(
        "DELETE FROM mailstore.folder USING unnest($1::int8[], $2::int8[]) AS n (account, id)
         WHERE folder.account = n.account AND folder.id = n.id",
        calls,
    );
    // `recent` is not the batch's: openings move it on beside the account's lock, and a new shelf begins anew.
    changed.call(
        "UPDATE mailstore.folder SET shelf = n.shelf, parent = n.parent, name = n.name, role = n.role,
            selectable = n.selectable, uid_validity = n.uid_validity, uid_next = n.uid_next, highest = n.highest,
            floor = n.floor, created = n.created, change = n.change, renamed = n.renamed, attributed = n.attributed,
            emptied = n.emptied, members = n.members, messages = n.messages, unseen = n.unseen, deleted = n.deleted,
            octets = n.octets, recent = CASE WHEN folder.shelf = n.shelf THEN folder.recent ELSE 1 END
         FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::int8[], $7::bool[], $8::int8[],
            $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::int8[],
            $17::int8[], $18::int8[], $19::int8[], $20::int8[], $21::int8[])
            AS n (account, id, shelf, parent, name, role, selectable, uid_validity, uid_next, highest, floor, created,
                change, renamed, attributed, emptied, members, messages, unseen, deleted, octets)
         WHERE folder.account = n.account AND folder.id = n.id",
        calls,
    );
    new.call(
        "INSERT INTO mailstore.folder (account, id, shelf, parent, name, role, selectable, uid_validity, uid_next,
            highest, floor, created, change, renamed, attributed, emptied, members, messages, unseen, deleted, octets,
            recent)
         SELECT *, 1 FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::int8[], $7::bool[],
            $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::int8[], $17::int8[], $18::int8[], $19::int8[], $20::int8[], $21::int8[])",
        calls,
    );
}

fn folder_row(columns: &mut Columns, account: u64, row: &FolderRow) {
    let counts = row.counts;
    row!(columns; account, row.id.value(), row.shelf, row.parent.map_or(0, FolderId::value), row.name.clone(),
        role_number(row.role), row.selectable, u64::from(row.uid_validity.value()), u64::from(row.uid_next.value()),
        row.highest, row.floor, row.created, row.change, row.renamed, row.attributed, row.emptied, row.members,
        u64::from(counts.exists), u64::from(counts.unseen), u64::from(counts.deleted), counts.octets);
}

/// In order, for a folder may be made, shared on and deleted in one batch.
fn listed(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    for (account, state) in accounts {
        let account = sql(account.value());
        for listed in &state.listed {
            match *listed {
                Listed::Inherits { parent, folder } => calls.push(call!(
                    "INSERT INTO mailstore.acl (account, folder, grantee, negative, rights)
                     SELECT account, $3, grantee, negative, rights FROM mailstore.acl
                     WHERE account = $1 AND folder = $2",
                    account,
                    sql(parent.value()),
                    sql(folder.value())
                )),
                Listed::Ends { folder } => {
                    let folder = sql(folder.value());
                    calls.push(call!("DELETE FROM mailstore.acl WHERE account = $1 AND folder = $2", account, folder));
                    calls.push(call!(
                        "DELETE FROM mailstore.annotation WHERE account = $1 AND folder = $2",
                        account,
                        folder
                    ));
                }
            }
        }
    }
}

fn subscriptions(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    let (mut new, mut gone) = (Columns::new(), Columns::new());
    for (account, state) in accounts {
        for path in state.subscriptions.difference(&state.found_subscriptions) {
            row!(new; account.value(), path.clone());
        }
        for path in state.found_subscriptions.difference(&state.subscriptions) {
            row!(gone; account.value(), path.clone());
        }
    }
    gone.call(
        "DELETE FROM mailstore.subscription USING unnest($1::int8[], $2::text[]) AS n (account, path)
         WHERE subscription.account = n.account AND subscription.path = n.path",
        calls,
    );
    new.call("INSERT INTO mailstore.subscription (account, path) SELECT * FROM unnest($1::int8[], $2::text[])", calls);
}

fn rows_of_accounts(accounts: &Accounts<'_>, calls: &mut Vec<Call>) {
    let mut changed = Columns::new();
    for state in accounts.values().filter(|state| state.row != state.found) {
        let row = &state.row;
        row!(changed; row.id.value(), row.at, row.next_item, row.next_folder, row.next_shelf, row.uid_validity,
            row.messages, row.octets, row.limits.storage.map(sql), row.floor, row.limits.messages.map(sql),
            row.limits.folders.map(sql));
    }
    changed.call(
        "UPDATE mailstore.account SET at = n.at, next_item = n.next_item, next_folder = n.next_folder,
            next_shelf = n.next_shelf, uid_validity = n.uid_validity, messages = n.messages, octets = n.octets,
            quota = n.quota, floor = n.floor, quota_messages = n.quota_messages, quota_folders = n.quota_folders
         FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
            $9::int8[], $10::int8[], $11::int8[], $12::int8[])
            AS n (id, at, next_item, next_folder, next_shelf, uid_validity, messages, octets, quota, floor,
                quota_messages, quota_folders)
         WHERE account.id = n.id",
        calls,
    );
}
