//! Clients against the server in virtual time: several edit one mailbox at random while mail is delivered and links are
//! cut, and at every moment of rest what each of them knows is what the store knows.
//!
//! Each client keeps a [`Replica`] through all its connections, which have QRESYNC, or only CONDSTORE, or neither. A
//! connection is cut at any octet, answers of the store take their time, removals are forgotten below a floor. What the
//! replicas hold is compared with the store message by message, flag by flag; messages are fetched and compared too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

#[path = "support/adapted.rs"]
mod adapted;
#[path = "support/mailbox.rs"]
mod mailbox;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imap_proto_core::Server;
use imap_proto_core::client::{
    Append, Cache, ChunkTaken, Client, Code, Command, Event, Fetch, Items, Key, Mailbox, Messages, ModSeq, NotTaken,
    Page, Piece, Replica, Request, Search, Section, Store, Task,
};
use mailstore_trait::batch::{Batch, Op};
use mailstore_trait::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use mailstore_trait::id::{BatchId, SeqNum, Uid};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::sasl::Mechanism;
use mailstore_trait::store::MailStore;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use mailstore_trait::testkit::random::Random;
use mailstore_trait::uid_set::UidSet;
use proptest::prelude::*;

use mailbox::{World, now};

/// The replica's commands.
const REPLICA: u64 = 1;

/// What a client's questions are answered from, and into.
#[derive(Default)]
struct Desk {
    /// Messages to append, by ticket.
    outgoing: BTreeMap<u64, Bytes>,
    /// Messages that were fetched, by UID.
    fetched: BTreeMap<Uid, Vec<u8>>,
}

/// A client through all its connections.
struct Actor {
    pipe: Pipe<'static, Client, Server>,
    replica: Replica,
    desk: Rc<RefCell<Desk>>,
    tickets: u64,
    ready: bool,
    /// Commands of the connection that have not ended.
    open: Vec<u64>,
    found: BTreeMap<u64, UidSet>,
    /// The last command that was not taken: the connection was about to end.
    not_taken: u64,
    /// What was given and heard last, for whoever reads of a failure.
    log: VecDeque<Note>,
}

/// Something given or heard.
#[derive(Debug)]
#[allow(dead_code, reason = "read by whoever reads of a failure")]
enum Note {
    Given(u64, Command),
    Heard(Event),
}

struct House {
    world: World,
    random: Random,
    messages: u64,
    done: BTreeMap<&'static str, u64>,
}

