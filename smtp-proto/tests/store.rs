//! The fulfiller over the reference store: what is answered 250 is in the mailbox or in the queue, and nothing else is.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::{codes, epoch, peer};
use mailstore_trait::id::AccountId;
use mailstore_trait::queue::{Delivery, Leased, QueueEntry, RecipientState};
use mailstore_trait::session::{Fulfil, Output, Session};
use mailstore_trait::store::{Caps, MailStore, ViewOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use smtp_proto::client::request::{Failure, Outcome, Stage};
use smtp_proto::config::{Ask, Extensions, Role};
use smtp_proto::queue::Retry;
use smtp_proto::queue::entry::{self, Via};
use smtp_proto::rate::{Rate, Rates};
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::store::{Deliverer, Fulfiller, Policy, World};
use smtp_proto::{Config, Server};

/// A store, a directory and one SMTP session over both.
struct House {
    store: MemStore,
    environment: Arc<TestEnvironment>,
    world: World,
    policy: Arc<Policy>,
    server: Server,
    fulfiller: Fulfiller,
    runtime: tokio::runtime::Runtime,
    anna: AccountId,
    ben: AccountId,
}

impl House {
    fn new(config: Config) -> House {
        House::with_store(config, MemStore::new())
    }

    fn with_store(config: Config, store: MemStore) -> House {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = Arc::new(MemDirectory::new());
        let anna = directory.add("anna@example.org", "secret").unwrap();
        let ben = directory.add("ben@example.org", "secret").unwrap();
        directory.add_alias(anna, "info@example.org").unwrap();
        directory.add_alias(anna, "all@example.org").unwrap();
        directory.add_alias(ben, "all@example.org").unwrap();
        for account in [anna, ben] {
            runtime.block_on(store.provision(account, &[])).unwrap();
        }
        let environment = Arc::new(TestEnvironment::new(1));
        let world = World {
            store: Arc::new(store.clone()),
            directory: directory.clone(),
            authenticator: directory,
            environment: environment.clone(),
        };
        let policy = Arc::new(Policy::new("mx.example.org", config.role));
        let mut fulfiller = Fulfiller::new(world.clone(), policy.clone(), &peer());
        fulfiller.allow_cleartext();
        let config = Config { cleartext_auth: true, ..config };
        let now = mailstore_trait::environment::Environment::now(&*environment);
        let server = Server::new(Arc::new(config), peer()).at(now);
        House { store, environment, world, policy, server, fulfiller, runtime, anna, ben }
    }

    /// With another policy.
    fn under(mut self, change: impl FnOnce(&mut Policy)) -> House {
        change(Arc::make_mut(&mut self.policy));
        self.fulfiller = Fulfiller::new(self.world.clone(), self.policy.clone(), &peer());
        self.fulfiller.allow_cleartext();
        self
    }

    /// Feeds lines; gives what the server says.
    fn say(&mut self, lines: &str) -> String {
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
                Output::Wait(_) if left.is_empty() => return said,
                Output::Wait(_) => left = &left[self.server.handle_input(left)..],
                Output::Close(_) => return said,
                Output::Layer(_) => self.server.layered(Ok(mailstore_trait::session::LayerInfo::new())),
                _ => {}
            }
        }
    }

    fn codes(&mut self, lines: &str) -> Vec<u16> {
        codes(&self.say(lines))
    }

    fn log_in(&mut self) {
        // anna@example.org, secret
        assert_eq!(self.codes("EHLO x\nAUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0\n"), [220, 250, 235]);
    }

    /// The messages in an inbox.
    fn inbox(&self, account: AccountId) -> Vec<String> {
        self.runtime.block_on(async {
            let list = self.store.folders(account).await.unwrap();
            let folder = list.inbox().unwrap().id;
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

    async fn queue_id(&self) -> mailstore_trait::id::QueueId {
        self.store.as_queue().unwrap().list(None, 1).await.unwrap()[0].id
    }

    fn lease(&self) -> Leased {
        let now = mailstore_trait::environment::Environment::now(&*self.environment);
        let queue = self.store.as_queue().unwrap();
        self.runtime.block_on(queue.lease(now, 1, Duration::from_secs(60))).unwrap().pop().unwrap()
    }

    fn deliverer(&self) -> Deliverer {
        Deliverer::new(self.world.clone(), self.policy.clone(), Retry::default())
    }
}

fn relay() -> Config {
    Config::new("mx.example.org")
}

fn submission() -> Config {
    Config::submission("mx.example.org", ["PLAIN", "SCRAM-SHA-256"])
}

fn failed(code: u16, class: u8) -> Outcome {
    let reply = Reply::new(code, EnhancedCode::new(class, 1, 1), "said the next hop");
    Outcome::from(Failure { stage: Stage::Rcpt, reply, remote: true })
}

fn settle(leased: &mut Leased, positions: &[usize], outcomes: &[Outcome]) {
    let via = Via::NextHop { host: "mx.elsewhere.example", reports: false, deliver_by: false };
    let now = leased.entry.queued;
    entry::settle(&mut leased.entry, positions, outcomes, via, now);
}

/// `Fulfil` of the driver wants a future that can move between threads.
#[test]
fn answers_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let mut house = House::new(relay());
    let Output::Send(_) = house.server.poll_output(epoch(), 0) else { panic!() };
    house.server.handle_input(b"EHLO x\r\nMAIL FROM:<a@b>\r\n");
    let request = loop {
        if let Output::Request(request) = house.server.poll_output(epoch(), 0) {
            break request;
        }
    };
    let future = house.fulfiller.fulfil(request);
    is_send(&future);
    house.runtime.block_on(async { drop(future.await) });
    fn never(deliverer: &Deliverer, leased: Leased) -> impl Future + Send + '_ {
        deliverer.conclude(leased, true, None)
    }
    let _ = never;
}

