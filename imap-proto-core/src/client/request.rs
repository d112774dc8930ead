//! What a client asks.

use bytes::Bytes;
use mailstore_trait::id::{SeqNum, Uid};

use super::value::Section;

/// A piece of a message that is being fetched. Until it is answered no further piece comes, and the server waits.
///
/// When the last one is taken, the row it belongs to comes as [`Data::Fetch`](super::Data::Fetch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyChunk {
    /// The message's number.
    pub seq: SeqNum,
    /// Its UID, where the server told it ahead of the octets; the row tells it in any case, if UIDs were asked for.
    pub uid: Option<Uid>,
    /// Of which section these octets are.
    pub section: Section,
    /// Where in the section what was asked for begins, when that was a part of it.
    pub origin: Option<u64>,
    /// Octets that came before these.
    pub offset: u64,
    /// Octets in all.
    pub total: u64,
    /// The octets.
    pub octets: Bytes,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkTaken {
    /// It is taken; go on.
    Taken,
    /// The rest of this section of this message is not wanted: it is read and dropped.
    Refused,
}

/// The next octets of a message that is being appended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadMessage {
    /// The command's ticket.
    pub ticket: u64,
    /// Where they start.
    pub offset: u64,
    /// How many, at most.
    pub max: usize,
}

/// Octets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// These, at least one, at most as many as were asked for.
    Octets(Bytes),
    /// They can't be read. What was announced can't be taken back, so the connection ends, and nothing is appended.
    Failed,
}

mailstore_trait::questions! {
    /// Take this piece of a message.
    BodyChunk -> ChunkTaken, refused by ChunkTaken::Refused;
    /// Give these octets of a message.
    ReadMessage -> Page, refused by Page::Failed;
}
