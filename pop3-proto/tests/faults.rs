//! Client against server in virtual time, where everything fails that can: links are cut at any octet, answers come late
//! or never, the store refuses and forgets whether it did, leases are lost, and others deliver and expunge meanwhile.
//!
//! Whatever happens, a session keeps what RFC 1939 §6 promises: what a client was told is removed is removed, what it was
//! told stays stays, without QUIT nothing is removed, and what it was sent whole is what is stored.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failing test")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::batch::{AddItem, Batch, Committed, Content, Op};
use mailstore_trait::change::{ChangePage, ChangesOptions};
use mailstore_trait::date::DateTime;
use mailstore_trait::directory::Principal;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{CommitError, DirectoryError, LeaseError, ReadError, Source, UploadError};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::folder::{FolderList, FolderView, Role};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::hints::ChangeHints;
use mailstore_trait::id::{AccountId, BatchId, EmailId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemsOptions};
use mailstore_trait::leases::{Lease, LeaseScope, Leases};
use mailstore_trait::sasl::{Answer, Ask, Credentials, Identity, Mechanism, Nonce, Refusal, Secret};
use mailstore_trait::session::Peer;
use mailstore_trait::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use mailstore_trait::testkit::random::Random;
use mailstore_trait::uid_set::UidSet;
use pop3_proto::client::{self, ChunkTaken, Client, Command};
use pop3_proto::maildrop::Message;
use pop3_proto::store::{Fulfiller, World};
use pop3_proto::{Answered, Config, Request, Server};
use proptest::prelude::*;

/// What is ready at once: everything in memory is.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store in memory waits for nothing"),
    }
}

fn away() -> Source {
    "away".into()
}

/// Fails one call in so many; none at 0. Faults come in bursts: what is away stays away for a while.
#[derive(Debug)]
struct Chance {
    random: Random,
    one_in: usize,
    away: bool,
}

impl Chance {
    fn strikes(&mut self) -> bool {
        let one_in = if self.away { 2 } else { self.one_in };
        self.away = self.one_in > 0 && self.random.below(one_in) == 0;
        self.away
    }
}

/// A store in memory that fails at random: before it did what was asked, or behind it.
#[derive(Clone, Debug)]
struct Faulty {
    store: MemStore,
    chance: Arc<Mutex<Chance>>,
}

impl Faulty {
    /// Which of so many faults strikes now.
    fn fault(&self, kinds: usize) -> Option<usize> {
        let mut chance = self.chance.lock().unwrap();
        chance.strikes().then(|| chance.random.below(kinds))
    }

    fn read_fault(&self) -> Result<(), ReadError> {
        match self.fault(2) {
            None => Ok(()),
            Some(0) => Err(ReadError::Busy { retry_after: Duration::from_secs(1) }),
            Some(_) => Err(ReadError::Unavailable(away())),
        }
    }
}

impl MailStore for Faulty {
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.store.provision(account, folders)
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        self.store.account(account)
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        Box::pin(async move {
            self.read_fault()?;
            self.store.folders(account).await
        })
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        self.store.view(account, folder, options)
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        Box::pin(async move {
            self.read_fault()?;
            self.store.items(account, folder, uids, options).await
        })
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        self.store.changes(account, options)
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            self.read_fault()?;
            self.store.read(account, email, offset, max).await
        })
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        self.store.upload(options)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            match self.fault(5) {
                None => self.store.commit(batch).await,
                Some(0) => Err(CommitError::Unavailable(away())),
                Some(1) => Err(CommitError::Busy { retry_after: Duration::from_secs(1) }),
                Some(2) => Err(CommitError::ReadOnly),
                Some(3) => Err(CommitError::Unknown(away())),
                // Done, and nobody is told.
                Some(_) => self.store.commit(batch).await.and(Err(CommitError::Unknown(away()))),
            }
        })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        self.store.forget_removals(account, older_than)
    }

    fn hints(&self) -> &dyn ChangeHints {
        self.store.hints()
    }

    fn leases(&self) -> &dyn Leases {
        self
    }
}

