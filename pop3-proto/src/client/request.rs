//! What a client asks.

use bytes::Bytes;

/// A piece of a message that is being retrieved. Until it is answered no further piece comes, and the server waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyChunk {
    /// The message's number.
    pub message: u32,
    /// Its next octets, without stuffing.
    pub octets: Bytes,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkTaken {
    /// It is taken; go on.
    Taken,
    /// The rest of the message is not wanted: it is read and dropped, and the command fails.
    Refused,
}

mailstore_trait::questions! {
    /// Take this piece of a message.
    BodyChunk -> ChunkTaken, refused by ChunkTaken::Refused;
}
