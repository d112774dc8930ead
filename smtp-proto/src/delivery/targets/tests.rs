//! The search against zones written as values.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::reply::EnhancedCode;

/// What the world looks like, and what was asked of it.
#[derive(Default)]
struct World {
    mx: HashMap<&'static str, Looked<Mx>>,
    addresses: HashMap<&'static str, Looked<IpAddr>>,
    tlsa: HashMap<&'static str, Looked<Tlsa>>,
    policy: Option<Policy>,
    /// By host and security: what an attempt comes to; settled where nothing is said.
    attempts: HashMap<(&'static str, &'static str), Attempted>,
    asked: Vec<String>,
}

fn mx(records: &[(u16, &str)]) -> Vec<Mx> {
    records.iter().map(|&(preference, exchange)| Mx { preference, exchange: exchange.into() }).collect()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn failure(stage: Stage, code: u16) -> Failure {
    Failure { stage, reply: Reply::new(code, EnhancedCode::new(4, 0, 0), "x"), remote: true }
}

fn name(security: &Security) -> &'static str {
    match security {
        Security::Clear => "clear",
        Security::Opportunistic => "opportunistic",
        Security::Encrypted => "encrypted",
        Security::Verified { enforced: true, .. } => "verified",
        Security::Verified { enforced: false, .. } => "tested",
        Security::Dane { .. } => "dane",
    }
}

