//! The server's conversations: what RFC 5321 appendix D shows, every refusal, and what attackers try.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::result_large_err)]

mod common;

use std::time::Duration;

use common::{Rig, codes, peer, relay};
use mailstore_trait::session::{CloseReason, LayerInfo, Peer, Session};
use smtp_proto::Request;
use smtp_proto::config::{Ask, Config, Extensions, LineEnds};
use smtp_proto::event::{Event, Violation};
use smtp_proto::reply;
use smtp_proto::request::{Committed, Decision};

fn ready(config: Config) -> Rig {
    let mut rig = Rig::new(config);
    rig.said.clear();
    let hello = if rig.server.origin().hello.is_empty() { "EHLO client.example\n" } else { "" };
    rig.say(hello);
    rig.asked.clear();
    rig
}

fn envelope(config: Config) -> Rig {
    let mut rig = ready(config);
    assert_eq!(rig.codes("MAIL FROM:<a@b.example>\nRCPT TO:<c@example.org>\n"), [250, 250]);
    rig
}

/// RFC 5321 appendix D.1: a typical transaction.
#[test]
fn typical_transaction() {
    let mut rig = Rig::new(Config::new("foo.com"));
    assert_eq!(rig.said, "220 foo.com ESMTP\r\n");
    let said = rig.say("EHLO bar.com\n");
    assert!(said.starts_with("250-foo.com greets bar.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n"), "{said}");
    assert!(said.contains("\r\n250-HELP\r\n") && said.ends_with("250 SIZE 52428800\r\n"), "{said}");
    assert_eq!(rig.say("MAIL FROM:<Smith@bar.com>\n"), "250 2.1.0 Sender OK\r\n");
    assert_eq!(rig.say("RCPT TO:<Jones@foo.com>\n"), "250 2.1.5 Recipient OK\r\n");
    assert_eq!(rig.say("RCPT TO:<gone@foo.com>\n"), "550 5.1.1 No such recipient\r\n");
    assert_eq!(rig.say("RCPT TO:<Brown@foo.com>\n"), "250 2.1.5 Recipient OK\r\n");
    assert_eq!(rig.say("DATA\n"), "354 Start mail input; end with <CRLF>.<CRLF>\r\n");
    assert_eq!(rig.say("Blah blah blah...\n...etc. etc. etc.\n.\n"), "250 2.0.0 taken\r\n");
    assert_eq!(rig.say("QUIT\n"), "221 2.0.0 Bye\r\n");
    assert_eq!(rig.closed, Some(CloseReason::Quit));
    assert_eq!(rig.committed, [b"Blah blah blah...\r\n..etc. etc. etc.\r\n".to_vec()]);
}

/// RFC 5321 appendix D.2: an aborted transaction.
#[test]
fn aborted_transaction() {
    let mut rig = ready(Config::new("foo.com"));
    let script = "MAIL FROM:<Smith@bar.com>\nRCPT TO:<Jones@foo.com>\nRCPT TO:<gone@foo.com>\nRSET\nDATA\nQUIT\n";
    assert_eq!(rig.codes(script), [250, 250, 550, 250, 503, 221]);
    assert!(rig.committed.is_empty());
}

/// RFC 5321 appendix D.3: relayed mail with a source route.
#[test]
fn source_routed_mail() {
    let mut rig = ready(Config::new("foo.com"));
    let script = "MAIL FROM:<JQP@bar.com>\nRCPT TO:<@foo.com:Jones@XYZ.COM>\nDATA\n";
    assert_eq!(rig.codes(script), [250, 250, 354]);
    assert_eq!(rig.codes("Date: Thu, 21 May 1998 05:33:29 -0700\n\n.\n"), [250]);
    assert!(rig.asked.contains(&"RcptTo Jones@XYZ.COM".to_owned()), "{:?}", rig.asked);
}

