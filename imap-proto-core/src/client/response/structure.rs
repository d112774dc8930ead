//! BODYSTRUCTURE and BODY (RFC 9051 §7.5.2), into one flat list of parts.
//!
//! Parts lie in the order of the text, each with the place of the one it is in: as deep as they may nest, reading,
//! walking and dropping them takes no recursion. Servers differ most here: what one of them leaves out, says as NIL or
//! adds at the end does not stop the rest from being read.
//!
//! ```text
//!  ( (text…)(…) "mixed" ext )     a multipart begins with another parenthesis
//!  ( "message" "rfc822" … envelope (…) lines ext )     a message holds one part
//!  ( "text" "plain" … octets lines ext )
//! ```

use bytes::Bytes;

use super::envelope::{self, Envelope};
use super::reader::{Reader, Result};
use crate::error::Expected;

/// Names in lower case, and values.
pub type Parameters = Vec<(Bytes, Bytes)>;

/// The parts of a message. The first is the message's own body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    parts: Vec<Part>,
}

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Where in [`Structure::parts`] the part is that this one is in.
    pub parent: Option<usize>,
    /// Its place among its siblings, from 1.
    pub place: u32,
    /// The type, in lower case: `text`, `multipart`.
    pub media_type: String,
    /// The subtype, in lower case.
    pub subtype: String,
    /// Parameters of Content-Type.
    pub parameters: Parameters,
    /// Content-ID.
    pub id: Option<Bytes>,
    /// Content-Description.
    pub description: Option<Bytes>,
    /// Content-Transfer-Encoding, in lower case; empty for a multipart.
    pub encoding: String,
    /// Octets of the body as it is encoded; 0 for a multipart.
    pub octets: u64,
    /// Lines of a text or message.
    pub lines: Option<u64>,
    /// The envelope of a message inside.
    pub envelope: Option<Box<Envelope>>,
    /// Content-MD5.
    pub md5: Option<Bytes>,
    /// Content-Disposition in lower case, with its parameters.
    pub disposition: Option<(String, Parameters)>,
    /// Content-Language.
    pub language: Vec<Bytes>,
    /// Content-Location.
    pub location: Option<Bytes>,
}

impl Part {
    /// Whether it holds parts.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.media_type == "multipart"
    }
}

impl Structure {
    /// All parts, each behind the one it is in and behind its earlier siblings.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The section of a part (RFC 9051 §6.4.5.1): `[1, 2]` for `1.2`; empty for a multipart that is a message's body.
    #[must_use]
    pub fn section(&self, at: usize) -> Vec<u32> {
        let mut section = Vec::new();
        let mut next = Some(at);
        while let Some(part) = next.and_then(|at| self.parts.get(at)) {
            let parent = part.parent.and_then(|at| self.parts.get(at));
            match parent {
                // A multipart that is a message's body has no number of its own: its parts have the message's.
                None if part.is_multipart() => {}
                Some(parent) if part.is_multipart() && !parent.is_multipart() => {}
                _ => section.push(part.place),
            }
            next = part.parent;
        }
        section.reverse();
        section
    }
}

/// Parts that are begun, innermost last.
struct Open {
    part: usize,
    children: u32,
}

/// A body, and all bodies inside it; at most `max` parts, and no deeper.
pub(super) fn structure(reader: &mut Reader<'_>, max: usize) -> Result<Structure> {
    let mut parts = Vec::<Part>::new();
    let mut open = Vec::<Open>::new();
    loop {
        reader.spaces();
        if reader.peek() == Some(b'(') {
            if parts.len() >= max || open.len() >= max {
                return reader.fail(Expected::Fewer);
            }
            reader.charge(64)?;
            let parent = open.last_mut().map(|open| {
                open.children += 1;
                (open.part, open.children)
            });
            let at = parts.len();
            parts.push(Part {
                parent: parent.map(|(at, _)| at),
                place: parent.map_or(1, |(_, n)| n),
                ..Part::default()
            });
            let Some(part) = parts.last_mut() else { return reader.fail(Expected::Open) };
            match begin(reader, part)? {
                Begun::Holds => open.push(Open { part: at, children: 0 }),
                Begun::Whole if open.is_empty() => return Ok(Structure { parts }),
                Begun::Whole => {}
            }
            // A message holds one part, and what follows it is the message's own.
            continue;
        }
        let Some(innermost) = open.pop() else { return reader.fail(Expected::Open) };
        let Some(part) = parts.get_mut(innermost.part) else { return reader.fail(Expected::Open) };
        if part.is_multipart() {
            multipart_end(reader, part)?;
        } else {
            lines(reader, part)?;
            extension(reader, part)?;
        }
        if open.is_empty() {
            return Ok(Structure { parts });
        }
    }
}

enum Begun {
    /// Other parts follow inside it.
    Holds,
    /// It is read to its end.
    Whole,
}

