//! The store: what it promises, by the parts that keep it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use mailstore_trait::acl::AclStore;
use mailstore_trait::batch::{Batch, Committed};
use mailstore_trait::change::{ChangePage, ChangesOptions};
use mailstore_trait::date::Timestamp;
use mailstore_trait::error::{CommitError, ReadError, UploadError};
use mailstore_trait::folder::{FolderList, FolderView, Role};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::hints::ChangeHints;
use mailstore_trait::id::{AccountId, EmailId, FolderId, QueueId};
use mailstore_trait::item::{ItemPage, ItemsOptions};
use mailstore_trait::leases::Leases;
use mailstore_trait::metadata::MetadataStore;
use mailstore_trait::queue::{Leased, QueueEntry, QueueLease, QueueStore};
use mailstore_trait::quota::QuotaStore;
use mailstore_trait::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::background;
use crate::blobs::InDatabase;
use crate::config::Config;
use crate::env::Env;
use crate::error::OpenError;
use crate::fault::{Fault, Result};
use crate::hints::Hints;
use crate::ingest;
use crate::leases::LeaseTable;
use crate::link::Link;
use crate::queue;
use crate::read;
use crate::schema;
use crate::uid_cache::UidCache;
use crate::upload::Incoming;
use crate::users::Users;
use crate::write::{self, abilities, upkeep};

/// A mail store in a PostgreSQL database. Cheap to clone; all clones are one handle.
///
/// Any number of processes on any number of machines may have the same database open.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<Env>,
    leases: LeaseTable,
    users: Users,
    stop: watch::Sender<bool>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.env.hints.close();
        self.env.link.close();
    }
}

impl Store {
    /// Opens the store of this database, and makes or updates its tables, in a schema called `mailstore`.
    ///
    /// `url` is `postgres://user:password@host:port/database` or libpq's `host=… dbname=…`. Needs a tokio runtime with
    /// its time and I/O drivers, whose tasks then tell and hear news and tidy up.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(url: &str, config: Config) -> Result<Store, OpenError> {
        let address = |url: &str| -> Result<tokio_postgres::Config, OpenError> {
            let mut address: tokio_postgres::Config =
                url.parse().map_err(|error| OpenError::Address(Box::<tokio_postgres::Error>::new(error)))?;
            if address.get_application_name().is_none() {
                address.application_name("mailstore");
            }
            if address.get_connect_timeout().is_none() {
                address.connect_timeout(config.connect_timeout);
            }
            if address.get_tcp_user_timeout().is_none() {
                // A database that is cut off is noticed, not waited for.
                address.tcp_user_timeout(config.answer_timeout);
            }
            Ok(address)
        };
        let listen_address = address(config.listen_url.as_deref().unwrap_or(url))?;
        let address = address(url)?;
        let unreachable = |error: tokio_postgres::Error| OpenError::Unreachable(Box::new(error));
        let (client, connection) = address.connect(NoTls).await.map_err(unreachable)?;
        let connection = tokio::spawn(connection);
        let secret = schema::open(&client, &config).await;
        drop::<Client>(client);
        let _ = connection.await;
        let secret = secret?;
        let manager = Manager::from_config(address, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(config.connections.max(2))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.pool_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.connect_timeout))
            .build()
            .map_err(|error| OpenError::Unreachable(Box::new(error)))?;
        let env = Arc::new(Env {
            link: Link::new(pool, &config),
            blobs: Box::new(InDatabase),
            hints: Hints::default(),
            uids: UidCache::new(config.cached_folders),
            config,
        });
        let users = Users::new(Arc::clone(&env), secret).map_err(|fault| OpenError::Unreachable(fault.source()))?;
        let (stop, stopped) = watch::channel(false);
        let tasks = background::start(&env, listen_address, &stopped);
        let leases = LeaseTable { env: Arc::clone(&env) };
        Ok(Store { inner: Arc::new(Inner { env, leases, users, stop, tasks: tasks.into() }) })
    }

    /// The people of this store.
    #[must_use]
    pub fn users(&self) -> Users {
        self.inner.users.clone()
    }

    /// Gives an account another quota, in octets; `None` for no limit.
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    pub async fn set_quota(&self, account: AccountId, quota: Option<u64>) -> Result<(), CommitError> {
        let set = || -> BoxFuture<'_, _> {
            Box::pin(abilities::set_quota(&self.inner.env, account, move |limits| limits.with_storage(quota)))
        };
        self.ask_any(set).await?;
        Ok(())
    }

    /// Jumps every account. To be called after the database was restored from a backup or failed over to a replica that
    /// may have lag, before anybody uses it: whatever may have been given out and lost (change numbers, items, UIDs) is
    /// never given out again, and cursors from before answer [`ReadError::Gap`].
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit). Repeating it is harmless.
    pub async fn jump(&self) -> Result<(), CommitError> {
        Ok(upkeep::jump(&self.inner.env).await?)
    }

    /// Removes what nobody needs any more: deleted folders' messages, messages past their grace period, octets that
    /// were never committed, old results. Goes on by itself every [`Config::maintenance_interval`].
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    pub async fn tidy(&self) -> Result<(), CommitError> {
        Ok(upkeep::tidy(&self.inner.env).await?)
    }

    /// Ends all watches and tasks and closes all connections. Other clones fail from then on.
    pub async fn close(self) {
        let _ = self.inner.stop.send(true);
        self.inner.env.hints.close();
        let tasks = match self.inner.tasks.lock() {
            Ok(mut tasks) => std::mem::take(&mut *tasks),
            Err(_) => Vec::new(),
        };
        for task in tasks {
            let _ = task.await;
        }
        self.inner.env.link.close();
    }

    async fn submit(&self, mut batch: Batch) -> Result<Committed> {
        let env = &self.inner.env;
        ingest::prefixes(env, &mut batch).await?;
        write::commit(env, &batch).await
    }

    /// The same in the words of inside.
    pub(crate) async fn ask_any<'a, T>(
        &'a self,
        question: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.inner.env.link.again(question).await
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Answers a question, and asks again when the connection broke.
    async fn ask<'a, T>(&self, question: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync) -> Result<T, ReadError> {
        Ok(self.inner.env.link.again(question).await?)
    }
}