/// RFC 5321 appendix D.4: verifying and sending.
#[test]
fn verify_and_send() {
    let mut rig = ready(Config { ask: Ask::all(), ..relay() });
    assert_eq!(rig.say("VRFY Crispin\n"), "250 2.1.5 A User <Crispin@example.org>\r\n");
    assert_eq!(rig.codes("EXPN staff\nMAIL FROM:<a@b>\nRCPT TO:<Crispin@example.org>\nDATA\n"), [550, 250, 250, 354]);
    let mut rig = ready(relay());
    assert_eq!(rig.codes("VRFY Crispin\nEXPN staff\nHELP\nNOOP\n"), [252, 502, 214, 250]);
}

#[test]
fn replies_of_a_batch_leave_together() {
    let mut rig = ready(relay());
    rig.sends = 0;
    let said = rig.say("MAIL FROM:<a@b>\nRCPT TO:<c@d>\nRCPT TO:<gone@d>\nRCPT TO:<e@d>\nDATA\n");
    assert_eq!((codes(&said), rig.sends), (vec![250, 250, 550, 250, 354], 1));
    rig.sends = 0;
    let said = rig.say("text\n.\nMAIL FROM:<a@b>\nRSET\nNOOP\nQUIT\n");
    assert_eq!((codes(&said), rig.sends), (vec![250, 250, 250, 250, 221], 1));
}

#[test]
fn commands_out_of_sequence() {
    let mut rig = Rig::new(relay());
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n"), [503, 503, 503]);
    assert_eq!(rig.codes("NOOP\nRSET\nHELP\nVRFY x\n"), [250, 250, 214, 252]);
    assert_eq!(
        rig.codes("HELO x\nRCPT TO:<a@b>\nDATA\nMAIL FROM:<a@b>\nMAIL FROM:<a@b>\nDATA\n"),
        [250, 503, 503, 250, 503, 554]
    );
    assert_eq!(rig.codes("EHLO x\nDATA\n"), [250, 503], "hello resets");
    assert_eq!(rig.codes("STARTTLS\nAUTH PLAIN\nLHLO x\nETRN x\nBLAH\n"), [502, 502, 500, 502, 500]);
}

#[test]
fn syntax_errors_have_their_codes() {
    let mut config = relay();
    config.limits.errors = 100;
    let mut rig = ready(config);
    for (line, expected) in [
        ("EHLO", "501 5.5.4"),
        // RFC 2034 §4: no code in what answers EHLO.
        ("EHLO two words", "501 Syntax"),
        ("MAIL", "501 5.5.4"),
        ("MAIL FROM:<a@b", "501 5.1.7"),
        ("MAIL FROM:<a@b> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=99999999999", "552 5.3.4"),
        ("MAIL FROM:<a@b> SMTPUTF8", "555 5.5.4"),
        ("MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"),
        ("RSET x", "501 5.5.4"),
        ("DATA x", "501 5.5.4"),
        ("STARTTLS x", "501 5.5.4"),
        ("QUIT x", "501 5.5.4"),
        ("NOOP \u{1}", "500 5.5.2"),
        ("", "500 5.5.1"),
        ("MAIL FROM:<>", "250 2.1.0"),
        ("RCPT TO:<a b@c>", "501 5.1.3"),
        ("RCPT TO:<a@b> FOO", "555 5.5.4"),
        ("RCPT TO:<pOSTmaster>", "250 2.1.5"),
        ("RCPT TO:<later@b>", "451 4.3.2"),
        ("RCPT TO:<\"quoted local\"@b>", "250 2.1.5"),
    ] {
        let said = rig.say(&format!("{line}\n"));
        assert!(said.starts_with(expected), "{line:?}: {said}");
    }
    assert!(rig.asked.contains(&"RcptTo \"quoted local\"@b".to_owned()));
    assert!(rig.asked.contains(&"MailFrom <>".to_owned()));
}