/// A part's `(` and what comes before any part inside it.
fn begin(reader: &mut Reader<'_>, part: &mut Part) -> Result<Begun> {
    reader.open()?;
    reader.spaces();
    if reader.peek() == Some(b'(') {
        part.media_type = "multipart".into();
        return Ok(Begun::Holds);
    }
    if reader.closes() {
        // Nothing at all: what RFC 2045 §5.2 says of a part without a type.
        part.media_type = "text".into();
        part.subtype = "plain".into();
        return Ok(Begun::Whole);
    }
    let first = reader.nstring()?;
    reader.spaces();
    if matches!(reader.peek(), Some(b'(')) || reader.line().starts_with(b")") {
        // `("ALTERNATIVE" ("boundary" "x") …)`: a multipart without parts, from servers that found none.
        part.media_type = "multipart".into();
        part.subtype = lower(first.as_deref().unwrap_or_default());
        multipart_extension(reader, part)?;
        return Ok(Begun::Whole);
    }
    part.subtype = lower(reader.nstring()?.as_deref().unwrap_or_default());
    let Some(first) = first else {
        // `(NIL "alternative" …)` is one as well.
        part.media_type = "multipart".into();
        multipart_extension(reader, part)?;
        return Ok(Begun::Whole);
    };
    part.media_type = lower(&first);
    if reader.closes() {
        return Ok(Begun::Whole);
    }
    part.parameters = parameters(reader)?;
    let mut ended = text(reader, &mut part.id)?;
    ended = ended || text(reader, &mut part.description)?;
    let mut encoding = None;
    ended = ended || text(reader, &mut encoding)?;
    part.encoding = lower(encoding.as_deref().unwrap_or_default());
    ended = ended || number(reader, &mut Some(&mut part.octets))?;
    if ended || reader.closes() {
        return Ok(Begun::Whole);
    }
    let message = part.media_type == "message" && matches!(part.subtype.as_str(), "rfc822" | "global");
    reader.spaces();
    if message && reader.peek() == Some(b'(') {
        part.envelope = Some(Box::new(envelope::envelope(reader)?));
        reader.spaces();
        if reader.peek() == Some(b'(') {
            return Ok(Begun::Holds);
        }
        // A message whose body is NIL: nothing is known of it.
        if reader.closes() {
            return Ok(Begun::Whole);
        }
        reader.skip()?;
        lines(reader, part)?;
    } else if message || part.media_type == "text" {
        lines(reader, part)?;
    }
    extension(reader, part)?;
    Ok(Begun::Whole)
}

/// A number of lines, where there is one.
fn lines(reader: &mut Reader<'_>, part: &mut Part) -> Result<()> {
    reader.spaces();
    if reader.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        part.lines = Some(reader.number()?);
    }
    Ok(())
}

/// What stands behind the parts of a multipart.
fn multipart_end(reader: &mut Reader<'_>, part: &mut Part) -> Result<()> {
    if reader.closes() {
        return Ok(());
    }
    part.subtype = lower(reader.nstring()?.as_deref().unwrap_or_default());
    multipart_extension(reader, part)
}

/// RFC 9051 §9, body-ext-mpart, up to the part's end.
fn multipart_extension(reader: &mut Reader<'_>, part: &mut Part) -> Result<()> {
    if reader.closes() {
        return Ok(());
    }
    part.parameters = parameters(reader)?;
    rest(reader, part)
}

/// RFC 9051 §9, body-ext-1part, up to the part's end.
fn extension(reader: &mut Reader<'_>, part: &mut Part) -> Result<()> {
    if text(reader, &mut part.md5)? {
        return Ok(());
    }
    rest(reader, part)
}

/// Disposition, language, location, and whatever else may follow.
fn rest(reader: &mut Reader<'_>, part: &mut Part) -> Result<()> {
    if reader.closes() {
        return Ok(());
    }
    reader.spaces();
    if reader.peek() == Some(b'(') {
        reader.open()?;
        let name = lower(reader.nstring()?.as_deref().unwrap_or_default());
        let parameters = if reader.closes() {
            Parameters::new()
        } else {
            let parameters = parameters(reader)?;
            while !reader.closes() {
                reader.skip()?;
            }
            parameters
        };
        part.disposition = Some((name, parameters));
    } else if let Some(name) = reader.nstring()? {
        part.disposition = Some((lower(&name), Parameters::new()));
    }
    if reader.closes() {
        return Ok(());
    }
    reader.spaces();
    if reader.peek() == Some(b'(') {
        reader.open()?;
        while !reader.closes() {
            reader.charge(8)?;
            part.language.extend(reader.owned()?);
        }
    } else {
        part.language.extend(reader.owned()?);
    }
    if text(reader, &mut part.location)? {
        return Ok(());
    }
    while !reader.closes() {
        reader.skip()?;
    }
    Ok(())
}

/// An nstring, or whatever else stands there; says whether the part ended instead.
fn text(reader: &mut Reader<'_>, text: &mut Option<Bytes>) -> Result<bool> {
    if reader.closes() {
        return Ok(true);
    }
    if reader.peek() == Some(b'(') {
        reader.skip()?;
    } else {
        *text = reader.owned()?;
    }
    Ok(false)
}

/// A number, or NIL or anything else where there should be one; says whether the part ended instead.
fn number(reader: &mut Reader<'_>, number: &mut Option<&mut u64>) -> Result<bool> {
    if reader.closes() {
        return Ok(true);
    }
    if reader.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        let value = reader.number()?;
        if let Some(number) = number {
            **number = value;
        }
    } else {
        reader.skip()?;
    }
    Ok(false)
}

/// RFC 9051 §9, body-fld-param: names and values in parentheses, NIL, or `()` from servers that know no better.
fn parameters(reader: &mut Reader<'_>) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    reader.spaces();
    if reader.peek() != Some(b'(') {
        reader.nstring()?;
        return Ok(parameters);
    }
    reader.open()?;
    while !reader.closes() {
        reader.charge(8)?;
        let name = reader.nstring()?.map(|name| Bytes::from(name.to_ascii_lowercase()));
        if reader.closes() {
            break;
        }
        // RFC 9051 §9 has a string for the value, and some servers say NIL.
        let value = reader.owned()?.unwrap_or_default();
        parameters.extend(name.map(|name| (name, value)));
    }
    Ok(parameters)
}

fn lower(text: &[u8]) -> String {
    super::lossy(text).to_ascii_lowercase()
}
