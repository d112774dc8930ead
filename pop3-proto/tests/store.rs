//! Sessions over the reference store, and client against server with nothing between them but virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failing test")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::date::DateTime;
use mailstore_trait::environment::Environment;
use mailstore_trait::flags::{FlagSet, SystemFlags};
use mailstore_trait::id::{AccountId, BatchId, FolderId, Uid};
use mailstore_trait::item::ItemsOptions;
use mailstore_trait::sasl::{Credentials, Mechanism, Nonce, Secret};
use mailstore_trait::session::{CloseReason, LayerInfo, Output, Peer};
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::driven::{Driven, epoch};
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use mailstore_trait::testkit::random::Random;
use mailstore_trait::uid_set::UidSet;
use pop3_proto::apop;
use pop3_proto::capability::Expire;
use pop3_proto::client::{self, ChunkTaken, Client, Command, Stls};
use pop3_proto::store::{Fulfiller, Policy, Snapshots, World};
use pop3_proto::{Answered, Config, Event, Request, Server};

/// What is ready at once: everything in memory is.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store in memory waits for nothing"),
    }
}

/// A mail system in memory with one user, `tim@example.org`, whose password is `pass word`.
struct House {
    store: MemStore,
    environment: Arc<TestEnvironment>,
    world: World,
    account: AccountId,
    inbox: FolderId,
}

impl House {
    fn new() -> House {
        let store = MemStore::new();
        let directory = Arc::new(MemDirectory::new());
        let account = directory.add("tim@example.org", "pass word").unwrap();
        ready(store.provision(account, &[])).unwrap();
        let inbox = ready(store.folders(account)).unwrap().inbox().unwrap().id;
        let environment = Arc::new(TestEnvironment::new(7));
        let world = World::new(Arc::new(store.clone()), directory, environment.clone());
        House { store, environment, world, account, inbox }
    }

    fn deliver(&self, message: &[u8]) {
        let mut upload = ready(self.store.upload(UploadOptions::new(1 << 30))).unwrap();
        ready(upload.write(Bytes::copy_from_slice(message))).unwrap();
        let content = Content::Staged(ready(upload.finish()).unwrap());
        let internal_date = DateTime::default();
        self.commit(Op::Add(AddItem { folder: self.inbox, content, flags: FlagSet::new(), internal_date }));
    }

    fn commit(&self, op: Op) {
        let environment: &dyn Environment = &*self.environment;
        ready(self.store.commit(Batch::new(BatchId(environment.id()), self.account, vec![op]))).unwrap();
    }

    fn expunge(&self, uid: u32) {
        let mut uids = UidSet::new();
        uids.insert(Uid::new(uid).unwrap());
        self.commit(Op::Remove { folder: self.inbox, uids, only_deleted: false });
    }

    /// UIDs in the inbox, with whether each is seen.
    fn inbox(&self) -> Vec<(u32, bool)> {
        let options = ItemsOptions::default();
        let page = ready(self.store.items(self.account, self.inbox, &UidSet::all(), options)).unwrap();
        let seen = |flags: SystemFlags| flags.contains(SystemFlags::SEEN);
        page.rows().iter().map(|row| (row.uid.value(), seen(row.flags))).collect()
    }

    fn fulfiller(&self) -> Fulfiller {
        Fulfiller::new(self.world.clone(), &peer()).allow_cleartext()
    }

    /// A session, with everything between it and the house.
    fn session(&self) -> Talk {
        self.session_with(|server| server)
    }

    fn session_with(&self, change: impl FnOnce(Server) -> Server) -> Talk {
        let mut config = config();
        config.limits.page = 3;
        let driven = Driven::new(change(Server::new(Arc::new(config), &peer())), epoch());
        Talk { driven, fulfiller: self.fulfiller(), events: Vec::new() }
    }

    fn logged_in(&self) -> Talk {
        let mut talk = self.session();
        let said = talk.say("USER tim@example.org\r\nPASS pass word\r\n");
        assert!(said.contains("+OK maildrop has"), "{said}");
        talk
    }
}

fn peer() -> Peer {
    Peer::new("192.0.2.1:4711".parse().unwrap())
}

