//! What the standards demand of a server and earlier versions of this one lacked, section by section.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::result_large_err)]

mod common;

use std::time::Duration;

use common::{Rig, peer, relay};
use mailstore_trait::session::{CloseReason, LayerInfo, Peer, Session};
use smtp_proto::Request;
use smtp_proto::config::{Ask, Config, Extensions};
use smtp_proto::reply::{self, EnhancedCode, Reply};
use smtp_proto::request::{Decision, Looked};

fn ready(config: Config) -> Rig {
    let mut rig = Rig::new(config);
    rig.say("EHLO client.example\n");
    rig.asked.clear();
    rig
}

fn offered(rig: &mut Rig) -> Vec<String> {
    let said = rig.say("EHLO client.example\n");
    said.lines().skip(1).map(|line| line[4..].to_owned()).collect()
}

/// RFC 5321 §3.1 and §4.1.1.10: a client that is turned away may still say QUIT, and hears 503 to all else. It was cut
/// off behind the 554.
#[test]
fn a_client_that_is_turned_away_may_quit() {
    let refusing = |reply: Reply| {
        let mut rig =
            Rig::unpolled(Config { ask: Ask::CONNECT, ..relay() }).answering(move |_, request| match request {
                Request::Connect(pending) => Ok(Some(pending.answer(Decision::Refused(reply.clone())))),
                other => Err(other),
            });
        rig.run();
        rig
    };
    let mut rig = refusing(Reply::new(554, EnhancedCode::new(5, 7, 1), "Not from there"));
    assert_eq!((rig.said.as_str(), rig.closed), ("554 Not from there\r\n", None), "no code in a greeting");
    assert_eq!(rig.codes("EHLO x\nMAIL FROM:<a@b>\nRSET\nQUIT\n"), [503, 503, 503, 221]);
    assert_eq!(rig.closed, Some(CloseReason::Quit));
    let rig = refusing(reply::BUSY);
    assert_eq!(rig.said, "451 Busy, try again later\r\n");
    let mut rig = refusing(Reply::new(554, EnhancedCode::new(5, 7, 1), "Not from there"));
    let said = rig.codes(&"NOOP\n".repeat(100));
    assert_eq!((said.len(), said.last(), rig.closed), (21, Some(&421), Some(CloseReason::Limit)));
}

/// RFC 5321 §4.1.4: a hello that is refused changes nothing. It used to forget the transaction and the name given before.
#[test]
fn a_refused_hello_changes_nothing() {
    let config = Config { ask: Ask::HELLO, ..relay() };
    let mut rig = ready(config).answering(|_, request| match request {
        Request::Hello(pending) if pending.query.origin.hello == "evil.example" => {
            Ok(Some(pending.answer(Decision::Refused(reply::RELAY_DENIED))))
        }
        other => Err(other),
    });
    assert_eq!(rig.codes("MAIL FROM:<a@b>\n"), [250]);
    assert_eq!(rig.say("EHLO evil.example\n"), "550 Relaying denied\r\n", "no code in what answers EHLO");
    assert_eq!(rig.server.origin().hello, "client.example");
    assert_eq!(rig.codes("EHLO two words\nLHLO x\nRCPT TO:<c@example.org>\n"), [501, 500, 250]);
}

/// The same between chunks: what is refused must not have dropped the message already.
#[test]
fn a_refused_hello_leaves_the_chunks() {
    let mut rig = ready(relay());
    let script =
        "MAIL FROM:<a@b>\nRCPT TO:<c@example.org>\nBDAT 3\na\nLHLO x\nEHLO two words\nSTARTTLS\nBDAT 3 LAST\nb\n";
    assert_eq!(rig.codes(script), [250, 250, 250, 500, 501, 502, 250]);
    assert_eq!(rig.committed, [b"a\r\nb\r\n".to_vec()]);
    let script = "MAIL FROM:<a@b>\nRCPT TO:<c@example.org>\nBDAT 3\na\nRSET\nBDAT 3 LAST\nb\n";
    assert_eq!(rig.codes(script), [250, 250, 250, 250, 503]);
    let script = "MAIL FROM:<a@b>\nRCPT TO:<c@example.org>\nBDAT 3\na\nEHLO x\nDATA\n";
    assert_eq!(rig.codes(script), [250, 250, 250, 250, 503]);
    assert_eq!(rig.committed.len(), 1);
    assert_eq!(rig.asked.iter().filter(|asked| *asked == "Abandon").count(), 2);
}

