//! IMAP as a state machine without I/O.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | the server's session: [`Server`] |
//! | [`client`] | the client's session, and a replica of a mailbox: [`client::Client`] |
//! | [`config`] | what an embedder decides: [`Config`], [`Limits`] |
//! | [`request`], [`event`] | what a server asks, what it tells, and what it is told |
//! | [`frame`], [`command`] | the wire, inwards: lines and literals, then commands in place |
//! | [`response`], [`structure`], [`utf7`] | the wire, outwards: responses, ENVELOPE and BODYSTRUCTURE, mailbox names |
//! | [`view`] | a session's view of its mailbox: numbers, and what is not yet told |
//! | `store` | answers a server's questions from any mail store (feature `store`) |

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub(crate) mod capability;
pub mod client;
pub mod command;
pub mod config;
pub mod error;
pub mod event;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod request;
pub mod response;
pub mod server;
#[cfg(feature = "store")]
pub mod store;
pub mod structure;
pub mod utf7;
pub mod view;

pub use config::{Config, Limits};
pub use event::{Event, News};
pub use request::{Answered, Request};
pub use server::Server;
