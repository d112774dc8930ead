//! PREVIEW (RFC 8970): the beginning of a message's text, from the summary that the store keeps.
//!
//! A message whose summary is missing, or of another version, is read once, piece by piece; LAZY spares that.

use bytes::{BufMut, Bytes};
use mailstore_trait::id::EmailId;
use mailstore_trait::item::{ItemPage, ItemRow};
use mailstore_trait::mime::{self, Ingest, SummaryRef};

use super::section::{Need, Reading};
use super::{Fetch, refused_section};
use crate::request::Refusal;
use crate::response;
use crate::server::state::Core;

/// A message that is read to make its preview.
#[derive(Debug)]
pub(super) struct Previewing {
    email: EmailId,
    at: u64,
    ingest: Option<Ingest>,
    failed: Option<Refusal>,
}

impl Previewing {
    /// Takes octets; what can't be had is no preview, and nothing was announced.
    pub(super) fn answered(&mut self, answer: Result<Bytes, Refusal>) -> bool {
        match (answer, &mut self.ingest) {
            (Ok(octets), Some(ingest)) if !octets.is_empty() => {
                ingest.push(&octets);
                self.at += octets.len() as u64;
            }
            (Ok(_), _) => self.failed = Some(Refusal::Corrupt),
            (Err(refusal), _) => self.failed = Some(refusal),
        }
        true
    }
}

impl Fetch {
    /// Writes a preview; what is needed when it has to be made first.
    pub(super) fn preview(&mut self, core: &mut Core, page: &ItemPage, row: &ItemRow, lazy: bool) -> Result<(), Need> {
        let kept = page.summary(row).and_then(|octets| SummaryRef::from_bytes(octets).ok());
        let made = match &kept {
            None if !lazy => Some(self.made(row)?),
            _ => None,
        };
        self.space(core);
        let quoted = core.quoted;
        let out = core.outbox.text();
        out.put_slice(b"PREVIEW ");
        match (kept, made) {
            (Some(summary), _) => response::string(summary.preview.as_bytes(), quoted, out),
            (None, Some(preview)) => response::string(preview.as_bytes(), quoted, out),
            // RFC 8970 §4.1: nothing without undue delay.
            (None, None) => out.put_slice(b"NIL"),
        }
        Ok(())
    }

    /// The preview of a message that is read now. RFC 8970 §3.2: one that can't be had is empty, never NIL.
    fn made(&mut self, row: &ItemRow) -> Result<String, Need> {
        match &mut self.reading {
            Reading::Previewing(of) if of.email == row.email => {
                if let Some(refusal) = of.failed {
                    self.reading = Reading::Nothing;
                    self.failed = Some(refused_section(refusal));
                    return Ok(String::new());
                }
                if of.at < row.size {
                    return Err(Need::Read(of.email, of.at..row.size));
                }
                let ingested = of.ingest.take().map(Ingest::finish);
                self.reading = Reading::Nothing;
                Ok(ingested.map(|ingested| ingested.summary.view().preview.to_owned()).unwrap_or_default())
            }
            _ if row.size == 0 => Ok(String::new()),
            _ => {
                let ingest = Some(Ingest::new(mime::Limits::default()));
                self.reading =
                    Reading::Previewing(Box::new(Previewing { email: row.email, at: 0, ingest, failed: None }));
                Err(Need::Read(row.email, 0..row.size))
            }
        }
    }
}