impl World {
    /// A domain `d.example` with these hosts, each with an address ending in its place from 1.
    fn of(records: &[(u16, &'static str)]) -> World {
        let mut world = World::default();
        world.mx.insert("d.example", Ok(Found::insecure(mx(records))));
        for (place, (_, host)) in (1..).zip(records) {
            world.addresses.insert(host, Ok(Found::insecure(vec![address(place)])));
        }
        world
    }

    /// The same where DNSSEC vouches for everything.
    fn signed(records: &[(u16, &'static str)]) -> World {
        let mut world = World::of(records);
        world.mx.values_mut().flatten().for_each(|found| found.secure = true);
        world.addresses.values_mut().flatten().for_each(|found| found.secure = true);
        world
    }

    fn search(&mut self, domain: &str, requirement: Requirement, random: u64) -> Option<Outcome> {
        let config = Arc::new(Config::new("mx.own.example"));
        let mut targets = Targets::new(config, Domain::parse(domain).unwrap(), requirement, random);
        for _ in 0..1000 {
            let request = match targets.poll() {
                Step::Request(request) => request,
                Step::Wait => panic!("no question is out"),
                Step::Done(outcome) => return outcome,
            };
            assert!(matches!(targets.poll(), Step::Wait));
            let answered = match request {
                Request::LookupMx(asked) => {
                    self.asked.push(format!("MX {}", asked.query.domain));
                    let found = self.mx.get(asked.query.domain.as_str()).cloned();
                    asked.answer(found.unwrap_or(Err(LookupError::NoSuchName)))
                }
                Request::LookupAddresses(asked) => {
                    let found = self.addresses.get(asked.query.host.as_str()).cloned();
                    asked.answer(found.unwrap_or(Err(LookupError::NoSuchName)))
                }
                Request::LookupTlsa(asked) => {
                    self.asked.push(format!("TLSA {}", asked.query.name()));
                    let found = self.tlsa.get(asked.query.host.as_str()).cloned();
                    asked.answer(found.unwrap_or(Ok(Found::secure(Vec::new()))))
                }
                Request::FindPolicy(asked) => {
                    let policy = self.policy.clone().map(Arc::new);
                    asked.answer(policy)
                }
                Request::Attempt(asked) => {
                    let Target { host, address, security } = &asked.query.target;
                    let last = address.to_string();
                    self.asked.push(format!("{host} {last} {}", name(security)));
                    let known = self.attempts.iter().find(|((at, how), _)| at == host && *how == name(security));
                    let attempted = known.map_or(Attempted::Settled, |(_, attempted)| attempted.clone());
                    asked.answer(attempted)
                }
            };
            targets.resume(answered);
        }
        panic!("the search never ends");
    }

    fn refuses(&mut self, host: &'static str, security: &'static str, attempted: Attempted) {
        self.attempts.insert((host, security), attempted);
    }

    /// What was tried, in order.
    fn tried(&self) -> Vec<&str> {
        self.asked.iter().map(String::as_str).filter(|asked| asked.contains(":25 ")).collect()
    }
}

fn code(outcome: Option<Outcome>) -> String {
    match outcome {
        None => "settled".into(),
        Some(Outcome::Delivered(_)) => panic!("delivered nowhere"),
        Some(Outcome::Deferred(failure)) => format!("deferred {}", failure.reply),
        Some(Outcome::Failed(failure)) => format!("failed {}", failure.reply),
    }
}

#[test]
fn hosts_are_tried_by_preference() {
    let mut world = World::of(&[(20, "c.example"), (10, "a.example"), (10, "b.example"), (30, "d.example")]);
    for host in ["a.example", "b.example", "c.example"] {
        world.refuses(host, "opportunistic", Attempted::Failed(failure(Stage::Greeting, 554)));
    }
    let mut firsts = Vec::new();
    for random in 0..20 {
        world.asked.clear();
        assert_eq!(world.search("D.Example.", Requirement::Policy, random), None);
        let tried = world.tried();
        let expected = ["192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:25", "192.0.2.4:25"];
        assert_eq!(tried.len(), expected.len());
        assert!(tried[2].starts_with("c.example") && tried[3].starts_with("d.example"));
        firsts.push(tried[0].to_owned());
    }
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 2, "hosts of one preference share the load");
}

#[test]
fn every_address_of_a_host_is_tried_before_the_next() {
    let mut world = World::of(&[(10, "a.example"), (20, "b.example")]);
    let many = (1..=9).map(address).collect();
    world.addresses.insert("a.example", Ok(Found::insecure(many)));
    world.refuses("a.example", "opportunistic", Attempted::Failed(failure(Stage::Connect, 451)));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!((world.tried().len(), world.tried()[5]), (6, "b.example 192.0.2.2:25 opportunistic"));
    world.refuses("b.example", "opportunistic", Attempted::Failed(failure(Stage::Hello, 451)));
    assert_eq!(code(world.search("d.example", Requirement::Policy, 0)), "deferred 451 4.0.0 x");
}

/// RFC 5321 §5.1, RFC 7505: domains without mail hosts, and domains that want no mail.
#[test]
fn domains_without_hosts() {
    let mut world = World::of(&[]);
    world.addresses.insert("d.example", Ok(Found::insecure(vec![address(7)])));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried(), ["d.example 192.0.2.7:25 opportunistic"], "the domain itself is the host");
    assert_eq!(
        code(World::of(&[]).search("d.example", Requirement::Policy, 0)),
        code(Some(Outcome::Failed(Failure { stage: Stage::Lookup, reply: NO_SUCH_HOST, remote: false })))
    );
    let mut null = World::of(&[(0, "")]);
    null.addresses.insert("d.example", Ok(Found::insecure(vec![address(7)])));
    assert_eq!(code(null.search("d.example", Requirement::Policy, 0)), "failed 556 5.1.10 The domain takes no mail");
    assert!(null.tried().is_empty());
    let mut odd = World::of(&[(0, ""), (10, "a.example")]);
    assert_eq!(odd.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(
        code(World::default().search("d.example", Requirement::Policy, 0)),
        "failed 550 5.1.2 The domain does not exist"
    );
    for error in [LookupError::Unavailable, LookupError::Bogus] {
        let mut world = World::default();
        world.mx.insert("d.example", Err(error));
        assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred 451 4.4.3"));
        let mut world = World::of(&[(10, "a.example"), (20, "b.example")]);
        world.addresses.insert("a.example", Err(error));
        world.addresses.remove("b.example");
        assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred 451 4.4.3"), "a may yet");
    }
}

/// RFC 5321 §5.1: mail for a domain whose backup this host is goes to better hosts only, never round in circles.
#[test]
fn this_host_is_left_out_with_all_behind_it() {
    let mut world = World::of(&[(10, "a.example"), (20, "mx.own.example"), (20, "b.example"), (30, "c.example")]);
    world.refuses("a.example", "opportunistic", Attempted::Failed(failure(Stage::Connect, 451)));
    assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred"));
    assert_eq!(world.tried().len(), 1);
    let mut best = World::of(&[(10, "mx.own.example"), (20, "b.example")]);
    assert!(code(best.search("d.example", Requirement::Policy, 0)).starts_with("failed 554 5.4.6"));
    let mut implicit = World::default();
    implicit.mx.insert("mx.own.example", Ok(Found::insecure(Vec::new())));
    assert!(code(implicit.search("mx.own.example", Requirement::Policy, 0)).starts_with("failed 554 5.4.6"));
}

#[test]
fn address_literals_are_not_looked_up() {
    let mut world = World::default();
    assert_eq!(world.search("[IPv6:2001:db8::1]", Requirement::Policy, 0), None);
    assert_eq!(world.asked, ["[IPv6:2001:db8::1] [2001:db8::1]:25 opportunistic"]);
}

/// RFC 7435 §3: whoever can't do TLS gets the mail in clear, on another connection.
#[test]
fn opportunistic_tls_falls_back() {
    let mut world = World::of(&[(10, "a.example")]);
    world.refuses("a.example", "opportunistic", Attempted::Insecure(failure(Stage::StartTls, 451)));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried(), ["a.example 192.0.2.1:25 opportunistic", "a.example 192.0.2.1:25 clear"]);
}

fn policy(mode: &str) -> Option<Policy> {
    Some(Policy::parse(format!("version: STSv1\nmode: {mode}\nmx: *.good.example\nmax_age: 86400").as_bytes()).unwrap())
}

/// RFC 8461 §4 and §5.
#[test]
fn mta_sts_is_enforced_or_tested() {
    let hosts = [(10, "bad.example"), (20, "a.good.example")];
    let mut world = World { policy: policy("enforce"), ..World::of(&hosts) };
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried(), ["a.good.example 192.0.2.2:25 verified"], "a host that is not named is passed over");
    world.refuses("a.good.example", "verified", Attempted::Insecure(failure(Stage::StartTls, 451)));
    assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred"), "never in clear");
    world.asked.clear();
    assert_eq!(world.search("d.example", Requirement::Optional, 0), None, "TLS-Required: No");
    assert_eq!(world.tried(), ["bad.example 192.0.2.1:25 opportunistic"]);
    let mut world = World { policy: policy("testing"), ..World::of(&hosts) };
    world.refuses("bad.example", "opportunistic", Attempted::Failed(failure(Stage::Mail, 451)));
    world.refuses("a.good.example", "tested", Attempted::Insecure(failure(Stage::StartTls, 451)));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried()[1..], ["a.good.example 192.0.2.2:25 tested", "a.good.example 192.0.2.2:25 opportunistic"]);
    let mut world = World { policy: policy("enforce"), ..World::of(&[(10, "bad.example")]) };
    assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred 451 4.7.5"));
}

