//! The store: opening, closing, and the contract's methods as questions to readers and work for the committer.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
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
use mailstore_trait::query::Filter;
use mailstore_trait::queue::{HELD, Leased, QueueEntry, QueueLease, QueueStore};
use mailstore_trait::quota::QuotaStore;
use mailstore_trait::search::{Candidates, SearchStore};
use mailstore_trait::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;
use tokio::sync::oneshot;

use crate::background::{self, Stop};
use crate::blobs::Blobs;
use crate::check::{self, Finding};
use crate::committer::Committer;
use crate::config::Config;
use crate::content_cache::ContentCache;
use crate::env::{Env, Ids};
use crate::error::OpenError;
use crate::fault::{Fault, Result};
use crate::hints::Hints;
use crate::leases::LeaseTable;
use crate::pool::Pool;
use crate::read::{self, Reader, Snapshot};
use crate::stats::{Counters, Stats};
use crate::uid_cache::UidCache;
use crate::upload::Incoming;
use crate::users::Users;
use crate::write::batch::CommitWork;
use crate::write::{Tx, abilities, batch, folders, queue, upkeep};
use crate::{ingest, schema, search};

/// The database's name inside the store's folder.
const DATABASE: &str = "mail.sqlite";

/// A mail store in one folder: a SQLite database, and files for large messages. Cheap to clone.
///
/// Any number of processes on one machine may have it open at once. The folder must lie on a local file system.
///
/// Dropping the last clone ends it as a crash would, which loses nothing; [`close`](Store::close) is kinder.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<Env>,
    readers: Arc<Pool<Reader>>,
    files: Arc<Pool<()>>,
    leases: LeaseTable,
    users: Users,
    stop: Arc<Stop>,
    background: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in this folder, and makes it when there is none.
    ///
    /// Blocks for a moment; after a crash SQLite reads its write-ahead log here.
    ///
    /// # Errors
    /// [`OpenError`]: among others when a newer version wrote it.
    pub fn open(folder: impl AsRef<Path>, config: Config) -> Result<Store, OpenError> {
        let folder = folder.as_ref();
        if !config.read_only {
            make_folder(folder).map_err(OpenError::Folder)?;
        }
        let database = folder.join(DATABASE);
        let connection = match config.read_only {
            true => schema::open_reader(&database, &config)?,
            false => schema::open_writer(&database, &config)?,
        };
        let (ids, secret, moves) = connection.query_row("SELECT id, secret, moves FROM store", [], |row| {
            Ok((Ids::new(row.get(0)?), row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?))
        })?;
        let blobs = Blobs::open(folder.join("blobs"), config.read_only).map_err(OpenError::Folder)?;
        let env = Arc::new(Env {
            ids,
            blobs,
            hints: Hints::default(),
            uids: UidCache::new(config.cached_folders),
            contents: ContentCache::new(config.content_cache),
            counters: Counters::default(),
            moves: AtomicI64::new(moves),
            foreign: AtomicU64::new(0),
            database,
            config,
        });
        Store::start(env, connection, secret).map_err(OpenError::Folder)
    }

    fn start(env: Arc<Env>, connection: rusqlite::Connection, secret: Vec<u8>) -> std::io::Result<Store> {
        let config = &env.config;
        let readers = Arc::new(Pool::new("mailstore-read", config.readers, config.max_waiting, {
            let env = Arc::clone(&env);
            Box::new(move || {
                let connection = schema::open_reader(&env.database, &env.config).map_err(|error| match error {
                    OpenError::Database(error) => Fault::from(error),
                    other => Fault::unavailable(other),
                })?;
                Ok(Reader::new(connection, Arc::clone(&env)))
            })
        }));
        let files = Arc::new(Pool::new("mailstore-file", config.file_workers, config.max_waiting, Box::new(|| Ok(()))));
        let committer = match config.read_only {
            true => None,
            false => Some(Arc::new(Committer::start(connection, Arc::clone(&env))?)),
        };
        let stop = Arc::new(Stop::default());
        let background = background::start(&env, committer.as_ref(), &stop)?;
        let users = Users::new(Arc::clone(&env), Arc::clone(&readers), committer.clone(), secret);
        let leases = LeaseTable { committer };
        let background = Mutex::new(background);
        Ok(Store { inner: Arc::new(Inner { env, readers, files, leases, users, stop, background }) })
    }

    /// The people of this store.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.inner.users
    }

    /// What was done since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.inner.env.counters.snapshot();
        let env = &self.inner.env;
        Stats { file_syncs: env.blobs.syncs(), content_octets: env.contents.octets(), ..stats }
    }

    /// Sets how many octets an account may hold; `None` for no limit. What is there already stays.
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    pub async fn set_quota(&self, account: AccountId, quota: Option<u64>) -> Result<(), CommitError> {
        let set = move |tx: &mut Tx<'_>| abilities::set_quota(tx, account, |limits| limits.with_storage(quota));
        self.write(set).await?;
        Ok(())
    }

    /// Reads the whole database and compares everything that is counted with what is there.
    ///
    /// Takes as long as reading the database does, on one of the reading threads; others go on meanwhile.
    ///
    /// # Errors
    /// When the database can't be read at all; damage is a [`Finding`].
    pub async fn check(&self) -> Result<Vec<Finding>, ReadError> {
        let mut findings = self.read(check::check).await?;
        // A message may have gone for good behind the snapshot, its file with it: only what is still named is missed.
        let missed = findings.clone();
        let still = self.read(move |snapshot| check::still_missed(snapshot, &missed)).await?;
        findings.retain(|finding| !matches!(finding, Finding::File(blob) if !still.contains(blob)));
        Ok(findings)
    }

    /// Removes now what the store otherwise removes by and by: messages whose grace period is over, rows of deleted
    /// folders, old results of batches, files nobody refers to.
    ///
    /// # Errors
    /// As [`commit`](MailStore::commit).
    pub async fn tidy(&self) -> Result<(), CommitError> {
        let Some(committer) = self.inner.leases.committer.clone() else { return Err(CommitError::ReadOnly) };
        let env = Arc::clone(&self.inner.env);
        Ok(self.inner.files.run(move |()| background::tidy(&env, &committer)).await?)
    }

    /// Ends the store: what waits is written, watches end, threads stop. Other clones answer `Unavailable` afterwards.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        drop(self);
        let close = move || {
            inner.stop.stop();
            inner.readers.close();
            inner.files.close();
            inner.users.close();
            let background = std::mem::take(&mut *inner.background.lock().unwrap_or_else(PoisonError::into_inner));
            for thread in background {
                let _ = thread.join();
            }
            inner.readers.join();
            inner.files.join();
            if let Some(committer) = &inner.leases.committer {
                committer.close();
                committer.join();
            }
            inner.env.hints.close();
            let _ = done.send(());
        };
        if std::thread::Builder::new().name("mailstore-close".into()).spawn(close).is_ok() {
            let _ = closed.await;
        }
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.run(move |reader| reader.snapshot(question)).await
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.inner.leases.committer {
            Some(committer) => committer.write(run).await,
            None => Err(Fault::ReadOnly),
        }
    }

    async fn open_view(&self, account: AccountId, folder: FolderId, options: ViewOptions) -> Result<FolderView> {
        let (mut view, claimable) = self.read(move |snapshot| read::view::view(snapshot, account, folder)).await?;
        if let Some(upto) = claimable.filter(|_| options.claim_recent) {
            let claim = self.write(move |tx| read::view::claim(tx, account, folder, upto)).await;
            view.recent_from = match claim {
                Ok(from) => from.and_then(|from| read::view::first_from(&view.uids, from)),
                // Who may read may open: \Recent is a courtesy.
                Err(Fault::ReadOnly | Fault::Full | Fault::Busy) => None,
                Err(other) => return Err(other),
            };
        }
        Ok(view)
    }

    async fn submit(&self, mut batch: Batch) -> Result<Committed> {
        let Some(committer) = &self.inner.leases.committer else { return Err(Fault::ReadOnly) };
        batch::fits(&self.inner.env.config, &batch)?;
        ingest::prefixes(&self.inner.env, &self.inner.files, &mut batch).await?;
        let (reply, answer) = oneshot::channel();
        committer.submit(Box::new(CommitWork::new(batch, reply)));
        answer.await.unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }
}

