//! What is stored of a password: records that can check one and cannot give it away.
//!
//! Two layouts, both text, both common outside this crate:
//!
//! | record | serves | source |
//! |---|---|---|
//! | `$argon2id$v=19$m=19456,t=2,p=1$salt$hash` | PLAIN, LOGIN, USER/PASS | the PHC string format, RFC 9106 |
//! | `SCRAM-SHA-256$16384:salt$StoredKey:ServerKey` | SCRAM, and PLAIN at the same cost | RFC 5802 §3, PostgreSQL's layout |
//!
//! A user may have one of each. Checking costs processor time, and for argon2 memory, on purpose: bound how many run at
//! once. Salts are given from outside. Names there are no users of are checked against [`Verifier::decoy`], so that an
//! answer takes as long as it does for the others.
//!
//! ```
//! use mailstore_trait::password::{Argon2Cost, Verifier};
//! use mailstore_trait::sasl::Secret;
//!
//! let cost = Argon2Cost { memory_kib: 256, ..Argon2Cost::default() }; // so little only in an example
//! let record = Verifier::argon2("pencil", b"16 random octets", cost)?.to_string();
//! assert!(Verifier::parse(&record)?.verify(&Secret::from("pencil")));
//! # Ok::<(), mailstore_trait::sasl::VerifierError>(())
//! ```

mod argon;

use std::fmt;

pub use argon::{Argon2Cost, Argon2Verifier, Scratch};

use crate::sasl::{ScramHash, ScramVerifier, Secret, VerifierError};

/// One stored record of a password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verifier {
    /// An argon2 hash.
    Argon2(Argon2Verifier),
    /// SCRAM's keys.
    Scram(ScramVerifier),
}

impl Verifier {
    /// Makes an argon2id record; `salt` is fresh random octets, 16 of them.
    ///
    /// # Errors
    /// When the password cannot be prepared, or salt or cost are out of bounds.
    pub fn argon2(password: &str, salt: &[u8], cost: Argon2Cost) -> Result<Verifier, VerifierError> {
        Argon2Verifier::from_password(password, salt, cost).map(Verifier::Argon2)
    }

    /// Makes a SCRAM record; `salt` is fresh random octets, [`ScramVerifier::SALT_OCTETS`] of them.
    ///
    /// # Errors
    /// When the password cannot be prepared, or salt or iterations are out of bounds.
    pub fn scram(hash: ScramHash, password: &str, salt: &[u8], iterations: u32) -> Result<Verifier, VerifierError> {
        ScramVerifier::from_password(hash, password, salt, iterations).map(Verifier::Scram)
    }

    /// An argon2id record that no password matches and that takes as long to check as one of this cost. Make it once,
    /// with the cost that real records have, and check the passwords of unknown users against it.
    ///
    /// # Errors
    /// When the cost is out of bounds.
    pub fn decoy(cost: Argon2Cost) -> Result<Verifier, VerifierError> {
        Argon2Verifier::decoy(cost).map(Verifier::Argon2)
    }

    /// Reads a record of either layout.
    ///
    /// # Errors
    /// When it is neither, or its costs are out of bounds.
    pub fn parse(record: &str) -> Result<Verifier, VerifierError> {
        if record.starts_with('$') {
            Argon2Verifier::parse(record).map(Verifier::Argon2)
        } else {
            ScramVerifier::parse(record).map(Verifier::Scram)
        }
    }

    /// Whether this is the password. It is prepared first (RFC 4013), whichever way it came in.
    pub fn verify(&self, password: &Secret) -> bool {
        self.verify_in(password, &mut Scratch::default())
    }

    /// The same in memory that is kept for the next one.
    pub fn verify_in(&self, password: &Secret, scratch: &mut Scratch) -> bool {
        match self {
            Verifier::Argon2(verifier) => verifier.verify_in(password, scratch),
            Verifier::Scram(verifier) => verifier.verify(password),
        }
    }

    /// SCRAM's keys, if it is such a record for this hash.
    pub fn as_scram(&self, hash: ScramHash) -> Option<&ScramVerifier> {
        match self {
            Verifier::Scram(verifier) if verifier.hash() == hash => Some(verifier),
            _ => None,
        }
    }
}

/// Checks a password against the records of one user, none for an unknown user.
///
/// One record is checked, so a wrong password costs what a right one does: the first argon2 record, or else the first.
/// Without any the `decoy` is checked and the answer is no.
pub fn verify(records: &[Verifier], decoy: &Verifier, password: &Secret) -> bool {
    verify_in(records, decoy, password, &mut Scratch::default())
}

/// The same in memory that is kept for the next one.
pub fn verify_in(records: &[Verifier], decoy: &Verifier, password: &Secret, scratch: &mut Scratch) -> bool {
    let preferred = records.iter().find(|record| matches!(record, Verifier::Argon2(_)));
    match preferred.or_else(|| records.first()) {
        Some(record) => record.verify_in(password, scratch),
        None => {
            decoy.verify_in(password, scratch);
            false
        }
    }
}

impl fmt::Display for Verifier {
    /// The record, to be stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verifier::Argon2(verifier) => verifier.fmt(f),
            Verifier::Scram(verifier) => verifier.fmt(f),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verifier::Argon2(verifier) => verifier.fmt(f),
            Verifier::Scram(verifier) => verifier.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Argon2Cost {
        Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 }
    }

    #[test]
    fn either_record_verifies_and_is_written_back_as_it_was() {
        for verifier in [
            Verifier::argon2("p\u{e4}ss", &[3; 16], cheap()).unwrap(),
            Verifier::scram(ScramHash::Sha256, "p\u{e4}ss", &[3; 16], 4096).unwrap(),
        ] {
            let record = verifier.to_string();
            let read = Verifier::parse(&record).unwrap();
            assert_eq!(read, verifier);
            assert_eq!(read.to_string(), record);
            // NFC and NFD are the same password.
            assert!(read.verify(&Secret::from("pa\u{308}ss")));
            assert!(!read.verify(&Secret::from("pass")));
            assert!(!read.verify(&Secret::new(vec![0xff])));
        }
        assert_eq!(Verifier::parse(""), Err(VerifierError::Syntax));
    }

    #[test]
    fn unknown_users_are_refused_by_the_decoy() {
        let decoy = Verifier::decoy(cheap()).unwrap();
        assert!(!verify(&[], &decoy, &Secret::from("")));
        assert!(!verify(&[], &decoy, &Secret::from("pencil")));
        let scram = Verifier::scram(ScramHash::Sha256, "scram", &[3; 16], 4096).unwrap();
        let argon2 = Verifier::argon2("argon2", &[3; 16], cheap()).unwrap();
        assert!(verify(std::slice::from_ref(&scram), &decoy, &Secret::from("scram")));
        // Of two records that disagree one decides: no password is tried twice.
        assert!(verify(&[scram.clone(), argon2.clone()], &decoy, &Secret::from("argon2")));
        assert!(!verify(&[scram.clone(), argon2.clone()], &decoy, &Secret::from("scram")));
        assert!(scram.as_scram(ScramHash::Sha256).is_some() && scram.as_scram(ScramHash::Sha1).is_none());
        assert!(argon2.as_scram(ScramHash::Sha256).is_none());
    }

    #[test]
    fn debug_prints_no_hash() {
        let verifier = Verifier::argon2("pencil", &[3; 16], cheap()).unwrap();
        assert_eq!(format!("{verifier:?}"), "Argon2Verifier(argon2id, m=64,t=1,p=1)");
    }
}
