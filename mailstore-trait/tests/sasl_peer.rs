//! The SASL machines against another implementation of both sides, rsasl.
//!
//! Left out: rsasl's OAUTHBEARER server takes a token without the `Bearer` scheme that RFC 6750 puts before it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailstore_trait::sasl::{
    Answer, Ask, Client, Context, Credentials, Identity, Mechanism, Nonce, ScramHash, ScramVerifier, Secret, Server,
    Step,
};
use rsasl::callback::{Context as PeerContext, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA1_PLUS, SCRAM_SHA256_PLUS, SCRAM_SHA512_PLUS};
use rsasl::mechname::Mechname;
use rsasl::prelude::{Mechanism as PeerMechanism, Registry};
use rsasl::prelude::{SASLClient, SASLConfig, SASLServer, SessionError, Validation};
use rsasl::property::{
    AuthId, AuthzId, ChannelBindingName, ChannelBindings, OAuthBearerKV, OAuthBearerToken, Password,
};
use rsasl::validate::{Validate, ValidationError};

const USER: &str = "tim";
const PASSWORD: &str = "tanstaaf \u{fc}";
const TOKEN: &str = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
const EXPORTER: [u8; 32] = [42; 32];

/// Both a client that has everything and a server that knows one user.
struct Peer {
    /// What the password hashes to, for the peer as a server.
    verifier: Option<ScramVerifier>,
    authzid: Option<&'static str>,
    binds: bool,
}

