//! Feeds the index: follows the accounts' changes, a batch of messages in a transaction, outside of the store's commits.
//!
//! One process at a time does it, under a lease; two that did would do the same twice. Whatever is interrupted is done
//! again: how far an account has come is noted last.
//!
//! ```text
//!  count of moves changed ─▶ accounts behind ─▶ lease ─▶ removals, then additions, folder by folder ─▶ upto
//!                                                └─ tombstones gone since: the account is indexed anew
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::AccountId;
use mailstore_trait::leases::LeaseScope;
use mailstore_trait::mime::SkeletonRef;
use mailstore_trait::query::{TextReader, Texts};
use rusqlite::{Connection, OptionalExtension, params};

use super::EMAIL_BITS;
use crate::background::Stop;
use crate::committer::Committer;
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::leases::LeaseTable;
use crate::read::{Reader, Snapshot, content};
use crate::schema;
use crate::write::account::unsigned;

/// How long the right to feed the index is held without being renewed.
const LEASE: Duration = Duration::from_secs(60);

/// Octets of a large message that are read at a time.
const PIECE: usize = 256 * 1024;

/// Feeds the index until the store ends.
pub(crate) fn run(env: &Arc<Env>, committer: &Weak<Committer>, stop: &Stop) {
    let mut worker = Worker { env, stop, index: None, reader: None, moves: None, held_until: None, owner: [0; 16] };
    if let Err(error) = getrandom::fill(&mut worker.owner) {
        tracing::warn!(%error, "no index without randomness");
        return;
    }
    while stop.sleep(env.config.index_interval) {
        let Some(committer) = committer.upgrade() else { return };
        match worker.round(&committer) {
            Ok(()) => {}
            // Another process does it, or nothing can be written: looked at again in the next round.
            Err(Fault::Held | Fault::ReadOnly | Fault::Full | Fault::Busy) => worker.moves = None,
            Err(fault) => {
                tracing::warn!(?fault, "the search index does not come along");
                (worker.index, worker.reader, worker.moves) = (None, None, None);
            }
        }
    }
    // The next process need not wait for the lease to run out.
    if let Some(committer) = committer.upgrade().filter(|_| worker.held_until.is_some()) {
        let _ = LeaseTable { committer: Some(committer) }.give_back(&scope(), worker.owner);
    }
}

fn scope() -> LeaseScope {
    LeaseScope::Worker("search".into())
}

struct Worker<'a> {
    env: &'a Arc<Env>,
    stop: &'a Stop,
    index: Option<Connection>,
    reader: Option<Reader>,
    /// The store's count of moves when everything was indexed.
    moves: Option<i64>,
    held_until: Option<Timestamp>,
    owner: [u8; 16],
}

/// A message of an account that is to be indexed.
struct New {
    folder: i64,
    uid: u32,
    email: i64,
}

/// What became of an account since.
struct Since {
    at: i64,
    /// Everything is to be indexed anew.
    anew: bool,
    removed: Vec<(i64, u32)>,
    folders_gone: Vec<i64>,
    folders: Vec<i64>,
}