#[test]
fn a_message_is_in_the_mailbox_when_it_is_accepted() {
    let mut house = House::new(relay());
    let script = "EHLO client.example\nMAIL FROM:<from@a.example>\nRCPT TO:<Anna@example.org>\nDATA\n";
    assert_eq!(house.codes(script), [220, 250, 250, 250, 354]);
    let said = house.say("Subject: x\n\n..text\n.\n");
    assert!(said.starts_with("250 2.0.0 queued as "), "{said}");
    let inbox = house.inbox(house.anna);
    let id = said.trim().rsplit(' ').next().unwrap().to_owned();
    let expected = format!(
        "Return-Path: <from@a.example>\r\nDelivered-To: anna@example.org\r\nReceived: from client.example ([192.0.2.1])\r\n\tby mx.example.org with ESMTP id {id}\r\n\t\
         for <Anna@example.org>\r\n\t; Sun, 22 Nov 2026 12:00:00 +0000\r\nSubject: x\r\n\r\n.text\r\n"
    );
    assert_eq!(inbox, [expected]);
    assert!(house.queue().is_empty());
}

#[test]
fn no_relay_without_a_login_and_no_unknown_recipients() {
    let mut house = House::new(relay());
    let script = "EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<x@elsewhere.example>\nRCPT TO:<nobody@example.org>\nRCPT TO:<\"anna\"@example.org>\n";
    assert_eq!(house.codes(script), [220, 250, 250, 550, 550, 250]);
}

