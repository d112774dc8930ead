//! A client and a server joined in virtual time by a pipe of bounded capacity.
//!
//! ```text
//!  client ──Send──▶ unsent ──capacity──▶ input ──▶ server        both answered by closures, at once, later or never
//!     ▲                                               │
//!     └──── input ◀──capacity── unsent ◀────Send──────┘         time moves only in Pipe::advance and Pipe::finish
//! ```
//!
//! What a driver over sockets does one task at a time happens here in one thread and always in the same order, so a
//! deadlock of two sessions that both write before they read shows as silence, and a failure repeats.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::session::{CloseReason, Layer, LayerError, LayerInfo, Output, Session};
use crate::testkit::driven::{Driven, epoch};

/// When a question is answered.
#[derive(Debug)]
pub enum Fulfilled<A> {
    /// At once.
    Now(A),
    /// After this long.
    After(Duration, A),
    /// Never.
    Never,
}

/// One session of a [`Pipe`].
pub struct End<'a, S: Session> {
    driven: Driven<S>,
    fulfil: Box<dyn FnMut(S::Request) -> Fulfilled<S::Answered> + 'a>,
    unsent: VecDeque<u8>,
    answer: Option<(Instant, S::Answered)>,
    layer: Option<Layer>,
    events: Vec<S::Event>,
    sent: u64,
    /// Octets that have arrived at the other end.
    arrived: u64,
    cut_after: Option<u64>,
    broken: bool,
}

impl<S: Session> fmt::Debug for End<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("unsent", &self.unsent.len())
            .field("unread", &self.driven.input.len())
            .field("wait", &self.driven.wait())
            .field("closed", &self.driven.closed())
            .finish()
    }
}

impl<'a, S: Session> End<'a, S> {
    fn new(session: S, now: Instant, fulfil: Box<dyn FnMut(S::Request) -> Fulfilled<S::Answered> + 'a>) -> End<'a, S> {
        End {
            driven: Driven::new(session, now),
            fulfil,
            unsent: VecDeque::new(),
            answer: None,
            layer: None,
            events: Vec::new(),
            sent: 0,
            arrived: 0,
            cut_after: None,
            broken: false,
        }
    }

    /// The session, for calls of its own. Call [`Pipe::settle`] afterwards.
    pub fn session(&mut self) -> &mut S {
        &mut self.driven.session
    }

    /// Tells the session news: a client's command, a server's change hint.
    pub fn notify(&mut self, news: S::News) {
        self.driven.session.notify(news);
    }

    /// Events since this was last called.
    pub fn events(&mut self) -> Vec<S::Event> {
        std::mem::take(&mut self.events)
    }

    /// Why the session ended, once it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.driven.closed()
    }

    /// Octets the session has sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Cuts the stream from the peer: the session reads what has arrived, then the end.
    pub fn cut(&mut self) {
        self.broken = true;
        self.driven.ending = true;
    }

    /// Cuts the stream both ways once so many octets of this end have arrived at the other, wherever in a line, a reply
    /// or a message that is.
    pub fn cut_after(&mut self, octets: u64) {
        self.cut_after = Some(octets);
    }

    /// A layer that is asked for comes to nothing where the stream was cut, or the other has closed.
    fn fail_layer(&mut self, alone: bool) -> bool {
        if self.closed().is_some() || !(self.broken || alone) || self.layer.take().is_none() {
            return false;
        }
        self.driven.layered(Err(LayerError::Handshake));
        true
    }

    /// Polls until nothing comes but `Wait`; says whether anything did.
    fn settle(&mut self) -> bool {
        let mut moved = false;
        while self.driven.closed().is_none() {
            if self.layer.is_some() {
                return moved;
            }
            self.driven.unsent = self.unsent.len();
            match self.driven.poll() {
                Output::Send(octets) => {
                    self.sent += octets.len() as u64;
                    self.unsent.extend(octets);
                }
                Output::Request(request) => match (self.fulfil)(request) {
                    Fulfilled::Now(answered) => self.driven.resume(answered),
                    Fulfilled::After(time, answered) => self.answer = Some((self.driven.now() + time, answered)),
                    Fulfilled::Never => {}
                },
                Output::Layer(layer) => self.layer = Some(layer),
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => {
                    if !self.driven.feed(usize::MAX) {
                        return moved;
                    }
                }
                Output::Close(_) => return true,
            }
            moved = true;
        }
        moved
    }

    /// The next moment something happens here by itself.
    fn due(&self) -> Option<Instant> {
        let deadline = self.driven.wait().and_then(|wait| wait.deadline);
        let answer = self.answer.as_ref().map(|(at, _)| *at);
        if self.driven.closed().is_some() {
            return None;
        }
        match (deadline, answer) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn move_to(&mut self, now: Instant) {
        self.driven.skip(now.saturating_duration_since(self.driven.now()));
        if let Some((_, answered)) = self.answer.take_if(|(at, _)| *at <= now) {
            self.driven.resume(answered);
        }
    }
}

/// Two sessions and what lies between them.
pub struct Pipe<'a, C: Session, S: Session> {
    /// The one that opened the stream.
    pub client: End<'a, C>,
    /// The one that accepted it.
    pub server: End<'a, S>,
    capacity: usize,
    layer: LayerInfo,
    now: Instant,
}

