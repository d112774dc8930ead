//! POP3 connections.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use mailstore_trait::drive::{Embedder, Ended, drive};
use mailstore_trait::session::Peer;
use pop3_proto::store::Fulfiller;
use pop3_proto::{Config as Pop3, Event, Server as Session};

use super::{Server, idle, length};
use crate::config::Config;
use crate::shutdown::{Poller, Shutdown};
use crate::stream::Stream;

pub(super) fn config(config: &Config) -> Pop3 {
    let mut pop3 = Pop3::new(config.hostname.as_str());
    pop3.tls = true;
    pop3.allow_cleartext = config.cleartext_logins;
    pop3.mechanisms = super::mechanisms().collect();
    let limits = &mut pop3.limits;
    limits.line = limits.line.min(length(config.limits.line_length));
    limits.failed_logins = limits.failed_logins.min(config.limits.failed_logins);
    // RFC 1939 §3: at least ten minutes; less only when the configuration says so.
    limits.idle = limits.idle.min(idle(config));
    pop3
}

impl Server {
    /// Serves one connection to its end.
    pub(crate) async fn pop3(&self, mut stream: Stream, peer: Peer, shutdown: &Shutdown) -> Ended {
        let mut fulfiller = Fulfiller::new(self.maildrops.clone(), &peer);
        if self.pop3.allow_cleartext {
            fulfiller = fulfiller.allow_cleartext();
        }
        let mut session = Session::new(Arc::clone(&self.pop3), &peer);
        let mut watcher = Watcher { peer, shutdown: shutdown.poller() };
        drive(&mut session, &mut stream, &mut fulfiller, &mut watcher, &self.drive).await
    }
}

struct Watcher {
    peer: Peer,
    shutdown: Poller,
}

impl Embedder<Session> for Watcher {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        tracing::debug!(peer = %self.peer.address, ?event, "pop3");
        ControlFlow::Continue(())
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.shutdown.poll(context)
    }
}
