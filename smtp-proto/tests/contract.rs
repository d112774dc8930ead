//! What every session promises: the testkit's four tests for server and client, and transcripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::session::{LayerInfo, Peer};
use mailstore_trait::testkit::driven::Asked;
use mailstore_trait::testkit::session::{Subject, every_split, silence_ends, window_is_kept, worst_answers};
use mailstore_trait::testkit::transcript::{Adapter, Header, escape, play_all};
use proptest::prelude::*;
use smtp_proto::address::{Address, Grammar};
use smtp_proto::client::{self, Client};
use smtp_proto::config::{Ask, Extensions, LineEnds};
use smtp_proto::event::Event;
use smtp_proto::reply::{self, EnhancedCode, Reply};
use smtp_proto::request::{Committed, Decision, Envelope, Looked, Recipient, Sender, Stepped};
use smtp_proto::{Answered, Config, Request, Server};

/// One recipient a question, so that questions do not depend on how the input is cut.
fn singly(mut config: Config) -> Config {
    config.limits.recipient_batch = 1;
    config
}

fn usual(request: Request) -> Answered {
    match request {
        Request::RcptTo(pending) => {
            let decide = |recipient: &Recipient| match recipient.address.local_part() {
                "gone" => Decision::Refused(reply::UNKNOWN_RECIPIENT),
                _ => Decision::Accepted,
            };
            let decisions = pending.query.recipients.iter().map(decide).collect();
            pending.answer(decisions)
        }
        Request::Connect(pending) => pending.answer(Decision::Accepted),
        Request::Hello(pending) => pending.answer(Decision::Accepted),
        Request::MailFrom(pending) => pending.answer(Decision::Accepted),
        Request::BodyOpen(pending) => pending.answer(Decision::Accepted),
        Request::BodyChunk(pending) => pending.answer(Decision::Accepted),
        Request::Commit(pending) => pending.answer(Committed::Accepted("queued".into())),
        Request::SaslStep(pending) => {
            let stepped = match pending.query.octets.as_deref() {
                None => Stepped::Challenge("who?".into()),
                Some(b"first") => Stepped::Challenge("nonce".into()),
                Some(b"bad") => Stepped::Refused(reply::AUTH_FAILED),
                Some(_) => Stepped::Done { identity: "user".into(), last: Some("last".into()) },
            };
            pending.answer(stepped)
        }
        other => other.decline(),
    }
}

fn asked(request: &Request) -> Asked {
    match request {
        Request::BodyChunk(pending) => {
            let octets: Vec<u8> = pending.query.pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            Asked::Piece("BodyChunk".into(), octets.into())
        }
        Request::MailFrom(pending) => {
            let address = pending.query.sender.address.as_ref();
            Asked::Whole(format!("MailFrom <{}>", address.map(|it| it.as_str()).unwrap_or_default()))
        }
        Request::RcptTo(pending) => {
            let names: Vec<_> = pending.query.recipients.iter().map(|it| format!("<{}>", it.address)).collect();
            Asked::Whole(format!("RcptTo {}", names.join(" ")))
        }
        Request::Commit(pending) => Asked::Whole(format!("Commit size={}", pending.query.size)),
        Request::SaslStep(pending) => {
            let octets = pending.query.octets.as_deref().map(escape::render);
            Asked::Whole(format!("SaslStep {} {}", pending.query.mechanism, octets.as_deref().unwrap_or("-")))
        }
        Request::ExtensionCommand(pending) => {
            Asked::Whole(format!("ExtensionCommand {} {}", pending.query.verb, pending.query.arguments))
        }
        other => Asked::Whole(other.name().to_owned()),
    }
}

fn server(config: Config) -> Subject<'static, Server> {
    let config = Arc::new(singly(config));
    let session = move || {
        let date = Timestamp::from_seconds(1_795_000_000);
        Server::new(config.clone(), common::peer()).at(date).trust(config.extensions)
    };
    Subject::new(session, usual, Request::decline, asked)
}

