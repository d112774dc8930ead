//! Client against server over TLS, by every mechanism there is (RFC 5034), with what is right and what is not.

#![allow(clippy::unwrap_used, reason = "a panic here is a failing test")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::directory::Principal;
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::AccountId;
use mailstore_trait::sasl::{Answer, Ask, Credentials, Identity, Mechanism, Nonce, Refusal, ScramVerifier, Secret};
use mailstore_trait::session::{LayerInfo, Peer};
use mailstore_trait::store::MailStore;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::testkit::pipe::{Fulfilled, Pipe};
use pop3_proto::client::{self, Client, Command, LoginFailure};
use pop3_proto::reply::ResponseCode;
use pop3_proto::store::{Fulfiller, World};
use pop3_proto::{Config, Request, Server};

const TIM: &str = "tim@example.org";

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store in memory waits for nothing"),
    }
}

/// Knows one user, by password, token and certificate, and takes one mechanism: a server that offered -PLUS elsewhere
/// would take a client that did not see it for one who was lied to.
struct Only([Mechanism; 1]);

impl Authenticator for Only {
    fn mechanisms(&self) -> &[Mechanism] {
        &self.0
    }

    fn answer<'a>(&'a self, ask: Ask, _: &'a Attempt) -> BoxFuture<'a, Answer> {
        let right = match &ask {
            Ask::Password { user, password } => user == TIM && password.expose() == b"pass word",
            Ask::Token { token, .. } => token.expose() == b"token",
            Ask::Certificate { certificate, .. } => certificate == "tim's",
            Ask::ScramKeys { user, hash } => {
                let password = if user == TIM { "pass word" } else { "nobody's" };
                let keys = ScramVerifier::from_password(*hash, password, b"0123456789abcdef", 4096).unwrap();
                return Box::pin(async { Answer::Keys(keys) });
            }
            _ => false,
        };
        Box::pin(async move { if right { Answer::Accept(TIM.into()) } else { Answer::Refuse(Refusal::Credentials) } })
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        let (account, address) = (AccountId::new(1).unwrap(), identity.acts_as().to_owned());
        Box::pin(async move { Ok(Principal { account, address, aliases: Vec::new(), display_name: None }) })
    }
}

/// What a client comes to that logs in by this mechanism alone, over TLS with this certificate.
fn outcome(mechanism: Mechanism, credentials: Credentials, certificate: &'static str) -> Vec<client::Event> {
    let store = MemStore::new();
    ready(store.provision(AccountId::new(1).unwrap(), &[])).unwrap();
    let world = World::new(Arc::new(store), Arc::new(Only([mechanism])), Arc::new(TestEnvironment::new(3)));
    let mut tls = LayerInfo::new();
    tls.exporter = Some([5; 32]);
    tls.peer_certificate = Some(Bytes::from_static(certificate.as_bytes()));
    let peer = Peer::with_tls("192.0.2.1:4711".parse().unwrap(), tls.clone());
    let mut server = Config::new("pop.example.org");
    (server.mechanisms, server.user_pass) = (vec![mechanism], false);
    let mut fulfiller = Fulfiller::new(world, &peer);
    let config = client::Config::new(credentials, Nonce::from_random([7; 18]));
    let mut pipe = Pipe::new(
        Client::new(Arc::new(config), Some(tls)),
        |request| panic!("{request:?}"),
        Server::new(Arc::new(server), &peer),
        move |request: Request| Fulfilled::Now(ready(fulfiller.answer(request))),
    );
    pipe.advance(Duration::from_secs(10));
    pipe.client.notify(Command::Quit);
    pipe.finish(Duration::from_secs(600));
    pipe.client.events()
}

fn credentials(mechanism: Mechanism, right: bool) -> (Credentials, &'static str) {
    let said = |word: &str| Secret::from(if right { word } else { "wrong" });
    let credentials = match mechanism {
        Mechanism::External => Credentials::Certificate { authzid: None },
        Mechanism::OauthBearer | Mechanism::Xoauth2 => {
            Credentials::Token { user: Some(TIM.into()), token: said("token"), host: None, port: None }
        }
        _ => Credentials::Password { user: TIM.into(), password: said("pass word"), authzid: None },
    };
    (credentials, if right { "tim's" } else { "somebody's" })
}

#[test]
fn every_mechanism_logs_in() {
    for mechanism in Mechanism::ALL {
        let (credentials, certificate) = credentials(mechanism, true);
        let events = outcome(mechanism, credentials, certificate);
        assert!(events.contains(&client::Event::Ready), "{mechanism:?}: {events:?}");
        assert!(events.contains(&client::Event::Done(Command::Quit)), "{mechanism:?}: {events:?}");
    }
}

/// RFC 5034 §4 and RFC 3206 §5: -ERR, and a machine hears that it was the credentials.
#[test]
fn every_mechanism_refuses_what_is_wrong() {
    for mechanism in Mechanism::ALL {
        let (credentials, certificate) = credentials(mechanism, false);
        let events = outcome(mechanism, credentials, certificate);
        let refused = events.iter().any(|event| {
            matches!(event, client::Event::LoginFailed(LoginFailure::Refused { code: Some(ResponseCode::Auth), .. }))
        });
        assert!(refused && !events.contains(&client::Event::Ready), "{mechanism:?}: {events:?}");
    }
}
