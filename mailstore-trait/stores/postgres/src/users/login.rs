//! Logging in: unknown users cost what known ones do, and see the same salt each time on every machine.

use std::sync::Arc;

use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::directory::Principal;
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::password::{self, Verifier};
use mailstore_trait::sasl::{Answer, Ask, Identity, Mechanism, Refusal, ScramHash, ScramVerifier, Secret};

use super::{Users, account_id, fold};
use crate::call::call;
use crate::fault::{Fault, Result};
use crate::rows::get;

const MECHANISMS: [Mechanism; 4] = [
    Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
    Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
    Mechanism::Plain,
    Mechanism::Login,
];

const RECORDS: &str = "SELECT principal.account, principal.address, verifier.record FROM mailstore.address
     JOIN mailstore.principal ON principal.account = address.account
     LEFT JOIN mailstore.verifier ON verifier.account = address.account
     WHERE address.folded = $1 AND address.alias IS NULL ORDER BY verifier.kind";

impl Users {
    /// The address as it is written in the directory, and the records; nothing of a user there is none of.
    async fn known(&self, user: &str) -> Result<(Option<String>, Vec<Verifier>)> {
        let rows = self.inner.env.link.ask(call!(RECORDS, fold(user))).await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(record) = get::<Option<&str>>(row, 2)? else { continue };
            let account: i64 = get(row, 0)?;
            records.push(Verifier::parse(record).map_err(|_| Fault::corrupt(format!("record of {account}")))?);
        }
        let address = rows.first().map(|row| get(row, 1)).transpose()?;
        Ok((address, records))
    }

    async fn check(&self, user: String, password: Secret) -> Result<Answer> {
        let (address, records) = self.known(&user).await?;
        let decoy = Arc::clone(&self.inner.decoy);
        let right = self.in_turn(move || password::verify(&records, &decoy, &password)).await?;
        Ok(match address.filter(|_| right) {
            Some(address) => Answer::Accept(address),
            None => Answer::Refuse(Refusal::Credentials),
        })
    }

    async fn keys(&self, user: &str, hash: ScramHash) -> Result<Answer> {
        let (_, records) = self.known(user).await?;
        let found = records.iter().find_map(|record| record.as_scram(hash)).cloned();
        let iterations = self.inner.env.config.scram_iterations;
        // The salt must not tell that a name was spelt in another case.
        let fake = || ScramVerifier::fake(&self.inner.secret, &fold(user), hash, iterations);
        Ok(Answer::Keys(found.unwrap_or_else(fake)))
    }

    async fn decide(&self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Password { user, password } => self.check(user, password).await,
            Ask::ScramKeys { user, hash } => self.keys(&user, hash).await,
            // Acting as oneself under another spelling; nobody here may act as another.
            Ask::Authorize { user, authzid } => Ok(match self.known(&authzid).await? {
                (Some(address), _) if fold(&address) == fold(&user) => Answer::Accept(address),
                _ => Answer::Refuse(Refusal::Credentials),
            }),
            _ => Ok(Answer::Refuse(Refusal::Credentials)),
        }
    }

    async fn acting_as(&self, folded: String) -> Result<Principal> {
        let rows = self.inner.env.link.ask(call!(super::OWNER, folded)).await?;
        let account = rows.first().ok_or(Fault::NotFound)?;
        self.find(account_id(get(account, 0)?)?).await
    }
}

impl Authenticator for Users {
    fn mechanisms(&self) -> &[Mechanism] {
        &MECHANISMS
    }

    fn answer<'a>(&'a self, ask: Ask, _attempt: &'a Attempt) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            self.decide(ask).await.unwrap_or_else(|fault| {
                tracing::warn!(?fault, "a login could not be checked");
                Answer::Refuse(Refusal::Unavailable)
            })
        })
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        let folded = fold(identity.acts_as());
        Box::pin(async move { Ok(self.acting_as(folded).await?) })
    }
}
