//! Moving mail in and out: mbox files, Maildirs and other servers, streamed message by message.

pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod import;
mod maildir;
mod mbox;

use std::path::PathBuf;

use mailstore_trait::error::{CommitError, ReadError, UploadError};

/// Why mail could not be moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: at octet {offset}: {problem}", path.display())]
    Malformed { path: PathBuf, offset: u64, problem: &'static str },
    #[error("{}: neither an mbox file, nor a directory of them, nor a Maildir", .0.display())]
    UnknownFormat(PathBuf),
    #[error("{0:?}: not imaps://user@host[:port], nor imap://user@host[:port]")]
    Source(String),
    #[error("{0}")]
    Remote(String),
    #[error("{0:?} can't be the name of a folder")]
    FolderName(String),
    #[error("the store: {0}")]
    Read(#[from] ReadError),
    #[error("the store: {0}")]
    Upload(#[from] UploadError),
    #[error("the store: {0}")]
    Commit(#[from] CommitError),
}

/// Puts the path to an I/O error.
fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> TransferError + '_ {
    move |source| TransferError::Io { path: path.to_owned(), source }
}
