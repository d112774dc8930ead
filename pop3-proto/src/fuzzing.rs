//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Each takes any octets, panics when an invariant breaks and returns otherwise. Not part of the public contract.

#![allow(clippy::disallowed_methods, reason = "there is no other way to make an Instant; its value is never looked at")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use mailstore_trait::id::{ItemId, Uid};
use mailstore_trait::sasl::{Credentials, Mechanism, Nonce, Secret};
use mailstore_trait::session::{CloseReason, LayerInfo, Output, Peer, Session};

use crate::client::{self, ChunkTaken, Client};
use crate::command;
use crate::config::Config;
use crate::maildrop::Message;
use crate::request::{
    Answered, Committed, LeaseRenewed, LoggedIn, MaildropOpened, MessageRead, Opened, PageRead, Released, Request,
    SaslStepped,
};
use crate::server::Server;

/// Any octets as a command line: errors lie inside it, and what was parsed parses again however it is spelt.
pub fn pop3_command(octets: &[u8]) {
    match command::parse(octets) {
        Ok(parsed) => {
            // Keywords are the same in any case; arguments are not touched.
            let mut lower = octets.to_vec();
            let keyword = lower.iter().position(|&octet| octet == b' ').unwrap_or(lower.len());
            lower.iter_mut().take(keyword).for_each(|octet| octet.make_ascii_lowercase());
            assert_eq!(command::parse(&lower), Ok(parsed));
        }
        Err(error) => assert!(error.offset <= octets.len()),
    }
}

/// Any octets as what a client says: the session ends, and says the same however they are cut.
pub fn pop3_server(octets: &[u8]) {
    let whole = play(server(), octets, usize::MAX, answer_well);
    let cut = play(server(), octets, 1, answer_well);
    // What lies behind STLS when it is executed depends on how the octets were cut.
    if !whole.layered && !cut.layered && whole.closed != CloseReason::Protocol {
        assert_eq!(whole, cut);
    }
    play(server(), octets, 7, |at, request| if at % 3 == 2 { request.decline() } else { answer_well(at, request) });
}

/// Any octets as what a server says: the session ends, and hears the same however they are cut.
pub fn pop3_client(octets: &[u8]) {
    let take = |_, request| match request {
        client::Request::BodyChunk(chunk) => chunk.answer(ChunkTaken::Taken),
    };
    let whole = play(client(), octets, usize::MAX, take);
    let cut = play(client(), octets, 1, take);
    if !whole.layered && !cut.layered && whole.closed != CloseReason::Protocol {
        assert_eq!(whole, cut);
    }
    play(client(), octets, 7, |_, request| request.decline());
}

/// What a session did.
#[derive(Debug, PartialEq, Eq)]
struct Played {
    sent: Vec<u8>,
    layered: bool,
    closed: CloseReason,
}

/// Feeds a session pieces of at most `cut` octets and lets time pass until it ends.
fn play<S: Session>(
    mut session: S,
    octets: &[u8],
    cut: usize,
    answer: impl Fn(usize, S::Request) -> S::Answered,
) -> Played {
    let mut played = Played { sent: Vec::new(), layered: false, closed: CloseReason::Eof };
    let (mut now, mut left, mut ended, mut questions) = (Instant::now(), octets, false, 0);
    for _ in 0..1_000_000 {
        match session.poll_output(now, 0) {
            Output::Send(octets) => played.sent.extend_from_slice(&octets),
            Output::Request(request) => {
                session.resume(answer(questions, request));
                questions += 1;
            }
            Output::Event(_) => {}
            Output::Layer(_) => {
                played.layered = true;
                session.layered(Ok(LayerInfo::new()));
            }
            Output::Close(reason) => {
                played.closed = reason;
                return played;
            }
            Output::Wait(wait) => {
                let mut buf = session.input_buf();
                let room = buf.remaining_mut().min(cut).min(left.len());
                if !wait.input || (left.is_empty() && ended) {
                    now = wait.deadline.map_or(now + Duration::from_secs(1), |deadline| deadline.max(now));
                } else if let Some((piece, rest)) = left.split_at_checked(room).filter(|(piece, _)| !piece.is_empty()) {
                    buf.put_slice(piece);
                    left = rest;
                } else {
                    assert!(left.is_empty(), "a session that reads has room");
                    session.handle_eof();
                    ended = true;
                }
            }
        }
    }
    panic!("a session that never ends");
}

