//! Codes in brackets (RFC 9051 §7.1, RFC 5530, RFC 4315 §3, RFC 7162 §3.1.2, RFC 8474 §4.2).

use mailstore_trait::uid_set::UidSet;

use super::Flags;
use super::reader::{Reader, Result, lossy};
use crate::client::value::ModSeq;
use crate::error::Expected;

/// A response code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// `ALERT`: the text must be shown to the user.
    Alert,
    /// `CAPABILITY`
    Capability(Vec<String>),
    /// `PERMANENTFLAGS`: flags that can be changed for good.
    PermanentFlags(Flags),
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `TRYCREATE`: it would work if the mailbox were made first.
    TryCreate,
    /// `UIDNEXT`
    UidNext(u32),
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UNSEEN`: the first unseen message's number.
    Unseen(u32),
    /// `UIDNOTSTICKY`: the mailbox keeps no UIDs.
    UidNotSticky,
    /// `APPENDUID`: where the message is.
    AppendUid {
        /// The mailbox's UIDVALIDITY.
        uid_validity: u32,
        /// The message's UID; several for several messages.
        uids: UidSet,
    },
    /// `COPYUID`: what became of messages that were copied or moved.
    CopyUid {
        /// The target's UIDVALIDITY.
        uid_validity: u32,
        /// Where they were.
        from: UidSet,
        /// Where they are, in the same order.
        to: UidSet,
    },
    /// `CLOSED`: what follows is about the newly selected mailbox.
    Closed,
    /// `HIGHESTMODSEQ`
    HighestModSeq(ModSeq),
    /// `NOMODSEQ`: the mailbox keeps no mod-sequences.
    NoModSeq,
    /// `MODIFIED`: messages that were left alone because they had changed; UIDs behind a UID command, else numbers.
    Modified(UidSet),
    /// `MAILBOXID`
    MailboxId(String),
    /// Any other: its name in upper case, and what stands behind it as it was sent.
    Other {
        /// The name.
        name: String,
        /// What stands behind it.
        rest: String,
    },
}

/// A code behind `[`, and its `]`.
pub(super) fn code(reader: &mut Reader<'_>) -> Result<Code> {
    let name = lossy(reader.word_until(b"]")).to_ascii_uppercase();
    reader.spaces();
    let code = match name.as_str() {
        "ALERT" => Code::Alert,
        "CAPABILITY" => {
            let mut words = Vec::new();
            loop {
                reader.spaces();
                match reader.word_until(b"]") {
                    [] => break Code::Capability(words),
                    word => {
                        reader.charge(8)?;
                        words.push(lossy(word));
                    }
                }
            }
        }
        "PERMANENTFLAGS" => Code::PermanentFlags(Flags::read(reader)?),
        "READ-ONLY" => Code::ReadOnly,
        "READ-WRITE" => Code::ReadWrite,
        "TRYCREATE" => Code::TryCreate,
        "UIDNEXT" => Code::UidNext(reader.number32()?),
        "UIDVALIDITY" => Code::UidValidity(reader.number32()?),
        "UNSEEN" => Code::Unseen(reader.number32()?),
        "UIDNOTSTICKY" => Code::UidNotSticky,
        "APPENDUID" => {
            let uid_validity = reader.number32()?;
            reader.spaces();
            Code::AppendUid { uid_validity, uids: reader.set()? }
        }
        "COPYUID" => {
            let uid_validity = reader.number32()?;
            reader.spaces();
            // Nothing was copied: some servers say so with empty sets.
            if reader.peek() == Some(b']') {
                Code::CopyUid { uid_validity, from: UidSet::new(), to: UidSet::new() }
            } else {
                let from = reader.set()?;
                reader.spaces();
                Code::CopyUid { uid_validity, from, to: reader.set()? }
            }
        }
        "CLOSED" => Code::Closed,
        "HIGHESTMODSEQ" => Code::HighestModSeq(ModSeq(reader.number()?)),
        "NOMODSEQ" => Code::NoModSeq,
        "MODIFIED" => Code::Modified(reader.set()?),
        "MAILBOXID" => {
            reader.open()?;
            let id = lossy(reader.word());
            if !reader.closes() {
                return reader.fail(Expected::Close);
            }
            Code::MailboxId(id)
        }
        _ => {
            let rest = reader.line();
            let len = rest.iter().position(|octet| *octet == b']').unwrap_or(0);
            let rest = lossy(rest.get(..len).unwrap_or_default());
            reader.advance(len);
            Code::Other { name, rest }
        }
    };
    reader.spaces();
    if reader.eat(b']') { Ok(code) } else { reader.fail(Expected::Close) }
}
