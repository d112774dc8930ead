//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Each takes any octets, panics when an invariant breaks and returns otherwise. Not part of the public contract.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailstore_trait::date::Timestamp;
use mailstore_trait::session::{LayerInfo, Output, Peer, Session};

use crate::address::{Address, Grammar};
use crate::client::{self, Client};
use crate::command::Command;
use crate::config::{Ask, Config, Extensions};
use crate::extension::etrn;
use crate::reply::{EnhancedCode, ReplyReader};
use crate::request::{Committed, Decision, Envelope, Recipient, Request, Sender, Stepped};
use crate::server::Server;

/// A command line: what parses stays what it was when it is written and parsed again.
pub fn smtp_command(data: &[u8]) {
    let grammar = Grammar::default().with_utf8(true);
    for extensions in [Extensions::all(), Extensions::empty()] {
        match Command::parse(data, extensions, grammar) {
            Ok(Command::Mail(path, _)) => {
                if let Some(address) = path.to_address() {
                    again(&address, grammar);
                }
            }
            Ok(Command::Rcpt(path, _)) => again(&path.to_address(), grammar),
            _ => {}
        }
    }
}

fn again(address: &Address, grammar: Grammar) {
    assert_eq!(Address::parse(address.as_str(), grammar).as_ref(), Ok(address));
    assert!(address.local_part().len() <= grammar.local_part);
    let _ = address.local_part_unquoted();
}

