//! Plays tests/transcripts: every command and every trap as a conversation over the reference store.

#[path = "support/mailbox.rs"]
mod mailbox;

use mailstore_trait::testkit::transcript;

#[test]
fn transcripts_hold() {
    transcript::play_all(&mut mailbox::Mailboxes::default(), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts"));
}