#[test]
fn bare_line_ends_in_commands_are_refused() {
    let mut rig = ready(relay());
    assert_eq!(codes(&rig.feed(b"NOOP\nNOOP\r\nNO\rOP\r\n")), [500, 250, 500]);
    let mut rig = ready(Config { command_line_ends: LineEnds::Normalize, ..relay() });
    assert_eq!(codes(&rig.feed(b"NOOP\nRSET\n")), [250, 250]);
}

#[test]
fn overlong_lines_are_swallowed() {
    let mut rig = ready(relay());
    let long = format!("NOOP {}\nNOOP\n", "x".repeat(1_000_000));
    let said = rig.say(&long);
    assert_eq!(said, "500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n");
    // 2,048 octets, CRLF included, is the longest line; one more is too much.
    let limit = format!("NOOP {}\n", "x".repeat(2048 - 7));
    assert_eq!(rig.codes(&limit), [250]);
    let over = format!("NOOP {}\n", "x".repeat(2048 - 6));
    assert_eq!(rig.codes(&over), [500]);
}

/// CVE-2023-51764 and kin: whatever looks like an end of data without being CRLF.CRLF ends nothing, so what follows
/// never runs as commands.
#[test]
fn fake_terminators_run_no_commands() {
    for fake in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n.\r\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\n\n.\n\n",
    ] {
        let mut rig = envelope(relay());
        let script = format!("DATA\r\ntext{fake}MAIL FROM:<evil@b>\r\nRCPT TO:<evil@b>\r\n.\r\n");
        assert_eq!(codes(&rig.feed(script.as_bytes())), [354, 250], "{fake:?}");
        assert_eq!(rig.committed.len(), 1);
        assert!(rig.committed[0].ends_with(b"RCPT TO:<evil@b>\r\n"), "{fake:?}");
        let mut rig = envelope(Config { text_line_ends: LineEnds::Strict, ..relay() });
        let said = rig.feed(script.as_bytes());
        let strictly_bare = fake.replace("\r\n", "").contains(['\r', '\n']);
        assert_eq!(codes(&said), [354, if strictly_bare { 550 } else { 250 }], "{fake:?} {said}");
        assert_eq!(rig.asked.last().unwrap() == "Abandon", strictly_bare, "{fake:?}");
    }
}

#[test]
fn empty_message() {
    let mut rig = envelope(relay());
    assert_eq!(rig.codes("DATA\n.\n"), [354, 250]);
    assert_eq!(rig.committed, [Vec::<u8>::new()]);
}

#[test]
fn size_is_enforced_at_the_octet() {
    let mut config = relay();
    config.limits.message = 10;
    let mut rig = envelope(config.clone());
    assert_eq!(rig.codes("DATA\n12345678\n.\n"), [354, 250]);
    let mut rig = envelope(config.clone());
    let said = rig.say("DATA\n123456789\n.\nNOOP\n");
    assert_eq!(codes(&said), [354, 552, 250], "{said}");
    assert_eq!(rig.asked.last().unwrap(), "Abandon");
    config.limits.swallow = 1000;
    let mut rig = envelope(config);
    let said = rig.say(&format!("DATA\n{}\n.\n", "123456789\n".repeat(20_000)));
    assert_eq!(codes(&said), [354, 421]);
    assert_eq!(rig.closed, Some(CloseReason::Limit));
}

#[test]
fn too_many_recipients() {
    let mut config = relay();
    config.limits.recipients = 2;
    let mut rig = ready(config);
    let said = rig.say("MAIL FROM:<a@b>\nRCPT TO:<gone@b>\nRCPT TO:<a@b>\nRCPT TO:<b@b>\nRCPT TO:<c@b>\nDATA\nx\n.\n");
    assert_eq!(codes(&said), [250, 550, 250, 250, 452, 354, 250], "{said}");
}

