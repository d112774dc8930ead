//! Odd messages and what is told of them. Every message is scanned whole, octet by octet, and cut in two at every
//! place; all must agree, and the skeleton must survive its own octets.

use proptest::prelude::*;

use super::*;
use crate::mime::{Address, PartKind, PartRef, SkeletonRef, Specifier};

fn scan_with(limits: Limits, message: &[u8]) -> Skeleton {
    let mut scanner = Scanner::new(limits);
    scanner.push(message);
    let whole = scanner.finish();
    let mut scanner = Scanner::new(limits);
    for octet in message {
        scanner.push(std::slice::from_ref(octet));
    }
    assert_eq!(scanner.finish(), whole, "octet by octet: {}", message.escape_ascii());
    if message.len() < 2_000 {
        for at in 0..message.len() {
            let mut scanner = Scanner::new(limits);
            scanner.push(&message[..at]);
            scanner.push(&message[at..]);
            assert_eq!(scanner.finish(), whole, "cut at {at}: {}", message.escape_ascii());
        }
    }
    sound(&whole, message);
    whole
}

fn scan(message: &str) -> Skeleton {
    scan_with(Limits::default(), message.as_bytes())
}

/// What must hold for every skeleton of every message.
fn sound(skeleton: &Skeleton, message: &[u8]) {
    let view = SkeletonRef::from_bytes(skeleton.as_bytes()).expect("a skeleton reads its own octets");
    assert_eq!(view.size(), message.len() as u64);
    assert_eq!(view.root().header().start, 0);
    for part in view.parts() {
        let body = slice(message, part.body());
        assert_eq!(part.lines(), body.iter().filter(|&&octet| octet == b'\n').count() as u64, "{part:?}");
        let mut last = part.body().start;
        for child in part.children() {
            assert!(child.header().start >= last && child.body().end <= part.body().end, "{part:?} {child:?}");
            last = child.body().end;
        }
        match part.kind() {
            PartKind::Leaf => assert_eq!(part.children().count(), 0),
            PartKind::Multipart => assert!(part.children().count() > 0),
            PartKind::Message => assert_eq!(part.children().count(), 1),
        }
    }
}

fn slice(message: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    let at = |offset: u64| usize::try_from(offset).unwrap();
    &message[at(range.start)..at(range.end)]
}

/// The structure in one line: `type/subtype` with `'body'` for leaves, `(children)`, `{message}`; `!` opaque,
/// `?` synthetic.
fn tell(message: &[u8], part: PartRef<'_>) -> String {
    let content_type = part.content_type();
    let text = |octets: &[u8]| octets.escape_ascii().to_string();
    let name = format!("{}/{}", text(content_type.media_type), text(content_type.subtype));
    let mark = if part.is_opaque() { "!" } else { "" };
    match part.kind() {
        PartKind::Leaf if part.is_synthetic() => "?".to_owned(),
        PartKind::Leaf => format!("{mark}{name}'{}'", text(slice(message, part.body()))),
        PartKind::Multipart => {
            let children: Vec<_> = part.children().map(|child| tell(message, child)).collect();
            format!("{name}({})", children.join(" "))
        }
        PartKind::Message => format!("{name}{{{}}}", tell(message, part.message().unwrap())),
    }
}

fn structure(message: &str) -> String {
    tell(message.as_bytes(), scan(message).root())
}

fn section(message: &str, path: &[u32], specifier: Specifier) -> Option<String> {
    let range = scan(message).section_range(path, specifier)?;
    Some(String::from_utf8_lossy(slice(message.as_bytes(), range)).into_owned())
}

/// CRLF for every LF.
fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

// Headers and bodies.

#[test]
fn messages_with_little_in_them() {
    assert_eq!(structure(""), "text/plain''");
    assert_eq!(structure("\r\n"), "text/plain''");
    assert_eq!(structure("\n"), "text/plain''");
    assert_eq!(structure("\r\nbody"), "text/plain'body'");
    assert_eq!(structure("A: b"), "text/plain''");
    assert_eq!(structure("A: b\r\n"), "text/plain''");
    assert_eq!(structure("A: b\r\n\r\n"), "text/plain''");
    assert_eq!(structure("A: b\r\n\r"), "text/plain''");
    assert_eq!(structure("A: b\n\nc\n"), "text/plain'c\\n'");
    assert_eq!(section("A: b\r\n\r\nc", &[], Specifier::Header).unwrap(), "A: b\r\n\r\n");
    assert_eq!(section("A: b\r\n", &[], Specifier::Header).unwrap(), "A: b\r\n");
    assert_eq!(section("A: b\r\n", &[], Specifier::Text).unwrap(), "");
    assert_eq!(section("", &[1], Specifier::Content).unwrap(), "");
}