/// A server's replies: bounded, and one value each.
pub fn smtp_reply(data: &[u8]) {
    let mut reader = ReplyReader::default();
    for line in data.split(|octet| *octet == b'\n') {
        match reader.line(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(Some(reply)) => {
                assert!((200..600).contains(&reply.code) && !reply.lines.is_empty());
                let value = reply.to_reply();
                assert!(value.enhanced.is_none_or(|code| u16::from(code.class) == value.code / 100));
                if let Some(code) = value.enhanced {
                    assert_eq!(EnhancedCode::split(&code.to_string()).map(|(same, _)| same), Some(code));
                }
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// A conversation with a server: the first octets choose the role and how the input is cut.
pub fn smtp_server(data: &[u8]) {
    let Some(([role, step], script)) = data.split_first_chunk::<2>() else { return };
    let config = match role % 3 {
        0 => Config::new("mx.example.org"),
        1 => Config::submission("mx.example.org", ["PLAIN", "LOGIN"]),
        _ => Config::lmtp("mx.example.org"),
    };
    let config = Config {
        extensions: Extensions::all(),
        starttls: role & 8 != 0,
        cleartext_auth: true,
        ask: Ask::all(),
        ..config
    };
    let window = config.limits.window;
    let trusted = if role & 32 != 0 { Extensions::all() } else { Extensions::empty() };
    let server = Server::new(Arc::new(config), Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 25))));
    let mut server = server.at(Timestamp::from_seconds(1_795_000_000)).trust(trusted);
    let decline = role & 16 != 0;
    let mut commits = 0_u32;
    run(&mut server, script, usize::from(*step), window, |request| {
        if decline {
            return request.decline();
        }
        match request {
            Request::Connect(pending) => pending.answer(Decision::Accepted),
            Request::Hello(pending) => pending.answer(Decision::Accepted),
            Request::MailFrom(pending) => pending.answer(Decision::Accepted),
            Request::RcptTo(pending) => {
                let decisions = pending.query.accept_all();
                pending.answer(decisions)
            }
            Request::BodyOpen(pending) => pending.answer(Decision::Accepted),
            Request::BodyChunk(pending) => {
                assert!(!pending.query.is_empty());
                pending.answer(Decision::Accepted)
            }
            Request::Commit(pending) => {
                assert!(!pending.query.envelope.recipients.is_empty());
                commits += 1;
                pending.answer(Committed::Accepted(commits.to_string()))
            }
            Request::ExtensionCommand(pending) => {
                let started = etrn::started(pending.query.arguments.len() as u64);
                pending.answer(started)
            }
            Request::SaslStep(pending) => {
                let stepped = match pending.query.first {
                    true => Stepped::Challenge(Bytes::from_static(b"more")),
                    false => Stepped::Done { identity: "user".into(), last: pending.query.octets.clone() },
                };
                pending.answer(stepped)
            }
            other => other.decline(),
        }
    });
}

/// A conversation with a client: the first octets choose what it is to do and how the input is cut.
pub fn smtp_client(data: &[u8]) {
    use client::request::{Credentials, Next, Outgoing, Page, Request, Response};
    let Some(([kind, step], script)) = data.split_first_chunk::<2>() else { return };
    let mut config = client::Config::new("client.example");
    (config.lmtp, config.login) = (kind & 1 != 0, kind & 2 != 0);
    if kind & 4 != 0 {
        config.limits.page = 3;
    }
    let window = config.limits.window;
    let mut client = Client::new(Arc::new(config), None);
    let (mut handed, mut reported) = (0_usize, 0_usize);
    run(&mut client, script, usize::from(*step), window, |request| match request {
        Request::NextMessage(pending) if handed < 3 => {
            assert_eq!(handed, reported, "every message is reported before the next");
            handed += 1;
            let to = ["a@b.example", "\"c d\"@e.example"];
            let parsed = |text: &&str| Address::parse(text, Grammar::default()).ok().map(Recipient::new);
            let envelope = Envelope::new(Sender::new(None), to.iter().filter_map(parsed).collect());
            pending.answer(Next::Send(Box::new(Outgoing { envelope, size: 7 })))
        }
        Request::Login(pending) => {
            pending.answer(Credentials::Mechanism { name: "PLAIN".into(), initial: Some(Bytes::new()) })
        }
        Request::Challenge(pending) => {
            let octets = pending.query.octets.clone();
            pending.answer(Response::Octets(octets))
        }
        Request::Succeeded(pending) => pending.answer(true),
        Request::ReadBody(pending) => {
            let left = usize::try_from(pending.query.offset).ok().and_then(|at| b".\r\n\n.\rx".get(at..));
            let page: Vec<u8> = left.unwrap_or_default().iter().copied().take(pending.query.max).collect();
            pending.answer(if page.is_empty() { Page::End } else { Page::Octets(page.into()) })
        }
        Request::Report(pending) => {
            assert_eq!(pending.query.outcomes.len(), 2);
            reported += 1;
            pending.answer(())
        }
        other => other.decline(),
    });
    assert_eq!(handed, reported, "every message is reported");
}

/// What a domain says of its TLS: an MTA-STS policy, the TXT records of MTA-STS and TLSRPT.
pub fn smtp_tls_policy(data: &[u8]) {
    use crate::delivery::{sts, tlsrpt};
    if let Ok(policy) = sts::Policy::parse(data) {
        let written: Vec<u8> = policy.lines.join("\n").into();
        let again = sts::Policy::parse(&written);
        assert!(
            again.is_ok_and(|again| (again.mode, again.max_age, again.mx) == (policy.mode, policy.max_age, policy.mx))
        );
    }
    let text = String::from_utf8_lossy(data);
    if let Some(id) = sts::policy_id(text.lines()) {
        assert_eq!(sts::policy_id([format!("v=STSv1; id={id};").as_str()]), Some(id));
    }
    for uri in tlsrpt::destinations(text.lines()) {
        assert!(uri.starts_with("https:") || uri.starts_with("mailto:"));
        let _ = tlsrpt::mailbox(&uri);
    }
}

/// A TLSA record and a certificate: three octets of numbers, the length of the data, the data, then the certificate.
pub fn smtp_tlsa(data: &[u8]) {
    use crate::delivery::dane::{Meant, Tlsa, meant, public_key_info};
    let Some(([usage, selector, matching, length], rest)) = data.split_first_chunk::<4>() else { return };
    let (data, certificate) = rest.split_at(usize::from(*length).min(rest.len()));
    let record = Tlsa { usage: *usage, selector: *selector, matching: *matching, data: data.to_vec() };
    let is_meant = meant(std::slice::from_ref(&record), &[certificate]) != Meant::None;
    assert_eq!(is_meant, record.matches(certificate));
    if let Some(info) = public_key_info(certificate) {
        // What was cut out means the certificate it was cut out of.
        let exact = Tlsa { usage: 3, selector: 1, matching: 0, data: info.to_vec() };
        assert_eq!(meant(&[exact], &[certificate]), Meant::EndEntity);
    }
}

/// A destination: a name that was understood stays what it is when it is read again.
pub fn smtp_destination(data: &[u8]) {
    use crate::delivery::Domain;
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(domain) = Domain::parse(text) {
        let written = domain.to_string();
        assert!(written.is_ascii() && written.len() <= 255);
        assert_eq!(Domain::parse(&written), Ok(domain));
    }
}

/// Feeds a session in steps, then ends its input and lets time pass: it must end.
fn run<S: Session>(
    session: &mut S,
    script: &[u8],
    step: usize,
    window: usize,
    mut answer: impl FnMut(S::Request) -> S::Answered,
) {
    let Some(mut now) = origin() else { return };
    let mut left = script;
    let mut ended = false;
    for _ in 0..1_000_000 {
        match session.poll_output(now, 0) {
            Output::Request(request) => {
                let answered = answer(request);
                session.resume(answered);
            }
            Output::Layer(_) => session.layered(Ok(LayerInfo::new())),
            Output::Send(octets) => assert!(!octets.is_empty()),
            Output::Event(_) => {}
            Output::Wait(wait) => {
                if wait.input && !left.is_empty() {
                    let (piece, rest) = left.split_at(step.max(1).min(left.len()));
                    let taken = session.handle_input(piece);
                    assert!(taken > 0 && taken <= window, "input was promised room");
                    left = piece
                        .get(taken..)
                        .filter(|piece| !piece.is_empty())
                        .map_or(rest, |_| left.get(taken..).unwrap_or_default());
                } else if wait.input && !ended {
                    ended = true;
                    session.handle_eof();
                } else {
                    let deadline = wait.deadline.filter(|deadline| *deadline > now);
                    assert!(deadline.is_some() || wait.input, "a wait that nothing ends");
                    now = deadline.unwrap_or(now + Duration::from_secs(1));
                }
            }
            Output::Close(_) => return,
        }
    }
    panic!("the session never ends");
}

/// An instant to count from; its value is never looked at.
#[allow(clippy::disallowed_methods, clippy::unnecessary_wraps, reason = "there is no other way to make an Instant")]
fn origin() -> Option<Instant> {
    Some(Instant::now())
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
            for at in 0..seed.len() {
                run(&seed[..at]);
                for flip in [0x01, 0x20, 0x80] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    run(&other);
                }
            }
            seeds += 1;
        }
        assert!(seeds >= 5, "{target}: {seeds} seeds");
    }

    #[test]
    fn smtp_command_seeds_replay() {
        replay("smtp_command", smtp_command);
    }

    #[test]
    fn smtp_reply_seeds_replay() {
        replay("smtp_reply", smtp_reply);
    }

    #[test]
    fn smtp_server_seeds_replay() {
        replay("smtp_server", smtp_server);
    }

    #[test]
    fn smtp_client_seeds_replay() {
        replay("smtp_client", smtp_client);
    }

    #[test]
    fn smtp_tls_policy_seeds_replay() {
        replay("smtp_tls_policy", smtp_tls_policy);
    }

    #[test]
    fn smtp_tlsa_seeds_replay() {
        replay("smtp_tlsa", smtp_tlsa);
    }

    #[test]
    fn smtp_destination_seeds_replay() {
        replay("smtp_destination", smtp_destination);
    }
}
