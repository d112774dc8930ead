//! A maildrop of 100,000 messages: what its login takes, and what a session holds of it.
//!
//! What is asserted is the time on a quiet machine: the processor time of all threads, which other programs do not add to.
//! Without optimisation it means little and gets slack:
//! `cargo test --release -p benches --test pop3_login -- --nocapture`

#![allow(clippy::unwrap_used, reason = "a panic here is a failing test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use allocation_counter::measure;
use benches::clock;
use benches::race::median;
use bytes::{BufMut, Bytes};
use mailstore_embedded::{Config, NewUser, Store};
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::environment::Environment;
use mailstore_trait::flags::FlagSet;
use mailstore_trait::id::{AccountId, BatchId, ItemId, Uid};
use mailstore_trait::sasl::Secret;
use mailstore_trait::session::{Output, Peer, Session};
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::uid_set::UidSet;
use pop3_proto::maildrop::Message;
use pop3_proto::request::{LoggedIn, MaildropOpened, Opened, PageRead};
use pop3_proto::store::{Fulfiller, World};
use pop3_proto::{Answered, Request, Server};

const MESSAGES: u32 = 100_000;
const USER: &str = "ann@example.org";
const PASSWORD: &str = "secret of ann";

fn server() -> Server {
    let mut config = pop3_proto::Config::new("pop.example.org");
    config.allow_cleartext = true;
    Server::new(Arc::new(config), &peer())
}

fn peer() -> Peer {
    Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)))
}

/// The machine's clock, and numbers that differ.
struct Machine;

impl Environment for Machine {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }

    fn fill(&self, octets: &mut [u8]) {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().to_be_bytes();
        octets.iter_mut().zip(nanos.iter().rev().cycle()).for_each(|(octet, nano)| *octet = *nano);
    }
}

/// A store whose one inbox holds so many messages: one delivered, the others copies of it.
async fn fill(store: &Store, account: AccountId, messages: u32) {
    store.provision(account, &[]).await.unwrap();
    let folder = store.folders(account).await.unwrap().inbox().unwrap().id;
    let mut upload = store.upload(UploadOptions::new(1 << 20)).await.unwrap();
    upload.write(Bytes::from("Subject: x\r\n\r\nbody\r\n")).await.unwrap();
    let content = Content::Staged(upload.finish().await.unwrap());
    let internal_date = DateTime { instant: Timestamp::from_seconds(1_600_000_000), offset_minutes: 0 };
    let mut op = Op::Add(AddItem { folder, content, flags: FlagSet::new(), internal_date });
    let (mut have, mut more) = (0, 1);
    while more > 0 {
        let mut id = [0; 16];
        Machine.fill(&mut id);
        store.commit(Batch::new(BatchId(id), account, vec![op])).await.unwrap();
        have += more;
        more = have.min(messages - have).min(10_000);
        let mut uids = UidSet::new();
        uids.insert_range(Uid::MIN..=Uid::new(more.max(1)).unwrap());
        op = Op::Copy { from: folder, uids, to: folder };
    }
}

/// Says these lines to a session and lets it go on until it waits for more; what it said.
async fn say(server: &mut Server, fulfiller: &mut Fulfiller, line: &str) -> String {
    server.input_buf().put_slice(line.as_bytes());
    let mut said = String::new();
    loop {
        match server.poll_output(Instant::now(), 0) {
            Output::Send(octets) => said.push_str(std::str::from_utf8(&octets).unwrap()),
            Output::Request(request) => server.resume(fulfiller.answer(request).await),
            Output::Event(_) | Output::Layer(_) => {}
            Output::Wait(_) | Output::Close(_) => return said,
        }
    }
}

