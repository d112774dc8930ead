//! The client's conversations: scripted servers for what goes wrong, our own server, in virtual time, for what goes right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::result_large_err)]

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Rig, epoch};
use mailstore_trait::session::{CloseReason, LayerError, LayerInfo, Output, Session, Wait};
use smtp_proto::address::{Address, Grammar};
use smtp_proto::client::request::{
    Answered, Credentials, Failure, Next, Outcome, Outgoing, Page, Request, Response, Stage,
};
use smtp_proto::client::{Client, Config, EightBit, Event, TlsPolicy};
use smtp_proto::command::params::{Body, DeliverBy, Hold, Notify, Priority, Ret, ValidSince};
use smtp_proto::config::Extensions;
use smtp_proto::request::{Envelope, Recipient, Sender};

fn address(text: &str) -> Address {
    Address::parse(text, Grammar::default().with_utf8(true)).unwrap()
}

fn message(recipients: &[&str], text: &str) -> (Outgoing, Bytes) {
    let recipients = recipients.iter().map(|to| Recipient::new(address(to))).collect();
    let envelope = Envelope::new(Sender::new(Some(address("from@a.example"))), recipients);
    (Outgoing { envelope, size: text.len() as u64 }, Bytes::copy_from_slice(text.as_bytes()))
}

/// A client with messages to send and a memory of what became of them.
struct Rig2 {
    client: Client,
    now: Instant,
    messages: VecDeque<(Outgoing, Bytes)>,
    body: Bytes,
    said: String,
    sends: usize,
    reports: Vec<Vec<Outcome>>,
    closed: Option<CloseReason>,
    wait: Option<Wait>,
    layer: Result<LayerInfo, LayerError>,
    layer_asked: bool,
    /// Hold the layer back until told.
    hold_layer: bool,
    unsent: usize,
    drain: bool,
    fail_page_at: Option<u64>,
    pages: usize,
    long_token: bool,
    /// How often the connection was fit for another message, and whether to leave it then.
    ready: usize,
    leave: bool,
}

impl Rig2 {
    fn new(config: Config, messages: Vec<(Outgoing, Bytes)>) -> Rig2 {
        let mut rig = Rig2 {
            client: Client::new(Arc::new(config), None),
            now: epoch(),
            messages: messages.into(),
            body: Bytes::new(),
            said: String::new(),
            sends: 0,
            reports: Vec::new(),
            closed: None,
            wait: None,
            layer: Ok(LayerInfo::new()),
            layer_asked: false,
            hold_layer: false,
            unsent: 0,
            drain: true,
            fail_page_at: None,
            pages: 0,
            long_token: false,
            ready: 0,
            leave: false,
        };
        rig.run();
        rig
    }

    fn answer(&mut self, request: Request) -> Answered {
        match request {
            Request::NextMessage(pending) => match self.messages.pop_front() {
                Some((outgoing, body)) => {
                    self.body = body;
                    pending.answer(Next::Send(Box::new(outgoing)))
                }
                None => pending.answer(Next::Quit),
            },
            Request::Login(pending) => {
                let answer = match pending.query.offered.iter().any(|name| name == "PLAIN") {
                    true if self.long_token => {
                        Credentials::Mechanism { name: "PLAIN".into(), initial: Some(vec![b't'; 1000].into()) }
                    }
                    true => Credentials::Mechanism { name: "PLAIN".into(), initial: Some("\0user\0secret".into()) },
                    false => Credentials::Unfit,
                };
                pending.answer(answer)
            }
            Request::Challenge(pending) => pending.answer(Response::Octets(Bytes::new())),
            Request::Succeeded(pending) => pending.answer(true),
            Request::ReadBody(pending) => {
                self.pages += 1;
                let offset = pending.query.offset;
                let start = usize::try_from(offset).unwrap().min(self.body.len());
                let end = (start + pending.query.max).min(self.body.len());
                let page = match self.fail_page_at {
                    Some(at) if offset >= at => Page::Failed,
                    _ if start == end => Page::End,
                    _ => Page::Octets(self.body.slice(start..end)),
                };
                pending.answer(page)
            }
            Request::Report(pending) => {
                self.reports.push(pending.query.outcomes.clone());
                pending.answer(())
            }
            other => other.decline(),
        }
    }

    fn run(&mut self) {
        for _ in 0..1_000_000 {
            match self.client.poll_output(self.now, self.unsent) {
                Output::Send(octets) => {
                    self.sends += 1;
                    if !self.drain {
                        self.unsent += octets.len();
                    }
                    self.said.push_str(std::str::from_utf8(&octets).unwrap());
                }
                Output::Request(request) => {
                    let answered = self.answer(request);
                    self.client.resume(answered);
                }
                Output::Layer(_) => {
                    self.layer_asked = true;
                    if !self.hold_layer {
                        self.client.layered(self.layer.clone());
                    }
                }
                Output::Event(event) => {
                    if event == Event::Ready {
                        self.ready += 1;
                        if self.leave {
                            return;
                        }
                    }
                }
                Output::Wait(wait) => {
                    self.wait = Some(wait);
                    return;
                }
                Output::Close(reason) => {
                    self.closed = Some(reason);
                    return;
                }
            }
        }
        panic!("the session never waits");
    }

    /// The server says this; what the client answers.
    fn hear(&mut self, lines: &str) -> String {
        self.said.clear();
        let octets = lines.replace('\n', "\r\n");
        assert_eq!(self.client.handle_input(octets.as_bytes()), octets.len());
        self.run();
        std::mem::take(&mut self.said)
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.run();
    }

