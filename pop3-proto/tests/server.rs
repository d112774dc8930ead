//! The server's session against scripted answers: transcripts, the four tests every session passes, and properties.

#![allow(clippy::unwrap_used, reason = "a panic here is a failing test")]

#[path = "support/scripted.rs"]
mod scripted;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::session::{Output, Session};
use mailstore_trait::testkit::driven::{Driven, epoch};
use mailstore_trait::testkit::session::{Subject, every_split, silence_ends, window_is_kept, worst_answers};
use mailstore_trait::testkit::transcript::{self, Adapter, Side};
use pop3_proto::Request;
use pop3_proto::server::Server;
use proptest::prelude::*;

use crate::scripted::Scripted;

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/server");

/// Conversations for the tests that play them in every way. Each ends in QUIT.
const SCRIPTS: [&[u8]; 6] = [
    b"CAPA\r\nUSER tim\r\nPASS a b\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nRSET\r\nDELE 3\r\nNOOP\r\nQUIT\r\n",
    b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\nDELE 2\r\nQUIT\r\n",
    b"AUTH LOGIN\r\ndGlt\r\nLANG de\r\nUTF8\r\nUSER x\r\nLANG\r\nQUIT\r\n",
    b"USER tim\r\nPASS\r\nPASS x\r\nBAD\r\nRETR 9\r\nTOP 1 0\r\nQUIT\r\n",
    b"\xff\xfe\r\n\r\nUSER\r\nAUTH X\r\nAUTH PLAIN !!\r\nQUIT\r\n",
    b"USER tim\nPASS x\nLIST 1\nLIST 2\nQUIT\n",
];

fn with_subject(maildrop: &'static str, test: impl Fn(&Subject<'_, Server>)) {
    let scripted = RefCell::new(Scripted::over(maildrop));
    let mut config = scripted::config();
    // Messages come in many pieces, listings in many sends.
    config.limits.chunk = 7;
    let config = Arc::new(config);
    test(&Subject::new(
        || Server::new(config.clone(), &scripted::peer(false)),
        |request| {
            let mut scripted = scripted.borrow_mut();
            let usual = scripted.usual(&request).unwrap();
            scripted.answer(request, &usual).unwrap()
        },
        Request::decline,
        |request| scripted.borrow_mut().asked(request),
    ));
}

#[test]
fn transcripts_hold() {
    transcript::play_all(&mut Scripted::default(), TRANSCRIPTS);
}

#[test]
fn seeds_are_the_transcripts() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/pop3_server");
    transcript::export_seeds(Side::Server, TRANSCRIPTS, seeds);
}

#[test]
fn every_split_says_the_same() {
    for maildrop in ["dots", "utf8", "empty"] {
        with_subject(maildrop, |subject| SCRIPTS.iter().for_each(|script| every_split(subject, script)));
    }
}

#[test]
fn the_window_is_kept() {
    let window = scripted::config().limits.sasl_line;
    with_subject("dots", |subject| SCRIPTS.iter().for_each(|script| window_is_kept(subject, script, window)));
}

#[test]
fn the_worst_answers_end_well() {
    for maildrop in ["dots", "empty"] {
        with_subject(maildrop, |subject| SCRIPTS.iter().for_each(|script| worst_answers(subject, script)));
    }
}

#[test]
fn silence_comes_to_an_end() {
    let within = Duration::from_secs(3600);
    with_subject("dots", |subject| SCRIPTS.iter().for_each(|script| silence_ends(subject, script, within)));
}

/// Plays a conversation with every question answered as usual; answers everything the session sent. `cuts` are sizes of
/// pieces, taken round and round.
fn conversation(maildrop: &str, octets: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut scripted = Scripted::over(maildrop);
    let mut driven = Driven::new(Server::new(Arc::new(scripted::config()), &scripted::peer(false)), epoch());
    driven.input.extend(octets);
    driven.ending = true;
    let mut cuts = cuts.iter().copied().cycle();
    let mut sent = Vec::new();
    loop {
        match driven.poll() {
            Output::Send(octets) => sent.extend_from_slice(&octets),
            Output::Request(request) => {
                let usual = scripted.usual(&request).unwrap();
                driven.resume(scripted.answer(request, &usual).unwrap());
            }
            Output::Layer(_) => driven.layered(Ok(mailstore_trait::session::LayerInfo::new())),
            Output::Event(_) => {}
            Output::Close(_) => return sent,
            Output::Wait(wait) => {
                if !driven.feed(cuts.next().unwrap()) {
                    let deadline = wait.deadline.unwrap();
                    driven.sleep_until(deadline);
                }
            }
        }
    }
}

/// The octets RETR sends are those that LIST tells, for every message of every maildrop, stuffing apart.
#[test]
fn told_octets_are_sent_octets() {
    for maildrop in ["three", "dots", "big"] {
        for (at, message) in scripted::maildrop(maildrop).iter().enumerate() {
            let number = at + 1;
            let script = format!("USER tim\r\nPASS x\r\nUTF8\r\nLIST {number}\r\nRETR {number}\r\nQUIT\r\n");
            let sent = conversation(maildrop, script.as_bytes(), &[usize::MAX]);
            let text = String::from_utf8(sent).unwrap();
            assert!(text.contains(&format!("+OK {number} {}\r\n", message.len())), "{text}");
            let (_, body) = text.split_once(&format!("+OK {} octets\r\n", message.len())).unwrap();
            let (body, _) = body.split_once("\r\n.\r\n").unwrap();
            let mut plain = body.strip_prefix('.').unwrap_or(body).replace("\n.", "\n");
            if message.ends_with(b"\r\n") {
                plain.push_str("\r\n");
            }
            assert_eq!(plain.as_bytes(), message.as_ref());
        }
    }
}

