//! The one shape of every protocol: a session that is fed octets and polled for what to do next.
//!
//! A [`Session`] does no I/O, reads no clock and draws no randomness. Octets enter through [`Session::input_buf`], time
//! through [`Session::poll_output`], and everything that leaves does so through that same method, in order. What a
//! protocol cannot know by itself (is this recipient ours? which messages are in this mailbox?) it *asks*: the session
//! yields a question, and [`Session::resume`] brings the answer. One question is out at a time, so replies stay in order
//! and pipelining needs no thought.
//!
//! ```text
//!            octets                         Output::Send        octets to write, in order
//!  input_buf ───────▶ ┌─────────┐           Output::Request     a question; answer with resume
//!  resume ──────────▶ │ session │ ───────▶  Output::Layer       write all, start TLS or DEFLATE, call layered
//!  notify ──────────▶ └─────────┘  poll     Output::Event       for logs and metrics, needs no answer
//!  shutdown ────────▶              _output  Output::Wait        nothing to do until input, output or deadline
//!                                           Output::Close       flush, end the stream, drop the session
//! ```
//!
//! The rules every session keeps, each proved by the testkit's four tests:
//!
//! 1. Poll until [`Output::Wait`] or [`Output::Close`]; `Wait` names everything that can change that.
//! 2. A session never holds more unread input than its window, whatever the peer sends.
//! 3. Every question may be answered by its refusal ([`Pending::decline`]) and the session ends well.
//! 4. Silence of the peer, of the fulfiller, or of both ends at a deadline.
//! 5. What the peer does wrong becomes a reply and at last a [`CloseReason`], never a panic or a Rust error.

mod inbox;
mod outbox;
mod question;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};

pub use inbox::{Inbox, Line};
pub use outbox::Outbox;
pub use question::{Asking, Pending, Question, QuestionId, Reply};

/// A protocol state machine without I/O. See the [module documentation](self) for the rules.
pub trait Session {
    /// The questions this protocol asks; each variant holds a [`Pending`].
    type Request;
    /// An answered question, as [`Pending::answer`] makes it.
    type Answered;
    /// What an embedder may log or count. An event needs no answer.
    type Event;
    /// What may come from elsewhere: change hints for a server, commands for a client.
    type News;

    /// The buffer the socket reads into; never offers more than the window has room for.
    ///
    /// Read only after a [`Wait`] whose `input` is true: then there is room, and a read of zero octets can only mean
    /// the end of the stream ([`handle_eof`](Session::handle_eof)).
    fn input_buf(&mut self) -> Limit<&mut BytesMut>;

    /// The peer will send no more: end of stream, a read error, or TLS ended without `close_notify`.
    ///
    /// Complete commands already buffered still run.
    fn handle_eof(&mut self);

    /// Writing failed: the peer hears nothing more, and what was said last may not have reached it.
    ///
    /// May come after [`handle_eof`](Session::handle_eof). Buffered commands may still run, as they would have if the
    /// failure had been noticed later; a session whose commands take effect only together with their reply (POP3's QUIT)
    /// drops them instead. A question that is out stays out: what it began is ended by its answer. The default is
    /// [`handle_eof`](Session::handle_eof).
    fn handle_reset(&mut self) {
        self.handle_eof();
    }

    /// Continues with an answer. One with a stale id is ignored.
    fn resume(&mut self, answered: Self::Answered);

    /// The layer asked for by [`Output::Layer`] is up, or could not be had.
    fn layered(&mut self, done: Result<LayerInfo, LayerError>);

    /// Something happened elsewhere. Never grows memory: hints coalesce, a client refuses when its queue is full.
    fn notify(&mut self, news: Self::News);

    /// Ends at the next safe point with the protocol's own farewell.
    fn shutdown(&mut self);

    /// The only exit, and the only inlet of time: what to do next.
    ///
    /// `unsent` is the number of octets handed out as [`Output::Send`] that the driver still holds. May be called at
    /// any time; call it again after every output but [`Output::Wait`] and [`Output::Close`].
    fn poll_output(&mut self, now: Instant, unsent: usize) -> Output<Self::Request, Self::Event>;

