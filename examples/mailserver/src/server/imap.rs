//! IMAP connections.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use imap_proto_core::store::{Fulfiller, Sharing};
use imap_proto_core::{Config as Imap, Event, News, Server as Session};
use mailstore_trait::directory::{Directory, Resolution};
use mailstore_trait::drive::{Embedder, Ended, drive};
use mailstore_trait::future::BoxStream;
use mailstore_trait::hints::Hint;
use mailstore_trait::id::AccountId;
use mailstore_trait::session::Peer;
use mailstore_trait::store::MailStore;

use super::{Server, idle, length};
use crate::config::Config;
use crate::shutdown::{Poller, Shutdown};
use crate::stream::Stream;

pub(super) fn config(config: &Config) -> Imap {
    let mut imap = Imap::default();
    imap.greeting = format!("{} ready", config.hostname);
    imap.starttls = true;
    imap.compress = true;
    imap.allow_cleartext = config.cleartext_logins;
    imap.mechanisms = super::mechanisms().collect();
    imap.id = vec![("name".into(), "mailserver".into()), ("version".into(), env!("CARGO_PKG_VERSION").into())];
    let limits = &mut imap.limits;
    limits.message = config.limits.message_size.0;
    limits.line = length(config.limits.line_length);
    limits.line_before_login = limits.line_before_login.min(limits.line);
    limits.failed_logins = limits.failed_logins.min(config.limits.failed_logins);
    // RFC 9051 §5.4: at least thirty minutes; less only when the configuration says so.
    limits.idle = limits.idle.min(idle(config));
    limits.login = limits.login.min(idle(config));
    imap
}

impl Server {
    /// Serves one connection to its end.
    pub(crate) async fn imap(&self, mut stream: Stream, peer: Peer, shutdown: &Shutdown) -> Ended {
        let mut fulfiller = Fulfiller::new(
            Arc::clone(&self.store),
            Arc::clone(&self.authenticator),
            Arc::clone(&self.environment),
            &peer,
        )
        .with_sharing(self.sharing().await)
        .with_faults(Box::new(move |error| tracing::error!(%error, "imap")));
        let mut session = Session::new(Arc::clone(&self.imap), &peer);
        let mut watcher = Watcher { peer, shutdown: shutdown.poller(), store: Arc::clone(&self.store), hints: None };
        drive(&mut session, &mut stream, &mut fulfiller, &mut watcher, &self.drive).await
    }
}

impl Server {
    /// Who shares with whom. Asked for each connection: accounts come and go while the server runs.
    async fn sharing(&self) -> Sharing {
        let mut shared = None;
        if let Some(address) = &self.sharing.shared {
            shared = self.account(address).await;
        }
        let mut administrators = Vec::new();
        for address in &self.sharing.administrators {
            administrators.extend(self.account(address).await);
        }
        // People and nobody else: rights are not for who an alias or a catch-all happens to mean.
        Sharing::new(Arc::new(self.directory.inner().clone())).with_shared(shared).with_administrators(administrators)
    }

    async fn account(&self, address: &str) -> Option<AccountId> {
        match self.directory.inner().resolve(address).await {
            Ok(Resolution::Mailboxes(principals)) => match principals.as_slice() {
                [principal] => Some(principal.account),
                _ => None,
            },
            _ => None,
        }
    }
}

struct Watcher {
    peer: Peer,
    shutdown: Poller,
    store: Arc<dyn MailStore>,
    /// News of the account whose mailbox is selected, or else of the one that is logged in.
    hints: Option<BoxStream<'static, Hint>>,
}

impl Embedder<Session> for Watcher {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        tracing::debug!(peer = %self.peer.address, ?event, "imap");
        match event {
            Event::LoggedIn { account, .. } | Event::Watch { account } => {
                self.hints = Some(self.store.hints().watch(account));
            }
            Event::LoggedOut => self.hints = None,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<News> {
        let Some(hints) = &mut self.hints else { return Poll::Pending };
        match hints.as_mut().poll_next(context) {
            Poll::Ready(Some(Hint { account, upto })) => Poll::Ready(News::Hint { account, upto }),
            // The store will say no more; the session still sees what is new with its next command.
            Poll::Ready(None) => {
                self.hints = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.shutdown.poll(context)
    }
}
