//! The store of many machines: mailboxes, queue and users in one PostgreSQL-compatible database.
//!
//! | item | what it does |
//! |---|---|
//! | [`Store`] | opens a database; implements [`MailStore`](mailstore_trait::store::MailStore) and what goes with it |
//! | [`Config`] | every size and limit |
//! | [`Users`], [`NewUser`] | people: [`Directory`](mailstore_trait::directory::Directory) and [`Authenticator`](mailstore_trait::auth::Authenticator) |
//! | [`OpenError`] | why a store could not be opened |
//!
//! Inside: `schema` the tables, `link` connections and transactions, `write` what batches do, `read` what questions
//! read, `blobs` and `upload` the octets of large messages, `hints` and `background` news between machines. The tables
//! are told in `docs/design.md`.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod abilities;
mod background;
mod blobs;
mod call;
mod config;
mod env;
mod error;
mod fault;
mod hints;
mod ingest;
mod leases;
mod link;
mod octets;
mod queue;
mod read;
mod record;
mod rows;
mod schema;
mod store;
mod uid_cache;
mod upload;
mod users;
mod write;

pub use config::{Clock, Config};
pub use error::OpenError;
pub use schema::FORMAT;
pub use store::Store;
pub use users::{NewUser, Users};
