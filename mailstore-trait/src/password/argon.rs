//! Argon2 records in the PHC string format (RFC 9106; `$argon2id$v=19$m=…,t=…,p=…$salt$hash`).

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::sasl::{Secret, VerifierError, saslprep};

/// Octets of hash in records made here.
const HASH_OCTETS: usize = 32;

/// What checking a password costs. The default is OWASP's least advice for argon2id: 19 MiB, two passes, one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB, at least 8 for each lane and at most 1 GiB.
    pub memory_kib: u32,
    /// Passes over it, 1 to 64.
    pub passes: u32,
    /// Lanes, 1 to 16. They run one after the other.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    fn default() -> Argon2Cost {
        Argon2Cost { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

impl Argon2Cost {
    const MAX_MEMORY_KIB: u32 = 1 << 20;
    const MAX_PASSES: u32 = 64;
    const MAX_LANES: u32 = 16;

    fn params(self, hash_octets: usize) -> Result<Params, VerifierError> {
        if self.memory_kib > Self::MAX_MEMORY_KIB || self.passes > Self::MAX_PASSES || self.lanes > Self::MAX_LANES {
            return Err(VerifierError::Cost);
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(hash_octets)).map_err(|_| VerifierError::Cost)
    }
}

/// The memory argon2 works in, for whoever checks one password after another to keep.
///
/// Asked for anew each time, blocks of this size and alignment leave an allocator with holes that the next ones do not
/// fit into: two threads that check passwords were seen to hold 400 MiB so. Kept, it is the memory of one check for each
/// thread. Nothing of a password stays in it.
#[derive(Default)]
pub struct Scratch {
    blocks: Vec<Block>,
}

impl Scratch {
    /// Exactly this many blocks; `None` when there is no memory for them.
    fn blocks(&mut self, count: usize) -> Option<&mut [Block]> {
        if self.blocks.len() != count {
            self.blocks = Vec::new();
            self.blocks.try_reserve_exact(count).ok()?;
            self.blocks.resize(count, Block::default());
        }
        Some(&mut self.blocks)
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("octets", &(self.blocks.len() * Block::SIZE)).finish()
    }
}

/// An argon2 hash of a password, with all that checking one takes.
#[derive(Clone)]
pub struct Argon2Verifier {
    algorithm: Algorithm,
    version: Version,
    cost: Argon2Cost,
    salt: Vec<u8>,
    hash: Zeroizing<Vec<u8>>,
}

impl Argon2Verifier {
    /// Makes an argon2id record of the prepared password; `salt` is fresh random octets, 16 of them.
    ///
    /// # Errors
    /// When the password cannot be prepared, or salt or cost are out of bounds.
    pub fn from_password(password: &str, salt: &[u8], cost: Argon2Cost) -> Result<Argon2Verifier, VerifierError> {
        let prepared = Secret::new(saslprep(password)?.into_owned());
        let mut verifier = Argon2Verifier::decoy(cost)?;
        if !(8..=64).contains(&salt.len()) {
            return Err(VerifierError::Salt);
        }
        verifier.salt = salt.to_vec();
        verifier.hash = verifier.compute(&prepared, &mut Scratch::default()).ok_or(VerifierError::Cost)?;
        Ok(verifier)
    }

    /// A record of this cost that no password is known to match.
    ///
    /// # Errors
    /// When the cost is out of bounds.
    pub(super) fn decoy(cost: Argon2Cost) -> Result<Argon2Verifier, VerifierError> {
        cost.params(HASH_OCTETS)?;
        Ok(Argon2Verifier {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            cost,
            salt: vec![0; 16],
            hash: Zeroizing::new(vec![0; HASH_OCTETS]),
        })
    }

    /// Reads a record: argon2id, argon2i or argon2d, of either version.
    ///
    /// # Errors
    /// When it is none, has a salt outside 8 to 64 octets or a hash outside 16 to 64, or costs out of bounds.
    pub fn parse(record: &str) -> Result<Argon2Verifier, VerifierError> {
        let verifier = Self::parse_parts(record).ok_or(VerifierError::Syntax)?;
        if !(8..=64).contains(&verifier.salt.len()) {
            return Err(VerifierError::Salt);
        }
        verifier.cost.params(verifier.hash.len())?;
        Ok(verifier)
    }

    fn parse_parts(record: &str) -> Option<Argon2Verifier> {
        let mut fields = record.strip_prefix('$')?.split('$').peekable();
        let algorithm = match fields.next()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            _ => return None,
        };
        // The PHC format: a record without a version is of the one before there were versions.
        let version = match fields.next_if(|field| field.starts_with("v=")) {
            None | Some("v=16") => Version::V0x10,
            Some("v=19") => Version::V0x13,
            Some(_) => return None,
        };
        let mut costs = fields.next()?.split(',');
        let mut cost = |name| number(costs.next()?.strip_prefix(name)?);
        let cost = Argon2Cost { memory_kib: cost("m=")?, passes: cost("t=")?, lanes: cost("p=")? };
        let salt = STANDARD_NO_PAD.decode(fields.next()?).ok()?;
        let hash = Zeroizing::new(STANDARD_NO_PAD.decode(fields.next()?).ok()?);
        let is_whole = costs.next().is_none() && fields.next().is_none() && (16..=64).contains(&hash.len());
        is_whole.then_some(Argon2Verifier { algorithm, version, cost, salt, hash })
    }

    /// Whether this is the password, prepared first.
    pub fn verify(&self, password: &Secret) -> bool {
        self.verify_in(password, &mut Scratch::default())
    }

    /// The same in memory that is kept for the next one.
    pub fn verify_in(&self, password: &Secret, scratch: &mut Scratch) -> bool {
        let Some(prepared) = password.expose_str().ok().and_then(|password| saslprep(password).ok()) else {
            return false;
        };
        let prepared = Secret::new(prepared.into_owned());
        self.compute(&prepared, scratch).is_some_and(|hash| bool::from(hash.ct_eq(&self.hash)))
    }

    /// What checking it costs: where that is less than for new records, make a new one at the next log-in.
    pub fn cost(&self) -> Argon2Cost {
        self.cost
    }

    fn compute(&self, prepared: &Secret, scratch: &mut Scratch) -> Option<Zeroizing<Vec<u8>>> {
        let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
        let params = self.cost.params(hash.len()).ok()?;
        let blocks = scratch.blocks(params.block_count())?;
        let argon2 = Argon2::new(self.algorithm, self.version, params);
        let done = argon2.hash_password_into_with_memory(prepared.expose(), &self.salt, &mut hash, &mut *blocks);
        // The first blocks alone would let passwords be tried without argon2's cost.
        blocks.fill(Block::default());
        done.ok().map(|()| hash)
    }
}

