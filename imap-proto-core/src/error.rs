//! What can be wrong with a command: small values that say what was expected, and where.

use std::fmt;

/// Why a command can't be read: what was expected at an octet of it.
///
/// This is the peer's fault; the server answers it with BAD and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at octet {at}")]
pub struct ParseError {
    /// Octets before the place, from the start of the command.
    pub at: usize,
    /// What should have been there.
    pub expected: Expected,
}

/// What a parser expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A tag (RFC 9051 §2.2.1).
    Tag,
    /// A command that is known.
    Command,
    /// One space.
    Space,
    /// The end of the command.
    End,
    /// An atom.
    Atom,
    /// A quoted string or a literal.
    String,
    /// A literal.
    Literal,
    /// A decimal number that fits.
    Number,
    /// A sequence set.
    SequenceSet,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// A flag or keyword.
    Flag,
    /// A date, or a date and time.
    Date,
    /// Something FETCH can bring.
    FetchItem,
    /// A section of a message.
    Section,
    /// FLAGS, +FLAGS or -FLAGS.
    StoreItem,
    /// A search key.
    SearchKey,
    /// A criterion of an order.
    SortKey,
    /// Something STATUS can tell.
    StatusItem,
    /// Letters that stand for rights.
    Rights,
    /// The name of an annotation.
    Entry,
    /// An option of this command.
    Option,
    /// An IMAP URL of a message on this server.
    Url,
    /// A text in the charset that was named, by default UTF-8.
    Text,
    /// Fewer parentheses inside each other.
    LessDepth,
    /// Fewer parts: keys, patterns, fields, items.
    Fewer,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::Tag => "a tag",
            Expected::Command => "a known command",
            Expected::Space => "a space",
            Expected::End => "the end of the command",
            Expected::Atom => "an atom",
            Expected::String => "a string",
            Expected::Literal => "a literal",
            Expected::Number => "a number",
            Expected::SequenceSet => "a sequence set",
            Expected::Open => "an opening parenthesis",
            Expected::Close => "a closing parenthesis",
            Expected::Flag => "a flag",
            Expected::Date => "a date",
            Expected::FetchItem => "a fetch item",
            Expected::Section => "a section",
            Expected::StoreItem => "FLAGS",
            Expected::SearchKey => "a search key",
            Expected::SortKey => "a sort criterion",
            Expected::StatusItem => "a status item",
            Expected::Rights => "known rights",
            Expected::Entry => "an entry name",
            Expected::Option => "a known option",
            Expected::Url => "a message's URL",
            Expected::Text => "text in the charset",
            Expected::LessDepth => "less nesting",
            Expected::Fewer => "fewer parts",
        })
    }
}