impl House {
    fn new(seed: u64) -> House {
        // Not the numbers of the environment's ids, whose seed is 1: those name batches.
        let (world, random) = (World::new_trusting(), Random::new(seed ^ 0x7265_706c_6963_6173));
        House { world, random, messages: 0, done: BTreeMap::new() }
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn message(&mut self) -> Bytes {
        self.messages += 1;
        let lines = self.random.below(40);
        let text = format!("Subject: {}\r\n\r\n{}", self.messages, "a line of text\r\n".repeat(lines));
        Bytes::from(text)
    }

    fn commit(&mut self, op: Op) {
        let batch = Batch::new(BatchId(self.random.id()), self.world.account, vec![op]);
        now(self.world.store.commit(batch)).unwrap();
    }

    /// A connection: its capabilities, delays and the place where it breaks are its own.
    fn connect(&mut self, desk: &Rc<RefCell<Desk>>) -> Pipe<'static, Client, Server> {
        let random = &mut self.random;
        let mut config = adapted::config();
        config.limits.window = 1024 + random.below(4096);
        config.limits.in_flight = 1 + random.below(8);
        config.limits.unasked = [0, 100, 10_000][random.below(3)];
        let mut server = mailbox::config();
        server.mechanisms = vec![Mechanism::Plain];
        server.limits.batch = 1 + random.below(20);
        server.limits.rows = 1 + random.below(50);
        server.limits.inline = random.below(300) as u64;
        let without: &[&str] = match random.below(6) {
            0 => &["QRESYNC"],
            1 => &["CONDSTORE"],
            2 => &["CONDSTORE", "IDLE", "ESEARCH", "LITERAL+"],
            _ => &[],
        };
        server.disabled = without.iter().map(|name| (*name).to_owned()).collect();
        let mut fulfiller = self.world.another().with_faults(Box::new(|fault| println!("fault: {fault}")));
        let (taken, slow) = (desk.clone(), random.below(3));
        let mut delays = Random::new(random.number());
        let mut pipe = Pipe::new(
            Client::new(Arc::new(config), None),
            move |request| match request {
                Request::BodyChunk(chunk) => {
                    let query = &chunk.query;
                    let mut desk = taken.borrow_mut();
                    let message = desk.fetched.entry(query.uid.expect("our server tells UIDs first")).or_default();
                    assert_eq!(message.len() as u64, query.offset, "pieces come in order");
                    message.extend_from_slice(&query.octets);
                    Fulfilled::Now(chunk.answer(ChunkTaken::Taken))
                }
                Request::ReadMessage(read) => {
                    let message = taken.borrow().outgoing[&read.query.ticket].clone();
                    let from = usize::try_from(read.query.offset).unwrap();
                    let octets = message.slice(from..message.len().min(from + read.query.max));
                    Fulfilled::Now(read.answer(Page::Octets(octets)))
                }
                other => panic!("{other:?}"),
            },
            Server::new(Arc::new(server), &mailbox::peer(false)),
            move |request| {
                let answered = mailbox::trust(&mut fulfiller, request);
                match slow {
                    0 => Fulfilled::Now(answered),
                    slow => match delays.below(4) {
                        0 => Fulfilled::After(Duration::from_millis(delays.below(40 * slow) as u64), answered),
                        _ => Fulfilled::Now(answered),
                    },
                }
            },
        )
        .capacity(1 + self.random.below(3000));
        match self.random.below(3) {
            0 => pipe.client.cut_after(self.random.below(30_000) as u64),
            1 => pipe.server.cut_after(self.random.below(3000) as u64),
            _ => {}
        }
        pipe
    }

    fn actor(&mut self) -> Actor {
        let desk = Rc::new(RefCell::new(Desk::default()));
        let pipe = self.connect(&desk);
        let replica = Replica::new(Mailbox::new("INBOX"), REPLICA, Cache::default());
        let (open, found) = (Vec::new(), BTreeMap::new());
        Actor { pipe, replica, desk, tickets: 100, ready: false, open, found, not_taken: 0, log: VecDeque::new() }
    }

    fn flags(&mut self) -> FlagSet {
        let system = [SystemFlags::SEEN, SystemFlags::FLAGGED, SystemFlags::ANSWERED, SystemFlags::DRAFT];
        let mut flags = FlagSet::from(system[self.random.below(4)]);
        if self.random.below(3) == 0 {
            flags.insert(Keyword::new(["work", "$Forwarded", "later"][self.random.below(3)]).unwrap());
        }
        flags
    }

