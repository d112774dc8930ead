//! The client's session: transcripts, the four tests every session passes, and conversations with our own server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

#[path = "support/scripted.rs"]
mod scripted;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::sasl::{Credentials, Mechanism, Nonce, Secret};
use mailstore_trait::session::{CloseReason, LayerInfo};
use mailstore_trait::testkit::driven::Asked;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use mailstore_trait::testkit::session::{Subject, every_split, silence_ends, window_is_kept, worst_answers};
use mailstore_trait::testkit::transcript::{self, Adapter, Header, Side};
use pop3_proto::client::{Answered, ChunkTaken, Client, Command, Config, Event, Ledger, LoginFailure, Request, Stls};
use pop3_proto::server::Server;

use crate::scripted::Scripted;

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/client");

fn config() -> Config {
    let credentials = Credentials::Password { user: "tim".into(), password: Secret::from("secret"), authzid: None };
    let mut config = Config::new(credentials, Nonce::from_printable("fyko+d2lbbFgONRv9qkxdawL").unwrap());
    config.stls = Stls::Opportunistic;
    config.allow_cleartext = true;
    config
}

#[derive(Debug)]
struct Adapted;

impl Adapter for Adapted {
    type Session = Client;
    const SIDE: Side = Side::Client;

    fn session(&mut self, header: &Header) -> Client {
        assert_eq!(header.value("session"), Some("pop3-client"));
        let mut config = config();
        config.stls = match header.value("stls") {
            Some("required") => Stls::Required,
            Some("never") => Stls::Never,
            Some("opportunistic") | None => Stls::Opportunistic,
            Some(other) => panic!("stls: {other}"),
        };
        config.allow_cleartext = header.value("cleartext") != Some("off");
        config.apop = header.value("apop") == Some("on");
        if let Some(password) = header.value("password") {
            let password = Secret::new(transcript::escape::parse(password).unwrap());
            let user = header.value("user").unwrap_or("tim").into();
            config.credentials = Credentials::Password { user, password, authzid: None };
        }
        Client::new(Arc::new(config), (header.value("tls") == Some("on")).then(LayerInfo::new))
    }

