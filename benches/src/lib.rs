//! What the benches share: clocks, sampling, fixed inputs, and the work itself.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clock`] | processor time of a thread and of the process |
//! | [`race`] | contestants sampled in turn, and the table they end in |
//! | [`placed`] | buffers that lie apart |
//! | [`corpus`] | commands and messages, the same in every run |
//! | [`smtp`], [`imap`], [`mime`], [`pop3`], [`store`] | one unit of work of each, ours |
//!
//! The benches in `benches/` time this work beside a physical limit; `compare/` times it beside other crates; `tests/`
//! count what it allocates. All three run the very same functions.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench whose input is not understood has nothing to say"
)]

pub mod clock;
pub mod corpus;
pub mod imap;
pub mod mime;
pub mod placed;
pub mod pop3;
pub mod race;
pub mod smtp;
#[cfg(feature = "store")]
pub mod store;
