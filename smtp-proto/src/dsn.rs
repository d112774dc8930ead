//! Delivery status notifications: what the sender hears of failures, delays and successes.
//!
//! RFC 3461 §6, RFC 3462 (now RFC 6522) §3, RFC 3463, RFC 3464 §2. A report is a value; [`Dsn::build`] writes the
//! message. It goes out with the null reverse-path, so that no report ever answers a report (RFC 5321 §6.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use mailstore_trait::date::{DateTime, Timestamp};

use crate::address::Address;
use crate::reply::EnhancedCode;

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is in its mailbox.
    Delivered,
    /// It went to several others in the recipient's place; what becomes of it there may be reported too.
    Expanded,
    /// A next hop that sends no reports took it.
    Relayed,
    /// It is late, and still being tried.
    Delayed,
    /// It will not be delivered.
    Failed,
}

impl Action {
    /// The word of the `Action` field.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Action::Delivered => "delivered",
            Action::Expanded => "expanded",
            Action::Relayed => "relayed",
            Action::Delayed => "delayed",
            Action::Failed => "failed",
        }
    }
}

/// One recipient of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The mailbox, as it was tried.
    pub address: String,
    /// RFC 3461 §4.2: what the sender first wrote, type and address.
    pub orcpt: Option<(String, String)>,
    /// What happened.
    pub action: Action,
    /// Its status.
    pub status: EnhancedCode,
    /// The reply that says why: as received, or ours.
    pub diagnostic: Option<String>,
    /// The host that gave it; `None` when this one did.
    pub remote_mta: Option<String>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
    /// Until when it will be tried, when delayed.
    pub will_retry_until: Option<Timestamp>,
}

/// What of the message a report returns.
#[derive(Clone, Copy, Debug)]
pub enum Returned<'a> {
    /// Its header, up to the empty line.
    Headers(&'a [u8]),
    /// All of it.
    Message(&'a [u8]),
}

/// A report to one sender about one message. At least one recipient.
#[derive(Clone, Debug)]
pub struct Dsn<'a> {
    /// This host's name.
    pub reporting_mta: &'a str,
    /// Who writes. RFC 3461 §6.2: an address that a person reads, the postmaster's most often.
    pub from: &'a str,
    /// The reverse-path of the message. There is no report to the null one.
    pub to: &'a Address,
    /// When it is written.
    pub date: DateTime,
    /// Its Message-ID without angle brackets, unique in the world.
    pub message_id: &'a str,
    /// Its boundary, random, at most 70 octets of letters and digits.
    pub boundary: &'a str,
    /// RFC 3461 §4.4: the sender's name for the message.
    pub envid: Option<&'a str>,
    /// When the message came here.
    pub arrival: Option<DateTime>,
    /// What happened to whom.
    pub recipients: &'a [Recipient],
    /// What is returned.
    pub returned: Returned<'a>,
}

