//! The client's side of SCRAM (RFC 5802 §5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::hash::{Digest, ScramHash};
use super::message::{self, Fault, ServerFinal, ServerFirst};
use crate::sasl::client::Failure;
use crate::sasl::context::{Context, Limits, Nonce};
use crate::sasl::prep::saslprep;
use crate::sasl::secret::Secret;

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault {
            Fault::Syntax => Failure::Malformed,
            Fault::Extension => Failure::UnsupportedExtension,
        }
    }
}

/// The client's first message is written; the server's is awaited.
pub(crate) struct First {
    hash: ScramHash,
    password: Secret,
    nonce: Nonce,
    gs2: String,
    bare: String,
    binding: Vec<u8>,
    limits: Limits,
}

impl First {
    pub(crate) fn new(
        hash: ScramHash,
        plus: bool,
        (user, password, authzid): (&str, &Secret, Option<&str>),
        context: &Context,
        nonce: Nonce,
    ) -> Result<First, Failure> {
        let password = password.expose_str().map_err(|_| Failure::Credentials)?;
        let password = Secret::new(saslprep(password).map_err(|_| Failure::Credentials)?.into_owned());
        let user = saslprep(user).map_err(|_| Failure::Credentials)?;
        let mut binding = Vec::new();
        let mut gs2 = String::new();
        if plus {
            // RFC 9266 §2: tls-exporter is the binding to prefer.
            let name =
                ["tls-exporter", "tls-server-end-point"].into_iter().find(|name| context.binding(name).is_some());
            let name = name.ok_or(Failure::UnsupportedBinding)?;
            binding.extend_from_slice(context.binding(name).unwrap_or_default());
            gs2.push_str("p=");
            gs2.push_str(name);
        } else {
            // RFC 5802 §6: "y" says that this client can bind and saw no -PLUS mechanism.
            gs2.push(if context.can_bind() && !context.plus_offered { 'y' } else { 'n' });
        }
        gs2.push(',');
        if let Some(authzid) = authzid {
            if authzid.is_empty() || authzid.contains('\0') {
                return Err(Failure::Credentials);
            }
            gs2.push_str("a=");
            message::push_saslname(&mut gs2, authzid);
        }
        gs2.push(',');
        let mut bare = String::from("n=");
        message::push_saslname(&mut bare, &user);
        bare.push_str(",r=");
        bare.push_str(nonce.as_str());
        Ok(First { hash, password, nonce, gs2, bare, binding, limits: context.limits })
    }

    pub(crate) fn message(&self) -> Bytes {
        Bytes::from([self.gs2.as_str(), &self.bare].concat())
    }

    /// Answers the server's first message with the proof.
    pub(crate) fn prove(self, octets: &[u8]) -> Result<(Bytes, Final), Failure> {
        let text = std::str::from_utf8(octets).map_err(|_| Failure::Malformed)?;
        let server = ServerFirst::parse(text)?;
        // RFC 5802 §5.1: the nonce begins with ours and has something of the server's behind it.
        if server.nonce.strip_prefix(self.nonce.as_str()).is_none_or(str::is_empty) {
            return Err(Failure::Malformed);
        }
        if !(self.limits.min_iterations..=self.limits.max_iterations).contains(&server.iterations) {
            return Err(Failure::Iterations(server.iterations));
        }
        let salted = self.hash.salted_password(self.password.expose(), &server.salt, server.iterations);
        let client_key = self.hash.hmac(salted.as_slice(), &[b"Client Key"]);
        let stored_key = self.hash.hash(client_key.as_slice());
        let server_key = self.hash.hmac(salted.as_slice(), &[b"Server Key"]);
        let cbind_input = [self.gs2.as_bytes(), &self.binding].concat();
        let without_proof = format!("c={},r={}", STANDARD.encode(cbind_input), server.nonce);
        let auth_message = [self.bare.as_str(), text, &without_proof].join(",");
        let proof = client_key.xor(&self.hash.hmac(stored_key.as_slice(), &[auth_message.as_bytes()]));
        let signature = self.hash.hmac(server_key.as_slice(), &[auth_message.as_bytes()]);
        let response = format!("{without_proof},p={}", STANDARD.encode(proof.as_slice()));
        Ok((Bytes::from(response), Final { signature }))
    }
}

/// The proof is out; the server's own is awaited.
pub(crate) struct Final {
    signature: Digest,
}

impl Final {
    /// Checks that the server knows the verifier too.
    pub(crate) fn verify(&self, octets: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(octets).map_err(|_| Failure::Malformed)?;
        match ServerFinal::parse(text)? {
            ServerFinal::Signature(signature) if Digest::from_slice(&signature).as_ref() == Some(&self.signature) => {
                Ok(())
            }
            ServerFinal::Signature(_) => Err(Failure::ServerSignature),
            ServerFinal::Error(_) => Err(Failure::Refused),
        }
    }
}