#[test]
fn users_submit_from_their_own_addresses() {
    let mut house = House::new(submission());
    house.log_in();
    assert_eq!(house.say("MAIL FROM:<ben@example.org>\n"), "550 5.7.1 Sender address is not yours\r\n");
    assert_eq!(house.codes("MAIL FROM:<info@example.org>\nRSET\nMAIL FROM:<>\nRSET\n"), [250, 250, 250, 250]);
    let script = "MAIL FROM:<anna@example.org> RET=HDRS ENVID=e1\nRCPT TO:<x@elsewhere.example> NOTIFY=FAILURE\nRCPT TO:<ben@example.org>\nDATA\n";
    assert_eq!(house.codes(script), [250, 250, 250, 354]);
    assert_eq!(house.codes("Subject: x\n\ntext\n.\n"), [250]);
    assert_eq!(house.inbox(house.ben).len(), 1);
    let inbox = &house.inbox(house.ben)[0];
    assert!(inbox.contains("with ESMTPA id") && !inbox.contains("192.0.2.1"), "{inbox}");
    let queue = house.queue();
    assert_eq!(queue.len(), 1);
    assert_eq!((queue[0].recipients.len(), queue[0].recipients[0].address.as_str()), (1, "x@elsewhere.example"));
    assert_eq!(queue[0].mail_parameters, ["RET=HDRS", "ENVID=e1"]);
    assert_eq!(queue[0].recipients[0].parameters, ["NOTIFY=FAILURE"]);
}

#[test]
fn wrong_passwords_are_refused() {
    let mut house = House::new(submission());
    // anna@example.org, wrong
    assert_eq!(
        house.codes("EHLO x\nAUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAd3Jvbmc=\nMAIL FROM:<anna@example.org>\n"),
        [220, 250, 535, 530]
    );
}

#[test]
fn an_alias_to_several_reaches_each_once() {
    let mut house = House::new(relay());
    let script = "EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<all@example.org>\nRCPT TO:<anna@example.org>\nDATA\n";
    assert_eq!(house.codes(script), [220, 250, 250, 250, 250, 354]);
    assert_eq!(house.codes("text\n.\n"), [250]);
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len()), (1, 1));
}

/// One full mailbox behind an alias must neither keep the message from the others nor lose it.
#[test]
fn an_alias_with_a_full_mailbox() {
    let mut house = House::new(relay());
    house.store.set_quota(house.ben, Some(1));
    house.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<all@example.org>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len()), (1, 0));
    house.store.set_quota(house.ben, None);
    let mut leased = house.lease();
    assert_eq!(leased.entry.recipients[0].address, "ben@example.org");
    house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len(), house.queue().len()), (1, 1, 0));

    let mut house = House::new(Config::lmtp("mx.example.org"));
    house.store.set_quota(house.ben, Some(1));
    house.say("LHLO x\nMAIL FROM:<a@b>\nRCPT TO:<all@example.org>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 452]);
    assert_eq!(house.inbox(house.anna).len(), 0, "LMTP's sender tries again: nobody may have it twice");
}

#[test]
fn a_full_mailbox_is_refused_or_tried_again() {
    let mut house = House::new(relay());
    house.store.set_quota(house.ben, Some(1));
    assert_eq!(house.codes("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<ben@example.org>\nDATA\n"), [220, 250, 250, 250, 354]);
    assert_eq!(house.say("text\n.\n"), "452 4.2.2 Mailbox full\r\n");
    assert_eq!(
        house.codes("MAIL FROM:<a@b>\nRCPT TO:<ben@example.org>\nRCPT TO:<anna@example.org>\nDATA\n"),
        [250, 250, 250, 354]
    );
    assert_eq!(house.codes("text\n.\n"), [250], "one of them has it");
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len()), (1, 0));
    let queue = house.queue();
    assert_eq!(queue[0].recipients[0].address, "ben@example.org");
    assert!(
        queue[0].recipients[0].state == RecipientState::Spool
            && queue[0].recipients[0].last.as_ref().is_some_and(|last| last.reply.starts_with("452"))
    );
    house.store.set_quota(house.ben, None);
    let mut leased = house.lease();
    house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert_eq!((house.inbox(house.ben).len(), house.queue().len()), (1, 0));
    assert_eq!(house.inbox(house.ben)[0].matches("Return-Path").count(), 1);

    let mut house = House::new(Config::lmtp("mx.example.org"));
    house.store.set_quota(house.ben, Some(1));
    house.say("LHLO x\nMAIL FROM:<a@b>\nRCPT TO:<ben@example.org>\nRCPT TO:<anna@example.org>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 452, 250], "LMTP tells each");
    assert!(house.queue().is_empty());
}

