//! Extensions: what EHLO says of each, what is refused, what reaches the envelope, and those an embedder registers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::result_large_err)]

mod common;

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{Rig, peer, relay};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::session::{LayerInfo, Peer};
use smtp_proto::command::params::{ByMode, Hold, Priority, Unsupported};
use smtp_proto::config::{Ask, Config, Extensions};
use smtp_proto::extension::{CommandLine, Course, Extension, Offer, Parameter, etrn};
use smtp_proto::reply::{self, EnhancedCode, Reply};
use smtp_proto::request::{Envelope, Origin};
use smtp_proto::{Event, Request};

fn offering(extensions: Extensions) -> Config {
    Config { extensions, ..relay() }
}

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

/// The envelope of the message that these lines begin, and who sent it.
fn enveloped(config: Config, mail: &str, rcpt: &str) -> (Arc<Envelope>, Arc<Origin>) {
    let held = Rc::new(RefCell::new(None));
    let store = held.clone();
    let peer = match config.extensions.contains(Extensions::REQUIRETLS) {
        true => Peer::with_tls(peer().address, LayerInfo::new()),
        false => peer(),
    };
    let mut rig = Rig::with_peer(config, peer).answering(move |_, request| match request {
        Request::BodyOpen(pending) => {
            *store.borrow_mut() = Some((pending.query.envelope.clone(), pending.query.origin.clone()));
            Err(Request::BodyOpen(pending))
        }
        other => Err(other),
    });
    let said = rig.say(&format!("EHLO x\nMAIL FROM:<a@b.example>{mail}\nRCPT TO:<c@d.example>{rcpt}\nDATA\n"));
    assert!(said.ends_with("354 Start mail input; end with <CRLF>.<CRLF>\r\n"), "{said}");
    let held = held.borrow_mut().take();
    held.unwrap()
}

#[test]
fn schedules_reach_the_envelope() {
    let config = offering(Extensions::all());
    let config = Config { highest_priority: Priority::HIGHEST, ..config };
    let mail = " REQUIRETLS BY=3600;RT MT-PRIORITY=4 SOLICIT=net.example:ADV";
    let (envelope, _) = enveloped(config, mail, " RRVS=2026-11-22T22:53:59Z;C");
    let sender = &envelope.sender;
    let by = sender.deliver_by.unwrap();
    assert_eq!((by.seconds, by.mode, by.trace), (3600, ByMode::Return, true));
    assert_eq!((sender.require_tls, sender.priority.map(Priority::value)), (true, Some(4)));
    assert_eq!(sender.solicit.as_deref(), Some("net.example:ADV"));
    let since = envelope.recipients[0].valid_since.unwrap();
    assert_eq!((since.since, since.unsupported), (Timestamp::from_seconds(1_795_388_039), Unsupported::Continue));
}

#[test]
fn what_was_not_offered_is_unknown() {
    let mut rig = ready(offering(Extensions::empty()));
    for parameter in
        ["REQUIRETLS", "BY=5;N", "MT-PRIORITY=1", "HOLDFOR=5", "HOLDUNTIL=2026-11-22T22:53:59Z", "SOLICIT=a"]
    {
        assert_eq!(rig.codes(&format!("MAIL FROM:<a@b> {parameter}\n")), [555], "{parameter}");
    }
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nRCPT TO:<c@d> RRVS=2026-11-22T22:53:59Z\n"), [250, 555]);
    assert_eq!(rig.codes("RSET\nETRN example.org\nXCLIENT NAME=x\nXFORWARD NAME=x\n"), [250, 502, 502, 502]);
}

/// Commands and parameters that standards once had, or that this server has no use for: refused, and the session goes on.
#[test]
fn dead_extensions_are_refused_cleanly() {
    let mut rig = ready(offering(Extensions::all()));
    for verb in
        ["TURN", "SEND FROM:<a@b>", "SOML FROM:<a@b>", "SAML FROM:<a@b>", "ATRN a.example", "BURL x", "VERB", "ONEX"]
    {
        assert_eq!(rig.codes(&format!("{verb}\n")), [502], "{verb}");
    }
    for parameter in ["TRANSID=<1@b>", "MTRK=x", "CONPERM", "SUBMITTER=a@b", "ALT-ADDRESS=x", "BODY=TURNED"] {
        let code = if parameter.starts_with("BODY") { 501 } else { 555 };
        assert_eq!(rig.codes(&format!("MAIL FROM:<a@b> {parameter}\n")), [code], "{parameter}");
    }
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nRCPT TO:<c@d> ALT-ADDRESS=x\nRCPT TO:<c@d> CONNEG\n"), [250, 555, 555]);
    assert_eq!(rig.codes("RCPT TO:<c@d>\nDATA\nx\n.\n"), [250, 354, 250]);
}

