//! SMTP, submission and LMTP as state machines without I/O.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | [`Server`]: RFC 5321, submission (RFC 6409) and LMTP (RFC 2033) |
//! | [`request`] | what a server asks, and the answers |
//! | [`event`] | what it tells for logs and metrics |
//! | [`client`] | [`Client`]: relay, submission and LMTP, the same shape |
//! | [`config`] | roles, extensions, limits, patience |
//! | [`command`], [`address`] | commands and paths, parsed in place |
//! | [`extension`] | extensions as objects: ours, and an embedder's own |
//! | [`delivery`] | where mail for a domain goes and how it is protected: MX, DANE, MTA-STS, TLSRPT |
//! | [`queue`] | when to try again, when to give up, as values |
//! | [`dsn`] | delivery status notifications (RFC 3461 to 3464) |
//! | `store` | feature `store`: answers from the traits of `mailstore_trait` |
//! | `rate` | feature `store`: how much a user may send in how much time |
//! | [`trace`] | Received and Return-Path |
//! | [`reply`] | replies, enhanced codes, every text |

pub mod address;
pub mod client;
pub mod command;
pub mod config;
pub mod delivery;
pub mod dsn;
pub mod event;
pub mod extension;
#[doc(hidden)]
pub mod fuzzing;
pub mod queue;
#[cfg(feature = "store")]
pub mod rate;
pub mod reply;
pub mod request;
pub mod server;
#[cfg(feature = "store")]
pub mod store;
pub mod trace;

pub use client::Client;
pub use config::{Config, Limits};
pub use event::Event;
pub use request::{Answered, Request};
pub use server::Server;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The embedding loop of the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct WorkspaceReadme;