#[test]
fn a_message_that_begins_with_text_has_no_header() {
    assert_eq!(structure("Hello"), "text/plain'Hello'");
    assert_eq!(structure("Hello\r\nworld: x\r\n"), "text/plain'Hello\\r\\nworld: x\\r\\n'");
    assert_eq!(structure(" folded: start\r\n\r\nx"), "text/plain' folded: start\\r\\n\\r\\nx'");
    assert_eq!(section("Hello", &[], Specifier::Header).unwrap(), "");
}

#[test]
fn damaged_header_lines_stay_in_the_header() {
    let message = "Subject: a\r\nno colon here\r\nContent-Type: text/html\r\n\r\nx";
    assert_eq!(structure(message), "text/html'x'");
    assert_eq!(structure("From alice Mon Jan  1\r\nContent-Type: text/html\r\n\r\nx"), "text/html'x'");
    assert_eq!(structure(">From alice\nContent-Type: text/html\n\nx"), "text/html'x'");
    assert_eq!(structure("Content-Type : text/html\n\nx"), "text/html'x'");
    assert_eq!(structure("content-TYPE:text/html\n\nx"), "text/html'x'");
    assert_eq!(structure("A: b\r\n \r\nContent-Type: text/html\r\n\r\nx"), "text/html'x'");
}

#[test]
fn the_first_of_two_types_counts() {
    assert_eq!(structure("Content-Type: text/html\nContent-Type: image/png\n\nx"), "text/html'x'");
}

#[test]
fn nul_and_eight_bit_octets_pass() {
    let message = b"Subject: a\0b\xFF\r\nContent-Type: text/\0plain\r\n\r\n\0\xFF\r\n";
    let skeleton = scan_with(Limits::default(), message);
    assert_eq!(tell(message, skeleton.root()), "text/plain'\\x00\\xff\\r\\n'");
    assert_eq!(skeleton.root().envelope().unwrap().subject, Some(&b"ab\xFF"[..]));
}

#[test]
fn folded_types_are_read() {
    let message = "Content-Type:\r\n multipart/mixed;\r\n\tboundary=\"b\"\r\n\r\n--b\r\n\r\nx\r\n--b--";
    assert_eq!(structure(message), "multipart/mixed(text/plain'x')");
}

// Multiparts.

#[test]
fn a_plain_multipart() {
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n",
    );
    assert_eq!(structure(&message), "multipart/mixed(text/plain'one' text/html'two\\r\\n')");
    assert_eq!(section(&message, &[1], Specifier::Mime).unwrap(), "\r\n");
    assert_eq!(section(&message, &[2], Specifier::Mime).unwrap(), "Content-Type: text/html\r\n\r\n");
    assert_eq!(section(&message, &[3], Specifier::Content), None);
    assert_eq!(section(&message, &[0], Specifier::Content), None);
    assert_eq!(section(&message, &[1, 1], Specifier::Content), None);
    assert_eq!(section(&message, &[1], Specifier::Header), None);
    assert_eq!(section(&message, &[], Specifier::Mime), None);
    assert!(section(&message, &[], Specifier::Text).unwrap().ends_with("epilogue\r\n"));
}

#[test]
fn bare_lf_lines_work_alike() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n\n--b--\n";
    assert_eq!(structure(message), "multipart/mixed(text/plain'one' text/plain'two\\n')");
    let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\n--b\r\n\none\r\n--b\n\r\ntwo\n--b--";
    assert_eq!(structure(mixed), "multipart/mixed(text/plain'one' text/plain'two')");
}

#[test]
fn a_boundary_in_mid_line_is_text() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx --b y\n --b\n>--b\n--b--";
    assert_eq!(structure(message), "multipart/mixed(text/plain'x --b y\\n --b\\n>--b')");
}

