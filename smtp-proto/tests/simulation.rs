//! Days of traffic in virtual time: submission, queue, workers, clients and servers as they are, and a world in which
//! everything fails: names that can't be found, hosts that refuse, are silent or break off anywhere, handshakes, stores
//! that fail or don't know what they did, workers that die. In the end every message is delivered, returned once or still
//! queued, and whoever has it twice has it from a conversation whose end got lost.
#![cfg(feature = "store")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says no by panicking"
)]

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::peer;
use mailstore_trait::batch::{Batch, Committed as Done};
use mailstore_trait::change::{ChangePage, ChangesOptions};
use mailstore_trait::date::Timestamp;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::{CommitError, ReadError, UploadError};
use mailstore_trait::folder::{FolderList, FolderView, Role};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::hints::ChangeHints;
use mailstore_trait::id::{AccountId, BatchId, EmailId, FolderId};
use mailstore_trait::item::{ItemPage, ItemsOptions};
use mailstore_trait::leases::Leases;
use mailstore_trait::queue::{Leased, QueueLease, QueueOp, QueueStore, RecipientState};
use mailstore_trait::session::Fulfil;
use mailstore_trait::store::{AccountState, Caps, MailStore, Upload, UploadOptions, ViewOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use mailstore_trait::testkit::random::Random;
use mailstore_trait::uid_set::UidSet;
use smtp_proto::address::{Address, Grammar};
use smtp_proto::client::request::{Credentials, Failure, Next, Outcome, Outgoing, Page, Request as Ask, Stage};
use smtp_proto::client::{Client, Config as ClientConfig, TlsPolicy};
use smtp_proto::queue::Retry;
use smtp_proto::queue::destination::{Destinations, Limits, Reached};
use smtp_proto::queue::entry::{self, Via};
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::request::{Committed, Decision, Envelope, Recipient, Request, Sender};
use smtp_proto::store::{Deliverer, Fulfiller, Policy, World};
use smtp_proto::{Config, Server};

/// A store that now and then refuses a commit, or does it and doesn't know.
struct Faulty {
    inner: MemStore,
    faults: Mutex<(Random, usize)>,
}

impl MailStore for Faulty {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.inner.provision(account, folders)
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        MailStore::account(&self.inner, account)
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        self.inner.folders(account)
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        self.inner.view(account, folder, options)
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        self.inner.items(account, folder, uids, options)
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        self.inner.changes(account, options)
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        MailStore::read(&self.inner, account, email, offset, max)
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        self.inner.upload(options)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Done, CommitError>> {
        let fault = {
            let (random, faults) = &mut *self.faults.lock().unwrap();
            let fault = random.below(40);
            *faults += usize::from(fault < 2);
            fault
        };
        Box::pin(async move {
            match fault {
                0 => Err(CommitError::Unavailable("not now".into())),
                1 => {
                    let _ = self.inner.commit(batch).await;
                    Err(CommitError::Unknown("the connection to the database is gone".into()))
                }
                _ => self.inner.commit(batch).await,
            }
        })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.forget_removals(account, older_than)
    }

    fn hints(&self) -> &dyn ChangeHints {
        self.inner.hints()
    }

    fn leases(&self) -> &dyn Leases {
        self.inner.leases()
    }

    fn as_queue(&self) -> Option<&dyn QueueStore> {
        self.inner.as_queue()
    }
}

/// What goes wrong in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// There is no such domain.
    NoDomain,
    /// The name servers don't answer.
    NoDns,
    Refused,
    /// Accepts the connection, and says nothing to MAIL.
    Silent,
    Busy,
    Defers,
    Rejects,
    /// The stream breaks off after so many octets to the server.
    Cut(u64),
    /// The message is taken, and its reply never comes.
    LostReply,
    /// The handshake comes to nothing.
    Handshake,
}

/// The domains of the world, by what they are like.
const DOMAINS: [&str; 12] =
    ["good", "grey", "gone", "down", "flaky", "nodns", "nxdomain", "silent", "cut", "lost", "tls", "nightly"];

