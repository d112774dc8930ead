//! Skeleton and summary of a message, made in one pass while it arrives.

use std::borrow::Cow;

use super::address::Addresses;
use super::attachment::has_attachment;
use super::charset;
use super::encoded_word::decode;
use super::encoding::Decoder;
use super::limits::Limits;
use super::message_id::{MessageIds, message_ids};
use super::parse_date;
use super::preview;
use super::scanner::{Capture, Captured, Scanner};
use super::skeleton::{PartRef, Skeleton};
use super::subject::{base_subject, normalize};
use super::summary::{Correspondent, Summary, SummaryRef};
use super::wire::put_octets;

/// Computes what a store keeps beside a message: feed it the octets as they come, in pieces of any size.
///
/// Memory is bounded by [`Limits`], whatever the message's size.
#[derive(Debug)]
pub struct Ingest {
    scanner: Scanner,
    limits: Limits,
}

/// What a store keeps beside a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The structure.
    pub skeleton: Skeleton,
    /// What lists, search and threads want.
    pub summary: Summary,
    /// The message's length in octets.
    pub size: u64,
}

impl Ingest {
    /// Begins at the first octet of a message.
    pub fn new(limits: Limits) -> Ingest {
        Ingest { scanner: Scanner::capturing(limits), limits }
    }

    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        self.scanner.push(octets);
    }

    /// The message ends here.
    pub fn finish(self) -> Ingested {
        let size = self.scanner.position();
        let (skeleton, capture) = self.scanner.finish_capture();
        let summary = summarize(&skeleton, &capture, &self.limits);
        Ingested { skeleton, summary, size }
    }
}

fn summarize(skeleton: &Skeleton, capture: &Capture, limits: &Limits) -> Summary {
    let root = skeleton.root();
    let Some(envelope) = root.envelope() else { return SummaryRef::default().to_summary() };
    let subject = clip(normalize(&decode(envelope.subject.unwrap_or_default())), limits.subject);
    let base = base_subject(&subject);
    let [from, to, cc] = [envelope.from, envelope.to, envelope.cc].map(|list| Key::first(list, limits));
    let in_reply_to = id_list(envelope.in_reply_to.unwrap_or_default(), limits);
    let references = id_list(&capture.references, limits);
    let message_id = envelope.message_id.and_then(|value| own_id(value, limits));
    let preview = preview_of(skeleton, capture, limits);
    SummaryRef {
        subject: &subject,
        base_subject: base.base,
        is_reply_or_forward: base.is_reply_or_forward,
        from: from.as_ref().map(Key::view),
        to: to.as_ref().map(Key::view),
        cc: cc.as_ref().map(Key::view),
        sent: envelope.date.and_then(parse_date),
        message_id: message_id.as_deref(),
        in_reply_to: MessageIds::new(&in_reply_to),
        references: MessageIds::new(&references),
        has_attachment: has_attachment(root),
        preview: &preview,
    }
    .to_summary()
}

/// The first mailbox of a field, decoded.
struct Key {
    name: String,
    local: String,
    domain: String,
}

impl Key {
    fn first(list: Addresses<'_>, limits: &Limits) -> Option<Key> {
        let mailbox = list.first_mailbox()?;
        let text = |octets| clip(charset::decode(b"", octets).into_owned(), limits.name);
        Some(Key {
            name: clip(normalize(&decode(mailbox.name.unwrap_or_default())), limits.name),
            local: text(mailbox.local),
            domain: text(mailbox.domain),
        })
    }

    fn view(&self) -> Correspondent<'_> {
        Correspondent { name: &self.name, local: &self.local, domain: &self.domain }
    }
}

/// At most `max` octets of a text, whole characters.
fn clip(mut text: String, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The ids of a field as a summary holds them: of too many, the first (the thread's root) and the last ones.
fn id_list(value: &[u8], limits: &Limits) -> Vec<u8> {
    let fits = |id: &Cow<'_, [u8]>| id.len() <= limits.message_id;
    let count = message_ids(value).filter(fits).count();
    let skipped = count.saturating_sub(limits.message_ids);
    let mut out = Vec::new();
    for (at, id) in message_ids(value).filter(fits).enumerate().take(if limits.message_ids == 0 { 0 } else { count }) {
        if at == 0 || at > skipped {
            put_octets(&mut out, &id);
        }
    }
    out
}

/// The message's own id. One without angles is taken as it stands.
fn own_id<'a>(value: &'a [u8], limits: &Limits) -> Option<Cow<'a, [u8]>> {
    let id = message_ids(value).next();
    id.or_else(|| {
        (!value.iter().any(|octet| octet.is_ascii_whitespace() || *octet == b'<')).then_some(Cow::Borrowed(value))
    })
    .filter(|id| !id.is_empty() && id.len() <= limits.message_id)
}