#[test]
fn a_missing_close_delimiter_ends_with_the_parent() {
    assert_eq!(
        structure("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n"),
        "multipart/mixed(text/plain'one\\n')"
    );
    let nested = "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\none\n--o\n\ntwo\n--o--\n";
    assert_eq!(structure(nested), "multipart/mixed(multipart/alternative(text/plain'one') text/plain'two')");
}

#[test]
fn one_boundary_may_begin_with_another() {
    let inner_longer = "Content-Type: multipart/mixed; boundary=abc\n\n--abc\nContent-Type: multipart/related; boundary=abcd\n\n--abcd\n\none\n--abcd--\n--abc\n\ntwo\n--abc--\n";
    assert_eq!(structure(inner_longer), "multipart/mixed(multipart/related(text/plain'one') text/plain'two')");
    let outer_longer = "Content-Type: multipart/mixed; boundary=abcd\n\n--abcd\nContent-Type: multipart/related; boundary=abc\n\n--abc\n\none\n--abc--\n--abcd\n\ntwo\n--abcd--\n";
    assert_eq!(structure(outer_longer), "multipart/mixed(multipart/related(text/plain'one') text/plain'two')");
}

#[test]
fn inner_and_outer_may_share_a_boundary() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/related; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n";
    assert_eq!(structure(message), "multipart/mixed(multipart/related(text/plain'one') text/plain'two')");
}

#[test]
fn delimiters_may_carry_blanks_and_more() {
    // RFC 2046 §5.1.1: transport padding; and a boundary at the front of the line is enough.
    let message =
        "Content-Type: multipart/mixed; boundary=b\n\n--b  \t\n\none\n--bxyz\n\ntwo\n--b--  trailing\nepilogue";
    assert_eq!(structure(message), "multipart/mixed(text/plain'one' text/plain'two')");
}

#[test]
fn after_the_close_delimiter_all_is_epilogue() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n";
    assert_eq!(structure(message), "multipart/mixed(text/plain'one')");
}

#[test]
fn a_part_without_a_blank_line() {
    let header_only = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
    assert_eq!(structure(header_only), "multipart/mixed(text/html'' text/plain'two')");
    let text_only = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nJust text\r\n--b--\r\n";
    assert_eq!(structure(text_only), "multipart/mixed(text/plain'Just text')");
    let empty = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n--b--\r\n";
    assert_eq!(structure(empty), "multipart/mixed(text/plain'' text/plain'')");
}

#[test]
fn a_delimiter_at_the_end_opens_an_empty_part() {
    for end in ["--b", "--b\n", "--b\n\n", "--b \t"] {
        let message = format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n{end}");
        assert_eq!(structure(&message), "multipart/mixed(text/plain'one' text/plain'')", "{end:?}");
    }
}

#[test]
fn a_multipart_without_parts_has_one_empty_text() {
    // MailKit and others cannot parse a multipart without a body inside; RFC 9051 §9 body-type-mpart wants 1*body.
    for message in [
        "Content-Type: multipart/mixed\n\nno boundary at all\n",
        "Content-Type: multipart/mixed; boundary=\n\n--\n\nx\n",
        "Content-Type: multipart/mixed; boundary=b\n\nno delimiter at all\n",
        "Content-Type: multipart/mixed; boundary=b\n\n--b--\n",
        "Content-Type: multipart/mixed; boundary=b\n",
        "Content-Type: multipart/mixed; boundary=b",
    ] {
        assert_eq!(structure(message), "multipart/mixed(?)", "{message:?}");
        assert_eq!(section(message, &[1], Specifier::Content).unwrap(), "");
    }
    let inside = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative\n\nlost\n--b\n\nx\n--b--";
    assert_eq!(structure(inside), "multipart/mixed(multipart/alternative(?) text/plain'x')");
}

#[test]
fn boundaries_of_odd_forms() {
    for (parameter, boundary) in [
        ("boundary=\"a b\"", "a b"),
        ("boundary=\"trailing  \"", "trailing"),
        ("boundary=a=b/(c):d", "a=b/(c):d"),
        ("boundary*0=first; boundary*1=second", "firstsecond"),
        ("boundary*=utf-8''a%20b", "a b"),
        ("x=y; BOUNDARY=q", "q"),
        ("boundary=one; boundary=two", "one"),
        ("boundary=\"with\\\"quote\"", "with\"quote"),
    ] {
        let message = format!("Content-Type: multipart/mixed; {parameter}\n\n--{boundary}\n\nx\n--{boundary}--");
        assert_eq!(structure(&message), "multipart/mixed(text/plain'x')", "{parameter}");
    }
    let long = "b".repeat(600);
    assert_eq!(
        structure(&format!("Content-Type: multipart/mixed; boundary={long}\n\n--{long}\n\nx")),
        "multipart/mixed(?)"
    );
}