impl Leases for Faulty {
    fn acquire<'a>(
        &'a self,
        scope: &'a LeaseScope,
        owner: [u8; 16],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let leases = self.store.leases();
            match self.fault(3) {
                None => leases.acquire(scope, owner, ttl).await,
                Some(0) => Err(LeaseError::Unavailable(away())),
                Some(1) => Err(LeaseError::Held),
                // Given, and nobody is told: it runs out by itself.
                Some(_) => leases.acquire(scope, owner, ttl).await.and(Err(LeaseError::Unavailable(away()))),
            }
        })
    }

    fn renew<'a>(&'a self, lease: &'a Lease, ttl: Duration) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            match self.fault(2) {
                None => self.store.leases().renew(lease, ttl).await,
                Some(0) => Err(LeaseError::Unavailable(away())),
                Some(_) => Err(LeaseError::Lost),
            }
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            match self.fault(1) {
                None => self.store.leases().release(lease).await,
                Some(_) => Err(LeaseError::Unavailable(away())),
            }
        })
    }
}

/// Everybody is who they say: logins are other tests' business, and what they cost is better spent on faults.
struct Trusting(AccountId);

impl Authenticator for Trusting {
    fn mechanisms(&self) -> &[Mechanism] {
        &[Mechanism::Plain]
    }

    fn answer<'a>(&'a self, ask: Ask, _: &'a Attempt) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match ask {
                Ask::Password { user, .. } => Answer::Accept(user),
                _ => Answer::Refuse(Refusal::Credentials),
            }
        })
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        let address = identity.acts_as().to_owned();
        Box::pin(async move { Ok(Principal { account: self.0, address, aliases: Vec::new(), display_name: None }) })
    }
}

/// An inbox, who delivers to it, and what it ever held.
struct House {
    store: MemStore,
    chance: Arc<Mutex<Chance>>,
    environment: Arc<TestEnvironment>,
    world: World,
    account: AccountId,
    inbox: FolderId,
    /// Every message by its unique identifier.
    written: BTreeMap<String, (Uid, Vec<u8>)>,
    /// What others removed.
    expunged: BTreeSet<Uid>,
}

impl House {
    fn new(seed: u64) -> House {
        let store = MemStore::new();
        let account = AccountId::new(1).unwrap();
        ready(store.provision(account, &[])).unwrap();
        let inbox = ready(store.folders(account)).unwrap().inbox().unwrap().id;
        let environment = Arc::new(TestEnvironment::new(seed));
        let chance = Arc::new(Mutex::new(Chance { random: Random::new(seed), one_in: 0, away: false }));
        let faulty = Arc::new(Faulty { store: store.clone(), chance: chance.clone() });
        let world = World::new(faulty, Arc::new(Trusting(account)), environment.clone());
        let (written, expunged) = (BTreeMap::new(), BTreeSet::new());
        House { store, chance, environment, world, account, inbox, written, expunged }
    }

    fn deliver(&mut self, octets: &[u8]) {
        let mut upload = ready(self.store.upload(UploadOptions::new(1 << 30))).unwrap();
        ready(upload.write(Bytes::copy_from_slice(octets))).unwrap();
        let content = Content::Staged(ready(upload.finish()).unwrap());
        let internal_date = DateTime::default();
        self.commit(Op::Add(AddItem { folder: self.inbox, content, flags: FlagSet::new(), internal_date }));
        let page = ready(self.store.items(self.account, self.inbox, &UidSet::all(), ItemsOptions::default())).unwrap();
        let row = page.rows().last().unwrap();
        let mut id = bytes::BytesMut::new();
        Message::new(row.item, row.generation, row.uid, row.size).unique_id().write(&mut id);
        let id = String::from_utf8(id.to_vec()).unwrap();
        assert!(self.written.insert(id, (row.uid, octets.to_vec())).is_none(), "an identifier is used once");
    }