    fn failure(&self, report: usize, recipient: usize) -> (bool, Stage, String, bool) {
        match &self.reports[report][recipient] {
            Outcome::Delivered(reply) => panic!("delivered: {reply}"),
            Outcome::Deferred(Failure { stage, reply, remote }) => (false, *stage, reply.to_string(), *remote),
            Outcome::Failed(Failure { stage, reply, remote }) => (true, *stage, reply.to_string(), *remote),
        }
    }
}

fn relay() -> Config {
    Config::new("client.example")
}

#[test]
fn one_flight_when_pipelining_is_offered() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d"], ".dot\r\nline"), message(&["e@f"], "two\r\n")]);
    assert_eq!(rig.said, "");
    assert_eq!(rig.hear("220 mx\n"), "EHLO client.example\r\n");
    rig.sends = 0;
    let flight = rig.hear("250-mx\n250-PIPELINING\n250 SIZE 1000\n");
    assert_eq!(flight, "MAIL FROM:<from@a.example> SIZE=10\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
    assert_eq!(rig.sends, 1);
    assert_eq!(rig.hear("250 ok\n250 ok\n550 5.1.1 who?\n"), "");
    assert_eq!(rig.hear("354 go\n"), "..dot\r\nline\r\n.\r\n");
    assert_eq!(rig.hear("250 2.0.0 queued as 1\n"), "MAIL FROM:<from@a.example> SIZE=5\r\nRCPT TO:<e@f>\r\nDATA\r\n");
    assert!(matches!(&rig.reports[0][0], Outcome::Delivered(reply) if reply.text == "queued as 1"));
    assert_eq!(rig.failure(0, 1), (true, Stage::Rcpt, "550 5.1.1 who?".into(), true));
    assert_eq!(rig.hear("250 ok\n250 ok\n354 go\n"), "two\r\n.\r\n");
    assert_eq!(rig.hear("250 ok\n"), "QUIT\r\n");
    rig.hear("221 bye\n");
    assert_eq!((rig.closed, rig.reports.len()), (Some(CloseReason::Quit), 2));
}

#[test]
fn one_command_at_a_time_without_pipelining() {
    for config in [relay(), Config { extensions: Extensions::all() - Extensions::PIPELINING, ..relay() }] {
        let used = config.extensions.contains(Extensions::PIPELINING);
        let offer = if used { "250 mx\n" } else { "250-mx\n250 PIPELINING\n" };
        let mut rig = Rig2::new(config, vec![message(&["a@b", "c@d"], "x\r\n")]);
        rig.hear("220 mx\n");
        assert_eq!(rig.hear(offer), "MAIL FROM:<from@a.example>\r\n");
        assert_eq!(rig.hear("250 ok\n"), "RCPT TO:<a@b>\r\n");
        assert_eq!(rig.hear("550 no\n"), "RCPT TO:<c@d>\r\n");
        assert_eq!(rig.hear("451 later\n"), "RSET\r\n", "nobody was accepted: no DATA");
        assert_eq!(rig.failure(0, 0), (true, Stage::Rcpt, "550 no".into(), true));
        assert_eq!(rig.failure(0, 1), (false, Stage::Rcpt, "451 later".into(), true));
        assert_eq!(rig.hear("250 ok\n"), "QUIT\r\n");
    }
}

#[test]
fn helo_when_ehlo_is_unknown() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 old\n");
    assert_eq!(rig.hear("502 what?\n"), "HELO client.example\r\n");
    assert_eq!(rig.hear("250 old\n"), "MAIL FROM:<from@a.example>\r\n");
}

#[test]
fn refused_before_mail() {
    for (script, stage, permanent) in [
        (&["554 no\n"][..], Stage::Greeting, false),
        (&["521 never\n"], Stage::Greeting, true),
        (&["421 busy\n"], Stage::Greeting, false),
        (&["220 a\n", "550 no\n", "550 no\n"], Stage::Hello, false),
        (&["220 a\n", "421 no\n"], Stage::Hello, false),
    ] {
        let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
        let said = script.iter().map(|line| rig.hear(line)).last().unwrap();
        let (failed, at, _, remote) = rig.failure(0, 0);
        assert_eq!((failed, at, remote), (permanent, stage, true), "{script:?}");
        // RFC 5321 §4.1.1.10: QUIT, but not to a server that said 421 and closes.
        let closing = script.last().is_some_and(|line| line.starts_with("421"));
        assert_eq!((said == "QUIT\r\n", rig.closed.is_some()), (!closing, closing), "{script:?}");
        rig.hear("221 bye\n");
        assert!(rig.closed.is_some());
    }
}

#[test]
fn mail_refused_refuses_everyone() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    assert_eq!(rig.hear("550 5.7.1 not you\n503 no\n503 no\n503 no\n"), "QUIT\r\n");
    for recipient in 0..2 {
        assert_eq!(rig.failure(0, recipient), (true, Stage::Mail, "550 5.7.1 not you".into(), true));
    }
}

/// RFC 2920 §3.1: a server may say 354 to a pipelined DATA although nobody was accepted; it must get a lone dot, and
/// nothing it says to that is a delivery.
#[test]
fn a_lone_dot_when_nobody_was_accepted() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    assert_eq!(rig.hear("250 ok\n550 no\n354 go\n"), ".\r\n");
    assert_eq!(rig.hear("250 thanks\n"), "QUIT\r\n");
    assert_eq!(rig.failure(0, 0), (true, Stage::Rcpt, "550 no".into(), true));
}

