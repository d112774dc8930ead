//! Every size and limit of a store, with what it costs to change it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::date::Timestamp;
use mailstore_trait::password::Argon2Cost;
use mailstore_trait::sasl::ScramVerifier;

/// A clock that stands in for the database's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How to open a [`Store`](crate::Store). `Config::default()` suits a server beside its database or behind a pooler.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Our mail domains: an unknown address in one of them is nobody, one elsewhere is another host's.
    ///
    /// The domains of addresses that exist count too.
    pub domains: Vec<String>,
    /// Connections of the pool. A question or a batch holds one while it runs.
    pub connections: usize,
    /// Keep statements prepared on their connection. Saves the database parsing and planning, and must stay `false`
    /// behind a pooler in transaction mode, where the next transaction may meet another server process. With it,
    /// `tokio-postgres` writes parameters, octets of mail among them, into the log at its `debug` level.
    pub prepared_statements: bool,
    /// Listen for the news of other machines on a connection of its own. Without, or while that connection is down,
    /// they are noticed by polling only. A pooler in transaction mode swallows `LISTEN`; that is noticed, and
    /// polling goes on.
    pub listen: bool,
    /// Where to listen, when that is elsewhere: the database itself behind the pooler.
    pub listen_url: Option<String>,
    /// How often to look for the commits of other machines while nobody tells of them.
    pub poll_interval: Duration,
    /// How often to look for them while the database tells of them.
    pub listening_poll_interval: Duration,
    /// How long news gather before other machines are told.
    pub notify_interval: Duration,
    /// Refuse a database whose settings give commits up in a power cut (`fsync`, `synchronous_commit`).
    pub require_durable: bool,
    /// How long to wait for a connection of the pool; then the answer is `Busy`.
    pub pool_timeout: Duration,
    /// How long to wait while connecting.
    pub connect_timeout: Duration,
    /// How long a commit waits for another on the same account; then the answer is `Busy`.
    pub lock_timeout: Duration,
    /// How long the database may take for an answer before the connection counts as lost.
    pub answer_timeout: Duration,
    /// How long the database keeps the locks of a client that fell silent inside a transaction.
    pub idle_timeout: Duration,
    /// How often a transaction is begun anew that lost its connection, a deadlock or a serialization conflict.
    pub retries: u32,
    /// Messages up to this many octets travel with their commit, larger ones in pieces before it.
    pub inline_up_to: usize,
    /// Octets of a piece of a large message; what lies in the database keeps the length it was written with.
    pub piece: usize,
    /// The largest message, in octets.
    pub max_message: u64,
    /// Messages that one operation, and operations that one batch, may touch.
    pub max_ops: usize,
    /// Accounts in one batch.
    pub max_accounts: usize,
    /// Folders of an account.
    pub max_folders: usize,
    /// How deep folders may lie in each other.
    pub max_depth: usize,
    /// Different keywords in use in an account.
    pub max_keywords: usize,
    /// Subscriptions of an account.
    pub max_subscriptions: usize,
    /// How long the results of batches are kept for repetition.
    pub results_kept: Duration,
    /// How long a removed message stays readable.
    pub grace: Duration,
    /// How long an upload may take to be committed; after that its octets may be collected.
    pub orphan_grace: Duration,
    /// How often to remove what nobody needs any more; zero for never (then call [`Store::tidy`](crate::Store::tidy)).
    pub maintenance_interval: Duration,
    /// Folders whose UIDs are kept in memory.
    pub cached_folders: usize,
    /// What checking a new password costs.
    pub argon2: Argon2Cost,
    /// Iterations of new SCRAM records.
    pub scram_iterations: u32,
    /// Passwords checked at once; each takes a processor and the memory of [`argon2`](Config::argon2) for a while.
    pub password_workers: usize,
    /// A clock instead of the database's, for tests. Leases, grace periods and dates follow it.
    pub clock: Option<Clock>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            domains: Vec::new(),
            connections: 16,
            prepared_statements: false,
            listen: true,
            listen_url: None,
            poll_interval: Duration::from_millis(500),
            listening_poll_interval: Duration::from_secs(10),
            notify_interval: Duration::from_millis(20),
            require_durable: true,
            pool_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            retries: 6,
            inline_up_to: 64 * 1024,
            piece: 256 * 1024,
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
            maintenance_interval: Duration::from_secs(60),
            cached_folders: 4096,
            argon2: Argon2Cost::default(),
            scram_iterations: ScramVerifier::DEFAULT_ITERATIONS,
            password_workers: 2,
            clock: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not `listen_url`, which may hold a password.
        f.debug_struct("Config")
            .field("domains", &self.domains)
            .field("connections", &self.connections)
            .field("prepared_statements", &self.prepared_statements)
            .field("listen", &self.listen)
            .field("inline_up_to", &self.inline_up_to)
            .field("max_message", &self.max_message)
            .finish_non_exhaustive()
    }
}
