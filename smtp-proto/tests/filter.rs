//! Filters: what looks at a message before it is accepted can rewrite it, add fields, pick its folder and refuse it.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use common::{codes, epoch, peer};
use mailstore_trait::folder::Role;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::AccountId;
use mailstore_trait::session::{Fulfil, Output, Session};
use mailstore_trait::store::{MailStore, ViewOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::request::{Envelope, Origin};
use smtp_proto::store::{Accepted, Filter, Filtering, Fulfiller, Policy, Verdict, World};
use smtp_proto::{Config, Server};

/// Replaces every `sour` by `sweet`, wherever pieces end, and calls messages by their subject.
#[derive(Default)]
struct Sweetener {
    seen: Mutex<Vec<String>>,
}

struct Tasted {
    held: BytesMut,
    whole: String,
    who: String,
    begun: bool,
    seen: Arc<Sweetener>,
}

struct Shared(Arc<Sweetener>);

impl Filter for Shared {
    fn open(&self, origin: &Arc<Origin>, envelope: &Arc<Envelope>) -> Option<Box<dyn Filtering>> {
        let sender = envelope.sender.address.as_ref()?;
        let who = format!("{} {sender} {}", origin.hello, envelope.recipients.len());
        Some(Box::new(Tasted { held: BytesMut::new(), whole: String::new(), who, begun: false, seen: self.0.clone() }))
    }
}

impl Filtering for Tasted {
    fn pass(&mut self, octets: Bytes) -> Bytes {
        self.held.extend_from_slice(&octets);
        self.whole.push_str(std::str::from_utf8(&octets).unwrap());
        Bytes::new()
    }

    fn begin(&mut self, added: &str) {
        assert!(added.starts_with("Received: from ") && !self.begun, "{added}");
        // Told in front of the octets in which the header ends.
        assert!(!self.whole.contains("\r\n\r\n") && !self.whole.starts_with("\r\n"), "{}", self.whole);
        self.begun = true;
    }

    fn judge(self: Box<Self>) -> BoxFuture<'static, Verdict> {
        assert!(self.begun);
        self.seen.seen.lock().unwrap().push(self.who);
        let rest = String::from_utf8(self.held.to_vec()).unwrap().replace("sour", "sweet").into();
        let refused = self.whole.contains("rotten");
        let folder = self.whole.contains("spam").then_some(Role::Junk);
        Box::pin(async move {
            if refused {
                let text = "No rotten mail".into();
                return Verdict::Refused(Reply { code: 550, enhanced: Some(EnhancedCode::new(5, 7, 1)), text });
            }
            Verdict::Accepted(Accepted { rest, fields: "X-Tasted: yes\r\n".into(), folder })
        })
    }
}

struct House {
    store: MemStore,
    server: Server,
    fulfiller: Fulfiller,
    runtime: tokio::runtime::Runtime,
    anna: AccountId,
    seen: Arc<Sweetener>,
}

impl House {
    fn new() -> House {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (store, directory) = (MemStore::new(), Arc::new(MemDirectory::new()));
        let anna = directory.add("anna@example.org", "secret").unwrap();
        let ben = directory.add("ben@example.org", "secret").unwrap();
        runtime.block_on(store.provision(anna, &[(Role::Junk, "Junk")])).unwrap();
        runtime.block_on(store.provision(ben, &[])).unwrap();
        let world = World {
            store: Arc::new(store.clone()),
            directory: directory.clone(),
            authenticator: directory,
            environment: Arc::new(TestEnvironment::new(1)),
        };
        let config = Config::new("mx.example.org");
        let policy = Arc::new(Policy::new("mx.example.org", config.role));
        let seen = Arc::new(Sweetener::default());
        let mut fulfiller = Fulfiller::new(world, policy, &peer());
        fulfiller.set_filter(Arc::new(Shared(seen.clone())));
        House { store, server: Server::new(Arc::new(config), peer()), fulfiller, runtime, anna, seen }
    }