    fn commit(&self, op: Op) {
        let environment: &dyn Environment = &*self.environment;
        ready(self.store.commit(Batch::new(BatchId(environment.id()), self.account, vec![op]))).unwrap();
    }

    fn expunge(&mut self, uid: Uid) {
        let mut uids = UidSet::new();
        uids.insert(uid);
        self.commit(Op::Remove { folder: self.inbox, uids, only_deleted: false });
        self.expunged.insert(uid);
    }

    fn uids(&self) -> BTreeSet<Uid> {
        let page = ready(self.store.items(self.account, self.inbox, &UidSet::all(), ItemsOptions::default())).unwrap();
        page.rows().iter().map(|row| row.uid).collect()
    }

    /// Takes the maildrop's lease once it has run out.
    fn steal_lease(&self) {
        self.store.advance(Duration::from_secs(61));
        let scope = LeaseScope::Maildrop(self.account);
        ready(self.store.leases().acquire(&scope, [9; 16], Duration::from_secs(60))).unwrap();
    }
}

/// How QUIT went, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quit {
    NotSaid,
    Unanswered,
    Done,
    Failed(String),
}

/// What a session of a collector came to.
struct Outcome {
    quit: Quit,
    /// What was to be removed, if QUIT got through.
    marked: BTreeSet<Uid>,
    /// What was removed by this session.
    removed: BTreeSet<Uid>,
    /// What was there when the lease went to somebody else.
    at_theft: Option<BTreeSet<Uid>>,
    collected: BTreeSet<String>,
}