const DAY: i64 = 86_400;
const LEASE: Duration = Duration::from_secs(120);

/// How the workers are wrong, to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Takes a message out of the queue before it was sent.
    Eager,
    /// Leases bind nobody.
    SharedLeases,
    /// Failures are reported, and reported again.
    ReportsTwice,
}

/// A message and one of its recipients.
type Copy = (usize, String);

/// What the world saw.
#[derive(Default)]
struct Seen {
    /// Who promised to deliver: answered 250.
    promised: BTreeMap<Copy, Promise>,
    /// How often a host took it.
    taken: BTreeMap<Copy, usize>,
    /// How often it may come once more, because an end got lost.
    excused: BTreeMap<Copy, usize>,
    crashes: usize,
    faults: BTreeMap<&'static str, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    /// Whether its sender is to hear of a failure.
    answerable: bool,
}

/// What came of all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    delivered: usize,
    returned: usize,
    queued: usize,
    unanswerable: usize,
    twice: usize,
    crashes: usize,
    store_faults: usize,
}

/// A turn that a worker is at.
struct UnderWay {
    worker: usize,
    until: Timestamp,
    leased: Leased,
    tried: bool,
    postponed: Option<Timestamp>,
    spoken: Vec<Spoken>,
}

/// One conversation of it.
struct Spoken {
    name: String,
    positions: Vec<usize>,
    outcomes: Vec<Outcome>,
    reports: bool,
    took: Duration,
    /// What the host took, and whether the client heard so.
    taken: Vec<(Copy, bool)>,
}

struct Simulation {
    random: RefCell<Random>,
    runtime: tokio::runtime::Runtime,
    environment: Arc<TestEnvironment>,
    store: MemStore,
    faulty: Arc<Faulty>,
    world: World,
    deliverer: Deliverer,
    ann: AccountId,
    workers: [Destinations; 2],
    under_way: Vec<UnderWay>,
    begun: Timestamp,
    greylisted: BTreeSet<Copy>,
    seen: Seen,
    mutant: Mutant,
}

fn local(stage: Stage, code: u16, text: &'static str) -> Failure {
    let class = (code / 100) as u8;
    Failure { stage, reply: Reply::new(code, EnhancedCode::new(class, 4, 4), text), remote: false }
}

fn number_of(message: &[u8]) -> usize {
    let text = String::from_utf8_lossy(message);
    let line = text.lines().find_map(|line| line.strip_prefix("X-Number: ")).expect("numbered");
    line.trim().parse().expect("a number")
}