fn record(usage: u8) -> Tlsa {
    Tlsa { usage, selector: 1, matching: 1, data: vec![0; 32] }
}

/// RFC 7672 §2: TLSA records count where DNSSEC vouches for all of the way, stand before MTA-STS, and leave no way down.
#[test]
fn dane_where_dnssec_vouches() {
    let hosts = [(10, "a.good.example"), (20, "b.example")];
    let mut world = World { policy: policy("enforce"), ..World::signed(&hosts) };
    world.tlsa.insert("a.good.example", Ok(Found::secure(vec![record(3), record(0)])));
    world.refuses("a.good.example", "dane", Attempted::Insecure(failure(Stage::StartTls, 451)));
    assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred"));
    assert_eq!(world.tried(), ["a.good.example 192.0.2.1:25 dane"]);
    assert!(world.asked.contains(&"TLSA _25._tcp.a.good.example".to_owned()));
    // None that could be used: TLS with whomever.
    let mut world = World::signed(&hosts);
    world.tlsa.insert("a.good.example", Ok(Found::secure(vec![record(0)])));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried(), ["a.good.example 192.0.2.1:25 encrypted"]);
    // Not vouched for: as if there were none.
    let mut world = World::signed(&hosts);
    world.tlsa.insert("a.good.example", Ok(Found::insecure(vec![record(3)])));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    assert_eq!(world.tried(), ["a.good.example 192.0.2.1:25 opportunistic"]);
    // Whether there are any can't be found out: the next host.
    for error in [LookupError::Unavailable, LookupError::Bogus] {
        let mut world = World::signed(&hosts);
        world.tlsa.insert("a.good.example", Err(error));
        assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
        assert_eq!(world.tried(), ["b.example 192.0.2.2:25 opportunistic"]);
        world.tlsa.insert("b.example", Err(error));
        assert!(code(world.search("d.example", Requirement::Policy, 0)).starts_with("deferred 451 4.7.5"));
    }
    // A zone that is not signed is not asked for TLSA: its servers may not even answer.
    for (mx, addresses) in [(false, true), (true, false)] {
        let mut world = World::signed(&hosts);
        world.mx.values_mut().flatten().for_each(|found| found.secure = mx);
        world.addresses.values_mut().flatten().for_each(|found| found.secure = addresses);
        world.tlsa.insert("a.good.example", Err(LookupError::Unavailable));
        assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
        assert!(!world.asked.iter().any(|asked| asked.starts_with("TLSA")));
    }
}