/// One session. Messages in `known` are deleted, others retrieved, compared and deleted.
fn session(house: &mut House, random: &mut Random, known: &BTreeSet<String>, faults: bool) -> Outcome {
    let credentials =
        Credentials::Password { user: "tim@example.org".into(), password: Secret::from("x"), authzid: None };
    let mut config = client::Config::new(credentials, Nonce::from_random([7; 18]));
    config.pipelining = random.below(4) > 0;
    config.limits.window = 1024 + random.below(4096);
    let bodies = Rc::new(RefCell::new(BTreeMap::<u32, Vec<u8>>::new()));
    let taken = bodies.clone();
    let mut server = Config::new("pop.example.org");
    server.tls = true;
    server.mechanisms = vec![Mechanism::Plain];
    server.limits.chunk = 1 + random.below(5000);
    server.limits.page = 1 + random.below(6);
    let peer = Peer::new("192.0.2.1:4711".parse().unwrap());
    let mut fulfiller = Fulfiller::new(house.world.clone(), &peer);
    let mut delays = Random::new(random.number());
    let slow = faults && random.below(3) == 0;
    let mut pipe = Pipe::new(
        Client::new(Arc::new(config), None),
        move |request| match request {
            client::Request::BodyChunk(chunk) => {
                let mut bodies = taken.borrow_mut();
                bodies.entry(chunk.query.message).or_default().extend_from_slice(&chunk.query.octets);
                Fulfilled::Now(chunk.answer(ChunkTaken::Taken))
            }
            other => panic!("{other:?}"),
        },
        Server::new(Arc::new(server), &peer),
        move |request: Request| -> Fulfilled<Answered> {
            let answered = ready(fulfiller.answer(request));
            match delays.below(200) {
                0 if slow => Fulfilled::Never,
                n if slow && n < 60 => Fulfilled::After(Duration::from_millis(7 * n as u64), answered),
                _ => Fulfilled::Now(answered),
            }
        },
    )
    .capacity(1 + random.below(900));
    if faults && random.below(2) == 0 {
        // Most conversations are a few hundred octets one way and some thousands the other.
        match random.below(2) {
            0 => pipe.client.cut_after(random.below(500) as u64),
            _ => pipe.server.cut_after(random.below(12_000) as u64),
        }
    }
    house.chance.lock().unwrap().one_in = if faults { 10 + random.below(60) } else { 0 };
    let (resets, leaves) = (faults && random.below(12) == 0, !faults || random.below(8) > 0);
    let steals = (faults && random.below(6) == 0).then(|| random.below(8));
    let meddles = faults && random.below(3) == 0;

    let before = house.uids();
    let mut delivered = BTreeSet::new();
    let mut outcome = Outcome {
        quit: Quit::NotSaid,
        marked: BTreeSet::new(),
        removed: BTreeSet::new(),
        at_theft: None,
        collected: BTreeSet::new(),
    };
    let mut numbers = BTreeMap::<u32, String>::new();
    for tick in 0..80 {
        pipe.advance(Duration::from_millis(50));
        for event in pipe.client.events() {
            let id = |message: &u32| numbers.get(message).expect("a number that was listed");
            match event {
                client::Event::Ready => pipe.client.notify(Command::Uidl),
                client::Event::UniqueId { message, id } => {
                    assert!(house.written.contains_key(&id), "an identifier of no message");
                    numbers.insert(message, id);
                }
                client::Event::Done(Command::Uidl) => {
                    for (message, id) in &numbers {
                        if known.contains(id) {
                            if random.below(3) == 0 {
                                pipe.client.notify(Command::Top(*message, random.below(4) as u64));
                            }
                            outcome.marked.insert(house.written.get(id).unwrap().0);
                            pipe.client.notify(Command::Dele(*message));
                        } else {
                            pipe.client.notify(Command::Retr(*message));
                        }
                    }
                    pipe.client.notify(Command::Stat);
                }
                client::Event::Done(Command::Top(message, _)) => {
                    let octets = bodies.borrow_mut().remove(&message).unwrap_or_default();
                    let (_, stored) = house.written.get(id(&message)).unwrap();
                    assert!(stored.starts_with(&octets) && octets.len() >= 8, "TOP is the beginning");
                }
                client::Event::Done(Command::Retr(message)) => {
                    let octets = bodies.borrow_mut().remove(&message).unwrap_or_default();
                    let (uid, stored) = house.written.get(id(&message)).unwrap();
                    assert_eq!(&octets, stored, "what is sent whole is what is stored");
                    assert!(outcome.collected.insert(id(&message).clone()));
                    outcome.marked.insert(*uid);
                    pipe.client.notify(Command::Dele(message));
                }
                // Behind it come the deletions of what was just retrieved, for whoever waits for each.
                client::Event::Done(Command::Stat) => pipe.client.notify(Command::Noop),
                client::Event::Done(Command::Noop) => {
                    if resets {
                        outcome.marked.clear();
                        pipe.client.notify(Command::Rset);
                    }
                    if leaves {
                        outcome.quit = Quit::Unanswered;
                        pipe.client.notify(Command::Quit);
                    }
                }
                client::Event::Done(Command::Quit) => outcome.quit = Quit::Done,
                client::Event::Failed { command: Command::Quit, text, .. } => outcome.quit = Quit::Failed(text),
                // A deletion that is not even sent marks nothing.
                client::Event::NotTaken(Command::Dele(message)) => {
                    outcome.marked.remove(&house.written.get(id(&message)).unwrap().0);
                }
                _ => {}
            }
        }
        if pipe.client.closed().is_some() && pipe.server.closed().is_some() {
            break;
        }
        if steals == Some(tick) {
            house.steal_lease();
            outcome.at_theft = Some(house.uids());
        }
        if meddles && random.below(6) == 0 {
            if random.below(2) == 0 {
                let known_uids = house.uids();
                house.deliver(format!("N: late {tick}\r\n\r\n{}\r\n", "z".repeat(tick * 9)).as_bytes());
                delivered.extend(house.uids().difference(&known_uids).copied());
            } else if let Some(uid) = house.uids().into_iter().nth(random.below(12)) {
                house.expunge(uid);
            }
        }
    }
    // Whoever did not leave is cut off, before the client's own goodbye for idle ones.
    pipe.client.cut();
    pipe.server.cut();
    pipe.finish(Duration::from_secs(2000));
    for event in pipe.client.events() {
        match event {
            client::Event::Done(Command::Quit) => outcome.quit = Quit::Done,
            client::Event::Failed { command: Command::Quit, text, .. } => outcome.quit = Quit::Failed(text),
            _ => {}
        }
    }
    let after = house.uids();
    let gone = before.union(&delivered).copied().filter(|uid| !after.contains(uid));
    outcome.removed = gone.filter(|uid| !house.expunged.contains(uid)).collect();
    outcome
}