#[test]
fn a_login_over_100_000_messages_takes_less_than_50_ms() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut wall, mut whole, mut verify, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let store = Store::open(folder.path(), Config::default()).unwrap();
        let users = store.users().clone();
        let records = users.records(Secret::from(PASSWORD)).await.unwrap();
        let account = users.add(NewUser::new(USER, records)).await.unwrap().account;
        fill(&store, account, MESSAGES).await;
        let world = World::new(Arc::new(store.clone()), Arc::new(users), Arc::new(Machine));
        for _ in 0..21 {
            let (mut server, mut fulfiller) = (server(), Fulfiller::new(world.clone(), &peer()).allow_cleartext());
            say(&mut server, &mut fulfiller, &format!("USER {USER}\r\n")).await;
            let (begun, used) = (Instant::now(), clock::process());
            let said = say(&mut server, &mut fulfiller, &format!("PASS {PASSWORD}\r\n")).await;
            whole.push((clock::process() - used).as_secs_f64());
            wall.push(begun.elapsed().as_secs_f64());
            assert!(said.starts_with(&format!("+OK maildrop has {MESSAGES} messages")), "{said}");
            let said = say(&mut server, &mut fulfiller, "QUIT\r\n").await;
            assert!(said.starts_with("+OK"), "{said}");
            // The same password, refused for its user: what checking it alone takes.
            let (mut server, mut fulfiller) =
                (self::server(), Fulfiller::new(world.clone(), &peer()).allow_cleartext());
            say(&mut server, &mut fulfiller, "USER nobody@example.org\r\n").await;
            let used = clock::process();
            say(&mut server, &mut fulfiller, &format!("PASS {PASSWORD}\r\n")).await;
            verify.push((clock::process() - used).as_secs_f64());
            open.push(whole.last().unwrap() - verify.last().unwrap());
        }
        store.close().await;
    });
    let best = Duration::from_secs_f64(wall.iter().copied().fold(f64::MAX, f64::min));
    let [wall, whole, verify, open] =
        [wall, whole, verify, open].map(|times| Duration::from_secs_f64(median(times).max(0.0)));
    println!(
        "login over {MESSAGES} messages: {whole:.1?} of processor time, of which the password {verify:.1?}, the maildrop \
         {open:.1?}; {wall:.1?} on the wall, at best {best:.1?}"
    );
    let slack = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(whole < Duration::from_millis(50) * slack, "{whole:?}");
}

/// 24 octets a message, and what a session needs anyway.
#[test]
fn a_session_holds_24_octets_a_message() {
    let mut session = None;
    let spent = measure(|| session = Some(logged_in(MESSAGES)));
    let empty = measure(|| drop(std::hint::black_box(logged_in(0))));
    let held = spent.bytes_current;
    println!("held of {MESSAGES} messages: {held} octets, {:.3} a message", held as f64 / f64::from(MESSAGES));
    assert!(session.is_some());
    assert!(held <= i64::from(MESSAGES) * 24 + 4096, "{held}");
    // While pages come in: no more than one of them beside what is held.
    let page = 10_000 * 24;
    assert!(spent.bytes_max <= u64::from(MESSAGES) * 24 + empty.bytes_max + 2 * page, "{}", spent.bytes_max);
}

/// A session whose maildrop was told by pages.
fn logged_in(messages: u32) -> Server {
    let mut server = server();
    server.input_buf().put_slice(b"USER tim\r\nPASS x\r\n");
    let now = Instant::now();
    loop {
        match server.poll_output(now, 0) {
            Output::Request(request) => server.resume(answer(request, messages)),
            Output::Wait(_) | Output::Close(_) => return server,
            Output::Send(_) | Output::Event(_) | Output::Layer(_) => {}
        }
    }
}

fn answer(request: Request, messages: u32) -> Answered {
    match request {
        Request::Login(pending) => pending.answer(LoggedIn::Accepted { user: "tim".into() }),
        Request::OpenMaildrop(pending) => {
            pending.answer(MaildropOpened::Opened(Opened::new(usize::try_from(messages).unwrap())))
        }
        Request::MaildropPage(pending) => {
            let first = pending.query.after.map_or(1, |uid| uid.value() + 1);
            let last = messages.min(first - 1 + u32::try_from(pending.query.max).unwrap());
            let message = |uid| Message::new(ItemId::new(u64::from(uid)).unwrap(), 0, Uid::new(uid).unwrap(), 1000);
            pending.answer(PageRead::Page { messages: (first..=last).map(message).collect(), more: last < messages })
        }
        other => other.decline(),
    }
}
