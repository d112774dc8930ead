//! A directory in memory: who there is, their addresses and their passwords.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::auth::{ApopSecret, ApopSecrets, Attempt, Authenticator};
use crate::directory::{Directory, Principal, Resolution};
use crate::error::DirectoryError;
use crate::future::BoxFuture;
use crate::id::AccountId;
use crate::sasl::{Answer, Ask, Identity, Mechanism, Refusal, ScramHash, ScramVerifier, Secret, saslprep};
use crate::testkit::random::Random;

/// Iterations of the verifiers here: the fewest that are allowed, for speed.
const ITERATIONS: u32 = ScramVerifier::MIN_ITERATIONS;

struct Entry {
    principal: Principal,
    verifier: ScramVerifier,
    /// In clear, as nobody but tests should keep it.
    password: Secret,
    /// Whom this principal may act as beside itself.
    proxies: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    domains: BTreeSet<String>,
    entries: Vec<Entry>,
    last: u64,
}

/// Principals and passwords in memory. The domains are those of the addresses added, and those of
/// [`add_domain`](MemDirectory::add_domain).
pub struct MemDirectory {
    state: Mutex<State>,
    secret: Secret,
}

impl fmt::Debug for MemDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemDirectory({} principals)", self.with(|state| state.entries.len()))
    }
}

impl Default for MemDirectory {
    fn default() -> MemDirectory {
        MemDirectory::new()
    }
}

impl MemDirectory {
    /// Nobody, and no domain.
    #[must_use]
    pub fn new() -> MemDirectory {
        MemDirectory { state: Mutex::default(), secret: Secret::from("the same in every test") }
    }

    /// Adds somebody; account numbers count from 1 and are never used again.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] and [`DirectoryError::IllegalAddress`].
    pub fn add(&self, address: &str, password: &str) -> Result<AccountId, DirectoryError> {
        let (_, domain) = address.rsplit_once('@').ok_or(DirectoryError::IllegalAddress)?;
        self.with(|state| {
            if state.entries.iter().any(|entry| entry.principal.owns(address)) {
                return Err(DirectoryError::Exists);
            }
            let account = AccountId::new(state.last + 1).ok_or(DirectoryError::IllegalAddress)?;
            let mut salt = [0; ScramVerifier::SALT_OCTETS];
            Random::new(account.value()).fill(&mut salt);
            let verifier = ScramVerifier::from_password(ScramHash::Sha256, password, &salt, ITERATIONS)
                .map_err(|error| DirectoryError::Unavailable(Box::new(error)))?;
            let password = saslprep(password).map_err(|error| DirectoryError::Unavailable(Box::new(error)))?;
            let password = Secret::from(password.into_owned());
            state.last = account.value();
            state.domains.insert(domain.to_ascii_lowercase());
            let principal = Principal { account, address: address.to_owned(), aliases: Vec::new(), display_name: None };
            state.entries.push(Entry { principal, verifier, password, proxies: BTreeSet::new() });
            Ok(account)
        })
    }

    /// Makes a domain ours without anybody in it.
    pub fn add_domain(&self, domain: &str) {
        self.with(|state| state.domains.insert(domain.to_ascii_lowercase()));
    }

