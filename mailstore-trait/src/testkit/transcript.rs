//! Conversations as text files: what the peer sends, what the session says, asks and is answered.
//!
//! ```text
//! # RFC 5321 §4.5.2: a leading dot is removed; only CRLF.CRLF ends the data.
//! session: smtp-server   state: envelope      keys for the adapter; two blanks part pairs
//!
//! C: DATA                                     the peer sends a line (CRLF is added); lines in a row come at once
//! S: 354 go ahead                             the session sends a line
//! C~ \{2000:x}\r\n                            the peer sends octets in the form of [`escape`]
//! ? BodyChunk ".dot\r\n"  ! Taken             the session asks; the answer to give
//! ? Commit size=…  ! Queued q1                `…` stands for anything
//! S: 250 2.0.0 queued q1
//! L Tls  ! up version=TLSv1.3 exporter=00ff…  the session asks for a layer; also `! handshake`, `! unavailable`
//! > changes 17                                news from elsewhere, or a client's command
//! @ +300s                                     time passes; also `@ eof`, `@ reset` (writing failed), `@ shutdown`, `@ stall`, `@ drain`
//! = Close(Timeout)                            the session ends; other events look the same: `= Hello mail.example`
//! ```
//!
//! A question without `!` stays unanswered; a line `! …` of its own answers it later. In a client's transcript
//! ([`Adapter::SIDE`]) `S:` is what the peer sends and `C:` what the session says. The header key `after: other.txt`
//! plays that file's steps first; `splits: none` plays only the file as written.
//!
//! Each file is played as written and compared line by line, then octet by octet and at random splits: what is sent,
//! asked and told must be the same at the end of every step. `BLESS=1` in the environment rewrites the expected lines
//! of the file instead of comparing them; review the diff.

#![allow(clippy::indexing_slicing, reason = "a panic here is a failing test")]

mod diff;
pub mod escape;
mod file;
mod play;

use std::path::{Path, PathBuf};

use crate::session::Session;
use crate::testkit::driven::Asked;

pub use file::Header;

/// The random ways each transcript is played, beside whole and octet by octet.
const RANDOM_PLAYS: u64 = 12;

/// The role of the session under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer's lines are `C:`.
    Server,
    /// The peer's lines are `S:`.
    Client,
}

impl Side {
    pub(crate) fn sent_by_peer(self) -> char {
        if self == Side::Server { 'C' } else { 'S' }
    }

    pub(crate) fn sent_by_session(self) -> char {
        if self == Side::Server { 'S' } else { 'C' }
    }
}

/// How a protocol's session appears in transcripts.
pub trait Adapter {
    /// The session.
    type Session: Session;

    /// The session's role.
    const SIDE: Side = Side::Server;

    /// A session as the header describes it. Called before each play: whatever else the adapter keeps begins anew.
    fn session(&mut self, header: &Header) -> Self::Session;

    /// The question's line: its name, a blank, what matters of it.
    fn asked(&mut self, request: &<Self::Session as Session>::Request) -> Asked;

    /// The question answered by what a transcript says behind `!`.
    ///
    /// # Errors
    /// When the text is no answer to this question.
    fn answer(
        &mut self,
        request: <Self::Session as Session>::Request,
        text: &str,
    ) -> Result<<Self::Session as Session>::Answered, String>;

    /// The text of the answer when all goes well: what `BLESS=1` writes behind a question that is new in a file.
    fn usual(&mut self, request: &<Self::Session as Session>::Request) -> Option<String>;

    /// The event's line, or nothing when it is not shown.
    fn event(&mut self, event: &<Self::Session as Session>::Event) -> Option<String>;

    /// What a transcript says behind `>`.
    ///
    /// # Errors
    /// When the text is no news, and always unless this is written.
    fn news(&mut self, text: &str) -> Result<<Self::Session as Session>::News, String> {
        Err(format!("this session takes no news: {text}"))
    }
}

/// Plays every `.txt` file of a directory.
///
/// # Panics
/// With the differences, when a transcript does not hold; and when there is none.
pub fn play_all<A: Adapter>(adapter: &mut A, directory: impl AsRef<Path>) {
    let files = files(directory.as_ref());
    assert!(!files.is_empty(), "no transcripts in {}", directory.as_ref().display());
    let reports: Vec<String> = files.iter().filter_map(|path| play_file(adapter, path).err()).collect();
    assert!(
        reports.is_empty(),
        "{} of {} transcripts do not hold\n\n{}",
        reports.len(),
        files.len(),
        reports.join("\n")
    );
}

/// Plays one file.
///
/// # Panics
/// With the differences, when the transcript does not hold.
pub fn play<A: Adapter>(adapter: &mut A, path: impl AsRef<Path>) {
    if let Err(report) = play_file(adapter, path.as_ref()) {
        panic!("{report}");
    }
}

/// Plays a transcript that lies in the test itself. It is never rewritten, and may not have `after:`.
///
/// # Errors
/// The differences, when the transcript does not hold.
pub fn play_text<A: Adapter>(adapter: &mut A, text: &str) -> Result<(), String> {
    play::check(adapter, text, None, false).map(|_| ())
}

fn play_file<A: Adapter>(adapter: &mut A, path: &Path) -> Result<(), String> {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    // Shown by the test harness when an assertion inside a session fails.
    println!("playing {}", path.display());
    let text = read(path);
    let blessed =
        play::check(adapter, &text, path.parent(), bless).map_err(|report| format!("{}: {report}", path.display()))?;
    if bless && blessed != text {
        std::fs::write(path, blessed).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// What the peer sends in each transcript of a directory, by the file's name without `.txt`: seeds for fuzzing.
///
/// # Panics
/// When a file can't be read or is not a transcript.
#[must_use]
pub fn seeds(side: Side, directory: impl AsRef<Path>) -> Vec<(String, Vec<u8>)> {
    let seed = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let octets = play::input(&read(path), path.parent(), side);
        (name, octets.unwrap_or_else(|report| panic!("{}: {report}", path.display())))
    };
    files(directory.as_ref()).iter().map(seed).collect()
}

/// Keeps a folder of fuzz seeds equal to the transcripts: writes them with `BLESS=1`, else compares.
///
/// # Panics
/// When a seed is missing or stale.
pub fn export_seeds(side: Side, transcripts: impl AsRef<Path>, into: impl AsRef<Path>) {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let into = into.as_ref();
    if bless {
        std::fs::create_dir_all(into).unwrap_or_else(|error| panic!("{}: {error}", into.display()));
    }
    for (name, octets) in seeds(side, transcripts) {
        let path = into.join(&name);
        if bless {
            std::fs::write(&path, &octets).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        let have = std::fs::read(&path).ok();
        assert!(
            have.as_deref() == Some(&octets),
            "{} is not what the transcript sends; BLESS=1 writes it",
            path.display()
        );
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