#[test]
fn an_encoded_multipart_is_read_all_the_same() {
    let message = "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--";
    assert_eq!(structure(message), "multipart/mixed(text/plain'x')");
}

#[test]
fn deep_nesting_closes_from_within() {
    let message = "Content-Type: multipart/a; boundary=1\n\n--1\nContent-Type: multipart/b; boundary=2\n\n--2\nContent-Type: multipart/c; boundary=3\n\n--3\n\nx\n--1\n\ny\n--1--";
    assert_eq!(structure(message), "multipart/a(multipart/b(multipart/c(text/plain'x')) text/plain'y')");
    assert_eq!(section(message, &[1, 1, 1], Specifier::Content).unwrap(), "x");
    assert_eq!(section(message, &[2], Specifier::Content).unwrap(), "y");
}

// Messages in messages.

const FORWARDED: &str = "Subject: outer\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n\
    --o\r\n\r\ncover\r\n\
    --o\r\nContent-Type: message/rfc822\r\nContent-Description: fwd\r\n\r\n\
    Subject: inner\r\nFrom: a@b.test\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n\
    --i\r\n\r\none\r\n--i\r\nContent-Type: text/html\r\n\r\ntwo\r\n--i--\r\n\
    --o\r\nContent-Type: message/rfc822\r\n\r\nSubject: plain\r\n\r\nthree\r\n--o--\r\n";

#[test]
fn sections_follow_rfc_9051() {
    assert_eq!(
        structure(FORWARDED),
        "multipart/mixed(text/plain'cover' message/rfc822{multipart/mixed(text/plain'one' text/html'two')} \
         message/rfc822{text/plain'three'})"
    );
    let text = |path: &[u32], specifier| section(FORWARDED, path, specifier);
    assert_eq!(text(&[1], Specifier::Content).unwrap(), "cover");
    assert!(text(&[2], Specifier::Content).unwrap().starts_with("Subject: inner\r\n"));
    assert!(text(&[2], Specifier::Content).unwrap().ends_with("--i--"));
    assert!(text(&[2], Specifier::Header).unwrap().ends_with("boundary=i\r\n\r\n"));
    assert!(text(&[2], Specifier::Text).unwrap().starts_with("--i\r\n"));
    assert!(text(&[2], Specifier::Mime).unwrap().contains("Content-Description: fwd"));
    assert_eq!(text(&[2, 1], Specifier::Content).unwrap(), "one");
    assert_eq!(text(&[2, 2], Specifier::Mime).unwrap(), "Content-Type: text/html\r\n\r\n");
    assert_eq!(text(&[2, 2], Specifier::Text), None);
    assert_eq!(text(&[3, 1], Specifier::Content).unwrap(), "three");
    assert_eq!(text(&[3, 1], Specifier::Mime).unwrap(), "Subject: plain\r\n\r\n");
    assert_eq!(text(&[3, 2], Specifier::Content), None);
    assert_eq!(text(&[], Specifier::Content).unwrap(), FORWARDED);
    let skeleton = scan(FORWARDED);
    let inner = skeleton.section(&[2]).unwrap().message().unwrap();
    assert_eq!(inner.envelope().unwrap().subject, Some(&b"inner"[..]));
    assert_eq!(inner.lines(), 7);
    assert!(skeleton.section(&[2]).unwrap().envelope().is_none());
    assert_eq!(skeleton.view().parts().count(), 8);
}

#[test]
fn a_message_that_is_a_message() {
    let message = "Content-Type: message/rfc822\n\nSubject: inner\n\nx";
    assert_eq!(structure(message), "message/rfc822{text/plain'x'}");
    assert_eq!(section(message, &[1], Specifier::Content).unwrap(), "Subject: inner\n\nx");
    assert_eq!(section(message, &[1], Specifier::Header).unwrap(), "Subject: inner\n\n");
    assert_eq!(section(message, &[1, 1], Specifier::Content).unwrap(), "x");
    assert_eq!(section(message, &[1, 1, 1], Specifier::Content), None);
}