impl SessionCallback for Peer {
    fn callback(&self, _: &SessionData, context: &PeerContext, request: &mut Request) -> Result<(), SessionError> {
        if let Some(verifier) = &self.verifier {
            // Its server asks for the user it was told: a record only for the right one.
            if context.get_ref::<AuthId>() == Some(USER) {
                let record = verifier.to_string();
                let keys: Vec<_> =
                    record.rsplit('$').next().unwrap().split(':').map(|key| STANDARD.decode(key).unwrap()).collect();
                request.satisfy::<ScramStoredPassword>(&ScramStoredPassword::new(
                    verifier.iterations(),
                    verifier.salt(),
                    &keys[0],
                    &keys[1],
                ))?;
            }
        } else {
            request.satisfy::<AuthId>(USER)?.satisfy::<Password>(PASSWORD.as_bytes())?;
            request.satisfy::<OAuthBearerToken>(TOKEN)?.satisfy::<OAuthBearerKV>(&[("host", "mail.example.org")])?;
            if let Some(authzid) = self.authzid {
                request.satisfy::<AuthzId>(authzid)?;
            }
        }
        if context.get_ref::<ChannelBindingName>() == Some("tls-exporter") {
            request.satisfy::<ChannelBindings>(&EXPORTER)?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.binds
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &PeerContext,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let user = context.get_ref::<AuthId>().map(str::to_owned);
        let is_right = self.verifier.as_ref().is_some_and(|verifier| {
            context.get_ref::<Password>().is_none_or(|password| verifier.verify(&Secret::new(password)))
        });
        validate.with::<Validated, _>(|| Ok(user.filter(|_| is_right)))?;
        Ok(())
    }
}

struct Validated;

impl Validation for Validated {
    type Value = Option<String>;
}

fn tls() -> Context {
    let mut context = Context::cleartext();
    context.tls = true;
    context.exporter = Some(EXPORTER);
    context.plus_offered = true;
    context.peer_certificate = Some(bytes::Bytes::from_static(b"der"));
    context
}

fn verifier(hash: ScramHash) -> ScramVerifier {
    ScramVerifier::from_password(hash, PASSWORD, &[1; 16], 4096).unwrap()
}

fn fulfil(ask: Ask) -> Answer {
    match ask {
        Ask::Password { user, password } => {
            assert_eq!(password.expose_str(), Ok(PASSWORD));
            Answer::Accept(user)
        }
        Ask::ScramKeys { hash, .. } => Answer::Keys(verifier(hash)),
        Ask::Token { token, host, .. } => {
            assert_eq!(token.expose_str(), Ok(TOKEN));
            assert!(host.is_none_or(|host| host == "mail.example.org"));
            Answer::Accept(USER.into())
        }
        Ask::Certificate { .. } => Answer::Accept(USER.into()),
        Ask::Authorize { authzid, .. } => Answer::Accept(authzid),
        ask => panic!("{ask:?}"),
    }
}

fn config(mechanism: Mechanism, verifier: Option<ScramVerifier>, authzid: Option<&'static str>) -> Arc<SASLConfig> {
    // The peer's own registry leaves the bound mechanisms out.
    static BOUND: &[PeerMechanism] = &[SCRAM_SHA1_PLUS, SCRAM_SHA256_PLUS, SCRAM_SHA512_PLUS];
    let binds = mechanism.needs_channel_binding();
    let builder = SASLConfig::builder();
    let builder = if binds { builder.with_registry(Registry::with_mechanisms(BOUND)) } else { builder.with_defaults() };
    builder.with_callback(Peer { verifier, authzid, binds }).unwrap()
}

/// The peer's client against our server.
fn peer_logs_in(mechanism: Mechanism, authzid: Option<&'static str>) -> Identity {
    let config = config(mechanism, None, authzid);
    let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
    let mut client = SASLClient::new(config).start_suggested(&[name]).unwrap();
    let mut respond = |challenge: Option<&[u8]>| {
        let mut response = Vec::new();
        client.step(challenge, &mut response).unwrap();
        response
    };
    let initial = mechanism.is_client_first().then(|| respond(None));
    let nonce = Nonce::from_random([3; 18]);
    let (mut server, mut step) = Server::start(mechanism, tls(), nonce, initial.as_deref());
    loop {
        step = match step {
            Step::Challenge(challenge) => server.response(&respond(Some(&challenge))),
            Step::Ask(ask) => server.answer(fulfil(ask)),
            Step::Done(identity) => return identity,
            Step::Failed(failure) => panic!("{mechanism}: {failure}"),
        }
    }
}

#[test]
fn a_foreign_client_logs_in_with_every_mechanism() {
    for mechanism in Mechanism::ALL {
        let identity = peer_logs_in(mechanism, None);
        assert_eq!(identity, Identity { user: USER.into(), authzid: None }, "{mechanism}");
    }
}

#[test]
fn a_foreign_client_acts_as_another() {
    for mechanism in Mechanism::ALL {
        // LOGIN cannot say it; XOAUTH2 says it as the user.
        if matches!(mechanism, Mechanism::Login | Mechanism::Xoauth2) {
            continue;
        }
        assert_eq!(peer_logs_in(mechanism, Some("kurt@example.org")).acts_as(), "kurt@example.org", "{mechanism}");
    }
}

/// Our client against the peer's server: whether both are content.
fn we_log_in(mechanism: Mechanism, password: &str) -> bool {
    let hash = mechanism.scram_hash().unwrap_or(ScramHash::Sha256);
    let config = config(mechanism, Some(verifier(hash)), None);
    let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
    let mut server = SASLServer::<Validated>::new(config).start_suggested(name).unwrap();
    let credentials = Credentials::Password { user: USER.into(), password: Secret::from(password), authzid: None };
    let mut client = Client::start(mechanism, &credentials, &tls(), Nonce::from_random([4; 18])).unwrap();
    let mut response = client.initial();
    loop {
        let mut challenge = Vec::new();
        let Ok(state) = server.step(response.as_deref(), &mut challenge) else { return false };
        if state.is_finished() {
            let additional = state.has_sent_message().then_some(&challenge[..]);
            return client.success(additional).is_ok() && server.validation().flatten().as_deref() == Some(USER);
        }
        response = match client.challenge(&challenge) {
            Ok(response) => Some(response),
            Err(_) => return false,
        };
    }
}

#[test]
fn we_log_in_to_a_foreign_server() {
    for mechanism in Mechanism::ALL {
        if matches!(mechanism, Mechanism::Plain | Mechanism::Login | Mechanism::Scram { .. }) {
            assert!(we_log_in(mechanism, PASSWORD), "{mechanism}");
            assert!(!we_log_in(mechanism, "wrong"), "{mechanism}");
        }
    }
}
