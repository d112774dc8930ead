//! What a store keeps of a message for lists, sorting, search and threads.
//!
//! Made once at delivery by [`Ingest`](super::Ingest), kept as a versioned run of octets beside the skeleton, read in
//! place. A rebuild from the message gives the same octets.
//!
//! ```text
//! summary = version(1) flags(1) subject base-start base-length
//!           [from] [to] [cc] [sent-seconds sent-offset] message-id in-reply-to references preview
//! ```

use super::message_id::MessageIds;
use super::wire::{Reader, put_number, put_octets, put_signed};
use crate::date::{DateTime, Timestamp};

/// The first octet of a summary. Another one means: ingest the message again.
const VERSION: u8 = 1;

const REPLY: u8 = 1;
const ATTACHMENT: u8 = 2;
const FROM: u8 = 4;
const TO: u8 = 8;
const CC: u8 = 16;
const SENT: u8 = 32;
const KNOWN_FLAGS: u8 = 63;

/// Why octets are no summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SummaryError {
    /// Written by another version of this library; the message has to be ingested again.
    #[error("the summary has version {0}")]
    Version(u8),
    /// Not written by this library, or damaged.
    #[error("the summary is damaged")]
    Damaged,
}

/// The first mailbox of an address field, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correspondent<'a> {
    /// The display name, encoded words decoded; empty when there is none.
    pub name: &'a str,
    /// The local part: what SORT FROM, TO and CC compare (RFC 5256 §3).
    pub local: &'a str,
    /// The domain.
    pub domain: &'a str,
}

/// A summary, owned.
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    octets: Box<[u8]>,
}

impl Summary {
    /// A summary from what [`to_bytes`](Summary::to_bytes) gave.
    ///
    /// # Errors
    ///
    /// [`SummaryError`] for octets of another version and for anything else that is not whole.
    pub fn from_bytes(octets: &[u8]) -> Result<Summary, SummaryError> {
        SummaryRef::from_bytes(octets)?;
        Ok(Summary { octets: octets.into() })
    }

    /// The octets to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.octets.to_vec()
    }

    /// The octets to store, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.octets.into_vec()
    }

    /// The octets to store, borrowed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// The view all reading goes through.
    pub fn view(&self) -> SummaryRef<'_> {
        SummaryRef::read(&self.octets).unwrap_or_default()
    }
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

/// A summary, read in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryRef<'a> {
    /// The subject, decoded, on one line.
    pub subject: &'a str,
    /// Its base (RFC 5256 §2.1), in the case of the message.
    pub base_subject: &'a str,
    /// Whether the subject says that the message is a reply or forwarded.
    pub is_reply_or_forward: bool,
    /// The first mailbox of From.
    pub from: Option<Correspondent<'a>>,
    /// The first mailbox of To.
    pub to: Option<Correspondent<'a>>,
    /// The first mailbox of Cc.
    pub cc: Option<Correspondent<'a>>,
    /// The Date; `None` when it cannot be made out (IMAP then takes INTERNALDATE, RFC 5256 §2.2).
    pub sent: Option<DateTime>,
    /// The Message-ID without its angles.
    pub message_id: Option<&'a [u8]>,
    /// The ids of In-Reply-To.
    pub in_reply_to: MessageIds<'a>,
    /// The ids of References, oldest first; of very many the first and the last ones.
    pub references: MessageIds<'a>,
    /// Whether a part is more than the message's text and what is shown inside it.
    pub has_attachment: bool,
    /// The beginning of the message's text on one line (RFC 8970).
    pub preview: &'a str,
}

impl Default for MessageIds<'_> {
    fn default() -> Self {
        MessageIds::new(b"")
    }
}

