//! The text of a message part as it is searched: transfer encoding and character set undone, folded, piece by piece.

use encoding_rs::{CoderResult, Encoding, WINDOWS_1252};

use super::pattern::{Fold, Pattern};
use crate::mime::charset;
use crate::mime::encoding::{Decoder, TransferEncoding};

/// A folded text that comes in pieces, of which only what can still begin a match is kept.
#[derive(Debug, Default)]
pub(super) struct Haystack {
    fold: Fold,
    folded: Vec<u8>,
}

impl Haystack {
    /// Whether this text, whole, contains the pattern.
    pub(super) fn holds(&mut self, text: &str, pattern: &Pattern) -> bool {
        self.clear();
        self.push(text);
        self.contains(pattern)
    }

    /// Begins another text: no match reaches from one to the next.
    pub(super) fn clear(&mut self) {
        self.folded.clear();
    }

    pub(super) fn push(&mut self, text: &str) {
        self.fold.fold(text, &mut self.folded);
    }

    pub(super) fn contains(&self, pattern: &Pattern) -> bool {
        pattern.is_in_folded(&self.folded)
    }

    pub(super) fn len(&self) -> usize {
        self.folded.len()
    }

    /// At most so many octets of the folded text, whole characters.
    pub(super) fn into_text(self, limit: usize) -> String {
        // A fold is UTF-8 by construction.
        let mut text = String::from_utf8(self.folded).unwrap_or_default();
        let mut end = limit.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }

    /// Forgets all but the last octets, in which a match may begin; `longest` is that of the folded patterns.
    pub(super) fn trim(&mut self, longest: usize) {
        let keep = longest.saturating_sub(1);
        let gone = self.folded.len().saturating_sub(keep);
        self.folded.drain(..gone);
    }
}

/// Undoes a part's encodings, piece by piece.
#[derive(Debug)]
pub(super) struct PartText {
    transfer: Option<Decoder>,
    charset: Charset,
    octets: Vec<u8>,
    text: String,
}

impl PartText {
    pub(super) fn new(encoding: TransferEncoding, charset: &[u8]) -> PartText {
        PartText {
            transfer: (encoding != TransferEncoding::Identity).then(|| Decoder::new(encoding)),
            charset: Charset::new(charset),
            octets: Vec::new(),
            text: String::new(),
        }
    }

    /// Appends the text that `raw` adds to the haystack.
    pub(super) fn push(&mut self, raw: &[u8], haystack: &mut Haystack) {
        match &mut self.transfer {
            None => self.charset.push(raw, &mut self.text, haystack),
            Some(decoder) => {
                self.octets.clear();
                decoder.push(raw, &mut self.octets);
                self.charset.push(&self.octets, &mut self.text, haystack);
            }
        }
    }

    /// Appends the text that only the end of the part tells.
    pub(super) fn finish(mut self, haystack: &mut Haystack) {
        if let Some(decoder) = self.transfer {
            self.octets.clear();
            decoder.finish(&mut self.octets);
            self.charset.push(&self.octets, &mut self.text, haystack);
        }
        self.charset.finish(&mut self.text, haystack);
    }
}

/// Undoes a character set, piece by piece, as [`mime`](crate::mime) does for whole texts.
enum Charset {
    Known {
        decoder: Box<encoding_rs::Decoder>,
        ascii: bool,
    },
    /// Taken as UTF-8 until it is not; then as Windows-1252. Holds the octets of a character that is not yet whole.
    Guessed(Vec<u8>),
}

impl std::fmt::Debug for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Charset::Known { decoder, .. } => decoder.encoding().name(),
            Charset::Guessed(_) => "guessed",
        })
    }
}

impl Charset {
    fn new(label: &[u8]) -> Charset {
        charset::encoding(label).map_or(Charset::Guessed(Vec::new()), Charset::known)
    }

    fn known(encoding: &'static Encoding) -> Charset {
        // A UTF-16 or shifting decoder gives ASCII octets another meaning.
        let ascii = encoding.is_ascii_compatible() && encoding != encoding_rs::ISO_2022_JP;
        Charset::Known { decoder: Box::new(encoding.new_decoder_without_bom_handling()), ascii }
    }

    fn push(&mut self, octets: &[u8], text: &mut String, haystack: &mut Haystack) {
        match self {
            Charset::Known { decoder, ascii } => {
                // Between two characters an ASCII piece is its own text; most pieces of most mail are.
                if *ascii
                    && octets.is_ascii()
                    && decoder.encoding() == WINDOWS_1252
                    && let Ok(plain) = std::str::from_utf8(octets)
                {
                    return haystack.push(plain);
                }
                decode(decoder, octets, false, text, haystack);
            }
            Charset::Guessed(held) => {
                let joined;
                let octets = if held.is_empty() {
                    octets
                } else {
                    held.extend_from_slice(octets);
                    joined = std::mem::take(held);
                    &joined
                };
                match std::str::from_utf8(octets) {
                    Ok(text) => haystack.push(text),
                    Err(error) => {
                        let (valid, rest) = octets.split_at_checked(error.valid_up_to()).unwrap_or((octets, b""));
                        haystack.push(std::str::from_utf8(valid).unwrap_or_default());
                        if error.error_len().is_none() {
                            held.extend_from_slice(rest);
                            return;
                        }
                        *self = Charset::known(WINDOWS_1252);
                        self.push(rest, text, haystack);
                    }
                }
            }
        }
    }

    fn finish(self, text: &mut String, haystack: &mut Haystack) {
        match self {
            Charset::Known { mut decoder, .. } => decode(&mut decoder, b"", true, text, haystack),
            Charset::Guessed(held) if held.is_empty() => {}
            Charset::Guessed(held) => {
                let mut decoder = WINDOWS_1252.new_decoder_without_bom_handling();
                decode(&mut decoder, &held, true, text, haystack);
            }
        }
    }
}

fn decode(decoder: &mut encoding_rs::Decoder, octets: &[u8], last: bool, text: &mut String, haystack: &mut Haystack) {
    let mut rest = octets;
    loop {
        text.clear();
        // Room for at least one character, or the decoder would never move.
        text.reserve(decoder.max_utf8_buffer_length(rest.len()).unwrap_or(rest.len()).max(16));
        let (result, read, _) = decoder.decode_to_string(rest, text, last);
        haystack.push(text);
        rest = rest.get(read..).unwrap_or_default();
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}