#[test]
fn too_many_errors_end_the_session() {
    let mut rig = ready(relay());
    let said = rig.say(&"BLAH\n".repeat(50));
    assert_eq!(codes(&said).len(), 22);
    assert!(said.ends_with("421 4.7.0 Too many errors, closing\r\n"));
    assert_eq!(rig.closed, Some(CloseReason::Limit));
    assert!(rig.events.contains(&Event::Violation(Violation::TooManyErrors)));
}

#[test]
fn ten_thousand_pipelined_commands() {
    let mut rig = ready(relay());
    let said = rig.say(&"NOOP\n".repeat(10_000));
    assert_eq!(codes(&said), vec![250; 10_000]);
    let script = format!("MAIL FROM:<a@b>\n{}DATA\nx\n.\n", "RCPT TO:<c@d>\n".repeat(1000));
    let said = rig.say(&script);
    assert_eq!(codes(&said), [vec![250; 1001], vec![354, 250]].concat());
}

/// A client that writes without ever reading must not make the replies pile up, and ends by a deadline.
#[test]
fn a_client_that_does_not_read_is_ended() {
    let mut rig = ready(relay());
    rig.drain = false;
    rig.feed(&b"NOOP\r\n".repeat(100_000));
    let wait = rig.wait.unwrap();
    assert!(wait.output && rig.unsent < 70_000, "{wait:?} {}", rig.unsent);
    rig.unsent -= 1;
    rig.pass(Duration::from_secs(200));
    rig.pass(Duration::from_secs(299));
    assert_eq!(rig.closed, None);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.closed, Some(CloseReason::Stalled));
}

#[test]
fn silence_ends_at_a_deadline() {
    let mut rig = ready(relay());
    assert_eq!(rig.pass(Duration::from_secs(299)), "");
    rig.feed(b"NOO");
    assert_eq!(
        rig.pass(Duration::from_secs(2)),
        "421 4.4.2 Idle for too long, closing\r\n",
        "a half command is no progress"
    );
    assert_eq!(rig.closed, Some(CloseReason::Timeout));
    let mut rig = envelope(relay());
    rig.say("DATA\n");
    for _ in 0..100 {
        rig.feed(b"x");
        rig.pass(Duration::from_secs(100));
        if rig.closed.is_some() {
            break;
        }
    }
    assert_eq!(rig.closed, Some(CloseReason::Timeout), "a trickling message ends too");
    assert!(rig.committed.is_empty());
}

#[test]
fn an_unanswered_question_ends_the_session() {
    let mut rig = ready(relay()).answering(|_, request| match request {
        Request::MailFrom(_) => Ok(None),
        other => Err(other),
    });
    assert_eq!(rig.say("MAIL FROM:<a@b>\n"), "");
    assert_eq!(rig.pass(Duration::from_secs(301)), "421 4.3.0 No decision in time, closing\r\n");
    assert_eq!(rig.closed, Some(CloseReason::Unanswered));
}

/// The end of the stream while a commit is out must not lose its answer: the message may be durable by then.
#[test]
fn eof_does_not_end_a_commit() {
    use std::cell::RefCell;
    use std::rc::Rc;
    let held = Rc::new(RefCell::new(None));
    let store = held.clone();
    let mut rig = envelope(relay()).answering(move |_, request| match request {
        Request::Commit(pending) => {
            *store.borrow_mut() = Some(pending);
            Ok(None)
        }
        other => Err(other),
    });
    assert_eq!(rig.codes("DATA\ntext\n.\n"), [354]);
    rig.eof();
    rig.pass(Duration::from_secs(1000));
    assert_eq!(rig.closed, None);
    let pending = held.borrow_mut().take().unwrap();
    rig.server.resume(pending.answer(Committed::Accepted("queued".into())));
    assert_eq!(rig.pass(Duration::ZERO), "250 2.0.0 queued\r\n");
    assert_eq!(rig.closed, Some(CloseReason::Eof));
}