/// The PHC format: decimal without sign or leading zeros.
fn number(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|octet| octet.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    Some(digits).filter(|_| is_number)?.parse().ok()
}

impl PartialEq for Argon2Verifier {
    fn eq(&self, other: &Argon2Verifier) -> bool {
        (self.algorithm, self.version, self.cost, &self.salt)
            == (other.algorithm, other.version, other.cost, &other.salt)
            && bool::from(self.hash.ct_eq(&other.hash))
    }
}

impl Eq for Argon2Verifier {}

impl fmt::Display for Argon2Verifier {
    /// The record, to be stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Argon2Cost { memory_kib, passes, lanes } = self.cost;
        let version = u32::from(self.version);
        write!(f, "${}$v={version}$m={memory_kib},t={passes},p={lanes}", self.algorithm.as_str())?;
        write!(f, "${}${}", STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&*self.hash))
    }
}

impl fmt::Debug for Argon2Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Argon2Cost { memory_kib, passes, lanes } = self.cost;
        write!(f, "Argon2Verifier({}, m={memory_kib},t={passes},p={lanes})", self.algorithm.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argon2_records_made_by_the_reference_program() {
        // From the test file of the reference implementation (phc-winner-argon2, test.c): password, salt "somesalt".
        for record in [
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        ] {
            let verifier = Argon2Verifier::parse(record).unwrap();
            assert!(verifier.verify(&Secret::from("password")), "{record}");
            assert!(!verifier.verify(&Secret::from("differentpassword")), "{record}");
        }
    }

    #[test]
    fn argon2_memory_serves_records_of_any_cost_and_keeps_nothing() {
        let costs = [(64, 1), (64, 3), (256, 1), (64, 1)].map(|(memory_kib, passes)| Argon2Cost {
            memory_kib,
            passes,
            lanes: 1,
        });
        let mut scratch = Scratch::default();
        for cost in costs {
            let verifier = Argon2Verifier::from_password("pencil", &[7; 16], cost).unwrap();
            for _ in 0..2 {
                assert!(verifier.verify_in(&Secret::from("pencil"), &mut scratch));
                assert!(!verifier.verify_in(&Secret::from("crayon"), &mut scratch));
            }
            assert_eq!(scratch.blocks.len(), cost.memory_kib as usize);
            assert!(scratch.blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        }
    }

    #[test]
    fn argon2_records_that_are_none() {
        const GOOD: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(Argon2Verifier::parse(GOOD).unwrap().to_string(), GOOD);
        for (from, to, error) in [
            ("argon2id", "argon2x", VerifierError::Syntax),
            ("v=19", "v=20", VerifierError::Syntax),
            ("m=256", "m=0256", VerifierError::Syntax),
            ("m=256", "m=+256", VerifierError::Syntax),
            ("m=256,t=2", "t=2,m=256", VerifierError::Syntax),
            ("p=1", "p=1,keyid=QQ", VerifierError::Syntax),
            ("Gi/4", "Gi/4$", VerifierError::Syntax),
            ("Gi/4", "Gi/4=", VerifierError::Syntax),
            ("$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "", VerifierError::Syntax),
            ("nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "QUFB", VerifierError::Syntax),
            ("c29tZXNhbHQ", "QUFB", VerifierError::Salt),
            ("m=256", "m=4", VerifierError::Cost),
            ("m=256", "m=4294967295", VerifierError::Cost),
            ("t=2", "t=0", VerifierError::Cost),
            ("t=2", "t=65", VerifierError::Cost),
            ("p=1", "p=17", VerifierError::Cost),
        ] {
            assert_eq!(Argon2Verifier::parse(&GOOD.replacen(from, to, 1)), Err(error), "{to}");
        }
    }

    #[test]
    fn argon2_cost_and_salt_are_bounded_when_made() {
        let cost = Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 };
        assert_eq!(Argon2Verifier::from_password("x", &[0; 7], cost), Err(VerifierError::Salt));
        let huge = Argon2Cost { memory_kib: u32::MAX, ..cost };
        assert_eq!(Argon2Verifier::from_password("x", &[0; 16], huge), Err(VerifierError::Cost));
        assert!(matches!(Argon2Verifier::from_password("", &[0; 16], cost), Err(VerifierError::Password(_))));
        assert_eq!(Argon2Verifier::from_password("x", &[0; 16], cost).unwrap().cost(), cost);
    }
}
