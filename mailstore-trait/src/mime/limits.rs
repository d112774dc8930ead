//! The limits of a scan.

/// What a message may cost. Past a limit the scan goes on, and what lies behind is told as opaque, the same way in
/// every answer made from the skeleton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Multiparts and messages that may be open around a part. Deeper ones are opaque leaves.
    pub depth: usize,
    /// Parts told. The last one is an opaque leaf that runs to the end of the message.
    pub parts: usize,
    /// Fields of one header section that are looked at.
    pub fields: usize,
    /// Octets kept of one field. An address list is cut at its last whole address; a Content-Type that is longer makes
    /// its part opaque.
    pub field: usize,
    /// Octets kept of all fields of a message; fields behind that are not told.
    pub kept: usize,
    /// Parameters kept of one field.
    pub parameters: usize,
    /// Addresses kept of one field.
    pub addresses: usize,
    /// Octets of a boundary (RFC 2046 §5.1.1 allows 70). A multipart with a longer one is told as having no parts.
    pub boundary: usize,
    /// Octets of the decoded subject in a summary.
    pub subject: usize,
    /// Octets of a decoded display name, a local part or a domain in a summary.
    pub name: usize,
    /// Message-IDs kept of References, the first and the last ones, and of In-Reply-To.
    pub message_ids: usize,
    /// Octets of one message-id (RFC 5322 §2.1.1: a line is at most 998); longer ones are passed over.
    pub message_id: usize,
    /// Octets of the first texts that are captured for the preview, still encoded.
    pub capture: usize,
    /// Characters of the preview (RFC 8970 §3.2: at most 256).
    pub preview: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            depth: 100,
            parts: 10_000,
            fields: 10_000,
            field: 64 * 1024,
            kept: 1024 * 1024,
            parameters: 100,
            addresses: 4096,
            boundary: 512,
            subject: 2048,
            name: 512,
            message_ids: 64,
            message_id: 998,
            capture: 4096,
            preview: 200,
        }
    }
}