#[test]
fn eof_inside_data_commits_nothing() {
    let mut rig = envelope(relay());
    rig.say("DATA\nhalf a message\n");
    rig.eof();
    assert_eq!(rig.closed, Some(CloseReason::Eof));
    assert!(rig.committed.is_empty());
    let mut rig = Rig::new(relay());
    rig.said.clear();
    rig.server.handle_input(b"EHLO x\r\nNOOP\r\nNOO");
    rig.eof();
    assert_eq!(codes(&rig.said), [250, 250], "whole commands still run");
}

#[test]
fn refusals_of_every_question() {
    for refused in ["Connect", "Hello", "MailFrom", "RcptTo", "BodyOpen", "BodyChunk", "Commit"] {
        let config = Config { ask: Ask::all(), ..relay() };
        let mut rig = Rig::new(config).answering(move |_, request| {
            if request.name() == refused { Ok(Some(request.decline())) } else { Err(request) }
        });
        let said = rig.say("EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n");
        let mut codes = codes(&said);
        if codes.last() == Some(&354) {
            codes.extend(rig.codes("text\n.\n"));
        }
        codes.extend(rig.codes("QUIT\n"));
        let expected: &[u16] = match refused {
            "Hello" => &[451, 503, 503, 503, 221],
            "MailFrom" => &[250, 451, 503, 503, 221],
            "RcptTo" => &[250, 250, 451, 554, 221],
            "BodyOpen" => &[250, 250, 250, 451, 221],
            _ if refused == "Connect" => &[250, 250, 250, 354, 250, 221],
            _ => &[250, 250, 250, 354, 451, 221],
        };
        assert_eq!(codes, expected, "{refused}");
        assert!(refused == "Connect" || rig.committed.is_empty());
    }
}

#[test]
fn a_refused_connection_is_told_and_closed() {
    let config = Config { ask: Ask::CONNECT, ..relay() };
    let mut server = smtp_proto::Server::new(config.into(), peer());
    let now = common::epoch();
    let mailstore_trait::session::Output::Request(request) = server.poll_output(now, 0) else { panic!() };
    server.resume(request.decline());
    let mut said = Vec::new();
    loop {
        match server.poll_output(now, 0) {
            mailstore_trait::session::Output::Send(octets) => said.extend_from_slice(&octets),
            mailstore_trait::session::Output::Close(_) => break,
            _ => {}
        }
    }
    assert!(said.starts_with(b"421 "), "{said:?}");
}

#[test]
fn early_talkers_are_refused() {
    let config = Config { greet_delay: Duration::from_secs(5), ..relay() };
    let mut rig = Rig::new(config.clone());
    let said = rig.say("EHLO x\nMAIL FROM:<a@b>\n");
    assert!(said.starts_with("554 Talked before the greeting\r\n503 5.5.1 "), "{said}");
    assert_eq!((codes(&said), rig.closed), (vec![554, 503, 503], None));
    assert_eq!(rig.codes("DATA\nQUIT\nNOOP\n"), [503, 221]);
    assert_eq!(rig.closed, Some(CloseReason::Quit));
    assert!(rig.asked.is_empty() && rig.committed.is_empty());
    let mut rig = Rig::new(config);
    assert_eq!(rig.said, "");
    assert_eq!(rig.pass(Duration::from_secs(5)), "220 mx.example.org ESMTP\r\n");
    assert_eq!(rig.codes("EHLO x\n"), [250]);
}

#[test]
fn shutdown_waits_for_a_safe_point() {
    let mut rig = envelope(relay());
    rig.say("DATA\ntext\n");
    rig.server.shutdown();
    rig.run();
    assert_eq!(rig.closed, None);
    assert_eq!(rig.codes(".\n"), [250, 421]);
    assert_eq!(rig.closed, Some(CloseReason::Shutdown));
    assert_eq!(rig.committed.len(), 1);
    let mut rig = ready(relay());
    rig.server.shutdown();
    assert_eq!(rig.pass(Duration::ZERO), "421 4.3.2 Service shutting down, closing\r\n");
}

