//! The search inside a message, against a simple one that decodes everything at once.

use std::ops::Range;

use proptest::prelude::*;

use super::message::MessageSearch;
use super::{Builder, Combine, Filter, FilterLimits, Need, Pattern, Search, Test};
use crate::date::Timestamp;
use crate::mime::{Limits, Scanner};

fn part(message: &[u8], range: Range<u64>) -> &[u8] {
    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(message.len());
    &message[at(range.start)..at(range.end)]
}

/// Searches `message`, fed in pieces of at most `piece` octets; also says how many octets were read.
fn search(message: &[u8], filter: impl Into<Filter>, piece: usize, scanned: bool) -> (bool, usize) {
    let search = Search::new(filter.into(), Timestamp::default());
    // What rows answer here: every text contains the empty text.
    let answers = search.filter().tests().map(|test| (test.need() == Need::Row).then_some(true)).collect();
    let mut run = MessageSearch::new(&search, answers, message.len() as u64);
    if scanned {
        let mut scanner = Scanner::new(Limits::default());
        scanner.push(message);
        run = run.with_skeleton(&search, scanner.finish().view());
    }
    let mut read = 0;
    while let Some(wanted) = run.wants() {
        let octets = part(message, wanted);
        let octets = &octets[..octets.len().min(piece)];
        read += octets.len();
        run.feed(&search, octets);
    }
    (run.decided(&search).expect("everything was read"), read)
}

#[track_caller]
fn assert_found(message: &[u8], test: Test, found: bool) {
    for piece in [1, 2, 7, 64, usize::MAX] {
        for scanned in [true, false] {
            assert_eq!(
                search(message, test.clone(), piece, scanned).0,
                found,
                "{test:?} in pieces of {piece}, {scanned}"
            );
        }
    }
}

const ODD: &[u8] = b"From: =?utf-8?Q?J=C3=BCrgen_Gro=C3=9F?= <j.gross@example.org>\r\n\
To: team: Ann <ann@example.org>, bob@example.org;\r\n\
Subject: =?iso-8859-1?B?TeRyeg==?= =?iso-8859-1?Q?_minutes?=\r\n\
X-Long: one\r\n two\r\n\tthree\r\n\
Date: Sun, 1 Mar 2026 23:30:00 -0500\r\n\
Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n\
preamble words\r\n\
--=_b\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\r\n\
Gr=C3=BC=C3=9Fe aus dem Archi=\r\nv, sch=C3=B6n!\r\n\
--=_b\r\n\
Content-Type: text/html; charset=iso-8859-1\r\n\
Content-Transfer-Encoding: base64\r\n\r\n\
PGI+Q2Fm\r\n6TwvYj4gYW5kIG1vcmU=\r\n\
--=_b\r\n\
Content-Type: application/octet-stream; name=secret.bin\r\n\r\n\
binary words\r\n\
--=_b\r\n\
Content-Type: message/rfc822\r\n\r\n\
Subject: inner subject\r\n\
Content-Type: text/plain; charset=koi8-r\r\n\r\n\
\xf0\xd2\xc9\xd7\xc5\xd4\r\n\
--=_b--\r\n\
epilogue words\r\n";

#[test]
fn bodies_are_decoded() {
    for (text, found) in [
        ("GRÜSSE AUS", true),
        // The soft line break is no character.
        ("dem archiv, SCHÖN", true),
        ("café</b> and", true),
        ("привет", true),
        ("inner subject", true),
        ("minutes", false),
        ("binary words", false),
        ("preamble", false),
        ("text/html", false),
        // Texts of two parts do not touch.
        ("schön!\r\n<b>", false),
        ("", true),
    ] {
        assert_found(ODD, Test::body(text), found);
    }
}

#[test]
fn text_is_header_and_body() {
    for (text, found) in [
        ("jürgen groß", true),
        ("subject: märz minutes", true),
        ("subject: inner", true),
        ("two three", true),
        ("charset=KOI8-r", true),
        ("secret.bin", true),
        ("café", true),
        ("binary words", false),
        ("epilogue", false),
    ] {
        assert_found(ODD, Test::text(text), found);
    }
}

#[test]
fn headers_are_decoded_and_unfolded() {
    for (name, text, found) in [
        ("subject", "MÄRZ MINUTES", true),
        ("Subject", "inner", false),
        ("from", "jürgen gross <j.gross@", true),
        ("from", "", true),
        ("cc", "", false),
        ("to", "team: ann <ann@example.org>, bob@example.org;", true),
        ("x-long", "one two three", true),
        ("X-Long", "", true),
        ("x-short", "", false),
        ("content-type", "=_b", true),
        ("no such name", "x", false),
    ] {
        assert_found(ODD, Test::header(name, text), found);
    }
}

/// A field is looked at up to a limit, the same octets however they come; the next one is whole again.
#[test]
fn fields_over_the_limit_are_cut_alike() {
    let mut message = b"X: ".to_vec();
    message.extend(b"aaaa\r\n ".repeat(9361));
    assert!(message.len() < 64 * 1024);
    message.extend(b"Y: border Z: pretender".repeat(1000));
    message.extend_from_slice(b"\r\nW: last\r\n\r\nbody\r\n");
    for (test, found) in [
        (Test::header("x", "aaaa aaaa"), true),
        (Test::header("x", "border"), false),
        (Test::header("y", ""), false),
        (Test::header("z", ""), false),
        (Test::text("pretender"), false),
        (Test::header("w", "last"), true),
        (Test::text("w: last"), true),
    ] {
        for piece in [11, 1000, 65_530, 65_536, 65_540, usize::MAX] {
            assert_eq!(search(&message, test.clone(), piece, true).0, found, "{test:?} in pieces of {piece}");
        }
    }
}

