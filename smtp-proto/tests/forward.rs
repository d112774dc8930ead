//! Forwarding: addresses that stand for others, elsewhere too.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{codes, epoch, peer};
use mailstore_trait::directory::aliases::Aliases;
use mailstore_trait::environment::Environment;
use mailstore_trait::id::AccountId;
use mailstore_trait::queue::{Leased, QueueEntry};
use mailstore_trait::session::{Fulfil, LayerInfo, Output, Session};
use mailstore_trait::store::{Caps, MailStore, ViewOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use smtp_proto::queue::Retry;
use smtp_proto::store::{Deliverer, Fulfiller, Policy, World};
use smtp_proto::{Config, Server};

const ANN: u64 = 1;
const BEN: u64 = 2;

struct House {
    store: MemStore,
    environment: Arc<TestEnvironment>,
    world: World,
    policy: Arc<Policy>,
    server: Server,
    fulfiller: Fulfiller,
    runtime: tokio::runtime::Runtime,
}

fn relay() -> Config {
    Config::new("mx.example.org")
}

impl House {
    fn new(config: Config, store: MemStore, aliases: &[(&str, &[&str])]) -> House {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let people = MemDirectory::new();
        for user in ["ann", "ben"] {
            let account = people.add(&format!("{user}@example.org"), "secret").unwrap();
            runtime.block_on(store.provision(account, &[])).unwrap();
        }
        let people = Arc::new(people);
        let directory = Aliases::new(people.clone(), Some('+'));
        directory.set(aliases.iter().map(|(address, targets)| {
            ((*address).to_owned(), targets.iter().map(|target| (*target).to_owned()).collect())
        }));
        let environment = Arc::new(TestEnvironment::new(1));
        let world = World {
            store: Arc::new(store.clone()),
            directory: Arc::new(directory),
            authenticator: people,
            environment: environment.clone(),
        };
        let policy = Arc::new(Policy::new("mx.example.org", config.role));
        let mut fulfiller = Fulfiller::new(world.clone(), policy.clone(), &peer());
        fulfiller.allow_cleartext();
        let config = Config { cleartext_auth: true, ..config };
        let server = Server::new(Arc::new(config), peer());
        House { store, environment, world, policy, server, fulfiller, runtime }
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
                Output::Wait(_) => left = &left[self.server.handle_input(left)..],
                Output::Close(_) => return codes(&said),
                Output::Layer(_) => self.server.layered(Ok(LayerInfo::new())),
                _ => {}
            }
        }
    }

    /// Sends one message; the code of its final dot.
    fn send(&mut self, mail: &str, rcpt: &str, header: &str) -> u16 {
        let lines = format!("EHLO x\nMAIL FROM:{mail}\nRCPT TO:{rcpt}\nDATA\n{header}\n\ntext\n.\n");
        *self.codes(&lines).last().unwrap()
    }

    fn inbox(&self, account: u64) -> Vec<String> {
        let account = AccountId::new(account).unwrap();
        self.runtime.block_on(async {
            let folder = self.store.folders(account).await.unwrap().inbox().unwrap().id;
            let view = self.store.view(account, folder, ViewOptions::default()).await.unwrap();
            let page = self.store.items(account, folder, &view.uids.to_set(), Default::default()).await.unwrap();
            let mut messages = Vec::new();
            for row in page.rows() {
                let octets = self.store.read(account, row.email, 0, 1 << 20).await.unwrap();
                messages.push(String::from_utf8(octets.to_vec()).unwrap());
            }
            messages
        })
    }

    fn queue(&self) -> Vec<QueueEntry> {
        self.runtime.block_on(self.store.as_queue().unwrap().list(None, 100)).unwrap()
    }

    fn content(&self, entry: &QueueEntry) -> String {
        let octets = self.runtime.block_on(self.store.as_queue().unwrap().read(entry.id, 0, 1 << 20)).unwrap();
        String::from_utf8(octets.to_vec()).unwrap()
    }

    fn lease(&self) -> Leased {
        let queue = self.store.as_queue().unwrap();
        let leased = queue.lease(self.environment.now(), 1, Duration::from_secs(60));
        self.runtime.block_on(leased).unwrap().pop().unwrap()
    }

    fn deliverer(&self) -> Deliverer {
        Deliverer::new(self.world.clone(), self.policy.clone(), Retry::default())
    }
}

fn recipients(entry: &QueueEntry) -> Vec<(&str, String)> {
    entry.recipients.iter().map(|it| (it.address.as_str(), it.parameters.join(" "))).collect()
}

#[test]
fn a_stranger_s_mail_goes_onward_with_its_return_path() {
    let mut house = House::new(relay(), MemStore::new(), &[("ann@example.org", &["ann@away.example"])]);
    assert_eq!(house.send("<x@else.example>", "<ann+lists@example.org>", "Subject: a"), 250);
    assert!(house.inbox(ANN).is_empty(), "no copy stays");
    let queue = house.queue();
    assert_eq!(queue.len(), 1);
    assert_eq!(queue[0].return_path.as_deref(), Some("x@else.example"));
    let orcpt = "ORCPT=rfc822;ann+2Blists@example.org".to_owned();
    assert_eq!(recipients(&queue[0]), [("ann@away.example", orcpt)]);
    let content = house.content(&queue[0]);
    assert!(content.starts_with("Delivered-To: ann+lists@example.org\r\nReceived: from x "), "{content}");
    // Another host's address that nobody here stands for is still not relayed to.
    assert_eq!(house.codes("MAIL FROM:<x@else.example>\nRCPT TO:<ann@away.example>\n"), [250, 550]);
}