fn config() -> Config {
    let mut config = Config::new("pop.example.org");
    config.allow_cleartext = true;
    config.tls = true;
    config
}

/// A conversation with a server whose fulfiller is real.
struct Talk {
    driven: Driven<Server>,
    fulfiller: Fulfiller,
    events: Vec<Event>,
}

impl Talk {
    fn say(&mut self, octets: &str) -> String {
        self.driven.input.extend(octets.as_bytes());
        self.settle()
    }

    fn settle(&mut self) -> String {
        let mut sent = Vec::new();
        while self.driven.closed().is_none() {
            match self.driven.poll() {
                Output::Send(octets) => sent.extend_from_slice(&octets),
                Output::Request(request) => self.driven.resume(ready(self.fulfiller.answer(request))),
                Output::Event(event) => self.events.push(event),
                Output::Layer(_) => self.driven.layered(Ok(LayerInfo::new())),
                Output::Close(_) => break,
                Output::Wait(_) if !self.driven.feed(usize::MAX) => break,
                Output::Wait(_) => {}
            }
        }
        String::from_utf8(sent).unwrap()
    }

    fn pass(&mut self, time: Duration) -> String {
        let until = self.driven.now() + time;
        let mut sent = String::new();
        while self.driven.closed().is_none() && self.driven.sleep_until(until) {
            sent += &self.settle();
        }
        sent
    }
}

#[test]
fn a_session_over_a_store() {
    let house = House::new();
    house.deliver(b"Subject: one\r\n\r\n.first\r\n");
    house.deliver(b"Subject: two\r\n\r\nsecond\r\n");
    house.deliver(b"Subject: three\r\n\r\nthird\r\n");
    house.deliver(b"Subject: four\r\n\r\nfourth\r\n");
    let mut talk = house.logged_in();
    assert_eq!(talk.say("STAT\r\n"), "+OK 4 98\r\n");
    assert_eq!(talk.say("LIST 4\r\n"), "+OK 4 25\r\n");
    assert_eq!(talk.say("RETR 1\r\n"), "+OK 24 octets\r\nSubject: one\r\n\r\n..first\r\n.\r\n");
    assert_eq!(talk.say("RETR 2\r\n"), "+OK 24 octets\r\nSubject: two\r\n\r\nsecond\r\n.\r\n");
    assert_eq!(talk.say("TOP 3 0\r\n"), "+OK top of the message follows\r\nSubject: three\r\n\r\n.\r\n");
    let said = talk.say("DELE 2\r\nDELE 4\r\nQUIT\r\n");
    assert!(said.ends_with("+OK goodbye, messages removed: 2\r\n"), "{said}");
    assert_eq!(talk.driven.closed(), Some(CloseReason::Quit));
    assert_eq!(house.inbox(), [(1, true), (3, false)]);
}

/// RFC 1939 §4: one session at a time; neither delivery nor IMAP is held up by it.
#[test]
fn the_lock_holds_off_pop3_and_nothing_else() {
    let house = House::new();
    house.deliver(b"a\r\n");
    let mut first = house.logged_in();
    let mut second = house.session();
    let said = second.say("USER tim@example.org\r\nPASS pass word\r\n");
    assert!(said.ends_with("-ERR [IN-USE] maildrop is in use by another session\r\n"), "{said}");
    house.deliver(b"b\r\n");
    house.expunge(2);
    house.deliver(b"c\r\n");
    // The snapshot does not move.
    assert_eq!(first.say("STAT\r\nRETR 2\r\n"), "+OK 1 3\r\n-ERR no such message\r\n");
    first.say("DELE 1\r\nQUIT\r\n");
    assert_eq!(house.inbox(), [(3, false)]);
    // The lock is free before the client could come back.
    let said = second.say("USER tim@example.org\r\nPASS pass word\r\nSTAT\r\n");
    assert!(said.ends_with("+OK 1 3\r\n"), "{said}");
}

#[test]
fn the_lease_is_renewed_while_the_session_lives() {
    let house = House::new();
    house.deliver(b"a\r\n");
    let mut first = house.logged_in();
    for _ in 0..20 {
        house.store.advance(Duration::from_secs(25));
        first.pass(Duration::from_secs(25));
        let said = house.session().say("USER tim@example.org\r\nPASS pass word\r\n");
        assert!(said.contains("[IN-USE]"), "{said}");
    }
    assert_eq!(first.say("NOOP\r\n"), "+OK done\r\n");
}