    fn asked(&mut self, request: &Request) -> Asked {
        match request {
            Request::BodyChunk(chunk) => {
                Asked::Piece(format!("BodyChunk {}", chunk.query.message), chunk.query.octets.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        match (request, text) {
            (Request::BodyChunk(chunk), "Taken") => Ok(chunk.answer(ChunkTaken::Taken)),
            (Request::BodyChunk(chunk), "Refused") => Ok(chunk.answer(ChunkTaken::Refused)),
            (_, other) => Err(format!("{other} is no answer")),
        }
    }

    fn usual(&mut self, _: &Request) -> Option<String> {
        Some("Taken".into())
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Capabilities(_) => None,
            event => Some(format!("{event:?}")),
        }
    }

    fn news(&mut self, text: &str) -> Result<Command, String> {
        let mut words = text.split(' ');
        let word = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or("a number is missing");
        Ok(match word {
            "stat" => Command::Stat,
            "list" => Command::List,
            "uidl" => Command::Uidl,
            "retr" => Command::Retr(number()?),
            "top" => Command::Top(number()?, 1),
            "dele" => Command::Dele(number()?),
            "rset" => Command::Rset,
            "noop" => Command::Noop,
            "capa" => Command::Capa,
            "quit" => Command::Quit,
            other => return Err(format!("{other} is no command")),
        })
    }
}

#[test]
fn transcripts_hold() {
    transcript::play_all(&mut Adapted, TRANSCRIPTS);
}

#[test]
fn seeds_are_the_transcripts() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/pop3_client");
    transcript::export_seeds(Side::Client, TRANSCRIPTS, seeds);
}

/// What servers say to a client that retrieves a message and leaves.
const SCRIPTS: [&[u8]; 3] = [
    b"+OK hi\r\n+OK\r\nUSER\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n+OK 2 10\r\n+OK\r\n..a\r\n..\r\nb\r\n.\r\n-ERR [SYS/TEMP] no\r\n+OK bye\r\n",
    b"+OK\r\n-ERR what\r\n+OK\r\n-ERR [AUTH] no\r\n+OK\r\n",
    b"+OK\r\n+OK\r\nSTLS\r\nSASL PLAIN\r\n.\r\n+OK\r\n",
];

fn with_subject(test: impl Fn(&Subject<'_, Client>)) {
    let adapted = RefCell::new(Adapted);
    let config = Arc::new(config());
    test(&Subject::new(
        || {
            use mailstore_trait::session::Session;
            let mut client = Client::new(config.clone(), None);
            for command in [Command::Stat, Command::Retr(1), Command::Dele(1), Command::Quit] {
                client.notify(command);
            }
            client
        },
        |request| adapted.borrow_mut().answer(request, "Taken").unwrap(),
        Request::decline,
        |request| adapted.borrow_mut().asked(request),
    ));
}

#[test]
fn every_split_says_the_same() {
    // The last script has octets behind the reply to STLS or not, as it is cut.
    with_subject(|subject| SCRIPTS.iter().for_each(|script| every_split(subject, script)));
}

#[test]
fn the_window_is_kept() {
    let window = config().limits.window;
    with_subject(|subject| SCRIPTS.iter().for_each(|script| window_is_kept(subject, script, window)));
}

#[test]
fn the_worst_answers_end_well() {
    with_subject(|subject| SCRIPTS.iter().for_each(|script| worst_answers(subject, script)));
}

#[test]
fn silence_comes_to_an_end() {
    let within = Duration::from_secs(3600);
    with_subject(|subject| SCRIPTS.iter().for_each(|script| silence_ends(subject, script, within)));
}

/// What a test's client collected.
#[derive(Debug, Default)]
struct Collected {
    messages: std::collections::BTreeMap<u32, Vec<u8>>,
}

fn pipe<'a>(maildrop: &str, client: Config, collected: &'a RefCell<Collected>) -> Pipe<'a, Client, Server> {
    let mut scripted = Scripted::over(maildrop);
    let mut server = scripted::config();
    // Answers to SASL are scripted: only PLAIN believes them.
    server.mechanisms = vec![Mechanism::Plain];
    let server = Server::new(Arc::new(server), &scripted::peer(false));
    Pipe::new(
        Client::new(Arc::new(client), None),
        move |request| match request {
            Request::BodyChunk(chunk) => {
                let mut collected = collected.borrow_mut();
                collected.messages.entry(chunk.query.message).or_default().extend_from_slice(&chunk.query.octets);
                Fulfilled::Now(chunk.answer(ChunkTaken::Taken))
            }
            other => panic!("{other:?}"),
        },
        server,
        move |request| {
            let usual = match &request {
                pop3_proto::Request::SaslStep(step) if step.query.octets.is_none() => "challenge".to_owned(),
                request => scripted.usual(request).unwrap(),
            };
            Fulfilled::Now(scripted.answer(request, &usual).unwrap())
        },
    )
}