/// What RFC 1939 §6 promises about one session.
fn check(house: &House, outcome: &Outcome, known: &BTreeSet<String>) -> Result<(), TestCaseError> {
    let Outcome { quit, marked, removed, at_theft, collected } = outcome;
    let marked: BTreeSet<Uid> = marked.difference(&house.expunged).copied().collect();
    prop_assert!(removed.is_subset(&marked), "what was not marked stays: {removed:?} of {marked:?}, {quit:?}");
    match quit {
        Quit::NotSaid => prop_assert!(removed.is_empty(), "without QUIT nothing is removed: {removed:?}"),
        // The reply was lost, not the promise: all of it or nothing.
        Quit::Unanswered => prop_assert!(removed.is_empty() || *removed == marked, "{removed:?} of {marked:?}"),
        Quit::Done => prop_assert_eq!(removed, &marked, "+OK to QUIT: everything marked is removed"),
        // The store could not say whether it did.
        Quit::Failed(text) if text.contains("some deleted messages") => {
            prop_assert!(removed.is_empty() || *removed == marked, "{removed:?} of {marked:?}");
        }
        Quit::Failed(text) => prop_assert!(removed.is_empty(), "{text}: {removed:?}"),
    }
    // Nothing is removed that its collector does not have.
    let have: BTreeSet<Uid> =
        known.union(collected).filter_map(|id| house.written.get(id)).map(|(uid, _)| *uid).collect();
    prop_assert!(removed.is_subset(&have));
    if let Some(at_theft) = at_theft {
        let left = house.uids();
        let lost: Vec<&Uid> =
            at_theft.iter().filter(|uid| !left.contains(uid) && !house.expunged.contains(uid)).collect();
        prop_assert!(lost.is_empty(), "removed after the lease was another's: {lost:?}");
    }
    Ok(())
}

proptest! {
    // A seed does not shrink, and a failing one is told in the panic.
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Once a store said that it did not know whether it had removed the messages, and was busy when it was asked again:
    /// the client heard that nothing was removed, and everything was. Now a repeated batch tells only what it knows.
    ///
    /// A collector comes again and again until the maildrop is empty: each message is collected exactly once, octet for
    /// octet, and nothing is removed that a QUIT did not promise.
    #[test]
    fn nothing_is_lost_whatever_fails(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut house = House::new(seed);
        for at in 0..1 + random.below(9) {
            let lines = format!(".{at}\r\n..\r\n{}\r\n", "y".repeat(random.below(70))).repeat(random.below(40));
            house.deliver(format!("N: {at}\r\n\r\n{lines}").as_bytes());
        }
        let mut known = BTreeSet::new();
        let mut sessions = 0;
        while !house.uids().is_empty() {
            sessions += 1;
            prop_assert!(sessions < 100, "no progress");
            // A lease that nobody gave back has run out.
            house.store.advance(Duration::from_secs(61));
            house.environment.advance(Duration::from_secs(61));
            let outcome = session(&mut house, &mut random, &known, sessions < 12);
            check(&house, &outcome, &known)?;
            for id in outcome.collected {
                prop_assert!(known.insert(id), "a message is collected once");
            }
        }
        for (id, (uid, _)) in &house.written {
            prop_assert!(known.contains(id) || house.expunged.contains(uid), "a message was lost");
        }
    }
}
