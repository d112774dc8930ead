//! Plays tests/transcripts: every rule and every trap of the protocol as a conversation.

#[path = "support/scripted.rs"]
mod scripted;

use mailstore_trait::testkit::transcript;

#[test]
fn transcripts_hold() {
    transcript::play_all(&mut scripted::Scripted::default(), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts"));
}
