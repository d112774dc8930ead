//! The example server: every protocol on any store over tokio and rustls.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `config` | what is asked for |
//! | `serve` | the server's life: open, listen, signals, end |
//! | `listener`, `stream`, `tls`, `throttle` | accepting connections |
//! | `server` | what connections share; one file for each protocol |
//! | `authentication`, `signing` | SPF, DKIM, ARC, DMARC of what comes in; DKIM of what goes out |
//! | `dns` | the resolver |
//! | `outbound` | the queue's worker |
//! | `admin` | users and queue from the command line |
//! | `transfer` | import and export |

mod admin;
mod authentication;
mod cli;
mod config;
mod data;
mod dns;
mod environment;
mod files;
mod listener;
mod outbound;
mod proxied;
mod serve;
mod server;
mod shutdown;
mod signing;
mod stream;
mod throttle;
mod tls;
mod transfer;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::{Config, ConfigError};

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Data(#[from] data::DataError),
    #[error("dkim: {0}")]
    Signing(#[from] signing::SigningError),
    #[error("dns: {0}")]
    Dns(hickory_resolver::net::NetError),
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    #[error("listening at {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Admin(#[from] admin::AdminError),
    #[error("{0}")]
    Transfer(#[from] transfer::TransferError),
    #[error("the runtime: {0}")]
    Runtime(std::io::Error),
}

impl Failure {
    /// 2 for what the user wrote, 1 for everything else.
    fn code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Failure::Config(_)) { 2 } else { 1 })
    }
}

fn main() -> ExitCode {
    // clap ends the program with 2 by itself when the command line makes no sense.
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mailserver: {failure}");
            failure.code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = Config::load(cli.config.as_deref())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().map_err(Failure::Runtime)?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve::serve(config, cli.config.as_deref())),
        Command::User { command } => Ok(runtime.block_on(admin::user(&config, command))?),
        Command::Queue { command } => Ok(runtime.block_on(admin::queue(&config, command))?),
        Command::Import { address, path, skip_malformed } => {
            runtime.block_on(admin::import(&config, &address, &path, skip_malformed))
        }
        Command::Copy { address, source, password_stdin, ca } => {
            runtime.block_on(admin::copy(&config, &address, &source, password_stdin, ca.as_deref()))
        }
        Command::Export { address, path, mbox } => runtime.block_on(admin::export(&config, &address, &path, mbox)),
        Command::Check => admin::check(&config),
    }
}