#[test]
fn requiretls_only_under_tls() {
    let config = offering(Extensions::REQUIRETLS);
    let mut rig = Rig::new(config.clone());
    assert_eq!(offered(&mut rig), ["HELP"]);
    assert_eq!(rig.codes("MAIL FROM:<a@b> REQUIRETLS\n"), [555]);
    let mut rig = Rig::with_peer(config, Peer::with_tls(peer().address, LayerInfo::new()));
    assert_eq!(offered(&mut rig), ["REQUIRETLS", "HELP"]);
    assert_eq!(rig.codes("MAIL FROM:<a@b> REQUIRETLS\n"), [250]);
}

#[test]
fn deliver_by_has_a_least_time() {
    let mut config = offering(Extensions::DELIVERBY);
    assert_eq!(offered(&mut Rig::new(config.clone())), ["DELIVERBY", "HELP"]);
    config.limits.deliver_by = 240;
    let mut rig = Rig::new(config);
    assert_eq!(offered(&mut rig), ["DELIVERBY 240", "HELP"]);
    assert_eq!(rig.say("MAIL FROM:<a@b> BY=239;R\n"), "550 5.4.7 Less time than is offered\r\n");
    assert_eq!(rig.codes("MAIL FROM:<a@b> BY=240;R\nRSET\nMAIL FROM:<a@b> BY=-5;N\n"), [250, 250, 250]);
    assert_eq!(rig.codes("RSET\nMAIL FROM:<a@b> BY=0;R\nMAIL FROM:<a@b> BY=5\n"), [250, 501, 501]);
}

#[test]
fn priorities_are_lowered_to_what_the_client_may() {
    let mut config = offering(Extensions::MT_PRIORITY);
    config.priority_profile = Some("MIXER".into());
    config.highest_priority = Priority::new(2).unwrap();
    let mut rig = Rig::new(config.clone());
    assert_eq!(offered(&mut rig), ["MT-PRIORITY MIXER", "HELP"]);
    assert_eq!(rig.say("MAIL FROM:<a@b> MT-PRIORITY=9\n"), "250 2.3.6 2 is the new priority\r\n");
    assert_eq!(rig.say("RSET\nMAIL FROM:<a@b> MT-PRIORITY=-9\n"), "250 2.0.0 OK\r\n250 2.1.0 Sender OK\r\n");
    assert_eq!(rig.codes("RSET\nMAIL FROM:<a@b> MT-PRIORITY=10\n"), [250, 501]);
    let (envelope, _) = enveloped(config.clone(), " MT-PRIORITY=5", "");
    assert_eq!(envelope.sender.priority, Priority::new(2));
    assert_eq!(enveloped(config, "", "").0.sender.priority, None);
}

fn submission() -> Config {
    let mechanisms = ["PLAIN"];
    Config {
        extensions: Extensions::FUTURERELEASE,
        cleartext_auth: true,
        ..Config::submission("mx.example.org", mechanisms)
    }
}