/// A session that slept through its lease removes nothing, even when it does not know: the store refuses its fence.
#[test]
fn a_lost_lease_removes_nothing() {
    let house = House::new();
    house.deliver(b"a\r\n");
    let mut first = house.logged_in();
    first.say("DELE 1\r\n");
    house.store.advance(Duration::from_secs(61));
    let mut second = house.logged_in();
    let said = first.say("QUIT\r\n");
    assert_eq!(said, "-ERR [SYS/TEMP] maildrop lock was lost, nothing was removed\r\n");
    assert_eq!(house.inbox(), [(1, false)]);
    // And the one who slept does not take the lock along when it goes.
    assert!(house.session().say("USER tim@example.org\r\nPASS pass word\r\n").contains("[IN-USE]"));
    second.say("QUIT\r\n");
}

#[test]
fn a_dropped_link_removes_nothing_and_frees_the_lock() {
    let house = House::new();
    house.deliver(b"a\r\n");
    let mut first = house.logged_in();
    first.say("DELE 1\r\nRETR 1\r\n");
    first.driven.ending = true;
    first.settle();
    assert_eq!(first.driven.closed(), Some(CloseReason::Eof));
    assert_eq!(house.inbox(), [(1, false)]);
    house.logged_in();
}

#[test]
fn messages_removed_elsewhere_are_told() {
    let house = House::new();
    (0..4).for_each(|_| house.deliver(b"a\r\n\r\n"));
    let mut talk = house.logged_in();
    house.expunge(2);
    assert_eq!(talk.say("RETR 2\r\n"), "-ERR [SYS/TEMP] message 2 was removed by another session\r\n");
    assert_eq!(talk.say("DELE 2\r\nRETR 3\r\n"), "+OK message 2 marked as deleted\r\n+OK 5 octets\r\na\r\n\r\n.\r\n");
    house.expunge(4);
    house.expunge(1);
    talk.say("TOP 1 0\r\n");
    assert_eq!(talk.driven.closed(), Some(CloseReason::Unanswered));
    assert_eq!(house.inbox(), [(3, false)]);
}

/// Removing what another session removed already is no failure.
#[test]
fn deleting_what_is_gone_is_done() {
    let house = House::new();
    (0..2).for_each(|_| house.deliver(b"a\r\n\r\n"));
    let mut talk = house.logged_in();
    talk.say("DELE 1\r\nDELE 2\r\n");
    house.expunge(1);
    assert_eq!(talk.say("QUIT\r\n"), "+OK goodbye, messages removed: 2\r\n");
    assert_eq!(house.inbox(), []);
}

#[test]
fn thousands_are_removed_in_batches() {
    let house = House::new();
    (0..2500).for_each(|_| house.deliver(b"a\r\n\r\n"));
    let mut talk = house.logged_in();
    let all: String = (1..=2499).map(|number| format!("DELE {number}\r\n")).collect();
    let said = talk.say(&(all + "QUIT\r\n"));
    assert!(said.ends_with("+OK goodbye, messages removed: 2499\r\n"));
    assert_eq!(house.inbox(), [(2500, false)]);
}