/// What the session keeps of an idle connection: 10,000 of them shall not cost 20 MB.
#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Server>() <= 1024, "{}", size_of::<Server>());
}

/// A pipelining client that never reads fills neither the session nor the driver: replies stop at the low-water mark.
#[test]
fn ten_thousand_commands_cost_no_memory() {
    let mut scripted = Scripted::over("three");
    let config = scripted::config();
    let most = config.limits.low_water + 64 * 1024;
    let mut driven = Driven::new(Server::new(Arc::new(config), &scripted::peer(false)), epoch());
    driven.input.extend(b"USER tim\r\nPASS x\r\n");
    driven.input.extend(b"LIST\r\n".repeat(10_000));
    loop {
        match driven.poll() {
            Output::Send(octets) => driven.unsent += octets.len(),
            Output::Request(request) => {
                let usual = scripted.usual(&request).unwrap();
                driven.resume(scripted.answer(request, &usual).unwrap());
            }
            Output::Wait(wait) if !driven.feed(4096) => {
                assert!(wait.output && !driven.input.is_empty());
                break;
            }
            _ => {}
        }
        assert!(driven.unsent <= most, "{}", driven.unsent);
    }
}

/// A login over a maildrop of 100,000 messages holds 24 octets a message and asks for pages, not for messages.
#[test]
fn a_large_maildrop_comes_in_pages() {
    use mailstore_trait::id::{ItemId, Uid};
    use pop3_proto::maildrop::Message;
    use pop3_proto::request::{LoggedIn, MaildropOpened, Opened, PageRead};

    let mut driven = Driven::new(Server::new(Arc::new(scripted::config()), &scripted::peer(false)), epoch());
    driven.input.extend(b"USER tim\r\nPASS x\r\nUIDL\r\nLIST\r\nSTAT\r\n");
    let (mut pages, mut sent) = (0, Vec::new());
    loop {
        match driven.poll() {
            Output::Request(Request::Login(login)) => {
                driven.resume(login.answer(LoggedIn::Accepted { user: "tim".into() }));
            }
            Output::Request(Request::OpenMaildrop(open)) => {
                driven.resume(open.answer(MaildropOpened::Opened(Opened::new(100_000))));
            }
            Output::Request(Request::MaildropPage(page)) => {
                pages += 1;
                let first = page.query.after.map_or(1, |uid| uid.value() + 1);
                let last = (first + u32::try_from(page.query.max).unwrap() - 1).min(100_000);
                let message = |uid| Message::new(ItemId::new(u64::from(uid)).unwrap(), 0, Uid::new(uid).unwrap(), 7);
                let messages = (first..=last).map(message).collect();
                driven.resume(page.answer(PageRead::Page { messages, more: last < 100_000 }));
            }
            Output::Send(octets) => {
                // No send holds the whole listing.
                assert!(octets.len() < 64 * 1024, "{}", octets.len());
                sent.extend_from_slice(&octets);
            }
            Output::Wait(_) if !driven.feed(usize::MAX) => break,
            _ => {}
        }
    }
    assert_eq!(pages, 10);
    let text = String::from_utf8(sent).unwrap();
    assert!(text.ends_with("\r\n100000 7\r\n.\r\n+OK 100000 700000\r\n"));
    assert_eq!(text.lines().filter(|line| line.len() == "100000 ".len() + 20).count(), 1);
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "USER tim",
        "PASS a b",
        "PASS ",
        "STAT",
        "LIST",
        "LIST 2",
        "LIST 0",
        "UIDL",
        "UIDL 1",
        "RETR 1",
        "RETR 4",
        "TOP 1 0",
        "TOP 2 3",
        "DELE 1",
        "DELE 2",
        "RSET",
        "NOOP",
        "CAPA",
        "LANG",
        "LANG fr",
        "UTF8",
        "AUTH",
        "AUTH PLAIN =",
        "AUTH LOGIN",
        "AUTH PLAIN AHRpbQBzZWNyZXQ=",
        "dGlt",
        "*",
        "APOP a b",
        "QUIT",
        "XYZ",
        "",
    ]);
    let line = (words, prop::sample::select(vec!["\r\n", "\n"])).prop_map(|(word, end)| [word, end].concat().into());
    prop_oneof![9 => line, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    /// Whatever is said, in whatever pieces: the session says the same and comes to an end.
    #[test]
    fn conversations_do_not_depend_on_splits(
        commands in prop::collection::vec(command(), 0..30),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let octets = commands.concat();
        prop_assert_eq!(conversation("dots", &octets, &cuts), conversation("dots", &octets, &[usize::MAX]));
    }

    /// Noise is answered and the session ends.
    #[test]
    fn noise_ends_well(octets in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..100) {
        conversation("three", &octets, &[cut]);
    }
}

/// The session's own methods, called at odd times, break nothing.
#[test]
fn calls_out_of_turn_do_nothing() {
    let mut server = Server::new(Arc::new(scripted::config()), &scripted::peer(false));
    server.layered(Ok(mailstore_trait::session::LayerInfo::new()));
    server.layered(Err(mailstore_trait::session::LayerError::Handshake));
    server.handle_eof();
    server.handle_eof();
    let mut driven = Driven::new(server, epoch());
    while driven.closed().is_none() {
        let _ = driven.poll();
    }
}
