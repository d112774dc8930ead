//! Who the client is: LOGIN and AUTHENTICATE.

use mailstore_trait::auth::Progress;
use mailstore_trait::directory::Principal;
use mailstore_trait::sasl::{Failure, Mechanism};

use super::Fulfiller;
use crate::request::{Authenticated, Login, LoginFailure, Sasl, SaslStep};

impl Fulfiller {
    pub(super) async fn password(&mut self, query: Login) -> Result<Authenticated, LoginFailure> {
        let principal = self.login.password(query.user, query.password).await.map_err(login_failure)?;
        self.authenticated(&principal)
    }

    pub(super) async fn sasl(&mut self, query: Sasl) -> SaslStep {
        let octets = query.octets.as_ref().map(|octets| octets.expose());
        let progress = match query.start {
            Some(start) => {
                let Some(mechanism) = Mechanism::parse(start.mechanism.as_bytes()) else {
                    return SaslStep::Failed(LoginFailure::Mechanism);
                };
                if let Some(tls) = &start.tls {
                    self.login.layered(tls);
                }
                self.login.start(mechanism, octets).await
            }
            None => self.login.response(octets.unwrap_or_default()).await,
        };
        match progress {
            Progress::Challenge(octets) => SaslStep::Challenge(octets),
            Progress::Done(principal) => match self.authenticated(&principal) {
                Ok(authenticated) => SaslStep::Authenticated(authenticated),
                Err(failure) => SaslStep::Failed(failure),
            },
            Progress::Failed(failure) => SaslStep::Failed(login_failure(failure)),
        }
    }

    fn authenticated(&mut self, principal: &Principal) -> Result<Authenticated, LoginFailure> {
        let terms = self.terms.as_mut().map(|terms| terms(principal)).unwrap_or_default();
        let abilities = self.act_as(principal);
        let caps = self.store.caps();
        let mut authenticated =
            Authenticated::new(principal.account, principal.address.clone(), caps.max_message, caps.max_ops)
                .with_abilities(abilities);
        authenticated.disabled = terms.disabled;
        match terms.referral {
            Some(referral) if referral.only => return Err(LoginFailure::Elsewhere(referral.url)),
            referral => authenticated.referral = referral.map(|referral| referral.url),
        }
        Ok(authenticated)
    }
}

fn login_failure(failure: Failure) -> LoginFailure {
    match failure {
        // RFC 5530 §3, AUTHORIZATIONFAILED: who it is was proved, and the door stays shut.
        Failure::Authorization | Failure::Disabled => LoginFailure::Authorization,
        Failure::Expired => LoginFailure::Expired,
        Failure::Unavailable => LoginFailure::Unavailable,
        Failure::TlsRequired | Failure::NoCertificate | Failure::UnsupportedBinding => LoginFailure::Mechanism,
        _ => LoginFailure::Credentials,
    }
}