fn server() -> Server {
    let mut config = Config::new("host");
    config.allow_cleartext = true;
    config.tls = true;
    config.mechanisms = vec![Mechanism::Plain, Mechanism::Login];
    config.limits.chunk = 16;
    let peer = Peer::new(std::net::SocketAddr::from(([192, 0, 2, 1], 1)));
    Server::new(Arc::new(config), &peer).with_apop("<1@host>".to_owned())
}

const MESSAGES: [&[u8]; 3] = [b"A: b\r\n\r\n.c\r\n", ".\u{e9}: x\r\n\r\n".as_bytes(), b".\n.\r"];

fn answer_well(_: usize, request: Request) -> Answered {
    let accepted = || LoggedIn::Accepted { user: String::new() };
    match request {
        Request::Login(pending) => pending.answer(accepted()),
        Request::Apop(pending) => pending.answer(accepted()),
        Request::SaslStep(pending) if pending.query.octets.is_none() => {
            pending.answer(SaslStepped::Challenge(Bytes::new()))
        }
        Request::SaslStep(pending) => pending.answer(SaslStepped::Over(accepted())),
        Request::OpenMaildrop(pending) => pending.answer(MaildropOpened::Opened(Opened::new(MESSAGES.len()))),
        Request::MaildropPage(pending) => {
            let numbered = (1u32..).zip(MESSAGES);
            let messages = numbered.filter_map(|(number, message)| {
                let size = u64::try_from(message.len()).ok()?;
                Some(Message::new(ItemId::new(u64::from(number))?, 0, Uid::new(number)?, size))
            });
            pending.answer(PageRead::Page { messages: messages.collect(), more: false })
        }
        Request::RenewLease(pending) => pending.answer(LeaseRenewed::Renewed),
        Request::ReadMessage(pending) => {
            let index = usize::try_from(pending.query.uid.value()).unwrap_or(0).wrapping_sub(1);
            let message = MESSAGES.get(index).copied().unwrap_or_default();
            let from = usize::try_from(pending.query.offset).unwrap_or(0).min(message.len());
            let to = from.saturating_add(pending.query.max).min(message.len());
            let octets = message.get(from..to).unwrap_or_default();
            pending.answer(MessageRead::Octets(Bytes::from_static(octets)))
        }
        Request::Commit(pending) => pending.answer(Committed::Done),
        Request::Release(pending) => pending.answer(Released),
    }
}

fn client() -> Client {
    let credentials = Credentials::Password { user: "u".into(), password: Secret::from("p"), authzid: None };
    let mut config = client::Config::new(credentials, Nonce::from_random([7; 18]));
    config.stls = client::Stls::Opportunistic;
    config.allow_cleartext = true;
    let mut client = Client::new(Arc::new(config), None);
    for command in [client::Command::Stat, client::Command::Uidl, client::Command::Retr(1), client::Command::Quit] {
        client.notify(command);
    }
    client
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            run(&seed);
            // Cut short, and with an octet another: in many places of short seeds, in few of long ones.
            let places = (30_000 / (seed.len() + 1)).clamp(2, 200);
            for at in (0..seed.len()).step_by(seed.len() / places + 1) {
                run(&seed[..at]);
                let mut other = seed.clone();
                other[at] ^= 0x0d;
                run(&other);
            }
            seeds += 1;
        }
        assert!(seeds >= 10, "{target}: {seeds} seeds");
    }

    #[test]
    fn pop3_command_seeds_replay() {
        replay("pop3_command", pop3_command);
    }

    #[test]
    fn pop3_server_seeds_replay() {
        replay("pop3_server", pop3_server);
    }

    #[test]
    fn pop3_client_seeds_replay() {
        replay("pop3_client", pop3_client);
    }
}