/// Makes the store's folder when it is not there: for its owner only, and durably.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    if let Some(parent) = folder.canonicalize()?.parent() {
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("database", &self.inner.env.database).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.stop();
        self.env.hints.close();
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
            // Every login asks; only the first need write.
            match self.read(move |snapshot| snapshot.account(account).map(drop)).await {
                Ok(()) => return Ok(()),
                Err(Fault::NotFound) => {}
                Err(other) => return Err(other.into()),
            }
            let folders: Vec<_> = folders.iter().map(|&(role, name)| (role, name.to_owned())).collect();
            Ok(self.write(move |tx| folders::provision(tx, account, &folders)).await?)
        })
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        Box::pin(async move { Ok(self.read(move |snapshot| read::view::state(snapshot, account)).await?) })
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        Box::pin(async move { Ok(self.read(move |snapshot| read::view::list(snapshot, account)).await?) })
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        Box::pin(async move { Ok(self.open_view(account, folder, options).await?) })
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        let uids = uids.clone();
        Box::pin(async move {
            let page = move |snapshot: &Snapshot<'_>| read::items::page(snapshot, account, folder, &uids, &options);
            Ok(self.read(page).await?)
        })
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        Box::pin(async move { Ok(self.read(move |snapshot| read::changes::page(snapshot, account, &options)).await?) })
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            let piece = move |snapshot: &Snapshot<'_>| read::content::piece(snapshot, account, email, offset, max);
            match Store::read(self, piece).await {
                // Collected behind the snapshot, perhaps: then the next one knows.
                Err(Fault::Corrupt(_)) => Ok(Store::read(self, piece).await?),
                other => Ok(other?),
            }
        })
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        Box::pin(async move { Incoming::begin(Arc::clone(&self.inner.env), Arc::clone(&self.inner.files), options) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move { Ok(self.submit(batch).await?) })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move { Ok(self.write(move |tx| upkeep::forget_removals(tx, account, older_than)).await?) })
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

    fn as_search(&self) -> Option<&dyn SearchStore> {
        self.inner.env.config.search_index.then_some(self)
    }
}

