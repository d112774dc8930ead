//! Content transfer encodings (RFC 2045 §6): streaming decoders that forgive what mail contains.
//!
//! Push chunks of any size; the octets decoded so far are appended to the caller's buffer. Nothing fails: octets that
//! do not belong are passed over, a missing end is taken as the end.

use super::parameter::hex;

/// The transfer encoding of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `binary`, and nothing at all: the octets are the content.
    Identity,
    /// `base64`.
    Base64,
    /// `quoted-printable`.
    QuotedPrintable,
    /// Something else: the content cannot be had.
    Unknown,
}

impl TransferEncoding {
    /// The encoding named by a Content-Transfer-Encoding; `None` is a part without the field (RFC 2045 §6.1).
    pub fn new(token: Option<&[u8]>) -> TransferEncoding {
        let Some(token) = token else { return TransferEncoding::Identity };
        let is = |name: &[u8]| token.eq_ignore_ascii_case(name);
        if is(b"base64") {
            TransferEncoding::Base64
        } else if is(b"quoted-printable") {
            TransferEncoding::QuotedPrintable
        } else if [&b"7bit"[..], b"8bit", b"binary", b"7-bit", b"8-bit", b"7", b"8", b"none", b""]
            .iter()
            .any(|name| is(name))
        {
            TransferEncoding::Identity
        } else {
            TransferEncoding::Unknown
        }
    }
}

/// Decodes a body chunk by chunk.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// Octets pass unchanged (unknown encodings too).
    Identity,
    /// See [`Base64`].
    Base64(Base64),
    /// See [`QuotedPrintable`].
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// A decoder for `encoding`.
    pub fn new(encoding: TransferEncoding) -> Decoder {
        match encoding {
            TransferEncoding::Identity | TransferEncoding::Unknown => Decoder::Identity,
            TransferEncoding::Base64 => Decoder::Base64(Base64::default()),
            TransferEncoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
        }
    }

    /// Appends to `out` what `chunk` adds.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(chunk),
            Decoder::Base64(decoder) => decoder.push(chunk, out),
            Decoder::QuotedPrintable(decoder) => decoder.push(chunk, out),
        }
    }

    /// Appends to `out` what only the end of the body tells.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => {}
            Decoder::Base64(decoder) => decoder.finish(out),
            Decoder::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// Base64 (RFC 2045 §6.8). Octets outside the alphabet are passed over; after padding decoding goes on, because
/// concatenated bodies exist.
#[derive(Clone, Debug, Default)]
pub struct Base64 {
    bits: u32,
    count: u8,
}

const SKIP: u8 = 0xFF;
const PAD: u8 = 0xFE;

// Evaluated by the compiler: an index out of bounds would not build.
#[allow(clippy::indexing_slicing)]
const ALPHABET: [u8; 256] = {
    let mut table = [SKIP; 256];
    let symbols = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0u8;
    while value < 64 {
        table[symbols[value as usize] as usize] = value;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table
};

fn symbol(octet: u8) -> u8 {
    ALPHABET.get(usize::from(octet)).copied().unwrap_or(SKIP)
}

impl Base64 {
    /// Appends to `out` what `chunk` adds.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() / 4 * 3 + 3);
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.count == 0 {
                // Four symbols at a time until something else stands there.
                while let Some((quad, after)) = rest.split_first_chunk::<4>() {
                    let [a, b, c, d] = quad.map(symbol);
                    if a | b | c | d >= 64 {
                        break;
                    }
                    let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                    let [_, first, second, third] = bits.to_be_bytes();
                    out.extend_from_slice(&[first, second, third]);
                    rest = after;
                }
            }
            let Some((&octet, after)) = rest.split_first() else { return };
            rest = after;
            match symbol(octet) {
                SKIP => {}
                PAD => self.flush(out),
                value => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.count += 1;
                    if self.count == 4 {
                        let [_, first, second, third] = self.bits.to_be_bytes();
                        out.extend_from_slice(&[first, second, third]);
                        self.bits = 0;
                        self.count = 0;
                    }
                }
            }
        }
    }

    /// The octets of a last group that lacks its padding.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let [_, first, second, _] = (self.bits << (6 * (4 - u32::from(self.count.min(4))))).to_be_bytes();
        match self.count {
            2 => out.push(first),
            3 => out.extend_from_slice(&[first, second]),
            _ => {}
        }
        self.bits = 0;
        self.count = 0;
    }
}

/// Quoted-printable (RFC 2045 §6.7). Blanks at line ends are dropped, soft line breaks end with CRLF or LF, and an `=`
/// that begins nothing stands for itself (§6.7 note on robust decoding).
#[derive(Clone, Debug, Default)]
pub struct QuotedPrintable {
    /// Octets held back: an `=` and what follows it, or blanks and a CR that may end the line.
    held: Vec<u8>,
}

/// Blanks held back at most; more of them are content.
const HELD: usize = 1024;