    /// Gives somebody another address. Several principals may have the same one: mail to it goes to all.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn add_alias(&self, account: AccountId, alias: &str) -> Result<(), DirectoryError> {
        self.entry(account, |entry| entry.principal.aliases.push(alias.to_owned()))
    }

    /// Lets somebody act as another (SASL's authorization identity).
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn allow_proxy(&self, account: AccountId, address: &str) -> Result<(), DirectoryError> {
        self.entry(account, |entry| {
            entry.proxies.insert(address.to_ascii_lowercase());
        })
    }

    /// Removes somebody. The account number is not given to anybody else.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn remove(&self, account: AccountId) -> Result<(), DirectoryError> {
        self.with(|state| {
            let before = state.entries.len();
            state.entries.retain(|entry| entry.principal.account != account);
            if state.entries.len() < before { Ok(()) } else { Err(DirectoryError::NotFound) }
        })
    }

    fn entry<T>(&self, account: AccountId, change: impl FnOnce(&mut Entry) -> T) -> Result<T, DirectoryError> {
        self.with(|state| {
            let mut entries = state.entries.iter_mut();
            entries.find(|entry| entry.principal.account == account).map(change).ok_or(DirectoryError::NotFound)
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The verifier of this login, or one that no password fits.
    fn verifier(&self, user: &str, hash: ScramHash) -> (ScramVerifier, Option<String>) {
        let known = self.with(|state| {
            let entry = state.entries.iter().find(|entry| entry.principal.address.eq_ignore_ascii_case(user))?;
            (entry.verifier.hash() == hash).then(|| (entry.verifier.clone(), Some(entry.principal.address.clone())))
        });
        known.unwrap_or_else(|| (ScramVerifier::fake(&self.secret, user, hash, ITERATIONS), None))
    }
}

impl Directory for MemDirectory {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>> {
        Box::pin(async move {
            self.with(|state| {
                let mailboxes = |wanted: &dyn Fn(&Principal) -> bool| -> Vec<Principal> {
                    let principals = state.entries.iter().map(|entry| &entry.principal);
                    principals.filter(|principal| wanted(principal)).cloned().collect()
                };
                let found = match address.rsplit_once('@') {
                    // RFC 5321 §4.5.1: postmaster needs no domain; it is whoever has that local part in any domain.
                    None if address.eq_ignore_ascii_case("postmaster") => mailboxes(&|principal| {
                        let names = std::iter::once(&principal.address).chain(&principal.aliases);
                        names
                            .filter_map(|name| name.rsplit_once('@'))
                            .any(|(local, _)| local.eq_ignore_ascii_case(address))
                    }),
                    None => return Err(DirectoryError::IllegalAddress),
                    Some((_, domain)) if !state.domains.contains(&domain.to_ascii_lowercase()) => {
                        return Ok(Resolution::NotLocal);
                    }
                    Some(_) => mailboxes(&|principal| principal.owns(address)),
                };
                Ok(if found.is_empty() { Resolution::NoSuchUser } else { Resolution::Mailboxes(found) })
            })
        })
    }

    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>> {
        Box::pin(async move { self.entry(account, |entry| entry.principal.clone()) })
    }
}

impl Authenticator for MemDirectory {
    fn mechanisms(&self) -> &[Mechanism] {
        &[
            Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
            Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
            Mechanism::Plain,
            Mechanism::Login,
        ]
    }

    fn answer<'a>(&'a self, ask: Ask, _: &'a Attempt) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match ask {
                Ask::Password { user, password } => {
                    let (verifier, address) = self.verifier(&user, ScramHash::Sha256);
                    match (verifier.verify(&password), address) {
                        (true, Some(address)) => Answer::Accept(address),
                        _ => Answer::Refuse(Refusal::Credentials),
                    }
                }
                Ask::ScramKeys { user, hash } => Answer::Keys(self.verifier(&user, hash).0),
                Ask::Authorize { user, authzid } => self.with(|state| {
                    let wanted = authzid.to_ascii_lowercase();
                    let mut entries = state.entries.iter();
                    let may = entries.any(|entry| {
                        entry.principal.address.eq_ignore_ascii_case(&user)
                            && (entry.principal.owns(&authzid) || entry.proxies.contains(&wanted))
                    });
                    if may { Answer::Accept(authzid) } else { Answer::Refuse(Refusal::Credentials) }
                }),
                _ => Answer::Refuse(Refusal::Credentials),
            }
        })
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        Box::pin(async move {
            self.with(|state| {
                let mut principals = state.entries.iter().map(|entry| &entry.principal);
                principals.find(|principal| principal.owns(identity.acts_as())).cloned().ok_or(DirectoryError::NotFound)
            })
        })
    }

    fn as_apop(&self) -> Option<&dyn ApopSecrets> {
        Some(self)
    }
}

