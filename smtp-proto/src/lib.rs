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
//! | [`reply`] | replies, enhanced codes, every text |

pub mod address;
pub mod client;
pub mod command;
pub mod config;
pub mod event;
pub mod reply;
pub mod request;
pub mod server;

pub use client::Client;
pub use config::{Config, Limits};
pub use event::Event;
pub use request::{Answered, Request};
pub use server::Server;
