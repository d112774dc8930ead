//! The full-text index: a database of its own beside the store's, which may be removed at any time and is made again.
//!
//! Texts are kept folded, as their pieces of three characters (FTS5's trigrams): a text that holds the needle holds all
//! its trigrams. What has them all is a candidate, which the search reads and tests; so the answer is that of a search
//! without index, character by character, and not one of words. A needle of one or two characters has no trigram, and
//! is looked for without the index.
//!
//! ```text
//!  account (id, upto)              how far the index has come
//!  place (account, folder, uid, email)   where messages are
//!  text (account and email; subject, header, body)   trigrams only: no text can be read back
//!  cut (account, email)            messages not indexed whole: always candidates
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `search/worker` | follows the accounts' changes, outside of any commit, under a lease |

pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid};
use mailstore_trait::query::{Filter, Pattern, Test};
use mailstore_trait::search::Candidates;
use mailstore_trait::uid_set::UidSet;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::env::{Env, sql};
use crate::fault::{Fault, Result};
use crate::read::Snapshot;
use crate::write::account::unsigned;

/// The index's name inside the store's folder.
const DATABASE: &str = "search.sqlite";

/// "MbxI": marks the file as ours.
const APPLICATION: i32 = 0x4d62_7849;

/// The format this version writes; another one is made again.
const FORMAT: i32 = 1;

/// Trigrams of one needle that are looked for; more narrow no further.
const TRIGRAMS: usize = 24;

/// Texts of one filter that are looked for; the others are tested without the index.
const NEEDLES: usize = 16;

/// Bits of an email's number in a row of the index; those above are the account's.
const EMAIL_BITS: u32 = 40;

const TABLES: &str = "
CREATE TABLE store (id BLOB NOT NULL) STRICT;
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL
) STRICT;
CREATE TABLE place (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    email INTEGER NOT NULL,
    PRIMARY KEY (account, folder, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX place_email ON place (account, email, folder);
CREATE TABLE cut (
    account INTEGER NOT NULL,
    email INTEGER NOT NULL,
    PRIMARY KEY (account, email)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE text USING fts5 (
    subject, header, body,
    content = '', contentless_delete = 1, detail = 'column', tokenize = 'trigram case_sensitive 1'
);
";

/// Where the index of the store with this database lies.
pub(crate) fn path(database: &Path) -> PathBuf {
    database.with_file_name(DATABASE)
}

/// Opens the index for writing; one that can't be read is made again.
pub(crate) fn open_writer(env: &Env) -> Result<Connection> {
    let path = path(&env.database);
    match try_open(&path, env).and_then(|connection| recognised(connection, env)) {
        Ok(Some(connection)) => return Ok(connection),
        Ok(None) | Err(Fault::Corrupt(_)) => {}
        Err(other) => return Err(other),
    }
    tracing::info!("the search index is made anew");
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Fault::unavailable(error)),
            _ => {}
        }
    }
    let mut connection = try_open(&path, env)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO store (id) VALUES (?1)", [&env.ids.store()[..]])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    Ok(connection)
}

fn try_open(path: &Path, env: &Env) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(env.config.busy_timeout)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What a power cut takes is indexed again.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    connection.pragma_update_and_check(None, "journal_size_limit", 16 * 1024 * 1024, |_| Ok(()))?;
    Ok(connection)
}

/// The connection, when it is to the index of this store.
fn recognised(connection: Connection, env: &Env) -> Result<Option<Connection>> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (application, version) != (APPLICATION, FORMAT) {
        return Ok(None);
    }
    let store: Option<Vec<u8>> = connection.query_row("SELECT id FROM store", [], |row| row.get(0)).optional()?;
    Ok((store.as_deref() == Some(&env.ids.store()[..])).then_some(connection))
}

/// Opens the index for reading; `None` when there is none that is ours.
fn open_reader(env: &Env) -> Result<Option<Connection>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(connection) = Connection::open_with_flags(path(&env.database), flags) else { return Ok(None) };
    // The index is a help: whoever waits for it long is better off without.
    connection.busy_timeout(Duration::from_millis(100))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -2 * 1024)?;
    recognised(connection, env)
}

