//! A message of 1 GiB goes in and out through a small window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use bytes::Bytes;
use common::*;
use mailstore_trait::batch::Content;
use mailstore_trait::flags::FlagSet;
use mailstore_trait::store::{MailStore, UploadOptions};

/// The most memory this process ever had, in octets. Linux only.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("needs Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn passes_through(size: u64) {
    let mail = mail().await;
    let before = peak();
    let piece = Bytes::from(
        (0..64 * 1024_u32).map(|n| if n % 78 == 77 { b'\n' } else { b'a' + (n % 26) as u8 }).collect::<Vec<_>>(),
    );
    let mut upload = mail.store.upload(UploadOptions::new(size).expecting(size)).await.unwrap();
    for _ in 0..size / piece.len() as u64 {
        upload.write(piece.clone()).await.unwrap();
    }
    let staged = upload.finish().await.unwrap();
    let prefix = Bytes::from_static(b"Return-Path: <>\r\n");
    let op = add(mail.inbox, Content::Prefixed(prefix.clone(), staged), FlagSet::new());
    let added = added(&one(&mail.store, op).await);
    let mut offset = prefix.len() as u64;
    while offset < size {
        let part = MailStore::read(&mail.store, account(ME), added.email, offset, piece.len()).await.unwrap();
        assert!(part == piece, "at {offset}");
        offset += part.len() as u64;
    }
    let grown = peak() - before;
    assert!(grown < 32 << 20, "{grown} octets more memory");
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn a_message_of_64_mib_never_sits_in_memory() {
    passes_through(64 << 20).await;
}

#[tokio::test]
#[ignore = "needs 1 GiB of disk and a minute"]
async fn a_message_of_1_gib_never_sits_in_memory() {
    passes_through((1 << 30) - (1 << 20)).await;
}