impl QuotedPrintable {
    /// Appends to `out` what `chunk` adds.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.held.is_empty() {
                let plain = |octet: &u8| !matches!(octet, b'=' | b' ' | b'\t' | b'\r');
                let len = rest.iter().position(|octet| !plain(octet)).unwrap_or(rest.len());
                let Some((run, after)) = rest.split_at_checked(len) else { return };
                out.extend_from_slice(run);
                rest = after;
            }
            let Some((&octet, after)) = rest.split_first() else { return };
            rest = after;
            self.octet(octet, out);
        }
    }

    /// What is held back, as it stands; blanks at the end are dropped.
    pub fn finish(self, out: &mut Vec<u8>) {
        if matches!(self.held.first(), Some(b'=')) {
            // A soft line break without its LF is one nevertheless.
            if self.held.iter().skip(1).any(|octet| !octet.is_ascii_whitespace()) {
                out.extend_from_slice(&self.held);
            }
        } else if self.held.contains(&b'\r') {
            out.push(b'\r');
        }
    }

    fn octet(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.held.first().copied(), octet) {
            (None, b'=' | b' ' | b'\t' | b'\r') => self.held.push(octet),
            (None, _) => out.push(octet),
            // Behind `=`: two digits, or blanks and a line end.
            (Some(b'='), _) => self.escape(octet, out),
            // Blanks, perhaps with a CR behind them.
            (Some(_), b'\n') => {
                let crlf = self.held.last() == Some(&b'\r');
                self.held.clear();
                out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
            }
            (Some(_), b' ' | b'\t' | b'\r') if self.held.last() != Some(&b'\r') && self.held.len() < HELD => {
                self.held.push(octet);
            }
            (Some(_), _) => {
                out.append(&mut self.held);
                self.octet(octet, out);
            }
        }
    }

    fn escape(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.held.get(1..).unwrap_or_default(), octet) {
            ([], _) if hex(octet).is_some() => self.held.push(octet),
            ([digit], _) if hex(*digit).is_some() => {
                if let (Some(high), Some(low)) = (hex(*digit), hex(octet)) {
                    out.push(high << 4 | low);
                    self.held.clear();
                } else {
                    out.append(&mut self.held);
                    self.octet(octet, out);
                }
            }
            (_, b'\n') => self.held.clear(),
            (blanks, b' ' | b'\t' | b'\r') if blanks.last() != Some(&b'\r') && blanks.len() < HELD => {
                self.held.push(octet);
            }
            _ => {
                out.append(&mut self.held);
                self.octet(octet, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: TransferEncoding, text: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut decoder = Decoder::new(encoding);
        decoder.push(text, &mut whole);
        decoder.finish(&mut whole);
        let mut pieces = Vec::new();
        let mut decoder = Decoder::new(encoding);
        for octet in text {
            decoder.push(std::slice::from_ref(octet), &mut pieces);
        }
        decoder.finish(&mut pieces);
        assert_eq!(whole, pieces, "pushed whole and octet by octet");
        whole
    }

    fn base64(text: &str) -> String {
        String::from_utf8(decode(TransferEncoding::Base64, text.as_bytes())).unwrap()
    }

    fn qp(text: &str) -> String {
        String::from_utf8(decode(TransferEncoding::QuotedPrintable, text.as_bytes())).unwrap()
    }

    #[test]
    fn base64_forgives() {
        assert_eq!(base64("aGVsbG8gd29ybGQ="), "hello world");
        assert_eq!(base64("aGVs\r\nbG8g\r\n d29ybGQ=\r\n"), "hello world");
        assert_eq!(base64("aGVsbG8gd29ybGQ"), "hello world");
        assert_eq!(base64("aGk=aGk="), "hihi");
        assert_eq!(base64("a!G-k_="), "hi");
        assert_eq!(base64(""), "");
        assert_eq!(base64("a"), "");
        assert_eq!(base64("===="), "");
    }

    #[test]
    fn quoted_printable_forgives() {
        assert_eq!(qp("a=3Db=c3=a4"), "a=bä");
        assert_eq!(qp("soft=\r\nbreak"), "softbreak");
        assert_eq!(qp("soft= \t\r\nbreak"), "softbreak");
        assert_eq!(qp("soft=\nbreak"), "softbreak");
        assert_eq!(qp("blanks  \t\r\nend  "), "blanks\r\nend");
        assert_eq!(qp("a = b =zz =4 =\rx"), "a = b =zz =4 =\rx");
        assert_eq!(qp("ends="), "ends");
        assert_eq!(qp("ends=4"), "ends=4");
        assert_eq!(qp("=3D=3D\n\n=\n"), "==\n\n");
        assert_eq!(qp("a \r b"), "a \r b");
    }

    #[test]
    fn many_blanks_are_not_held_for_ever() {
        let blanks = " ".repeat(5_000);
        assert!(qp(&format!("a{blanks}b")).len() > 4_000);
        let mut decoder = QuotedPrintable::default();
        let mut out = Vec::new();
        decoder.push(&vec![b' '; 100_000], &mut out);
        assert!(decoder.held.len() <= HELD);
    }

    #[test]
    fn names_of_encodings() {
        assert_eq!(TransferEncoding::new(None), TransferEncoding::Identity);
        assert_eq!(TransferEncoding::new(Some(b"BASE64")), TransferEncoding::Base64);
        assert_eq!(TransferEncoding::new(Some(b"8Bit")), TransferEncoding::Identity);
        assert_eq!(TransferEncoding::new(Some(b"x-uuencode")), TransferEncoding::Unknown);
    }
}
