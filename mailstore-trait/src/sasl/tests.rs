//! Client against server for every mechanism, the examples of the RFCs, and every way to go wrong.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn mechanism(name: &str) -> Mechanism {
    Mechanism::parse(name.as_bytes()).unwrap()
}

/// TLS with both bindings and a client certificate.
fn tls() -> Context {
    let mut context = Context::cleartext();
    context.tls = true;
    context.exporter = Some([7; 32]);
    context.end_point = Some(Bytes::from_static(&[9; 32]));
    context.peer_certificate = Some(Bytes::from_static(b"der of tim"));
    context.plus_offered = true;
    context
}

fn nonce(side: &str) -> Nonce {
    Nonce::from_printable(side).unwrap()
}

fn password(user: &str, password: &str, authzid: Option<&str>) -> Credentials {
    Credentials::Password { user: user.into(), password: Secret::from(password), authzid: authzid.map(str::to_owned) }
}

fn token(user: Option<&str>) -> Credentials {
    Credentials::Token {
        user: user.map(str::to_owned),
        token: Secret::from("tok.en-1=="),
        host: Some("mail.example.org".into()),
        port: Some(993),
    }
}

static KEYS: LazyLock<[ScramVerifier; 3]> = LazyLock::new(|| {
    ScramHash::ALL.map(|hash| ScramVerifier::from_password(hash, "tanstaaftanstaaf", &[5; 16], 4096).unwrap())
});

/// What the user database of these tests says: one user, `tim`, password `tanstaaftanstaaf`, who may act as `kurt`.
fn fulfil(ask: Ask) -> Answer {
    let refused = Answer::Refuse(Refusal::Credentials);
    match ask {
        Ask::Password { user, password } => match (user.as_str(), password.expose_str()) {
            ("tim", Ok("tanstaaftanstaaf")) => Answer::Accept(user),
            _ => refused,
        },
        Ask::ScramKeys { user, hash } => Answer::Keys(match user.as_str() {
            "tim" => KEYS.iter().find(|keys| keys.hash() == hash).unwrap().clone(),
            _ => ScramVerifier::fake(&Secret::from("server secret"), &user, hash, 4096),
        }),
        Ask::Token { token, .. } if token.expose() == b"tok.en-1==" => Answer::Accept("tim".into()),
        Ask::Certificate { certificate, .. } if certificate == b"der of tim"[..] => Answer::Accept("tim".into()),
        Ask::Authorize { user, authzid } if user == "tim" && authzid == "kurt" => Answer::Accept(authzid),
        _ => refused,
    }
}

/// Runs a client against a server; what each made of it.
fn exchange(
    mechanism: Mechanism,
    credentials: &Credentials,
    (client, server): (&Context, &Context),
    initial_response: bool,
) -> (Result<(), client::Failure>, Result<Identity, Failure>) {
    let mut client = match Client::start(mechanism, credentials, client, nonce("client+nonce")) {
        Ok(client) => client,
        Err(failure) => return (Err(failure), Err(Failure::Misuse)),
    };
    let initial = if initial_response { client.initial() } else { None };
    let (mut server, mut step) = Server::start(mechanism, server.clone(), nonce("server/nonce"), initial.as_deref());
    loop {
        step = match step {
            Step::Challenge(challenge) => match client.challenge(&challenge) {
                Ok(response) => server.response(&response),
                Err(failure) => return (Err(failure), Err(Failure::Misuse)),
            },
            Step::Ask(ask) => server.answer(fulfil(ask)),
            Step::Done(identity) => return (client.success(None), Ok(identity)),
            Step::Failed(failure) => return (client.success(None), Err(failure)),
        };
    }
}

fn good_credentials(mechanism: Mechanism) -> Credentials {
    match mechanism {
        Mechanism::Plain | Mechanism::Login | Mechanism::Scram { .. } => password("tim", "tanstaaftanstaaf", None),
        Mechanism::OauthBearer => token(None),
        Mechanism::Xoauth2 => token(Some("tim")),
        Mechanism::External => Credentials::Certificate { authzid: None },
    }
}