impl Dsn<'_> {
    /// Writes the message, ready to be queued with the null reverse-path.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let worst = self.recipients.iter().map(|recipient| recipient.action).max().unwrap_or(Action::Failed);
        let subject = match worst {
            Action::Failed => "Undelivered mail returned to sender",
            Action::Delayed => "Delayed mail (still being tried)",
            Action::Relayed | Action::Expanded | Action::Delivered => "Successful mail delivery report",
        };
        let is_utf8 = self.is_utf8();
        // RFC 6533 §4: addresses that are not ASCII stand only in the message/global variants.
        let status_type = if is_utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
        let parts = vec![
            MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), self.text(worst)),
            leaf(status_type, self.status().into_bytes().into()),
            match self.returned {
                Returned::Message(octets) if is_utf8 => leaf("message/global", octets.into()),
                Returned::Message(octets) => leaf("message/rfc822", octets.into()),
                Returned::Headers(octets) if is_utf8 => leaf("message/global-headers", octets.into()),
                Returned::Headers(octets) => leaf("text/rfc822-headers", octets.into()),
            },
        ];
        let report = ContentType::new("multipart/report")
            .attribute("report-type", if is_utf8 { "global-delivery-status" } else { "delivery-status" })
            .attribute("boundary", self.boundary);
        let mut message = Vec::new();
        MessageBuilder::new()
            .header("From", Raw::new(format!("Mail Delivery System <{}>", clean(self.from))))
            .header("To", Raw::new(format!("<{}>", self.to)))
            .header("Subject", Raw::new(subject))
            .header("Date", Raw::new(self.date.to_string()))
            .header("Message-ID", Raw::new(format!("<{}>", clean(self.message_id))))
            // RFC 3834 §5: nobody should answer automatically.
            .header("Auto-Submitted", Raw::new("auto-replied"))
            .body(MimePart::new(report, BodyPart::Multipart(parts)))
            .serialize(&mut message);
        message
    }

    /// Whether an address in it is not ASCII.
    fn is_utf8(&self) -> bool {
        let mut original = self.recipients.iter().filter_map(|recipient| recipient.orcpt.as_ref());
        !self.to.is_ascii()
            || self.recipients.iter().any(|recipient| !recipient.address.is_ascii())
            || original.any(|(_, address)| !address.is_ascii())
    }

    /// The part for people.
    fn text(&self, worst: Action) -> String {
        let mut text = format!("This is the mail system at {}.\r\n\r\n", clean(self.reporting_mta));
        text.push_str(match worst {
            Action::Failed => "Your message could not be delivered to the recipients marked failed below.\r\n\r\n",
            Action::Delayed => {
                "Your message is late. It is still being tried; you do not have to send it again.\r\n\r\n"
            }
            Action::Relayed => "Your message was passed on to a system that may not report its delivery.\r\n\r\n",
            Action::Expanded => "Your message was delivered to a list of recipients.\r\n\r\n",
            Action::Delivered => "Your message was delivered.\r\n\r\n",
        });
        for recipient in self.recipients {
            let _ = write!(text, "<{}>: {}", clean(&recipient.address), recipient.action.word());
            if let Some(diagnostic) = &recipient.diagnostic {
                let _ = write!(text, "\r\n    {}", clean(diagnostic));
            }
            text.push_str("\r\n\r\n");
        }
        text
    }

    /// The part for programs: RFC 3464 §2.1, fields of the message, then a block for each recipient.
    fn status(&self) -> String {
        let mut out = String::new();
        let is_utf8 = self.is_utf8();
        // RFC 3464 §2.1: all of it is US-ASCII, what a next hop said included; only the variants of RFC 6533 §4 hold UTF-8.
        let field = |out: &mut String, name: &str, value: &str| {
            let ascii = |c: char| if c.is_ascii() { c } else { '?' };
            if is_utf8 {
                field(out, name, value)
            } else {
                field(out, name, &value.chars().map(ascii).collect::<String>())
            }
        };
        // RFC 3464 §2.2.1: the original envelope id first, if there is one.
        if let Some(envid) = self.envid {
            field(&mut out, "Original-Envelope-Id", envid);
        }
        field(&mut out, "Reporting-MTA", &format!("dns; {}", clean(self.reporting_mta)));
        if let Some(arrival) = self.arrival {
            field(&mut out, "Arrival-Date", &arrival.to_string());
        }
        let date = |at: Timestamp| at.at_offset(self.date.offset_minutes).to_string();
        for recipient in self.recipients {
            out.push_str("\r\n");
            if let Some((address_type, address)) = &recipient.orcpt {
                field(&mut out, "Original-Recipient", &format!("{address_type};{address}"));
            }
            // RFC 6533 §3: an address that is not ASCII has the type utf-8.
            let address_type = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
            field(&mut out, "Final-Recipient", &format!("{address_type};{}", recipient.address));
            field(&mut out, "Action", recipient.action.word());
            field(&mut out, "Status", &recipient.status.to_string());
            if let Some(remote) = &recipient.remote_mta {
                field(&mut out, "Remote-MTA", &format!("dns; {remote}"));
            }
            if let Some(diagnostic) = &recipient.diagnostic {
                // RFC 3464 §2.3.6: a code of the kind that the remote host gave; what this host has to say is of none that
                // is registered.
                let kind = if recipient.remote_mta.is_some() { "smtp" } else { "x-local" };
                field(&mut out, "Diagnostic-Code", &format!("{kind}; {diagnostic}"));
            }
            if let Some(at) = recipient.last_attempt {
                field(&mut out, "Last-Attempt-Date", &date(at));
            }
            if let Some(until) = recipient.will_retry_until.filter(|_| recipient.action == Action::Delayed) {
                field(&mut out, "Will-Retry-Until", &date(until));
            }
        }
        out
    }
}

