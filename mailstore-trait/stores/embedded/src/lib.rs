//! The durable default store: one machine, no server to install, group commit over SQLite.
//!
//! | item | what it does |
//! |---|---|
//! | [`Store`] | opens a folder; implements [`MailStore`](mailstore_trait::store::MailStore) and what goes with it |
//! | [`Config`] | every size and limit |
//! | [`Users`], [`NewUser`] | people: [`Directory`](mailstore_trait::directory::Directory) and [`Authenticator`](mailstore_trait::auth::Authenticator) |
//! | [`Stats`], [`Finding`] | what was done; what is not as it should be |
//! | [`OpenError`] | why a store could not be opened |
//!
//! Inside: `schema` the tables, `committer` the one thread that writes, `write` what batches do, `read` what questions
//! read, `blobs` and `upload` the files of large messages, `search` the full-text index, `background` what goes on beside. The format is told in
//! `docs/design.md`.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod abilities;
mod background;
mod blobs;
mod check;
mod committer;
mod config;
mod content_cache;
mod env;
mod error;
mod fault;
mod hints;
mod ingest;
mod leases;
mod octets;
mod pool;
mod read;
mod rows;
mod schema;
mod search;
mod stats;
mod store;
mod uid_cache;
mod upload;
mod users;
mod words;
mod write;

pub use check::Finding;
pub use config::{Clock, Config};
pub use error::OpenError;
pub use schema::FORMAT;
pub use stats::Stats;
pub use store::Store;
pub use users::{NewUser, Users};
