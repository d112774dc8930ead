//! IMAP: commands framed and parsed, FETCH responses written.

use bytes::{BufMut, BytesMut};
use imap_proto_core::command::{self, Bounds, Tagged};
use imap_proto_core::error::ParseError;
use imap_proto_core::frame::{Frame, Framer};
use imap_proto_core::response::{self, Quoted};
use imap_proto_core::structure;
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::id::{SeqNum, Uid};
use mailstore_trait::mime::{Limits, Scanner, Skeleton};

/// Finds the end of the command at the front and parses it; `None` when it is not whole.
#[must_use]
pub fn parse(input: &[u8]) -> Option<Result<Tagged<'_>, ParseError>> {
    match Framer::new().look(input, 8192) {
        Frame::Complete(end) => Some(command::parse(input.get(..end)?, &Bounds::DEFAULT)),
        _ => None,
    }
}

/// How many of these commands parse.
#[must_use]
pub fn parse_all(commands: &[&[u8]]) -> usize {
    commands.iter().filter(|command| matches!(parse(std::hint::black_box(command)), Some(Ok(_)))).count()
}

/// A message as FETCH tells it.
#[derive(Debug)]
pub struct Row {
    seq: SeqNum,
    uid: Uid,
    flags: SystemFlags,
    keywords: Vec<Keyword>,
    skeleton: Skeleton,
}

/// Writes a row.
pub type Writer = fn(&Row, &mut BytesMut);

impl Row {
    /// Each way to write a row, and the race about it.
    pub const WRITERS: [(&str, Writer); 2] =
        [("imap FETCH FLAGS row", Row::write_flags), ("imap FETCH structure row", Row::write_structure)];

    /// A row about this message.
    #[must_use]
    pub fn new(message: &[u8]) -> Row {
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(message);
        Row {
            seq: SeqNum::new(12).expect("not zero"),
            uid: Uid::new(7301).expect("not zero"),
            flags: SystemFlags::SEEN | SystemFlags::ANSWERED,
            keywords: vec![Keyword::new("$Forwarded").expect("an atom")],
            skeleton: scanner.finish(),
        }
    }

    /// `* 12 FETCH (UID 7301 FLAGS (\Answered \Seen $Forwarded))`
    pub fn write_flags(&self, out: &mut BytesMut) {
        self.begin(out);
        out.put_slice(b")\r\n");
    }

    /// The same with ENVELOPE and BODYSTRUCTURE.
    pub fn write_structure(&self, out: &mut BytesMut) {
        self.begin(out);
        let root = self.skeleton.root();
        out.put_slice(b" ENVELOPE ");
        structure::envelope(&root.envelope().expect("a message has one"), Quoted::Ascii, out);
        out.put_slice(b" BODYSTRUCTURE ");
        structure::body_structure(root, Quoted::Ascii, out);
        out.put_slice(b")\r\n");
    }

    fn begin(&self, out: &mut BytesMut) {
        response::fetch_head(self.seq, out);
        out.put_slice(b"UID ");
        response::number(u64::from(self.uid.value()), out);
        out.put_slice(b" FLAGS ");
        response::flags(self.flags, self.keywords.iter(), false, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_command_of_the_corpus_is_one() {
        assert_eq!(parse_all(&corpus::IMAP), corpus::IMAP.len());
    }

    #[test]
    fn rows_are_whole() {
        let row = Row::new(&corpus::middle_message());
        let mut out = BytesMut::new();
        row.write_flags(&mut out);
        assert_eq!(out, &b"* 12 FETCH (UID 7301 FLAGS (\\Answered \\Seen $Forwarded))\r\n"[..]);
        out.clear();
        row.write_structure(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.contains("\"Mara Quist\" NIL \"mara\" \"lists.example.net\""), "{text}");
        assert!(text.to_ascii_lowercase().contains("\"alternative\" (\"boundary\" \"inner-7301\")"), "{text}");
    }
}
