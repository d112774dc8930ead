//! A PostgreSQL of the test's own: made in a temporary folder, on loopback, ended by its process id.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mailstore_postgres::{Config, Store};
use mailstore_trait::batch::{AddItem, Batch, Content, Op, OpOutcome, Staged};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::{FlagSet, Keyword};
use mailstore_trait::id::{AccountId, BatchId, FolderId, Uid};
use mailstore_trait::password::Argon2Cost;
use mailstore_trait::store::{MailStore, UploadOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The runtime that stores and their tasks live on; it outlives every test.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap())
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

/// A server of databases.
pub struct Cluster {
    folder: TempDir,
    server: Mutex<Child>,
    port: u16,
    databases: AtomicU32,
    template: OnceLock<()>,
}

fn program(name: &str) -> PathBuf {
    let debian = ["17", "16", "15"].map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(debian.into_iter().rev());
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: this test needs PostgreSQL 15 (Debian package postgresql-15)"))
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// As nobody in particular: PostgreSQL refuses to run as root.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

impl Cluster {
    /// One for all tests that run at the same time.
    pub fn shared() -> Arc<Cluster> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// One of its own.
    pub fn start() -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        if is_root() {
            chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        }
        let data = folder.path().join("data");
        let made = command(&program("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=mail", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Mutex::new(Cluster::run(folder.path(), port));
        let cluster = Cluster { folder, server, port, databases: AtomicU32::new(0), template: OnceLock::new() };
        cluster.wait();
        cluster
    }

    fn run(folder: &Path, port: u16) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        // What the tests kill is processes, not power: the system keeps what was written.
        let settings = ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=300", "logging_collector=off"];
        let mut command = command(&program("postgres"));
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-k"]).arg(folder);
        settings.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Waits until it answers.
    pub fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.try_sql("postgres", "SELECT 1")))
                .unwrap()
                .is_ok()
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not start: {}", std::fs::read_to_string(self.folder.path().join("log")).unwrap());
    }

    /// Kills all its processes at once, as the out-of-memory killer would, and starts it again.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap();
        // The server ends its children when it finds them orphaned; the port is free when all are gone.
        signal(server.id(), "KILL");
        let _ = server.wait();
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let _ = std::fs::remove_file(self.folder.path().join("data/postmaster.pid"));
            *server = Cluster::run(self.folder.path(), self.port);
            std::thread::sleep(Duration::from_millis(300));
            if server.try_wait().unwrap().is_none() || Instant::now() > end {
                break;
            }
        }
        drop(server);
        self.wait();
    }

    fn address(&self, database: &str) -> String {
        format!("postgres://mail@127.0.0.1:{}/{database}", self.port)
    }

    /// A database with a store in it that nobody has used; its address.
    pub fn database(&self) -> String {
        self.template.get_or_init(|| {
            let address = self.empty_database("template0", "mail");
            block_on(async { Store::open(&address, config()).await.unwrap().close().await });
        });
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        self.empty_database("mail", &format!("mail{number}"))
    }

    /// A copy of a database; its address.
    pub fn empty_database(&self, template: &str, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        self.address(name)
    }

    pub fn sql(&self, database: &str, statement: &str) -> Vec<String> {
        self.try_sql(database, statement).unwrap()
    }

    fn try_sql(&self, database: &str, statement: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        sql(&self.address(database), statement)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let server = self.server.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        signal(server.id(), "QUIT");
        let _ = server.wait();
    }
}

fn signal(process: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
}

/// Runs statements; the first column of the rows.
pub fn sql(address: &str, statement: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (address, statement) = (address.to_owned(), statement.to_owned());
    let work = async move {
        let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let answer = client.simple_query(&statement).await?;
        drop(client);
        let _ = connection.await;
        Ok(answer
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            })
            .collect())
    };
    // From a thread of its own, so that it may be called inside the runtime too.
    std::thread::scope(|scope| scope.spawn(|| block_on(work)).join().unwrap())
}

/// Ends all server processes of a database but the one that asks. How many there were.
pub fn terminate(address: &str) -> usize {
    sql(
        address,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .unwrap()
    .len()
}

/// A clock that can be moved.
#[derive(Clone)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { ahead: Arc::default() }
    }

    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn configured(&self) -> Config {
        let ahead = Arc::clone(&self.ahead);
        let mut config = config();
        config.clock = Some(Arc::new(move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            Timestamp(i64::try_from(now).unwrap() + ahead.load(Ordering::SeqCst))
        }));
        config
    }
}

/// Settings for tests: quick passwords, and a database that was told to skip its syncs.
pub fn config() -> Config {
    let mut config = Config::default();
    config.require_durable = false;
    config.connections = 8;
    config.argon2 = Argon2Cost { memory_kib: 256, passes: 1, ..Argon2Cost::default() };
    config.scram_iterations = 4096;
    config
}

pub fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

pub fn batch_id() -> BatchId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).unwrap();
    BatchId(id)
}

pub async fn inbox(store: &Store, account: AccountId) -> FolderId {
    store.folders(account).await.unwrap().inbox().unwrap().id
}

pub async fn upload(store: &Store, octets: &[u8], pieces: usize) -> Staged {
    let mut upload = store.upload(UploadOptions::new(1 << 30)).await.unwrap();
    for piece in octets.chunks(pieces.max(1)) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

pub fn adding(folder: FolderId, content: Content, keyword: &str) -> Op {
    let flags: FlagSet = Keyword::new(keyword).into_iter().collect();
    Op::Add(AddItem { folder, content, flags, internal_date: DateTime::default() })
}

/// A batch that adds this text to the folder.
pub async fn delivery(store: &Store, account: AccountId, folder: FolderId, text: &str) -> Batch {
    let staged = upload(store, text.as_bytes(), 1 << 20).await;
    Batch::new(batch_id(), account, vec![adding(folder, Content::Staged(staged), "")])
}

pub fn uid_of(outcome: &OpOutcome) -> Uid {
    match outcome {
        OpOutcome::Added { uid, .. } => *uid,
        other => panic!("{other:?}"),
    }
}