#[test]
fn data_and_final_dot_refused() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n"), message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    assert_eq!(rig.hear("250 ok\n250 ok\n451 no space\n"), "RSET\r\n");
    assert_eq!(rig.failure(0, 0), (false, Stage::Data, "451 no space".into(), true));
    rig.hear("250 ok\n");
    rig.hear("250 ok\n250 ok\n354 go\n");
    assert_eq!(rig.hear("554 5.7.1 spam\n"), "QUIT\r\n");
    assert_eq!(rig.failure(1, 0), (true, Stage::FinalDot, "554 5.7.1 spam".into(), true));
}

/// RFC 5321 §4.5.3.1.10: 452 and, from older servers, 552 say that there are too many recipients; the rest goes in a
/// second transaction, which is no larger than what the server took.
#[test]
fn too_many_recipients_go_in_another_transaction() {
    for refusal in ["452 4.5.3 too many", "552 too many"] {
        let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d", "e@f"], "x\r\n")]);
        rig.hear("220 mx\n");
        rig.hear("250-mx\n250 PIPELINING\n");
        rig.hear(&format!("250 ok\n250 ok\n{refusal}\n{refusal}\n354 go\n"));
        let again = "MAIL FROM:<from@a.example>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
        assert_eq!(rig.hear("250 first\n"), again);
        rig.hear("250 ok\n250 ok\n354 go\n");
        rig.hear("250 second\n");
        assert_eq!(rig.hear("250 ok\n550 gone\n503 nobody\n"), "RSET\r\n");
        let replies: Vec<String> = rig.reports[0]
            .iter()
            .map(|outcome| match outcome {
                Outcome::Delivered(reply) => reply.to_string(),
                Outcome::Deferred(failure) | Outcome::Failed(failure) => failure.reply.to_string(),
            })
            .collect();
        assert_eq!(replies, ["250 first", "250 second", "550 gone"]);
    }
    // A full mailbox is no reason to try again at once, and nor is a server that takes nobody.
    for (first, refusal) in [("250 ok", "452 4.2.2 full"), ("452 4.5.3 too many", "452 4.5.3 too many")] {
        let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d"], "x\r\n")]);
        rig.hear("220 mx\n");
        rig.hear("250-mx\n250 PIPELINING\n");
        rig.hear(&format!("250 ok\n{first}\n{refusal}\n354 go\n"));
        rig.hear("250 ok\n");
        assert_eq!((rig.reports.len(), rig.failure(0, 1).0), (1, false));
    }
}

/// RFC 9422 §4: what a server says of its limits is kept.
#[test]
fn limits_of_the_server_are_kept() {
    let script = |limits: &str, recipients: &[&str]| {
        let mut rig = Rig2::new(relay(), vec![message(recipients, "x\r\n"), message(&["z@z"], "x\r\n")]);
        rig.hear("220 mx\n");
        let mut said = rig.hear(&format!("250-mx\n250-LIMITS {limits}\n250 PIPELINING\n"));
        let mut transactions = Vec::new();
        while said.starts_with("MAIL") {
            let count = said.matches("RCPT").count();
            transactions.push(count);
            rig.hear(&format!("250 ok\n{}354 go\n", "250 ok\n".repeat(count)));
            said = rig.hear("250 ok\n");
        }
        assert_eq!(said, "QUIT\r\n");
        (transactions, rig)
    };
    let recipients = ["a@b", "c@D", "e@d", "g@b", "h@i"];
    assert_eq!(script("RCPTMAX=2", &recipients).0, [2, 2, 1, 1]);
    assert_eq!(script("RCPTDOMAINMAX=1", &recipients).0, [2, 2, 1, 1]);
    assert_eq!(script("RCPTDOMAINMAX=2 RCPTMAX=3", &recipients).0, [3, 2, 1]);
    let (transactions, rig) = script("MAILMAX=2", &recipients);
    assert_eq!((transactions, rig.messages.len()), (vec![5, 1], 0));
    let (transactions, rig) = script("MAILMAX=1", &recipients);
    assert_eq!((transactions, rig.messages.len()), (vec![5], 1), "the second message needs another connection");
    let (transactions, rig) = script("MAILMAX=2 RCPTMAX=2", &recipients);
    assert_eq!((transactions, rig.messages.len()), (vec![2, 2], 1));
    assert!(matches!(rig.reports[0][3], Outcome::Delivered(_)));
    assert_eq!(rig.failure(0, 4).1, Stage::Mail);
}

