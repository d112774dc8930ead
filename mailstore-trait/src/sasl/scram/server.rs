//! The server's side of SCRAM (RFC 5802 §5): two pure steps around the look-up of the verifier.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::hash::{Digest, ScramHash};
use super::message::{ClientFinal, ClientFirst, Fault, Flag};
use super::verifier::ScramVerifier;
use crate::sasl::context::{Context, Nonce};
use crate::sasl::prep::saslprep;
use crate::sasl::server::Failure;

/// The client's first message was taken; its user's verifier is needed.
pub(crate) struct First {
    pub(crate) user: String,
    pub(crate) authzid: Option<String>,
    client_first_bare: String,
    /// What `c=` must decode to: the GS2 header, and the binding's octets behind it if there is one.
    cbind_input: Vec<u8>,
    nonce: String,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault {
            Fault::Syntax => Failure::Malformed,
            Fault::Extension => Failure::UnsupportedExtension,
        }
    }
}

impl First {
    pub(crate) fn parse(octets: &[u8], plus: bool, context: &Context, nonce: &Nonce) -> Result<First, Failure> {
        let first = ClientFirst::parse(octets)?;
        let mut cbind_input = first.gs2.text.as_bytes().to_vec();
        match first.gs2.flag {
            // RFC 5802 §6: a client that chose -PLUS binds; "n" and "y" belong to the other form, and "p" does not.
            Flag::Unsupported | Flag::Unused if plus => return Err(Failure::Malformed),
            Flag::Used(_) if !plus => return Err(Failure::Malformed),
            // RFC 5802 §6: the client could bind and saw no -PLUS mechanism, though one was advertised.
            Flag::Unused if context.plus_offered => return Err(Failure::Downgrade),
            Flag::Unsupported | Flag::Unused => {}
            Flag::Used(name) => {
                cbind_input.extend_from_slice(context.binding(name).ok_or(Failure::UnsupportedBinding)?);
            }
        }
        if first.user.len() > context.limits.name
            || first.gs2.authzid.as_ref().is_some_and(|authzid| authzid.len() > context.limits.name)
        {
            return Err(Failure::TooLong);
        }
        Ok(First {
            user: saslprep(&first.user).map_err(|_| Failure::Preparation)?.into_owned(),
            client_first_bare: first.bare.to_owned(),
            cbind_input,
            // RFC 5802 §5.1: the server appends its own nonce to the client's.
            nonce: [first.nonce, nonce.as_str()].concat(),
            authzid: first.gs2.authzid,
        })
    }

    /// Goes on with the user's verifier: the server's first message and what waits for the answer to it.
    pub(crate) fn challenge(self, hash: ScramHash, verifier: ScramVerifier) -> (Bytes, Final) {
        let salt = STANDARD.encode(verifier.salt());
        let server_first = format!("r={},s={salt},i={}", self.nonce, verifier.iterations());
        let challenge = Bytes::copy_from_slice(server_first.as_bytes());
        let final_ = Final {
            hash,
            user: self.user,
            authzid: self.authzid,
            auth_message: [self.client_first_bare, server_first].join(","),
            cbind_input: self.cbind_input,
            nonce: self.nonce,
            verifier,
        };
        (challenge, final_)
    }
}

/// The server's first message is out; the client's proof is awaited.
pub(crate) struct Final {
    hash: ScramHash,
    pub(crate) user: String,
    pub(crate) authzid: Option<String>,
    auth_message: String,
    cbind_input: Vec<u8>,
    nonce: String,
    verifier: ScramVerifier,
}

impl Final {
    /// Checks the client's proof and returns the server's final message, its own proof.
    pub(crate) fn prove(&self, octets: &[u8]) -> Result<Bytes, Failure> {
        let message = ClientFinal::parse(octets)?;
        if message.nonce != self.nonce {
            return Err(Failure::Malformed);
        }
        // RFC 5802 §5.1: "c" repeats the header of the first message, with the channel's own octets behind it.
        if !bool::from(message.cbind_input.ct_eq(&self.cbind_input)) {
            return Err(Failure::ChannelBinding);
        }
        let proof = Digest::from_slice(&message.proof)
            .filter(|proof| proof.as_slice().len() == self.hash.octets())
            .ok_or(Failure::Malformed)?;
        let auth_message: [&[u8]; 3] = [self.auth_message.as_bytes(), b",", message.without_proof.as_bytes()];
        let signature = self.hash.hmac(self.verifier.stored_key.as_slice(), &auth_message);
        let client_key = proof.xor(&signature);
        if self.hash.hash(client_key.as_slice()) != self.verifier.stored_key {
            return Err(Failure::Credentials);
        }
        let signature = self.hash.hmac(self.verifier.server_key.as_slice(), &auth_message);
        Ok(Bytes::from(format!("v={}", STANDARD.encode(signature.as_slice()))))
    }
}