/// The session has no clock: it is told the date once and counts on from there.
#[test]
fn future_release_goes_by_the_date_it_was_told() {
    let date = DateTime::parse_rfc3339("2026-11-22T00:00:00Z").unwrap().instant;
    let mut config = submission();
    config.limits.hold = 3600;
    let mut rig = Rig::unpolled(config.clone());
    rig.server = rig.server.at(date);
    rig.run();
    let lines = offered(&mut rig);
    assert!(lines.contains(&"FUTURERELEASE 3600 2026-11-22T01:00:00Z".to_owned()), "{lines:?}");
    rig.pass(Duration::from_secs(60));
    let lines = offered(&mut rig);
    assert!(lines.contains(&"FUTURERELEASE 3600 2026-11-22T01:01:00Z".to_owned()), "{lines:?}");
    assert_eq!(rig.codes("AUTH PLAIN AHVzZXIAc2VjcmV0\n"), [235]);
    for (hold, code) in [
        ("HOLDFOR=3601", 501),
        ("HOLDFOR=3600", 250),
        ("HOLDUNTIL=2026-11-22T01:01:01Z", 501),
        ("HOLDUNTIL=2026-11-22T02:01:00+01:00", 250),
        ("HOLDUNTIL=2020-01-01T00:00:00Z", 250),
        ("HOLDFOR=5 HOLDUNTIL=2026-11-22T01:00:00Z", 501),
        ("HOLDFOR=0", 501),
    ] {
        assert_eq!(rig.codes(&format!("MAIL FROM:<a@b> {hold}\nRSET\n")), [code, 250], "{hold}");
    }
    let hold = Hold::parse_until("2026-11-22T01:00:00Z").unwrap();
    assert_eq!(hold.until(date), date.plus(Duration::from_secs(3600)));
    // Without a date, and from other servers, it is not offered.
    let mut rig = Rig::new(config.clone());
    assert!(!offered(&mut rig).iter().any(|line| line.starts_with("FUTURERELEASE")));
    let mut rig = Rig::unpolled(Config { role: smtp_proto::config::Role::Relay, ..config });
    rig.server = rig.server.at(date);
    rig.run();
    assert!(!offered(&mut rig).iter().any(|line| line.starts_with("FUTURERELEASE")));
}

#[test]
fn solicitations_that_are_not_wanted_are_refused() {
    let mut config = offering(Extensions::NO_SOLICITING);
    assert_eq!(offered(&mut Rig::new(config.clone())), ["NO-SOLICITING", "HELP"]);
    config.solicitations = vec!["net.example:ADV".into(), "org.example:ADV:ADLT".into()];
    let mut rig = Rig::new(config);
    assert_eq!(offered(&mut rig), ["NO-SOLICITING net.example:ADV,org.example:ADV:ADLT", "HELP"]);
    let said = rig.say("MAIL FROM:<a@b> SOLICIT=x,NET.example:adv\n");
    assert_eq!(said, "550 5.7.1 Solicitations of this class are refused\r\n");
    assert_eq!(rig.codes("MAIL FROM:<a@b> SOLICIT=com.example:OTHER\n"), [250]);
}

#[test]
fn limits_are_said_and_kept() {
    let mut config = offering(Extensions::LIMITS);
    config.limits.recipients = 2;
    assert_eq!(offered(&mut Rig::new(config.clone())), ["LIMITS RCPTMAX=2", "HELP"]);
    config.limits.messages = 1;
    let mut rig = Rig::new(config);
    assert_eq!(offered(&mut rig), ["LIMITS MAILMAX=1 RCPTMAX=2", "HELP"]);
    let script = "MAIL FROM:<a@b>\nRCPT TO:<c@d>\nRCPT TO:<e@d>\nRCPT TO:<f@d>\nDATA\nx\n.\n";
    assert_eq!(rig.codes(script), [250, 250, 250, 452, 354, 250]);
    assert_eq!(rig.codes("MAIL FROM:<a@b>\n"), [421]);
}

