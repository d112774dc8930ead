//! Logging in: passwords are checked on threads of their own, unknown users cost what known ones do.

use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::directory::Principal;
use mailstore_trait::error::DirectoryError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::password::{self, Scratch, Verifier};
use mailstore_trait::sasl::{Answer, Ask, Identity, Mechanism, Refusal, ScramHash, ScramVerifier, Secret};
use rusqlite::Connection;

use super::{Users, fold, owner, principal};
use crate::env::sql;
use crate::fault::{Fault, Result};

const MECHANISMS: [Mechanism; 4] = [
    Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
    Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
    Mechanism::Plain,
    Mechanism::Login,
];

/// The address as it is written in the directory, and the records; nothing of a user there is none of.
fn records(connection: &Connection, user: &str) -> Result<(Option<String>, Vec<Verifier>)> {
    let Some(account) = owner(connection, &fold(user))? else { return Ok((None, Vec::new())) };
    let records = connection
        .prepare_cached("SELECT record FROM verifier WHERE account = ?1 ORDER BY kind")?
        .query_map([sql(account.value())], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let parse = |record: String| Verifier::parse(&record).map_err(|_| Fault::corrupt(format!("record of {account}")));
    let records = records.into_iter().map(parse).collect::<Result<_>>()?;
    Ok((Some(principal(connection, account)?.address), records))
}

impl Users {
    async fn known(&self, user: &str) -> Result<(Option<String>, Vec<Verifier>)> {
        let user = user.to_owned();
        self.read(move |snapshot| records(snapshot.connection, &user)).await
    }

    async fn check(&self, user: String, password: Secret) -> Result<Answer> {
        let (address, records) = self.known(&user).await?;
        let right = move |(decoy, scratch): &mut (Verifier, Scratch)| {
            Ok(password::verify_in(&records, decoy, &password, scratch))
        };
        let right = self.inner.passwords.run(right).await?;
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
        Box::pin(async move {
            let find = move |snapshot: &crate::read::Snapshot<'_>| {
                let account = owner(snapshot.connection, &folded)?.ok_or(Fault::NotFound)?;
                principal(snapshot.connection, account)
            };
            Ok(self.read(find).await?)
        })
    }
}
