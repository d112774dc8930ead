//! The values of one header section that a skeleton tells, collected line by line.

use smallvec::SmallVec;

use crate::mime::address::put_addresses;
use crate::mime::encoding::TransferEncoding;
use crate::mime::header;
use crate::mime::limits::Limits;
use crate::mime::parameter::{MediaType, first_token, put_content_type, put_disposition};
use crate::mime::skeleton::Tag;
use crate::mime::wire::put_octets;

/// A field worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Tag(Tag),
    /// Kept for the summary only.
    References,
}

impl Known {
    fn find(name: &[u8]) -> Option<Known> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // By length first: most fields of a header are none of these.
        let tag = match name.len() {
            2 if is("To") => Tag::To,
            2 if is("Cc") => Tag::Cc,
            3 if is("Bcc") => Tag::Bcc,
            4 if is("From") => Tag::From,
            4 if is("Date") => Tag::Date,
            6 if is("Sender") => Tag::Sender,
            7 if is("Subject") => Tag::Subject,
            8 if is("Reply-To") => Tag::ReplyTo,
            10 if is("Message-ID") => Tag::MessageId,
            10 if is("Content-ID") => Tag::Id,
            10 if is("References") => return Some(Known::References),
            11 if is("In-Reply-To") => Tag::InReplyTo,
            11 if is("Content-MD5") => Tag::Md5,
            12 if is("Content-Type") => Tag::ContentType,
            16 if is("Content-Language") => Tag::Language,
            16 if is("Content-Location") => Tag::Location,
            19 if is("Content-Disposition") => Tag::Disposition,
            19 if is("Content-Description") => Tag::Description,
            25 if is("Content-Transfer-Encoding") => Tag::Encoding,
            _ => return None,
        };
        Some(Known::Tag(tag))
    }

    fn bit(self) -> u32 {
        match self {
            Known::Tag(tag) => 1 << (tag as u8),
            Known::References => 1,
        }
    }

    /// RFC 5322 §4.5.3: later occurrences extend the first.
    fn is_joined(self) -> bool {
        matches!(self, Known::Tag(Tag::To | Tag::Cc | Tag::Bcc))
    }
}

/// What a header section is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) envelope: bool,
    pub(super) references: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    known: Known,
    start: usize,
    end: usize,
    cut: bool,
}

/// The collected values. Reused from section to section.
#[derive(Debug, Default)]
pub(super) struct Kept {
    octets: Vec<u8>,
    entries: SmallVec<[Entry; 16]>,
    seen: u32,
    /// Whether the field of the last line is kept.
    current: bool,
    count: usize,
    scratch: Vec<u8>,
}

/// What a part's header says about its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// `None`: the header names no type.
    pub(super) media: Option<MediaType>,
    /// Whether the Content-Type was longer than the limits allow.
    pub(super) type_cut: bool,
    pub(super) encoding: TransferEncoding,
    pub(super) attachment: bool,
}

impl Kept {
    /// Takes a header line that is neither blank nor a delimiter; a long one may lack its end, which `cut` says.
    /// `spent` is what the message's earlier sections keep already.
    pub(super) fn line(&mut self, line: &[u8], cut: bool, wanted: Wanted, limits: &Limits, spent: usize) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if self.current {
                // RFC 5322 §2.2.3: unfolding takes the line end away; the TAB some fold with becomes a space.
                self.extend(b" ", false, limits, spent);
                self.extend(line.get(1..).unwrap_or_default(), cut, limits, spent);
            }
            return;
        }
        let Some((name, value)) = header::split(line) else {
            self.current = false;
            return;
        };
        self.count += 1;
        self.current = false;
        let Some(known) = Known::find(name).filter(|_| self.count <= limits.fields) else { return };
        let is_wanted = match known {
            Known::References => wanted.references,
            Known::Tag(tag) => wanted.envelope || (tag as u8) < (Tag::Date as u8),
        };
        let again = self.seen & known.bit() != 0;
        if !is_wanted || (again && !known.is_joined()) {
            return;
        }
        self.seen |= known.bit();
        self.current = true;
        let at = self.octets.len();
        self.entries.push(Entry { known, start: at, end: at, cut: false });
        self.extend(line.get(value..).unwrap_or_default().trim_ascii_start(), cut, limits, spent);
    }

    fn extend(&mut self, text: &[u8], cut: bool, limits: &Limits, spent: usize) {
        let Some(entry) = self.entries.last_mut() else { return };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let left = limits.field.saturating_sub(entry.end - entry.start);
        let room = left.min(limits.kept.saturating_sub(spent.saturating_add(self.octets.len())));
        let fits = text.get(..room).unwrap_or(text);
        entry.cut |= cut || fits.len() < text.len();
        if memchr::memchr3(0, b'\r', b'\n', fits).is_none() {
            self.octets.extend_from_slice(fits);
        } else {
            self.octets.extend(fits.iter().filter(|octet| !matches!(octet, 0 | b'\r' | b'\n')));
        }
        entry.end = self.octets.len();
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        self.octets.get(entry.start..entry.end).unwrap_or_default().trim_ascii()
    }

    /// Appends the section's fields as a skeleton holds them, and starts anew.
    pub(super) fn put(&mut self, limits: &Limits, out: &mut Vec<u8>, references: Option<&mut Vec<u8>>) -> Said {
        let mut said = Said { media: None, type_cut: false, encoding: TransferEncoding::Identity, attachment: false };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut joined = 0;
        for entry in &self.entries {
            let Known::Tag(tag) = entry.known else { continue };
            let value = self.value(entry);
            scratch.clear();
            match tag {
                Tag::ContentType => {
                    said.media = Some(put_content_type(value, limits.parameters, &mut scratch));
                    said.type_cut = entry.cut;
                }
                Tag::Disposition => {
                    if !put_disposition(value, limits.parameters, &mut scratch) {
                        continue;
                    }
                    said.attachment = first_token(value).eq_ignore_ascii_case(b"attachment");
                }
                Tag::Encoding => {
                    let token = first_token(value);
                    said.encoding = TransferEncoding::new(Some(token));
                    scratch.extend_from_slice(token);
                }
                Tag::To | Tag::Cc | Tag::Bcc => {
                    if joined & entry.known.bit() != 0 {
                        continue;
                    }
                    joined |= entry.known.bit();
                    let mut left = limits.addresses;
                    for other in self.entries.iter().filter(|other| other.known == entry.known) {
                        left = left.saturating_sub(put_addresses(self.value(other), left, other.cut, &mut scratch));
                    }
                }
                Tag::From | Tag::Sender | Tag::ReplyTo => {
                    put_addresses(value, limits.addresses, entry.cut, &mut scratch);
                }
                _ => scratch.extend_from_slice(value),
            }
            out.push(tag as u8);
            put_octets(out, &scratch);
        }
        if let Some(references) = references
            && let Some(entry) = self.entries.iter().find(|entry| entry.known == Known::References)
        {
            references.extend_from_slice(self.value(entry));
        }
        self.scratch = scratch;
        self.octets.clear();
        self.entries.clear();
        self.seen = 0;
        self.current = false;
        self.count = 0;
        said
    }
}