/// Login by PLAIN over STLS, UIDL, every message retrieved ahead of replies, deletions, QUIT: at every capacity the same.
#[test]
fn a_collector_collects_everything() {
    for maildrop in ["three", "dots", "big"] {
        for capacity in [1, 9, 4096] {
            if maildrop == "big" && capacity == 1 {
                continue; // One octet at a time, 200,000 times, shows nothing more.
            }
            let collected = RefCell::default();
            let mut client = config();
            client.stls = Stls::Required;
            client.allow_cleartext = false;
            let mut pipe = pipe(maildrop, client, &collected).capacity(capacity);
            pipe.settle();
            assert!(pipe.client.events().contains(&Event::Ready));
            pipe.client.notify(Command::Uidl);
            pipe.client.notify(Command::Stat);
            pipe.settle();
            let mut ledger = Ledger::new();
            for event in pipe.client.events() {
                if let Event::UniqueId { message, id } = event {
                    ledger.listed(message, &id);
                }
            }
            let expected: Vec<Bytes> = scripted::maildrop(maildrop);
            let missing: Vec<u32> = ledger.missing().collect();
            assert_eq!(missing.len(), expected.len());
            for &message in &missing {
                pipe.client.notify(Command::Retr(message));
                pipe.client.notify(Command::Dele(message));
            }
            pipe.client.notify(Command::Quit);
            pipe.finish(Duration::from_secs(1));
            assert_eq!(pipe.client.closed(), Some(CloseReason::Quit));
            assert_eq!(pipe.server.closed(), Some(CloseReason::Quit));
            let collected = collected.borrow();
            for (message, expected) in missing.iter().zip(&expected) {
                let mut expected = expected.to_vec();
                // The last line's end belongs to the framing.
                if !expected.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                // A dot behind a bare LF is doubled for clients that end lines there; ours does not.
                let expected = String::from_utf8(expected).unwrap().replace("bare\n.\n", "bare\n..\n");
                assert_eq!(String::from_utf8(collected.messages[message].clone()).unwrap(), expected);
                ledger.collected(*message);
            }
            assert_eq!(ledger.missing().count(), 0);
            let removed = pipe.server.events().into_iter().find_map(|event| match event {
                pop3_proto::Event::Removed { messages } => Some(messages),
                _ => None,
            });
            assert_eq!(removed, Some(u32::try_from(expected.len()).unwrap()));
        }
    }
}

/// The link breaks at every moment of a conversation: both end, and the server is never told to remove anything before
/// QUIT was said.
#[test]
fn a_cut_link_ends_both() {
    for cut in 0..60 {
        let collected = RefCell::default();
        let mut pipe = pipe("three", config(), &collected).capacity(64);
        for _ in 0..cut {
            pipe.advance(Duration::from_millis(1));
        }
        pipe.client.notify(Command::Retr(1));
        pipe.client.notify(Command::Dele(1));
        if cut % 2 == 0 {
            pipe.server.cut();
        }
        pipe.client.cut();
        pipe.server.cut();
        pipe.finish(Duration::from_secs(900));
        let removed = pipe.server.events().iter().any(|event| matches!(event, pop3_proto::Event::Removed { .. }));
        assert!(!removed);
    }
}

#[test]
fn a_client_takes_what_it_has_room_for() {
    let mut client = config();
    client.limits.queue = 3;
    let collected = RefCell::default();
    let mut pipe = pipe("three", client, &collected);
    assert_eq!(pipe.client.session().room(), 3);
    for message in 1..=4 {
        pipe.client.notify(Command::Dele(message));
    }
    pipe.client.notify(Command::Quit);
    pipe.client.notify(Command::Noop);
    pipe.finish(Duration::from_secs(60));
    let refused: Vec<Event> =
        pipe.client.events().into_iter().filter(|event| matches!(event, Event::NotTaken(_))).collect();
    assert_eq!(refused, [Event::NotTaken(Command::Dele(4)), Event::NotTaken(Command::Noop)]);
}

/// A password never crosses a connection without TLS unless the embedder permits it.
#[test]
fn no_tls_no_login() {
    let mut client = config();
    client.stls = Stls::Never;
    client.allow_cleartext = false;
    let collected = RefCell::default();
    let mut pipe = pipe("three", client, &collected);
    pipe.finish(Duration::from_secs(60));
    assert!(pipe.client.events().contains(&Event::LoginFailed(LoginFailure::NoMechanism)));
}

#[test]
fn required_tls_is_required() {
    let mut client = config();
    client.stls = Stls::Required;
    let mut server = scripted::config();
    server.tls = false;
    let server = Server::new(Arc::new(server), &scripted::peer(false));
    let mut pipe = Pipe::new(Client::new(Arc::new(client), None), |_| Fulfilled::Never, server, |_| Fulfilled::Never);
    pipe.finish(Duration::from_secs(60));
    assert!(pipe.client.events().contains(&Event::LoginFailed(LoginFailure::NoTls)));
    assert_eq!(pipe.client.closed(), Some(CloseReason::Quit));
}