/// RFC 3030 §2: the message goes by BDAT where CHUNKING is offered, its dots as they are, once somebody was accepted.
#[test]
fn chunks_where_they_are_offered() {
    let offer = "250-mx\n250-PIPELINING\n250 CHUNKING\n";
    let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d"], ".dot\r\nbare\nline")]);
    rig.hear("220 mx\n");
    let flight = "MAIL FROM:<from@a.example>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\n";
    assert_eq!(rig.hear(offer), flight, "no DATA");
    assert_eq!(rig.hear("250 ok\n250 ok\n"), "", "not before all replies are in");
    assert_eq!(rig.hear("550 no\n"), "BDAT 16 LAST\r\n.dot\r\nbare\r\nline");
    assert_eq!(rig.hear("250 2.0.0 taken\n"), "QUIT\r\n");
    assert!(matches!(&rig.reports[0][0], Outcome::Delivered(reply) if reply.text == "taken"));
    assert!(rig.failure(0, 1).0);
    // Nobody was accepted: no octet of it goes.
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear(offer);
    assert_eq!(rig.hear("250 ok\n550 no\n"), "RSET\r\n");
    // Not used where the configuration has it so.
    let mut rig = Rig2::new(
        Config { extensions: Extensions::all() - Extensions::CHUNKING, ..relay() },
        vec![message(&["a@b"], "x\r\n")],
    );
    rig.hear("220 mx\n");
    assert!(rig.hear(offer).ends_with("DATA\r\n"));
    // A message that turns out shorter than was said, and one without an octet.
    for (size, text, expected) in [(9, "x\r\n", "BDAT 3\r\nx\r\nBDAT 0 LAST\r\n"), (0, "", "BDAT 0 LAST\r\n")] {
        let (mut outgoing, body) = message(&["a@b"], text);
        outgoing.size = size;
        let mut rig = Rig2::new(relay(), vec![(outgoing, body)]);
        rig.hear("220 mx\n");
        rig.hear(offer);
        assert_eq!(rig.hear("250 ok\n250 ok\n"), expected);
    }
}

/// RFC 3030 §2: chunks are pipelined where PIPELINING is offered, and sent one by one where it is not.
#[test]
fn chunks_and_their_replies() {
    let mut config = relay();
    config.limits.page = 10;
    let text = "0123456789".repeat(3);
    let begin = |offer: &str, lmtp: bool| {
        let mut rig = Rig2::new(Config { lmtp, ..config.clone() }, vec![message(&["a@b", "c@d"], &text)]);
        rig.hear("220 mx\n");
        let mut said = rig.hear(&format!("250-mx\n250-{offer}\n250 CHUNKING\n"));
        for _ in 0..3 {
            said = rig.hear("250 ok\n");
        }
        (rig, said)
    };
    let (mut rig, said) = begin("PIPELINING", false);
    assert_eq!(said, "BDAT 10\r\n0123456789BDAT 10\r\n0123456789BDAT 10 LAST\r\n0123456789");
    rig.hear("250 one\n250 two\n");
    assert_eq!(rig.hear("250 three\n"), "QUIT\r\n");
    assert!(matches!(&rig.reports[0][1], Outcome::Delivered(reply) if reply.text == "three"));
    // The first is refused: the others are by their order, and the transaction is ended by RSET.
    let (mut rig, _) = begin("PIPELINING", false);
    rig.hear("552 5.3.4 too big\n");
    rig.hear("503 no\n");
    assert_eq!(rig.hear("503 no\n"), "RSET\r\n");
    assert_eq!(rig.failure(0, 0), (true, Stage::Body, "552 5.3.4 too big".into(), true));
    for (offer, lmtp) in [("SIZE", false), ("PIPELINING", true)] {
        let (mut rig, said) = begin(offer, lmtp);
        assert_eq!(said, "BDAT 10\r\n0123456789");
        assert_eq!(rig.hear("250 one\n"), "BDAT 10\r\n0123456789");
        assert_eq!(rig.hear("250 two\n"), "BDAT 10 LAST\r\n0123456789");
        rig.hear("250 three\n");
        assert_eq!(rig.reports.len(), usize::from(!lmtp));
        rig.hear(if lmtp { "450 later\n" } else { "" });
        assert_eq!(matches!(rig.reports[0][1], Outcome::Deferred(_)), lmtp);
        let (mut rig, _) = begin(offer, lmtp);
        assert_eq!(rig.hear("452 4.3.1 full\n"), "RSET\r\n");
        assert_eq!(rig.failure(0, 1), (false, Stage::Body, "452 4.3.1 full".into(), true));
    }
    let (mut rig, _) = begin("PIPELINING", false);
    rig.hear("421 4.3.2 going\n");
    assert_eq!((rig.closed, rig.failure(0, 0).0), (Some(CloseReason::Protocol), false));
}

/// RFC 3030 §3: binary messages go by BDAT, octet for octet, and only to whoever takes them.
#[test]
fn binary_messages_go_as_they_are() {
    let (mut outgoing, body) = message(&["a@b"], "\n.\r\r\n.\r\n\r");
    outgoing.envelope.sender.body = Body::BinaryMime;
    let mut rig = Rig2::new(relay(), vec![(outgoing.clone(), body.clone())]);
    rig.hear("220 mx\n");
    let said = rig.hear("250-mx\n250-CHUNKING\n250-PIPELINING\n250 BINARYMIME\n");
    assert_eq!(said, "MAIL FROM:<from@a.example> BODY=BINARYMIME\r\nRCPT TO:<a@b>\r\n");
    assert_eq!(rig.hear("250 ok\n250 ok\n"), "BDAT 9 LAST\r\n\n.\r\r\n.\r\n\r");
    for offer in ["250-mx\n250 CHUNKING\n", "250-mx\n250 BINARYMIME\n"] {
        let mut rig = Rig2::new(relay(), vec![(outgoing.clone(), body.clone())]);
        rig.hear("220 mx\n");
        assert_eq!(rig.hear(offer), "QUIT\r\n");
        assert_eq!(rig.failure(0, 0).1, Stage::Requirements);
    }
}