fn open() -> Config {
    Config {
        extensions: Extensions::all(),
        mechanisms: vec!["PLAIN".into()],
        cleartext_auth: true,
        ask: Ask::all(),
        ..common::relay()
    }
}

const SCRIPTS: [&[u8]; 8] = [
    b"EHLO x\r\nXFORWARD NAME=a\r\nMAIL FROM:<a@b> BY=5;R MT-PRIORITY=9\r\nRSET\r\nETRN a.example\r\nXCLIENT NAME=a\r\nETRN a\r\nEHLO y\r\nETRN @b\r\nHELP\r\n",
    b"EHLO x\r\nMAIL FROM:<a@b> SIZE=10\r\nRCPT TO:<c@d>\r\nRCPT TO:<gone@d>\r\nDATA\r\n..a\r\nb\n.\r\r\n.\r\nQUIT\r\n",
    b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nBDAT 5\r\nab\r\ncBDAT 3\r\nd\r\nBDAT 3 LAST\r\nx\r\nRSET\r\nNOOP\r\n",
    b"EHLO x\r\nAUTH PLAIN\r\nZmlyc3Q=\r\nYWJj\r\n\r\nMAIL FROM:<a@b>\r\nRSET\r\nAUTH PLAIN\r\n",
    b"EHLO x\r\nAUTH PLAIN YmFk\r\nAUTH PLAIN\r\n*\r\nBLAH\r\nMAIL FROM:<a@b> X=Y\r\n\r\nNOOP\nNO\rOP\r\n\xff\r\n",
    b"HELO x\r\nVRFY a\r\nEXPN b\r\nHELP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 4\r\nabcdEHLO y\r\nDATA\r\n",
    b"BDAT 10 LAST\r\n0123456789MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\n",
    b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\nQUIT\r\n",
];

fn configs() -> [Config; 3] {
    let mut tight = Config { text_line_ends: LineEnds::Strict, ..open() };
    (tight.limits.message, tight.limits.line, tight.limits.errors) = (4, 16, 3);
    [open(), tight, Config { ask: Ask::empty(), ..Config::lmtp("mx.example.org") }]
}

#[test]
fn server_says_the_same_at_every_split() {
    for config in configs() {
        SCRIPTS.iter().for_each(|script| every_split(&server(config.clone()), script));
    }
}

#[test]
fn server_keeps_its_window() {
    for mut config in configs() {
        (config.limits.window, config.limits.auth_line) = (2048, 1024);
        config.limits.line = config.limits.line.min(1024);
        SCRIPTS.iter().for_each(|script| window_is_kept(&server(config.clone()), script, 2048));
    }
}

#[test]
fn server_survives_the_worst_answers() {
    for config in configs() {
        SCRIPTS.iter().for_each(|script| worst_answers(&server(config.clone()), script));
    }
}

#[test]
fn server_ends_in_silence() {
    for config in configs() {
        SCRIPTS.iter().for_each(|script| silence_ends(&server(config.clone()), script, Duration::from_secs(4 * 3600)));
    }
}

fn message() -> client::request::Outgoing {
    let address = |text| Address::parse(text, Grammar::default()).unwrap();
    let recipients = vec![Recipient::new(address("c@d")), Recipient::new(address("e@f"))];
    client::request::Outgoing { envelope: Envelope::new(Sender::new(Some(address("a@b"))), recipients), size: 6 }
}

fn client(config: client::Config) -> Subject<'static, Client> {
    use client::request::{Credentials, Next, Page, Request, Response};
    let config = Arc::new(config);
    let answer = |request| match request {
        Request::NextMessage(pending) if pending.query.sent < 2 => pending.answer(Next::Send(Box::new(message()))),
        Request::Login(pending) => {
            pending.answer(Credentials::Mechanism { name: "PLAIN".into(), initial: Some(Bytes::from_static(b"x")) })
        }
        Request::Challenge(pending) => pending.answer(Response::Octets(Bytes::from_static(b"y"))),
        Request::Succeeded(pending) => pending.answer(true),
        Request::ReadBody(pending) if pending.query.offset == 0 => pending.answer(Page::Octets("text\r\n".into())),
        Request::ReadBody(pending) => pending.answer(Page::End),
        Request::Report(pending) => pending.answer(()),
        other => other.decline(),
    };
    let asked = |request: &Request| match request {
        Request::Report(pending) => Asked::Whole(format!("Report {:?}", pending.query.outcomes)),
        other => Asked::Whole(other.name().to_owned()),
    };
    Subject::new(move || Client::new(config.clone(), None), answer, Request::decline, asked)
}

