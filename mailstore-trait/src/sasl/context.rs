//! What a machine is told of its connection: TLS, channel bindings, certificate, limits and a nonce.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::mechanism::Mechanism;
use super::server::Failure;
use crate::session::LayerInfo;

/// What is known of the connection and how far the peer may go. The same on both sides.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Whether TLS protects the connection.
    pub tls: bool,
    /// RFC 9266: the `tls-exporter` binding.
    pub exporter: Option<[u8; 32]>,
    /// RFC 5929 §4: the `tls-server-end-point` binding.
    pub end_point: Option<Bytes>,
    /// The client's certificate in DER, verified by TLS: what EXTERNAL asks about.
    pub peer_certificate: Option<Bytes>,
    /// Whether the server advertised a -PLUS mechanism on this connection.
    ///
    /// A server that did refuses the flag `y`, by which a client says that it saw none: somebody between them took it
    /// out (RFC 5802 §6). A client that saw none and could have bound says `y`.
    pub plus_offered: bool,
    /// Lets passwords and tokens cross a connection without TLS: Unix sockets and tests.
    pub allow_cleartext: bool,
    /// What OAUTHBEARER and XOAUTH2 tell a client whose token was refused.
    pub oauth: OauthHints,
    /// How long and how costly the peer's messages may be.
    pub limits: Limits,
}

impl Context {
    /// A connection without TLS.
    pub fn cleartext() -> Context {
        Context {
            tls: false,
            exporter: None,
            end_point: None,
            peer_certificate: None,
            plus_offered: false,
            allow_cleartext: false,
            oauth: OauthHints::default(),
            limits: Limits::default(),
        }
    }

    /// A connection over this TLS. `plus_offered` is set when a binding is known; clear it where -PLUS mechanisms are
    /// not advertised.
    pub fn over_tls(layer: &LayerInfo) -> Context {
        Context {
            tls: true,
            exporter: layer.exporter,
            end_point: layer.end_point.clone(),
            peer_certificate: layer.peer_certificate.clone(),
            plus_offered: layer.exporter.is_some() || layer.end_point.is_some(),
            ..Context::cleartext()
        }
    }

    /// Whether some channel binding is known.
    pub fn can_bind(&self) -> bool {
        self.tls && (self.exporter.is_some() || self.end_point.is_some())
    }

    /// The octets of a binding by its registered name.
    pub(super) fn binding(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
        .filter(|_| self.tls)
    }

    /// Whether a server may offer this mechanism on this connection.
    ///
    /// # Errors
    /// The reason why not, the same that [`Server::start`](super::Server::start) fails with.
    pub fn permits(&self, mechanism: Mechanism) -> Result<(), Failure> {
        if mechanism.is_plaintext() && !self.tls && !self.allow_cleartext {
            return Err(Failure::TlsRequired);
        }
        if mechanism.needs_channel_binding() && !self.can_bind() {
            return Err(Failure::UnsupportedBinding);
        }
        if mechanism.needs_certificate() && self.peer_certificate.is_none() {
            return Err(Failure::NoCertificate);
        }
        Ok(())
    }
}

impl fmt::Debug for Context {
    /// Says which bindings are known, not what they are: exporter octets are keying material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("tls", &self.tls)
            .field("exporter", &self.exporter.is_some())
            .field("end_point", &self.end_point.is_some())
            .field("peer_certificate", &self.peer_certificate.is_some())
            .field("plus_offered", &self.plus_offered)
            .field("allow_cleartext", &self.allow_cleartext)
            .field("oauth", &self.oauth)
            .field("limits", &self.limits)
            .finish()
    }
}

/// What a refused OAuth client is told, so that it can get a better token (RFC 7628 §3.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OauthHints {
    /// The scope a token must have.
    pub scope: Option<String>,
    /// The URL of the OpenID provider's configuration document.
    pub openid_configuration: Option<String>,
}

/// How long and how costly a peer's messages may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of one message. RFC 4954 §4 asks for 12,288 octets of base64, which is more than any message needs.
    pub message: usize,
    /// Octets of a user name or authorization identity. RFC 4616 §2 allows 255.
    pub name: usize,
    /// Octets of a password. RFC 4616 §2 allows 255.
    pub password: usize,
    /// The least PBKDF2 iterations a client accepts from a server. RFC 7677 §3 asks for 4,096.
    pub min_iterations: u32,
    /// The most PBKDF2 iterations a client lets a server ask for: each costs processor time.
    pub max_iterations: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message: 12_288, name: 255, password: 1_024, min_iterations: 4_096, max_iterations: 2_000_000 }
    }
}

/// Fresh random octets in the form SCRAM sends them. Use each once.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// From 18 octets (144 bits) of a cryptographic random source.
    pub fn from_random(octets: [u8; 18]) -> Nonce {
        Nonce(STANDARD.encode(octets))
    }

    /// From a text that is already a nonce: visible ASCII without commas (RFC 5802 §7).
    pub fn from_printable(text: &str) -> Option<Nonce> {
        is_nonce(text).then(|| Nonce(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce")
    }
}

// RFC 5802 §7: printable is %x21-2B / %x2D-7E.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| matches!(octet, 0x21..=0x2b | 0x2d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_keying_material() {
        let mut context = Context::cleartext();
        context.tls = true;
        context.exporter = Some([201; 32]);
        let printed = format!("{context:?} {:?}", Nonce::from_random([201; 18]));
        assert!(!printed.contains("201") && !printed.contains("yc"), "{printed}");
    }

    #[test]
    fn a_nonce_is_visible_and_has_no_comma() {
        assert!(Nonce::from_printable("3rfcNHYJY1ZVvWVs7j").is_some());
        for bad in ["", "a,b", "a b", "a\n", "\u{e9}"] {
            assert_eq!(Nonce::from_printable(bad), None, "{bad:?}");
        }
        assert!(is_nonce(Nonce::from_random([0xff; 18]).as_str()));
    }

    #[test]
    fn permits_what_the_connection_carries() {
        let clear = Context::cleartext();
        let mut tls = Context::over_tls(&LayerInfo::new());
        for mechanism in Mechanism::ALL {
            let expected = match mechanism {
                Mechanism::External => Err(Failure::NoCertificate),
                Mechanism::Scram { plus: true, .. } => Err(Failure::UnsupportedBinding),
                Mechanism::Scram { .. } => Ok(()),
                _ => Err(Failure::TlsRequired),
            };
            assert_eq!(clear.permits(mechanism), expected, "{mechanism}");
            assert_eq!(
                tls.permits(mechanism).is_ok(),
                expected != Err(Failure::UnsupportedBinding) && expected != Err(Failure::NoCertificate),
                "{mechanism}"
            );
        }
        tls.exporter = Some([0; 32]);
        tls.peer_certificate = Some(Bytes::from_static(b"der"));
        assert!(Mechanism::ALL.into_iter().all(|mechanism| tls.permits(mechanism).is_ok()));
        let mut socket = clear;
        socket.allow_cleartext = true;
        assert_eq!(socket.permits(Mechanism::Plain), Ok(()));
    }
}
