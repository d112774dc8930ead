//! RETR and TOP: a message read piece by piece and passed on as it comes.
//!
//! RFC 1939 §5 (RETR), §7 (TOP), RFC 6856 §2.1 and §5.
//!
//! The first piece is read before the reply: only then is it known that the message is still there, and whether its
//! header may leave outside UTF-8 mode. After `+OK` nothing can be taken back: what fails then ends the connection
//! without the terminator, and no client takes the half for the whole.

use bytes::Bytes;
use mailstore_trait::id::Uid;
use mailstore_trait::session::CloseReason;

use super::update::Farewell;
use super::{Phase, Server};
use crate::config::Utf8Header;
use crate::event::Event;
use crate::reply::ResponseCode;
use crate::request::{MessageRead, ReadMessage};
use crate::stuff::Stuffer;
use crate::text::Text;
use crate::top::{HeaderEnd, Top};

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Retrieval {
    number: u32,
    uid: Uid,
    /// The message's octets.
    size: u64,
    /// Octets read.
    offset: u64,
    /// For TOP: where to stop.
    top: Option<Top>,
    /// Set once the reply is written.
    stuffer: Option<Stuffer>,
    /// Octets of a header that may turn out to need UTF-8 mode.
    held: Option<Held>,
    /// Whether everything wanted is queued.
    done: bool,
}

#[derive(Debug, Default)]
struct Held {
    pieces: Vec<Bytes>,
    octets: usize,
    end: HeaderEnd,
}

impl Retrieval {
    /// What to read next.
    pub(super) fn next(&self, max: usize) -> Option<ReadMessage> {
        let more = !self.done && self.offset < self.size;
        more.then_some(ReadMessage { uid: self.uid, offset: self.offset, max })
    }
}

impl Held {
    /// Holds a piece back. Answers whether the header is whole, as far as it is looked at.
    fn push(&mut self, octets: Bytes, limit: usize) -> bool {
        let end = self.end.push(&octets);
        self.octets = self.octets.saturating_add(octets.len());
        self.pieces.push(octets);
        end.is_some() || self.octets >= limit
    }

    /// RFC 6856 §2.1: whether the header holds UTF-8 outside ASCII.
    ///
    /// Deviation from RFC 6856 §2.1: other octets outside ASCII are no UTF-8 string, and pass as they always did; so do
    /// bodies, whose octets are the business of their content-transfer-encoding.
    fn needs_utf8(&self) -> bool {
        let mut end = HeaderEnd::default();
        let mut header = Vec::new();
        for piece in &self.pieces {
            let len = end.push(piece);
            let part = piece.get(..len.unwrap_or(piece.len())).unwrap_or_default();
            // Nearly every header is ASCII: it costs one look and no copy.
            if !part.is_ascii() || !header.is_empty() {
                header.extend_from_slice(part);
            }
            if len.is_some() {
                break;
            }
        }
        !header.is_ascii() && std::str::from_utf8(&header).is_ok()
    }
}

impl Server {
    /// Begins RETR, or TOP with its number of lines.
    pub(super) fn retrieve(&mut self, number: u32, lines: Option<u64>) {
        // RFC 1939 §5: a message marked as deleted can't be retrieved.
        let Some(message) = self.live(number) else { return self.err(None, Text::NoSuchMessage) };
        let check = !self.utf8 && self.config.utf8 && self.config.utf8_header == Utf8Header::Refuse;
        self.phase = Phase::Retrieval(Box::new(Retrieval {
            number,
            uid: message.uid(),
            size: message.size(),
            offset: 0,
            top: lines.map(Top::new),
            stuffer: None,
            held: check.then(Held::default),
            done: false,
        }));
    }

