//! What a server stores of a password for SCRAM, in the text layout PostgreSQL made common (RFC 5802 §3).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::hash::{Digest, ScramHash};
use crate::sasl::prep::{PrepError, saslprep};
use crate::sasl::secret::Secret;

/// What a server stores of a password for SCRAM: salt, iteration count, StoredKey and ServerKey.
///
/// Its text form is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the octets in base64. It does not
/// hold the password, but whoever has it can guess passwords offline and pose as the server: `Debug` keeps it back.
///
/// ```
/// use mailstore_trait::sasl::{ScramHash, ScramVerifier, Secret};
///
/// let verifier = ScramVerifier::from_password(ScramHash::Sha256, "pencil", b"16 random octets", 4096)?;
/// let record = verifier.to_string();
/// assert!(record.starts_with("SCRAM-SHA-256$4096:"));
/// assert!(ScramVerifier::parse(&record)?.verify(&Secret::from("pencil")));
/// # Ok::<(), mailstore_trait::sasl::VerifierError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    hash: ScramHash,
    iterations: u32,
    salt: Vec<u8>,
    pub(super) stored_key: Digest,
    pub(super) server_key: Digest,
}

/// Why there is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierError {
    /// The record is not of a known layout.
    #[error("not a verifier record")]
    Syntax,
    /// The costs in the record or the parameters are out of bounds.
    #[error("a cost outside the bounds")]
    Cost,
    /// The salt is shorter than 8 octets or longer than 64.
    #[error("a salt of the wrong length")]
    Salt,
    /// The password cannot be prepared.
    #[error("the password holds {0}")]
    Password(#[from] PrepError),
}

impl ScramVerifier {
    /// The least iterations a verifier may have. RFC 7677 §3.
    pub const MIN_ITERATIONS: u32 = 4_096;
    /// The most: a record with more would let one log-in take minutes.
    pub const MAX_ITERATIONS: u32 = 10_000_000;
    /// Iterations for new verifiers unless the embedder knows better.
    pub const DEFAULT_ITERATIONS: u32 = 16_384;
    /// Octets of salt for new verifiers. A [`fake`](Self::fake) has as many, so give real ones no other number.
    pub const SALT_OCTETS: usize = 16;

