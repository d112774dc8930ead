//! A session's output: replies gathered into one send, bodies passed on uncopied between them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Octets a session has ready to send, in order.
///
/// Small replies are written into one buffer ([`text`](Outbox::text)); a body's octets are queued as they are
/// ([`body`](Outbox::body)). [`take`](Outbox::take) hands out everything, so that the replies of a pipelined batch leave
/// in one piece.
#[derive(Debug, Default)]
pub struct Outbox {
    text: BytesMut,
    ready: VecDeque<Bytes>,
    queued: usize,
}

/// Bodies smaller than this are copied behind the text before them: one send is cheaper than a copy of so little.
const COPY_BELOW: usize = 1024;

impl Outbox {
    /// The buffer replies are written into.
    pub fn text(&mut self) -> &mut BytesMut {
        &mut self.text
    }

    /// Queues octets behind what was written so far.
    pub fn body(&mut self, octets: Bytes) {
        if octets.len() < COPY_BELOW {
            self.text.extend_from_slice(&octets);
            return;
        }
        self.seal();
        self.queued += octets.len();
        self.ready.push_back(octets);
    }

    /// Octets queued and written.
    pub fn len(&self) -> usize {
        self.queued + self.text.len()
    }

    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next piece to send.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.seal();
        }
        let octets = self.ready.pop_front()?;
        self.queued -= octets.len();
        Some(octets)
    }

    fn seal(&mut self) {
        if !self.text.is_empty() {
            self.queued += self.text.len();
            self.ready.push_back(self.text.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_replies_are_gathered() {
        let mut outbox = Outbox::default();
        outbox.text().extend_from_slice(b"250 a\r\n");
        outbox.text().extend_from_slice(b"250 b\r\n");
        assert_eq!(outbox.take().unwrap(), &b"250 a\r\n250 b\r\n"[..]);
        outbox.text().extend_from_slice(b"{2000}\r\n");
        outbox.body(Bytes::from(vec![b'x'; 2000]));
        outbox.body(Bytes::from_static(b")\r\n"));
        assert_eq!(outbox.len(), 8 + 2000 + 3);
        assert_eq!(outbox.take().unwrap(), &b"{2000}\r\n"[..]);
        assert_eq!(outbox.take().unwrap().len(), 2000);
        assert_eq!(outbox.take().unwrap(), &b")\r\n"[..]);
        assert!(outbox.take().is_none());
        assert!(outbox.is_empty());
    }
}