/// A message to more accounts than one commit may touch is durable in the queue before its 250, and a crash between
/// two deliveries must not put it anywhere twice.
#[test]
fn more_accounts_than_one_commit_may_touch() {
    let caps = Caps::new(1, MemStore::CAPS.max_ops, MemStore::CAPS.max_message);
    let mut house = House::with_store(relay(), MemStore::with_caps(caps));
    let script = "EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<ben@example.org>\nRCPT TO:<anna@example.org>\nDATA\n";
    house.say(script);
    assert_eq!(house.codes("text\n.\n"), [250]);
    assert_eq!((house.inbox(house.anna).len(), house.queue()[0].recipients.len()), (0, 2));
    let leased = house.lease();
    for _ in 0..2 {
        // The first time, the outcome is forgotten: the worker died.
        let mut leased = leased.clone();
        house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
        assert!(leased.entry.recipients.iter().all(|it| it.state == RecipientState::Delivered(Delivery::Mailbox)));
    }
    let mut leased = leased;
    house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len(), house.queue().len()), (1, 1, 0));
    assert!(
        house.inbox(house.anna)[0]
            .starts_with("Return-Path: <a@b>\r\nDelivered-To: anna@example.org\r\nReceived: from x")
    );
}

#[test]
fn a_permanent_failure_returns_to_the_sender() {
    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<anna@example.org> ENVID=e1\nRCPT TO:<x@elsewhere.example>\nRCPT TO:<y@elsewhere.example>\n");
    assert_eq!(house.codes("DATA\nSubject: lost\n\ntext\n.\n"), [354, 250]);
    let mut leased = house.lease();
    let (outgoing, positions) = entry::outgoing(&leased.entry, leased.entry.queued, |_| true);
    assert_eq!(outgoing.envelope.sender.envid.as_deref(), Some("e1"));
    settle(&mut leased, &positions, &[failed(550, 5), failed(451, 4)]);
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    let inbox = house.inbox(house.anna);
    assert_eq!(inbox.len(), 1);
    for part in [
        "Return-Path: <>\r\n",
        "From: Mail Delivery System <postmaster@mx.example.org>\r\n",
        "Final-Recipient: rfc822;x@elsewhere.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Remote-MTA: dns; mx.elsewhere.example\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 said the next hop\r\n",
        "Last-Attempt-Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n",
        "Original-Envelope-Id: e1\r\n",
        "Content-Type: text/rfc822-headers\r\n",
        "Subject: lost\r\n",
    ] {
        assert!(inbox[0].contains(part), "{part} in\n{}", inbox[0]);
    }
    assert!(!inbox[0].contains("y@elsewhere.example") && !inbox[0].contains("\r\n\r\ntext\r\n"));
    let queue = house.queue();
    assert_eq!((queue.len(), queue[0].attempts, queue[0].recipients.len()), (1, 1, 1));
    let wait = queue[0].due.since(queue[0].queued).as_secs();
    assert!((240..=360).contains(&wait), "{wait}: five minutes, a fifth more or less");
}

#[test]
fn a_report_to_another_host_is_queued_and_never_answered() {
    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<>\nRCPT TO:<x@elsewhere.example>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    let mut leased = house.lease();
    settle(&mut leased, &[0], &[failed(550, 5)]);
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert!(house.queue().is_empty() && house.inbox(house.anna).is_empty(), "no report about a report");

    house.say("MAIL FROM:<anna@example.org>\nRCPT TO:<x@elsewhere.example>\n");
    house.say("DATA\ntext\n.\n");
    let mut leased = house.lease();
    leased.entry.return_path = Some("away@third.example".into());
    settle(&mut leased, &[0], &[failed(550, 5)]);
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    let queue = house.queue();
    assert_eq!((queue.len(), &queue[0].return_path), (1, &None));
    assert_eq!(queue[0].recipients[0].address, "away@third.example");
    assert_eq!(
        (&queue[0].recipients[0].parameters[..], &queue[0].mail_parameters[..]),
        (&["NOTIFY=NEVER".to_owned()][..], &[][..])
    );
}