#[test]
fn an_empty_inner_message_is_there() {
    assert_eq!(structure("Content-Type: message/rfc822\n"), "message/rfc822{text/plain''}");
    assert_eq!(structure("Content-Type: message/rfc822\n\n"), "message/rfc822{text/plain''}");
    assert_eq!(structure("Content-Type: message/rfc822\n\ntext only"), "message/rfc822{text/plain'text only'}");
    let cut = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n--b--\r\n";
    assert_eq!(structure(cut), "multipart/mixed(message/rfc822{text/plain''})");
    let none = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n--b--\r\n";
    assert_eq!(structure(none), "multipart/mixed(message/rfc822{text/plain''})");
}

#[test]
fn an_encoded_message_is_opaque() {
    for encoding in ["base64", "Quoted-Printable", "x-uuencode"] {
        let message = format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: {encoding}\n\nU3ViamVjdA==");
        assert_eq!(structure(&message), "!application/octet-stream'U3ViamVjdA=='", "{encoding}");
        assert_eq!(section(&message, &[1, 1], Specifier::Content), None);
    }
    for encoding in ["7bit", "8BIT", "binary", "(none) 8bit"] {
        let message = format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: {encoding}\n\nA: b\n\nx");
        assert_eq!(structure(&message), "message/rfc822{text/plain'x'}", "{encoding}");
    }
    assert_eq!(structure("Content-Type: message/global\n\nA: b\n\nx"), "message/global{text/plain'x'}");
}

#[test]
fn parts_of_a_digest_are_messages() {
    let message = "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b\n\ntext\n--b--";
    assert_eq!(
        structure(message),
        "multipart/digest(message/rfc822{text/plain'x'} text/plain'y' message/rfc822{text/plain'text'})"
    );
    let skeleton = scan(message);
    assert!(skeleton.section(&[1]).unwrap().has_default_type());
    assert!(skeleton.section(&[1]).unwrap().content_type().parameters.is_empty());
    // The default is that of the digest's own parts only.
    let inner = "Content-Type: multipart/digest; boundary=b\n\n--b\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--";
    assert_eq!(structure(inner), "multipart/digest(message/rfc822{multipart/mixed(text/plain'x')})");
}

#[test]
fn text_right_behind_a_delimiter_of_a_digest() {
    let message = "Content-Type: multipart/digest; boundary=b\n\n--b\nno field here\nmore\n--b--";
    assert_eq!(structure(message), "multipart/digest(message/rfc822{text/plain'no field here\\nmore'})");
    assert_eq!(
        structure("Content-Type: multipart/digest; boundary=b\n\n--b\nx"),
        "multipart/digest(message/rfc822{text/plain'x'})"
    );
}

// Fields.

#[test]
fn all_fields_of_a_part_are_told() {
    let message = "Content-Type: image/PNG; name=\"a b.png\"\r\nContent-Disposition: Attachment; filename*=utf-8''%C3%A4.png; size=3\r\nContent-ID: <id@x>\r\nContent-Description: =?utf-8?Q?=C3=A4?=\r\n picture\r\nContent-Transfer-Encoding: Base64 (really)\r\nContent-MD5: Q2hlY2s=\r\nContent-Language: de (German), en-GB\r\nContent-Location: http://x/\r\n\r\nAAAA";
    let skeleton = scan(message);
    let root = skeleton.root();
    assert_eq!(root.content_type().subtype, b"PNG");
    assert_eq!(root.content_type().parameters.value("NAME"), Some(&b"a b.png"[..]));
    let disposition = root.disposition().unwrap();
    assert_eq!(disposition.disposition_type, b"Attachment");
    assert_eq!(disposition.parameters.value("filename*"), Some(&b"utf-8''%C3%A4.png"[..]));
    assert_eq!(root.file_name().unwrap(), "ä.png");
    assert_eq!(root.id(), Some(&b"<id@x>"[..]));
    assert_eq!(root.description(), Some(&b"=?utf-8?Q?=C3=A4?= picture"[..]));
    assert_eq!(root.encoding(), b"Base64");
    assert_eq!(root.md5(), Some(&b"Q2hlY2s="[..]));
    assert_eq!(root.languages().collect::<Vec<_>>(), [&b"de"[..], b"en-GB"]);
    assert_eq!(root.location(), Some(&b"http://x/"[..]));
    assert!(!root.has_default_type());
}