#[test]
fn starttls_forgets_what_came_before() {
    let config = Config { starttls: true, ..relay() };
    let mut rig = ready(config.clone());
    assert!(rig.say("EHLO x\n").contains("STARTTLS"));
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nSTARTTLS\n"), [250, 220]);
    assert_eq!(rig.layers, 1);
    assert_eq!(rig.codes("RCPT TO:<a@b>\nMAIL FROM:<a@b>\n"), [503, 503], "neither hello nor MAIL is remembered");
    assert!(!rig.say("EHLO x\n").contains("STARTTLS"));
    assert_eq!(rig.codes("STARTTLS\n"), [503]);
    let mut rig = Rig::with_peer(config, Peer::with_tls(peer().address, LayerInfo::new()));
    assert!(!rig.say("EHLO x\n").contains("STARTTLS"));
}

/// The class of bugs of 2011: commands put behind STARTTLS by someone in the middle ran inside the TLS session.
#[test]
fn octets_behind_starttls_end_the_session() {
    let mut rig = ready(Config { starttls: true, ..relay() });
    assert_eq!(rig.say("STARTTLS\nMAIL FROM:<evil@b>\n"), "554 5.5.1 Octets behind STARTTLS, closing\r\n");
    assert_eq!((rig.closed, rig.layers), (Some(CloseReason::Protocol), 0));
}

#[test]
fn submission_needs_tls_and_login() {
    let config = Config { starttls: true, ..Config::submission("mx.example.org", ["PLAIN", "SCRAM-SHA-256"]) };
    let mut rig = ready(config);
    assert!(!rig.say("EHLO x\n").contains("AUTH"), "not on a cleartext stream");
    assert_eq!(rig.say("AUTH PLAIN AHVzZXIAc2VjcmV0\n").get(..10), Some("538 5.7.11"));
    assert_eq!(rig.say("MAIL FROM:<a@b>\n").get(..9), Some("530 5.7.0"));
    rig.say("STARTTLS\n");
    assert!(rig.say("EHLO x\n").contains("AUTH PLAIN SCRAM-SHA-256"));
    assert_eq!(rig.say("MAIL FROM:<a@b>\n"), "530 5.7.0 Authentication required\r\n");
    assert_eq!(rig.say("AUTH PLAIN AHVzZXIAc2VjcmV0\n"), "235 2.7.0 Authentication succeeded\r\n");
    assert_eq!(rig.codes("AUTH PLAIN AHVzZXIAc2VjcmV0\nMAIL FROM:<a@b> AUTH=<>\nRCPT TO:<c@d>\n"), [503, 250, 250]);
    assert_eq!(rig.server.origin().identity.as_deref(), Some("user"));
}

fn login() -> Rig {
    ready(Config { cleartext_auth: true, ..Config::submission("mx.example.org", ["PLAIN", "SCRAM-SHA-256"]) })
}

#[test]
fn auth_exchange() {
    let mut rig = login();
    assert_eq!(rig.say("AUTH PLAIN\n"), "334 \r\n");
    assert_eq!(rig.codes("AHVzZXIAc2VjcmV0\n"), [235]);
    let mut rig = login();
    assert_eq!(rig.say("AUTH scram-sha-256 Zmlyc3Q=\n"), "334 bm9uY2U=\r\n");
    assert_eq!(rig.say("cHJvb2Y=\n"), "334 dj1zaWduYXR1cmU=\r\n", "the last octets are a challenge");
    assert_eq!(rig.codes("\n"), [235]);
    let mut rig = login();
    rig.say("AUTH SCRAM-SHA-256 Zmlyc3Q=\ncHJvb2Y=\n");
    assert_eq!(rig.codes("eA==\n"), [535], "anything but an empty line is no success");
}