    /// Somebody delivers, flags or removes by another protocol; or old removals are forgotten.
    fn meddle(&mut self) {
        let folder = self.world.folder("INBOX").id;
        let uids: Vec<Uid> = self.stored().into_keys().collect();
        if uids.len() > 60 {
            // Somebody tidies up.
            let uids = uids.into_iter().filter(|_| self.random.below(3) > 0).collect();
            self.commit(Op::Remove { folder, uids, only_deleted: false });
            return self.count("removed elsewhere");
        }
        match self.random.below(8) {
            0..=3 => {
                let (message, flags) = (self.message(), self.flags());
                let content = {
                    use mailstore_trait::batch::Content;
                    use mailstore_trait::store::UploadOptions;
                    let mut upload = now(self.world.store.upload(UploadOptions::new(1 << 30))).unwrap();
                    now(upload.write(message)).unwrap();
                    Content::Staged(now(upload.finish()).unwrap())
                };
                let internal_date = mailstore_trait::date::DateTime::default();
                self.commit(Op::Add(mailstore_trait::batch::AddItem { folder, content, flags, internal_date }));
                self.count("delivered");
            }
            4 | 5 if !uids.is_empty() => {
                let uids = self.some(&uids);
                let change = FlagChange::Add(self.flags());
                self.commit(Op::SetFlags { folder, uids, change, unchanged_since: None });
                self.count("flagged elsewhere");
            }
            6 if !uids.is_empty() => {
                let uids = self.some(&uids);
                self.commit(Op::Remove { folder, uids, only_deleted: false });
                self.count("removed elsewhere");
            }
            7 if self.random.below(4) == 0 => {
                self.world.store.advance(Duration::from_secs(3600));
                now(self.world.store.forget_removals(self.world.account, Duration::ZERO)).unwrap();
                self.count("forgotten");
            }
            _ => {}
        }
    }

    /// Some of these.
    fn some(&mut self, uids: &[Uid]) -> UidSet {
        let from = self.random.below(uids.len());
        let len = 1 + self.random.below(4);
        uids.iter().skip(from).take(len).copied().collect()
    }

    /// What the store holds: UIDs and flags.
    fn stored(&self) -> BTreeMap<Uid, FlagSet> {
        let folder = self.world.folder("INBOX").id;
        let options = ItemsOptions::new(Projection::empty());
        let page = now(self.world.store.items(self.world.account, folder, &UidSet::all(), options)).unwrap();
        assert!(page.next.is_none(), "one page holds everything");
        page.rows().iter().map(|row| (row.uid, page.flag_set(row))).collect()
    }

    fn octets(&self, uid: Uid) -> Vec<u8> {
        let folder = self.world.folder("INBOX").id;
        let uids = std::iter::once(uid).collect();
        let options = ItemsOptions::new(Projection::empty());
        let page = now(self.world.store.items(self.world.account, folder, &uids, options)).unwrap();
        let email = page.rows()[0].email;
        now(self.world.store.read(self.world.account, email, 0, usize::MAX)).unwrap().to_vec()
    }

    /// A client does something.
    fn act(&mut self, actor: &mut Actor) {
        let uids: Vec<Uid> = actor.replica.cache().iter().map(|(uid, _)| uid).collect();
        let exists = actor.replica.exists().unwrap_or(0);
        let what = self.random.below(40);
        let command = match what {
            0..=4 => {
                let message = self.message();
                let mut append = Append::new(Mailbox::new("INBOX"), message.len() as u64);
                append.flags = self.flags();
                actor.desk.borrow_mut().outgoing.insert(actor.tickets + 1, message);
                self.count("append");
                Command::Append(append)
            }
            5..=13 if !uids.is_empty() => {
                let flags = if self.random.below(4) == 0 { SystemFlags::DELETED.into() } else { self.flags() };
                let change = match self.random.below(3) {
                    0 => FlagChange::Add(flags),
                    1 => FlagChange::Remove(flags),
                    _ => FlagChange::Replace(flags),
                };
                let condstore = actor.pipe.client.session().capabilities().has("CONDSTORE");
                let messages = self.messages(actor, &uids, exists);
                let mut store = Store::new(messages, change);
                // RFC 7162 §3.1.3: with mod-sequences a silent change is noticed all the same.
                let told = actor.pipe.client.session().enabled().condstore;
                store.silent = told && self.random.below(3) == 0;
                if condstore && self.random.below(4) == 0 {
                    let (_, cached) = actor.replica.cache().iter().nth(self.random.below(uids.len())).unwrap();
                    store.unchanged_since = Some(cached.modseq.max(ModSeq(1)));
                }
                self.count("store");
                Command::Store(store)
            }
            14..=16 if !uids.is_empty() => {
                self.count("copy");
                let messages = self.messages(actor, &uids, exists);
                Command::Copy(messages, Mailbox::new(if self.random.below(3) == 0 { "Sent" } else { "INBOX" }))
            }
            17..=18 if !uids.is_empty() => {
                self.count("move");
                let messages = self.messages(actor, &uids, exists);
                Command::Move(messages, Mailbox::new(if self.random.below(2) == 0 { "Sent" } else { "INBOX" }))
            }
            19..=20 => {
                self.count("expunge");
                Command::Expunge(None)
            }
            21..=22 if !uids.is_empty() => {
                self.count("uid expunge");
                Command::Expunge(Some(self.some(&uids)))
            }
            23..=24 => Command::Noop,
            25..=28 => {
                self.count("idle");
                Command::Idle
            }
            29..=30 if !uids.is_empty() => {
                self.count("fetch");
                let messages = self.messages(actor, &uids, exists);
                Command::Fetch(Fetch::new(messages, Items::UID | Items::SIZE | Items::ENVELOPE))
            }
            31..=32 => {
                self.count("search");
                let mut search = Search::new([Key::Not(Box::new(Key::Flag(SystemFlags::SEEN)))]);
                search.uid = self.random.below(2) == 0;
                Command::Search(search)
            }
            33 => {
                self.count("unselect");
                actor.give(Command::Unselect);
                return;
            }
            34 => {
                self.count("cut");
                return self.cut(actor);
            }
            35 => {
                self.count("logout");
                Command::Logout
            }
            _ => return,
        };
        actor.give(command);
    }