impl Simulation {
    fn new(seed: u64, mutant: Mutant) -> Simulation {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = Arc::new(MemDirectory::new());
        let ann = directory.add("ann@here.example", "secret").unwrap();
        let store = MemStore::new();
        runtime.block_on(store.provision(ann, &[])).unwrap();
        let environment = Arc::new(TestEnvironment::new(seed));
        let faulty = Arc::new(Faulty { inner: store.clone(), faults: Mutex::new((Random::new(seed ^ 0xfa17), 0)) });
        let world = World {
            store: faulty.clone(),
            directory: directory.clone(),
            authenticator: directory,
            environment: environment.clone(),
        };
        let policy = Arc::new(Policy::new("mail.here.example", smtp_proto::config::Role::Submission));
        let destinations = || Destinations::new(Limits { concurrency: 4, ..Limits::default() });
        Simulation {
            random: RefCell::new(Random::new(seed)),
            runtime,
            deliverer: Deliverer::new(world.clone(), policy, Retry::default()),
            begun: environment.now(),
            environment,
            store,
            faulty,
            world,
            ann,
            workers: [destinations(), destinations()],
            under_way: Vec::new(),
            greylisted: BTreeSet::new(),
            seen: Seen::default(),
            mutant,
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    fn move_to(&self, now: Timestamp) {
        self.environment.set(now);
        self.store.set_clock(now);
    }

    /// What a domain does this time.
    fn fault(&self, domain: &str, now: Timestamp) -> Fault {
        let hour = now.since(self.begun).as_secs() / 3600;
        let cut = || Fault::Cut(self.below(1500) as u64);
        let once_in = |n: usize, fault: Fault| if self.below(n) == 0 { fault } else { Fault::None };
        match domain {
            "grey.example" => Fault::None,
            "gone.example" => Fault::Rejects,
            "down.example" => Fault::Refused,
            "nodns.example" => Fault::NoDns,
            "nxdomain.example" => Fault::NoDomain,
            "silent.example" => once_in(2, Fault::Silent),
            "cut.example" => once_in(2, cut()),
            "lost.example" => once_in(3, Fault::LostReply),
            "tls.example" => once_in(2, Fault::Handshake),
            "nightly.example" if (2..9).contains(&hour) => Fault::Refused,
            "flaky.example" => match self.below(12) {
                0 => Fault::NoDns,
                1 => Fault::Refused,
                2 => Fault::Silent,
                3 => Fault::Busy,
                4 => Fault::Defers,
                5 => cut(),
                6 => Fault::LostReply,
                7 => Fault::Handshake,
                _ => Fault::None,
            },
            _ => Fault::None,
        }
    }

    /// A user submits: the real client to the real server. Whether it was accepted.
    fn submit(&mut self, number: usize) -> bool {
        let mut recipients: Vec<String> = Vec::new();
        for _ in 0..=self.below(3) {
            let domain = DOMAINS[self.below(DOMAINS.len())];
            recipients.push(format!("r{}@{domain}.example", self.below(5)));
        }
        if self.below(4) == 0 {
            recipients.push("ann@here.example".into());
        }
        recipients.sort();
        recipients.dedup();
        let answerable = self.below(15) != 0;
        let address = |text: &str| Address::parse(text, Grammar::default()).unwrap();
        let sender = Sender::new(answerable.then(|| address("ann@here.example")));
        let envelope = Envelope::new(sender, recipients.iter().map(|to| Recipient::new(address(to))).collect());
        let text =
            format!("X-Number: {number}\r\nSubject: simulated\r\n\r\n{}", "a line of text\r\n".repeat(self.below(40)));
        let body = Bytes::from(text);
        let outgoing = Outgoing { envelope, size: body.len() as u64 };
        let mut fulfiller = Fulfiller::new(
            self.world.clone(),
            Arc::new(Policy::new("mail.here.example", smtp_proto::config::Role::Submission)),
            &peer(),
        );
        fulfiller.allow_cleartext();
        let config = Config { cleartext_auth: true, ..Config::submission("mail.here.example", ["PLAIN"]) };
        let server = Server::new(Arc::new(config), peer());
        let mut config = ClientConfig::new("ann.example");
        (config.tls, config.login) = (TlsPolicy::None, true);
        let reported = RefCell::new(Vec::new());
        let runtime = &self.runtime;
        let mut pipe = Pipe::new(
            Client::new(Arc::new(config), None),
            |ask| answer_client(ask, &outgoing, &body, &reported, &RefCell::new((false, false))),
            server,
            |request| Fulfilled::Now(runtime.block_on(fulfiller.fulfil(request))),
        );
        pipe.finish(Duration::from_secs(3600));
        drop(pipe);
        let outcomes = reported.into_inner();
        let accepted = !outcomes.is_empty() && outcomes.iter().all(|it| matches!(it, Outcome::Delivered(_)));
        if accepted {
            for to in recipients {
                self.seen.promised.insert((number, to), Promise { answerable });
            }
        }
        accepted
    }

    /// One conversation with a domain's host, as a worker has it.
    fn speak(&mut self, leased: &Leased, name: &str, positions: &[usize], now: Timestamp) -> Spoken {
        let mut fault = self.fault(name, now);
        *self.seen.faults.entry(word(fault)).or_default() += usize::from(fault != Fault::None);
        let (outgoing, sent) =
            entry::outgoing(&leased.entry, now, |address| address.domain().is_some_and(|domain| domain == name));
        assert_eq!(sent, positions);
        let queue = self.store.as_queue().unwrap();
        let body = self.runtime.block_on(queue.read(leased.entry.id, 0, 1 << 20)).unwrap();
        let failed = |failure: Failure| vec![Outcome::from(failure); positions.len()];
        let mut spoken = Spoken {
            name: name.to_owned(),
            positions: sent,
            outcomes: Vec::new(),
            reports: false,
            took: Duration::from_secs(1),
            taken: Vec::new(),
        };
        spoken.outcomes = match fault {
            Fault::NoDomain => failed(local(Stage::Lookup, 550, "no such domain")),
            Fault::NoDns => failed(local(Stage::Lookup, 451, "no answer from the name servers")),
            Fault::Refused => failed(local(Stage::Connect, 451, "connection refused")),
            _ => Vec::new(),
        };
        while spoken.outcomes.is_empty() {
            let reported = RefCell::new(Vec::new());
            let took_over = RefCell::new((false, false));
            self.connection(fault, &outgoing, &body, &reported, &took_over, &mut spoken);
            spoken.outcomes = reported.into_inner();
            spoken.reports = took_over.borrow().0;
            if spoken.outcomes.is_empty() {
                spoken.outcomes = failed(local(Stage::Greeting, 451, "ended early"));
            }
            // Opportunistic TLS: once more, in clear.
            let handshake = |it: &Outcome| matches!(it, Outcome::Deferred(failure) if failure.stage == Stage::StartTls);
            if fault == Fault::Handshake && spoken.outcomes.iter().all(handshake) {
                (fault, spoken.outcomes) = (Fault::None, Vec::new());
            }
        }
        for (copy, heard) in &mut spoken.taken {
            let at = positions.iter().position(|&at| leased.entry.recipients[at].address == copy.1).unwrap();
            *heard = matches!(spoken.outcomes[at], Outcome::Delivered(_));
            *self.seen.taken.entry(copy.clone()).or_default() += 1;
            if !*heard {
                *self.seen.excused.entry(copy.clone()).or_default() += 1;
            }
        }
        spoken
    }

    /// The real client to a real server that behaves like this.
    fn connection(
        &mut self,
        fault: Fault,
        outgoing: &Outgoing,
        body: &Bytes,
        reported: &RefCell<Vec<Outcome>>,
        took_over: &RefCell<(bool, bool)>,
        spoken: &mut Spoken,
    ) {
        let mut config = ClientConfig::new("mail.here.example");
        config.tls = if fault == Fault::Handshake { TlsPolicy::Opportunistic } else { TlsPolicy::None };
        let mut host = Config::new("mx.example");
        host.starttls = fault == Fault::Handshake;
        let (random, greylisted) = (&self.random, &mut self.greylisted);
        let mut message: Vec<u8> = Vec::new();
        let mut accepted: Vec<String> = Vec::new();
        let taken = &mut spoken.taken;
        let number = number_of(body);
        let temporary = |text: &'static str| Decision::Refused(Reply::new(451, EnhancedCode::new(4, 7, 1), text));
        let mut pipe = Pipe::new(
            Client::new(Arc::new(config), None),
            |ask| answer_client(ask, outgoing, body, reported, took_over),
            Server::new(Arc::new(host), peer()),
            |request| match request {
                Request::Connect(asked) if fault == Fault::Busy => Fulfilled::Now(
                    asked.answer(Decision::Refused(Reply::new(421, EnhancedCode::new(4, 3, 2), "too busy"))),
                ),
                Request::Connect(asked) => Fulfilled::Now(asked.answer(Decision::Accepted)),
                Request::MailFrom(asked) if fault != Fault::Silent => Fulfilled::Now(asked.answer(Decision::Accepted)),
                Request::MailFrom(_) => Fulfilled::Never,
                Request::RcptTo(asked) => {
                    let decide = |to: &Recipient| {
                        let copy = (number, to.address.to_string());
                        let grey = to.address.domain() == Some("grey.example") && greylisted.insert(copy);
                        match fault {
                            Fault::Rejects => {
                                Decision::Refused(Reply::new(550, EnhancedCode::new(5, 1, 1), "nobody here"))
                            }
                            Fault::Defers => temporary("later"),
                            _ if grey => temporary("greylisted"),
                            _ => Decision::Accepted,
                        }
                    };
                    let decisions: Vec<Decision> = asked.query.recipients.iter().map(decide).collect();
                    for (to, decision) in asked.query.recipients.iter().zip(&decisions) {
                        if *decision == Decision::Accepted {
                            accepted.push(to.address.to_string());
                        }
                    }
                    Fulfilled::Now(asked.answer(decisions))
                }
                Request::BodyChunk(asked) => {
                    asked.query.pieces.iter().for_each(|piece| message.extend_from_slice(piece));
                    Fulfilled::Now(asked.answer(Decision::Accepted))
                }
                Request::BodyOpen(asked) => Fulfilled::Now(asked.answer(Decision::Accepted)),
                Request::Commit(asked) => {
                    assert_eq!(message, body[..], "octets change on no way");
                    taken.extend(accepted.drain(..).map(|to| ((number, to), false)));
                    match fault {
                        Fault::LostReply => Fulfilled::Never,
                        _ => Fulfilled::Now(asked.answer(Committed::Accepted("taken".into()))),
                    }
                }
                other => Fulfilled::Now(other.decline()),
            },
        );
        match fault {
            Fault::Cut(octets) => pipe.client.cut_after(octets),
            Fault::Handshake => {
                pipe.client.cut_after("EHLO mail.here.example\r\nSTARTTLS\r\n".len() as u64);
            }
            _ => {}
        }
        pipe.finish(Duration::from_secs(6 * 3600));
        drop(pipe);
        spoken.took += match fault {
            Fault::Silent => Duration::from_secs(300),
            Fault::LostReply => Duration::from_secs(600),
            _ => Duration::from_secs(random.borrow_mut().below(20) as u64),
        };
    }

    /// A worker takes what is due.
    fn lease(&mut self, worker: usize, now: Timestamp) {
        let queue = self.store.as_queue().unwrap();
        let ttl = if self.mutant == Mutant::SharedLeases { Duration::ZERO } else { LEASE };
        let room = 10_usize.saturating_sub(self.under_way.iter().filter(|it| it.worker == worker).count());
        let leased = self.runtime.block_on(queue.lease(now, room, ttl)).unwrap();
        for leased in leased {
            self.begin(worker, leased, now);
        }
    }

    fn begin(&mut self, worker: usize, mut leased: Leased, now: Timestamp) {
        if !entry::is_over(&leased.entry, now) {
            self.runtime.block_on(self.deliverer.deliver_locally(&mut leased.entry));
        }
        let here = leased.entry.recipients.iter().any(|recipient| !recipient.is_waiting());
        let domain = |address: &str| address.rsplit_once('@').unwrap().1.to_owned();
        let plan = entry::plan(&mut leased.entry, now, &mut self.workers[worker], domain);
        let tried = here || !plan.granted.is_empty();
        let spoken: Vec<Spoken> =
            plan.granted.iter().map(|(name, positions)| self.speak(&leased, name, positions, now)).collect();
        let took: Duration = spoken.iter().map(|spoken| spoken.took).sum();
        if self.mutant == Mutant::Eager {
            for spoken in &spoken {
                let taken = Outcome::Delivered(Reply::new(250, EnhancedCode::new(2, 0, 0), "surely"));
                let outcomes = vec![taken; spoken.positions.len()];
                entry::settle(&mut leased.entry, &spoken.positions, &outcomes, Via::Mailbox, now);
            }
            let _ = self.runtime.block_on(self.deliverer.conclude(leased, tried, plan.postponed));
            return;
        }
        self.under_way.push(UnderWay {
            worker,
            until: now.plus(took),
            leased,
            tried,
            postponed: plan.postponed,
            spoken,
        });
    }

    fn end(&mut self, turn: UnderWay, now: Timestamp) {
        let UnderWay { worker, mut leased, tried, postponed, spoken, .. } = turn;
        for one in &spoken {
            let via = Via::NextHop { host: "mx.example", reports: one.reports, deliver_by: false };
            entry::settle(&mut leased.entry, &one.positions, &one.outcomes, via, now);
            let random = self.below(usize::MAX) as u32;
            self.workers[worker].ended(&one.name, now, one.took, Reached::of(&one.outcomes), random);
        }
        let failed = leased.entry.recipients.iter().any(|it| it.state == RecipientState::Failed);
        if self.mutant == Mutant::ReportsTwice && failed {
            self.append_again(&leased);
        }
        match self.runtime.block_on(self.deliverer.conclude(leased, tried, postponed)) {
            Ok(()) => {}
            // Somebody else's entry: a worker that renews its leases never comes to that.
            Err(CommitError::Fenced) => {}
            Err(_) => self.excuse(&spoken),
        }
    }

    /// The entry once more, with what is to be reported of it.
    fn append_again(&self, leased: &Leased) {
        let mut entry = leased.entry.clone();
        entry.id.0[0] ^= 0x55;
        entry.recipients.retain(|it| it.state == RecipientState::Failed);
        self.runtime.block_on(async {
            let body = self.store.as_queue().unwrap().read(leased.entry.id, 0, 1 << 20).await.unwrap();
            let mut upload = self.store.upload(UploadOptions::new(1 << 20)).await.unwrap();
            upload.write(body).await.unwrap();
            let content = upload.finish().await.unwrap();
            let mut batch = Batch::empty(BatchId(entry.id.0));
            batch.queue.push(QueueOp::Append { entry, trace: Bytes::new(), content });
            let _ = self.store.commit(batch).await;
        });
    }

    /// What was taken in a turn whose end got lost may be taken once more.
    fn excuse(&mut self, spoken: &[Spoken]) {
        for one in spoken {
            for (copy, _) in one.taken.iter().filter(|(_, heard)| *heard) {
                *self.seen.excused.entry(copy.clone()).or_default() += 1;
            }
        }
    }

    fn crash(&mut self, worker: usize) {
        self.seen.crashes += 1;
        let (lost, kept) =
            std::mem::take(&mut self.under_way).into_iter().partition(|it: &UnderWay| it.worker == worker);
        self.under_way = kept;
        for turn in lost {
            self.excuse(&turn.spoken);
        }
        self.workers[worker] = Destinations::new(Limits { concurrency: 4, ..Limits::default() });
    }

    fn renew(&mut self, now: Timestamp) {
        let held: Vec<QueueLease> = self.under_way.iter().map(|turn| turn.leased.lease).collect();
        let queue = self.store.as_queue().unwrap();
        self.runtime.block_on(queue.renew(&held, now.plus(LEASE))).unwrap();
    }

    /// Lets so many days pass, in the first of which so many messages are submitted.
    fn run(&mut self, days: i64, messages: usize) {
        let until = self.begun.plus(Duration::from_secs((days * DAY) as u64));
        let mut submissions: Vec<Timestamp> =
            (0..messages).map(|_| self.begun.plus(Duration::from_secs(self.below(DAY as usize) as u64))).collect();
        submissions.sort_unstable_by(|a, b| b.cmp(a));
        let mut crashes: Vec<Timestamp> = (0..days * 8)
            .map(|_| self.begun.plus(Duration::from_secs(self.below((days * DAY) as usize) as u64)))
            .collect();
        crashes.sort_unstable_by(|a, b| b.cmp(a));
        let (mut now, mut number) = (self.begun, 0);
        while now < until {
            self.move_to(now);
            while submissions.last().is_some_and(|at| *at <= now) {
                submissions.pop();
                number += 1;
                // A submission that is refused comes again, as another message: nothing was promised.
                if !self.submit(number) {
                    submissions.push(now.plus(Duration::from_secs(60)));
                    submissions.sort_unstable_by(|a, b| b.cmp(a));
                }
            }
            while crashes.last().is_some_and(|at| *at <= now) {
                crashes.pop();
                self.crash(self.below(2));
            }
            let (ended, going): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.under_way).into_iter().partition(|turn| turn.until <= now);
            self.under_way = going;
            for turn in ended {
                self.end(turn, now);
            }
            for worker in [0, 1] {
                self.lease(worker, now);
            }
            let queue = self.store.as_queue().unwrap();
            let due = self.runtime.block_on(queue.next_due()).unwrap();
            let next = self.under_way.iter().map(|turn| turn.until).chain(due).chain(submissions.last().copied());
            let next = next.chain(crashes.last().copied()).min().unwrap_or(until);
            let next = next.max(now.plus(Duration::from_secs(1)));
            now = if self.under_way.is_empty() { next } else { next.min(now.plus(LEASE / 3)) };
            self.move_to(now);
            self.renew(now);
        }
    }

    /// Messages in ann's mailbox: those for her, and what failed, as the reports have it.
    fn mailbox(&self) -> (BTreeMap<Copy, usize>, BTreeMap<Copy, usize>) {
        let (mut delivered, mut returned) = (BTreeMap::<Copy, usize>::new(), BTreeMap::<Copy, usize>::new());
        self.runtime.block_on(async {
            let folder = self.store.folders(self.ann).await.unwrap().inbox().unwrap().id;
            let view = self.store.view(self.ann, folder, ViewOptions::default()).await.unwrap();
            let uids = view.uids.to_set();
            let page = self.store.items(self.ann, folder, &uids, ItemsOptions::default()).await.unwrap();
            assert_eq!(page.rows().len(), view.uids.len() as usize, "one page holds all");
            for row in page.rows() {
                let octets = MailStore::read(&self.store, self.ann, row.email, 0, 1 << 20).await.unwrap();
                let text = String::from_utf8_lossy(&octets).into_owned();
                let number = number_of(&octets);
                if !text.contains("multipart/report") {
                    *delivered.entry((number, "ann@here.example".into())).or_default() += 1;
                    continue;
                }
                let blocks = text.split("\r\n\r\n").filter(|block| block.contains("\r\nAction: failed"));
                for block in blocks {
                    let to = block.lines().find_map(|line| line.strip_prefix("Final-Recipient: rfc822;")).unwrap();
                    *returned.entry((number, to.to_owned())).or_default() += 1;
                }
            }
        });
        (delivered, returned)
    }

    fn judge(&self) -> Result<Summary, String> {
        let mut summary = Summary { crashes: self.seen.crashes, ..Summary::default() };
        summary.store_faults = self.faulty.faults.lock().unwrap().1;
        let (mailbox, returned) = self.mailbox();
        let entries = self.runtime.block_on(self.store.as_queue().unwrap().list(None, 100_000)).unwrap();
        let mut queued: BTreeMap<Copy, usize> = BTreeMap::new();
        for entry in &entries {
            let body = self.runtime.block_on(self.store.as_queue().unwrap().read(entry.id, 0, 1 << 20)).unwrap();
            for recipient in entry.recipients.iter().filter(|it| it.is_waiting()) {
                *queued.entry((number_of(&body), recipient.address.clone())).or_default() += 1;
            }
        }
        let count = |of: &BTreeMap<Copy, usize>, copy: &Copy| of.get(copy).copied().unwrap_or_default();
        for (copy, promise) in &self.seen.promised {
            let taken = count(&self.seen.taken, copy) + count(&mailbox, copy);
            let (excused, returned, queued) =
                (count(&self.seen.excused, copy), count(&returned, copy), count(&queued, copy));
            if taken > 1 + excused {
                return Err(format!("{copy:?} was taken {taken} times, {excused} of them excused"));
            }
            if returned > 1 || queued > 1 {
                return Err(format!("{copy:?} was returned {returned} times, and is queued {queued} times"));
            }
            if taken + returned + queued > 1 + excused {
                return Err(format!(
                    "{copy:?}: taken {taken}, returned {returned}, queued {queued}, excused {excused}"
                ));
            }
            match (taken, returned, queued) {
                (0, 0, 0) if promise.answerable => return Err(format!("{copy:?} is lost")),
                // Who has no sender is told nobody: it must have failed.
                (0, 0, 0) => summary.unanswerable += 1,
                (0, 0, _) => summary.queued += 1,
                (0, _, _) => summary.returned += 1,
                (taken, ..) => {
                    summary.delivered += 1;
                    summary.twice += usize::from(taken > 1);
                }
            }
            if returned > 0 && !promise.answerable {
                return Err(format!("{copy:?} was answered, and has no sender"));
            }
        }
        Ok(summary)
    }
}

fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "none",
        Fault::NoDomain => "no domain",
        Fault::NoDns => "no dns",
        Fault::Refused => "refused",
        Fault::Silent => "silent",
        Fault::Busy => "busy",
        Fault::Defers => "defers",
        Fault::Rejects => "rejects",
        Fault::Cut(_) => "cut",
        Fault::LostReply => "lost reply",
        Fault::Handshake => "handshake",
    }
}

