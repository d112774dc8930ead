//! `[dns]`: whom to ask for names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Span;

/// The resolver's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dns {
    /// The servers to ask; the system's when there are none.
    pub(crate) servers: Vec<SocketAddr>,
    /// How long one server may take for one question.
    pub(crate) timeout: Span,
    /// Whether answers are validated by DNSSEC, so that TLSA records count. The servers must pass signatures on.
    pub(crate) dnssec: bool,
    /// Keys of the root in a file, instead of the known ones.
    pub(crate) trust_anchor: Option<PathBuf>,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns { servers: Vec::new(), timeout: Span(Duration::from_secs(5)), dnssec: false, trust_anchor: None }
    }
}