/// A maildrop that was opened before is brought up to date, not read again, and is the same either way.
#[test]
fn a_large_maildrop_is_remembered_and_followed() {
    let mut house = House::new();
    (0..1500).for_each(|at| house.deliver(format!("N: {at}\r\n\r\n").as_bytes()));
    let listing = |house: &House| house.logged_in().say("STAT\r\nUIDL\r\nLIST\r\nQUIT\r\n");
    let fresh = |house: &House| {
        let mut other = house.world.clone();
        other.snapshots = Arc::new(Snapshots::with_capacity(0));
        let mut talk = house.session();
        talk.fulfiller = Fulfiller::new(other, &peer()).allow_cleartext();
        talk.say("USER tim@example.org\r\nPASS pass word\r\n");
        talk.say("STAT\r\nUIDL\r\nLIST\r\nQUIT\r\n")
    };
    let same = |house: &House, what: &str| {
        let first = listing(house);
        assert!(first.len() > 1000 && first == fresh(house), "{what}");
    };
    same(&house, "read");
    same(&house, "remembered");
    house.expunge(1);
    house.expunge(700);
    house.deliver(b"later\r\n\r\n");
    same(&house, "changed by others");
    let mut talk = house.logged_in();
    talk.say("RETR 3\r\nDELE 4\r\nQUIT\r\n");
    same(&house, "changed by us");
    (0..1200).for_each(|_| house.deliver(b"more\r\n\r\n"));
    (0..20).for_each(|at| house.expunge(1480 + at));
    same(&house, "many came");
    // Removals the store has forgotten: it says so, and all is read anew.
    house.expunge(900);
    ready(house.store.forget_removals(house.account, Duration::ZERO)).unwrap();
    same(&house, "forgotten removals");
    house.store.jump();
    house.expunge(901);
    same(&house, "after a restore");
    // Nothing remembered is shown to another server's store.
    house.world.snapshots = Arc::default();
    same(&house, "anew");
}

/// UIDL tells a message by where it lies, not by its place in the list.
#[test]
fn unique_ids_stay_and_never_come_back() {
    let house = House::new();
    (0..3).for_each(|_| house.deliver(b"a\r\n\r\n"));
    let listing = |house: &House| -> BTreeMap<String, u32> {
        let said = house.logged_in().say("UIDL\r\nQUIT\r\n");
        let rows = said.lines().filter_map(|line| line.split_once(' ')).filter(|(_, id)| id.len() == 20);
        rows.map(|(number, id)| (id.to_owned(), number.parse().unwrap())).collect()
    };
    let before = listing(&house);
    house.expunge(2);
    house.deliver(b"new\r\n\r\n");
    let after = listing(&house);
    let kept: Vec<_> = before.keys().filter(|id| after.contains_key(*id)).collect();
    assert_eq!((before.len(), after.len(), kept.len()), (3, 3, 2));
    // Neither UIDVALIDITY nor anything else of a folder is part of them: a restore, after which every number of the
    // account jumps, changes none.
    house.store.jump();
    assert_eq!(listing(&house), after);
    house.deliver(b"later\r\n\r\n");
    assert!(after.keys().all(|id| listing(&house).contains_key(id)));
}

/// What is retrieved becomes seen at QUIT, whether it was read by itself, ahead of its turn or seen before.
#[test]
fn what_is_retrieved_becomes_seen() {
    let house = House::new();
    (0..60).for_each(|at| house.deliver(format!("N: {at}\r\n\r\n{}\r\n", "x".repeat(900)).as_bytes()));
    let retrieve = |numbers: std::ops::RangeInclusive<u32>, last: &str| {
        let commands: String = numbers.map(|number| format!("RETR {number}\r\n")).collect();
        let said = house.logged_in().say(&(commands + last));
        assert!(!said.contains("-ERR"), "{said}");
        house.inbox().into_iter().filter(|(_, seen)| *seen).map(|(uid, _)| uid).collect::<Vec<_>>()
    };
    assert_eq!(retrieve(1..=60, "RSET\r\nQUIT\r\n"), []);
    assert_eq!(retrieve(11..=50, "QUIT\r\n"), (11..=50).collect::<Vec<_>>());
    assert_eq!(retrieve(1..=20, "TOP 60 0\r\nQUIT\r\n"), (1..=50).collect::<Vec<_>>());
    assert_eq!(retrieve(1..=60, "QUIT\r\n"), (1..=60).collect::<Vec<_>>());
}