/// What the index says of a filter. Without an index, and with one that does not answer, `None`.
pub(crate) fn candidates(
    snapshot: &Snapshot<'_>,
    account: AccountId,
    folder: FolderId,
    filter: &Filter,
) -> Result<Option<Candidates>> {
    // The index first: what it does not know lies behind it in the store's own, later snapshot.
    let mut index = snapshot.index.borrow_mut();
    if index.is_none() && snapshot.env.config.search_index {
        *index = open_reader(snapshot.env).unwrap_or_default();
    }
    let known = match index.as_ref().map(|connection| look(connection, account, folder, filter)) {
        Some(Ok(known)) => known,
        Some(Err(fault)) => {
            tracing::warn!(?fault, "the search index does not answer");
            *index = None;
            None
        }
        None => None,
    };
    snapshot.account(account)?;
    if !snapshot.folder(account, folder)?.selectable {
        return Err(Fault::NotFound);
    }
    let Some((indexed_upto, indexed)) = known else { return Ok(None) };
    let mut statement = snapshot.connection.prepare_cached(
        "SELECT uid FROM item INDEXED BY item_change
         WHERE account = ?1 AND folder = ?2 AND change > ?3 AND created > ?3",
    )?;
    let key = params![sql(account.value()), sql(folder.value()), sql(indexed_upto.value())];
    let tail = statement.query_map(key, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Candidates { indexed, tail: set(tail), indexed_upto }))
}

/// How far the index has come, and what it names; `None` when it has not begun or can't tell.
fn look(
    connection: &Connection,
    account: AccountId,
    folder: FolderId,
    filter: &Filter,
) -> Result<Option<(ModSeq, UidSet)>> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let looked = look_within(connection, account, folder, filter);
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    looked
}

fn look_within(
    connection: &Connection,
    account: AccountId,
    folder: FolderId,
    filter: &Filter,
) -> Result<Option<(ModSeq, UidSet)>> {
    let upto: Option<i64> = connection
        .prepare_cached("SELECT upto FROM account WHERE id = ?1")?
        .query_row([sql(account.value())], |row| row.get(0))
        .optional()?;
    let Some(upto) = upto.and_then(|upto| ModSeq::new(unsigned(upto))) else { return Ok(None) };
    let mut cut = None;
    let mut left = NEEDLES;
    let mut fault = None;
    let bounds = filter.bounds_with(|test| {
        let query = matching(test)?;
        left = left.checked_sub(1)?;
        let found = match &cut {
            None => uncut(connection, account, folder).map(|found: UidSet| cut.insert(found).clone()),
            Some(found) => Ok(found.clone()),
        };
        let found = found.and_then(|mut found| {
            named(connection, account, folder, &query)?.ranges().for_each(|range| found.insert_range(range));
            Ok(found)
        });
        found.map_err(|error| fault = Some(error)).ok()
    });
    match fault {
        Some(fault) => Err(fault),
        None if bounds == UidSet::all() => Ok(None),
        None => Ok(Some((upto, bounds))),
    }
}

/// Messages of the folder that are candidates in any case.
fn uncut(connection: &Connection, account: AccountId, folder: FolderId) -> Result<UidSet> {
    let mut statement = connection.prepare_cached(
        "SELECT place.uid FROM cut JOIN place ON place.account = cut.account AND place.email = cut.email
         WHERE cut.account = ?1 AND place.folder = ?2",
    )?;
    let uids = statement.query_map([sql(account.value()), sql(folder.value())], |row| row.get(0))?;
    Ok(set(uids.collect::<rusqlite::Result<_>>()?))
}