    /// By UID, or by number as long as the numbers are known.
    fn messages(&mut self, actor: &Actor, uids: &[Uid], exists: u32) -> Messages {
        if exists > 0 && actor.open.is_empty() && self.random.below(3) == 0 {
            let first = 1 + u32::try_from(self.random.below(exists as usize)).unwrap();
            let last = (first + 2).min(exists);
            return Messages::Numbers(SeqNum::new(first).unwrap(), SeqNum::new(last));
        }
        Messages::Uids(self.some(uids))
    }

    /// Cuts the link, now or in the midst of what the server says next.
    fn cut(&mut self, actor: &mut Actor) {
        if self.random.below(3) > 0 {
            let soon = actor.pipe.server.sent() + self.random.below(1200) as u64;
            return actor.pipe.server.cut_after(soon);
        }
        actor.pipe.client.cut();
        actor.pipe.server.cut();
        actor.pump();
    }

    /// Whoever has no connection gets another, with what it knew.
    fn reconnect(&mut self, actor: &mut Actor) {
        if actor.pipe.client.closed().is_none() {
            return;
        }
        actor.pump();
        actor.replica.leave();
        // A program keeps the cache as text.
        let kept = actor.replica.cache().to_string();
        assert_eq!(&kept.parse::<Cache>().unwrap(), actor.replica.cache());
        actor.open.clear();
        actor.ready = false;
        actor.pipe = self.connect(&actor.desk);
        self.count("connect");
    }

    /// A client does what it was given, and learns what there is to know.
    fn settle(&mut self, actor: &mut Actor, seed: u64) {
        // A link that breaks while one waits is another link.
        for _ in 0..100 {
            self.reconnect(actor);
            actor.ripple(self);
            if !actor.ready || actor.pipe.client.closed().is_some() {
                continue;
            }
            let ticket = actor.give(Command::Noop);
            for _ in 0..200 {
                actor.ripple(self);
                let done = actor.open.is_empty() && actor.replica.is_synced();
                if actor.pipe.client.closed().is_some() || done {
                    break;
                }
            }
            let at_rest = actor.open.is_empty() && actor.not_taken != ticket && actor.replica.is_synced();
            if at_rest && actor.pipe.client.closed().is_none() {
                return;
            }
        }
        panic!("seed {seed}: an actor never comes to rest:\n{}", actor.tell());
    }

