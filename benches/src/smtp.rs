//! SMTP: commands parsed, whole sessions, bodies through the session's own framer.

use std::sync::Arc;
use std::time::Instant;

use bytes::BufMut;
use mailstore_trait::session::{Output, Peer, Session};
use smtp_proto::address::Grammar;
use smtp_proto::command::{Command, CommandError};
use smtp_proto::config::{Config, Extensions};
use smtp_proto::request::{Committed, Decision};
use smtp_proto::{Answered, Request, Server};

/// Finds the end of the line at the front and parses it.
///
/// # Errors
/// As [`Command::parse`].
pub fn parse(input: &[u8]) -> Result<Command<'_>, CommandError> {
    let end = memchr::memchr(b'\n', input).unwrap_or(input.len());
    let line = input.get(..end).unwrap_or(input);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Command::parse(line, Extensions::all(), Grammar::default())
}

/// How many of these lines parse.
#[must_use]
pub fn parse_all(lines: &[&[u8]]) -> usize {
    lines.iter().filter(|line| parse(std::hint::black_box(line)).is_ok()).count()
}

/// A server all of whose questions are answered yes at once, and whose clock stands.
#[derive(Debug)]
pub struct Mta {
    config: Arc<Config>,
    peer: Peer,
    now: Instant,
}

/// A session of it.
#[derive(Debug)]
pub struct Open {
    server: Server,
    now: Instant,
    /// Octets of bodies taken.
    pub taken: u64,
    /// Messages taken.
    pub messages: u64,
    /// Octets said.
    pub said: u64,
    /// Whether it is over.
    pub closed: bool,
}

impl Default for Mta {
    fn default() -> Mta {
        let peer = Peer::new("192.0.2.1:40000".parse().expect("an address"));
        let mut config = Config::new("mx1.lighthouse.example");
        // A body that is fed for as long as a race lasts.
        config.limits.message = u64::MAX;
        Mta { config: Arc::new(config), peer, now: Instant::now() }
    }
}

impl Mta {
    /// A session that has greeted.
    #[must_use]
    pub fn open(&self) -> Open {
        let server = Server::new(self.config.clone(), self.peer.clone());
        let mut open = Open { server, now: self.now, taken: 0, messages: 0, said: 0, closed: false };
        open.run();
        open
    }

    /// A session inside a body that does not end.
    #[must_use]
    pub fn in_body(&self) -> Open {
        let mut open = self.open();
        let script = Script::new(Vec::new());
        open.feed(&script.hello);
        open.feed(&script.envelope);
        // The input grows to its window once; what is timed is how it goes on.
        open.feed(&b"lines\r\n".repeat(20_000));
        open.taken = 0;
        open
    }
}

impl Open {
    /// Feeds octets as a socket would, as much as fits at a time, and runs what can run.
    pub fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let taken = self.server.handle_input(rest);
            assert!(taken > 0, "the session takes no input");
            rest = rest.get(taken..).unwrap_or_default();
            self.run();
        }
    }

    /// Waits as a driver does: with the buffer for the next read ready.
    pub fn wait(&mut self) {
        let _ = self.server.input_buf();
    }

    /// Where the next octets will be read to.
    pub fn input_address(&mut self) -> usize {
        self.server.input_buf().chunk_mut().as_mut_ptr().addr()
    }

    fn run(&mut self) {
        loop {
            match self.server.poll_output(self.now, 0) {
                Output::Send(octets) => self.said += octets.len() as u64,
                Output::Request(request) => {
                    let answered = self.answer(request);
                    self.server.resume(answered);
                }
                Output::Event(_) => {}
                Output::Layer(_) => panic!("nobody asked for a layer"),
                Output::Wait(_) => return,
                Output::Close(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: Request) -> Answered {
        match request {
            Request::MailFrom(pending) => pending.answer(Decision::Accepted),
            Request::RcptTo(pending) => {
                let all = pending.query.accept_all();
                pending.answer(all)
            }
            Request::BodyOpen(pending) => pending.answer(Decision::Accepted),
            Request::BodyChunk(pending) => {
                self.taken += std::hint::black_box(&pending.query).len() as u64;
                pending.answer(Decision::Accepted)
            }
            Request::Commit(pending) => {
                self.messages += 1;
                pending.answer(Committed::Accepted(String::new()))
            }
            other => panic!("an unexpected question: {}", other.name()),
        }
    }
}

/// A client's side of one message: what it sends before it must wait.
#[derive(Debug)]
pub struct Script {
    /// EHLO.
    pub hello: Vec<u8>,
    /// MAIL, RCPT and DATA in one flight.
    pub envelope: Vec<u8>,
    /// The body, dots stuffed, without the dot line.
    pub body: Vec<u8>,
    /// The dot line and QUIT.
    pub end: Vec<u8>,
}

impl Script {
    /// A session that sends this body.
    #[must_use]
    pub fn new(body: Vec<u8>) -> Script {
        let envelope = b"MAIL FROM:<mara@lists.example.net>\r\nRCPT TO:<keeper.north@lighthouse.example>\r\nDATA\r\n";
        Script {
            hello: b"EHLO out7.lists.example.net\r\n".to_vec(),
            envelope: envelope.to_vec(),
            body,
            end: b".\r\nQUIT\r\n".to_vec(),
        }
    }

    /// Runs it whole; gives the octets of the body that were taken.
    #[must_use]
    pub fn play(&self, mta: &Mta) -> u64 {
        let mut session = mta.open();
        for flight in [&self.hello, &self.envelope, &self.body, &self.end] {
            session.feed(flight);
        }
        assert!(session.closed && session.messages == 1, "the message was not taken");
        session.taken
    }

    /// Octets a client sends.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.hello.len() + self.envelope.len() + self.body.len() + self.end.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_command_of_the_corpus_is_one() {
        assert_eq!(parse_all(&corpus::SMTP), corpus::SMTP.len());
    }

    #[test]
    fn a_body_that_does_not_end_is_taken_whole() {
        let body = corpus::base64(5 << 20);
        let mut open = Mta::default().in_body();
        open.feed(&body);
        open.feed(&body);
        assert_eq!(open.taken, 2 * body.len() as u64);
    }

    #[test]
    fn a_session_takes_the_body_without_its_stuffing() {
        let body = corpus::text(200 << 10, corpus::Dots::All);
        let stuffed = body.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"..")).count();
        let len = body.len();
        assert_eq!(Script::new(body).play(&Mta::default()), (len - stuffed) as u64);
    }
}