/// RFC 6152 §3: what becomes of 8-bit messages where 8BITMIME is not offered is the embedder's to say.
#[test]
fn eight_bit_without_8bitmime() {
    let (mut outgoing, body) = message(&["a@b"], "zo\u{eb}\r\n");
    outgoing.envelope.sender.body = Body::EightBitMime;
    for (eight_bit, expected) in [(EightBit::Send, "MAIL FROM:<from@a.example>\r\n"), (EightBit::Refuse, "QUIT\r\n")] {
        let mut rig = Rig2::new(Config { eight_bit, ..relay() }, vec![(outgoing.clone(), body.clone())]);
        rig.hear("220 mx\n");
        assert_eq!(rig.hear("250 mx\n"), expected);
        if eight_bit == EightBit::Refuse {
            assert_eq!(rig.failure(0, 0).2.get(..9), Some("554 5.6.3"));
        }
    }
}

#[test]
fn a_lost_connection_defers_whoever_is_undecided() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b", "c@d"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.hear("250 ok\n550 no\n");
    rig.client.handle_eof();
    rig.run();
    assert_eq!(rig.closed, Some(CloseReason::Eof));
    assert!(rig.failure(0, 0).0, "decided before");
    assert_eq!(rig.failure(0, 1), (false, Stage::Rcpt, "451 4.4.2 Connection lost".into(), false));
}

#[test]
fn nonsense_and_silence() {
    for nonsense in ["hello\n", "250-a\n251 b\n", "999 x\n"] {
        let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
        rig.hear(nonsense);
        assert_eq!(rig.closed, Some(CloseReason::Protocol), "{nonsense}");
        assert_eq!(rig.failure(0, 0).1, Stage::Greeting);
    }
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.pass(299);
    assert_eq!(rig.closed, None);
    rig.pass(2);
    assert_eq!(rig.closed, Some(CloseReason::Timeout));
    assert_eq!(rig.failure(0, 0).2, "451 4.4.2 Conversation timed out");
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.hear("250 ok\n250 ok\n");
    rig.pass(121);
    assert_eq!(rig.failure(0, 0).1, Stage::Data, "two minutes for the 354");
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.hear("250 ok\n250 ok\n354 go\n");
    rig.pass(599);
    assert_eq!(rig.closed, None);
    rig.pass(2);
    assert_eq!(rig.failure(0, 0).1, Stage::FinalDot, "ten minutes for the final dot");
}

#[test]
fn a_server_that_does_not_drain_ends_by_a_deadline() {
    let text = "x".repeat(100_000_000);
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], &text)]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.hear("250 ok\n250 ok\n");
    rig.drain = false;
    rig.hear("354 go\n");
    assert!(rig.unsent < 600_000 && rig.pages < 4, "{} {}", rig.unsent, rig.pages);
    assert!(rig.wait.unwrap().output);
    rig.pass(179);
    rig.unsent -= 10;
    rig.pass(0);
    rig.pass(179);
    assert_eq!(rig.closed, None);
    rig.pass(2);
    assert_eq!(rig.closed, Some(CloseReason::Stalled));
    assert_eq!(rig.failure(0, 0).1, Stage::Body);
}

#[test]
fn an_unreadable_message_is_not_ended_with_a_dot() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], &"x".repeat(1_000_000))]);
    rig.fail_page_at = Some(1000);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    let said = rig.hear("250 ok\n250 ok\n354 go\n");
    assert!(!said.contains(".\r\n"));
    assert_eq!(rig.closed, Some(CloseReason::Unanswered));
    assert_eq!(rig.failure(0, 0).2, "451 4.3.0 The message could not be read");
}

#[test]
fn a_refusal_in_the_middle_of_the_message() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], &"x".repeat(10_000_000))]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.hear("250 ok\n250 ok\n");
    rig.drain = false;
    rig.hear("354 go\n");
    rig.hear("552 5.3.4 enough\n");
    assert_eq!(rig.failure(0, 0), (true, Stage::FinalDot, "552 5.3.4 enough".into(), true));
    assert_eq!(rig.closed, Some(CloseReason::Protocol));
}

#[test]
fn needs_are_checked_before_sending() {
    let mut utf8 = message(&["zo\u{eb}@b"], "x\r\n");
    utf8.0.envelope.sender.smtputf8 = true;
    let mut binary = message(&["a@b"], "x\r\n");
    binary.0.envelope.sender.body = Body::BinaryMime;
    let big = message(&["a@b"], &"x".repeat(2000));
    let mut rig = Rig2::new(relay(), vec![utf8, binary, big]);
    rig.hear("220 mx\n");
    assert_eq!(rig.hear("250-mx\n250 SIZE 1000\n"), "QUIT\r\n");
    let failures: Vec<_> = (0..3).map(|report| rig.failure(report, 0)).collect();
    assert!(failures.iter().all(|(failed, stage, _, remote)| *failed && *stage == Stage::Requirements && !remote));
    let codes: Vec<_> = failures.iter().map(|(_, _, reply, _)| &reply[..9]).collect();
    assert_eq!(codes, ["550 5.6.7", "554 5.6.3", "552 5.3.4"]);
}

#[test]
fn parameters_only_where_they_are_offered() {
    let mut outgoing = message(&["zo\u{eb}@b"], "x\r\n");
    let sender = &mut outgoing.0.envelope.sender;
    (sender.smtputf8, sender.body, sender.ret, sender.envid) =
        (true, Body::EightBitMime, Some(Ret::Headers), Some("a b".into()));
    outgoing.0.envelope.recipients[0].notify = Some(Notify::SUCCESS | Notify::FAILURE);
    outgoing.0.envelope.recipients[0].orcpt = Some(("rfc822".into(), "x@y".into()));
    let mut rig = Rig2::new(relay(), vec![outgoing]);
    rig.hear("220 mx\n");
    let said = rig.hear("250-mx\n250-PIPELINING\n250-SMTPUTF8\n250-8BITMIME\n250 DSN\n");
    assert_eq!(
        said,
        "MAIL FROM:<from@a.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b\r\n\
         RCPT TO:<zo\u{eb}@b> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y\r\nDATA\r\n"
    );
}