/// RFC 5321 §4.1.1.1 and §3.5.2: what not every server has is listed, and HELP names nothing that does not run.
#[test]
fn what_runs_is_listed_and_nothing_else() {
    let mut rig = ready(relay());
    let lines = offered(&mut rig);
    assert!(lines.contains(&"HELP".to_owned()) && !lines.contains(&"EXPN".to_owned()), "{lines:?}");
    assert_eq!(rig.say("HELP\n"), "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP BDAT\r\n");
    let mut rig = ready(Config { ask: Ask::EXPAND, extensions: Extensions::empty(), starttls: true, ..relay() });
    assert_eq!(offered(&mut rig), ["STARTTLS", "EXPN", "HELP"]);
    assert!(rig.say("HELP\n").ends_with("VRFY HELP EXPN STARTTLS\r\n"));
    // RFC 6531 §3.1: SMTPUTF8 brings 8BITMIME with it.
    let mut rig = ready(Config { extensions: Extensions::SMTPUTF8, ..relay() });
    assert_eq!(offered(&mut rig), ["8BITMIME", "SMTPUTF8", "HELP"]);
}

/// RFC 5802 §6, RFC 4422 appendix A: a mechanism that cannot succeed on this stream is not offered on it.
#[test]
fn mechanisms_are_offered_where_they_can_succeed() {
    let offer = |tls: Option<LayerInfo>, names: &[&str]| {
        let config = Config { cleartext_auth: true, ..Config::submission("mx.example.org", names.iter().copied()) };
        let peer = tls.map_or_else(peer, |tls| Peer::with_tls(peer().address, tls));
        let mut rig = Rig::with_peer(config, peer);
        let lines = offered(&mut rig);
        let auth = lines.iter().find(|line| line.starts_with("AUTH")).cloned().unwrap_or_default();
        (auth, rig.codes("AUTH SCRAM-SHA-256-PLUS\n")[0])
    };
    let names = ["SCRAM-SHA-256-PLUS", "EXTERNAL", "SCRAM-SHA-256"];
    assert_eq!(offer(None, &names), ("AUTH SCRAM-SHA-256".into(), 504));
    assert_eq!(offer(None, &names[..2]), (String::new(), 504));
    assert_eq!(offer(Some(LayerInfo::new()), &names), ("AUTH SCRAM-SHA-256".into(), 504));
    let mut tls = LayerInfo::new();
    tls.exporter = Some([1; 32]);
    assert_eq!(offer(Some(tls.clone()), &names).0, "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256");
    tls.peer_certificate = Some("certificate".into());
    assert_eq!(offer(Some(tls), &names).0, "AUTH SCRAM-SHA-256-PLUS EXTERNAL SCRAM-SHA-256");
}

/// RFC 3207 §4.2: a login made in clear is forgotten when TLS comes up; it went on to permit relaying.
#[test]
fn starttls_forgets_a_login_made_in_clear() {
    let config = Config { starttls: true, cleartext_auth: true, ..Config::submission("mx.example.org", ["PLAIN"]) };
    let mut rig = ready(config);
    assert_eq!(rig.codes("AUTH PLAIN AHVzZXIAc2VjcmV0\n"), [235]);
    assert!(rig.server.origin().identity.is_some());
    rig.say("STARTTLS\n");
    assert!(rig.server.origin().identity.is_none());
    assert_eq!(rig.codes("EHLO x\nMAIL FROM:<a@b>\nAUTH PLAIN AHVzZXIAc2VjcmV0\n"), [250, 530, 235]);
}

