//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Each takes any octets, panics when an invariant breaks and returns otherwise. Not part of the public contract.

mod mime;
mod proxy;
#[cfg(feature = "async")]
mod query;
mod sasl;

pub use mime::{mime_encoded_words, mime_headers, mime_skeleton, mime_skeleton_bytes};
pub use proxy::proxy_header;
#[cfg(feature = "async")]
pub use query::query_message;
pub use sasl::{sasl_client, sasl_server, verifier_record};
