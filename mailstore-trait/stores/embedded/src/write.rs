//! A transaction of the committer, and what it is to cause once it is durable.
//!
//! | module | what it does |
//! |---|---|
//! | [`account`] | an account and its folders while a batch changes them: counters, ids, counts |
//! | [`batch`] | a batch: repetition, fence, modes, the operations in order |
//! | [`items`] | Add, Copy, Move, Remove, SetFlags |
//! | [`folders`] | folders, roles, subscriptions, making an account |
//! | [`content`] | octets: blobs, emails, and their counts of use |
//! | [`queue`] | operations on the queue |
//! | [`record`] | results of batches as octets |
//! | [`abilities`] | limits, lists of rights, annotations |
//! | [`upkeep`] | what is no longer needed |

pub(crate) mod abilities;
pub(crate) mod account;
pub(crate) mod batch;
pub(crate) mod content;
pub(crate) mod folders;
pub(crate) mod items;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod upkeep;

use std::sync::Arc;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::{AccountId, BlobId, ModSeq};
use rusqlite::{CachedStatement, Connection};

use crate::env::{Env, sql};
use crate::fault::{Fault, Result};

/// What happens after the commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Accounts that moved on.
    pub(crate) moved: Vec<(AccountId, ModSeq)>,
    /// Files nobody refers to any more.
    pub(crate) unlink: Vec<BlobId>,
    /// The store's count of moves.
    pub(crate) moves: i64,
}

/// The store's own row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counters {
    next_account: i64,
    next_email: i64,
    moves: i64,
}

/// An open transaction.
pub(crate) struct Tx<'c> {
    connection: &'c Connection,
    pub(crate) env: &'c Arc<Env>,
    pub(crate) now: Timestamp,
    pub(crate) effects: Effects,
    counters: Counters,
    found: Counters,
}

impl<'c> Tx<'c> {
    /// Inside a transaction that has begun.
    pub(crate) fn begin(connection: &'c Connection, env: &'c Arc<Env>) -> Result<Tx<'c>> {
        let counters =
            connection.prepare_cached("SELECT next_account, next_email, moves FROM store")?.query_row([], |row| {
                Ok(Counters { next_account: row.get(0)?, next_email: row.get(1)?, moves: row.get(2)? })
            })?;
        env.found_moves(counters.moves);
        Ok(Tx { connection, env, now: env.now(), effects: Effects::default(), counters, found: counters })
    }

    pub(crate) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// A statement, prepared once.
    pub(crate) fn prepare(&self, statement: &str) -> Result<CachedStatement<'c>> {
        Ok(self.connection.prepare_cached(statement)?)
    }

    pub(crate) fn last_row(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// All of `work` or nothing. Numbers given out stay given out; nobody saw them.
    pub(crate) fn isolated<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (moved, unlink) = (self.effects.moved.len(), self.effects.unlink.len());
        self.prepare("SAVEPOINT work")?.execute([])?;
        let outcome = work(self);
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.effects.moved.truncate(moved);
            self.effects.unlink.truncate(unlink);
            self.prepare("ROLLBACK TO work")?.execute([])?;
        }
        if !self.connection.is_autocommit() {
            self.prepare("RELEASE work")?.execute([])?;
        }
        outcome
    }

    pub(crate) fn next_email(&mut self) -> i64 {
        let number = self.counters.next_email;
        self.counters.next_email = number.saturating_add(1);
        number
    }

    /// An account number that nobody had.
    pub(crate) fn next_account(&mut self) -> Result<AccountId> {
        let number = self.counters.next_account;
        self.counters.next_account = number.saturating_add(1);
        let number = u64::try_from(number).map_err(|_| Fault::corrupt("store row"))?;
        AccountId::new(number).ok_or_else(|| Fault::unavailable("account numbers are used up"))
    }

    /// Keeps a number that came from outside from being given out.
    pub(crate) fn reserve_account(&mut self, account: AccountId) {
        self.counters.next_account = self.counters.next_account.max(sql(account.value()).saturating_add(1));
    }

    /// The account moved on: others are told after the commit.
    pub(crate) fn moved(&mut self, account: AccountId, at: ModSeq) {
        self.counters.moves = self.counters.moves.saturating_add(1);
        self.effects.moved.push((account, at));
    }

    /// Writes the store's own row; the last thing before the commit.
    pub(crate) fn end(mut self) -> Result<Effects> {
        if self.counters != self.found {
            let Counters { next_account, next_email, moves } = self.counters;
            self.prepare("UPDATE store SET next_account = ?1, next_email = ?2, moves = ?3")?.execute([
                next_account,
                next_email,
                moves,
            ])?;
        }
        self.effects.moves = self.counters.moves;
        Ok(self.effects)
    }
}