#[test]
fn defaults_of_a_bare_part() {
    let skeleton = scan("\r\nx");
    let root = skeleton.root();
    assert_eq!(root.content_type().parameters.value("charset"), Some(&b"us-ascii"[..]));
    assert_eq!(root.encoding(), b"7BIT");
    assert!(root.disposition().is_none() && root.id().is_none() && root.description().is_none());
    let envelope = root.envelope().unwrap();
    assert!(envelope.date.is_none() && envelope.subject.is_none() && envelope.from.is_empty());
    let empty = scan("Subject:\r\nFrom:\r\nContent-Disposition: ;x=y\r\n\r\n");
    assert_eq!(empty.root().envelope().unwrap().subject, Some(&b""[..]));
    assert!(empty.root().envelope().unwrap().from.is_empty());
    assert!(empty.root().disposition().is_none());
}

#[test]
fn the_envelope_is_told_raw() {
    let skeleton = scan(
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: =?utf-8?Q?=C3=A4?=\r\n\tfolded\r\nFrom: =?utf-8?Q?J=C3=B6?= <j@x.test>\r\nReply-To: r@x.test\r\nTo: a@x.test, G: b@x.test, c@x.test;\r\nCc: d@x.test\r\nTo: e@x.test\r\nBcc: f@x.test\r\nIn-Reply-To: <1@x>\r\nMessage-ID: <2@x>\r\nSubject: second\r\n\r\n",
    );
    let envelope = skeleton.root().envelope().unwrap();
    assert_eq!(envelope.subject, Some(&b"=?utf-8?Q?=C3=A4?= folded"[..]));
    assert_eq!(envelope.date, Some(&b"Mon, 1 Jan 2024 00:00:00 +0000"[..]));
    let from = envelope.from.first_mailbox().unwrap();
    assert_eq!((from.name, from.local, from.domain), (Some(&b"=?utf-8?Q?J=C3=B6?="[..]), &b"j"[..], &b"x.test"[..]));
    assert_eq!(envelope.sender_or_from().first_mailbox(), Some(from));
    assert_eq!(envelope.reply_to_or_from().first_mailbox().unwrap().local, b"r");
    let to: Vec<_> = envelope.to.collect();
    assert_eq!(to.len(), 6);
    assert_eq!(to[1], Address::Group { name: b"G" });
    assert_eq!(to[4], Address::GroupEnd);
    assert_eq!(envelope.to.mailboxes().last().unwrap().local, b"e");
    assert_eq!(envelope.in_reply_to, Some(&b"<1@x>"[..]));
    assert_eq!(envelope.message_id, Some(&b"<2@x>"[..]));
}

#[test]
fn parts_have_no_envelope_and_their_addresses_are_not_kept() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\nSubject: not an envelope\n\nx\n--b--";
    assert!(scan(message).section(&[1]).unwrap().envelope().is_none());
}

// Hostile messages.

#[test]
fn thirty_thousand_nested_messages() {
    // A parser that recursed on drop overflowed its stack on such a message.
    let message = "Content-Type: message/rfc822\r\n\r\n".repeat(30_000);
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(message.as_bytes());
    let skeleton = scanner.finish();
    sound(&skeleton, message.as_bytes());
    assert_eq!(skeleton.view().parts().count(), 101);
    let last = skeleton.view().parts().last().unwrap();
    assert!(last.is_opaque());
    assert_eq!(last.body().end, message.len() as u64);
    assert_eq!(skeleton.section(&[1; 101]).unwrap().header(), last.header());
    assert!(skeleton.section(&[1; 102]).is_none());
}

#[test]
fn thirty_thousand_nested_multiparts() {
    let mut message = String::new();
    for level in 0..30_000 {
        message.push_str(&format!("Content-Type: multipart/mixed; boundary={level}\r\n\r\n--{level}\r\n"));
    }
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(message.as_bytes());
    let skeleton = scanner.finish();
    sound(&skeleton, message.as_bytes());
    assert!(skeleton.view().parts().any(|part| part.is_opaque()));
}

