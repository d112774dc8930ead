//! What every mail protocol of this workspace shares.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mime`] | the MIME structure of messages: scanner, skeleton, header and body decoding |
//! | [`session`] | the one shape of every protocol: [`session::Session`], its outputs and questions |
//! | [`id`], [`flags`], [`uid_set`], [`date`] | plain data: identities, flags and keywords, sets of UIDs, instants |
//! | [`folder`], [`item`], [`change`] | what is read: folders, pages of rows, changes since a cursor |
//! | [`query`] | what is looked for in a mailbox, and the search for it |
//! | [`batch`], [`queue`] | what is written: atomic batches, mail waiting to leave (feature `async`) |
//! | [`sasl`], [`password`] | SASL mechanisms as state machines on both sides; what is stored of a password |
//! | [`proxy`] | who is behind a load balancer |
//! | [`store`] | the contract a storage backend keeps (feature `async`) |
//! | [`quota`], [`acl`], [`metadata`] | what a store may keep beside mail: limits, rights, annotations |
//! | [`search`] | the full-text index a store may keep (feature `async`) |
//! | [`guard`] | a store as one principal may see it (feature `async`) |
//! | [`hints`], [`leases`], [`directory`], [`auth`] | news, exclusive rights, people and their logins (feature `async`) |
//! | [`environment`] | the clock and the randomness a fulfiller is given (feature `async`) |
//! | [`drive`] | runs a session over a tokio stream (feature `tokio`) |
//! | [`testkit`] | what proves sessions and stores (feature `testkit`) |

pub mod acl;
pub mod change;
pub mod date;
pub mod error;
pub mod flags;
pub mod folder;
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod item;
pub mod metadata;
pub mod mime;
pub mod password;
pub mod proxy;
pub mod query;
pub mod quota;
pub mod sasl;
#[cfg(feature = "async")]
pub mod search;
pub mod session;
pub mod uid_set;

#[cfg(feature = "async")]
pub mod auth;
#[cfg(feature = "async")]
pub mod batch;
#[cfg(feature = "async")]
pub mod directory;
#[cfg(feature = "tokio")]
pub mod drive;
#[cfg(feature = "async")]
pub mod environment;
#[cfg(feature = "async")]
pub mod future;
#[cfg(feature = "async")]
pub mod guard;
#[cfg(feature = "async")]
pub mod hints;
#[cfg(feature = "async")]
pub mod leases;
#[cfg(feature = "async")]
pub mod queue;
#[cfg(feature = "async")]
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
