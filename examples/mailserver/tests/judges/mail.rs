//! Messages to send, and what delivery may do to them.

use std::fmt::Write;

/// A plain message of about `octets` octets with this subject: CRLF line ends, lines of every length, some of dots.
pub(crate) fn message(subject: &str, octets: usize) -> String {
    let mut message = format!(
        "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{}.{octets}@example.org>\r\n\r\n",
        subject.replace(' ', "-")
    );
    let mut line = 0;
    while message.len() < octets {
        match line % 7 {
            3 => message.push_str(".\r\n"),
            5 => message.push_str("..two dots\r\n"),
            _ => {
                let _ = write!(message, "line {line} {}\r\n", "x".repeat(line % 70));
            }
        }
        line += 1;
    }
    message.push_str("the end\r\n");
    message
}

/// The message as it goes over SMTP (RFC 5321 §4.5.2), without the final dot.
pub(crate) fn stuffed(message: &str) -> String {
    let stuffed = message.replace("\r\n.", "\r\n..");
    if stuffed.starts_with('.') { format!(".{stuffed}") } else { stuffed }
}

/// Asserts that `received` is `sent` behind trace headers and nothing else.
pub(crate) fn assert_delivered(received: &str, sent: &str) {
    let Some(trace) = received.strip_suffix(sent) else {
        panic!("the message changed on its way:\n--- sent\n{sent}\n--- received\n{received}");
    };
    assert!(trace.contains("Received: "), "{trace}");
    assert!(trace.starts_with("Return-Path: <"), "{trace}");
    assert!(trace.ends_with("\r\n") && !trace.contains("\r\n\r\n"), "only header fields come before: {trace:?}");
}
