//! What a client can be told to do, and what it tells of it.

use bytes::{BufMut, BytesMut};

use crate::capability::Capabilities;
use crate::reply::{ResponseCode, write_decimal};

/// A command for the TRANSACTION state. Login comes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// STAT. Told by [`Event::Stat`].
    Stat,
    /// LIST of everything. Told by one [`Event::Listed`] a message.
    List,
    /// UIDL of everything. Told by one [`Event::UniqueId`] a message.
    Uidl,
    /// RETR. The message comes as questions ([`BodyChunk`](super::BodyChunk)).
    Retr(u32),
    /// TOP with a number of lines. The octets come as questions ([`BodyChunk`](super::BodyChunk)).
    Top(u32, u64),
    /// DELE.
    Dele(u32),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// CAPA again: EXPIRE and LOGIN-DELAY may differ after login. Told by [`Event::Capabilities`].
    Capa,
    /// QUIT: what was marked is removed, and the session ends.
    Quit,
}

impl Command {
    /// Appends the command's line.
    pub(super) fn write(self, out: &mut BytesMut) {
        let word: &[u8] = match self {
            Command::Stat => b"STAT",
            Command::List => b"LIST",
            Command::Uidl => b"UIDL",
            Command::Retr(_) => b"RETR ",
            Command::Top(..) => b"TOP ",
            Command::Dele(_) => b"DELE ",
            Command::Rset => b"RSET",
            Command::Noop => b"NOOP",
            Command::Capa => b"CAPA",
            Command::Quit => b"QUIT",
        };
        out.put_slice(word);
        match self {
            Command::Retr(number) | Command::Dele(number) => write_decimal(u64::from(number), out),
            Command::Top(number, lines) => {
                write_decimal(u64::from(number), out);
                out.put_slice(b" ");
                write_decimal(lines, out);
            }
            _ => {}
        }
        out.put_slice(b"\r\n");
    }
}

/// What a client tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// What the server can do; told again whenever it was asked again.
    Capabilities(Capabilities),
    /// TLS is up.
    Tls,
    /// Logged in: commands run from here on.
    Ready,
    /// No login; the session ends.
    LoginFailed(LoginFailure),
    /// STAT.
    Stat {
        /// Messages not marked as deleted.
        messages: u32,
        /// Their octets.
        octets: u64,
    },
    /// A line of LIST.
    Listed {
        /// The message's number.
        message: u32,
        /// Its octets.
        octets: u64,
    },
    /// A line of UIDL.
    UniqueId {
        /// The message's number.
        message: u32,
        /// Its identifier: 1 to 70 visible ASCII characters.
        id: String,
    },
    /// A command was done.
    Done(Command),
    /// A command failed.
    Failed {
        /// Which.
        command: Command,
        /// The response code, when there is one that is known.
        code: Option<ResponseCode>,
        /// What the server says to people.
        text: String,
    },
    /// The queue is full, or the session ends: the command was not taken.
    NotTaken(Command),
}

/// Why there was no login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginFailure {
    /// The server refuses.
    Refused {
        /// The response code, when there is one that is known.
        code: Option<ResponseCode>,
        /// What the server says to people.
        text: String,
    },
    /// TLS is required and the server does not offer it.
    NoTls,
    /// The server offers no way to log in that these credentials and this connection permit.
    NoMechanism,
    /// The server broke the mechanism, or could not prove that it knows the user.
    Exchange,
}
