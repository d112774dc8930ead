//! Responses, written straight into the output buffer (RFC 9051 §7, RFC 5530).

mod string;

use bytes::{BufMut, BytesMut};
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::id::{FolderId, ModSeq, SeqNum, Uid, UidValidity};
use mailstore_trait::uid_set::UidSet;

use crate::command::is_astring;
use crate::request::{LoginFailure, Refusal};
use crate::utf7;
pub use string::{Quoted, nstring, number, string};

/// `* 5 EXISTS`
pub fn count(value: u64, what: &str, out: &mut BytesMut) {
    out.put_slice(b"* ");
    number(value, out);
    out.put_u8(b' ');
    out.put_slice(what.as_bytes());
    out.put_slice(b"\r\n");
}

/// `* 5 FETCH (`
pub fn fetch_head(seq: SeqNum, out: &mut BytesMut) {
    out.put_slice(b"* ");
    number(u64::from(seq.value()), out);
    out.put_slice(b" FETCH (");
}

/// `* 5 UIDFETCH (`, with a UID (RFC 9586 §3.3).
pub fn uid_fetch_head(uid: Uid, out: &mut BytesMut) {
    out.put_slice(b"* ");
    number(u64::from(uid.value()), out);
    out.put_slice(b" UIDFETCH (");
}

/// `(\Seen $Forwarded)`
pub fn flags<'k>(system: SystemFlags, keywords: impl Iterator<Item = &'k Keyword>, recent: bool, out: &mut BytesMut) {
    out.put_u8(b'(');
    let mut first = true;
    let mut word = |word: &str| {
        if !first {
            out.put_u8(b' ');
        }
        first = false;
        out.put_slice(word.as_bytes());
    };
    for (flag, name) in SystemFlags::NAMES {
        if system.contains(flag) {
            word(name);
        }
    }
    if recent {
        word("\\Recent");
    }
    keywords.for_each(|keyword| word(keyword.as_str()));
    out.put_u8(b')');
}

/// A sequence set: `1:3,7`; nothing for the empty set, which has no form.
pub fn set(set: &UidSet, out: &mut BytesMut) {
    for (at, range) in set.ranges().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        number(u64::from(range.start().value()), out);
        if range.start() != range.end() {
            out.put_u8(b':');
            number(u64::from(range.end().value()), out);
        }
    }
}

/// ` MODSEQ (5)`, behind another item (RFC 7162 §3.1.4.2).
pub fn modseq(modseq: ModSeq, out: &mut BytesMut) {
    out.put_slice(b" MODSEQ (");
    number(modseq.value(), out);
    out.put_u8(b')');
}

/// `HIGHESTMODSEQ 5`: a code without its brackets (RFC 7162 §3.1.2.1).
pub fn highest_modseq(modseq: ModSeq, out: &mut BytesMut) {
    out.put_slice(b"HIGHESTMODSEQ ");
    number(modseq.value(), out);
}

/// `MAILBOXID (F5-1)`: a code without its brackets, or STATUS's item (RFC 8474 §4).
///
/// A folder that is made again keeps its id and gets another UIDVALIDITY, so the two together are never used again; both
/// stay when it is renamed.
pub fn mailbox_id(folder: FolderId, uid_validity: UidValidity, out: &mut BytesMut) {
    out.put_slice(b"MAILBOXID (F");
    number(folder.value(), out);
    out.put_u8(b'-');
    number(u64::from(uid_validity.value()), out);
    out.put_u8(b')');
}

/// `* VANISHED 1:3`, or with `(EARLIER)`; nothing for the empty set (RFC 7162 §3.2.10).
pub fn vanished(uids: &UidSet, earlier: bool, out: &mut BytesMut) {
    if uids.is_empty() {
        return;
    }
    out.put_slice(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
    set(uids, out);
    out.put_slice(b"\r\n");
}

/// A mailbox name as an atom where it is one: in modified UTF-7, or as it is where quotes may hold UTF-8.
pub fn mailbox(name: &str, quoted: Quoted, out: &mut BytesMut) {
    let plain = quoted == Quoted::Utf8 || utf7::is_plain(name);
    if is_astring(name.as_bytes()) && plain && !name.eq_ignore_ascii_case("NIL") {
        out.put_slice(name.as_bytes());
        return;
    }
    if plain {
        return string(name.as_bytes(), quoted, out);
    }
    let mut encoded = BytesMut::with_capacity(name.len());
    utf7::encode(name, &mut encoded);
    string(&encoded, quoted, out);
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok,
    /// It was not.
    No,
    /// It could not be understood, or not here.
    Bad,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
        }
    }
}

/// A tagged response: status, code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub status: Status,
    /// The response code without brackets; empty for none.
    pub code: BytesMut,
    /// Words for people.
    pub text: &'static str,
}

impl Reply {
    /// A reply without a code.
    #[must_use]
    pub fn new(status: Status, text: &'static str) -> Reply {
        Reply { status, code: BytesMut::new(), text }
    }

    /// OK.
    #[must_use]
    pub fn ok(text: &'static str) -> Reply {
        Reply::new(Status::Ok, text)
    }

    /// NO with a code.
    #[must_use]
    pub fn no(code: &str, text: &'static str) -> Reply {
        Reply { status: Status::No, code: code.as_bytes().into(), text }
    }