#[test]
fn auth_failures() {
    let mut rig = login();
    assert_eq!(rig.codes("AUTH PLAIN\n*\n"), [334, 501]);
    assert_eq!(rig.codes("AUTH PLAIN\n!!\n"), [334, 501]);
    assert_eq!(rig.codes("AUTH PLAIN !!\n"), [501]);
    assert_eq!(rig.codes("AUTH GSSAPI\n"), [504]);
    assert_eq!(rig.codes("HELO x\nAUTH PLAIN\nEHLO x\n"), [250, 503, 250]);
    assert_eq!(rig.codes("AUTH PLAIN =\nAUTH PLAIN =\n"), [535, 535]);
    assert_eq!(rig.codes("AUTH PLAIN =\n"), [535, 421]);
    assert_eq!(rig.closed, Some(CloseReason::Limit));
    let mut rig = ready(Config { cleartext_auth: true, mechanisms: vec!["PLAIN".into()], ..relay() });
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nAUTH PLAIN\n"), [250, 503], "not inside a transaction");
}

#[test]
fn auth_lines_may_be_long_but_not_longer() {
    let mut rig = login();
    let line = format!("AUTH PLAIN {}\n", "QUJD".repeat(3000));
    assert_eq!(line.len() + 1, 12_013);
    assert_eq!(rig.codes(&line), [535]);
    let said = rig.say(&format!("AUTH PLAIN {}\nNOOP\n", "QUJD".repeat(4000)));
    assert_eq!(said, "500 5.5.6 Authentication exchange line is too long\r\n250 2.0.0 OK\r\n");
    rig.say("AUTH PLAIN\n");
    assert_eq!(rig.codes(&format!("{}\nNOOP\n", "QUJD".repeat(4000))), [500, 250]);
}

#[test]
fn credentials_never_show_in_debug() {
    use std::cell::RefCell;
    use std::rc::Rc;
    let seen = Rc::new(RefCell::new(String::new()));
    let shown = seen.clone();
    let mut rig = login().answering(move |_, request| {
        shown.borrow_mut().push_str(&format!("{request:?}"));
        Err(request)
    });
    rig.say("AUTH PLAIN AHVzZXIAc2VjcmV0\n");
    assert!(seen.borrow().contains("SaslStep") && !seen.borrow().contains("secret"), "{}", seen.borrow());
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let mut rig = Rig::new(Config::lmtp("mx.example.org"));
    assert_eq!(rig.said, "220 mx.example.org LMTP\r\n");
    assert_eq!(rig.codes("EHLO x\nHELO x\nLHLO x\n"), [500, 500, 250]);
    let script = "MAIL FROM:<a@b>\nRCPT TO:<one@d>\nRCPT TO:<gone@d>\nRCPT TO:<full@d>\nDATA\n";
    assert_eq!(rig.codes(script), [250, 250, 550, 250, 354]);
    assert_eq!(rig.say("text\n.\n"), "250 2.0.0 taken\r\n452 4.2.2 Mailbox full\r\n");
    let mut config = Config::lmtp("mx.example.org");
    config.limits.message = 3;
    let mut rig = Rig::new(config);
    rig.say("LHLO x\nMAIL FROM:<a@b>\nRCPT TO:<one@d>\nRCPT TO:<two@d>\n");
    assert_eq!(rig.codes("DATA\ntext\n.\nNOOP\n"), [354, 552, 552, 250], "one refusal for each too");
}

#[test]
fn smtp_says_one_thing_for_all_recipients() {
    let mut rig = ready(relay());
    rig.say("MAIL FROM:<a@b>\nRCPT TO:<full@d>\n");
    assert_eq!(rig.codes("DATA\nx\n.\n"), [354, 452]);
    rig.say("MAIL FROM:<a@b>\nRCPT TO:<full@d>\nRCPT TO:<one@d>\n");
    assert_eq!(rig.codes("DATA\nx\n.\n"), [354, 250]);
}

