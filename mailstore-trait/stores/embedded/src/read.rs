//! Questions: each is answered from one snapshot, by one of a few threads with a connection of its own.
//!
//! In the write-ahead log readers and the writer never wait for each other, and a snapshot begun after a commit was
//! answered holds that commit.

pub(crate) mod abilities;
pub(crate) mod changes;
pub(crate) mod content;
pub(crate) mod items;
pub(crate) mod queue;
pub(crate) mod view;

use std::cell::RefCell;
use std::sync::Arc;

use mailstore_trait::id::{AccountId, FolderId, ModSeq};
use mailstore_trait::quota::QuotaLimits;
use rusqlite::{Connection, OptionalExtension};

use crate::env::{Env, sql};
use crate::fault::{Fault, Result};
use crate::rows::{FOLDER_COLUMNS, FolderRow};
use crate::write::account::{limits, unsigned};

/// A reading connection.
pub(crate) struct Reader {
    connection: Connection,
    /// The search index, once it was asked for.
    index: RefCell<Option<Connection>>,
    env: Arc<Env>,
}

impl Reader {
    pub(crate) fn new(connection: Connection, env: Arc<Env>) -> Reader {
        Reader { connection, index: RefCell::default(), env }
    }

    /// Answers a question from one snapshot.
    pub(crate) fn snapshot<T>(&mut self, question: impl FnOnce(&Snapshot<'_>) -> Result<T>) -> Result<T> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = question(&Snapshot { connection: &self.connection, index: &self.index, env: &self.env });
        // Nothing was written; what matters is that the snapshot ends.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        answer
    }
}

/// The database at one moment.
pub(crate) struct Snapshot<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) index: &'c RefCell<Option<Connection>>,
    pub(crate) env: &'c Env,
}

/// What every question about an account begins with.
pub(crate) struct AccountHead {
    pub(crate) at: ModSeq,
    pub(crate) floor: ModSeq,
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) limits: QuotaLimits,
}

impl Snapshot<'_> {
    pub(crate) fn account(&self, id: AccountId) -> Result<AccountHead> {
        let corrupt = || Fault::corrupt(format!("account {id}"));
        let (at, floor, messages, octets, limits) = self
            .connection
            .prepare_cached(
                "SELECT at, floor, messages, octets, quota, quota_messages, quota_folders
                 FROM account WHERE id = ?1 AND removed = 0",
            )?
            .query_row([sql(id.value())], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, i64>(3)?,
                    limits(row, [4, 5, 6])?,
                ))
            })
            .optional()?
            .ok_or(Fault::NotFound)?;
        Ok(AccountHead {
            at: ModSeq::new(unsigned(at)).ok_or_else(corrupt)?,
            floor: ModSeq::new(unsigned(floor)).ok_or_else(corrupt)?,
            messages: unsigned(messages),
            octets: unsigned(octets),
            limits,
        })
    }

    pub(crate) fn folder(&self, account: AccountId, id: FolderId) -> Result<FolderRow> {
        self.connection
            .prepare_cached(concat!("SELECT ", FOLDER_COLUMNS!(), " FROM folder WHERE account = ?1 AND id = ?2"))?
            .query_row([sql(account.value()), sql(id.value())], FolderRow::read)
            .optional()?
            .ok_or(Fault::NotFound)
    }

    pub(crate) fn folders(&self, account: AccountId) -> Result<Vec<FolderRow>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            FOLDER_COLUMNS!(),
            " FROM folder WHERE account = ?1 ORDER BY id"
        ))?;
        let rows = statement.query_map([sql(account.value())], FolderRow::read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