    /// BAD.
    #[must_use]
    pub fn bad(text: &'static str) -> Reply {
        Reply::new(Status::Bad, text)
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(self, code: impl FnOnce(&mut BytesMut)) -> Reply {
        let mut reply = self;
        code(&mut reply.code);
        reply
    }

    /// Appends it behind a tag or `*`.
    pub fn write(&self, tag: &[u8], out: &mut BytesMut) {
        out.put_slice(tag);
        out.put_u8(b' ');
        out.put_slice(self.status.word().as_bytes());
        out.put_u8(b' ');
        if !self.code.is_empty() {
            out.put_u8(b'[');
            out.put_slice(&self.code);
            out.put_slice(b"] ");
        }
        out.put_slice(self.text.as_bytes());
        out.put_slice(b"\r\n");
    }
}

impl From<Refusal> for Reply {
    /// RFC 5530 §3, RFC 9051 §7.1: the code that tells a client what to do about it.
    fn from(refusal: Refusal) -> Reply {
        let (code, text) = match refusal {
            Refusal::NotFound => ("NONEXISTENT", "No such mailbox"),
            Refusal::Exists => ("ALREADYEXISTS", "The mailbox exists already"),
            Refusal::RoleTaken => ("USEATTR", "Another mailbox has this use"),
            Refusal::Inbox => ("CANNOT", "Not possible with INBOX"),
            Refusal::HasChildren => ("HASCHILDREN", "The mailbox has children"),
            Refusal::NotSelectable => ("CANNOT", "The mailbox holds no messages"),
            Refusal::Cycle => ("CANNOT", "A mailbox can't lie in itself"),
            Refusal::IllegalName => ("CANNOT", "Illegal mailbox name"),
            Refusal::Conflict => ("INUSE", "Changed meanwhile, try again"),
            Refusal::OverQuota => ("OVERQUOTA", "Over quota"),
            Refusal::TooLarge => ("TOOBIG", "Too large"),
            Refusal::Limit => ("LIMIT", "A limit is reached"),
            Refusal::Denied => ("NOPERM", "Permission denied"),
            Refusal::ReadOnly => ("NOPERM", "The store is read-only"),
            Refusal::Busy => ("INUSE", "Busy, try again"),
            Refusal::Corrupt => ("CORRUPTION", "Stored data is damaged"),
            Refusal::Unknown => ("SERVERBUG", "Whether it was done is not known"),
            Refusal::Gap | Refusal::Unavailable => ("UNAVAILABLE", "Try again later"),
        };
        Reply::no(code, text)
    }
}

impl From<&LoginFailure> for Reply {
    /// RFC 5530 §3.
    fn from(failure: &LoginFailure) -> Reply {
        let (code, text) = match failure {
            LoginFailure::Credentials => ("AUTHENTICATIONFAILED", "Authentication failed"),
            LoginFailure::Authorization => ("AUTHORIZATIONFAILED", "Not allowed to act as this user"),
            LoginFailure::Expired => ("EXPIRED", "The password or token is too old"),
            LoginFailure::Mechanism => ("CANNOT", "Not possible on this connection"),
            LoginFailure::Elsewhere(_) => ("CANNOT", "Log in elsewhere"),
            LoginFailure::Unavailable => ("UNAVAILABLE", "Try again later"),
        };
        Reply::no(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for value in [0, 1, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(written(|out| number(value, out)), value.to_string());
        }
    }

    #[test]
    fn sets_are_written_as_ranges() {
        let uids: UidSet = [1, 2, 3, 7, 9, 10].into_iter().filter_map(Uid::new).collect();
        assert_eq!(written(|out| set(&uids, out)), "1:3,7,9:10");
    }

    #[test]
    fn names_and_strings_take_the_form_they_need() {
        assert_eq!(written(|out| mailbox("INBOX", Quoted::Ascii, out)), "INBOX");
        assert_eq!(written(|out| mailbox("Sent Mail", Quoted::Ascii, out)), "\"Sent Mail\"");
        assert_eq!(written(|out| mailbox("a&b", Quoted::Ascii, out)), "\"a&-b\"");
        assert_eq!(written(|out| mailbox("nil", Quoted::Ascii, out)), "\"nil\"");
        assert_eq!(written(|out| mailbox("Entw\u{fc}rfe", Quoted::Ascii, out)), "\"Entw&APw-rfe\"");
        assert_eq!(written(|out| mailbox("Entw\u{fc}rfe & a", Quoted::Utf8, out)), "\"Entw\u{fc}rfe & a\"");
        assert_eq!(written(|out| mailbox("a&b", Quoted::Utf8, out)), "a&b");
        assert_eq!(written(|out| string(b"a\"b\\", Quoted::Ascii, out)), "\"a\\\"b\\\\\"");
        assert_eq!(written(|out| string(b"a\0\r\n", Quoted::Ascii, out)), "{3}\r\na\r\n");
    }

    #[test]
    fn replies_have_codes() {
        assert_eq!(written(|out| Reply::ok("done").write(b"a", out)), "a OK done\r\n");
        assert_eq!(
            written(|out| Reply::from(Refusal::NotFound).write(b"a", out)),
            "a NO [NONEXISTENT] No such mailbox\r\n"
        );
    }
}
