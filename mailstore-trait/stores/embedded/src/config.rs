//! Every size and limit of a store, with what it costs to change it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mailstore_trait::date::Timestamp;
use mailstore_trait::password::Argon2Cost;
use mailstore_trait::sasl::ScramVerifier;

/// The time of day, as the store is told it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How to open a [`Store`](crate::Store). `Config::default()` suits a server on one machine.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Our mail domains: an unknown address in one of them is nobody, one elsewhere is another host's.
    ///
    /// The domains of addresses that exist count too.
    pub domains: Vec<String>,
    /// Nothing is written; commits answer `ReadOnly`.
    pub read_only: bool,
    /// Threads that read, each with a connection of its own. A long read holds up one of them.
    pub readers: usize,
    /// Threads that write and sync the files of large messages.
    pub file_workers: usize,
    /// The most batches that share one transaction and so one sync; 1 turns group commit off.
    pub max_batch: usize,
    /// Questions and batches that may wait, each; more are answered `Busy`.
    pub max_waiting: usize,
    /// Messages up to this many octets lie in the database, larger ones in files of their own.
    pub inline_up_to: usize,
    /// The largest message, in octets.
    pub max_message: u64,
    /// Messages that one operation, and operations that one batch, may touch.
    pub max_ops: usize,
    /// Accounts in one batch.
    pub max_accounts: usize,
    /// Folders of an account.
    pub max_folders: u64,
    /// How deep folders may lie in each other.
    pub max_depth: usize,
    /// Different keywords of an account.
    pub max_keywords: u16,
    /// Subscriptions of an account.
    pub max_subscriptions: u64,
    /// How long the results of batches are kept for repetition.
    pub results_kept: Duration,
    /// How long a removed message stays readable.
    pub grace: Duration,
    /// How old a file nobody refers to must be before it is removed.
    pub orphan_grace: Duration,
    /// How long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// How often to look for the commits of other processes.
    pub hint_interval: Duration,
    /// How often to remove what nobody needs any more.
    pub maintenance_interval: Duration,
    /// How often to look for files nobody refers to.
    pub orphan_interval: Duration,
    /// Octets of page cache of the writing connection, and of all the reading ones together.
    pub cache: usize,
    /// Octets of small messages kept in memory, so that reading them again touches neither the database nor the disk;
    /// 0 for none. Small are those of at most [`inline_up_to`](Config::inline_up_to) octets.
    pub content_cache: usize,
    /// Pages the write-ahead log may hold before they move into the database.
    pub checkpoint_pages: u32,
    /// The most octets the database file may grow to; `None` for the disk's own limit.
    pub max_database: Option<u64>,
    /// Folders whose UIDs are kept in memory.
    pub cached_folders: usize,
    /// Whether a full-text index is kept and used. It lies in a file of its own that may be removed at any time; without
    /// it searches find the same, slower.
    pub search_index: bool,
    /// How often to look for messages that are not indexed yet.
    pub index_interval: Duration,
    /// Octets of one message's texts that are indexed; a message with more is read by every search.
    pub index_text: usize,
    /// Octets of texts that are indexed in one transaction.
    pub index_batch: usize,
    /// What checking a new password costs.
    pub argon2: Argon2Cost,
    /// Iterations of new SCRAM records.
    pub scram_iterations: u32,
    /// Passwords checked at once; each takes a processor and the memory of [`argon2`](Config::argon2) for a while.
    pub password_workers: usize,
    /// The clock. Leases, grace periods and dates follow it.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            domains: Vec::new(),
            read_only: false,
            readers: 8,
            file_workers: 4,
            max_batch: 128,
            max_waiting: 10_000,
            inline_up_to: 32 * 1024,
            max_message: 1 << 30,
            max_ops: 100_000,
            max_accounts: 100,
            max_folders: 10_000,
            max_depth: 64,
            max_keywords: 4096,
            max_subscriptions: 20_000,
            results_kept: Duration::from_secs(7 * 24 * 3600),
            grace: Duration::from_secs(600),
            orphan_grace: Duration::from_secs(24 * 3600),
            busy_timeout: Duration::from_secs(30),
            hint_interval: Duration::from_millis(150),
            maintenance_interval: Duration::from_secs(60),
            orphan_interval: Duration::from_secs(24 * 3600),
            cache: 32 * 1024 * 1024,
            content_cache: 64 * 1024 * 1024,
            checkpoint_pages: 4000,
            max_database: None,
            cached_folders: 4096,
            search_index: true,
            index_interval: Duration::from_millis(500),
            index_text: 1024 * 1024,
            index_batch: 4 * 1024 * 1024,
            argon2: Argon2Cost::default(),
            scram_iterations: ScramVerifier::DEFAULT_ITERATIONS,
            password_workers: 2,
            clock: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("domains", &self.domains)
            .field("read_only", &self.read_only)
            .field("max_batch", &self.max_batch)
            .field("inline_up_to", &self.inline_up_to)
            .field("max_message", &self.max_message)
            .finish_non_exhaustive()
    }
}

/// The machine's own clock.
pub(crate) fn system_time() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp(millis)
}
