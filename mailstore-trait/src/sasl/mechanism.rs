//! The mechanisms by name, and what each of them needs (RFC 4422 §3.1, RFC 5802 §4).

use std::fmt;

use super::scram::ScramHash;

/// A SASL mechanism this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// PLAIN, RFC 4616: name and password in one message.
    Plain,
    /// LOGIN: name and password, each after a prompt. Never standardised, still asked for by old clients.
    Login,
    /// SCRAM, RFC 5802: both sides prove that they know the password without saying it.
    Scram {
        /// The hash in the mechanism's name.
        hash: ScramHash,
        /// Whether this is the -PLUS form, bound to the TLS channel beneath.
        plus: bool,
    },
    /// OAUTHBEARER, RFC 7628: an OAuth 2.0 bearer token.
    OauthBearer,
    /// XOAUTH2: the same before it was standardised.
    Xoauth2,
    /// EXTERNAL, RFC 4422 appendix A: the certificate the client showed to TLS.
    External,
}

use ScramHash::{Sha1, Sha256, Sha512};

impl Mechanism {
    /// Every mechanism, strongest first: an advertisement in this order puts the best one where naive clients look.
    pub const ALL: [Mechanism; 11] = [
        Mechanism::External,
        Mechanism::Scram { hash: Sha512, plus: true },
        Mechanism::Scram { hash: Sha256, plus: true },
        Mechanism::Scram { hash: Sha1, plus: true },
        Mechanism::Scram { hash: Sha512, plus: false },
        Mechanism::Scram { hash: Sha256, plus: false },
        Mechanism::Scram { hash: Sha1, plus: false },
        Mechanism::OauthBearer,
        Mechanism::Xoauth2,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// The registered name, in upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::Scram { hash: Sha1, plus: false } => "SCRAM-SHA-1",
            Mechanism::Scram { hash: Sha1, plus: true } => "SCRAM-SHA-1-PLUS",
            Mechanism::Scram { hash: Sha256, plus: false } => "SCRAM-SHA-256",
            Mechanism::Scram { hash: Sha256, plus: true } => "SCRAM-SHA-256-PLUS",
            Mechanism::Scram { hash: Sha512, plus: false } => "SCRAM-SHA-512",
            Mechanism::Scram { hash: Sha512, plus: true } => "SCRAM-SHA-512-PLUS",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// The mechanism of this name, in any case: IMAP, POP3 and SMTP all compare it so.
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether whoever reads the wire can use what was sent again: a password or a bearer token.
    ///
    /// These are refused outside TLS unless [`Context::allow_cleartext`](super::Context::allow_cleartext) is set.
    pub const fn is_plaintext(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login | Mechanism::OauthBearer | Mechanism::Xoauth2)
    }

    /// Whether the client speaks first (RFC 4422 §3.3), so that an initial response makes sense. LOGIN begins with a
    /// prompt, though a server takes its user name as an initial response too.
    pub const fn is_client_first(self) -> bool {
        !matches!(self, Mechanism::Login)
    }

    /// Whether it works only over TLS whose channel binding is known.
    pub const fn needs_channel_binding(self) -> bool {
        matches!(self, Mechanism::Scram { plus: true, .. })
    }

    /// Whether it works only over TLS with a verified client certificate.
    pub const fn needs_certificate(self) -> bool {
        matches!(self, Mechanism::External)
    }

    /// The hash of the verifier that a user must have for it: SCRAM only.
    pub const fn scram_hash(self) -> Option<ScramHash> {
        match self {
            Mechanism::Scram { hash, .. } => Some(hash),
            _ => None,
        }
    }

    /// Where it stands among the others; more is stronger. The order of [`Mechanism::ALL`].
    pub fn strength(self) -> usize {
        Mechanism::ALL.into_iter().rev().position(|mechanism| mechanism == self).unwrap_or_default()
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanism_names_parse_back_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().as_bytes()), Some(mechanism));
            assert_eq!(Mechanism::parse(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
            // RFC 4422 §3.1: a mechanism name has at most 20 characters.
            assert!(mechanism.name().len() <= 20);
        }
        for unknown in ["", "PLAI", "PLAINX", "SCRAM-SHA-256-", "CRAM-MD5", "SCRAM-SHA-3-512", "PLAIN "] {
            assert_eq!(Mechanism::parse(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn mechanism_strength_prefers_bound_then_proved_then_plaintext() {
        let strength = |name: &str| Mechanism::parse(name.as_bytes()).unwrap().strength();
        assert!(strength("SCRAM-SHA-1-PLUS") > strength("SCRAM-SHA-512"));
        assert!(strength("SCRAM-SHA-512") > strength("SCRAM-SHA-256"));
        assert!(strength("SCRAM-SHA-1") > strength("OAUTHBEARER"));
        assert!(strength("XOAUTH2") > strength("PLAIN"));
        assert_eq!(strength("LOGIN"), 0);
    }
}
