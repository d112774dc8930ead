//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Each takes any octets, panics when an invariant breaks and returns otherwise. Not part of the public contract.

mod sasl;

pub use sasl::{sasl_client, sasl_server, verifier_record};