#[test]
fn every_mechanism_logs_in_with_and_without_an_initial_response() {
    for mechanism in Mechanism::ALL {
        for initial_response in [true, false] {
            let (client, server) =
                exchange(mechanism, &good_credentials(mechanism), (&tls(), &tls()), initial_response);
            assert_eq!(client, Ok(()), "{mechanism}");
            assert_eq!(server, Ok(Identity { user: "tim".into(), authzid: None }), "{mechanism}");
        }
    }
}

#[test]
fn wrong_passwords_and_unknown_users_are_refused_alike() {
    for mechanism in Mechanism::ALL {
        for credentials in [password("tim", "wrong", None), password("nobody", "tanstaaftanstaaf", None)] {
            if credentials.fit(mechanism) {
                let (_, server) = exchange(mechanism, &credentials, (&tls(), &tls()), true);
                assert_eq!(server, Err(Failure::Credentials), "{mechanism}");
            }
        }
    }
}

#[test]
fn authzid_is_asked_about_where_it_is_another() {
    for mechanism in Mechanism::ALL {
        let with_authzid = |authzid: &str| match mechanism {
            Mechanism::Login => None,
            Mechanism::OauthBearer | Mechanism::Xoauth2 => Some(token(Some(authzid))),
            Mechanism::External => Some(Credentials::Certificate { authzid: Some(authzid.into()) }),
            _ => Some(password("tim", "tanstaaftanstaaf", Some(authzid))),
        };
        let Some(credentials) = with_authzid("kurt") else { continue };
        let (client, server) = exchange(mechanism, &credentials, (&tls(), &tls()), true);
        let identity = server.unwrap();
        assert_eq!((identity.user.as_str(), identity.acts_as()), ("tim", "kurt"), "{mechanism}");
        assert_eq!(client, Ok(()));
        // Oneself is no other identity.
        let (_, server) = exchange(mechanism, &with_authzid("tim").unwrap(), (&tls(), &tls()), true);
        assert_eq!(server, Ok(Identity { user: "tim".into(), authzid: None }), "{mechanism}");
        let (client, server) = exchange(mechanism, &with_authzid("root").unwrap(), (&tls(), &tls()), true);
        assert_eq!(server, Err(Failure::Authorization), "{mechanism}");
        // A client that hears "success" now must not believe it, where the mechanism lets it know.
        if mechanism.scram_hash().is_some() {
            assert_eq!(client, Err(client::Failure::OutOfTurn));
        }
    }
}

#[test]
fn scram_sha_1_example_of_the_rfc() {
    // RFC 5802 §5.
    scram_example(
        ScramHash::Sha1,
        ("fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"),
        "QSXCR+Q6sek8bf92",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    );
}