    fn codes(&mut self, lines: &str) -> Vec<u16> {
        let octets = lines.replace('\n', "\r\n");
        let (mut left, mut said) = (octets.as_bytes(), String::new());
        let now = epoch();
        loop {
            match self.server.poll_output(now, 0) {
                Output::Send(octets) => said.push_str(std::str::from_utf8(&octets).unwrap()),
                Output::Request(request) => {
                    let answered = self.runtime.block_on(self.fulfiller.fulfil(request));
                    self.server.resume(answered);
                }
                Output::Wait(_) if left.is_empty() => return codes(&said),
                // A few octets at a time: words are cut everywhere.
                Output::Wait(_) => {
                    let some = &left[..left.len().min(3)];
                    left = &left[self.server.handle_input(some)..];
                }
                Output::Close(_) => return codes(&said),
                _ => {}
            }
        }
    }

    fn messages(&self, role: Role) -> Vec<String> {
        self.runtime.block_on(async {
            let list = self.store.folders(self.anna).await.unwrap();
            let folder = list.folders.iter().find(|folder| folder.role == Some(role)).unwrap().id;
            let view = self.store.view(self.anna, folder, ViewOptions::default()).await.unwrap();
            let page = self.store.items(self.anna, folder, &view.uids.to_set(), Default::default()).await.unwrap();
            let mut messages = Vec::new();
            for row in page.rows() {
                let octets = self.store.read(self.anna, row.email, 0, 1 << 20).await.unwrap();
                messages.push(String::from_utf8(octets.to_vec()).unwrap());
            }
            messages
        })
    }
}

#[test]
fn a_filter_rewrites_adds_and_picks_the_folder() {
    let mut house = House::new();
    let lines = "EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<anna@example.org>\nDATA\nSubject: sour\n\nsour milk\n.\n";
    assert_eq!(house.codes(lines), [220, 250, 250, 250, 354, 250]);
    let inbox = house.messages(Role::Inbox);
    assert!(
        inbox[0].starts_with(
            "Return-Path: <a@b.example>\r\nDelivered-To: anna@example.org\r\nX-Tasted: yes\r\nReceived: from x "
        ),
        "{}",
        inbox[0]
    );
    assert!(inbox[0].ends_with("Subject: sweet\r\n\r\nsweet milk\r\n"), "{}", inbox[0]);

    let lines = "MAIL FROM:<a@b.example>\nRCPT TO:<anna@example.org>\nRCPT TO:<ben@example.org>\nDATA\n\nspam\n.\n";
    assert_eq!(house.codes(lines), [250, 250, 250, 354, 250]);
    assert_eq!((house.messages(Role::Inbox).len(), house.messages(Role::Junk).len()), (1, 1));
    assert_eq!(*house.seen.seen.lock().unwrap(), ["x a@b.example 1", "x a@b.example 2"]);
}

#[test]
fn what_a_filter_refuses_leaves_nothing() {
    let mut house = House::new();
    let lines = "EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<anna@example.org>\nDATA\n\nrotten\n.\n";
    assert_eq!(house.codes(lines), [220, 250, 250, 250, 354, 550]);
    // The next message is a new one: nothing of the refused one is left in the filter.
    let lines = "MAIL FROM:<a@b.example>\nRCPT TO:<anna@example.org>\nDATA\n\nfresh\n.\n";
    assert_eq!(house.codes(lines), [250, 250, 354, 250]);
    let inbox = house.messages(Role::Inbox);
    assert!(inbox.len() == 1 && inbox[0].ends_with("\r\n\r\nfresh\r\n"), "{inbox:?}");
}

#[test]
fn a_filter_of_a_message_without_a_body_is_told_what_is_added() {
    let mut house = House::new();
    let lines = "EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<anna@example.org>\nDATA\nSubject: sour\n.\n";
    assert_eq!(house.codes(lines), [220, 250, 250, 250, 354, 250]);
    assert!(house.messages(Role::Inbox)[0].ends_with("Subject: sweet\r\n"));
}

#[test]
fn a_message_that_a_filter_lets_by_is_not_touched() {
    let mut house = House::new();
    let lines = "EHLO x\nMAIL FROM:<>\nRCPT TO:<anna@example.org>\nDATA\nSubject: sour\n\nrotten\n.\n";
    assert_eq!(house.codes(lines), [220, 250, 250, 250, 354, 250]);
    assert!(house.messages(Role::Inbox)[0].ends_with("Subject: sour\r\n\r\nrotten\r\n"));
    assert!(house.seen.seen.lock().unwrap().is_empty());
}