    pub(super) fn message_read(&mut self, read: MessageRead) {
        let Phase::Retrieval(mut retrieval) = std::mem::replace(&mut self.phase, Phase::Command) else { return };
        match read {
            MessageRead::Octets(octets) if !octets.is_empty() => {
                let len = u64::try_from(octets.len()).unwrap_or(u64::MAX);
                retrieval.offset = retrieval.offset.saturating_add(len);
                self.pass_on(retrieval, octets);
            }
            MessageRead::Gone => self.gone(&retrieval),
            // Fewer octets than the store said there are: as good as none.
            MessageRead::Octets(_) | MessageRead::Unavailable => self.unreadable(&retrieval),
        }
    }

    fn pass_on(&mut self, mut retrieval: Box<Retrieval>, octets: Bytes) {
        let Some(held) = &mut retrieval.held else {
            self.queue(&mut retrieval, &octets);
            self.phase = Phase::Retrieval(retrieval);
            return;
        };
        let whole = held.push(octets, self.config.limits.header);
        if !whole && retrieval.offset < retrieval.size {
            self.phase = Phase::Retrieval(retrieval);
            return;
        }
        if held.needs_utf8() {
            return self.err_about(Some(ResponseCode::Utf8), Text::NeedsUtf8, retrieval.number);
        }
        let pieces = std::mem::take(&mut held.pieces);
        retrieval.held = None;
        pieces.iter().for_each(|piece| self.queue(&mut retrieval, piece));
        self.phase = Phase::Retrieval(retrieval);
    }

    /// Queues octets of the message, behind the reply.
    fn queue(&mut self, retrieval: &mut Retrieval, octets: &Bytes) {
        if retrieval.done {
            return;
        }
        self.begin(retrieval);
        let Some(stuffer) = &mut retrieval.stuffer else { return };
        match &mut retrieval.top {
            None => stuffer.push(octets, &mut self.outbox),
            Some(top) => {
                let (len, done) = top.push(octets);
                stuffer.push(&octets.slice(..len.min(octets.len())), &mut self.outbox);
                retrieval.done = done;
            }
        }
    }

    fn begin(&mut self, retrieval: &mut Retrieval) {
        if retrieval.stuffer.is_none() {
            retrieval.stuffer = Some(Stuffer::new());
            match retrieval.top {
                None => self.ok(Text::Octets, [retrieval.size, 0]),
                Some(_) => self.ok(Text::TopFollows, [0, 0]),
            }
        }
    }

    /// Everything of the message is queued.
    pub(super) fn retrieved(&mut self) {
        let Phase::Retrieval(mut retrieval) = std::mem::replace(&mut self.phase, Phase::Command) else { return };
        self.begin(&mut retrieval);
        let Some(mut stuffer) = retrieval.stuffer.take() else { return };
        match &retrieval.top {
            // RFC 1939 §7: TOP sends the blank line behind the header, even where the message has none.
            Some(top) if !retrieval.done => stuffer.push(&Bytes::from_static(top.missing()), &mut self.outbox),
            Some(_) => {}
            None => {
                if let Some(account) = &mut self.account {
                    account.maildrop.retrieve(retrieval.number);
                }
                self.events.push_back(Event::Retrieved { message: retrieval.number, octets: retrieval.size });
            }
        }
        stuffer.finish(&mut self.outbox);
    }

    /// Another session removed the message. RFC 1939 §5 knows no such thing: a client that meets it again works on a
    /// maildrop that is no more, and has to begin anew.
    fn gone(&mut self, retrieval: &Retrieval) {
        if retrieval.stuffer.is_some() {
            return self.finish(Farewell::silent(CloseReason::Unanswered));
        }
        let gone = self.account.as_mut().map_or(0, |account| {
            account.gone += 1;
            account.gone
        });
        self.err_about(Some(ResponseCode::SysTemp), Text::MessageGone, retrieval.number);
        if gone > 1 {
            self.finish(Farewell::silent(CloseReason::Unanswered));
        }
    }

    fn unreadable(&mut self, retrieval: &Retrieval) {
        if retrieval.stuffer.is_some() {
            return self.finish(Farewell::silent(CloseReason::Unanswered));
        }
        self.err(Some(ResponseCode::SysTemp), Text::StoreUnavailable);
    }
}