/// RFC 2033 §4.2: DATA without a recipient is 503 in LMTP. It was 554, as in SMTP.
#[test]
fn lmtp_data_without_recipients_is_out_of_sequence() {
    let mut rig = Rig::new(Config::lmtp("mx.example.org"));
    let script = "LHLO x\nMAIL FROM:<a@b>\nRCPT TO:<gone@example.org>\nDATA\nBDAT 2 LAST\n\n";
    assert_eq!(rig.codes(script), [250, 250, 550, 503, 503]);
}

/// RFC 4954 §5: the decoded value is a mailbox or `<>`.
#[test]
fn auth_of_mail_is_a_mailbox() {
    let config = Config { cleartext_auth: true, mechanisms: vec!["PLAIN".into()], ..relay() };
    let mut rig = ready(config);
    for (value, code) in [("<>", 250), ("e+3Dmc2@example.com", 250), ("nobody", 501), ("+3C", 501), ("a@b@c", 501)] {
        assert_eq!(rig.codes(&format!("MAIL FROM:<a@b> AUTH={value}\nRSET\n")), [code, 250], "{value}");
    }
}

/// RFC 6531 §3.7.4.2: VRFY and EXPN take SMTPUTF8; without it neither side may use more than ASCII.
#[test]
fn look_ups_in_utf8() {
    let config = Config { ask: Ask::VERIFY | Ask::EXPAND, extensions: Extensions::SMTPUTF8, ..relay() };
    let answer = |asked: &mut Vec<String>, request| match request {
        Request::Verify(pending) => {
            asked.push(pending.query.text.clone());
            Ok(Some(pending.answer(Looked::Found(vec!["Zo\u{eb} <zo\u{eb}@example.org>".into()]))))
        }
        other => Err(other),
    };
    let mut rig = ready(config).answering(answer);
    assert_eq!(rig.say("VRFY zoe SMTPUTF8\n"), "250 2.1.5 Zo\u{eb} <zo\u{eb}@example.org>\r\n");
    assert_eq!(rig.say("VRFY zoe\n").get(..9), Some("252 2.6.8"));
    assert_eq!(rig.codes("VRFY zo\u{eb}\nVRFY zo\u{eb} smtputf8\n"), [501, 250]);
    assert_eq!(rig.asked, ["zoe", "zoe", "zo\u{eb}"]);
    let mut rig = ready(Config { ask: Ask::VERIFY, ..relay() });
    assert_eq!(rig.say("VRFY zoe SMTPUTF8\n"), "250 2.1.5 A User <zoe SMTPUTF8@example.org>\r\n");
}

/// RFC 5321 §4.1.1.10: what a client had pipelined behind a reply that could not be sent is not run, and a message that
/// was whole but not yet taken is not taken: the client would send it again.
#[test]
fn a_reset_takes_no_more_messages() {
    let mut rig = ready(relay()).answering(|_, request| match request {
        Request::BodyChunk(_) => Ok(None),
        other => Err(other),
    });
    rig.say("MAIL FROM:<a@b>\nRCPT TO:<c@example.org>\nDATA\ntext\n.\nMAIL FROM:<d@e>\n");
    rig.server.handle_reset();
    rig.run();
    assert_eq!(rig.closed, None, "the chunk is still out");
    rig.pass(Duration::from_secs(400));
    assert!(rig.closed.is_some() && rig.committed.is_empty());
    let mut rig = ready(relay());
    rig.say("MAIL FROM:<a@b>\nRCPT TO:<c@example.org>\nDATA\ntext\n");
    rig.server.handle_reset();
    rig.run();
    assert_eq!(rig.closed, Some(CloseReason::Eof));
    assert!(!rig.asked.iter().any(|asked| asked.starts_with("Commit")));
}