#[test]
fn login_delay_and_expire_are_the_users() {
    let mut house = House::new();
    house.deliver(b"a\r\n\r\n");
    let expire = Some(Expire { days: Some(0), per_user: true });
    house.world.policies = Arc::new(Policy { login_delay: Duration::from_secs(60), expire });
    let mut talk = house.logged_in();
    let said = talk.say("CAPA\r\nRETR 1\r\nQUIT\r\n");
    assert!(said.contains("\r\nLOGIN-DELAY 60\r\n") && said.contains("\r\nEXPIRE 0\r\n"), "{said}");
    assert_eq!(house.inbox(), []);
    let mut early = house.session();
    let said = early.say("USER tim@example.org\r\nPASS pass word\r\n");
    assert!(said.ends_with("-ERR [LOGIN-DELAY] logged in too recently\r\n"), "{said}");
    // Whoever does not know the password does not learn of it.
    let said = early.say("USER tim@example.org\r\nPASS wrong\r\n") + &early.pass(Duration::from_secs(5));
    assert!(said.ends_with("-ERR [AUTH] login failed\r\n"), "{said}");
    house.environment.advance(Duration::from_secs(60));
    let said = early.say("USER tim@example.org\r\nPASS pass word\r\n");
    assert!(said.ends_with("+OK maildrop has 0 messages (0 octets)\r\n"), "{said}");
}

/// RFC 1939 §7, where the directory keeps passwords in clear: the digest of this greeting's timestamp, and no other.
#[test]
fn apop_logs_in_where_passwords_are_kept_in_clear() {
    let house = House::new();
    house.deliver(b"a\r\n");
    let timestamp = house.world.timestamp("pop.example.org").unwrap();
    let next = house.world.timestamp("pop.example.org").unwrap();
    assert_ne!(timestamp, next, "a timestamp is used once");
    let say = |user: &str, timestamp: &str, password: &str| {
        let digest = apop::digest(timestamp, password.as_bytes());
        let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("APOP {user} {digest}\r\n")
    };
    let mut talk = house.session_with(|server| server.with_apop(timestamp.clone()));
    let said = talk.say(&say("tim@example.org", &timestamp, "pass word"));
    assert!(said.contains(&format!(" {timestamp}\r\n")), "the greeting holds it: {said}");
    assert!(said.ends_with("+OK maildrop has 1 messages (3 octets)\r\n"), "{said}");
    talk.say("QUIT\r\n");
    let refused = [
        say("tim@example.org", &timestamp, "pass"),
        say("tim@example.org", &next, "pass word"),
        say("nobody@example.org", &timestamp, "pass word"),
        // What an unknown user's digest is compared with is no password of theirs.
        say("nobody@example.org", &timestamp, "nobody's"),
    ];
    for wrong in refused {
        let mut talk = house.session_with(|server| server.with_apop(timestamp.clone()));
        let said = talk.say(&wrong) + &talk.pass(Duration::from_secs(5));
        assert!(said.ends_with("-ERR [AUTH] login failed\r\n"), "{wrong}: {said}");
    }
    // Without a timestamp there is no such command.
    let said = house.session().say(&say("tim@example.org", &timestamp, "pass word"));
    assert!(said.ends_with("-ERR unknown command\r\n"), "{said}");
}

#[test]
fn known_and_unknown_users_look_the_same() {
    let house = House::new();
    let refused = |user: &str| {
        let mut talk = house.session();
        talk.say(&format!("USER {user}\r\nPASS wrong\r\n")) + &talk.pass(Duration::from_secs(5))
    };
    assert_eq!(refused("tim@example.org"), refused("nobody@example.org"));
}

/// A message larger than any piece, between small ones, read once in order and once from the end.
#[test]
fn small_and_large_messages_are_read_whole() {
    let house = House::new();
    let mut random = Random::new(3);
    let mut messages = Vec::new();
    for at in 0..40 {
        let len = if at % 7 == 3 { 200_000 } else { random.below(30_000) };
        let line = format!(".{at}:{}\r\n", "x".repeat(random.below(70)));
        let message = "A: b\r\n\r\n".to_owned() + &line.repeat(len / line.len());
        house.deliver(message.as_bytes());
        messages.push(message);
    }
    let mut order: Vec<usize> = (0..40).collect();
    order.extend((0..40).rev());
    order.extend([5, 5, 9, 8, 30, 31, 32, 2]);
    let mut talk = house.logged_in();
    for at in order {
        let said = talk.say(&format!("RETR {}\r\n", at + 1));
        let expected = messages.get(at).unwrap();
        let stuffed = expected.replace("\n.", "\n..");
        assert_eq!(said, format!("+OK {} octets\r\n{stuffed}.\r\n", expected.len()), "message {at}");
    }
}

