//! The MIME structure of messages, found once and read many times (RFC 2045, 2046, 2047, 2183, 2231, 5322).
//!
//! A message is scanned while it arrives, in pieces, by a [`Scanner`]; what comes out is a [`Skeleton`]: a compact run
//! of octets that a store keeps beside the message and that answers ENVELOPE, BODYSTRUCTURE, `BODY[1.2.MIME]` and TOP
//! without the message being read again. Nothing here fails on any input: what is broken is told as well as it can be,
//! what is hostile ends at a limit ([`Limits`]) and is told as an opaque part.
//!
//! | item | what it does |
//! |---|---|
//! | [`Scanner`], [`Skeleton`], [`SkeletonRef`], [`PartRef`], [`Envelope`] | structure, section ranges, envelope |
//! | [`Ingest`], [`Summary`] | both at once, with what lists, search and threads want of a message |
//! | [`header`] | the fields of a header section, unfolding |
//! | [`decode`], [`charset`] | encoded words and character sets to UTF-8 |
//! | [`parse_date`], [`base_subject`], [`message_ids`] | what single fields mean |
//! | [`encoding`] | base64 and quoted-printable, streaming |
//!
//! ```
//! use mailstore_trait::mime::{Limits, Scanner, Specifier};
//!
//! let mut scanner = Scanner::new(Limits::default());
//! scanner.push(b"Subject: two parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
//! scanner.push(b"--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two</p>\r\n--b--\r\n");
//! let skeleton = scanner.finish();
//! assert_eq!(skeleton.root().envelope().unwrap().subject, Some(&b"two parts"[..]));
//! assert!(skeleton.section(&[2]).unwrap().content_type().is("text", "html"));
//! assert_eq!(skeleton.section_range(&[1], Specifier::Content), Some(72..75));
//! ```

mod address;
mod attachment;
mod boundary;
pub mod charset;
mod date;
mod encoded_word;
pub mod encoding;
pub mod header;
mod ingest;
mod limits;
mod message_id;
mod parameter;
mod preview;
mod scanner;
mod skeleton;
mod subject;
mod summary;
mod wire;

pub use address::{Address, Addresses, Mailbox};
pub use date::parse_date;
pub use encoded_word::decode;
pub use encoding::{Decoder, TransferEncoding};
pub use header::{Field, Fields, unfold};
pub use ingest::{Ingest, Ingested};
pub use limits::Limits;
pub use message_id::{MessageIds, message_ids};
pub use parameter::Parameters;
pub use scanner::Scanner;
pub use skeleton::{
    Children, ContentType, Disposition, Envelope, PartKind, PartRef, Parts, Skeleton, SkeletonError, SkeletonRef,
    Specifier,
};
pub use subject::{BaseSubject, base_subject};
pub use summary::{Correspondent, Summary, SummaryError, SummaryRef};
