//! What proves sessions and stores: reference pieces that are deterministic, and tests that run against anybody's code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`transcript`] | conversations as text files, played at every split and re-blessed with `BLESS=1` |
//! | [`session`] | the four tests every [`Session`](crate::session::Session) must pass |
//! | [`pipe`] | a client and a server joined in virtual time |
//! | [`driven`] | one session in virtual time: what the three above are made of |
//! | [`compliance`] | that `COMPLIANCE.toml`, citations and tests of a crate agree |
//! | [`environment`], [`random`] | a clock that is set and randomness that repeats |
//!
//! Code here panics: a panic is how a test says no.

pub mod compliance;
pub mod driven;
pub mod environment;

pub mod pipe;
pub mod random;
pub mod session;

pub mod transcript;

#[cfg(test)]
mod parley;
