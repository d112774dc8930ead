//! Octets that must not be seen: wiped when dropped, absent from `Debug`, compared in constant time.

use std::fmt;
use std::str::Utf8Error;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A password, a token or a key.
///
/// `Debug` prints neither the octets nor how many there are.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets; nothing is copied, and the memory is wiped when the secret is dropped.
    pub fn new(octets: impl Into<Vec<u8>>) -> Secret {
        Secret(Zeroizing::new(octets.into()))
    }

    /// The octets. The name is meant to stand out where it is used.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The octets as text. Passwords and tokens that a [`Server`](super::Server) asks about always are.
    ///
    /// # Errors
    /// When the octets are no UTF-8.
    pub fn expose_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }

    /// Whether there are no octets.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret::new(text.into_bytes())
    }
}

impl PartialEq for Secret {
    /// In constant time for equal lengths.
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_a_secret() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret Secret");
        assert_eq!(secret.expose_str(), Ok("hunter2"));
        assert!(!secret.is_empty());
    }

    #[test]
    fn secrets_compare_by_their_octets() {
        assert_eq!(Secret::from("a"), Secret::from("a".to_owned()));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("aa"));
    }
}