#[test]
fn a_decided_filter_stops_the_reading() {
    let mut message = b"Subject: s\r\nX: here\r\n\r\nneedle\r\n".to_vec();
    message.extend(std::iter::repeat_n(&b"hay hay hay hay\r\n"[..], 10_000).flatten());
    let header = Fields::of(&message);
    assert_eq!(search(&message, Test::header("x", "here"), 100, true), (true, header));
    assert_eq!(search(&message, Test::header("x", "gone"), 100, true), (false, header));
    let (found, read) = search(&message, Test::body("needle"), 100, true);
    assert!(found && read <= 100);
    let nothing = Filter::all([Test::header("subject", "t").into(), Test::body("hay").into()]);
    assert_eq!(search(&message, nothing, 100, true), (false, 0));
}

struct Fields;

impl Fields {
    fn of(message: &[u8]) -> usize {
        memchr::memmem::find(message, b"\r\n\r\n").unwrap() + 4
    }
}

#[test]
fn wrong_sizes_end() {
    let search = Search::new(Filter::from(Test::body("x")), Timestamp::default());
    for claimed in [0, 5, 10_000] {
        let mut run = MessageSearch::new(&search, vec![None], claimed);
        let message = b"A: b\r\n\r\nbody";
        let mut rounds = 0;
        while let Some(wanted) = run.wants() {
            let octets = part(message, wanted.start..u64::MAX);
            run.feed(&search, &octets[..octets.len().min(4)]);
            rounds += 1;
            assert!(rounds < 100);
        }
        assert_eq!(run.decided(&search), Some(false));
    }
}

#[test]
fn labels_that_lie_are_seen_through() {
    let message = |label: &str, body: &[u8]| {
        [format!("Content-Type: text/plain; charset={label}\r\n\r\n").as_bytes(), body].concat()
    };
    assert_found(&message("us-ascii", "Grün".as_bytes()), Test::body("grün"), true);
    assert_found(&message("us-ascii", b"Gr\xfcn ist gr\xfcn"), Test::body("grün ist grün"), true);
    assert_found(&message("x-unknown", "cut \u{e4}".as_bytes().split_last().unwrap().1), Test::body("cut "), true);
    assert_found(&message("utf-16le", b"h\0i\0 \0y\0o\0u\0"), Test::body("HI YOU"), true);
    assert_found(&message("iso-2022-jp", b"\x1B$B%F%9%H\x1B(B"), Test::body("テスト"), true);
    assert_found(&message("utf-8", b"a\xffb"), Test::body("a\u{fffd}b"), true);
}

/// Text of the kinds that appear in mail, with matches likely.
fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["ab", "A", "é", "É", "ß", "SS", " ", "и", "И", "x=", "\r\n", "e"]),
        0..30,
    )
    .prop_map(|words| words.concat())
}

fn encode(text: &str, encoding: usize) -> (&'static str, Vec<u8>) {
    use base64::Engine as _;
    match encoding {
        0 => ("8bit", text.as_bytes().to_vec()),
        1 => {
            let mut lines = Vec::new();
            for line in base64::engine::general_purpose::STANDARD.encode(text).as_bytes().chunks(8) {
                lines.extend_from_slice(line);
                lines.extend_from_slice(b"\r\n");
            }
            ("base64", lines)
        }
        _ => {
            let mut out = Vec::new();
            for (at, octet) in text.bytes().enumerate() {
                if at % 10 == 9 {
                    out.extend_from_slice(b"=\r\n");
                }
                out.extend_from_slice(format!("={octet:02X}").as_bytes());
            }
            ("quoted-printable", out)
        }
    }
}

proptest! {
    #[test]
    fn every_encoding_and_split_finds_the_same(
        text in words(), needle in words(), encoding in 0usize..3, piece in 1usize..40, scanned: bool,
    ) {
        let (name, body) = encode(&text, encoding);
        let mut message = format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {name}\r\n\r\n"
        ).into_bytes();
        message.extend(body);
        let (found, _) = search(&message, Test::body(&needle), piece, scanned);
        prop_assert_eq!(found, Pattern::new(&needle).is_in(&text));
    }

    #[test]
    fn noise_is_searched_alike_in_all_pieces(
        message in prop::collection::vec(prop::sample::select(b"ab:\r\n -=\xc3\xa4Content-Type: multipart/mixed;boundary=a".to_vec()), 0..200),
        needle in "[abä:]{0,2}", piece in 1usize..20,
    ) {
        let filter = || Filter::any([Test::header("ab", &needle).into(), Filter::not(Test::text(&needle))]);
        let whole = search(&message, filter(), usize::MAX, true).0;
        prop_assert_eq!(search(&message, filter(), piece, true).0, whole);
        prop_assert_eq!(search(&message, filter(), piece, false).0, whole);
    }
}

#[test]
fn many_tests_are_answered_in_one_pass() {
    let mut builder = Builder::new(FilterLimits::default());
    builder.open(Combine::And).unwrap();
    for word in ["grüße", "café", "привет", "inner", "archiv", "märz"] {
        builder.open(Combine::Either).unwrap();
        builder.test(Test::body("not there")).unwrap();
        builder.test(Test::text(word)).unwrap();
    }
    builder.close().unwrap();
    let (found, read) = search(ODD, builder.finish().unwrap(), 16, true);
    assert!(found);
    assert!(read <= ODD.len(), "{read} octets of {}", ODD.len());
}
