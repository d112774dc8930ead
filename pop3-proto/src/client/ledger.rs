//! Which messages a collector has already, by their unique identifiers.
//!
//! RFC 1939 §7: an identifier stays the same in all sessions and is never given to another message, so what was
//! collected once need not be collected again, though it stays on the server.

use std::collections::{BTreeMap, BTreeSet};

/// The identifiers of messages that are collected.
///
/// ```
/// use pop3_proto::client::Ledger;
///
/// let mut ledger: Ledger = "id-1\nid-2\n".parse()?;
/// ledger.listed(1, "id-2");
/// ledger.listed(2, "id-3");
/// assert_eq!(ledger.missing().collect::<Vec<_>>(), [2]);
/// ledger.collected(2);
/// ledger.forget_unlisted();
/// assert_eq!(ledger.to_string(), "id-2\nid-3\n");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    collected: BTreeSet<String>,
    listed: BTreeMap<u32, String>,
}

impl Ledger {
    /// Nothing collected yet.
    #[must_use]
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// Notes a line of this session's UIDL.
    pub fn listed(&mut self, message: u32, id: &str) {
        self.listed.insert(message, id.to_owned());
    }

    /// The numbers of listed messages that are not collected, ascending. Of messages with the same identifier, which
    /// some servers give to equal messages, each is missing until one is collected.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.listed.iter().filter(|(_, id)| !self.collected.contains(*id)).map(|(message, _)| *message)
    }

    /// Notes that a listed message is collected, durably.
    pub fn collected(&mut self, message: u32) {
        if let Some(id) = self.listed.get(&message) {
            self.collected.insert(id.clone());
        }
    }

    /// Forgets identifiers that this session's UIDL did not list: those messages are gone for good. Call it only behind
    /// a UIDL that was done.
    pub fn forget_unlisted(&mut self) {
        let listed: BTreeSet<&String> = self.listed.values().collect();
        self.collected.retain(|id| listed.contains(id));
    }

    /// Begins another session: numbers of the last one mean nothing any more.
    pub fn begin(&mut self) {
        self.listed.clear();
    }
}

impl std::fmt::Display for Ledger {
    /// One identifier a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.collected.iter().try_for_each(|id| writeln!(f, "{id}"))
    }
}

impl std::str::FromStr for Ledger {
    type Err = std::convert::Infallible;

    /// What [`Display`](std::fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Ledger, Self::Err> {
        let collected = text.lines().filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Ok(Ledger { collected, listed: BTreeMap::new() })
    }
}