#[test]
fn many_parts_end_in_an_opaque_one() {
    // CVE-2020-12100: the time a server spent grew with the square of the parts.
    let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(100_000));
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(message.as_bytes());
    let skeleton = scanner.finish();
    sound(&skeleton, message.as_bytes());
    assert_eq!(skeleton.view().parts().count(), 10_000);
    let last = skeleton.view().parts().last().unwrap();
    assert!(last.is_opaque());
    assert_eq!(last.body().end, message.len() as u64);
    assert!(skeleton.section(&[9_999]).unwrap().is_opaque());
    assert!(skeleton.section(&[10_000]).is_none());
}

#[test]
fn the_limit_of_parts_counts_messages_too() {
    let limits = Limits { parts: 4, ..Limits::default() };
    let message = "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: 1\n\nx\n--b\n\nA: 2\n\ny\n--b\n\nz\n--b--\n";
    let skeleton = scan_with(limits, message.as_bytes());
    assert_eq!(
        tell(message.as_bytes(), skeleton.root()),
        "multipart/digest(message/rfc822{text/plain'x'} !application/octet-stream'\\nA: 2\\n\\ny\\n--b\\n\\nz\\n--b--\\n')"
    );
    let limits = Limits { depth: 1, ..Limits::default() };
    let skeleton = scan_with(limits, message.as_bytes());
    assert_eq!(
        tell(message.as_bytes(), skeleton.root()),
        "multipart/digest(!application/octet-stream'A: 1\\n\\nx' !application/octet-stream'A: 2\\n\\ny' !application/octet-stream'z')"
    );
}

#[test]
fn huge_address_headers_are_cut_at_an_address() {
    // CVE-2024-23184 and CVE-2024-23185: address headers cost far more than their octets.
    let mut message = "To: ".to_owned();
    for number in 0..100_000 {
        message.push_str(&format!("user{number}@host.example.org,\r\n "));
    }
    message.push_str("\r\nSubject: after\r\n\r\n");
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(message.as_bytes());
    let skeleton = scanner.finish();
    let envelope = skeleton.root().envelope().unwrap();
    assert_eq!(envelope.subject, Some(&b"after"[..]));
    let count = envelope.to.mailboxes().count();
    assert!(count > 1_000 && count <= 4_096, "{count}");
    assert!(envelope.to.mailboxes().all(|mailbox| mailbox.domain == b"host.example.org"));
    assert!(skeleton.as_bytes().len() < 256 * 1024);

    let many = format!("{}\r\nSubject: after\r\n\r\n", "To: a@b\r\n".repeat(20_000));
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(many.as_bytes());
    let skeleton = scanner.finish();
    assert_eq!(skeleton.root().envelope().unwrap().to.mailboxes().count(), 4_096);
}

#[test]
fn parameters_are_bounded() {
    // CVE-2026-27859: RFC 2231 continuations cost the square of their number.
    let mut message = "Content-Type: text/plain".to_owned();
    for number in (0..3_000).rev() {
        message.push_str(&format!(";\r\n name*{number}*=x"));
    }
    message.push_str("\r\n\r\n");
    let skeleton = scan_with(Limits::default(), message.as_bytes());
    assert_eq!(skeleton.root().content_type().parameters.count(), 100);
    assert_eq!(skeleton.root().file_name(), None);
}

#[test]
fn what_all_parts_keep_together_is_bounded() {
    let limits = Limits { kept: 10_000, field: 1_000, ..Limits::default() };
    let part = format!("--b\r\nContent-Description: {}\r\n\r\nx\r\n", "d".repeat(5_000));
    let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--", part.repeat(100));
    let mut scanner = Scanner::new(limits);
    scanner.push(message.as_bytes());
    let skeleton = scanner.finish();
    assert!(skeleton.as_bytes().len() < 20_000, "{}", skeleton.as_bytes().len());
    assert_eq!(skeleton.section(&[1]).unwrap().description().unwrap().len(), 1_000);
    assert_eq!(skeleton.section(&[100]).unwrap().body().end - skeleton.section(&[100]).unwrap().body().start, 1);
}