/// What servers say, whole: much of it before it is asked for, which a client must not mind.
const SERVERS: [&[u8]; 7] = [
    b"220 mx\r\n250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 LIMITS RCPTMAX=1\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n552 no\r\n503 no\r\n250 ok\r\n",
    b"220 mx\r\n250-mx\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n452 4.5.3 no\r\n250 ok\r\n452 no\r\n250 reset\r\n250 ok\r\n250 ok\r\n",
    b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n",
    b"220 mx\r\n502 what\r\n250 old\r\n250 ok\r\n250 ok\r\n250 ok\r\n451 no\r\n250 reset\r\n421 bye\r\n",
    b"554 no\r\n",
    b"220 mx\r\n250 mx\r\n550 no\r\n550 no\r\nnonsense\r\n",
    b"220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n334 eA==\r\n235 ok\r\n250 ok\r\n421 closing\r\n",
];

fn clients() -> [client::Config; 3] {
    let config = client::Config::new("c.example");
    [config.clone(), client::Config { lmtp: true, ..config.clone() }, client::Config { login: true, ..config }]
}

#[test]
fn client_says_the_same_at_every_split() {
    for config in clients() {
        SERVERS.iter().for_each(|script| every_split(&client(config.clone()), script));
    }
}

#[test]
fn client_keeps_its_window() {
    for mut config in clients() {
        (config.limits.window, config.limits.line) = (2048, 1024);
        SERVERS.iter().for_each(|script| window_is_kept(&client(config.clone()), script, 2048));
    }
}

#[test]
fn client_survives_the_worst_answers() {
    for config in clients() {
        SERVERS.iter().for_each(|script| worst_answers(&client(config.clone()), script));
    }
}

#[test]
fn client_ends_in_silence() {
    for config in clients() {
        SERVERS.iter().for_each(|script| silence_ends(&client(config.clone()), script, Duration::from_secs(4 * 3600)));
    }
}

const WORDS: [&[u8]; 15] = [
    b"EHLO x\r\n",
    b"MAIL FROM:<a@b>\r\n",
    b"RCPT TO:<c@d>\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"\r",
    b"\n",
    b".",
    b"BDAT 5\r\n",
    b"BDAT 3 LAST\r\n",
    b"RSET\r\n",
    b"\0\xff",
    b"AUTH PLAIN\r\n",
    b"*\r\n",
    b"abcdefgh",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Any octets, and pieces of commands in any order: no panic, and the same at every split.
    #[test]
    fn noise(words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..14)) {
        every_split(&server(open()), &words.concat());
    }
}

/// The server in transcripts. `session:` is `relay`, `submission` or `lmtp`; besides it, `tls:`, `trusted:`, `offers:` and
/// what of the configuration is not as usual.
struct Transcripts;

impl Adapter for Transcripts {
    type Session = Server;