fn answer_client(
    ask: Ask,
    outgoing: &Outgoing,
    body: &Bytes,
    reported: &RefCell<Vec<Outcome>>,
    took_over: &RefCell<(bool, bool)>,
) -> Fulfilled<smtp_proto::client::request::Answered> {
    Fulfilled::Now(match ask {
        Ask::NextMessage(asked) => {
            let next = if asked.query.sent == 0 { Next::Send(Box::new(outgoing.clone())) } else { Next::Quit };
            asked.answer(next)
        }
        Ask::Login(asked) => asked.answer(Credentials::Mechanism {
            name: "PLAIN".into(),
            initial: Some(Bytes::from_static(b"\0ann@here.example\0secret")),
        }),
        Ask::Succeeded(asked) => asked.answer(true),
        Ask::ReadBody(asked) => {
            let start = usize::try_from(asked.query.offset).unwrap().min(body.len());
            let end = (start + asked.query.max).min(body.len());
            asked.answer(if start == end { Page::End } else { Page::Octets(body.slice(start..end)) })
        }
        Ask::Report(asked) => {
            let (report, reply) = asked.split();
            *took_over.borrow_mut() = (report.dsn, report.deliver_by);
            *reported.borrow_mut() = report.outcomes;
            reply.answer(())
        }
        other => other.decline(),
    })
}

