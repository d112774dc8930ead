//! The server's life: open the data, listen, serve until a signal, end gracefully.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::config::Config;
use crate::listener::{Service, accept, bind};
use crate::outbound::Outbound;
use crate::server::Server;
use crate::tls::Certificates;
use crate::{Failure, data, shutdown};

/// Serves until SIGTERM or SIGINT. What may change while it runs is read again on SIGHUP, from the configuration that was
/// named on the command line.
pub(crate) async fn serve(config: Config, named: Option<&Path>) -> Result<(), Failure> {
    for (name, unserved) in [("https", &config.listen.https), ("metrics", &config.listen.metrics)] {
        if !unserved.0.is_empty() {
            tracing::warn!("listen.{name} = {unserved} is configured, but this version does not serve it");
        }
    }
    let store = Arc::new(data::open(&config)?);
    let certificates = Certificates::open(&config)?;
    let queued = Arc::new(Notify::new());
    let server = Arc::new(Server::new(&config, Arc::clone(&store), &certificates, Arc::clone(&queued))?);
    let outbound = Outbound::new(&config, server.world(), queued)?;
    // Signals are caught before the server says that it is ready.
    let mut signals = Signals::catch().map_err(Failure::Runtime)?;

    let mut listeners = Vec::new();
    for (service, addresses) in Service::all(&config.listen) {
        for &address in addresses {
            let listener = bind(address).map_err(|source| Failure::Listen { address, source })?;
            let local = listener.local_addr().map_err(|source| Failure::Listen { address, source })?;
            listeners.push((service, listener, local));
        }
    }
    // Behind everything that may fail: the password is told once, and a first run that ends before it tells it would
    // leave an account nobody can use.
    let first = data::first_account(&config, &store).await?;
    let (trigger, shutdown) = shutdown::channel();
    let announced: Vec<(Service, SocketAddr)> =
        listeners.iter().map(|(service, _, local)| (*service, *local)).collect();
    for (service, listener, _) in listeners {
        tokio::spawn(accept(listener, service, Arc::clone(&server), shutdown.clone()));
    }
    tokio::spawn(outbound.run(shutdown.clone()));
    drop(shutdown);
    announce(&announced, first).map_err(Failure::Runtime)?;

    loop {
        match signals.next().await {
            Signal::End => break,
            Signal::Reload => {
                match certificates.reload() {
                    Ok(()) => tracing::info!("the certificate was read again"),
                    Err(error) => tracing::error!(%error, "the certificate stays as it is"),
                }
                match Config::load(named) {
                    Ok(config) => server.set_aliases(&config),
                    Err(error) => tracing::error!(%error, "the aliases stay as they are"),
                }
            }
        }
    }
    tracing::info!("ending");
    if !trigger.end(config.shutdown_grace.0).await {
        tracing::warn!("connections were cut off at the end of shutdown_grace");
    }
    drop(server);
    if let Ok(store) = Arc::try_unwrap(store) {
        store.close().await;
    }
    Ok(())
}

/// What whoever started the server waits for, each line flushed.
fn announce(listening: &[(Service, SocketAddr)], first: Option<(String, String)>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (service, address) in listening {
        writeln!(out, "listening {} {address}", service.name())?;
    }
    if let Some((address, password)) = first {
        writeln!(out, "account {address} password {password}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

/// What the operator wants.
enum Signal {
    End,
    Reload,
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}