impl SearchStore for Store {
    fn candidates<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Candidates>, ReadError>> {
        let filter = filter.clone();
        let look = move |snapshot: &Snapshot<'_>| search::candidates(snapshot, account, folder, &filter);
        Box::pin(async move { Ok(self.read(look).await?) })
    }
}

impl QueueStore for Store {
    fn lease(&self, now: Timestamp, max: usize, ttl: Duration) -> BoxFuture<'_, Result<Vec<Leased>, ReadError>> {
        Box::pin(async move {
            // Looking costs no commit; most looks find nothing.
            let due = self.read(read::queue::next_due).await?;
            if due.is_none_or(|due| due > now) {
                return Ok(Vec::new());
            }
            Ok(self.write(move |tx| queue::lease(tx, now, max, now.plus(ttl))).await?)
        })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        Box::pin(async move { Ok(self.read(read::queue::next_due).await?) })
    }

    fn list(&self, after: Option<QueueId>, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, ReadError>> {
        Box::pin(async move { Ok(self.read(move |snapshot| read::queue::list(snapshot, after, max)).await?) })
    }

    fn read(&self, id: QueueId, offset: u64, max: usize) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            let piece = move |snapshot: &Snapshot<'_>| read::queue::piece(snapshot, id, offset, max);
            Ok(Store::read(self, piece).await?)
        })
    }

    fn renew<'a>(
        &'a self,
        leases: &'a [QueueLease],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<QueueLease>, ReadError>> {
        let leases = leases.to_vec();
        Box::pin(async move { Ok(self.write(move |tx| queue::renew(tx, &leases, until)).await?) })
    }

    fn flush<'a>(&'a self, ids: Option<&'a [QueueId]>, now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        let ids = ids.map(<[QueueId]>::to_vec);
        Box::pin(async move { Ok(self.write(move |tx| queue::flush(tx, ids.as_deref(), now)).await?) })
    }

    fn hold<'a>(&'a self, ids: &'a [QueueId]) -> BoxFuture<'a, Result<u64, ReadError>> {
        let ids = ids.to_vec();
        Box::pin(async move { Ok(self.write(move |tx| queue::reschedule(tx, &ids, None, HELD)).await?) })
    }

    fn release<'a>(&'a self, ids: &'a [QueueId], now: Timestamp) -> BoxFuture<'a, Result<u64, ReadError>> {
        let ids = ids.to_vec();
        Box::pin(async move { Ok(self.write(move |tx| queue::reschedule(tx, &ids, Some(HELD), now)).await?) })
    }

    fn discard(&self, id: QueueId) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(async move { Ok(self.write(move |tx| queue::remove(tx, id, None)).await?) })
    }
}
