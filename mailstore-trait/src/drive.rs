//! The driver: runs any [`Session`] over a tokio stream, full duplex.
//!
//! Written once for every protocol. It waits for whatever can move the session on (an answer, room to write, octets to
//! read, news, a shutdown, the deadline) all at the same time, because a loop that awaits an answer inline is deaf to
//! everything else, and two peers that both write before they read would wait for each other for ever.
//!
//! An answer that is ready at once is taken before the session is polled again, so the replies of a pipelined batch
//! leave in one write.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, timeout};

use crate::session::{CloseReason, Fulfil, Layer, LayerError, LayerInfo, Output, Session, Wait};

/// What the embedder does beside answering: hears events, brings news, asks for the end.
pub trait Embedder<S: Session>: Send {
    /// Hears an event. `Break` leaves the loop once everything queued is written; the stream stays open.
    fn event(&mut self, event: S::Event) -> ControlFlow<()> {
        let _ = event;
        ControlFlow::Continue(())
    }

    /// Brings the session's next piece of news, when there is one.
    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<S::News> {
        let _ = context;
        Poll::Pending
    }

    /// Ready once the session is to end at its next safe point; not asked again after that.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let _ = context;
        Poll::Pending
    }
}

/// An embedder that hears nothing and brings nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl<S: Session> Embedder<S> for Silent {}

/// A stream that layers can be put on.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Puts a layer on the stream, in the role this side has.
    ///
    /// # Errors
    /// After [`LayerError::Unavailable`] the stream is as it was; after [`LayerError::Handshake`] it is unusable.
    fn layer(&mut self, layer: Layer) -> impl Future<Output = Result<LayerInfo, LayerError>> + Send;
}

/// A stream without any layers.
#[derive(Debug)]
pub struct Plain<T>(pub T);

impl<T: AsyncRead + Unpin> AsyncRead for Plain<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Plain<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for Plain<T> {
    async fn layer(&mut self, _layer: Layer) -> Result<LayerInfo, LayerError> {
        Err(LayerError::Unavailable)
    }
}

/// How long the driver itself waits, where no session is there to say.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DriveLimits {
    /// For the last octets to be written once the session has closed.
    pub flush: Duration,
    /// For a handshake.
    pub handshake: Duration,
    /// For the peer to end the stream after we did; what it still sends is discarded, so that our last words arrive.
    pub linger: Duration,
}

impl Default for DriveLimits {
    fn default() -> DriveLimits {
        DriveLimits {
            flush: Duration::from_secs(10),
            handshake: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// How a session's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The session closed; the stream is ended.
    Closed(CloseReason),
    /// The embedder left; the stream is open and everything queued is written.
    Left,
}

/// Runs the session until it closes or the embedder leaves.
pub async fn drive<S, T, F, E>(
    session: &mut S,
    transport: &mut T,
    fulfiller: &mut F,
    embedder: &mut E,
    limits: &DriveLimits,
) -> Ended
where
    S: Session + Send,
    S::Request: Send,
    S::Answered: Send,
    S::News: Send,
    S::Event: Send,
    T: Transport,
    F: Fulfil<S>,
    E: Embedder<S>,
{
    let mut run = Run { session, embedder, wire: Wire::new(transport), limits, ending: false };
    loop {
        let step = run.until(None::<Pin<&mut std::future::Pending<S::Answered>>>).await;
        let request = match step {
            Step::Request(request) => request,
            Step::Answered(_) => continue,
            Step::Closed(reason) => return run.close(reason).await,
            Step::Left => return run.leave().await,
        };
        let answer = pin!(fulfiller.fulfil(request));
        match run.until(Some(answer)).await {
            Step::Answered(answered) => run.session.resume(answered),
            // Two questions at once break the session's own contract; there is no state to go on from.
            Step::Request(_) => return run.close(CloseReason::Unanswered).await,
            Step::Closed(reason) => return run.close(reason).await,
            Step::Left => return run.leave().await,
        }
    }
}

/// Outputs handled in a row before other tasks get their turn.
const TURN: u32 = 128;
/// Unsent octets at which writing is tried even though the session has more to do.
const EAGER: usize = 64 * 1024;

struct Run<'a, S, T, E> {
    session: &'a mut S,
    embedder: &'a mut E,
    wire: Wire<'a, T>,
    limits: &'a DriveLimits,
    ending: bool,
}

enum Step<S: Session> {
    Request(S::Request),
    Answered(S::Answered),
    Closed(CloseReason),
    Left,
}

impl<S: Session, T: Transport, E: Embedder<S>> Run<'_, S, T, E> {
    /// Runs until the session asks, the pending answer is there, or it is over.
    async fn until<A>(&mut self, mut answer: Option<Pin<&mut A>>) -> Step<S>
    where
        A: Future<Output = S::Answered> + Send,
    {
        let mut outputs = 0;
        loop {
            if let Some(answer) = &mut answer
                && let Poll::Ready(answered) = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await
            {
                return Step::Answered(answered);
            }
            outputs += 1;
            if outputs % TURN == 0 {
                let_others_run().await;
            }
            match self.session.poll_output(now(), self.wire.unsent) {
                Output::Send(octets) => {
                    self.wire.push(octets);
                    if self.wire.unsent >= EAGER {
                        poll_fn(|context| {
                            self.wire.poll_write(context);
                            Poll::Ready(())
                        })
                        .await;
                        // Before the session runs another command whose reply nobody hears.
                        self.wire.take_failure(self.session);
                    }
                }
                Output::Request(request) => return Step::Request(request),
                Output::Event(event) => {
                    if self.embedder.event(event).is_break() {
                        return Step::Left;
                    }
                }
                Output::Layer(layer) => self.layer(layer).await,
                Output::Close(reason) => return Step::Closed(reason),
                Output::Wait(wait) => {
                    if let Some(answered) = self.wait(wait, &mut answer).await {
                        return Step::Answered(answered);
                    }
                }
            }
        }
    }