#[test]
fn etrn_starts_a_queue() {
    let asking = |argument: &str| {
        let mut rig = ready(offering(Extensions::ETRN)).answering(|asked, request| match request {
            Request::ExtensionCommand(pending) => {
                asked.push(format!("{} {}", pending.query.verb, pending.query.arguments));
                let reply = match etrn::Node::parse(&pending.query.arguments) {
                    Some(etrn::Node::Host("none.example")) => etrn::started(0),
                    Some(etrn::Node::Queue(_)) => etrn::UNABLE,
                    Some(etrn::Node::Domain(_)) => etrn::NOT_ALLOWED,
                    _ => etrn::started(3),
                };
                Ok(Some(pending.answer(reply)))
            }
            other => Err(other),
        });
        let said = rig.say(&format!("ETRN {argument}\n"));
        (said, rig.asked.pop(), rig.events)
    };
    assert_eq!(offered(&mut ready(offering(Extensions::ETRN))), ["ETRN", "HELP"]);
    let (said, asked, events) = asking("some.example");
    assert_eq!(
        (said.as_str(), asked.as_deref()),
        ("253 2.0.0 3 pending messages started\r\n", Some("ETRN some.example"))
    );
    assert!(events.contains(&Event::Ran { verb: "ETRN", reply: etrn::started(3) }));
    assert_eq!(asking("none.example").0, "251 2.0.0 No messages waiting\r\n");
    assert_eq!(asking("#queue").0, "458 4.3.0 Unable to queue messages for this node\r\n");
    assert_eq!(asking("@below.example").0, "459 4.7.1 Not for this node, or not by you\r\n");
    assert_eq!((asking("not a domain").0.as_str(), asking("x y").1), ("501 5.5.4 Syntax error in arguments\r\n", None));
    let mut rig = ready(offering(Extensions::ETRN));
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nETRN a.example\nRSET\nETRN a.example\n"), [250, 503, 250, 451]);
    let mut rig = Rig::new(offering(Extensions::ETRN));
    assert_eq!(rig.codes("ETRN a.example\nHELO x\nETRN a.example\n"), [503, 250, 503], "EHLO first");
    assert!(rig.say("HELP\n").contains(" ETRN"));
}

fn trusted(config: Config) -> Rig {
    let mut rig = Rig::unpolled(config);
    rig.server = rig.server.trust(Extensions::all());
    rig.run();
    rig
}

/// A proxy in front says who the client is; everything learned before is forgotten, and the session greets again.
#[test]
fn xclient_makes_it_another_client() {
    let mut rig = trusted(Config { ask: Ask::CONNECT, ..offering(Extensions::empty()) });
    assert_eq!(
        offered(&mut rig),
        [
            "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
            "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE",
            "HELP"
        ]
    );
    rig.asked.clear();
    let said = rig.say("XCLIENT NAME=a.example ADDR=198.51.100.7 PORT=4000 LOGIN=user@example.org\n");
    assert_eq!((said.as_str(), rig.asked.as_slice()), ("220 mx.example.org ESMTP\r\n", &["Connect".to_owned()][..]));
    let origin = rig.server.origin();
    assert_eq!((origin.peer.to_string().as_str(), origin.hello.as_str()), ("198.51.100.7:4000", ""));
    assert_eq!(origin.identity.as_deref(), Some("user@example.org"));
    assert!(rig.events.contains(&Event::HandedOver { client: "198.51.100.7:4000".parse().unwrap() }));
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nEHLO x\nMAIL FROM:<a@b>\nXCLIENT NAME=x\n"), [503, 250, 250, 503]);
    assert_eq!(rig.codes("RSET\nXCLIENT NAME=a ADDR=nonsense\nXCLIENT\nXCLIENT COLOR=red\n"), [250, 501, 501, 501]);
    assert_eq!(rig.server.origin().peer.ip().to_string(), "198.51.100.7", "a malformed one changes nothing");
    let mut rig = trusted(Config { ask: Ask::CONNECT, ..relay() }).answering(|_, request| match request {
        Request::Connect(pending) => {
            let banned = pending.query.origin.peer.ip().to_string() == "198.51.100.7";
            let refusal = Reply::new(554, EnhancedCode::new(5, 7, 1), "not you");
            let decision = smtp_proto::request::Decision::Refused(refusal);
            Ok(Some(pending.answer(if banned { decision } else { smtp_proto::request::Decision::Accepted })))
        }
        other => Err(other),
    });
    assert_eq!(rig.say("XCLIENT ADDR=198.51.100.7\nEHLO x\nQUIT\n").get(..3), Some("554"));
}

#[test]
fn xforward_lasts_for_a_transaction() {
    let mut rig = trusted(offering(Extensions::empty()));
    rig.say("EHLO x\n");
    assert_eq!(rig.codes("XFORWARD NAME=spike.example ADDR=IPV6:2001:db8::7\nXFORWARD SOURCE=LOCAL\n"), [250, 250]);
    let forwarded = rig.server.origin().forwarded.clone().unwrap();
    assert_eq!((forwarded.name.as_deref(), forwarded.local), (Some("spike.example"), Some(true)));
    assert_eq!(rig.server.origin().peer, peer().address, "the session itself stays who it is");
    assert_eq!(rig.codes("MAIL FROM:<a@b>\nXFORWARD NAME=y\nRCPT TO:<c@d>\nDATA\nx\n.\n"), [250, 503, 250, 354, 250]);
    assert!(rig.server.origin().forwarded.is_none());
    assert_eq!(rig.codes("XFORWARD NAME=y\nRSET\n"), [250, 250]);
    assert!(rig.server.origin().forwarded.is_none());
}

