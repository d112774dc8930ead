//! `[smtp]`, `[submission]` and `[proxy]`: how mail is taken, and from whom.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{Network, Span};

/// Mail from other servers, and what SMTP's listeners have in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Smtp {
    /// How long the greeting of `listen.smtp` is held back; who talks before it is refused.
    pub(crate) greet_delay: Option<Span>,
    /// What bare CR and LF in a message do.
    pub(crate) bare_line_ends: BareLineEnds,
    /// Messages of one connection.
    pub(crate) messages: u32,
    /// Whether ETRN starts the queue of a host.
    pub(crate) etrn: bool,
    /// RFC 3865: solicitation class keywords of messages that are refused.
    pub(crate) solicitations: Vec<String>,
    /// Hosts that may say who the client is, and as whom it logged in.
    pub(crate) xclient: Vec<Network>,
    /// Hosts that may say where a message came from.
    pub(crate) xforward: Vec<Network>,
}

impl Default for Smtp {
    fn default() -> Smtp {
        Smtp {
            greet_delay: None,
            bare_line_ends: BareLineEnds::Normalize,
            messages: 1000,
            etrn: false,
            solicitations: Vec::new(),
            xclient: Vec::new(),
            xforward: Vec::new(),
        }
    }
}

/// What bare CR and LF in a message do. They never end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BareLineEnds {
    /// The message is refused.
    Reject,
    /// A bare LF stands for a line end, a bare CR for a space.
    Normalize,
}

/// Mail from users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Submission {
    /// Whether users may only send from addresses of theirs.
    pub(crate) own_addresses_only: bool,
    /// Whether Received leaves out where the user is.
    pub(crate) hide_client: bool,
    /// Whether Date, Message-ID and Sender are added where they are missing.
    pub(crate) add_missing: bool,
    /// Whether users may ask by VRFY and EXPN who an address is.
    pub(crate) look_ups: bool,
    /// The longest that a message may be held before it is sent (FUTURERELEASE).
    pub(crate) hold: Span,
    /// Messages of one user in `per`; 0 for any number.
    pub(crate) messages: u32,
    /// Recipients of one user in `per`; 0 for any number.
    pub(crate) recipients: u32,
    /// In how much time these allowances grow back.
    pub(crate) per: Span,
}

impl Default for Submission {
    fn default() -> Submission {
        Submission {
            own_addresses_only: true,
            hide_client: true,
            add_missing: true,
            look_ups: false,
            hold: Span(Duration::from_secs(30 * 86_400)),
            messages: 5000,
            recipients: 20_000,
            per: Span(Duration::from_secs(3600)),
        }
    }
}

/// Load balancers in front of the listeners.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Proxy {
    /// Each connection from these hosts, to any listener, begins with a PROXY header.
    pub(crate) trusted: Vec<Network>,
}

impl Proxy {
    /// Whether connections from there begin with a PROXY header.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }
}