impl<'a> SummaryRef<'a> {
    /// Reads a summary; nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`SummaryError`] for octets of another version and for anything else that is not whole.
    pub fn from_bytes(octets: &'a [u8]) -> Result<SummaryRef<'a>, SummaryError> {
        match octets.first() {
            Some(&VERSION) => SummaryRef::read(octets).ok_or(SummaryError::Damaged),
            Some(&version) => Err(SummaryError::Version(version)),
            None => Err(SummaryError::Damaged),
        }
    }

    fn read(octets: &'a [u8]) -> Option<SummaryRef<'a>> {
        let mut reader = Reader(octets);
        reader.octet()?;
        let flags = reader.octet().filter(|flags| flags & !KNOWN_FLAGS == 0)?;
        let subject = reader.text()?;
        let start = usize::try_from(reader.number()?).ok()?;
        let len = usize::try_from(reader.number()?).ok()?;
        let base_subject = subject.get(start..start.checked_add(len)?)?;
        let mut correspondent = |flag| {
            if flags & flag == 0 {
                return Some(None);
            }
            Some(Some(Correspondent { name: reader.text()?, local: reader.text()?, domain: reader.text()? }))
        };
        let (from, to, cc) = (correspondent(FROM)?, correspondent(TO)?, correspondent(CC)?);
        let sent = if flags & SENT == 0 {
            None
        } else {
            let instant = Timestamp::from_seconds(reader.signed()?);
            let offset = i16::try_from(reader.signed()?).ok().filter(|offset| (-1439..=1439).contains(offset))?;
            Some(instant.at_offset(offset))
        };
        let message_id = Some(reader.octets()?).filter(|id| !id.is_empty());
        let in_reply_to = ids(&mut reader)?;
        let references = ids(&mut reader)?;
        let preview = reader.text()?;
        reader.is_empty().then_some(SummaryRef {
            subject,
            base_subject,
            is_reply_or_forward: flags & REPLY != 0,
            from,
            to,
            cc,
            sent,
            message_id,
            in_reply_to,
            references,
            has_attachment: flags & ATTACHMENT != 0,
            preview,
        })
    }

    /// The octets of a summary that says the same.
    pub fn to_summary(&self) -> Summary {
        let mut flags = 0;
        for (flag, set) in [
            (REPLY, self.is_reply_or_forward),
            (ATTACHMENT, self.has_attachment),
            (FROM, self.from.is_some()),
            (TO, self.to.is_some()),
            (CC, self.cc.is_some()),
            (SENT, self.sent.is_some()),
        ] {
            if set {
                flags |= flag;
            }
        }
        let mut out = vec![VERSION, flags];
        put_octets(&mut out, self.subject.as_bytes());
        // The base is a piece of the subject; where a caller made them differ, none is told.
        let start = self.subject.rfind(self.base_subject);
        put_number(&mut out, start.unwrap_or_default() as u64);
        put_number(&mut out, if start.is_some() { self.base_subject.len() as u64 } else { 0 });
        for correspondent in [self.from, self.to, self.cc].into_iter().flatten() {
            put_octets(&mut out, correspondent.name.as_bytes());
            put_octets(&mut out, correspondent.local.as_bytes());
            put_octets(&mut out, correspondent.domain.as_bytes());
        }
        if let Some(sent) = self.sent {
            put_signed(&mut out, sent.instant.seconds());
            put_signed(&mut out, i64::from(sent.offset_minutes));
        }
        put_octets(&mut out, self.message_id.unwrap_or_default());
        for ids in [self.in_reply_to, self.references] {
            let mut list = Vec::new();
            ids.for_each(|id| put_octets(&mut list, id));
            put_octets(&mut out, &list);
        }
        put_octets(&mut out, self.preview.as_bytes());
        Summary { octets: out.into_boxed_slice() }
    }
}

fn ids<'a>(reader: &mut Reader<'a>) -> Option<MessageIds<'a>> {
    let list = reader.octets()?;
    let mut each = Reader(list);
    while !each.is_empty() {
        each.octets()?;
    }
    Some(MessageIds::new(list))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn damaged_summaries_are_refused_or_harmless(octets in prop::collection::vec(any::<u8>(), 0..80), known: bool) {
            let mut octets = octets;
            if known && let Some(version) = octets.first_mut() {
                *version = VERSION;
            }
            if let Ok(view) = SummaryRef::from_bytes(&octets) {
                let again = view.to_summary();
                prop_assert_eq!(again.view().subject, view.subject);
                prop_assert_eq!(again.view().preview, view.preview);
            }
        }
    }

    #[test]
    fn other_versions_are_told_apart() {
        let octets = SummaryRef::default().to_summary().into_bytes();
        assert!(Summary::from_bytes(&octets).is_ok());
        assert_eq!(SummaryRef::from_bytes(&[9, 0]).unwrap_err(), SummaryError::Version(9));
        assert_eq!(SummaryRef::from_bytes(&[]).unwrap_err(), SummaryError::Damaged);
        for len in 1..octets.len() {
            assert_eq!(SummaryRef::from_bytes(&octets[..len]).unwrap_err(), SummaryError::Damaged);
        }
        let long = [&octets[..], b"x"].concat();
        assert_eq!(SummaryRef::from_bytes(&long).unwrap_err(), SummaryError::Damaged);
    }
}