/// RFC 7672 §2.2.3: a host that is an alias has its records at the end of the aliases, or at its own name.
#[test]
fn tlsa_records_behind_an_alias() {
    let mut world = World::signed(&[(10, "a.example")]);
    world.addresses.values_mut().flatten().for_each(|found| found.canonical = Some("real.example".into()));
    world.tlsa.insert("a.example", Ok(Found::secure(vec![record(2)])));
    assert_eq!(world.search("d.example", Requirement::Policy, 0), None);
    let tlsa: Vec<_> = world.asked.iter().filter(|asked| asked.starts_with("TLSA")).collect();
    assert_eq!(tlsa, ["TLSA _25._tcp.real.example", "TLSA _25._tcp.a.example"]);
    assert_eq!(world.tried(), ["a.example 192.0.2.1:25 dane"]);
}

/// RFC 8689 §4.2.1: mail with REQUIRETLS goes only to hosts that something vouches for.
#[test]
fn requiretls_goes_only_where_it_is_known_who_it_is() {
    let hosts = [(10, "a.good.example")];
    let outcome = World::of(&hosts).search("d.example", Requirement::Verified, 0);
    assert!(code(outcome).starts_with("failed 550 5.7.30"));
    let mut sts = World { policy: policy("enforce"), ..World::of(&hosts) };
    assert_eq!(sts.search("d.example", Requirement::Verified, 0), None);
    assert_eq!(sts.tried(), ["a.good.example 192.0.2.1:25 verified"]);
    let mut signed = World::signed(&hosts);
    assert_eq!(signed.search("d.example", Requirement::Verified, 0), None);
    assert_eq!(signed.tried(), ["a.good.example 192.0.2.1:25 verified"]);
    signed.tlsa.insert("a.good.example", Ok(Found::secure(vec![record(3)])));
    signed.asked.clear();
    assert_eq!(signed.search("d.example", Requirement::Verified, 0), None);
    assert_eq!(signed.tried(), ["a.good.example 192.0.2.1:25 dane"]);
    let testing =
        World { policy: policy("testing"), ..World::of(&hosts) }.search("d.example", Requirement::Verified, 0);
    assert!(code(testing).starts_with("failed 550 5.7.30"));
    // A host that does not offer REQUIRETLS: for good, when no other does.
    let mut lacking = World::signed(&hosts);
    let mut lacks = failure(Stage::Requirements, 550);
    lacks.remote = false;
    lacking.refuses("a.good.example", "verified", Attempted::Failed(lacks));
    assert!(code(lacking.search("d.example", Requirement::Verified, 0)).starts_with("failed 550"));
}

#[test]
fn outcomes_say_whether_another_host_may_do_better() {
    let taken = Outcome::Delivered(crate::reply::OK);
    let deferred = |stage| Outcome::Deferred(failure(stage, 451));
    let failed = |stage| Outcome::Failed(failure(stage, 550));
    assert_eq!(Attempted::of(&[deferred(Stage::Rcpt), taken]), Attempted::Settled);
    assert_eq!(Attempted::of(&[failed(Stage::Mail)]), Attempted::Settled, "the message itself is refused");
    assert_eq!(Attempted::of(&[deferred(Stage::Rcpt)]), Attempted::Settled, "another host would defer too");
    assert_eq!(Attempted::of(&[deferred(Stage::FinalDot)]), Attempted::Settled, "it may have been taken");
    assert_eq!(Attempted::of(&[]), Attempted::Settled);
    for stage in [Stage::Connect, Stage::Greeting, Stage::Hello, Stage::Auth, Stage::Mail, Stage::Requirements] {
        assert!(matches!(Attempted::of(&[deferred(stage), deferred(stage)]), Attempted::Failed(_)), "{stage:?}");
    }
    for stage in [Stage::Greeting, Stage::Hello, Stage::Requirements] {
        assert!(matches!(Attempted::of(&[failed(stage)]), Attempted::Failed(_)), "{stage:?}");
    }
    assert!(matches!(Attempted::of(&[deferred(Stage::StartTls)]), Attempted::Insecure(_)));
    assert_eq!(Duration::from_secs(86_400), policy("enforce").unwrap().max_age);
}

/// RFC 8689 §3.
#[test]
fn a_header_may_ask_for_delivery_before_protection() {
    let of = |header: &str| Requirement::of(false, header.as_bytes());
    assert_eq!(of("From: a@b\r\ntls-required : no\r\n\r\n"), Requirement::Optional);
    for none in
        ["TLS-Required: Yes\r\n", "X-TLS-Required: No\r\n", "A: b\r\n TLS-Required: No\r\n", "\r\nTLS-Required: No\r\n"]
    {
        assert_eq!(of(none), Requirement::Policy, "{none}");
    }
    assert_eq!(Requirement::of(true, b"TLS-Required: No\r\n"), Requirement::Verified);
}
