//! The driver, run over in-memory pipes with a session that echoes lines.
#![allow(unreachable_pub, dead_code, reason = "questions! declares a protocol's whole public table")]

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use mailstore_trait::drive::{DriveLimits, Embedder, Ended, Plain, Silent, drive};
use mailstore_trait::session::{
    Asking, CloseReason, Fulfil, Inbox, LayerError, LayerInfo, Line, Outbox, Output, Session, Wait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

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
}

impl EchoSession {
    fn new() -> EchoSession {
        let (inbox, outbox) = (Inbox::new(4096), Outbox::default());
        EchoSession { inbox, outbox, asking: Asking::default(), closed: None }
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
        let full = unsent > 8192;
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
