//! Serves one person's mail over IMAP: the session, the fulfiller that answers it, and a store that keeps the mail.
//!
//! `cargo run -p minimal-imap`, then in another terminal:
//! `curl --user me@localhost:secret -T message.txt imap://127.0.0.1:2144/INBOX` puts a message in,
//! `curl --user me@localhost:secret 'imap://127.0.0.1:2144/INBOX;UID=1'` reads it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use imap_proto_core::store::Fulfiller;
use imap_proto_core::{Config, Event, News, Server};
use mailstore_embedded::{NewUser, Store};
use mailstore_trait::date::Timestamp;
use mailstore_trait::drive::{DriveLimits, Embedder, Plain, drive};
use mailstore_trait::environment::Environment;
use mailstore_trait::future::BoxStream;
use mailstore_trait::hints::Hint;
use mailstore_trait::session::Peer;
use mailstore_trait::store::MailStore;

/// The clock and the randomness, which no library takes by itself.
struct System;

impl Environment for System {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn fill(&self, octets: &mut [u8]) {
        // Nonces that can be guessed are worse than no server.
        getrandom::fill(octets).unwrap_or_else(|_| std::process::abort());
    }
}

/// Brings news of the account once somebody is logged in, so that an IDLE hears of it.
struct Watch {
    store: Arc<Store>,
    hints: Option<BoxStream<'static, Hint>>,
}

impl Embedder<Server> for Watch {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        if let Event::LoggedIn { account, .. } = event {
            self.hints = Some(self.store.hints().watch(account));
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
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(Store::open("minimal-imap-data", mailstore_embedded::Config::default())?);
    if store.users().list().await?.is_empty() {
        let verifiers = store.users().records("secret".into()).await?;
        let me = store.users().add(NewUser::new("me@localhost", verifiers)).await?;
        store.provision(me.account, &[]).await?;
    }
    let mut config = Config::default();
    config.allow_cleartext = true; // without TLS: loopback only
    let config = Arc::new(config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:2144").await?;
    println!("listening imap {}", listener.local_addr()?);
    loop {
        let (tcp, address) = listener.accept().await?;
        let (config, store) = (Arc::clone(&config), Arc::clone(&store));
        tokio::spawn(async move {
            let peer = Peer::new(address);
            let mut session = Server::new(config, &peer);
            let people = Arc::new(store.users().clone());
            let mut answers = Fulfiller::new(Arc::clone(&store) as _, people, Arc::new(System), &peer);
            let mut watch = Watch { store, hints: None };
            let ended = drive(&mut session, &mut Plain(tcp), &mut answers, &mut watch, &DriveLimits::default()).await;
            eprintln!("{address}: {ended:?}");
        });
    }
}
