//! A stream that is compressed both ways: raw DEFLATE (RFC 4978).
//!
//! Two traps are avoided here. What was inflated is drained before the socket is asked for more, or a command would wait
//! inside the inflater for ever; and what inflates out of all proportion ends the stream.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Compressed octets read at once.
const PIECE: usize = 8 * 1024;

/// Compressed octets that wait to be written, until nothing more is taken.
const WAITING: usize = 64 * 1024;

/// What a client may inflate to without being looked at.
const FREE: u64 = 1024 * 1024;

/// How many octets one may become beyond that. Commands and mail become ten; a bomb becomes a thousand.
const RATIO: u64 = 200;

/// A compressed stream.
pub(crate) struct Deflated<T> {
    io: T,
    inflate: Decompress,
    deflate: Compress,
    /// Octets read and not yet inflated.
    unread: Vec<u8>,
    at: usize,
    /// Whether the inflater may hold more than it gave.
    holds: bool,
    ended: bool,
    /// Octets deflated and not yet written.
    unwritten: Vec<u8>,
    written: usize,
    /// Whether the deflater holds octets.
    dirty: bool,
}

impl<T> Deflated<T> {
    pub(crate) fn new(io: T) -> Deflated<T> {
        Deflated {
            io,
            inflate: Decompress::new(false),
            deflate: Compress::new(Compression::fast(), false),
            unread: Vec::new(),
            at: 0,
            holds: false,
            ended: false,
            unwritten: Vec::new(),
            written: 0,
            dirty: false,
        }
    }

    /// Inflates into `buf` what there is; whether that was anything.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let input = self.unread.get(self.at..).unwrap_or_default();
        let output = buf.initialize_unfilled();
        let room = output.len();
        let status = self.inflate.decompress(input, output, FlushDecompress::None);
        let status = status.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let taken = usize::try_from(self.inflate.total_in() - before.0).unwrap_or(usize::MAX);
        let given = usize::try_from(self.inflate.total_out() - before.1).unwrap_or(usize::MAX).min(room);
        self.at = (self.at + taken).min(self.unread.len());
        buf.advance(given);
        // Only output without room left may have more behind it.
        self.holds = given == room;
        self.ended |= status == Status::StreamEnd;
        let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
        if given > FREE && given / RATIO > taken {
            return Err(io::Error::new(ErrorKind::InvalidData, "inflates out of all proportion"));
        }
        Ok(given > before.1)
    }

    /// Deflates octets, or with none and a flush what is held.
    fn deflate(&mut self, mut octets: &[u8], flush: FlushCompress) -> io::Result<()> {
        loop {
            self.unwritten.reserve(PIECE);
            let (before, room) = (self.deflate.total_in(), self.unwritten.capacity() - self.unwritten.len());
            let len = self.unwritten.len();
            let status = self.deflate.compress_vec(octets, &mut self.unwritten, flush);
            status.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(usize::MAX);
            octets = octets.get(taken..).unwrap_or_default();
            // Room left over says that nothing was held back.
            if octets.is_empty() && self.unwritten.len() - len < room {
                return Ok(());
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Deflated<T> {
    /// Writes what waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(octets) = self.unwritten.get(self.written..).filter(|octets| !octets.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(context, octets))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.unwritten.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Deflated<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 || this.ended {
                return Poll::Ready(Ok(()));
            }
            if (this.holds || this.at < this.unread.len()) && this.inflate(buf)? {
                return Poll::Ready(Ok(()));
            }
            if this.at < this.unread.len() && !this.ended {
                continue;
            }
            this.unread.resize(PIECE, 0);
            this.at = PIECE;
            let mut piece = ReadBuf::new(&mut this.unread);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut piece))?;
            let read = piece.filled().len();
            if read == 0 {
                this.ended = true;
            }
            this.unread.truncate(read);
            this.at = 0;
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deflated<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.unwritten.len() - this.written >= WAITING {
            ready!(this.poll_drain(context))?;
        }
        let octets = octets.get(..WAITING).unwrap_or(octets);
        this.deflate(octets, FlushCompress::None)?;
        this.dirty = true;
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if std::mem::take(&mut this.dirty) {
            this.deflate(&[], FlushCompress::Sync)?;
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if std::mem::take(&mut this.dirty) {
            this.deflate(&[], FlushCompress::Sync)?;
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Octets that compress neither well nor badly.
    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| b"a 1 FETCH (UID FLAGS)\r\n"[(at * at / 7) % 23]).collect()
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        for len in [1, 100, 8192, 8193, 300_000] {
            let (left, right) = duplex(1000);
            let (mut left, mut right) = (Deflated::new(left), Deflated::new(right));
            let sent = text(len);
            let writing = async {
                left.write_all(&sent).await.unwrap();
                left.flush().await.unwrap();
            };
            let mut read = vec![0; len];
            let reading = right.read_exact(&mut read);
            let (_, done) = tokio::join!(writing, reading);
            done.unwrap();
            assert!(read == sent, "{len} octets");
        }
    }

    /// Dovecot hung on commands over 8 kB: one read of the socket inflated to more than the reader took at once, and the
    /// rest was not looked at before the socket had more.
    #[tokio::test]
    async fn a_reader_with_little_room_gets_everything() {
        let (left, right) = duplex(100_000);
        let (mut left, mut right) = (Deflated::new(left), Deflated::new(right));
        left.write_all(&[b'x'; 50_000]).await.unwrap();
        left.flush().await.unwrap();
        let mut read = 0;
        while read < 50_000 {
            let mut piece = [0; 100];
            read += right.read(&mut piece).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_inflates_out_of_all_proportion_ends_the_stream() {
        let (left, right) = duplex(100_000);
        let (mut left, mut right) = (Deflated::new(left), Deflated::new(right));
        left.deflate = Compress::new(Compression::best(), false);
        let bomb = tokio::spawn(async move { left.write_all(&vec![0; 4 << 20]).await.and(left.flush().await) });
        let mut piece = vec![0; 64 * 1024];
        let error = loop {
            match right.read(&mut piece).await {
                Ok(0) => panic!("it ended"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        bomb.abort();
    }

    #[tokio::test]
    async fn noise_is_an_error_and_an_end_is_one() {
        let (mut left, right) = duplex(1000);
        let mut right = Deflated::new(right);
        left.write_all(&[0xff; 20]).await.unwrap();
        assert!(right.read(&mut [0; 10]).await.is_err());
        let (left, right) = duplex(1000);
        drop(left);
        assert_eq!(Deflated::new(right).read(&mut [0; 10]).await.unwrap(), 0);
    }
}
