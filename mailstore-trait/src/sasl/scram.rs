//! SCRAM (RFC 5802) with SHA-1, SHA-256 (RFC 7677) and SHA-512: hashing, verifiers, messages and both machines.
//!
//! ```text
//!   SaltedPassword = Hi(Normalize(password), salt, i)      Hi is PBKDF2 with HMAC
//!   ClientKey = HMAC(SaltedPassword, "Client Key")         StoredKey = H(ClientKey)
//!   ServerKey = HMAC(SaltedPassword, "Server Key")
//!   AuthMessage = client-first-bare "," server-first "," client-final-without-proof
//!   ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage)      v = HMAC(ServerKey, AuthMessage)
//! ```
//!
//! Whoever holds a verifier (salt, i, StoredKey, ServerKey) can check a proof but not make one.

pub(super) mod client;
mod hash;
pub(super) mod message;
pub(super) mod server;
mod verifier;

pub use hash::ScramHash;
pub use verifier::{ScramVerifier, VerifierError};
