//! IMAP as a state machine without I/O.

pub(crate) mod capability;
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
