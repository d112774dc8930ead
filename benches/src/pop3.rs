//! POP3: commands parsed, messages stuffed.

use bytes::Bytes;
use mailstore_trait::session::Outbox;
use pop3_proto::command;
use pop3_proto::stuff::Stuffer;

/// How many of these lines parse.
#[must_use]
pub fn parse_all(lines: &[&[u8]]) -> usize {
    lines.iter().filter(|line| command::parse(std::hint::black_box(line)).is_ok()).count()
}

/// Stuffs a message and hands the pieces out, as RETR does; gives the octets sent.
#[must_use]
pub fn stuff(message: &Bytes) -> usize {
    let (mut stuffer, mut outbox) = (Stuffer::new(), Outbox::default());
    stuffer.push(message, &mut outbox);
    stuffer.finish(&mut outbox);
    std::iter::from_fn(|| outbox.take()).map(|piece| std::hint::black_box(piece).len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_command_of_the_corpus_is_one() {
        assert_eq!(parse_all(&corpus::POP3), corpus::POP3.len());
    }

    #[test]
    fn every_dot_is_doubled() {
        let text = corpus::text(64 << 10, corpus::Dots::All);
        let dotted = text.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"..")).count();
        let len = text.len();
        assert_eq!(stuff(&text.into()), len + dotted + ".\r\n".len());
    }
}