#[test]
fn a_lost_lease_does_nothing() {
    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<anna@example.org>\nRCPT TO:<x@elsewhere.example>\n");
    house.say("DATA\ntext\n.\n");
    let mut stale = house.lease();
    house.environment.advance(Duration::from_secs(61));
    house.store.advance(Duration::from_secs(61));
    let _newer = house.lease();
    settle(&mut stale, &[0], &[failed(550, 5)]);
    assert!(house.runtime.block_on(house.deliverer().conclude(stale, true, None)).is_err());
    assert!(house.inbox(house.anna).is_empty() && house.queue().len() == 1);
}

#[test]
fn successes_are_reported_when_asked_for() {
    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<anna@example.org>\nRCPT TO:<ben@example.org> NOTIFY=SUCCESS\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    let leased = house.lease();
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert!(
        house.inbox(house.anna)[0].contains("Action: delivered\r\nStatus: 2.1.5\r\n"),
        "{}",
        house.inbox(house.anna)[0]
    );
    assert!(house.queue().is_empty());
}

#[test]
fn messages_that_go_round_in_circles_are_refused() {
    let mut house = House::new(relay());
    house.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<anna@example.org>\n");
    let script = format!("DATA\n{}\ntext\n.\nNOOP\n", "Received: from somewhere\n".repeat(101));
    assert_eq!(house.codes(&script), [354, 554, 250]);
    assert!(house.inbox(house.anna).is_empty());
}

/// Two hosts forwarded to each other, and each message grew by its trace until it hit the limit of hops.
#[test]
fn what_comes_back_to_its_mailbox_is_a_loop() {
    let mut house = House::new(relay());
    house.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<anna@example.org>\n");
    let script = "DATA\nReceived: from x\nDelivered-To: Anna@example.org\n\ntext\n.\n";
    assert_eq!(house.codes(script), [354, 554]);
    assert!(house.inbox(house.anna).is_empty());
    // The other mailbox of the alias has it; of the loop its sender hears.
    house.say("MAIL FROM:<ben@example.org>\nRCPT TO:<all@example.org>\n");
    assert_eq!(house.codes(script), [354, 250]);
    assert_eq!((house.inbox(house.anna).len(), house.inbox(house.ben).len()), (0, 1));
    let leased = house.lease();
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    let report = &house.inbox(house.ben)[1];
    assert!(report.contains("Final-Recipient: rfc822;anna@example.org\r\nAction: failed\r\nStatus: 5.4.6"), "{report}");

    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<anna@example.org>\nRCPT TO:<anna@example.org>\n");
    assert_eq!(house.codes(script), [354, 250], "users send on what they have");
}

