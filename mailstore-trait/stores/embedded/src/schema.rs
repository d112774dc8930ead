//! The tables, the settings of every connection, and the version of the format.
//!
//! What a table is for and why it is clustered as it is: `docs/design.md` of this crate.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::config::Config;
use crate::error::OpenError;

/// The format this version writes.
pub const FORMAT: i32 = 2;

/// "MbxS": marks the file as ours.
const APPLICATION: i32 = 0x4d62_7853;

/// Octets of the write-ahead log that stay on the disk for the next writes.
const LOG_KEPT: i64 = 64 * 1024 * 1024;

/// Statements kept prepared on each connection.
const STATEMENTS: usize = 128;

/// What leads from each format to the next; the first from an empty database.
const STEPS: [&str; 2] = [TABLES, ABILITIES];

/// Format 1.
const TABLES: &str = "
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL,
    secret BLOB NOT NULL,
    next_account INTEGER NOT NULL,
    next_email INTEGER NOT NULL,
    moves INTEGER NOT NULL
) STRICT;
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    next_item INTEGER NOT NULL,
    next_folder INTEGER NOT NULL,
    uid_validity INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    quota INTEGER,
    floor INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE folder (
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    role INTEGER NOT NULL,
    selectable INTEGER NOT NULL,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    created INTEGER NOT NULL,
    change INTEGER NOT NULL,
    named INTEGER NOT NULL,
    attributes INTEGER NOT NULL,
    emptied INTEGER NOT NULL,
    members INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    unseen INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    recent INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX folder_name ON folder (account, parent, name);
CREATE TABLE item (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    item INTEGER NOT NULL,
    email INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    created INTEGER NOT NULL,
    content_change INTEGER NOT NULL,
    read_change INTEGER NOT NULL,
    change INTEGER NOT NULL,
    keywords BLOB,
    internal_date INTEGER NOT NULL,
    zone INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (account, folder, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_change ON item (account, folder, change);
CREATE INDEX item_unseen ON item (account, folder, uid) WHERE (flags & 1) = 0;
CREATE INDEX item_deleted ON item (account, folder, uid) WHERE (flags & 8) = 8;
CREATE TABLE gone (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    change INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    item INTEGER NOT NULL,
    created INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, folder, change)
) STRICT, WITHOUT ROWID;
CREATE TABLE folder_gone (
    account INTEGER NOT NULL,
    change INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    created INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, change)
) STRICT, WITHOUT ROWID;
CREATE TABLE subscription (
    account INTEGER NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (account, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE keyword (
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    word TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keyword_word ON keyword (account, word);
CREATE TABLE keyword_use (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    keyword INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (account, folder, keyword)
) STRICT, WITHOUT ROWID;
CREATE TABLE email (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    size INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    blob BLOB NOT NULL,
    prefix BLOB NOT NULL,
    summary BLOB NOT NULL,
    skeleton BLOB NOT NULL
) STRICT;
CREATE INDEX email_blob ON email (blob, account) WHERE prefix = x'';
CREATE TABLE dead (
    at INTEGER NOT NULL,
    email INTEGER NOT NULL,
    PRIMARY KEY (at, email)
) STRICT, WITHOUT ROWID;
CREATE TABLE purge (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    PRIMARY KEY (account, folder)
) STRICT, WITHOUT ROWID;
CREATE TABLE blob (
    name BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    body INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE body (
    id INTEGER PRIMARY KEY,
    octets BLOB NOT NULL
) STRICT;
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    result BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX batch_id ON batch (id);
CREATE TABLE lease (
    scope TEXT PRIMARY KEY,
    owner BLOB,
    token INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE queue (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    priority INTEGER NOT NULL,
    due INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    token INTEGER NOT NULL,
    size INTEGER NOT NULL,
    entry BLOB NOT NULL,
    blob BLOB NOT NULL,
    trace BLOB NOT NULL
) STRICT;
CREATE INDEX queue_due ON queue (priority, due, id);
CREATE INDEX queue_free ON queue (max(due, leased_until));
CREATE TABLE principal (
    account INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    display_name TEXT
) STRICT;
CREATE TABLE address (
    folded TEXT NOT NULL,
    account INTEGER NOT NULL,
    alias TEXT,
    PRIMARY KEY (folded, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX address_account ON address (account);
CREATE TABLE verifier (
    account INTEGER NOT NULL,
    kind TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (account, kind)
) STRICT, WITHOUT ROWID;
";

/// Format 2: limits beside octets, lists of rights, annotations. A grantee or owner 0 is anyone, an account and folder 0
/// the server.
const ABILITIES: &str = "
ALTER TABLE account ADD COLUMN quota_messages INTEGER;
ALTER TABLE account ADD COLUMN quota_folders INTEGER;
CREATE TABLE acl (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    grantee INTEGER NOT NULL,
    negative INTEGER NOT NULL,
    rights INTEGER NOT NULL,
    PRIMARY KEY (account, folder, grantee, negative)
) STRICT, WITHOUT ROWID;
CREATE INDEX acl_grantee ON acl (grantee, account) WHERE negative = 0;
CREATE TABLE annotation (
    account INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (account, folder, owner, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX annotation_owner ON annotation (owner);
";

/// Opens the database for writing, makes the tables when it is new, and refuses what is not ours.
pub(crate) fn open_writer(path: &Path, config: &Config) -> Result<Connection, OpenError> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&connection, config, config.cache)?;
    // Any number of processes may meet here at once; the lock lets one of them make the tables.
    if marks(&connection)? == (0, 0) {
        // Before anything is changed: it may be somebody else's.
        if has_tables(&connection)? {
            return Err(OpenError::Foreign);
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        create(&mut connection)?;
    }
    migrate(&mut connection)?;
    recognise(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", config.checkpoint_pages)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    // What a burst left of the log is given back.
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_| Ok(()))?;
    if let Some(octets) = config.max_database {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        let pages = i64::try_from(octets / page.max(1)).unwrap_or(i64::MAX).min(0xffff_fffe);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(connection)
}

/// Opens the database for reading only.
pub(crate) fn open_reader(path: &Path, config: &Config) -> Result<Connection, OpenError> {
    let cache = config.cache / config.readers.max(1);
    if !config.read_only {
        // Reading a write-ahead log takes marks beside it, which a connection opened for reading can't make.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        settings(&connection, config, cache)?;
        connection.pragma_update(None, "query_only", true)?;
        return Ok(connection);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let plain = Connection::open_with_flags(path, flags).map_err(OpenError::from).and_then(|connection| {
        settings(&connection, config, cache)?;
        recognise(&connection)?;
        Ok(connection)
    });
    match plain {
        // A disk that takes no writes holds no marks either; without a log nobody can be writing.
        Err(OpenError::Database(_)) if !path.with_extension("sqlite-wal").exists() => {
            let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
            settings(&connection, config, cache)?;
            recognise(&connection)?;
            Ok(connection)
        }
        other => other,
    }
}

fn settings(connection: &Connection, config: &Config, cache: usize) -> Result<(), OpenError> {
    connection.busy_timeout(config.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // One plan for each statement. SQLite is built with statistics here, and would otherwise parse and plan every
    // statement with a range in it again whenever another value is bound: a third of what a page of rows costs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let kibibytes = i64::try_from(cache / 1024).unwrap_or(i64::MAX).max(64);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Rows are checked where they are read; a page that is damaged is told, not followed.
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

fn marks(connection: &Connection) -> Result<(i32, i32), OpenError> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, version))
}

fn recognise(connection: &Connection) -> Result<(), OpenError> {
    match marks(connection)? {
        (APPLICATION, FORMAT) => Ok(()),
        (APPLICATION, found) if found > FORMAT => Err(OpenError::Newer { found, supported: FORMAT }),
        (APPLICATION, found) if found > 0 => Err(OpenError::Older { found, supported: FORMAT }),
        _ => Err(OpenError::Foreign),
    }
}

fn has_tables(connection: &Connection) -> Result<bool, OpenError> {
    // Another process may be making ours at this moment: with its mark, then.
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables > 0 && marks(connection)? == (0, 0))
}

fn create(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if marks(&transaction)? != (0, 0) {
        return Ok(());
    }
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    for random in [&mut id[..], &mut secret[..]] {
        getrandom::fill(random).map_err(|error| OpenError::Random(error.to_string()))?;
    }
    STEPS.iter().try_for_each(|step| transaction.execute_batch(step))?;
    transaction.execute(
        "INSERT INTO store (one, id, secret, next_account, next_email, moves) VALUES (1, ?1, ?2, 1, 1, 0)",
        [&id[..], &secret[..]],
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    Ok(())
}

/// Leads a database of an earlier format to this one, in one transaction: a crash leaves the one or the other.
fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let behind = |marks| matches!(marks, (APPLICATION, found) if found > 0 && found < FORMAT);
    if !behind(marks(connection)?) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let (application, found) = marks(&transaction)?;
    if behind((application, found)) {
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()?;
    Ok(())
}
