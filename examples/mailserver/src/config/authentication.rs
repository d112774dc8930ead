//! `[authentication]` and `[outbound].dkim`: what is checked of mail that comes in, and what is signed of mail that goes out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Network, Octets, Span};

/// What is done about senders of other hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Authentication {
    /// Whether SPF, DKIM, ARC and DMARC are looked up.
    pub(crate) verify: bool,
    /// Hosts whose mail is let by unseen.
    pub(crate) trusted: Vec<Network>,
    /// What comes of a failed DMARC check, where no rule says otherwise.
    pub(crate) dmarc: Enforcement,
    /// What comes of it for these domains in From; the first that matches counts.
    pub(crate) rules: Vec<Rule>,
    /// Domains whose word is taken for what a message was before they changed it (RFC 8617 §7.2.1).
    pub(crate) trusted_sealers: Vec<String>,
    /// Octets of a header; a message with a longer one is refused, because its author can't be found.
    pub(crate) header_size: Octets,
    /// Signatures of one message that are looked at, DKIM's and ARC's each.
    pub(crate) signatures: usize,
    /// How long all questions about one message may take; then it is taken unchecked.
    pub(crate) deadline: Span,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            verify: true,
            trusted: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
            dmarc: Enforcement::Enforce,
            rules: Vec::new(),
            trusted_sealers: Vec::new(),
            header_size: Octets(256 * 1024),
            signatures: 10,
            deadline: Span(Duration::from_secs(60)),
        }
    }
}

impl Authentication {
    /// Whether mail from there is let by unseen.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// What comes of a failed DMARC check for a message from this domain.
    pub(crate) fn enforcement(&self, domain: &str) -> Enforcement {
        let rule = self.rules.iter().find(|rule| super::matches(&rule.domain, domain));
        rule.map_or(self.dmarc, |rule| rule.dmarc)
    }
}

/// What comes of a failed DMARC check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Enforcement {
    /// Whatever the domain asks for: refused, or put into the junk folder.
    Enforce,
    /// The junk folder, also where the domain asks for a refusal.
    Quarantine,
    /// Nothing but the result in Authentication-Results.
    Mark,
}

/// What is done for one domain, or `*.domain` for all below it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) domain: String,
    pub(crate) dmarc: Enforcement,
}

/// A key that signs what users of a domain send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dkim {
    pub(crate) domain: String,
    pub(crate) selector: String,
    /// PEM, PKCS #1 or #8: RSA or Ed25519.
    pub(crate) key: PathBuf,
}