impl Worker<'_> {
    fn round(&mut self, committer: &Arc<Committer>) -> Result<()> {
        let (moves, accounts) = self.read(|snapshot| {
            let moves: i64 = snapshot.connection.query_row("SELECT moves FROM store", [], |row| row.get(0))?;
            let mut statement =
                snapshot.connection.prepare_cached("SELECT id, at FROM account WHERE removed = 0 ORDER BY id")?;
            let accounts = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            Ok((moves, accounts.collect::<rusqlite::Result<BTreeMap<i64, i64>>>()?))
        })?;
        if self.moves == Some(moves) {
            return Ok(());
        }
        let known = match &self.index {
            Some(index) => known(index)?,
            None => BTreeMap::new(),
        };
        let behind = accounts.iter().any(|(id, at)| known.get(id) != Some(at));
        if behind || self.index.is_none() || known.keys().any(|id| !accounts.contains_key(id)) {
            self.hold(committer)?;
            if self.index.is_none() {
                self.index = Some(super::open_writer(self.env)?);
            }
            let known = known_of(self.index.as_ref())?;
            for id in known.keys().filter(|id| !accounts.contains_key(*id)) {
                self.change(|index| forget(index, *id))?;
            }
            for (id, at) in &accounts {
                if known.get(id) != Some(at) {
                    self.account(committer, *id, known.get(id).copied())?;
                }
                if self.stop.is_stopped() {
                    return Ok(());
                }
            }
        }
        self.moves = Some(moves);
        Ok(())
    }

    fn read<T>(&mut self, question: impl FnOnce(&Snapshot<'_>) -> Result<T>) -> Result<T> {
        if self.reader.is_none() {
            let connection = schema::open_reader(&self.env.database, &self.env.config).map_err(Fault::unavailable)?;
            self.reader = Some(Reader::new(connection, Arc::clone(self.env)));
        }
        match &mut self.reader {
            Some(reader) => reader.snapshot(question),
            None => Err(Fault::NotFound),
        }
    }

    /// Changes the index in one transaction.
    fn change<T>(&mut self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let index = self.index.as_mut().ok_or(Fault::NotFound)?;
        let transaction = index.transaction()?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    }

    /// Holds the lease for a while longer.
    fn hold(&mut self, committer: &Arc<Committer>) -> Result<()> {
        let soon = self.env.now().plus(LEASE / 2);
        if self.held_until.is_some_and(|until| until > soon) {
            return Ok(());
        }
        self.held_until = None;
        let table = LeaseTable { committer: Some(Arc::clone(committer)) };
        self.held_until = Some(table.hold(&scope(), self.owner, LEASE)?);
        Ok(())
    }

    /// Brings an account's index to where the account is.
    fn account(&mut self, committer: &Arc<Committer>, account: i64, known: Option<i64>) -> Result<()> {
        if !(1..1 << (62 - EMAIL_BITS)).contains(&account) {
            return Ok(());
        }
        let since = match self.read(|snapshot| changed(snapshot, account, known)) {
            Err(Fault::NotFound) => return Ok(()),
            other => other?,
        };
        let known = if since.anew {
            self.change(|index| forget(index, account))?;
            0
        } else {
            self.change(|index| remove(index, account, &since))?;
            known.unwrap_or(0)
        };
        for folder in &since.folders {
            let new = self.read(|snapshot| added(snapshot, account, *folder, known))?;
            let mut new = new.into_iter().peekable();
            while new.peek().is_some() {
                if self.stop.is_stopped() {
                    return Ok(());
                }
                self.hold(committer)?;
                self.batch(account, &mut new)?;
            }
        }
        self.change(|index| {
            index
                .prepare_cached("INSERT OR REPLACE INTO account (id, upto) VALUES (?1, ?2)")?
                .execute([account, since.at])?;
            Ok(())
        })
    }

    /// Indexes messages until the batch is large enough.
    fn batch(&mut self, account: i64, new: &mut impl Iterator<Item = New>) -> Result<()> {
        let most = self.env.config.index_batch;
        let mut index = self.index.take().ok_or(Fault::NotFound)?;
        let done = (|| {
            let transaction = index.transaction()?;
            let mut octets = 0;
            for New { folder, uid, email } in new {
                let fresh = !is_indexed(&transaction, account, email)?;
                transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO place (account, folder, uid, email) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![account, folder, uid, email])?;
                if fresh && email < 1 << EMAIL_BITS {
                    let limit = self.env.config.index_text;
                    let texts = self.read(|snapshot| texts(snapshot, email, limit))?;
                    octets += put(&transaction, account, email, texts.as_ref())?;
                }
                if octets >= most {
                    break;
                }
            }
            Ok(transaction.commit()?)
        })();
        self.index = Some(index);
        done
    }
}

