//! SEARCH and ESEARCH (RFC 9051 §7.3.4, RFC 3501 §7.2.5, RFC 4731 §3.1, RFC 7162 §3.1.5).

use std::fmt;

use mailstore_trait::uid_set::UidSet;

use super::reader::{Reader, Result, decimal, set};
use crate::client::value::ModSeq;
use crate::error::Expected;

/// What a search found, as far as it was asked for.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The command's number, where the server says whose answer this is and the tag is ours.
    pub(in crate::client) tag: Option<u32>,
    /// Whether numbers are UIDs.
    pub uid: bool,
    /// Everything that was found: UIDs, or message numbers.
    pub all: Option<UidSet>,
    /// The smallest.
    pub min: Option<u32>,
    /// The largest.
    pub max: Option<u32>,
    /// How many.
    pub count: Option<u32>,
    /// The highest mod-sequence of what was found.
    pub modseq: Option<ModSeq>,
}

impl fmt::Debug for Found {
    /// Only what was told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = f.debug_struct("Found");
        found.field("uid", &self.uid);
        super::told(&mut found, "all", &self.all);
        super::told(&mut found, "min", &self.min);
        super::told(&mut found, "max", &self.max);
        super::told(&mut found, "count", &self.count);
        super::told(&mut found, "modseq", &self.modseq);
        found.finish()
    }
}

/// Numbers, and `(MODSEQ n)` behind them.
pub(super) fn search(reader: &mut Reader<'_>) -> Result<Found> {
    let mut found = Found::default();
    let mut ranges = Vec::<(u32, u32)>::new();
    loop {
        reader.spaces();
        if reader.eat(b'(') {
            reader.word();
            reader.spaces();
            found.modseq = Some(ModSeq(reader.number()?));
            if !reader.closes() {
                return reader.fail(Expected::Close);
            }
            continue;
        }
        let from = *reader;
        let number = match reader.word() {
            [] => break,
            word => decimal(word).and_then(|number| u32::try_from(number).ok()),
        };
        let Some(number) = number else { return from.fail(Expected::Number) };
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                reader.count()?;
                ranges.push((number, number));
            }
        }
    }
    found.all = Some(set(ranges));
    Ok(found)
}

/// `(TAG "A1") UID MIN 1 …`
pub(super) fn esearch(reader: &mut Reader<'_>) -> Result<Found> {
    let mut found = Found::default();
    reader.spaces();
    if reader.eat(b'(') {
        while !reader.closes() {
            let name = reader.word();
            if name.is_empty() {
                return reader.fail(Expected::Atom);
            }
            let value = reader.astring()?;
            if name.eq_ignore_ascii_case(b"TAG") {
                found.tag = value.strip_prefix(b"A").and_then(decimal).and_then(|tag| u32::try_from(tag).ok());
            }
        }
    }
    reader.spaces();
    found.uid = reader.eat_word(b"UID");
    loop {
        reader.spaces();
        let name = reader.word();
        if name.is_empty() {
            break;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        reader.spaces();
        if is("ALL") {
            found.all = Some(reader.set()?);
        } else if is("MIN") {
            found.min = Some(reader.number32()?);
        } else if is("MAX") {
            found.max = Some(reader.number32()?);
        } else if is("COUNT") {
            found.count = Some(reader.number32()?);
        } else if is("MODSEQ") {
            // Some servers put it into parentheses here as well.
            let open = reader.eat(b'(');
            found.modseq = Some(ModSeq(reader.number()?));
            if open && !reader.closes() {
                return reader.fail(Expected::Close);
            }
        } else {
            reader.skip()?;
        }
    }
    Ok(found)
}