#[test]
fn the_null_path_stays_null() {
    let mut house = House::new(relay(), MemStore::new(), &[("ann@example.org", &["ann@away.example"])]);
    assert_eq!(house.send("<>", "<ann@example.org>", "Subject: a report"), 250);
    assert_eq!(house.queue()[0].return_path, None);
}

#[test]
fn a_copy_stays_where_the_entry_says_so() {
    let aliases: &[(&str, &[&str])] =
        &[("ann@example.org", &["ann@example.org", "ann@away.example", "ben@example.org"])];
    let mut house = House::new(relay(), MemStore::new(), aliases);
    assert_eq!(house.send("<x@else.example>", "<ann@example.org> NOTIFY=SUCCESS,FAILURE", "Subject: a"), 250);
    assert_eq!((house.inbox(ANN).len(), house.inbox(BEN).len()), (1, 1));
    let queue = house.queue();
    // One entry tells the sender that the recipient was expanded, the other goes onward and reports failures only.
    let mut all: Vec<_> = queue.iter().flat_map(recipients).collect();
    all.sort();
    let of = |notify: &str, orcpt: &str| format!("NOTIFY={notify}{orcpt}");
    assert_eq!(
        all,
        [
            ("ann@away.example", of("FAILURE", " ORCPT=rfc822;ann@example.org")),
            ("ann@example.org", of("SUCCESS,FAILURE", "")),
        ]
    );
}

/// Two hosts that forward to each other would send a message round until its Received headers are too many.
#[test]
fn what_comes_back_goes_no_further() {
    let mut house = House::new(relay(), MemStore::new(), &[("ann@example.org", &["ann@away.example"])]);
    let header = "Delivered-To: ann@away.example\nDelivered-To: ANN@example.org\nSubject: again";
    assert_eq!(house.send("<x@else.example>", "<ann@example.org>", header), 554);
    assert!(house.queue().is_empty());
    let mut house =
        House::new(relay(), MemStore::new(), &[("ann@example.org", &["ben@example.org", "ann@away.example"])]);
    assert_eq!(house.send("<x@else.example>", "<ann@example.org>", header), 250);
    assert!(house.queue().is_empty() && house.inbox(BEN).len() == 1, "only the part that would go round is left out");
}

/// Somebody who sends on a message from their own mailbox keeps the mark that it was there.
#[test]
fn users_send_on_what_they_have() {
    let submission = Config::submission("mx.example.org", ["PLAIN"]);
    let aliases: &[(&str, &[&str])] = &[("ben@example.org", &["ben@away.example"])];
    let mut house = House::new(submission, MemStore::new(), aliases);
    assert_eq!(house.codes("EHLO x\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\n"), [220, 250, 235]);
    let lines = "MAIL FROM:<ann@example.org>\nRCPT TO:<ben@example.org>\nDATA\n\
                 Delivered-To: ben@example.org\nSubject: again\n\ntext\n.\n";
    assert_eq!(house.codes(lines), [250, 250, 354, 250]);
    assert_eq!(recipients(&house.queue()[0])[0].0, "ben@away.example");
}

#[test]
fn what_was_spooled_goes_onward_when_its_turn_comes() {
    let mut small = MemStore::CAPS;
    small.max_accounts = 1;
    let aliases: &[(&str, &[&str])] = &[("all@example.org", &["ann@example.org", "ben@example.org", "c@away.example"])];
    let mut house = House::new(relay(), MemStore::with_caps(Caps::new(1, small.max_ops, small.max_message)), aliases);
    assert_eq!(house.send("<x@else.example>", "<all@example.org> NOTIFY=FAILURE", "Subject: a"), 250);
    let mut leased = house.lease();
    let deliverer = house.deliverer();
    house.runtime.block_on(deliverer.deliver_locally(&mut leased.entry));
    assert_eq!((house.inbox(ANN).len(), house.inbox(BEN).len()), (1, 1));
    let waiting: Vec<_> = leased.entry.recipients.iter().filter(|it| it.is_waiting()).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].address, "c@away.example");
    assert_eq!(waiting[0].parameters.join(" "), "NOTIFY=FAILURE ORCPT=rfc822;all@example.org");
}

#[test]
fn nobody_sends_as_somebody_whose_mail_they_get() {
    let submission = Config::submission("mx.example.org", ["PLAIN"]);
    let aliases: &[(&str, &[&str])] =
        &[("ben@example.org", &["ann@example.org"]), ("@example.org", &["ann@example.org"])];
    let mut house = House::new(submission, MemStore::new(), aliases);
    // ann@example.org, secret
    assert_eq!(house.codes("EHLO x\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\n"), [220, 250, 235]);
    for (sender, code) in [("ann", 250), ("ann+shop", 250), ("whatever", 250), ("ben", 550)] {
        assert_eq!(house.codes(&format!("MAIL FROM:<{sender}@example.org>\nRSET\n")), [code, 250], "{sender}");
    }
}