/// How far each account is indexed.
fn known(index: &Connection) -> Result<BTreeMap<i64, i64>> {
    let mut statement = index.prepare_cached("SELECT id, upto FROM account")?;
    let known = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(known.collect::<rusqlite::Result<_>>()?)
}

fn known_of(index: Option<&Connection>) -> Result<BTreeMap<i64, i64>> {
    index.map_or_else(|| Ok(BTreeMap::new()), known)
}

/// What became of an account since it was indexed.
fn changed(snapshot: &Snapshot<'_>, account: i64, known: Option<i64>) -> Result<Since> {
    let connection = snapshot.connection;
    let (at, floor): (i64, i64) = connection
        .prepare_cached("SELECT at, floor FROM account WHERE id = ?1 AND removed = 0")?
        .query_row([account], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(Fault::NotFound)?;
    let folders: Vec<(i64, i64)> = connection
        .prepare_cached("SELECT id, highest FROM folder WHERE account = ?1 AND selectable = 1")?
        .query_map([account], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // Below the floor not every removal is known; an account that went back or jumped is another one.
    let since = known.filter(|known| *known >= floor && *known <= at);
    let Some(since) = since else {
        let folders = folders.into_iter().map(|(id, _)| id).collect();
        return Ok(Since { at, anew: true, removed: Vec::new(), folders_gone: Vec::new(), folders });
    };
    let folders: Vec<i64> = folders.into_iter().filter(|(_, highest)| *highest > since).map(|(id, _)| id).collect();
    let mut removed = Vec::new();
    for folder in &folders {
        let mut statement =
            connection.prepare_cached("SELECT uid FROM gone WHERE account = ?1 AND folder = ?2 AND change > ?3")?;
        let uids = statement.query_map([account, *folder, since], |row| row.get(0))?;
        for uid in uids {
            removed.push((*folder, uid?));
        }
    }
    let folders_gone = connection
        .prepare_cached("SELECT folder FROM folder_gone WHERE account = ?1 AND change > ?2")?
        .query_map([account, since], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Since { at, anew: false, removed, folders_gone, folders })
}

/// Messages put into a folder since.
fn added(snapshot: &Snapshot<'_>, account: i64, folder: i64, since: i64) -> Result<Vec<New>> {
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT uid, email FROM item INDEXED BY item_change
         WHERE account = ?1 AND folder = ?2 AND change > ?3 AND created > ?3",
    )?;
    let new = statement
        .query_map([account, folder, since], |row| Ok(New { folder, uid: row.get(0)?, email: row.get(1)? }))?;
    let mut new = new.collect::<rusqlite::Result<Vec<_>>>()?;
    // As they lie in the database, and as rows of the index ascend.
    new.sort_unstable_by_key(|new| new.email);
    Ok(new)
}

/// What of a message is searched; `None` when it does not read back.
fn texts(snapshot: &Snapshot<'_>, email: i64, limit: usize) -> Result<Option<Texts>> {
    let found = snapshot
        .connection
        .prepare_cached("SELECT account, size, skeleton FROM email WHERE id = ?1")?
        .query_row([email], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?)))
        .optional()?;
    // Removed meanwhile, and collected.
    let Some((account, size, skeleton)) = found else { return Ok(None) };
    let size = unsigned(size);
    let mut reader = TextReader::new(size, limit);
    if let Ok(skeleton) = SkeletonRef::from_bytes(&skeleton) {
        reader = reader.with_skeleton(skeleton);
    }
    match feed(snapshot, account, email, size, &mut reader) {
        Ok(()) => Ok(Some(reader.finish())),
        Err(Fault::Corrupt(what)) => {
            tracing::warn!(%what, "a message that does not read back is not indexed");
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn feed(snapshot: &Snapshot<'_>, account: i64, email: i64, size: u64, reader: &mut TextReader) -> Result<()> {
    let account = AccountId::new(unsigned(account)).ok_or(Fault::NotFound)?;
    let id = snapshot.env.ids.email(email);
    let slice = |octets: &[u8], range: std::ops::Range<u64>, start: u64| {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX).min(octets.len());
        octets.get(at(range.start)..at(range.end)).unwrap_or_default().to_vec()
    };
    if size <= PIECE as u64 {
        let octets = content::whole(snapshot, email, size)?;
        while let Some(wanted) = reader.wants() {
            reader.feed(&slice(&octets, wanted, 0));
        }
        return Ok(());
    }
    let (mut start, mut piece) = (0, bytes::Bytes::new());
    while let Some(wanted) = reader.wants() {
        if piece.is_empty() || wanted.start < start || wanted.start >= start + piece.len() as u64 {
            (start, piece) = (wanted.start, content::piece(snapshot, account, id, wanted.start, PIECE)?);
        }
        reader.feed(&slice(&piece, wanted, start));
    }
    Ok(())
}

fn is_indexed(index: &Connection, account: i64, email: i64) -> Result<bool> {
    let found = index
        .prepare_cached("SELECT 1 FROM place INDEXED BY place_email WHERE account = ?1 AND email = ?2 LIMIT 1")?
        .query_row([account, email], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// Puts a message's texts into the index, and says how many octets they have.
fn put(index: &Connection, account: i64, email: i64, texts: Option<&Texts>) -> Result<usize> {
    if texts.is_none_or(|texts| !texts.whole) {
        index
            .prepare_cached("INSERT OR REPLACE INTO cut (account, email) VALUES (?1, ?2)")?
            .execute([account, email])?;
        return Ok(texts.map_or(0, |texts| texts.body.len()));
    }
    let Some(texts) = texts else { return Ok(0) };
    // NUL would end a text before its end.
    let clean = |text: &str| if text.contains('\0') { text.replace('\0', " ") } else { text.to_owned() };
    let row = (account << EMAIL_BITS) | email;
    index
        .prepare_cached("INSERT OR REPLACE INTO text (rowid, subject, header, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![row, clean(&texts.subject), clean(&texts.header), clean(&texts.body)])?;
    Ok(texts.subject.len() + texts.header.len() + texts.body.len())
}

/// Takes out what was removed.
fn remove(index: &Connection, account: i64, since: &Since) -> Result<()> {
    let mut emails = Vec::new();
    for folder in &since.folders_gone {
        let mut statement =
            index.prepare_cached("DELETE FROM place WHERE account = ?1 AND folder = ?2 RETURNING email")?;
        for email in statement.query_map([account, *folder], |row| row.get::<_, i64>(0))? {
            emails.push(email?);
        }
    }
    for (folder, uid) in &since.removed {
        let email: Option<i64> = index
            .prepare_cached("DELETE FROM place WHERE account = ?1 AND folder = ?2 AND uid = ?3 RETURNING email")?
            .query_row(params![account, folder, uid], |row| row.get(0))
            .optional()?;
        emails.extend(email);
    }
    for email in emails {
        if !is_indexed(index, account, email)? {
            index.prepare_cached("DELETE FROM text WHERE rowid = ?1")?.execute([(account << EMAIL_BITS) | email])?;
            index.prepare_cached("DELETE FROM cut WHERE account = ?1 AND email = ?2")?.execute([account, email])?;
        }
    }
    Ok(())
}

/// Takes out everything of an account.
fn forget(index: &Connection, account: i64) -> Result<()> {
    index.execute(
        "DELETE FROM text WHERE rowid IN
            (SELECT DISTINCT (?1 << ?2) | email FROM place INDEXED BY place_email WHERE account = ?1)",
        params![account, EMAIL_BITS],
    )?;
    for table in ["place", "cut"] {
        index.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [account])?;
    }
    index.execute("DELETE FROM account WHERE id = ?1", [account])?;
    Ok(())
}