fn preview_of(skeleton: &Skeleton, capture: &Capture, limits: &Limits) -> String {
    let text = |captured: &Captured| -> Option<String> {
        let part: PartRef<'_> = skeleton.view().parts().nth(captured.part)?;
        let mut octets = Vec::new();
        let mut decoder = Decoder::new(part.transfer_encoding());
        decoder.push(&captured.octets, &mut octets);
        let label = part.content_type().parameters.value("charset").unwrap_or_default();
        Some(charset::decode_prefix(label, &octets))
    };
    let plain = capture.plain.as_ref().and_then(text).map(|text| preview::of_plain(&text, limits.preview));
    match plain {
        Some(preview) if !preview.is_empty() => preview,
        _ => {
            capture.html.as_ref().and_then(text).map(|text| preview::of_html(&text, limits.preview)).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ingest(message: &[u8]) -> Ingested {
        let mut ingest = Ingest::new(Limits::default());
        ingest.push(message);
        let whole = ingest.finish();
        let mut ingest = Ingest::new(Limits::default());
        for octet in message {
            ingest.push(std::slice::from_ref(octet));
        }
        assert_eq!(ingest.finish(), whole, "octet by octet: {}", message.escape_ascii());
        assert_eq!(whole.size, message.len() as u64);
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(message);
        assert_eq!(scanner.finish(), whole.skeleton, "capturing must not change the structure");
        whole
    }

    fn preview(message: &str) -> String {
        ingest(message.as_bytes()).summary.view().preview.to_owned()
    }

    fn attached(message: &str) -> bool {
        ingest(message.as_bytes()).summary.view().has_attachment
    }

    fn multipart(subtype: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/{subtype}; boundary=b\r\n\r\n{parts}--b--\r\n")
    }

    #[test]
    fn a_summary_says_what_lists_want() {
        let message = "Date: Sun, 22 Nov 2026 22:53:59 +0100\r\nFrom: =?utf-8?Q?J=C3=B6rg?= <joe@x.test>\r\nTo: G: a@x.test, b@x.test;\r\nCc: \r\nSubject: Re: [list]\r\n =?utf-8?B?w6RwZmVs?=\r\nMessage-ID: <m@x>\r\nIn-Reply-To: <p@x>\r\nReferences: <r@x>\r\n <p@x>\r\n\r\nHello\r\nworld\r\n";
        let ingested = ingest(message.as_bytes());
        let summary = ingested.summary.view();
        assert_eq!(summary.subject, "Re: [list] äpfel");
        assert_eq!(summary.base_subject, "äpfel");
        assert!(summary.is_reply_or_forward);
        assert_eq!(summary.from.unwrap(), Correspondent { name: "Jörg", local: "joe", domain: "x.test" });
        assert_eq!(summary.to.unwrap().local, "a");
        assert_eq!(summary.cc, None);
        assert_eq!(summary.sent.unwrap().to_string(), "Sun, 22 Nov 2026 22:53:59 +0100");
        assert_eq!(summary.message_id, Some(&b"m@x"[..]));
        assert_eq!(summary.in_reply_to.collect::<Vec<_>>(), [b"p@x"]);
        assert_eq!(summary.references.collect::<Vec<_>>(), [b"r@x", b"p@x"]);
        assert!(!summary.has_attachment);
        assert_eq!(summary.preview, "Hello world");
        let again = Summary::from_bytes(&ingested.summary.to_bytes()).unwrap();
        assert_eq!(again, ingested.summary);
    }

    #[test]
    fn an_empty_message_has_an_empty_summary() {
        let ingested = ingest(b"");
        let summary = ingested.summary.view();
        assert_eq!((summary.subject, summary.preview, summary.sent), ("", "", None));
        assert!(summary.from.is_none() && summary.message_id.is_none() && summary.references.is_empty());
    }

    #[test]
    fn previews_come_from_the_first_text() {
        assert_eq!(
            preview(&multipart("alternative", &["\r\nplain", "Content-Type: text/html\r\n\r\n<p>html"])),
            "plain"
        );
        assert_eq!(preview(&multipart("alternative", &["\r\n", "Content-Type: text/html\r\n\r\n<p>html"])), "html");
        assert_eq!(preview(&multipart("mixed", &["Content-Disposition: attachment\r\n\r\nfile", "\r\ntext"])), "text");
        assert_eq!(preview("Content-Transfer-Encoding: base64\r\n\r\nSGVs\r\nbG8="), "Hello");
        assert_eq!(
            preview(
                "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=\r\nn"
            ),
            "grün"
        );
        assert_eq!(preview(&multipart("mixed", &["Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\ninner"])), "");
        assert_eq!(preview("Content-Type: image/png\r\n\r\nxx"), "");
        assert_eq!(
            preview(&multipart("mixed", &["\r\nends before\r\n--not a delimiter\r\n-"])),
            "ends before --not a delimiter -"
        );
    }

    #[test]
    fn a_preview_of_a_long_text_is_cut_at_a_character() {
        let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{}", "ä".repeat(100_000));
        assert_eq!(preview(&message), "ä".repeat(200));
    }

    #[test]
    fn attachments_are_what_a_reader_would_call_so() {
        let text = "\r\ntext";
        assert!(attached(&multipart("mixed", &[text, "Content-Type: application/pdf\r\n\r\nx"])));
        assert!(attached(&multipart("mixed", &[text, "Content-Disposition: attachment\r\n\r\nx"])));
        assert!(attached(&multipart("mixed", &[text, "Content-Type: text/plain; name=a.txt\r\n\r\nx"])));
        assert!(attached(&multipart("mixed", &[text, "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx"])));
        assert!(attached("Content-Type: application/pdf\r\n\r\nx"));
        assert!(!attached(&multipart("mixed", &[text, text])));
        assert!(!attached(&multipart("alternative", &[text, "Content-Type: text/calendar; name=a.ics\r\n\r\nx"])));
        assert!(!attached(&multipart("related", &[text, "Content-Type: image/png; name=a.png\r\n\r\nx"])));
        assert!(!attached(&multipart(
            "signed",
            &[text, "Content-Type: application/pgp-signature; name=s.asc\r\n\r\nx"]
        )));
        assert!(!attached(&multipart(
            "mixed",
            &[text, "Content-Type: image/png\r\nContent-Disposition: inline\r\n\r\nx"]
        )));
        assert!(!attached(&multipart("report", &[text, "Content-Type: message/delivery-status\r\n\r\nx"])));
        assert!(!attached("Content-Type: multipart/mixed\r\n\r\nnothing"));
    }

    #[test]
    fn long_threads_keep_their_root_and_their_end() {
        let references: String = (0..500).map(|number| format!("<{number}@x>\r\n ")).collect();
        let ingested = ingest(format!("References: {references}\r\nMessage-ID: bare@id\r\n\r\n").as_bytes());
        let ids: Vec<_> = ingested.summary.view().references.collect();
        assert_eq!(ids.len(), 64);
        assert_eq!(ids[0], b"0@x");
        assert_eq!(ids[1], b"437@x");
        assert_eq!(ids[63], b"499@x");
        assert_eq!(ingested.summary.view().message_id, Some(&b"bare@id"[..]));
    }

    #[test]
    fn long_fields_are_clipped_at_characters() {
        let message = format!("Subject: {}\r\nFrom: {} <a@b>\r\n\r\n", "ä".repeat(3_000), "ö".repeat(3_000));
        let ingested = ingest(message.as_bytes());
        assert_eq!(ingested.summary.view().subject, "ä".repeat(1024));
        assert_eq!(ingested.summary.view().from.unwrap().name, "ö".repeat(256));
    }

    proptest! {
        #[test]
        fn any_message_has_a_summary(message in prop::collection::vec(any::<u8>(), 0..400)) {
            ingest(&message);
        }

        #[test]
        fn any_fields_have_a_summary(subject in ".{0,60}", from in ".{0,60}", date in ".{0,40}", ids in ".{0,60}", text in "\\PC{0,80}") {
            ingest(format!("Subject: {subject}\r\nFrom: {from}\r\nDate: {date}\r\nReferences: {ids}\r\nMessage-ID: {ids}\r\n\r\n{text}").as_bytes());
        }
    }
}