#[test]
fn untrusted_hosts_hand_nothing_over() {
    let mut rig = ready(offering(Extensions::all()));
    assert!(!offered(&mut rig).iter().any(|line| line.starts_with('X')));
    assert_eq!(rig.codes("XCLIENT LOGIN=admin\nXFORWARD NAME=x\n"), [502, 502]);
}

/// An embedder's own: a line, a parameter of each command, two verbs, one of which needs no question.
#[derive(Debug)]
struct Office;

impl Extension for Office {
    fn offer(&self, to: &Offer<'_>) -> Option<Cow<'static, str>> {
        (to.origin.hello != "outsider.example").then(|| "XOFFICE vienna".into())
    }

    fn mail_parameter(&self, keyword: &str, value: Option<&str>) -> Parameter {
        match value {
            _ if !keyword.eq_ignore_ascii_case("OFFICE") => Parameter::Unknown,
            Some("vienna") => Parameter::Taken,
            _ => Parameter::Malformed,
        }
    }

    fn rcpt_parameter(&self, keyword: &str, value: Option<&str>) -> Parameter {
        if keyword == "DESK" && value.is_none() { Parameter::Taken } else { Parameter::Unknown }
    }

    fn verbs(&self) -> &[&'static str] {
        &["XOFFICES", "XPING", "MAIL"]
    }

    fn command(&self, line: &CommandLine<'_>) -> Course {
        if line.verb == "XPING" {
            Course::Say(Reply { text: line.arguments.to_owned().into(), ..reply::OK })
        } else {
            Course::Ask
        }
    }
}

#[test]
fn an_embedder_registers_its_own() {
    let config = Config { registered: vec![Arc::new(Office)], ..offering(Extensions::SIZE) };
    let mut rig = ready(config.clone()).answering(|_, request| match request {
        Request::ExtensionCommand(pending) => {
            assert_eq!((pending.query.verb, pending.query.arguments.as_str()), ("XOFFICES", "all of them"));
            Ok(Some(pending.answer(Reply::new(354, EnhancedCode::new(2, 0, 0), "more"))))
        }
        other => Err(other),
    });
    assert_eq!(offered(&mut rig).last().map(String::as_str), Some("XOFFICE vienna"));
    assert_eq!(rig.say("xping  hello \n"), "250 2.0.0 hello\r\n");
    assert_eq!(rig.codes("XOFFICES all of them\n"), [451], "an answer that promises more is none");
    assert!(rig.say("HELP\n").contains("XOFFICES XPING"));
    let script =
        "MAIL FROM:<a@b> OFFICE=osaka\nMAIL FROM:<a@b> OFFICE=vienna DESK\nMAIL FROM:<a@b> office=vienna SIZE=9\n";
    assert_eq!(rig.codes(script), [501, 555, 250]);
    assert_eq!(
        rig.codes("RCPT TO:<c@d> DESK=1\nRCPT TO:<c@d> DESK NOTIFY=NEVER\nRCPT TO:<c@d> DESK\n"),
        [555, 555, 250]
    );
    let (envelope, _) = enveloped(config.clone(), " OFFICE=vienna", " DESK");
    let words: Vec<_> =
        envelope.sender.others.iter().chain(&envelope.recipients[0].others).map(ToString::to_string).collect();
    assert_eq!(words, ["OFFICE=vienna", "DESK"]);
    // Not offered on a stream, nothing of it is known there.
    let mut rig = Rig::new(config);
    rig.say("EHLO outsider.example\n");
    assert_eq!(rig.codes("XPING\nMAIL FROM:<a@b> OFFICE=vienna\nMAIL FROM:<a@b>\n"), [500, 555, 250]);
    assert_eq!(rig.codes("RCPT TO:<c@d> DESK\n"), [555]);
}