impl MailStore for Store {
    fn caps(&self) -> Caps {
        let config = &self.inner.env.config;
        Caps::new(config.max_accounts, config.max_ops, config.max_message)
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let env = &*self.inner.env;
            // Every login asks; only the first need write.
            match env.link.again(|| Box::pin(read::view::state(env, account))).await {
                Ok(_) => return Ok(()),
                Err(Fault::NotFound) => {}
                Err(other) => return Err(other.into()),
            }
            let folders: Vec<_> = folders.iter().map(|&(role, name)| (role, name.to_owned())).collect();
            Ok(env.link.again(|| Box::pin(upkeep::provision(env, account, &folders))).await?)
        })
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        let env = &*self.inner.env;
        Box::pin(self.ask(move || Box::pin(read::view::state(env, account))))
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        let env = &*self.inner.env;
        Box::pin(self.ask(move || Box::pin(read::view::list(env, account))))
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        let env = &*self.inner.env;
        Box::pin(self.ask(move || Box::pin(read::view::view(env, account, folder, options))))
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        let env = &*self.inner.env;
        Box::pin(async move {
            self.ask(|| Box::pin(async move { read::items::page(env, account, folder, uids, &options).await })).await
        })
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        let env = &*self.inner.env;
        Box::pin(self.ask(move || Box::pin(async move { read::changes::page(env, account, &options).await })))
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move { Ok(read::content::email(&self.inner.env, account, email, offset, max).await?) })
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        Box::pin(async move { Incoming::begin(Arc::clone(&self.inner.env), options) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move { Ok(self.submit(batch).await?) })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        let env = &*self.inner.env;
        Box::pin(
            async move { Ok(env.link.again(|| Box::pin(upkeep::forget_removals(env, account, older_than))).await?) },
        )
    }

    fn hints(&self) -> &dyn ChangeHints {
        &self.inner.env.hints
    }

    fn leases(&self) -> &dyn Leases {
        &self.inner.leases
    }

    fn as_queue(&self) -> Option<&dyn QueueStore> {
        Some(self)
    }

    fn as_quota(&self) -> Option<&dyn QuotaStore> {
        Some(self)
    }

    fn as_acl(&self) -> Option<&dyn AclStore> {
        Some(self)
    }

    fn as_metadata(&self) -> Option<&dyn MetadataStore> {
        Some(self)
    }
}

impl QueueStore for Store {
    fn lease(&self, now: Timestamp, max: usize, ttl: Duration) -> BoxFuture<'_, Result<Vec<Leased>, ReadError>> {
        Box::pin(async move { Ok(queue::lease(&self.inner.env, now, max, ttl).await?) })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        Box::pin(async move { Ok(queue::next_due(&self.inner.env).await?) })
    }

    fn list(&self, after: Option<QueueId>, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, ReadError>> {
        Box::pin(async move { Ok(queue::list(&self.inner.env, after, max).await?) })
    }

    fn read(&self, id: QueueId, offset: u64, max: usize) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move { Ok(read::content::queued(&self.inner.env, id, offset, max).await?) })
    }

    fn renew<'a>(
        &'a self,
        leases: &'a [QueueLease],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<QueueLease>, ReadError>> {
        Box::pin(async move { Ok(queue::renew(&self.inner.env, leases, until).await?) })
    }

    fn flush<'a>(&'a self, ids: Option<&'a [QueueId]>, now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(queue::flush(&self.inner.env, ids, now).await?) })
    }

    fn hold<'a>(&'a self, ids: &'a [QueueId]) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(queue::hold(&self.inner.env, ids).await?) })
    }

    fn release<'a>(&'a self, ids: &'a [QueueId], now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { Ok(queue::release(&self.inner.env, ids, now).await?) })
    }

    fn discard(&self, id: QueueId) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(async move { Ok(queue::discard(&self.inner.env, id).await?) })
    }
}