#[test]
fn chunked_message() {
    let mut rig = envelope(relay());
    assert_eq!(codes(&rig.feed(b"BDAT 6\r\nab\r\n.\rBDAT 7 LAST\r\n\ncdef\r\nNOOP\r\n")), [250, 250, 250]);
    assert_eq!(rig.committed, [b"ab\r\n.\r\ncdef\r\n".to_vec()]);
    let mut rig = envelope(relay());
    assert_eq!(codes(&rig.feed(b"BDAT 3\r\nabcBDAT 0 LAST\r\n")), [250, 250]);
    assert_eq!(rig.committed, [b"abc".to_vec()]);
}

/// A refused BDAT's octets follow whatever the reply: they must be swallowed, not run.
#[test]
fn chunks_out_of_place_are_swallowed() {
    let mut rig = ready(relay());
    assert_eq!(codes(&rig.feed(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")), [503, 250]);
    rig.say("MAIL FROM:<a@b>\n");
    assert_eq!(codes(&rig.feed(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")), [554, 250]);
    let mut config = relay();
    config.limits.message = 5;
    let mut rig = envelope(config);
    assert_eq!(codes(&rig.feed(b"BDAT 6\r\nQUIT\r\nBDAT 6\r\nQUIT\r\nBDAT 1 LAST\r\nx")), [552, 552, 552]);
    assert_eq!(rig.codes("MAIL FROM:<a@b>\n"), [250], "the transaction is over");
    assert_eq!(codes(&rig.feed(b"BDAT 18446744073709551615\r\n")), [421]);
}

#[test]
fn between_chunks_only_bdat_and_rset() {
    let mut rig = envelope(relay());
    assert_eq!(codes(&rig.feed(b"BDAT 3\r\nabcDATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n")), [250, 503, 503, 503]);
    assert_eq!(codes(&rig.feed(b"RSET\r\nMAIL FROM:<a@b>\r\n")), [250, 250]);
    assert!(rig.asked.contains(&"Abandon".to_owned()));
    assert!(rig.committed.is_empty());
}

#[test]
fn binary_needs_bdat() {
    let config = Config { extensions: Extensions::all(), ..relay() };
    let mut rig = ready(config);
    assert_eq!(rig.codes("MAIL FROM:<a@b> BODY=BINARYMIME\nRCPT TO:<c@d>\nDATA\n"), [250, 250, 503]);
    assert_eq!(codes(&rig.feed(b"BDAT 4 LAST\r\n\n\r\0.")), [250]);
    assert_eq!(rig.committed, [b"\n\r\0.".to_vec()]);
}

#[test]
fn smtputf8_addresses() {
    let config = Config { extensions: Extensions::all(), ..relay() };
    let mut rig = ready(config);
    assert_eq!(rig.say("MAIL FROM:<zo\u{eb}@b>\n").get(..9), Some("553 5.6.7"));
    assert_eq!(rig.codes("MAIL FROM:<zo\u{eb}@b> SMTPUTF8\nRCPT TO:<\u{e9}@d>\n"), [250, 250]);
    assert_eq!(rig.codes("RSET\nMAIL FROM:<a@b>\nRCPT TO:<\u{e9}@d>\n"), [250, 250, 553]);
}

#[test]
fn a_backend_cannot_forge_replies() {
    let mut rig = envelope(relay()).answering(|_, request| match request {
        Request::Commit(pending) => Ok(Some(pending.answer(Committed::Accepted("x\r\n221 bye\r\n".into())))),
        Request::MailFrom(pending) => Ok(Some(pending.answer(Decision::Refused(reply::OK)))),
        other => Err(other),
    });
    assert_eq!(rig.codes("DATA\nx\n.\n"), [354, 250]);
    assert_eq!(rig.codes("MAIL FROM:<a@b>\n"), [451], "a refusal that does not refuse refuses");
}

/// Ten thousand idle sessions are to cost little: at most 2 KiB of state each, beside an input buffer that is given back.
#[test]
fn an_idle_session_is_small() {
    let size = size_of::<smtp_proto::Server>();
    assert!(size <= 1024, "{size}");
}