/// A part whose octets stand as they are: RFC 3464 §2 and RFC 6522 §3 want no encoding of what is returned.
fn leaf<'x>(content_type: &'static str, octets: Cow<'x, [u8]>) -> MimePart<'x> {
    let encoding = if octets.is_ascii() { "7bit" } else { "8bit" };
    MimePart::new(ContentType::new(content_type), BodyPart::Binary(octets)).transfer_encoding(encoding)
}

/// One field, folded where it has spaces so that no line passes the limit of RFC 5322 §2.1.1.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in clean(value).split(' ').filter(|word| !word.is_empty()) {
        if column + word.chars().count() > 76 && column > name.len() + 1 {
            out.push_str("\r\n ");
            column = 1;
        } else {
            out.push(' ');
            column += 1;
        }
        // A word longer than a line may be is cut: nothing of ours is.
        let word: String = word.chars().take(500).collect();
        out.push_str(&word);
        column += word.len();
    }
    out.push_str("\r\n");
}

/// What came from outside, without anything that could begin a line.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(|c: char| c.is_control()) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The header of a message, its empty line not included: all of it when there is none.
#[must_use]
pub fn header(message: &[u8]) -> &[u8] {
    if message.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    message.get(..end).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Grammar;

    fn recipient(action: Action) -> Recipient {
        Recipient {
            address: "gone@b.example".into(),
            orcpt: Some(("rfc822".into(), "first@c.example".into())),
            action,
            status: EnhancedCode::new(5, 1, 1),
            diagnostic: Some("550 5.1.1 No such\r\nX-Evil: user".into()),
            remote_mta: Some("mx.b.example".into()),
            last_attempt: Some(Timestamp::from_seconds(1_700_000_000)),
            will_retry_until: Some(Timestamp::from_seconds(1_700_100_000)),
        }
    }

    fn built(to: &str, recipients: &[Recipient], returned: Returned<'_>) -> String {
        let to = Address::parse(to, Grammar::default().with_utf8(true)).unwrap();
        let dsn = Dsn {
            reporting_mta: "mx.example.org",
            from: "postmaster@mx.example.org",
            to: &to,
            date: Timestamp::from_seconds(1_700_000_000).at_offset(0),
            message_id: "1@mx.example.org",
            boundary: "boundary42",
            envid: Some("QQ314159"),
            arrival: Some(Timestamp::from_seconds(1_699_999_000).at_offset(0)),
            recipients,
            returned,
        };
        String::from_utf8(dsn.build()).unwrap()
    }

    #[test]
    fn failed_report() {
        let message = built("from@a.example", &[recipient(Action::Failed)], Returned::Headers(b"Subject: x\r\n"));
        for line in [
            "To: <from@a.example>",
            "Auto-Submitted: auto-replied",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Message-ID: <1@mx.example.org>",
            "MIME-Version: 1.0",
            "--boundary42",
            "--boundary42--",
            "Content-Type: message/delivery-status",
            "Original-Envelope-Id: QQ314159",
            "Reporting-MTA: dns; mx.example.org",
            "Arrival-Date: Tue, 14 Nov 2023 21:56:40 +0000",
            "Original-Recipient: rfc822;first@c.example",
            "Final-Recipient: rfc822;gone@b.example",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.b.example",
            "Diagnostic-Code: smtp; 550 5.1.1 No such X-Evil: user",
            "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Content-Type: text/rfc822-headers",
            "Subject: x",
        ] {
            assert!(message.split("\r\n").any(|it| it == line), "{line} in\n{message}");
        }
        assert!(message.contains("report-type=\"delivery-status\""), "{message}");
        assert!(!message.contains("Will-Retry-Until"), "only when delayed");
        assert!(!message.contains("\nX-Evil"), "a remote text begins no line");
        assert!(!message.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn delayed_and_relayed_reports() {
        let message = built("from@a.example", &[recipient(Action::Delayed)], Returned::Headers(b""));
        assert!(message.contains("Will-Retry-Until: Thu, 16 Nov 2023 02:00:00 +0000"), "{message}");
        assert!(message.contains("Subject: Delayed mail"));
        let both = [recipient(Action::Relayed), recipient(Action::Failed)];
        assert!(built("a@b", &both, Returned::Headers(b"")).contains("Subject: Undelivered mail"));
        assert!(built("a@b", &both[..1], Returned::Headers(b"")).contains("Action: relayed"));
    }

    #[test]
    fn a_diagnosis_of_our_own_is_none_of_smtp() {
        let ours =
            Recipient { remote_mta: None, diagnostic: Some("451 4.4.1 refused".into()), ..recipient(Action::Failed) };
        let message = built("a@b", &[ours], Returned::Headers(b""));
        assert!(message.contains("Diagnostic-Code: x-local; 451 4.4.1 refused\r\n"), "{message}");
        assert!(!message.contains("Remote-MTA"), "{message}");
    }

    #[test]
    fn the_whole_message_is_returned_as_it_was() {
        let original = "Subject: x\r\n\r\nzo\u{eb}\r\n.\r\n";
        let message = built("a@b", &[recipient(Action::Failed)], Returned::Message(original.as_bytes()));
        assert!(message.contains(original));
        assert!(message.contains("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"), "{message}");
    }

    #[test]
    fn non_ascii_addresses_make_a_global_report() {
        let mut recipient = recipient(Action::Failed);
        recipient.address = "zo\u{eb}@b.example".into();
        let message = built("a@b", &[recipient], Returned::Headers(b"Subject: x\r\n"));
        assert!(message.contains("report-type=\"global-delivery-status\""));
        assert!(message.contains("Content-Type: message/global-delivery-status"));
        assert!(message.contains("Final-Recipient: utf-8;zo\u{eb}@b.example"));
    }

    /// A next hop answered in UTF-8: its words went as they were into a part that is US-ASCII by definition.
    #[test]
    fn status_fields_are_ascii_unless_global() {
        let mut recipient = recipient(Action::Failed);
        recipient.diagnostic = Some("550 5.1.1 zo\u{eb} is gone".into());
        let message = built("a@b.example", &[recipient.clone()], Returned::Headers(b""));
        let status = message.split("--boundary42").nth(2).unwrap();
        assert!(status.is_ascii() && status.contains("Content-Transfer-Encoding: 7bit"), "{status}");
        assert!(status.contains("Diagnostic-Code: smtp; 550 5.1.1 zo? is gone"), "{status}");
        recipient.orcpt = Some(("utf-8".into(), "zo\u{eb}@c.example".into()));
        let message = built("a@b.example", &[recipient], Returned::Headers(b""));
        assert!(message.contains("Content-Type: message/global-delivery-status"));
        assert!(message.contains("Original-Recipient: utf-8;zo\u{eb}@c.example"));
    }

    #[test]
    fn header_of_a_message() {
        assert_eq!(header(b"A: b\r\nC: d\r\n\r\nbody"), b"A: b\r\nC: d\r\n");
        assert_eq!(header(b"\r\nbody"), b"");
        assert_eq!(header(b"A: b"), b"A: b");
    }
}