impl ApopSecrets for MemDirectory {
    fn secret<'a>(&'a self, user: &'a str, _: &'a Attempt) -> BoxFuture<'a, Result<ApopSecret, Refusal>> {
        Box::pin(async move {
            self.with(|state| {
                let mut entries = state.entries.iter();
                let entry = entries.find(|entry| entry.principal.address.eq_ignore_ascii_case(user));
                let entry = entry.ok_or(Refusal::Credentials)?;
                Ok(ApopSecret { user: entry.principal.address.clone(), password: entry.password.clone() })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::block_on;

    fn resolve(directory: &MemDirectory, address: &str) -> Result<Vec<u64>, String> {
        match block_on(directory.resolve(address)) {
            Ok(Resolution::Mailboxes(found)) => Ok(found.iter().map(|principal| principal.account.value()).collect()),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn addresses_mean_people_in_any_case() {
        let directory = MemDirectory::new();
        let ann = directory.add("Ann@example.org", "secret").unwrap();
        let bob = directory.add("bob@example.org", "secret").unwrap();
        directory.add_alias(ann, "team@example.org").unwrap();
        directory.add_alias(bob, "team@example.org").unwrap();
        directory.add_alias(bob, "postmaster@example.org").unwrap();
        directory.add_domain("empty.example");
        assert_eq!(resolve(&directory, "aNN@Example.ORG").unwrap(), [1]);
        assert_eq!(resolve(&directory, "team@example.org").unwrap(), [1, 2]);
        assert_eq!(resolve(&directory, "PostMaster").unwrap(), [2]);
        assert_eq!(resolve(&directory, "x@empty.example").unwrap_err(), "NoSuchUser");
        assert_eq!(resolve(&directory, "x@elsewhere.example").unwrap_err(), "NotLocal");
        assert_eq!(resolve(&directory, "nobody").unwrap_err(), "illegal address");
        assert!(matches!(directory.add("ann@example.org", "x"), Err(DirectoryError::Exists)));
        directory.remove(ann).unwrap();
        assert_eq!(directory.add("ann@example.org", "x").unwrap().value(), 3, "account numbers are never used again");
    }

    #[test]
    fn passwords_are_checked_and_strangers_look_like_wrong_passwords() {
        let directory = MemDirectory::new();
        let ann = directory.add("ann@example.org", "secret").unwrap();
        directory.allow_proxy(ann, "Bob@example.org").unwrap();
        let attempt = Attempt { protocol: "imap", peer: ([127, 0, 0, 1], 1).into() };
        let ask = |ask| block_on(directory.answer(ask, &attempt));
        let password =
            |user: &str, password: &str| ask(Ask::Password { user: user.into(), password: Secret::from(password) });
        assert!(matches!(password("ANN@example.org", "secret"), Answer::Accept(user) if user == "ann@example.org"));
        assert!(matches!(password("ann@example.org", "wrong"), Answer::Refuse(Refusal::Credentials)));
        assert!(matches!(password("nobody@example.org", "secret"), Answer::Refuse(Refusal::Credentials)));
        let keys = |user: &str| match ask(Ask::ScramKeys { user: user.into(), hash: ScramHash::Sha256 }) {
            Answer::Keys(verifier) => (verifier.salt().to_vec(), verifier.iterations()),
            other => panic!("{other:?}"),
        };
        assert_eq!(keys("nobody"), keys("nobody"));
        assert_eq!(keys("nobody").0.len(), keys("ann@example.org").0.len());
        let act = |authzid: &str| ask(Ask::Authorize { user: "ann@example.org".into(), authzid: authzid.into() });
        assert!(matches!(act("bob@example.org"), Answer::Accept(_)));
        assert!(matches!(act("eve@example.org"), Answer::Refuse(_)));
    }
}