/// RFC 2852 §4, 3865 §2.3, 4865 §3, 6710 §3, 7293 §3.1, 8689 §4.2.1: what is offered is used; what the message needs and is
/// not offered is an error before sending, and the rest goes on without.
#[test]
fn schedules_are_passed_on_or_missed() {
    let full = |change: fn(&mut Outgoing)| {
        let (mut outgoing, body) = message(&["a@b", "c@d"], "x\r\n");
        change(&mut outgoing);
        (outgoing, body)
    };
    let begin = |outgoing: (Outgoing, Bytes), offer: &str, tls: bool| {
        let mut rig = Rig2::new(relay(), vec![outgoing]);
        if tls {
            rig.hear("220 mx\n");
            rig.hear("250-mx\n250 STARTTLS\n");
            rig.hear("220 go\n");
        } else {
            rig.hear("220 mx\n");
        }
        let said = rig.hear(&format!("250-mx\n{offer}250 PIPELINING\n"));
        (rig, said)
    };
    let all = full(|it| {
        let sender = &mut it.envelope.sender;
        sender.require_tls = true;
        sender.deliver_by = DeliverBy::parse("120;RT");
        sender.priority = Priority::new(-3);
        sender.hold = Hold::parse_for("60");
        sender.solicit = Some("net.example:ADV".into());
        it.envelope.recipients[1].valid_since = ValidSince::parse("2014-05-13T16:53:20Z;C");
    });
    let offer = "250-REQUIRETLS\n250-DELIVERBY 60\n250-MT-PRIORITY MIXER\n250-FUTURERELEASE 99 2030-01-01T00:00:00Z\n\
                 250-NO-SOLICITING\n250-RRVS\n";
    let (_, said) = begin(all, offer, true);
    assert_eq!(
        said,
        "MAIL FROM:<from@a.example> REQUIRETLS BY=120;RT MT-PRIORITY=-3 HOLDFOR=60 SOLICIT=net.example:ADV\r\n\
         RCPT TO:<a@b>\r\nRCPT TO:<c@d> RRVS=2014-05-13T16:53:20Z;C\r\nDATA\r\n"
    );
    let optional = full(|it| {
        let sender = &mut it.envelope.sender;
        (sender.deliver_by, sender.priority) = (DeliverBy::parse("-5;N"), Priority::new(9));
        sender.solicit = Some("net.example:ADV".into());
        it.envelope.recipients[1].valid_since = ValidSince::parse("2014-05-13T16:53:20Z;C");
    });
    let plain = "MAIL FROM:<from@a.example>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    assert_eq!(begin(optional, "", false).1, plain);
    type Case = (fn(&mut Outgoing), &'static str, bool, &'static str);
    let cases: [Case; 6] = [
        (|it| it.envelope.sender.require_tls = true, "", true, "550 5.7.30"),
        (|it| it.envelope.sender.require_tls = true, "250-REQUIRETLS\n", false, "550 5.7.30"),
        (|it| it.envelope.sender.deliver_by = DeliverBy::parse("120;R"), "", false, "550 5.3.3"),
        (|it| it.envelope.sender.deliver_by = DeliverBy::parse("59;R"), "250-DELIVERBY 60\n", false, "550 5.4.7"),
        (|it| it.envelope.sender.hold = Hold::parse_for("60"), "", false, "550 5.5.1"),
        (
            |it| {
                for recipient in &mut it.envelope.recipients {
                    recipient.valid_since = ValidSince::parse("2014-05-13T16:53:20Z");
                }
            },
            "",
            false,
            "550 5.7.19",
        ),
    ];
    for (change, offer, tls, code) in cases {
        let (rig, said) = begin(full(change), offer, tls);
        assert_eq!(said, "QUIT\r\n", "{code}");
        for recipient in 0..2 {
            let (failed, stage, reply, remote) = rig.failure(0, recipient);
            assert!(failed && stage == Stage::Requirements && !remote && reply.starts_with(code), "{code} {reply}");
        }
    }
    // One recipient's need is no other's trouble.
    let one = full(|it| it.envelope.recipients[0].valid_since = ValidSince::parse("2014-05-13T16:53:20Z"));
    let (_, said) = begin(one, "", false);
    assert_eq!(said, "MAIL FROM:<from@a.example>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
}

#[test]
fn starttls_policies() {
    let offer = "250-mx\n250-PIPELINING\n250 STARTTLS\n";
    let mut rig = Rig2::new(Config { tls: TlsPolicy::Required, ..relay() }, vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    assert_eq!(rig.hear("250 mx\n"), "QUIT\r\n");
    assert_eq!(rig.failure(0, 0), (false, Stage::StartTls, "451 4.7.0 TLS is required and not offered".into(), false));
    let mut rig = Rig2::new(Config { tls: TlsPolicy::None, ..relay() }, vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    assert!(rig.hear(offer).starts_with("MAIL"));
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    assert_eq!(rig.hear(offer), "STARTTLS\r\n");
    assert_eq!(rig.hear("220 go\n"), "EHLO client.example\r\n");
    assert_eq!(rig.hear("250 mx\n"), "MAIL FROM:<from@a.example>\r\n", "PIPELINING from before TLS is forgotten");
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear(offer);
    assert!(rig.hear("454 not now\n").starts_with("MAIL"), "opportunistic goes on in cleartext");
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.layer = Err(LayerError::Handshake);
    rig.hear("220 mx\n");
    rig.hear(offer);
    rig.hear("220 go\n");
    assert_eq!((rig.closed, rig.failure(0, 0).1), (Some(CloseReason::Layer), Stage::StartTls));
}

/// A reply that someone in the middle put behind the 220 in cleartext must not answer a command inside TLS.
#[test]
fn octets_behind_the_starttls_reply_end_the_session() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 STARTTLS\n");
    rig.hear("220 go\n250-evil\n250 AUTH PLAIN\n");
    assert_eq!((rig.closed, rig.layer_asked), (Some(CloseReason::Protocol), false));
}

#[test]
fn login_failures_defer() {
    let config = Config { login: true, ..relay() };
    let mut rig = Rig2::new(config.clone(), vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    assert_eq!(rig.hear("250-mx\n250 AUTH PLAIN\n"), "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
    assert_eq!(rig.hear("334 \n"), "\r\n");
    rig.hear("535 5.7.8 no\n");
    assert_eq!(rig.failure(0, 0), (false, Stage::Auth, "535 5.7.8 no".into(), true));
    let mut rig = Rig2::new(config, vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250 mx\n");
    assert_eq!(rig.failure(0, 0).1, Stage::Auth);
}

#[test]
fn shutdown_before_the_first_message_and_between() {
    let mut client = Client::new(Arc::new(relay()), None);
    client.shutdown();
    assert!(matches!(client.poll_output(epoch(), 0), Output::Close(CloseReason::Quit)));
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n"), message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 PIPELINING\n");
    rig.client.shutdown();
    rig.hear("250 ok\n250 ok\n354 go\n");
    assert_eq!(rig.hear("250 ok\n"), "QUIT\r\n");
    assert_eq!((rig.reports.len(), rig.messages.len()), (1, 1));
}

/// A connection is left when it is fit for another message, and taken up again much later.
#[test]
fn a_connection_is_kept_between_messages() {
    for offer in ["250-mx\n250 PIPELINING\n", "250 mx\n"] {
        let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
        rig.leave = true;
        rig.hear("220 mx\n");
        rig.hear(offer);
        let refused = if offer.contains("PIPELINING") { "250 ok\n550 no\n503 no\n" } else { "250 ok\n" };
        rig.hear(refused);
        if rig.reports.is_empty() {
            assert_eq!(rig.hear("550 no\n"), "RSET\r\n");
        }
        assert_eq!((rig.reports.len(), rig.ready), (1, 0), "the transaction is still open");
        assert_eq!(rig.hear("250 reset\n"), "");
        assert_eq!(rig.ready, 1);
        rig.messages.push_back(message(&["c@d"], "y\r\n"));
        rig.now += Duration::from_secs(86_400);
        rig.run();
        assert!(rig.said.starts_with("MAIL FROM:<from@a.example>\r\n"), "{}", rig.said);
        assert_eq!(rig.closed, None);
        // The server had ended it meanwhile: the message is told of that, for another connection.
        rig.client.handle_eof();
        rig.run();
        assert_eq!(rig.failure(1, 0), (false, Stage::Mail, "451 4.4.2 Connection lost".into(), false));
    }
    // RFC 9422 §4: one that takes no further message is not kept.
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    rig.leave = true;
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250-LIMITS MAILMAX=1\n250 PIPELINING\n");
    rig.hear("250 ok\n250 ok\n354 go\n");
    assert_eq!((rig.hear("250 ok\n"), rig.ready), ("QUIT\r\n".into(), 0));
}

/// Our client and our server over an in-memory pipe of `step` octets at a time.
fn together(client: Config, server: smtp_proto::Config, messages: Vec<(Outgoing, Bytes)>, step: usize) -> (Rig2, Rig) {
    let mut client = Rig2::new(client, messages);
    client.hold_layer = true;
    let mut server = Rig::new(server);
    let (mut to_client, mut to_server) = (VecDeque::new(), VecDeque::new());
    for _ in 0..1_000_000 {
        to_client.extend(std::mem::take(&mut server.said).into_bytes());
        to_server.extend(std::mem::take(&mut client.said).into_bytes());
        if client.layer_asked && to_client.is_empty() && to_server.is_empty() {
            client.layer_asked = false;
            client.client.layered(Ok(LayerInfo::new()));
            client.run();
            continue;
        }
        let before = (to_client.len(), to_server.len());
        for (pipe, is_client) in [(&mut to_client, true), (&mut to_server, false)] {
            let piece: Vec<u8> = pipe.iter().copied().take(step).collect();
            let wait = if is_client { client.wait } else { server.wait };
            if piece.is_empty() || !wait.is_some_and(|wait| wait.input) {
                continue;
            }
            let taken = match is_client {
                true => client.client.handle_input(&piece),
                false => server.server.handle_input(&piece),
            };
            pipe.drain(..taken);
            match is_client {
                true => client.run(),
                false => server.run(),
            }
        }
        let idle = before == (to_client.len(), to_server.len());
        if idle && client.said.is_empty() && server.said.is_empty() {
            if client.closed.is_some() && server.closed.is_some() {
                return (client, server);
            }
            if client.closed.is_some() {
                server.eof();
            } else if server.closed.is_some() {
                client.client.handle_eof();
                client.run();
            } else {
                // Nothing moves: time does.
                let deadlines = [client.wait, server.wait].into_iter().flatten().filter_map(|wait| wait.deadline);
                let next = deadlines.min().unwrap();
                (client.now, server.now) = (next.max(client.now), next.max(server.now));
                client.run();
                server.run();
            }
        }
    }
    panic!("client and server never end");
}

#[test]
fn our_client_and_our_server() {
    let text = ".\r\n..x\r\n.y\r\nzo\u{eb}\r\n".repeat(5000);
    for step in [1, 7, 4096, 1 << 20] {
        let text = if step == 1 { text.get(..170).unwrap() } else { &text };
        let messages = vec![
            message(&["a@b.example", "gone@b.example", "c@d.example"], text),
            message(&["gone@b.example"], "never\r\n"),
            message(&["later@b.example", "\"quoted local\"@b.example"], "second\r\n"),
        ];
        let server = smtp_proto::Config {
            starttls: true,
            cleartext_auth: false,
            extensions: Extensions::all(),
            ..smtp_proto::Config::submission("mx.example.org", ["PLAIN"])
        };
        let config = Config { login: true, tls: TlsPolicy::Required, ..relay() };
        let (client, server) = together(config, server, messages, step);
        assert_eq!(client.closed, Some(CloseReason::Quit), "{:?}", client.reports);
        assert_eq!(server.closed, Some(CloseReason::Quit));
        assert_eq!(server.layers, 1);
        assert_eq!(server.committed, [text.as_bytes().to_vec(), b"second\r\n".to_vec()], "step {step}");
        assert!(matches!(client.reports[0][..], [Outcome::Delivered(_), Outcome::Failed(_), Outcome::Delivered(_)]));
        assert!(matches!(client.reports[1][..], [Outcome::Failed(_)]));
        assert!(matches!(client.reports[2][..], [Outcome::Deferred(_), Outcome::Delivered(_)]));
        assert_eq!(server.server.origin().identity.as_deref(), Some("user"));
    }
}

#[test]
fn our_lmtp_client_and_our_lmtp_server() {
    let messages = vec![message(&["a@b.example", "gone@b.example", "full@d.example", "z@d.example"], "text\r\n")];
    let config = Config { lmtp: true, ..relay() };
    let (client, _) = together(config, smtp_proto::Config::lmtp("mx.example.org"), messages, 11);
    use Outcome::{Deferred, Delivered, Failed};
    assert!(
        matches!(client.reports[0][..], [Delivered(_), Failed(_), Deferred(_), Delivered(_)]),
        "{:?}",
        client.reports
    );
}

#[test]
fn many_recipients_in_bounded_flights() {
    let names: Vec<String> = (0..500).map(|n| format!("user{n}@b.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (client, server) = together(relay(), common::relay(), vec![message(&names, "text\r\n")], 1000);
    assert!(client.reports[0].iter().all(|outcome| matches!(outcome, Outcome::Delivered(_))));
    assert_eq!(server.committed.len(), 5, "a hundred in a transaction");
}

/// RFC 5321 §4.3.2: a server may answer with codes nobody has heard of; the first digit says what they mean.
#[test]
fn unknown_codes_count_by_their_first_digit() {
    let mut rig = Rig2::new(relay(), vec![message(&["a@b"], "x\r\n")]);
    assert_eq!(rig.hear("229 new\n"), "EHLO client.example\r\n");
    rig.hear("259-new\n259 PIPELINING\n");
    assert!(rig.hear("258 ok\n258 ok\n359 go\n").ends_with("x\r\n.\r\n"));
    assert_eq!(rig.hear("299 ok\n"), "QUIT\r\n");
    assert!(matches!(rig.reports[0][0], Outcome::Delivered(_)));
}

/// RFC 4954 §5: who logs in to a next hop does not vouch for who wrote the message.
#[test]
fn a_client_that_logged_in_vouches_for_nobody() {
    let config = Config { login: true, ..relay() };
    let mut rig = Rig2::new(config, vec![message(&["a@b"], "x\r\n")]);
    rig.hear("220 mx\n");
    rig.hear("250-mx\n250 AUTH PLAIN\n");
    assert_eq!(rig.hear("235 2.7.0 ok\n"), "MAIL FROM:<from@a.example> AUTH=<>\r\n");
}

/// RFC 4954 §4: an AUTH line longer than 512 octets is refused by servers that keep to the limit: a token of a
/// thousand octets is sent behind the first, empty challenge instead.
#[test]
fn a_long_initial_response_waits_for_its_challenge() {
    let config = Config { login: true, ..relay() };
    let begin = |first: &str| {
        let mut rig = Rig2::new(config.clone(), vec![message(&["a@b"], "x\r\n")]);
        rig.long_token = true;
        rig.hear("220 mx\n");
        assert_eq!(rig.hear("250-mx\n250 AUTH PLAIN\n"), "AUTH PLAIN\r\n");
        let said = rig.hear(first);
        (rig, said)
    };
    let (mut rig, said) = begin("334 \n");
    assert_eq!((said.len(), said.get(..4)), (1336 + 2, Some("dHR0")));
    assert!(rig.hear("235 2.7.0 ok\n").starts_with("MAIL"));
    let (_, said) = begin("334 c3VycHJpc2U=\n");
    assert_eq!(said, "*\r\n", "the token is not for whoever asks something else");
}