    /// Everybody comes to rest: then all know what the store knows.
    fn rest(&mut self, actors: &mut [Actor], seed: u64) {
        // What one of them still had under way is news for those before it.
        actors.iter_mut().for_each(|actor| self.settle(actor, seed));
        for actor in actors.iter_mut() {
            self.settle(actor, seed);
            assert!(actor.replica.failure().is_none(), "seed {seed}: {:?}", actor.replica.failure());
            let known: BTreeMap<Uid, FlagSet> =
                actor.replica.cache().iter().map(|(uid, cached)| (uid, cached.flags.clone())).collect();
            let stored = self.stored();
            if known != stored {
                let differs: Vec<_> = known
                    .iter()
                    .filter(|(uid, flags)| stored.get(uid) != Some(flags))
                    .chain(stored.iter().filter(|(uid, flags)| known.get(uid) != Some(flags)))
                    .collect();
                panic!(
                    "seed {seed}: a replica and the store disagree: {differs:?}\nstored {stored:?}\n{}",
                    actor.tell()
                );
            }
            let numbers: Vec<Uid> =
                (1..=actor.replica.exists().unwrap()).filter_map(|n| actor.replica.uid(SeqNum::new(n)?)).collect();
            assert_eq!(numbers, stored.keys().copied().collect::<Vec<_>>(), "seed {seed}: numbers");
        }
        self.count("rest");
    }

    /// Messages come as they are stored, and searches find what is there.
    fn look_closely(&mut self, actor: &mut Actor, seed: u64) {
        let stored = self.stored();
        if stored.is_empty() || actor.pipe.client.closed().is_some() {
            return;
        }
        let uids: Vec<Uid> = stored.keys().copied().collect();
        let some = self.some(&uids);
        actor.desk.borrow_mut().fetched.clear();
        let fetch = Fetch::new(Messages::Uids(some.clone()), Items::UID).with(Piece::peek(Section::whole()));
        let fetch = actor.give(Command::Fetch(fetch));
        let search = actor.give(Command::Search(Search::new([Key::Flag(SystemFlags::SEEN)])));
        for _ in 0..100 {
            actor.ripple(self);
        }
        if actor.open.contains(&fetch) || actor.open.contains(&search) || actor.not_taken >= fetch {
            assert!(actor.pipe.client.closed().is_some(), "seed {seed}: unanswered");
            return;
        }
        for uid in some.iter() {
            let expected = self.octets(uid);
            assert_eq!(
                actor.desk.borrow().fetched.get(&uid),
                Some(&expected),
                "seed {seed}: message {uid}\n{}",
                actor.tell()
            );
        }
        let seen: UidSet =
            stored.iter().filter(|(_, flags)| flags.system.contains(SystemFlags::SEEN)).map(|(uid, _)| *uid).collect();
        assert_eq!(actor.found.get(&search), Some(&seen), "seed {seed}: a search");
        self.count("looked closely");
    }
}

impl Actor {
    /// What is known of it, for whoever reads of a failure.
    fn tell(&self) -> String {
        let log: Vec<String> = self.log.iter().map(|note| format!("{note:?}")).collect();
        let replica = format!("{:?}", self.replica);
        let view = replica.rsplit_once("view: ").map_or("", |(_, view)| view);
        format!("{}\n{view}\n{:?}\nopen {:?}", log.join("\n"), self.pipe, self.open)
    }

    fn note(&mut self, note: Note) {
        self.log.push_back(note);
        if self.log.len() > 400 {
            self.log.pop_front();
        }
    }

    fn give(&mut self, command: Command) -> u64 {
        self.tickets += 1;
        self.open.push(self.tickets);
        self.note(Note::Given(self.tickets, command.clone()));
        self.pipe.client.notify(Task::new(self.tickets, command));
        self.tickets
    }

    /// Some time passes, and what the store has to say comes.
    fn ripple(&mut self, house: &House) {
        self.pipe.server.notify(house.world.hint());
        self.pipe.advance(Duration::from_millis(20));
        self.pump();
    }

