//! How fast messages are scanned.
//!
//! `cargo test --release -p mailstore-trait --test mime_speed -- --ignored --nocapture` prints the figures.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use mailstore_trait::mime::{Ingest, Limits, Scanner, SkeletonRef};

/// The shortest of several runs.
#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn shortest(runs: u32, mut run: impl FnMut()) -> Duration {
    (0..runs)
        .map(|_| {
            let start = std::time::Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn scan(message: &[u8]) {
    let mut scanner = Scanner::new(Limits::default());
    for piece in message.chunks(64 * 1024) {
        scanner.push(piece);
    }
    black_box(scanner.finish());
}

fn ingest(message: &[u8]) {
    let mut ingest = Ingest::new(Limits::default());
    for piece in message.chunks(64 * 1024) {
        ingest.push(piece);
    }
    black_box(ingest.finish());
}

const SMALL: &str = "Return-Path: <a@example.org>\r\nReceived: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.com with ESMTPS id 4ABCDEF;\r\n\tSun, 22 Nov 2026 22:53:59 +0000\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n\th=from:to:subject; bh=abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG=;\r\n\tb=abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\nDate: Sun, 22 Nov 2026 22:53:59 +0000\r\nFrom: Alice Example <alice@example.org>\r\nTo: Bob Example <bob@example.com>, carol@example.com\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from here\r\nMessage-ID: <12345.67890@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nHello Bob,\r\n\r\nthis is a short message.\r\n\r\nAlice\r\n";

#[test]
#[ignore = "needs a quiet machine, and --release for its figures"]
fn scanning_keeps_up_with_the_network() {
    let mut large = String::from(
        "Subject: attachment\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\n\r\ntext\r\n--=_b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    large.push_str(&line.repeat(5 * 1024 * 1024 / line.len()));
    large.push_str("--=_b--\r\n");
    let large = large.into_bytes();
    let rate = |octets: usize, time: Duration| octets as f64 / time.as_secs_f64() / 1e9;

    // What is asked of an optimized build; without optimization a hundredth shows at least that nothing is quadratic.
    let slack = if cfg!(debug_assertions) { 100 } else { 1 };
    let took = shortest(50, || scan(&large));
    let gigabytes = rate(large.len(), took);
    println!("5 MB of base64: {took:?}, {gigabytes:.2} GB/s");
    assert!(gigabytes > 2.0 / f64::from(slack), "{gigabytes:.2} GB/s");

    let small = SMALL.as_bytes();
    let took = shortest(2_000, || scan(small));
    println!("{} octets, structure: {took:?}", small.len());
    assert!(took < Duration::from_micros(20) * slack, "{took:?}");
    println!("{} octets, with summary: {:?}", small.len(), shortest(2_000, || ingest(small)));

    let mut scanner = Scanner::new(Limits::default());
    scanner.push(small);
    let skeleton = scanner.finish();
    let took = shortest(2_000, || {
        let view = SkeletonRef::from_bytes(black_box(skeleton.as_bytes())).unwrap();
        black_box(view.root().envelope());
    });
    println!("skeleton of {} octets, checked and its envelope read: {took:?}", skeleton.as_bytes().len());

    // A hundred open boundaries that begin alike, and lines that try each of them.
    let stem = "x".repeat(60);
    let mut hostile = String::new();
    for level in 0..99 {
        let _ =
            write!(hostile, "Content-Type: multipart/mixed; boundary={stem}{level:02}\r\n\r\n--{stem}{level:02}\r\n");
    }
    hostile.push_str("\r\n");
    hostile.push_str(&format!("--{stem}zz\r\n").repeat(20_000));
    hostile.push_str(&"--x\n".repeat(200_000));
    let took = shortest(3, || scan(hostile.as_bytes()));
    println!("100 open boundaries against {} octets of almost-delimiters: {took:?}", hostile.len());
    assert!(rate(hostile.len(), took) > 0.02 / f64::from(slack), "{took:?}");
}