#[test]
fn a_type_over_the_limit_is_opaque() {
    let limits = Limits { field: 100, ..Limits::default() };
    let message = format!("Content-Type: multipart/mixed; x={}; boundary=b\n\n--b\n\nx\n--b--", "y".repeat(200));
    let skeleton = scan_with(limits, message.as_bytes());
    assert_eq!(tell(message.as_bytes(), skeleton.root()), "!application/octet-stream'--b\\n\\nx\\n--b--'");
}

#[test]
fn header_lines_without_end() {
    let limits = Limits { field: 50, ..Limits::default() };
    let message = format!("Subject: {}\r\nContent-Type: text/html\r\n\r\nx", "s".repeat(10_000));
    let skeleton = scan_with(limits, message.as_bytes());
    assert_eq!(skeleton.root().envelope().unwrap().subject.unwrap().len(), 50);
    assert_eq!(tell(message.as_bytes(), skeleton.root()), "text/html'x'");
    let never = format!("Subject: {}", "s".repeat(10_000));
    let skeleton = scan_with(limits, never.as_bytes());
    assert_eq!(skeleton.root().header().end, never.len() as u64);
    let no_field = "x".repeat(10_000);
    let skeleton = scan_with(limits, no_field.as_bytes());
    assert_eq!(skeleton.root().header().end, 0);
}

#[test]
fn more_fields_than_allowed_are_not_looked_at() {
    let limits = Limits { fields: 3, ..Limits::default() };
    let message = "A: 1\nB: 2\nSubject: s\nContent-Type: text/html\n\nx";
    let skeleton = scan_with(limits, message.as_bytes());
    assert_eq!(skeleton.root().envelope().unwrap().subject, Some(&b"s"[..]));
    assert_eq!(tell(message.as_bytes(), skeleton.root()), "text/plain'x'");
}

// Any octets.

/// Pieces that make messages with much structure and little sense.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "--b",
        "--b--",
        "--bc",
        "--c--",
        "--",
        "-",
        "--b\r\n",
        "--bc\n",
        "\n--b\n",
        "\r\n--bc--\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/digest; boundary=bc\r\n\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: multipart/x; boundary=b\n\n",
        "Content-Type: text/html\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Subject: s\r\n",
        "To: a@b, c\r\n",
        "From ",
        " ",
        "\t",
        ":",
        "text",
        "\0",
        "x: y",
        "(",
        "\"",
        "\\",
        ";",
        "=?utf-8?q?",
        "ü",
    ])
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        Just(Limits::default()),
        (1usize..5, 2usize..8, 1usize..5, 1usize..60).prop_map(|(depth, parts, fields, field)| Limits {
            depth,
            parts,
            fields,
            field,
            kept: field * 3,
            parameters: 2,
            addresses: 2,
            boundary: 2,
            ..Limits::default()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_split_says_the_same(
        pieces in prop::collection::vec(piece(), 0..60),
        cuts in prop::collection::vec(0usize..400, 0..8),
        limits in limits(),
    ) {
        let message = pieces.concat().into_bytes();
        let mut scanner = Scanner::new(limits);
        scanner.push(&message);
        let whole = scanner.finish();
        sound(&whole, &message);

        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
        cuts.sort_unstable();
        let mut scanner = Scanner::new(limits);
        let mut at = 0;
        for cut in cuts {
            scanner.push(&message[at..cut]);
            at = cut;
        }
        scanner.push(&message[at..]);
        prop_assert_eq!(scanner.finish(), whole.clone());

        let mut scanner = Scanner::new(limits);
        for octet in &message {
            scanner.push(std::slice::from_ref(octet));
        }
        prop_assert_eq!(scanner.finish(), whole);
    }

    #[test]
    fn noise_does_no_harm(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(&message);
        sound(&scanner.finish(), &message);
    }

    #[test]
    fn damaged_skeletons_are_refused_or_harmless(
        pieces in prop::collection::vec(piece(), 0..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(pieces.concat().as_bytes());
        let mut octets = scanner.finish().into_bytes();
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok(view) = SkeletonRef::from_bytes(&octets) {
            for part in view.parts() {
                let _ = (part.content_type(), part.disposition(), part.file_name(), part.languages().count());
                if let Some(envelope) = part.envelope() {
                    let _ = (envelope.from.count(), envelope.to.count());
                }
            }
        }
    }
}