    /// The copying twin of [`input_buf`](Session::input_buf): returns how many octets fitted into the window.
    fn handle_input(&mut self, octets: &[u8]) -> usize {
        let mut taken = 0;
        while taken < octets.len() {
            let mut buf = self.input_buf();
            let room = buf.remaining_mut().min(octets.len() - taken);
            let Some(piece) = octets.get(taken..taken + room).filter(|piece| !piece.is_empty()) else { break };
            buf.put_slice(piece);
            taken += room;
        }
        taken
    }
}

/// Answers a session's questions.
///
/// Dropping the future cancels the question; each store method says what that leaves.
pub trait Fulfil<S: Session>: Send {
    /// Answers one question. Another is asked only after this one was answered.
    fn fulfil(&mut self, request: S::Request) -> impl Future<Output = S::Answered> + Send;
}

/// What a session wants done next.
#[must_use]
#[derive(Debug)]
pub enum Output<R, E> {
    /// Write these octets. Order is the order of outputs.
    Send(Bytes),
    /// Answer this question and call [`Session::resume`].
    Request(R),
    /// Write everything queued, put this layer on the stream, call [`Session::layered`].
    Layer(Layer),
    /// For logs and metrics.
    Event(E),
    /// Nothing to do until one of these changes.
    Wait(Wait),
    /// Flush what was sent, end the stream (TLS `close_notify`, then FIN), drop the session.
    Close(CloseReason),
}

/// What can end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whether octets may be read into [`Session::input_buf`].
    pub input: bool,
    /// Whether the session waits for the driver's unsent octets to drain.
    pub output: bool,
    /// When to poll again in any case.
    pub deadline: Option<Instant>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer said goodbye in the protocol's own way.
    Quit,
    /// The stream ended.
    Eof,
    /// The peer was silent for too long.
    Timeout,
    /// The peer stopped draining what it was sent.
    Stalled,
    /// The peer broke the protocol beyond repair (octets behind STARTTLS, for one).
    Protocol,
    /// The peer went over a limit that ends sessions (errors, failed logins, line length).
    Limit,
    /// The embedder asked for the end.
    Shutdown,
    /// A question was not answered in time, or in a way that leaves no state to go on from.
    Unanswered,
    /// A layer could not be had.
    Layer,
}

/// A transformation of the stream between session and socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// TLS, this side in the role it has in the protocol.
    Tls,
    /// Raw DEFLATE in both directions (RFC 4978).
    Deflate,
}

/// What is known of a layer once it is up.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The protocol's version as it appears in trace headers, such as `TLSv1.3`.
    pub version: Option<&'static str>,
    /// The cipher suite as it appears in trace headers, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: Option<&'static str>,
    /// RFC 9266: 32 octets of keying material, label `EXPORTER-Channel-Binding`.
    pub exporter: Option<[u8; 32]>,
    /// RFC 5929 §4: the hash of the server's certificate.
    pub end_point: Option<Bytes>,
    /// The peer's end-entity certificate in DER, when it presented one that was verified.
    pub peer_certificate: Option<Bytes>,
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
}

impl LayerInfo {
    /// Nothing known yet; fill in what is.
    pub fn new() -> LayerInfo {
        LayerInfo::default()
    }
}

impl fmt::Debug for LayerInfo {
    /// Says which bindings are known, not what they are: exporter octets are keying material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerInfo")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("exporter", &self.exporter.is_some())
            .field("end_point", &self.end_point.is_some())
            .field("peer_certificate", &self.peer_certificate.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// Why a layer could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The handshake failed; the stream is unusable.
    #[error("the handshake failed")]
    Handshake,
    /// This side has no means for the layer (no certificate, say); the stream is as it was.
    #[error("the layer is not available")]
    Unavailable,
}

/// Who is at the other end, as far as the embedder knows when it accepts or opens the stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The peer's address.
    pub address: SocketAddr,
    /// The TLS the stream began with (implicit TLS, RFC 8314); `None` for cleartext.
    pub tls: Option<LayerInfo>,
}

impl Peer {
    /// A peer on a cleartext stream.
    pub fn new(address: SocketAddr) -> Peer {
        Peer { address, tls: None }
    }

    /// A peer on a stream that began with TLS.
    pub fn with_tls(address: SocketAddr, tls: LayerInfo) -> Peer {
        Peer { address, tls: Some(tls) }
    }
}
