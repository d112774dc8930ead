//! The driver, run over in-memory pipes with a session that echoes lines.
#![allow(unreachable_pub, dead_code, reason = "questions! declares a protocol's whole public table")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says no by panicking")]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use mailstore_trait::drive::{DriveLimits, Embedder, Ended, Plain, Silent, drive};
use mailstore_trait::session::{
    Asking, CloseReason, Fulfil, Inbox, LayerError, LayerInfo, Line, Outbox, Output, Session, Wait,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};

/// What is asked before a line is echoed.
#[derive(Debug)]
pub struct Echo(Bytes);

mailstore_trait::questions! {
    /// Whether to echo.
    Echo -> Option<Bytes>, refused by None;
}

/// Answers each line with itself, once it was allowed to; `quit` ends it.
struct EchoSession {
    inbox: Inbox,
    outbox: Outbox,
    asking: Asking,
    closed: Option<CloseReason>,
    resets: u32,
    low_water: usize,
}

impl EchoSession {
    fn new() -> EchoSession {
        let (inbox, outbox) = (Inbox::new(4096), Outbox::default());
        EchoSession { inbox, outbox, asking: Asking::default(), closed: None, resets: 0, low_water: 8192 }
    }
}

impl Session for EchoSession {
    type Request = Request;
    type Answered = Answered;
    type Event = ();
    type News = ();

    fn input_buf(&mut self) -> Limit<&mut BytesMut> {
        self.inbox.limit()
    }

    fn handle_eof(&mut self) {
        self.inbox.close();
    }

    fn handle_reset(&mut self) {
        self.resets += 1;
        self.inbox.clear();
        self.inbox.close();
    }

    fn resume(&mut self, answered: Answered) {
        if self.asking.accept(answered.id) {
            let Answer::Echo(line) = answered.answer;
            self.outbox.text().put_slice(&line.unwrap_or_default());
        }
    }

    fn layered(&mut self, _done: Result<LayerInfo, LayerError>) {}

    fn notify(&mut self, _news: ()) {}

    fn shutdown(&mut self) {
        self.outbox.text().put_slice(b"bye\n");
        self.closed = Some(CloseReason::Shutdown);
    }

    fn poll_output(&mut self, _now: Instant, unsent: usize) -> Output<Request, ()> {
        let full = unsent > self.low_water;
        if self.outbox.len() >= 4096
            && let Some(octets) = self.outbox.take()
        {
            return Output::Send(octets);
        }
        if !self.asking.is_out() && self.closed.is_none() && !full {
            if let Line::Complete(len) = self.inbox.line(1024) {
                let line = self.inbox.take(len);
                if line == "quit\n" {
                    self.closed = Some(CloseReason::Quit);
                } else {
                    return Output::Request(self.asking.ask(Echo(line)));
                }
            } else if self.inbox.is_closed() {
                self.closed = Some(CloseReason::Eof);
            }
        }
        if let Some(octets) = self.outbox.take() {
            return Output::Send(octets);
        }
        match self.closed {
            Some(reason) => Output::Close(reason),
            None => Output::Wait(Wait { input: self.inbox.is_readable(), output: full, deadline: None }),
        }
    }
}

struct Slowly(Duration);

impl Fulfil<EchoSession> for Slowly {
    async fn fulfil(&mut self, request: Request) -> Answered {
        if !self.0.is_zero() {
            tokio::time::sleep(self.0).await;
        }
        let Request::Echo(pending) = request;
        let (Echo(line), reply) = pending.split();
        reply.answer(Some(line))
    }
}

/// Both peers write far more than any buffer holds before either reads: a driver that is not full duplex hangs.
#[tokio::test]
async fn a_peer_that_writes_everything_first_is_served() {
    let (near, far) = duplex(512);
    let server = tokio::spawn(async move {
        let (mut session, mut io) = (EchoSession::new(), Plain(near));
        drive(&mut session, &mut io, &mut Slowly(Duration::ZERO), &mut Silent, &DriveLimits::default()).await
    });
    let (mut read, mut write) = tokio::io::split(far);
    let lines = 20_000;
    let writer = tokio::spawn(async move {
        for _ in 0..lines {
            write.write_all(b"hello there\n").await.unwrap();
        }
        write.write_all(b"quit\n").await.unwrap();
        write
    });
    let mut echoed = Vec::new();
    read.read_to_end(&mut echoed).await.unwrap();
    assert_eq!(echoed.len(), lines * 12);
    assert_eq!(server.await.unwrap(), Ended::Closed(CloseReason::Quit));
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn buffered_commands_run_after_the_end_of_the_stream() {
    let (near, mut far) = duplex(4096);
    far.write_all(b"one\ntwo\n").await.unwrap();
    far.shutdown().await.unwrap();
    let (mut session, mut io) = (EchoSession::new(), Plain(near));
    let mut slow = Slowly(Duration::from_millis(5));
    let ended = drive(&mut session, &mut io, &mut slow, &mut Silent, &DriveLimits::default()).await;
    assert_eq!(ended, Ended::Closed(CloseReason::Eof));
    drop(io);
    let mut echoed = String::new();
    far.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "one\ntwo\n");
}