    /// Events, and what the replica wants because of them.
    fn pump(&mut self) {
        loop {
            self.pipe.settle();
            for event in self.pipe.client.events() {
                self.replica.hear(&event);
                self.note(Note::Heard(event.clone()));
                match event {
                    Event::Ready => self.ready = true,
                    Event::LoginFailed(failure) => panic!("{failure:?}"),
                    Event::Found { ticket, found } => {
                        self.found.insert(ticket, found.all.unwrap_or_default());
                    }
                    Event::Done { ticket, text } => {
                        self.open.retain(|open| *open != ticket);
                        if let Some(Code::CopyUid { from, to, .. }) = text.code {
                            assert_eq!(from.len(), to.len());
                        }
                    }
                    Event::Failed { ticket, text, condition } => {
                        // What one wants to touch may be gone; nothing else may fail.
                        let gone = ["expunged", "EXPUNGEISSUED", "NONEXISTENT", "No mailbox is selected"];
                        let text = format!("{text:?}");
                        let known = self.open.contains(&ticket) || ticket == REPLICA;
                        assert!(known, "{ticket} failed, which was not given");
                        assert!(gone.iter().any(|gone| text.contains(gone)), "{condition:?} {text}\n{}", self.tell());
                        self.open.retain(|open| *open != ticket);
                    }
                    Event::NotTaken { ticket, reason } => {
                        assert!(!matches!(reason, NotTaken::Full), "{reason:?}");
                        self.open.retain(|open| *open != ticket);
                        self.not_taken = ticket;
                    }
                    _ => {}
                }
            }
            if !self.ready || self.pipe.client.closed().is_some() {
                return;
            }
            match self.replica.next_task() {
                Some(task) => self.pipe.client.notify(task),
                None => return,
            }
        }
    }
}

/// So many clients for so long; says what was done.
fn edit(seed: u64, clients: usize, time: Duration) -> BTreeMap<&'static str, u64> {
    let mut house = House::new(seed);
    let mut actors: Vec<Actor> = (0..clients).map(|_| house.actor()).collect();
    let mut passed = Duration::ZERO;
    let mut next_rest = Duration::from_secs(3);
    while passed < time {
        for actor in &mut actors {
            house.reconnect(actor);
            if actor.ready && actor.pipe.client.closed().is_none() {
                for _ in 0..house.random.below(3) {
                    house.act(actor);
                }
            }
        }
        if house.random.below(4) == 0 {
            house.meddle();
        }
        let hint = house.world.hint();
        let step = Duration::from_millis(house.random.below(500) as u64);
        passed += step;
        for actor in &mut actors {
            if house.random.below(3) > 0 {
                actor.pipe.server.notify(hint);
            }
            actor.pipe.advance(step);
            actor.pump();
        }
        if passed >= next_rest {
            next_rest = passed + Duration::from_millis(500 + house.random.below(8000) as u64);
            house.rest(&mut actors, seed);
            let looker = house.random.below(clients);
            house.look_closely(&mut actors[looker], seed);
        }
    }
    house.rest(&mut actors, seed);
    house.done
}

/// Ten minutes of three clients.
#[test]
fn clients_that_edit_one_mailbox_for_ten_minutes_agree_with_the_store() {
    let done = edit(1, 3, Duration::from_secs(600));
    println!("{done:?}");
    for what in ["append", "store", "copy", "move", "expunge", "uid expunge", "idle", "cut", "connect", "unselect"] {
        assert!(done.get(what).is_some_and(|times| *times >= 20), "{what} was hardly done: {done:?}");
    }
    assert!(done["rest"] >= 100 && done["looked closely"] >= 50, "{done:?}");
}

proptest! {
    // A seed does not shrink, and a failing one is told in the panic.
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two to four clients, for a short time, from everywhere.
    #[test]
    fn replicas_end_as_the_store_is(seed in any::<u64>(), clients in 2usize..5) {
        edit(seed, clients, Duration::from_secs(30));
    }
}