    fn session(&mut self, header: &Header) -> Server {
        let mut config = match header.value("session") {
            Some("relay") => Config { starttls: true, ..common::relay() },
            Some("submission") => Config { starttls: true, ..Config::submission("mx.example.org", ["PLAIN", "LOGIN"]) },
            Some("lmtp") => Config::lmtp("mx.example.org"),
            other => panic!("no such session: {other:?}"),
        };
        let number = |key| header.value(key).map(|value| value.parse::<u32>().unwrap());
        if let Some(seconds) = number("greet-delay") {
            config.greet_delay = Duration::from_secs(seconds.into());
        }
        if let Some(errors) = number("errors") {
            config.limits.errors = errors;
        }
        if let Some(octets) = number("message") {
            config.limits.message = octets.into();
        }
        match header.value("text-line-ends") {
            Some("strict") => config.text_line_ends = LineEnds::Strict,
            Some("normalize") | None => config.text_line_ends = LineEnds::Normalize,
            other => panic!("no such line ends: {other:?}"),
        }
        if header.value("command-line-ends") == Some("normalize") {
            config.command_line_ends = LineEnds::Normalize;
        }
        for name in header.value("offers").into_iter().flat_map(|names| names.split(',')) {
            config.extensions |= Extensions::from_name(name).unwrap_or_else(|| panic!("no such extension: {name}"));
        }
        let trusted = header.value("trusted").map_or(Extensions::empty(), |_| Extensions::all());
        let peer = match header.value("tls") {
            Some(_) => Peer::with_tls(common::peer().address, LayerInfo::new()),
            None => common::peer(),
        };
        let date = Timestamp::from_seconds(1_795_000_000);
        Server::new(Arc::new(singly(config)), peer).at(date).trust(trusted)
    }

    fn asked(&mut self, request: &Request) -> Asked {
        asked(request)
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        let refusal = |text: &str| {
            let code = text.get(..3)?.parse().ok()?;
            let (enhanced, text) = EnhancedCode::split(text.get(4..)?)?;
            Some(Reply::new(code, enhanced, text.to_owned()))
        };
        let decision = |text: &str| match (text, refusal(text)) {
            ("Accepted" | "Taken", _) => Ok(Decision::Accepted),
            (_, Some(reply)) => Ok(Decision::Refused(reply)),
            _ => Err(format!("neither Accepted nor a reply: {text}")),
        };
        Ok(match request {
            Request::MailFrom(pending) => pending.answer(decision(text)?),
            Request::RcptTo(pending) => pending.answer(vec![decision(text)?]),
            Request::BodyOpen(pending) => pending.answer(decision(text)?),
            Request::BodyChunk(pending) => pending.answer(decision(text)?),
            Request::Abandon(pending) => pending.answer(()),
            Request::Commit(pending) => match (text.strip_prefix("Queued "), text.strip_prefix("Each ")) {
                (Some(id), _) => pending.answer(Committed::Accepted(id.to_owned())),
                (_, Some(each)) => {
                    let each = each.split(", ").map(|one| match refusal(one) {
                        Some(reply) => Err(reply),
                        None => Ok(one.to_owned()),
                    });
                    pending.answer(Committed::Each(each.collect()))
                }
                _ => pending.answer(Committed::Refused(refusal(text).ok_or("no reply")?)),
            },
            Request::SaslStep(pending) => pending.answer(match (text.split_once(' '), refusal(text)) {
                (_, Some(reply)) => Stepped::Refused(reply),
                (Some(("Challenge", octets)), _) => Stepped::Challenge(escape::parse(octets)?.into()),
                (Some(("Done", identity)), _) => Stepped::Done { identity: identity.to_owned(), last: None },
                _ => return Err(format!("no step: {text}")),
            }),
            Request::Verify(pending) => pending.answer(Looked::Found(vec![text.to_owned()])),
            Request::ExtensionCommand(pending) => pending.answer(refusal(text).ok_or("no reply")?),
            other => return Err(format!("no answer to {} is known", other.name())),
        })
    }

    fn usual(&mut self, request: &Request) -> Option<String> {
        Some(match request {
            Request::Commit(_) => "Queued q1".into(),
            Request::Abandon(_) => "Dropped".into(),
            Request::SaslStep(_) => "Done user".into(),
            Request::BodyChunk(_) => "Taken".into(),
            _ => "Accepted".into(),
        })
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Accepted { size, recipients } => Some(format!("Accepted size={size} recipients={recipients}")),
            Event::Violation(violation) => Some(format!("Violation {violation:?}")),
            _ => None,
        }
    }
}

#[test]
fn transcripts() {
    play_all(&mut Transcripts, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts"));
}

#[test]
fn compliance() {
    mailstore_trait::testkit::compliance::check(env!("CARGO_MANIFEST_DIR"), &["src"]);
}