    /// Makes a verifier; `salt` is fresh random octets, [`SALT_OCTETS`](Self::SALT_OCTETS) of them.
    ///
    /// # Errors
    /// When the password cannot be prepared, or salt or iterations are out of bounds.
    pub fn from_password(
        hash: ScramHash,
        password: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<ScramVerifier, VerifierError> {
        check(salt, iterations)?;
        let prepared = Secret::new(saslprep(password)?.into_owned());
        let (stored_key, server_key) = derive(hash, prepared.expose(), salt, iterations);
        Ok(ScramVerifier { hash, iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    /// The verifier of a user there is none of: the same user gets the same salt each time, from a `secret` of the
    /// server that stays the same, and no password matches. `iterations` are those that real verifiers have.
    ///
    /// Answer with it when a user is unknown or has no verifier of this hash: the exchange then takes the same steps
    /// and the same time as one with a wrong password (RFC 5802 §9 leaves it to the server).
    pub fn fake(secret: &Secret, user: &str, hash: ScramHash, iterations: u32) -> ScramVerifier {
        let derived = |label: &[u8]| hash.hmac(secret.expose(), &[hash.mechanism().as_bytes(), label, user.as_bytes()]);
        let salt = derived(b"\0salt\0");
        ScramVerifier {
            hash,
            iterations: iterations.clamp(Self::MIN_ITERATIONS, Self::MAX_ITERATIONS),
            salt: salt.as_slice().iter().copied().take(Self::SALT_OCTETS).collect(),
            stored_key: derived(b"\0stored\0"),
            server_key: derived(b"\0server\0"),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it is none, has keys of the wrong length, or its salt or iterations are out of bounds.
    pub fn parse(record: &str) -> Result<ScramVerifier, VerifierError> {
        Self::parse_parts(record).ok_or(VerifierError::Syntax).and_then(|verifier| {
            check(&verifier.salt, verifier.iterations)?;
            Ok(verifier)
        })
    }

    fn parse_parts(record: &str) -> Option<ScramVerifier> {
        let (name, rest) = record.split_once('$')?;
        let hash = ScramHash::ALL.into_iter().find(|hash| hash.mechanism() == name)?;
        let (costs, keys) = rest.split_once('$')?;
        let (iterations, salt) = costs.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |base64: &str| {
            let key = Secret::new(STANDARD.decode(base64).ok()?);
            Digest::from_slice(key.expose()).filter(|key| key.as_slice().len() == hash.octets())
        };
        let is_number = !iterations.starts_with('0') && iterations.bytes().all(|octet| octet.is_ascii_digit());
        Some(ScramVerifier {
            hash,
            iterations: Some(iterations).filter(|_| is_number)?.parse().ok()?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether this is the password: so one record serves PLAIN and SCRAM. Takes as long as a SCRAM client does.
    pub fn verify(&self, password: &Secret) -> bool {
        let Some(prepared) = password.expose_str().ok().and_then(|password| saslprep(password).ok()) else {
            return false;
        };
        let prepared = Secret::new(prepared.into_owned());
        let (stored_key, _) = derive(self.hash, prepared.expose(), &self.salt, self.iterations);
        stored_key == self.stored_key
    }

    /// The hash it is for.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Its iteration count.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Its salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }
}

fn check(salt: &[u8], iterations: u32) -> Result<(), VerifierError> {
    if !(ScramVerifier::MIN_ITERATIONS..=ScramVerifier::MAX_ITERATIONS).contains(&iterations) {
        return Err(VerifierError::Cost);
    }
    if !(8..=64).contains(&salt.len()) {
        return Err(VerifierError::Salt);
    }
    Ok(())
}

// RFC 5802 §3: StoredKey and ServerKey.
fn derive(hash: ScramHash, prepared: &[u8], salt: &[u8], iterations: u32) -> (Digest, Digest) {
    let salted = hash.salted_password(prepared, salt, iterations);
    let client_key = hash.hmac(salted.as_slice(), &[b"Client Key"]);
    (hash.hash(client_key.as_slice()), hash.hmac(salted.as_slice(), &[b"Server Key"]))
}

impl fmt::Display for ScramVerifier {
    /// The record, to be stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}${}:{}${}:{}",
            self.hash.mechanism(),
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key.as_slice()),
            STANDARD.encode(self.server_key.as_slice())
        )
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramVerifier({}, {})", self.hash, self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn verifier_record_of_the_rfc_example() {
        let verifier = ScramVerifier::parse(RECORD).unwrap();
        assert_eq!(verifier.to_string(), RECORD);
        assert!(verifier.verify(&Secret::from("pencil")));
        assert!(!verifier.verify(&Secret::from("Pencil")));
        let made = ScramVerifier::from_password(ScramHash::Sha256, "pencil", verifier.salt(), 4096).unwrap();
        assert_eq!(made, verifier);
    }

    #[test]
    fn verifier_prepares_the_password() {
        let verifier = ScramVerifier::from_password(ScramHash::Sha1, "I\u{ad}X", &[1; 16], 4096).unwrap();
        assert!(verifier.verify(&Secret::from("\u{2168}")));
        assert!(!verifier.verify(&Secret::from("\u{7}")));
        assert!(!verifier.verify(&Secret::new(vec![0xff])));
        let refused = ScramVerifier::from_password(ScramHash::Sha1, "a\u{7}", &[1; 16], 4096);
        assert_eq!(refused, Err(VerifierError::Password(PrepError::Prohibited)));
    }

    #[test]
    fn verifier_records_that_are_none() {
        for bad in [
            "",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==",
            "SCRAM-MD5$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$+4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        ] {
            assert_eq!(ScramVerifier::parse(bad), Err(VerifierError::Syntax), "{bad}");
        }
        assert_eq!(ScramVerifier::parse(&RECORD.replace("4096", "4095")), Err(VerifierError::Cost));
        assert_eq!(ScramVerifier::parse(&RECORD.replace("4096", "10000001")), Err(VerifierError::Cost));
        assert_eq!(ScramVerifier::parse(&RECORD.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "QQ==")), Err(VerifierError::Salt));
    }

    #[test]
    fn fake_verifier_is_the_same_each_time_and_another_for_each_user() {
        let secret = Secret::from("server secret");
        let fake = |user: &str, hash| ScramVerifier::fake(&secret, user, hash, 16_384);
        for hash in ScramHash::ALL {
            let one = fake("nobody", hash);
            assert_eq!(one, fake("nobody", hash));
            assert_ne!(one.salt(), fake("nobody2", hash).salt());
            assert_ne!(one.salt(), ScramVerifier::fake(&Secret::from("other"), "nobody", hash, 16_384).salt());
            assert_eq!((one.salt().len(), one.iterations()), (ScramVerifier::SALT_OCTETS, 16_384));
            assert_eq!(ScramVerifier::parse(&one.to_string()), Ok(one));
        }
    }

    #[test]
    fn debug_prints_no_key() {
        assert_eq!(format!("{:?}", ScramVerifier::parse(RECORD).unwrap()), "ScramVerifier(SCRAM-SHA-256, 4096)");
    }
}
