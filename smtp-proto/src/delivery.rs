//! Where mail for a domain goes, and how it is protected on the way: decisions without I/O.
//!
//! RFC 5321 §5, RFC 7505, RFC 7672, RFC 8460, RFC 8461, RFC 8689. A [`Targets`] asks for the records of one destination and
//! says which host and address to try next under which [`Security`]; it is told what came of each try. Nothing here
//! looks anything up, connects, or reads a clock: under feature `store`, `resolver` holds the traits that do.
//!
//! | module | what it holds |
//! |---|---|
//! | [`domain`] | a destination: a name in A-labels, or an address literal |
//! | [`request`] | what a [`Targets`] asks: MX, addresses, TLSA, policies, attempts |
//! | [`targets`] | the search itself |
//! | [`dane`] | which certificates a TLSA record means |
//! | [`sts`] | MTA-STS: record, policy, cache |
//! | [`tlsrpt`] | TLSRPT: record, results of a day, the report |
//! | [`fallback`] | hosts whose TLS is broken, for a while |

pub mod dane;
pub mod domain;
pub mod fallback;
pub mod request;
#[cfg(feature = "store")]
pub mod resolver;
pub mod sts;
pub mod targets;
pub mod tlsrpt;

pub use domain::Domain;
pub use fallback::Fallbacks;
pub use request::{Answered, Attempted, Request, Security, Target};
pub use targets::{Config, Limits, Requirement, Step, Targets};