/// Messages of the folder whose texts answer a query of the index.
fn named(connection: &Connection, account: AccountId, folder: FolderId, query: &str) -> Result<UidSet> {
    let Some((first, last)) = rows_of(account) else { return Ok(UidSet::all()) };
    let mut statement = connection.prepare_cached(
        "SELECT place.uid FROM text CROSS JOIN place
            ON place.account = ?1 AND place.email = text.rowid - ?2 AND place.folder = ?3
         WHERE text MATCH ?4 AND text.rowid BETWEEN ?2 AND ?5",
    )?;
    let key = params![sql(account.value()), first, sql(folder.value()), query, last];
    let uids = statement.query_map(key, |row| row.get(0))?;
    Ok(set(uids.collect::<rusqlite::Result<_>>()?))
}

/// The first and the last row an account can have; `None` for one whose number is too large to be indexed.
fn rows_of(account: AccountId) -> Option<(i64, i64)> {
    let account = i64::try_from(account.value()).ok().filter(|account| *account < 1 << (62 - EMAIL_BITS))?;
    let first = account << EMAIL_BITS;
    Some((first, first | ((1 << EMAIL_BITS) - 1)))
}

fn set(mut uids: Vec<u32>) -> UidSet {
    uids.sort_unstable();
    uids.into_iter().filter_map(Uid::new).collect()
}

/// The query that names every message a test can be answered yes for; `None` when there is none.
fn matching(test: &Test) -> Option<String> {
    let (columns, pattern) = match test {
        Test::Header(name, pattern) if name.is(b"Subject") => ("subject", pattern),
        Test::Header(_, pattern) => ("header", pattern),
        Test::Body(pattern) => ("body", pattern),
        Test::Text(pattern) => ("header body", pattern),
        _ => return None,
    };
    let trigrams = trigrams(pattern);
    if trigrams.is_empty() {
        return None;
    }
    let words: Vec<String> = trigrams.iter().map(|trigram| format!("\"{}\"", trigram.replace('"', "\"\""))).collect();
    Some(format!("{{{columns}}} : ({})", words.join(" AND ")))
}

/// The pieces of three characters, evenly spread where there are many.
fn trigrams(pattern: &Pattern) -> Vec<String> {
    let chars: Vec<char> = pattern.folded().chars().collect();
    let mut trigrams: Vec<String> = chars
        .windows(3)
        // NUL ends a text for SQLite: there is none in the index.
        .filter(|window| !window.contains(&'\0'))
        .map(|window| window.iter().collect())
        .collect();
    let step = trigrams.len().div_ceil(TRIGRAMS).max(1);
    let mut at = 0;
    trigrams.retain(|_| {
        at += 1;
        (at - 1) % step == 0
    });
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_become_trigrams() {
        let of = |text: &str| trigrams(&Pattern::new(text));
        assert_eq!(of("Hello"), ["ell", "hel", "llo"]);
        assert_eq!(of("ab"), [""; 0]);
        assert_eq!(of("a\0bcd"), ["bcd"]);
        assert_eq!(of("\u{65e5}\u{672c}\u{8a9e}"), ["\u{65e5}\u{672c}\u{8a9e}"]);
        assert_eq!(of("aaaaaa"), ["aaa"]);
        let long: String = (0..200).filter_map(|n| char::from_u32(0x4e00 + n)).collect();
        assert!(of(&long).len() <= TRIGRAMS);
    }

    #[test]
    fn queries_name_columns_and_quote() {
        assert_eq!(matching(&Test::text("a\"b")).unwrap(), "{header body} : (\"a\"\"b\")");
        assert_eq!(
            matching(&Test::header("SUBJECT", "x AND")).unwrap(),
            "{subject} : (\" an\" AND \"and\" AND \"x a\")"
        );
        assert_eq!(matching(&Test::header("X-A", "1")), None);
        assert_eq!(matching(&Test::All), None);
    }

    #[test]
    fn rows_of_accounts_are_apart() {
        let rows = |account| rows_of(AccountId::new(account).unwrap());
        assert!(rows(1).unwrap().1 < rows(2).unwrap().0);
        assert_eq!(rows(u64::from(u32::MAX)), None);
    }
}