struct EndNow;

impl Embedder<EchoSession> for EndNow {
    fn poll_shutdown(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test]
async fn a_shutdown_says_goodbye() {
    let (near, mut far) = duplex(4096);
    let (mut session, mut io) = (EchoSession::new(), Plain(near));
    let limits = short();
    let ended = drive(&mut session, &mut io, &mut Slowly(Duration::ZERO), &mut EndNow, &limits).await;
    assert_eq!(ended, Ended::Closed(CloseReason::Shutdown));
    drop(io);
    let mut said = String::new();
    far.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "bye\n");
}

fn short() -> DriveLimits {
    let mut limits = DriveLimits::default();
    limits.linger = Duration::from_millis(10);
    limits
}

/// Reads what it was given; takes so many writes, then fails.
struct Breaks {
    input: Bytes,
    writes: usize,
}

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let len = self.input.len().min(buf.remaining());
        buf.put_slice(&self.input.split_to(len));
        // Then silence, not the end: only the failed write tells that the peer is gone.
        if len == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.writes == 0 {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        self.writes -= 1;
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers at once, and counts.
#[derive(Default)]
struct Counts(usize);

impl Fulfil<EchoSession> for Counts {
    async fn fulfil(&mut self, request: Request) -> Answered {
        self.0 += 1;
        let Request::Echo(pending) = request;
        let (Echo(line), reply) = pending.split();
        reply.answer(Some(line))
    }
}

/// A collector of mail had pipelined RETR, DELE and QUIT when its link broke. The driver told the session that the
/// stream had ended, and at that a session runs what is buffered: messages that nobody had received were removed.
#[tokio::test]
async fn a_failed_write_is_told_as_a_reset() {
    let mut io = Plain(Breaks { input: Bytes::from_static(b"one\n"), writes: 0 });
    let (mut session, mut counts) = (EchoSession::new(), Counts::default());
    let ended = drive(&mut session, &mut io, &mut counts, &mut Silent, &short()).await;
    assert_eq!((ended, session.resets, counts.0), (Ended::Closed(CloseReason::Eof), 1, 1));
}

/// The peer ended its stream first: a failure after that is still told, once.
#[tokio::test]
async fn a_failed_write_after_the_end_of_the_stream_is_told_too() {
    let (near, mut far) = duplex(4096);
    far.write_all(b"one\n").await.unwrap();
    drop(far);
    let (mut session, mut io) = (EchoSession::new(), Plain(near));
    let mut slow = Slowly(Duration::from_millis(5));
    // The end is read while the answer is awaited; the reply to it cannot be written. What is left is to close.
    let ended = drive(&mut session, &mut io, &mut slow, &mut Silent, &short()).await;
    assert_eq!(ended, Ended::Closed(CloseReason::Eof));
    assert!(session.resets <= 1);
}

/// A session that never waits while it answers what is buffered: the failure is told between two commands, not after
/// all of them.
#[tokio::test]
async fn a_failed_write_is_told_before_the_next_command() {
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let mut io = Plain(Breaks { input: line.repeat(1000).into(), writes: 0 });
    let mut session = EchoSession { inbox: Inbox::new(2 << 20), low_water: usize::MAX, ..EchoSession::new() };
    let mut counts = Counts::default();
    let ended = drive(&mut session, &mut io, &mut counts, &mut Silent, &short()).await;
    assert_eq!((ended, session.resets), (Ended::Closed(CloseReason::Eof), 1));
    assert!(counts.0 < 200, "{} of 1000 commands ran after the link had broken", counts.0);
}
