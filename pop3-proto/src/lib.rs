//! POP3 as state machines without I/O: server and client.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | the server's session: [`Server`] |
//! | [`client`] | the client's session: [`Client`] |
//! | [`config`] | what an embedder decides: [`Config`], [`Limits`] |
//! | [`request`], [`event`] | what a server asks, and what it tells |
//! | [`command`], [`reply`], [`capability`] | the wire: commands in place, status lines, CAPA |
//! | [`apop`] | timestamps and digests of APOP, where it is turned on |
//! | [`maildrop`] | the snapshot of a session and its marks |
//! | [`stuff`], [`top`] | multi-line responses by slices, and where TOP stops |
//! | `store` | answers a server's questions from any mail store (feature `store`) |
//! | [`text`] | what the server says to people, in four languages |

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod apop;
pub mod capability;
pub mod client;
pub mod command;
pub mod config;
pub mod event;
#[doc(hidden)]
pub mod fuzzing;
pub mod maildrop;
pub mod reply;
pub mod request;
pub mod server;
#[cfg(feature = "store")]
pub mod store;
pub mod stuff;
pub mod text;
pub mod top;

pub use client::Client;
pub use config::{Config, Limits};
pub use event::Event;
pub use request::{Answered, Request};
pub use server::Server;