#[test]
fn scram_sha_256_example_of_the_rfc() {
    // RFC 7677 §3.
    scram_example(
        ScramHash::Sha256,
        ("rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    );
}

#[test]
fn scram_sha_512_example_computed_elsewhere() {
    // No RFC has one. Computed from RFC 5802 §3 with Python's hashlib and hmac.
    scram_example(
        ScramHash::Sha512,
        ("rOprNGfwEbeRWgbNEkqO", "02431b08-9f0b-4ef2"),
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "2YZ6Ahy1UujEdgLXucNQ3CDO+dRwUhC6/m8HUbdgHVypEPAVlXGFUoOqmU3nsqB6papUU3j1HHcMUzq6wjf4qA==",
        "NETMBC2k2nkWzOR6PP0rBWS86gm/2epyQ8A4u38BGOEGesvcyxzHzeXf2gdlzNtcGZ4BMvNSWVCWjALAJGP3BA==",
    );
}

fn scram_example(hash: ScramHash, (cnonce, snonce): (&str, &str), salt: &str, proof: &str, signature: &str) {
    use base64::Engine;
    let mechanism = Mechanism::Scram { hash, plus: false };
    let cleartext = Context::cleartext();
    let mut client = Client::start(mechanism, &password("user", "pencil", None), &cleartext, nonce(cnonce)).unwrap();
    let first = client.initial().unwrap();
    assert_eq!(first, format!("n,,n=user,r={cnonce}"));
    let (mut server, step) = Server::start(mechanism, cleartext, nonce(snonce), Some(&first));
    let Step::Ask(Ask::ScramKeys { user, hash: asked }) = step else { panic!("{step:?}") };
    assert_eq!((user.as_str(), asked), ("user", hash));
    let salt_octets = base64::engine::general_purpose::STANDARD.decode(salt).unwrap();
    let keys = ScramVerifier::from_password(hash, "pencil", &salt_octets, 4096).unwrap();
    let Step::Challenge(challenge) = server.answer(Answer::Keys(keys)) else { panic!() };
    assert_eq!(challenge, format!("r={cnonce}{snonce},s={salt},i=4096"));
    let response = client.challenge(&challenge).unwrap();
    assert_eq!(response, format!("c=biws,r={cnonce}{snonce},p={proof}"));
    assert!(!server.is_final());
    let Step::Challenge(last) = server.response(&response) else { panic!() };
    assert_eq!(last, format!("v={signature}"));
    assert!(server.is_final());
    assert_eq!(client.challenge(&last).unwrap(), "");
    assert_eq!(client.success(None), Ok(()));
    let Step::Done(identity) = server.response(b"") else { panic!() };
    assert_eq!(identity.acts_as(), "user");
}

#[test]
fn scram_success_data_may_come_with_the_reply() {
    let mechanism = mechanism("SCRAM-SHA-256");
    let start = || {
        let mut client = Client::start(mechanism, &good_credentials(mechanism), &tls(), nonce("client+nonce")).unwrap();
        let (mut server, step) = Server::start(mechanism, tls(), nonce("server"), client.initial().as_deref());
        let Step::Ask(ask) = step else { panic!() };
        let Step::Challenge(challenge) = server.answer(fulfil(ask)) else { panic!() };
        let response = client.challenge(&challenge).unwrap();
        let Step::Challenge(last) = server.response(&response) else { panic!() };
        (client, last)
    };
    let (mut client, last) = start();
    assert_eq!(client.success(Some(&last)), Ok(()));
    let (mut client, _) = start();
    assert_eq!(client.success(None), Err(client::Failure::OutOfTurn));
    let (mut client, _) = start();
    assert_eq!(client.success(Some(b"v=AAAA")), Err(client::Failure::ServerSignature));
    let (mut client, _) = start();
    assert_eq!(client.challenge(b"e=other-error"), Err(client::Failure::Refused));
}

#[test]
fn scram_downgrade_is_detected() {
    // The client can bind; somebody removed -PLUS from what the server advertised.
    let mut fooled = tls();
    fooled.plus_offered = false;
    let mechanism = mechanism("SCRAM-SHA-256");
    let (_, server) = exchange(mechanism, &good_credentials(mechanism), (&fooled, &tls()), true);
    assert_eq!(server, Err(Failure::Downgrade));
    // The same client at a server that truly offers none.
    let (client, server) = exchange(mechanism, &good_credentials(mechanism), (&fooled, &fooled), true);
    assert!(client.is_ok() && server.is_ok());
}

#[test]
fn scram_is_bound_to_its_channel() {
    let mechanism = mechanism("SCRAM-SHA-256-PLUS");
    for exporter in [Some([8; 32]), None] {
        let mut other = tls();
        other.exporter = exporter;
        let (_, server) = exchange(mechanism, &good_credentials(mechanism), (&tls(), &other), true);
        let expected = if exporter.is_some() { Failure::ChannelBinding } else { Failure::UnsupportedBinding };
        assert_eq!(server, Err(expected));
    }
    let mut end_point_only = tls();
    end_point_only.exporter = None;
    let (client, server) = exchange(mechanism, &good_credentials(mechanism), (&end_point_only, &tls()), true);
    assert!(client.is_ok() && server.is_ok());
    let mut other = tls();
    other.end_point = Some(Bytes::from_static(&[1; 32]));
    let (_, server) = exchange(mechanism, &good_credentials(mechanism), (&end_point_only, &other), true);
    assert_eq!(server, Err(Failure::ChannelBinding));
}

#[test]
fn scram_plus_wants_a_binding_and_plain_scram_wants_none() {
    let fails = |name: &str, message: &str| {
        let (_, step) = Server::start(mechanism(name), tls(), nonce("s"), Some(message.as_bytes()));
        match step {
            Step::Failed(failure) => failure,
            step => panic!("{message}: {step:?}"),
        }
    };
    assert_eq!(fails("SCRAM-SHA-256-PLUS", "n,,n=tim,r=x"), Failure::Malformed);
    assert_eq!(fails("SCRAM-SHA-256-PLUS", "y,,n=tim,r=x"), Failure::Malformed);
    assert_eq!(fails("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=tim,r=x"), Failure::UnsupportedBinding);
    assert_eq!(fails("SCRAM-SHA-256", "p=tls-exporter,,n=tim,r=x"), Failure::Malformed);
    assert_eq!(fails("SCRAM-SHA-256", "n,,m=1,n=tim,r=x"), Failure::UnsupportedExtension);
    assert_eq!(fails("SCRAM-SHA-256", "n,,n=ti\u{7}m,r=x"), Failure::Preparation);
    assert_eq!(fails("SCRAM-SHA-256", &format!("n,,n={},r=x", "x".repeat(256))), Failure::TooLong);
    assert_eq!(fails("SCRAM-SHA-256", &format!("n,a={},n=tim,r=x", "x".repeat(256))), Failure::TooLong);
}

#[test]
fn scram_replies_that_do_not_fit_the_exchange() {
    let prove = |forge: &dyn Fn(String) -> String| {
        let mechanism = mechanism("SCRAM-SHA-256");
        let mut client = Client::start(mechanism, &good_credentials(mechanism), &tls(), nonce("client+nonce")).unwrap();
        let (mut server, step) = Server::start(mechanism, tls(), nonce("server"), client.initial().as_deref());
        let Step::Ask(ask) = step else { panic!() };
        let Step::Challenge(challenge) = server.answer(fulfil(ask)) else { panic!() };
        let response = String::from_utf8(client.challenge(&challenge).unwrap().to_vec()).unwrap();
        match server.response(forge(response).as_bytes()) {
            Step::Failed(failure) => Err(failure),
            Step::Challenge(last) => Ok(last),
            step => panic!("{step:?}"),
        }
    };
    assert!(prove(&|response| response).is_ok());
    // Another nonce, another GS2 header ("y,,"), a proof that is cut short, one that is another's, none at all.
    assert_eq!(prove(&|r| r.replace("server", "serveR")), Err(Failure::Malformed));
    assert_eq!(prove(&|r| r.replace("c=biws", "c=eSws")), Err(Failure::ChannelBinding));
    assert_eq!(prove(&|r| r.split(",p=").next().unwrap().to_owned() + ",p=QUFB"), Err(Failure::Malformed));
    let other = format!(",p={}=", "A".repeat(43));
    assert_eq!(prove(&|r| r.split(",p=").next().unwrap().to_owned() + &other), Err(Failure::Credentials));
    assert_eq!(prove(&|r| r.split(",p=").next().unwrap().to_owned()), Err(Failure::Malformed));
    // An extension is signed along with the rest: put in by another hand it breaks the proof.
    assert_eq!(prove(&|r| r.replace(",p=", ",x=1,p=")), Err(Failure::Credentials));
}

#[test]
fn scram_client_refuses_costs_and_nonces_that_cannot_be_right() {
    let mechanism = mechanism("SCRAM-SHA-256");
    let challenge = |text: &str| {
        let mut client = Client::start(mechanism, &good_credentials(mechanism), &tls(), nonce("abc")).unwrap();
        assert_eq!(client.initial().unwrap(), "n,,n=tim,r=abc");
        client.challenge(text.as_bytes())
    };
    assert!(challenge("r=abcd,s=QUFBQUFBQUE=,i=4096").is_ok());
    assert_eq!(challenge("r=abc,s=QUFBQUFBQUE=,i=4096"), Err(client::Failure::Malformed));
    assert_eq!(challenge("r=xyzd,s=QUFBQUFBQUE=,i=4096"), Err(client::Failure::Malformed));
    assert_eq!(challenge("r=abcd,s=QUFBQUFBQUE=,i=4095"), Err(client::Failure::Iterations(4095)));
    assert_eq!(challenge("r=abcd,s=QUFBQUFBQUE=,i=4000000000"), Err(client::Failure::Iterations(4_000_000_000)));
    assert_eq!(challenge("m=1,r=abcd,s=QUFBQUFBQUE=,i=4096"), Err(client::Failure::UnsupportedExtension));
    assert_eq!(challenge(&"x".repeat(12_289)), Err(client::Failure::TooLong));
}

#[test]
fn names_with_commas_equals_and_other_scripts_survive_scram() {
    let (mut server, step);
    let mechanism = mechanism("SCRAM-SHA-1");
    let user = "a,b=c \u{fc}";
    let mut client = Client::start(mechanism, &password(user, "x", Some("d,e=f")), &tls(), nonce("c")).unwrap();
    let first = client.initial().unwrap();
    assert_eq!(first, "n,a=d=2Ce=3Df,n=a=2Cb=3Dc \u{fc},r=c");
    (server, step) = Server::start(mechanism, tls(), nonce("s"), Some(&first));
    let Step::Ask(Ask::ScramKeys { user: asked, hash }) = step else { panic!() };
    assert_eq!(asked, user);
    let keys = ScramVerifier::from_password(hash, "x", &[1; 16], 4096).unwrap();
    let Step::Challenge(challenge) = server.answer(Answer::Keys(keys)) else { panic!() };
    let step = server.response(&client.challenge(&challenge).unwrap());
    let Step::Ask(Ask::Authorize { user: asked, authzid }) = step else { panic!("{step:?}") };
    assert_eq!((asked.as_str(), authzid.as_str()), (user, "d,e=f"));
}

#[test]
fn plain_messages_that_are_none() {
    let start = |message: &[u8]| match Server::start(Mechanism::Plain, tls(), nonce("s"), Some(message)).1 {
        Step::Failed(failure) => Some(failure),
        _ => None,
    };
    assert_eq!(start(b"\0tim\0pass"), None);
    for bad in [&b""[..], b"tim", b"tim\0pass", b"\0\0pass", b"\0tim\0", b"\0tim\0pa\0ss", b"\0t\xff\0pass", b"\0\0"] {
        assert_eq!(start(bad), Some(Failure::Malformed), "{bad:?}");
    }
    assert_eq!(start(b"\0t\x07\0pass"), Some(Failure::Preparation));
    assert_eq!(start(b"\0tim\0pa\x07ss"), Some(Failure::Preparation));
    let long = "x".repeat(256);
    assert_eq!(start(format!("\0{long}\0pass").as_bytes()), Some(Failure::TooLong));
    assert_eq!(start(format!("{long}\0tim\0pass").as_bytes()), Some(Failure::TooLong));
    assert_eq!(start(format!("\0tim\0{}", "x".repeat(1025)).as_bytes()), Some(Failure::TooLong));
    assert_eq!(start(&vec![b'x'; 12_289]), Some(Failure::TooLong));
    // A password is prepared before anybody compares it.
    let (_, step) = Server::start(Mechanism::Plain, tls(), nonce("s"), Some("\0I\u{ad}X\0\u{2168}".as_bytes()));
    let Step::Ask(Ask::Password { user, password }) = step else { panic!() };
    assert_eq!((user.as_str(), password.expose()), ("IX", &b"IX"[..]));
}

#[test]
fn login_prompts_as_every_client_expects() {
    let (mut server, step) = Server::start(Mechanism::Login, tls(), nonce("s"), None);
    assert!(matches!(step, Step::Challenge(prompt) if prompt == "Username:"));
    assert!(matches!(server.response(b"tim"), Step::Challenge(prompt) if prompt == "Password:"));
    let Step::Ask(ask) = server.response(b"tanstaaftanstaaf") else { panic!() };
    assert!(matches!(server.answer(fulfil(ask)), Step::Done(_)));
    // The name as initial response.
    let (_, step) = Server::start(Mechanism::Login, tls(), nonce("s"), Some(b"tim"));
    assert!(matches!(step, Step::Challenge(prompt) if prompt == "Password:"));
    for bad in [&b""[..], b"t\0m", b"\xff"] {
        let (mut server, _) = Server::start(Mechanism::Login, tls(), nonce("s"), None);
        assert!(matches!(server.response(bad), Step::Failed(Failure::Malformed)), "{bad:?}");
        let (mut server, _) = Server::start(Mechanism::Login, tls(), nonce("s"), Some(b"tim"));
        assert!(matches!(server.response(bad), Step::Failed(Failure::Malformed)), "{bad:?}");
    }
}

#[test]
fn a_refused_token_is_told_why_and_then_fails() {
    let mut hinting = tls();
    hinting.oauth.scope = Some("mail".into());
    for (mechanism, user, error, end) in [
        (Mechanism::OauthBearer, None, r#"{"status":"invalid_token","scope":"mail"}"#, "\x01"),
        (Mechanism::Xoauth2, Some("tim"), r#"{"status":"401","schemes":"bearer","scope":"mail"}"#, ""),
    ] {
        let credentials =
            Credentials::Token { user: user.map(str::to_owned), token: Secret::from("stale"), host: None, port: None };
        let mut client = Client::start(mechanism, &credentials, &tls(), nonce("c")).unwrap();
        let initial = client.initial();
        let (mut server, step) = Server::start(mechanism, hinting.clone(), nonce("s"), initial.as_deref());
        let Step::Ask(ask) = step else { panic!() };
        let Step::Challenge(challenge) = server.answer(fulfil(ask)) else { panic!() };
        assert_eq!(challenge, error);
        let response = client.challenge(&challenge).unwrap();
        assert_eq!(response, end);
        assert!(matches!(server.response(&response), Step::Failed(Failure::Credentials)));
        assert_eq!(client.success(None), Err(client::Failure::Refused));
        // A database that is down is no reason to fetch another token.
        let (mut server, step) = Server::start(mechanism, hinting.clone(), nonce("s"), initial.as_deref());
        assert!(matches!(step, Step::Ask(_)));
        let step = server.answer(Answer::Refuse(Refusal::Unavailable));
        assert!(matches!(step, Step::Failed(Failure::Unavailable)));
    }
    // RFC 7628 §4.3: no token is a question where to get one.
    let (mut server, step) = Server::start(Mechanism::OauthBearer, hinting, nonce("s"), Some(b"n,,\x01auth=\x01\x01"));
    assert!(matches!(step, Step::Challenge(_)));
    assert!(matches!(server.response(b"\x01"), Step::Failed(Failure::Credentials)));
}

#[test]
fn what_the_connection_lacks_fails_at_once_on_both_sides() {
    let clear = Context::cleartext();
    for mechanism in Mechanism::ALL {
        let (_, step) = Server::start(mechanism, clear.clone(), nonce("s"), None);
        let client = Client::start(mechanism, &good_credentials(mechanism), &clear, nonce("c"));
        if matches!(mechanism, Mechanism::Scram { plus: false, .. }) {
            assert!(matches!(step, Step::Challenge(_)) && client.is_ok());
        } else {
            assert!(matches!(step, Step::Failed(_)), "{mechanism}");
            assert!(client.is_err(), "{mechanism}");
        }
    }
}

#[test]
fn the_client_chooses_the_strongest_it_can_use() {
    let credentials = password("tim", "x", None);
    let choose = |context: &Context| client::choose(Mechanism::ALL, &credentials, context);
    assert_eq!(choose(&tls()), Some(mechanism("SCRAM-SHA-512-PLUS")));
    assert_eq!(choose(&Context::cleartext()), Some(mechanism("SCRAM-SHA-512")));
    let offered = [Mechanism::Plain, Mechanism::Login, Mechanism::External];
    assert_eq!(client::choose(offered, &credentials, &tls()), Some(Mechanism::Plain));
    assert_eq!(client::choose(offered, &credentials, &Context::cleartext()), None);
    assert_eq!(client::choose(Mechanism::ALL, &token(None), &tls()), Some(Mechanism::OauthBearer));
    assert_eq!(client::choose([Mechanism::Xoauth2], &token(None), &tls()), None);
}

#[test]
fn clients_say_nothing_a_mechanism_cannot_carry() {
    let start = |mechanism, credentials: &Credentials| {
        Client::start(mechanism, credentials, &tls(), nonce("c")).map(|_| ()).unwrap_err()
    };
    for credentials in [password("", "x", None), password("a\0b", "x", None), password("a", "", None)] {
        for mechanism in [Mechanism::Plain, Mechanism::Login, mechanism("SCRAM-SHA-256")] {
            assert_eq!(start(mechanism, &credentials), client::Failure::Credentials, "{mechanism}");
        }
    }
    assert_eq!(start(Mechanism::Login, &password("a", "b", Some("c"))), client::Failure::Credentials);
    assert_eq!(start(mechanism("SCRAM-SHA-256"), &password("a", "b", Some(""))), client::Failure::Credentials);
    assert_eq!(start(Mechanism::Plain, &token(None)), client::Failure::Credentials);
    let nul = Credentials::Certificate { authzid: Some("a\0".into()) };
    assert_eq!(start(Mechanism::External, &nul), client::Failure::Credentials);
}

#[test]
fn external_takes_an_empty_initial_response_for_the_certificates_own_name() {
    let (_, step) = Server::start(Mechanism::External, tls(), nonce("s"), Some(b""));
    assert!(matches!(step, Step::Ask(Ask::Certificate { wanted: None, .. })));
    let (mut server, step) = Server::start(Mechanism::External, tls(), nonce("s"), None);
    assert!(matches!(step, Step::Challenge(challenge) if challenge.is_empty()));
    let step = server.response(b"kurt");
    assert!(matches!(step, Step::Ask(Ask::Certificate { wanted: Some(wanted), .. }) if wanted == "kurt"));
    for bad in [&b"a\0"[..], b"\xff"] {
        let (_, step) = Server::start(Mechanism::External, tls(), nonce("s"), Some(bad));
        assert!(matches!(step, Step::Failed(Failure::Malformed)));
    }
}

#[test]
fn calls_out_of_turn_fail_and_stay_failed() {
    for mechanism in Mechanism::ALL {
        let (mut server, _) = Server::start(mechanism, tls(), nonce("s"), None);
        assert!(matches!(server.answer(Answer::Accept("root".into())), Step::Failed(Failure::Misuse)));
        assert!(matches!(server.response(b""), Step::Failed(Failure::Misuse)));
    }
    // A response while a question is out; an answer of the wrong kind; a verifier of the wrong hash.
    let scram = mechanism("SCRAM-SHA-256");
    let keys = |hash| ScramVerifier::fake(&Secret::from("s"), "tim", hash, 4096);
    for answer in [None, Some(Answer::Accept("tim".into())), Some(Answer::Keys(keys(ScramHash::Sha1)))] {
        let (mut server, step) = Server::start(scram, tls(), nonce("s"), Some(b"n,,n=tim,r=x"));
        assert!(matches!(step, Step::Ask(_)));
        let step = match answer {
            Some(answer) => server.answer(answer),
            None => server.response(b"c=biws,r=xs,p=QUFB"),
        };
        assert!(matches!(step, Step::Failed(Failure::Misuse)));
    }
    let (mut server, step) = Server::start(Mechanism::Plain, tls(), nonce("s"), Some(b"\0tim\0x"));
    assert!(matches!(step, Step::Ask(_)));
    assert!(matches!(server.answer(Answer::Keys(keys(ScramHash::Sha256))), Step::Failed(Failure::Misuse)));
}

#[test]
fn a_client_believes_no_early_success() {
    for mechanism in Mechanism::ALL {
        let mut client = Client::start(mechanism, &good_credentials(mechanism), &tls(), nonce("c")).unwrap();
        assert_eq!(client.success(None), Err(client::Failure::OutOfTurn), "{mechanism}");
        assert_eq!(client.challenge(b""), Err(client::Failure::OutOfTurn), "{mechanism}");
    }
}

#[test]
fn debug_prints_nothing_a_client_said() {
    let (server, step) = Server::start(Mechanism::Plain, tls(), nonce("s"), Some(b"\0tim\0hunter2"));
    assert_eq!(format!("{server:?}"), "Server(PLAIN, AwaitVerdict)");
    assert!(!format!("{step:?}").contains("hunter2"));
    let credentials = password("tim", "hunter2", None);
    let client = Client::start(Mechanism::Login, &credentials, &tls(), nonce("c")).unwrap();
    assert!(!format!("{client:?} {credentials:?}").contains("hunter2"));
}

/// A message of a real exchange, cut, spliced and flipped, or noise.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let real = prop::sample::select(vec![
        "\0tim\0tanstaaftanstaaf",
        "tim",
        "n,,n=tim,r=abc",
        "y,,n=tim,r=abc",
        "p=tls-exporter,a=kurt,n=tim,r=abc",
        "c=biws,r=abcserver,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "r=client+nonceserver,s=QUFBQUFBQUE=,i=4096",
        "v=AAAA",
        "e=invalid-proof",
        "n,a=tim,\x01host=h\x01port=1\x01auth=Bearer tok\x01\x01",
        "user=tim\x01auth=Bearer tok\x01\x01",
        "{\"status\":\"401\"}",
        "",
    ]);
    let mangled = (real, any::<prop::sample::Index>(), any::<u8>(), 0..4u8).prop_map(|(real, at, octet, how)| {
        let mut octets = real.as_bytes().to_vec();
        if !octets.is_empty() {
            let at = at.index(octets.len());
            match how {
                0 => octets.truncate(at),
                1 => octets[at] = octet,
                2 => octets.insert(at, octet),
                _ => {}
            }
        }
        octets
    });
    prop_oneof![3 => mangled, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn noise_at_any_step_ends_in_failure_or_asks_again(
        index in 0..Mechanism::ALL.len(),
        initial in prop::option::of(hostile()),
        messages in prop::collection::vec(hostile(), 0..4),
    ) {
        let (mut server, mut step) =
            Server::start(Mechanism::ALL[index], tls(), nonce("server"), initial.as_deref());
        let mut messages = messages.into_iter();
        loop {
            step = match step {
                Step::Challenge(_) => match messages.next() {
                    Some(message) => server.response(&message),
                    None => break,
                },
                Step::Ask(ask) => server.answer(fulfil(ask)),
                Step::Done(identity) => {
                    // Only what proves tim gets in, whatever was sent.
                    prop_assert_eq!(identity.user, "tim");
                    break;
                }
                Step::Failed(_) => {
                    prop_assert!(matches!(server.response(b""), Step::Failed(Failure::Misuse)));
                    break;
                }
            };
        }
    }

    #[test]
    fn noise_from_a_server_never_looks_like_success_to_scram(
        index in 1..7usize,
        messages in prop::collection::vec(hostile(), 0..4),
        success in prop::option::of(hostile()),
    ) {
        let mechanism = Mechanism::ALL[index];
        let mut client = Client::start(mechanism, &good_credentials(mechanism), &tls(), nonce("client+nonce")).unwrap();
        let _ = client.initial();
        for message in messages {
            if client.challenge(&message).is_err() {
                break;
            }
        }
        prop_assert!(client.success(success.as_deref()).is_err());
    }
}
