//! Administration from the command line: on the same data folder, whether the server runs or not.

mod queue;

use std::io::{BufRead, Write};
use std::path::Path;

use mailstore_embedded::Store;
use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{DirectoryError, QuotaError, ReadError};
use mailstore_trait::quota::QuotaStore;
use mailstore_trait::sasl::Secret;

use crate::cli::{QueueCommand, Quota, UserCommand};
use crate::config::{Config, Octets};
use crate::environment::System;
use crate::signing::Signing;
use crate::tls::Certificates;
use crate::transfer::copy::Target;
use crate::transfer::export::Format;
use crate::{Failure, data, transfer};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(transparent)]
    Data(#[from] data::DataError),
    #[error("{address}: {source}")]
    Account { address: String, source: DirectoryError },
    #[error("{0}: not an address of one of our domains ({1})")]
    Domain(String, String),
    #[error("the passwords differ")]
    Differ,
    #[error("the password is empty")]
    Empty,
    #[error("the password can't be read: {0}")]
    Password(std::io::Error),
    #[error("no terminal to ask for the password at ({0}); --password-stdin reads it from standard input")]
    NoTerminal(std::io::Error),
    #[error("{0}: not a queue id")]
    QueueId(String),
    #[error("{0}: nothing with this id waits")]
    NotQueued(String),
    #[error("which? Name entries, --domain, --sender or --all")]
    WhichEntries,
    #[error("the queue: {0}")]
    Queue(#[from] ReadError),
    #[error("the quota: {0}")]
    Quota(#[from] QuotaError),
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
}

/// `user …`
pub(crate) async fn user(config: &Config, command: UserCommand) -> Result<(), AdminError> {
    let store = data::open(config)?;
    let result = with_users(config, &store, command).await;
    store.close().await;
    result
}

async fn with_users(config: &Config, store: &Store, command: UserCommand) -> Result<(), AdminError> {
    let failed = |address: &str| {
        let address = address.to_owned();
        move |source| AdminError::Account { address, source }
    };
    match command {
        UserCommand::Add { address, password_stdin, quota } => {
            let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
            if !config.is_local(domain) {
                return Err(AdminError::Domain(address, config.domains.join(", ")));
            }
            let password = password(password_stdin)?;
            let quota = quota.map_or(config.limits.quota.map(|Octets(octets)| octets), |Quota(quota)| quota);
            match data::add_user(store, &address, password, quota).await {
                Err(data::DataError::Directory(source)) => Err(AdminError::Account { address, source }),
                other => Ok(other.map(drop)?),
            }
        }
        UserCommand::Quota { address, size } => {
            let account = principal(store, &address).await?.account;
            if let Some(Quota(octets)) = size {
                store.set_quota(account, octets).await.map_err(data::DataError::from)?;
            }
            let quota = store.quota(account).await?;
            let limit = quota.limits.storage.map_or_else(|| "no limit".to_owned(), |limit| format!("of {limit}"));
            writeln!(
                std::io::stdout().lock(),
                "{} octets, {limit}; {} messages",
                quota.usage.storage,
                quota.usage.messages
            )?;
            Ok(())
        }
        UserCommand::List => {
            let mut addresses: Vec<String> =
                store.users().list().await.map_err(failed("list"))?.into_iter().map(|user| user.address).collect();
            addresses.sort();
            let mut out = std::io::stdout().lock();
            for address in addresses {
                writeln!(out, "{address}")?;
            }
            Ok(())
        }
        UserCommand::Remove { address } => store.users().remove(&address).await.map(drop).map_err(failed(&address)),
        UserCommand::Passwd { address, password_stdin } => {
            let records = store.users().records(password(password_stdin)?).await.map_err(failed(&address))?;
            store.users().set_records(&address, records).await.map_err(failed(&address))
        }
    }
}

fn password(from_stdin: bool) -> Result<Secret, AdminError> {
    let password = if from_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(AdminError::Password)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        let first = rpassword::prompt_password("Password: ").map_err(AdminError::NoTerminal)?;
        if rpassword::prompt_password("Again: ").map_err(AdminError::Password)? != first {
            return Err(AdminError::Differ);
        }
        first
    };
    if password.is_empty() { Err(AdminError::Empty) } else { Ok(Secret::new(password)) }
}

/// `queue …`
pub(crate) async fn queue(config: &Config, command: QueueCommand) -> Result<(), AdminError> {
    let store = data::open(config)?;
    let result = queue::queue(&store, command, System.now()).await;
    store.close().await;
    result
}

/// `import …`
pub(crate) async fn import(config: &Config, address: &str, path: &Path, skip: bool) -> Result<(), Failure> {
    let store = data::open(config)?;
    let principal = principal(&store, address).await?;
    let done = transfer::import::import(&store, principal.account, path, System.now(), skip).await?;
    println!("imported {} messages, {} octets; skipped {}", done.messages, done.octets, done.skipped);
    if done.repeated > 0 {
        println!("{} messages of an earlier import were not added again", done.repeated);
    }
    store.close().await;
    Ok(())
}

/// `copy …`
pub(crate) async fn copy(
    config: &Config,
    address: &str,
    source: &str,
    password_stdin: bool,
    ca: Option<&Path>,
) -> Result<(), Failure> {
    let source = source.parse()?;
    let password = if password_stdin { password(true)? } else { ask("Password there: ")? };
    let store = data::open(config)?;
    let principal = principal(&store, address).await?;
    let notes = config.data_dir.join("copies");
    let target = Target { store: &store, account: principal.account, notes, now: System.now() };
    let done = transfer::copy::copy(&target, &source, password, ca).await?;
    println!("copied {} messages, {} octets, from {} mailboxes", done.messages, done.octets, done.mailboxes);
    if done.known > 0 {
        println!("{} messages of an earlier copy were not copied again", done.known);
    }
    if done.skipped > 0 {
        println!("{} messages could not be had, or are larger than the store takes", done.skipped);
    }
    store.close().await;
    Ok(())
}

/// Asks for a password that exists already.
fn ask(prompt: &str) -> Result<Secret, AdminError> {
    let password = rpassword::prompt_password(prompt).map_err(AdminError::NoTerminal)?;
    if password.is_empty() { Err(AdminError::Empty) } else { Ok(Secret::new(password)) }
}

/// `export …`
pub(crate) async fn export(config: &Config, address: &str, path: &Path, mbox: bool) -> Result<(), Failure> {
    let store = data::open(config)?;
    let principal = principal(&store, address).await?;
    let format = if mbox { Format::Mbox } else { Format::Maildir };
    let messages = transfer::export::export(&store, principal.account, path, format).await?;
    println!("exported {messages} messages");
    store.close().await;
    Ok(())
}

async fn principal(store: &Store, address: &str) -> Result<Principal, AdminError> {
    let failed = |source| AdminError::Account { address: address.to_owned(), source };
    match store.users().resolve(address).await.map_err(failed)? {
        Resolution::Mailboxes(mut found) if found.len() == 1 => {
            found.pop().ok_or_else(|| failed(DirectoryError::NotFound))
        }
        _ => Err(failed(DirectoryError::NotFound)),
    }
}

/// `check`
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    println!("hostname {}", config.hostname);
    println!("domains {}", config.domains.join(", "));
    println!("data_dir {}", config.data_dir.display());
    for (service, addresses) in crate::listener::Service::all(&config.listen) {
        for address in addresses {
            println!("listen {} {address}", service.name());
        }
    }
    for (name, unserved) in [("https", &config.listen.https), ("metrics", &config.listen.metrics)] {
        if !unserved.0.is_empty() {
            println!("listen {name} {unserved}: not served by this version");
        }
    }
    for route in &config.outbound.routes {
        println!("route {} to {}:{}, tls {}", route.domain, route.host, route.port, route.tls.name());
    }
    for (name, record) in Signing::new(&config.outbound.dkim)?.records() {
        println!("publish {name} TXT {record}");
    }
    // One that nobody configured is made by the first run.
    if let Some(tls) = &config.tls {
        Certificates::open(config)?;
        println!("certificate {}, key {}", tls.certificate.display(), tls.key.display());
    }
    println!("the configuration is good");
    Ok(())
}
