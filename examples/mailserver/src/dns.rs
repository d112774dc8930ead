//! The resolver that everything shares: one cache, and the same servers for every question.

use std::sync::Arc;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::config::Dns;

/// A resolver that asks the configured servers, or the system's where none are.
pub(crate) fn resolver(config: &Dns) -> Result<TokioResolver, NetError> {
    builder(config)?.build()
}

/// The same for where mail goes: with `dnssec`, every answer is validated, and what is forged is none.
pub(crate) fn validating(config: &Dns) -> Result<TokioResolver, NetError> {
    let mut builder = builder(config)?;
    builder.options_mut().validate = config.dnssec;
    if let Some(path) = config.trust_anchor.as_ref().filter(|_| config.dnssec) {
        // The options' own path for it is looked at by nobody.
        let anchors =
            TrustAnchors::from_file(path).map_err(|error| NetError::Msg(format!("{}: {error}", path.display())))?;
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    builder.build()
}

fn builder(config: &Dns) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    let mut builder = if config.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = config.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        });
        let servers = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
    };
    builder.options_mut().timeout = config.timeout.0;
    Ok(builder)
}