impl<C: Session, S: Session> fmt::Debug for Pipe<'_, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("client", &self.client).field("server", &self.server).finish()
    }
}

impl<'a, C: Session, S: Session> Pipe<'a, C, S> {
    /// Joins two sessions; the closures answer their questions. Each direction holds up to 4 KiB.
    pub fn new(
        client: C,
        answer_client: impl FnMut(C::Request) -> Fulfilled<C::Answered> + 'a,
        server: S,
        answer_server: impl FnMut(S::Request) -> Fulfilled<S::Answered> + 'a,
    ) -> Pipe<'a, C, S> {
        let now = epoch();
        Pipe {
            client: End::new(client, now, Box::new(answer_client)),
            server: End::new(server, now, Box::new(answer_server)),
            capacity: 4096,
            layer: LayerInfo::new(),
            now,
        }
    }

    /// The same with another capacity in octets; 1 shows what depends on packets.
    #[must_use]
    pub fn capacity(mut self, octets: usize) -> Pipe<'a, C, S> {
        self.capacity = octets.max(1);
        self
    }

    /// The same with something known of the layers that will be put on.
    #[must_use]
    pub fn layer(mut self, info: LayerInfo) -> Pipe<'a, C, S> {
        self.layer = info;
        self
    }

    /// Lets everything happen that needs no time.
    pub fn settle(&mut self) {
        loop {
            let mut moved = self.client.settle();
            moved |= self.server.settle();
            moved |= carry(&mut self.client, &mut self.server, self.capacity);
            moved |= carry(&mut self.server, &mut self.client, self.capacity);
            moved |= self.raise_layers();
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        self.settle();
        while let Some(next) = self.next().filter(|at| *at <= until) {
            self.move_to(next);
        }
        self.move_to(until);
    }

    /// Lets time pass until both have closed.
    ///
    /// # Panics
    /// When they have not within this time, or when both wait for ever.
    pub fn finish(&mut self, within: Duration) {
        let until = self.now + within;
        self.settle();
        while self.client.closed().is_none() || self.server.closed().is_none() {
            let Some(next) = self.next() else { panic!("both wait for ever: {self:?}") };
            assert!(next <= until, "not ended within {within:?}: {self:?}");
            self.move_to(next);
        }
    }

    fn next(&self) -> Option<Instant> {
        match (self.client.due(), self.server.due()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn move_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.client.move_to(self.now);
        self.server.move_to(self.now);
        self.settle();
    }

    /// A layer goes up when both ask for it and everything before it has been read. It fails where the stream was cut or
    /// the other has closed.
    fn raise_layers(&mut self) -> bool {
        let failed = self.client.fail_layer(self.server.closed().is_some());
        if self.server.fail_layer(self.client.closed().is_some()) || failed {
            return true;
        }
        let clear = |unsent: usize, unread: usize| unsent == 0 && unread == 0;
        let (client, server) = (&mut self.client, &mut self.server);
        let quiet = clear(client.unsent.len(), server.driven.input.len())
            && clear(server.unsent.len(), client.driven.input.len());
        if client.layer.is_none() || client.layer != server.layer || !quiet {
            return false;
        }
        (client.layer, server.layer) = (None, None);
        client.driven.layered(Ok(self.layer.clone()));
        server.driven.layered(Ok(self.layer.clone()));
        true
    }
}

/// Moves octets from one end's unsent to the other's input; then, if the first has closed, the end of the stream.
fn carry<A: Session, B: Session>(from: &mut End<'_, A>, to: &mut End<'_, B>, capacity: usize) -> bool {
    if to.driven.closed().is_some() || to.broken {
        let moved = !from.unsent.is_empty();
        from.unsent.clear();
        return moved;
    }
    let left = from.cut_after.map(|at| usize::try_from(at.saturating_sub(from.arrived)).unwrap_or(usize::MAX));
    let room = capacity.saturating_sub(to.driven.input.len()).min(from.unsent.len()).min(left.unwrap_or(usize::MAX));
    to.driven.input.extend(from.unsent.drain(..room));
    from.arrived += room as u64;
    if left == Some(room) {
        from.cut_after = None;
        from.cut();
        to.cut();
        return true;
    }
    let ends = from.driven.closed().is_some() && from.unsent.is_empty() && !to.driven.ending;
    if ends {
        to.driven.ending = true;
    }
    room > 0 || ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::parley::{self, Fault, Server};
    use crate::testkit::pipe::tests::talker::Talker;

    /// A client that says what it is told and keeps what it hears.
    mod talker {
        use bytes::buf::Limit;
        use bytes::{Bytes, BytesMut};

        use crate::session::{CloseReason, Inbox, Layer, LayerError, LayerInfo, Outbox, Output, Session, Wait};
        use std::time::{Duration, Instant};

        #[derive(Debug)]
        pub(crate) struct Talker {
            pub(crate) rx: Inbox,
            pub(crate) tx: Outbox,
            pub(crate) heard: Vec<u8>,
            layer: Option<bool>,
            began: Option<Instant>,
        }

        impl Talker {
            pub(crate) fn new() -> Talker {
                Talker { rx: Inbox::new(1024), tx: Outbox::default(), heard: Vec::new(), layer: None, began: None }
            }
        }

        impl Session for Talker {
            type Request = ();
            type Answered = ();
            type Event = &'static str;
            type News = Bytes;

            fn input_buf(&mut self) -> Limit<&mut BytesMut> {
                self.rx.limit()
            }
            fn handle_eof(&mut self) {
                self.rx.close();
            }
            fn resume(&mut self, (): ()) {}
            fn layered(&mut self, _: Result<LayerInfo, LayerError>) {
                self.layer = Some(true);
            }
            fn notify(&mut self, news: Bytes) {
                self.tx.body(news);
            }
            fn shutdown(&mut self) {}
            fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<(), &'static str> {
                let end = *self.began.get_or_insert(now) + Duration::from_secs(900);
                let len = self.rx.len();
                self.heard.extend_from_slice(&self.rx.take(len));
                if let Some(octets) = self.tx.take() {
                    return Output::Send(octets);
                }
                if self.layer == Some(true) {
                    self.layer = Some(false);
                    return Output::Event("layered");
                }
                if self.layer.is_none() && self.heard.ends_with(b"+ go\r\n") && unsent == 0 {
                    self.layer = Some(false);
                    return Output::Layer(Layer::Tls);
                }
                if self.rx.is_closed() || now >= end {
                    return Output::Close(CloseReason::Eof);
                }
                Output::Wait(Wait { input: true, output: false, deadline: Some(end) })
            }
        }
    }

    fn pipe<'a>(delay: Option<Duration>) -> Pipe<'a, Talker, Server> {
        Pipe::new(
            Talker::new(),
            |()| Fulfilled::Now(()),
            Server::new(Fault::None),
            move |request| match delay {
                Some(Duration::MAX) => Fulfilled::Never,
                Some(delay) => Fulfilled::After(delay, parley::answer(request)),
                None => Fulfilled::Now(parley::answer(request)),
            },
        )
    }

    #[test]
    fn a_conversation_runs_through_any_capacity() {
        for capacity in [1, 7, 4096] {
            let mut pipe = pipe(None).capacity(capacity);
            pipe.client.notify("ECHO one\r\nASK two\r\nTLS\r\n".into());
            pipe.settle();
            assert_eq!(pipe.client.events(), ["layered"]);
            assert_eq!(pipe.server.events(), ["Layer ?"]);
            pipe.client.notify("QUIT\r\n".into());
            pipe.finish(Duration::ZERO);
            assert_eq!(pipe.client.session().heard, b"* ready\r\n= one\r\n+ two\r\n+ go\r\n* bye\r\n");
            assert_eq!(pipe.server.closed(), Some(CloseReason::Quit));
            assert_eq!(pipe.server.sent(), 36);
        }
    }

    #[test]
    fn time_moves_from_deadline_to_deadline() {
        let mut late = pipe(Some(Duration::from_secs(20)));
        late.client.notify("ASK late\r\n".into());
        late.advance(Duration::from_secs(19));
        assert_eq!(late.client.session().heard, b"* ready\r\n");
        late.advance(Duration::from_secs(1));
        assert_eq!(late.client.session().heard, b"* ready\r\n+ late\r\n");
        let mut never = pipe(Some(Duration::MAX));
        never.client.notify("ASK never\r\n".into());
        never.finish(Duration::from_secs(60));
        assert_eq!(never.server.closed(), Some(CloseReason::Unanswered));
    }

    #[test]
    fn a_stream_is_cut_at_any_octet() {
        for octet in 0..12 {
            let mut pipe = pipe(None);
            pipe.client.cut_after(octet);
            pipe.client.notify("ECHO one\r\nECHO two\r\n".into());
            pipe.finish(Duration::ZERO);
            let greeting: &[u8] = b"* ready\r\n";
            // The answer to the line that arrived whole is sent, and lost.
            assert_eq!(pipe.server.sent(), if octet < 10 { 9 } else { 16 }, "octet {octet}");
            assert!(greeting.starts_with(&pipe.client.session().heard));
            let mut pipe = self::pipe(None);
            pipe.server.cut_after(octet);
            pipe.client.notify("ECHO one\r\n".into());
            pipe.finish(Duration::ZERO);
            let heard = &pipe.client.session().heard;
            assert_eq!(heard.len() as u64, octet);
            assert!(b"* ready\r\n= one\r\n".starts_with(heard));
        }
    }

    #[test]
    fn a_cut_stream_ends_both() {
        let mut pipe = pipe(None);
        pipe.settle();
        pipe.server.cut();
        pipe.client.notify("ECHO lost\r\n".into());
        pipe.finish(Duration::ZERO);
        assert_eq!(pipe.server.closed(), Some(CloseReason::Eof));
        assert_eq!(pipe.client.session().heard, b"* ready\r\n");
    }
}