/// Client against server over SCRAM, STLS and a pipe that delays answers, breaks at random, and starts again: in the end
/// every message is collected exactly once and the maildrop is empty.
#[test]
fn a_collector_survives_random_faults() {
    for seed in 0..25 {
        let house = House::new();
        let messages: Vec<String> = (0..12).map(|at| format!("N: {at}\r\n\r\n.{}\r\n", "y".repeat(at * 300))).collect();
        messages.iter().for_each(|message| house.deliver(message.as_bytes()));
        let mut random = Random::new(seed);
        let mut collected: Vec<String> = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        let mut sessions = 0;
        while !house.inbox().is_empty() {
            sessions += 1;
            assert!(sessions < 200, "no progress");
            // Whoever held the lock and lost the link may not have said goodbye.
            house.store.advance(Duration::from_secs(61));
            house.environment.advance(Duration::from_secs(61));
            collect(&house, &mut random, &mut known, &mut collected);
        }
        collected.sort();
        let mut expected = messages.clone();
        expected.sort();
        assert_eq!(collected, expected, "seed {seed}, {sessions} sessions");
    }
}

/// One session of a collector: what it collected whole is noted before it is deleted.
fn collect(
    house: &House,
    random: &mut Random,
    known: &mut std::collections::BTreeSet<String>,
    collected: &mut Vec<String>,
) {
    let password = Secret::from("pass word");
    let credentials = Credentials::Password { user: "tim@example.org".into(), password, authzid: None };
    let mut nonce = [0; 18];
    house.environment.fill(&mut nonce);
    let mut config = client::Config::new(credentials, Nonce::from_random(nonce));
    config.stls = Stls::Required;
    let body = Rc::new(RefCell::new(BTreeMap::<u32, Vec<u8>>::new()));
    let bodies = body.clone();
    let mut fulfiller = Fulfiller::new(house.world.clone(), &peer());
    let mut server = self::config();
    server.allow_cleartext = false;
    server.mechanisms = vec![Mechanism::parse(b"SCRAM-SHA-256").unwrap(), Mechanism::Plain];
    let slow = random.below(3) == 0;
    let mut pipe = Pipe::new(
        Client::new(Arc::new(config), None),
        move |request| match request {
            client::Request::BodyChunk(chunk) => {
                let mut bodies = bodies.borrow_mut();
                bodies.entry(chunk.query.message).or_default().extend_from_slice(&chunk.query.octets);
                Fulfilled::Now(chunk.answer(ChunkTaken::Taken))
            }
            other => panic!("{other:?}"),
        },
        Server::new(Arc::new(server), &peer()),
        move |request: Request| -> Fulfilled<Answered> {
            let answered = ready(fulfiller.answer(request));
            if slow { Fulfilled::After(Duration::from_millis(300), answered) } else { Fulfilled::Now(answered) }
        },
    )
    .capacity(1 + random.below(600));
    let breaks = random.below(60);
    let mut numbers = BTreeMap::new();
    for tick in 0..60 {
        pipe.advance(Duration::from_millis(100));
        for event in pipe.client.events() {
            match event {
                client::Event::Ready => pipe.client.notify(Command::Uidl),
                client::Event::UniqueId { message, id } => {
                    numbers.insert(message, id);
                }
                client::Event::Done(Command::Uidl) => {
                    for (message, id) in &numbers {
                        pipe.client.notify(if known.contains(id) {
                            Command::Dele(*message)
                        } else {
                            Command::Retr(*message)
                        });
                    }
                    pipe.client.notify(Command::Capa);
                }
                client::Event::Done(Command::Retr(message)) => {
                    let octets = body.borrow_mut().remove(&message).unwrap();
                    collected.push(String::from_utf8(octets).unwrap());
                    known.insert(numbers.get(&message).unwrap().clone());
                    pipe.client.notify(Command::Dele(message));
                }
                client::Event::Done(Command::Capa) => pipe.client.notify(Command::Quit),
                _ => {}
            }
        }
        if pipe.client.closed().is_some() {
            break;
        }
        if tick == breaks && random.below(2) == 0 {
            pipe.client.cut();
            pipe.server.cut();
        }
    }
    pipe.finish(Duration::from_secs(2000));
}