/// RFC 4865 §4: whoever a message on hold is for, it is not seen before.
#[test]
fn a_message_on_hold_waits_for_local_recipients_too() {
    let mut config = submission();
    config.extensions |= Extensions::FUTURERELEASE;
    config.limits.hold = 7200;
    let mut house = House::new(config);
    house.log_in();
    house.say("MAIL FROM:<anna@example.org> HOLDFOR=3600\nRCPT TO:<ben@example.org>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    assert!(house.inbox(house.ben).is_empty());
    let queue = house.queue();
    assert_eq!(
        (queue[0].recipients[0].state, queue[0].due.since(queue[0].queued).as_secs()),
        (RecipientState::Spool, 3600)
    );
    house.environment.advance(Duration::from_secs(3600));
    let mut leased = house.lease();
    house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    assert_eq!((house.inbox(house.ben).len(), house.queue().len()), (1, 0));
}

#[test]
fn an_alias_to_several_is_reported_as_expanded() {
    let mut house = House::new(submission());
    house.log_in();
    house.say(
        "MAIL FROM:<anna@example.org>\nRCPT TO:<all@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;All@example.org\n",
    );
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    let leased = house.lease();
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    let report = house.inbox(house.anna).pop().unwrap();
    for part in ["Original-Recipient: rfc822;All@example.org\r\n", "Action: expanded\r\n", "Status: 2.1.5\r\n"] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

/// What was accepted for a mailbox here does not leave for whoever owns the domain now.
#[test]
fn a_spooled_message_never_leaves() {
    let caps = Caps::new(1, MemStore::CAPS.max_ops, MemStore::CAPS.max_message);
    let mut house = House::with_store(relay(), MemStore::with_caps(caps));
    house.say("EHLO x\nMAIL FROM:<anna@example.org>\nRCPT TO:<ben@example.org>\nRCPT TO:<anna@example.org>\n");
    assert_eq!(house.codes("DATA\ntext\n.\n"), [354, 250]);
    let mut leased = house.lease();
    leased.entry.recipients[0].address = "ben@moved.example".into();
    house.runtime.block_on(house.deliverer().deliver_locally(&mut leased.entry));
    assert_eq!(entry::outgoing(&leased.entry, leased.entry.queued, |_| true).1, [0; 0]);
    house.runtime.block_on(house.deliverer().conclude(leased, true, None)).unwrap();
    let inbox = house.inbox(house.anna);
    assert!(
        inbox.len() == 2 && inbox[1].contains("ben@moved.example\r\nAction: failed\r\nStatus: 5.1.1"),
        "{inbox:#?}"
    );
}

#[test]
fn an_abandoned_message_leaves_nothing() {
    let mut config = relay();
    config.limits.message = 100;
    let mut house = House::new(config);
    house.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<anna@example.org>\n");
    assert_eq!(house.codes(&format!("DATA\n{}\n.\n", "x".repeat(200))), [354, 552]);
    assert_eq!(house.codes("MAIL FROM:<a@b>\nRCPT TO:<anna@example.org>\nDATA\nok\n.\n"), [250, 250, 354, 250]);
    assert_eq!(house.inbox(house.anna).len(), 1);
    assert_eq!(house.policy.role, Role::Relay);
}

/// RFC 6409 §8.2 and §8.3: what a submitted message lacks is put in front of it, for every recipient alike; what a relay
/// passes on stays as it is.
#[test]
fn submitted_messages_get_date_and_message_id() {
    let mut house = House::new(submission());
    house.log_in();
    let envelope = "MAIL FROM:<anna@example.org>\nRCPT TO:<ben@example.org>\nRCPT TO:<x@elsewhere.example>\nDATA\n";
    house.say(envelope);
    assert_eq!(house.codes("Subject: x\n\nDate: in the body\n.\n"), [250]);
    let message = house.inbox(house.ben)[0].clone();
    let (header, _) = message.split_once("\r\n\r\n").unwrap();
    let fields: Vec<_> = header.lines().filter(|line| !line.starts_with('\t')).collect();
    assert_eq!(fields[1], "Delivered-To: ben@example.org");
    assert!(fields[2].starts_with("Received: from mx.example.org"), "{fields:?}");
    assert_eq!((fields[3], fields[5]), ("Date: Sun, 22 Nov 2026 12:00:00 +0000", "Subject: x"));
    let id = fields[4].strip_prefix("Message-ID: <").and_then(|rest| rest.strip_suffix("@mx.example.org>")).unwrap();
    assert_eq!((id.len(), id.bytes().all(|octet| octet.is_ascii_alphanumeric())), (32, true));
    let queued = house.runtime.block_on(async {
        let queue = house.store.as_queue().unwrap();
        queue.read(house.queue_id().await, 0, 1 << 16).await.unwrap()
    });
    assert!(String::from_utf8_lossy(&queued).contains(fields[4]), "the same for all");

    house.say("MAIL FROM:<anna@example.org>\nRCPT TO:<ben@example.org>\nDATA\n");
    assert_eq!(house.codes("Message-ID: <1@anna.example>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\ntext\n.\n"), [250]);
    let message = &house.inbox(house.ben)[1];
    assert_eq!((message.matches("Message-ID").count(), message.matches("\nDate:").count()), (1, 1));

    let mut house = House::new(relay());
    house.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<ben@example.org>\nDATA\nSubject: x\n\ntext\n.\n");
    assert!(!house.inbox(house.ben)[0].contains("Date:"));
}

/// RFC 6409 §4.2: one word is no domain to send to; one of our own is whatever we say it is.
#[test]
fn submitted_envelopes_are_fully_qualified() {
    let mut house = House::new(submission());
    house.log_in();
    house.say("MAIL FROM:<anna@example.org>\n");
    assert_eq!(house.say("RCPT TO:<x@sales>\n"), "554 5.1.2 Domain is not fully qualified\r\n");
    assert_eq!(house.codes("RCPT TO:<x@sales.example>\nRCPT TO:<x@[192.0.2.7]>\n"), [250, 250]);
}

/// RFC 3207 §4.2: the session forgot a login made in clear, the fulfiller did not: it still relayed for whoever had it.
#[test]
fn nobody_relays_on_a_login_that_was_forgotten() {
    let config = Config { starttls: true, mechanisms: vec!["PLAIN".into()], ..relay() };
    let mut house = House::new(config);
    house.log_in();
    let script = "MAIL FROM:<anna@example.org>\nRCPT TO:<x@elsewhere.example>\nRSET\n";
    assert_eq!(house.codes(script), [250, 250, 250]);
    house.say("STARTTLS\n");
    let script = "EHLO x\nMAIL FROM:<anna@example.org>\nRCPT TO:<x@elsewhere.example>\n";
    assert_eq!(house.codes(script), [250, 250, 550]);
}

/// RFC 6409 §6.1: an account whose password was stolen sends no more than its allowance, and hears 4xx for the rest.
#[test]
fn users_are_held_to_their_rates() {
    let hour = Duration::from_secs(3600);
    let rates = Rates::new(Some(Rate { count: 2, per: hour }), Some(Rate { count: 3, per: hour }));
    let mut house = House::new(submission()).under(|policy| policy.rates = Some(Arc::new(rates)));
    house.log_in();
    let message = |to: &str| format!("MAIL FROM:<anna@example.org>\n{to}DATA\nx\n.\n");
    let two = "RCPT TO:<ben@example.org>\nRCPT TO:<a@remote.example>\n";
    assert_eq!(house.codes(&message(two)), [250, 250, 250, 354, 250]);
    assert_eq!(house.codes(&message(two)), [250, 250, 450, 354, 250], "the third recipient is the last");
    let said = house.say("MAIL FROM:<anna@example.org>\n");
    assert_eq!(said, "450 4.7.1 Too many messages in a short time, try again in 30 min\r\n");
    house.environment.advance(hour / 2);
    assert_eq!(house.codes(&message(two)), [250, 250, 450, 354, 250], "a message and a recipient have grown back");
    // Other servers are not users.
    let none = Rates::new(Some(Rate { count: 0, per: hour }), Some(Rate { count: 0, per: hour }));
    let mut house = House::new(relay()).under(|policy| policy.rates = Some(Arc::new(none)));
    assert_eq!(house.codes("EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<ben@example.org>\n"), [220, 250, 250, 250]);
}

/// RFC 5321 §3.5 and §7.3: users may look each other up where the policy says so; nobody else learns anything.
#[test]
fn users_may_look_each_other_up() {
    let config = || Config { ask: Ask::VERIFY | Ask::EXPAND, ..submission() };
    let mut house = House::new(config()).under(|policy| policy.look_ups = true);
    assert_eq!(house.codes("EHLO x\nVRFY anna@example.org\nEXPN all@example.org\n"), [220, 250, 252, 502]);
    assert_eq!(house.codes("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0\n"), [235]);
    assert_eq!(house.say("VRFY info@example.org\n"), "250 2.1.5 <anna@example.org>\r\n");
    assert_eq!(house.codes("VRFY nobody@example.org\nVRFY all@example.org\nVRFY Anna\n"), [550, 553, 252]);
    let said = house.say("EXPN <all@example.org>\n");
    assert_eq!(said, "250-2.1.5 <anna@example.org>\r\n250 2.1.5 <ben@example.org>\r\n");
    assert_eq!(house.codes("VRFY a@remote.example\n"), [252]);
    let mut house = House::new(config());
    house.log_in();
    assert_eq!(house.codes("VRFY anna@example.org\nEXPN all@example.org\n"), [252, 502], "not without the policy");
}

/// RFC 1985 §5.1: what waits for a host is due at once when it asks.
#[test]
fn etrn_makes_what_waits_due() {
    let config = Config { extensions: Extensions::ETRN, ..submission() };
    let mut house = House::new(config).under(|policy| policy.etrn = true);
    house.log_in();
    for to in ["a@branch.example", "b@sub.branch.example", "c@other.example"] {
        let script = format!("MAIL FROM:<anna@example.org>\nRCPT TO:<{to}>\nDATA\nx\n.\n");
        assert_eq!(house.codes(&script), [250, 250, 354, 250]);
    }
    assert_eq!(house.codes("ETRN branch.example\n"), [253]);
    assert_eq!(house.say("ETRN @branch.example\n"), "253 2.0.0 2 pending messages started\r\n");
    assert_eq!(house.codes("ETRN nowhere.example\nETRN #queue\nETRN not one\n"), [251, 251, 501]);
    let mut house = House::new(Config { extensions: Extensions::ETRN, ..relay() });
    assert_eq!(house.codes("EHLO x\nETRN branch.example\n"), [220, 250, 459], "not without the policy");
}

/// Postfix's XCLIENT_README: a proxy that checked the login says who it was; an unknown name is nobody.
#[test]
fn a_login_at_a_trusted_proxy_counts() {
    let mut house = House::new(submission());
    house.server = house.server.trust(Extensions::XCLIENT);
    let script = "XCLIENT LOGIN=anna@example.org\nEHLO x\nMAIL FROM:<ben@example.org>\nMAIL FROM:<anna@example.org>\n";
    assert_eq!(house.codes(script), [220, 220, 250, 550, 250]);
    assert_eq!(
        house.codes("RSET\nXCLIENT LOGIN=nobody@example.org\nEHLO x\nMAIL FROM:<anna@example.org>\n"),
        [250, 220, 250, 530]
    );
    assert_eq!(house.codes("XCLIENT LOGIN=[UNAVAILABLE]\nEHLO x\nMAIL FROM:<anna@example.org>\n"), [220, 250, 530]);
}

/// RFC 6409 §8.1: a message that names other authors says who sent it; one of the user's own addresses says enough.
#[test]
fn submitted_messages_of_others_name_their_sender() {
    let delivered = |header: &str, change: fn(&mut Policy)| {
        let mut house = House::new(submission()).under(change);
        house.log_in();
        let script = format!("MAIL FROM:<anna@example.org>\nRCPT TO:<ben@example.org>\nDATA\n{header}\ntext\n.\n");
        assert_eq!(house.codes(&script), [250, 250, 354, 250]);
        house.inbox(house.ben).remove(0)
    };
    let sender = "Sender: <anna@example.org>\r\n";
    assert!(delivered("From: The Boss <boss@remote.example>\n", |_| {}).contains(sender));
    for own in ["From: info@example.org\n", "From: x@y.example,\n Anna <ANNA@example.org>\n", "Subject: x\n"] {
        assert!(!delivered(own, |_| {}).contains("Sender:"), "{own}");
    }
    let said = delivered("From: boss@remote.example\nSender: other@remote.example\n", |_| {});
    assert_eq!(said.matches("Sender:").count(), 1, "what is there stays");
    assert!(!delivered("From: boss@remote.example\n", |policy| policy.add_missing = false).contains("Sender:"));
}