    /// Waits for the first thing that can move the session on.
    async fn wait<A>(&mut self, wait: Wait, answer: &mut Option<Pin<&mut A>>) -> Option<S::Answered>
    where
        A: Future<Output = S::Answered> + Send,
    {
        self.wire.set_deadline(wait.deadline);
        poll_fn(|context| {
            if let Some(answer) = answer
                && let Poll::Ready(answered) = answer.as_mut().poll(context)
            {
                return Poll::Ready(Some(answered));
            }
            let unsent = self.wire.unsent;
            self.wire.poll_write(context);
            let drained = wait.output && self.wire.unsent < unsent;
            // A failed write is told before anything more is read and run.
            let moved = self.wire.take_failure(self.session)
                || drained
                || (wait.input && self.poll_read(context))
                || self.poll_embedder(context)
                || self.wire.poll_deadline(context);
            if moved { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> bool {
        if self.wire.read_closed {
            return false;
        }
        let mut buf = self.session.input_buf();
        let read = pin!(self.wire.transport.read_buf(&mut buf)).poll(context);
        match read {
            Poll::Pending => false,
            Poll::Ready(Ok(octets)) if octets > 0 => true,
            Poll::Ready(Ok(_) | Err(_)) => {
                self.wire.read_closed = true;
                self.session.handle_eof();
                true
            }
        }
    }

    fn poll_embedder(&mut self, context: &mut Context<'_>) -> bool {
        if !self.ending && self.embedder.poll_shutdown(context).is_ready() {
            self.ending = true;
            self.session.shutdown();
            return true;
        }
        match self.embedder.poll_news(context) {
            Poll::Ready(news) => {
                self.session.notify(news);
                true
            }
            Poll::Pending => false,
        }
    }

    async fn layer(&mut self, layer: Layer) {
        let limits = self.limits;
        let flushed = timeout(limits.flush, self.wire.flush()).await;
        let done = match flushed {
            Ok(true) => timeout(limits.handshake, self.wire.transport.layer(layer)).await,
            Ok(false) | Err(_) => Ok(Err(LayerError::Handshake)),
        };
        self.session.layered(done.unwrap_or(Err(LayerError::Handshake)));
    }

    async fn leave(mut self) -> Ended {
        let _ = timeout(self.limits.flush, self.wire.flush()).await;
        Ended::Left
    }

    async fn close(mut self, reason: CloseReason) -> Ended {
        let limits = *self.limits;
        let flushed = timeout(limits.flush, self.wire.flush()).await == Ok(true);
        if flushed && timeout(limits.flush, self.wire.transport.shutdown()).await.is_ok_and(|done| done.is_ok()) {
            let _ = timeout(limits.linger, self.wire.discard()).await;
        }
        Ended::Closed(reason)
    }
}

/// The stream with what is still to be written to it.
struct Wire<'a, T> {
    transport: &'a mut T,
    queue: VecDeque<Bytes>,
    unsent: usize,
    unflushed: bool,
    read_closed: bool,
    /// Writing failed: the peer is gone, and what is still to be said is dropped.
    failed: Option<Failure>,
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    Fresh,
    Told,
}

impl<'a, T: Transport> Wire<'a, T> {
    fn new(transport: &'a mut T) -> Wire<'a, T> {
        Wire {
            transport,
            queue: VecDeque::new(),
            unsent: 0,
            unflushed: false,
            read_closed: false,
            failed: None,
            deadline: None,
            sleep: None,
        }
    }

    fn push(&mut self, octets: Bytes) {
        if self.failed.is_none() {
            self.unsent += octets.len();
            self.queue.push_back(octets);
        }
    }

    /// Writes what the stream takes now.
    fn poll_write(&mut self, context: &mut Context<'_>) {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let mut used = 0;
            for (slice, octets) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(octets);
                used += 1;
            }
            let slices = slices.get(..used).unwrap_or_default();
            let written = if self.transport.is_write_vectored() {
                Pin::new(&mut *self.transport).poll_write_vectored(context, slices)
            } else {
                let first = self.queue.front().map_or(&[][..], |octets| octets);
                Pin::new(&mut *self.transport).poll_write(context, first)
            };
            match written {
                Poll::Pending => return,
                Poll::Ready(Ok(octets)) if octets > 0 => self.drained(octets),
                Poll::Ready(Ok(_) | Err(_)) => return self.fail(),
            }
        }
        if self.unflushed {
            match Pin::new(&mut *self.transport).poll_flush(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => self.fail(),
            }
        }
    }

    fn drained(&mut self, mut octets: usize) {
        self.unsent -= octets.min(self.unsent);
        self.unflushed = true;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > octets {
                first.advance(octets);
                return;
            }
            octets -= first.len();
            self.queue.pop_front();
        }
    }

    fn fail(&mut self) {
        self.queue.clear();
        self.unsent = 0;
        self.unflushed = false;
        self.failed = self.failed.or(Some(Failure::Fresh));
    }

    /// Tells the session once that the peer is gone.
    fn take_failure<S: Session>(&mut self, session: &mut S) -> bool {
        if self.failed != Some(Failure::Fresh) {
            return false;
        }
        self.failed = Some(Failure::Told);
        self.read_closed = true;
        session.handle_reset();
        true
    }

    /// Writes everything; `false` when the peer is gone.
    async fn flush(&mut self) -> bool {
        poll_fn(|context| {
            self.poll_write(context);
            if self.queue.is_empty() && !self.unflushed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.failed.is_none()
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) {
        if self.deadline == deadline {
            return;
        }
        self.deadline = deadline;
        match (deadline, &mut self.sleep) {
            (Some(deadline), Some(sleep)) => sleep.as_mut().reset(deadline.into()),
            (Some(deadline), None) => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline.into()))),
            (None, _) => {}
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> bool {
        match (self.deadline, &mut self.sleep) {
            (Some(_), Some(sleep)) => {
                let due = sleep.as_mut().poll(context).is_ready();
                if due {
                    // A timer that fired must not be polled again before it is reset.
                    self.deadline = None;
                }
                due
            }
            _ => false,
        }
    }

    /// Reads until the peer ends the stream, so that a reset does not overtake our last words.
    async fn discard(&mut self) {
        let mut buf = BytesMut::with_capacity(4096);
        while !self.read_closed {
            buf.clear();
            match self.transport.read_buf(&mut buf).await {
                Ok(octets) if octets > 0 => {}
                Ok(_) | Err(_) => self.read_closed = true,
            }
        }
    }
}

/// Gives the executor's other tasks a turn, whatever the executor is.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[allow(clippy::disallowed_methods, reason = "the driver is where time enters")]
fn now() -> Instant {
    Instant::now()
}