fn simulate(
    seed: u64,
    days: i64,
    messages: usize,
    mutant: Mutant,
) -> (Result<Summary, String>, BTreeMap<&'static str, usize>) {
    let mut simulation = Simulation::new(seed, mutant);
    simulation.run(days, messages);
    (simulation.judge(), std::mem::take(&mut simulation.seen.faults))
}

/// A day's mail and the days after it, in which its life ends. `SEED` chooses another week.
#[test]
fn a_day_of_mail_ends_well() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let (summary, faults) = simulate(seed, 7, 200, Mutant::None);
    let summary = summary.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    assert!(summary.delivered > 150 && summary.returned > 40 && summary.queued == 0, "{summary:?}");
    assert!(summary.crashes > 20 && summary.store_faults > 20 && summary.twice > 0, "{summary:?}");
    assert_eq!(faults.len(), 10 + 1, "every fault came: {faults:?}");
}

/// After one day, what can't be delivered yet is still there.
#[test]
fn after_a_day_some_mail_still_waits() {
    let (summary, _) = simulate(9, 1, 100, Mutant::None);
    let summary = summary.unwrap();
    assert!(summary.delivered > 50 && summary.returned > 10 && summary.queued > 10, "{summary:?}");
}

/// The simulation finds what is wrong.
#[test]
fn a_wrong_worker_is_found() {
    for mutant in [Mutant::Eager, Mutant::SharedLeases, Mutant::ReportsTwice] {
        let (judged, _) = simulate(4, 2, 60, mutant);
        assert!(judged.is_err(), "{mutant:?}: {judged:?}");
    }
}
