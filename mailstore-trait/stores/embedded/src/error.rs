//! Why a store could not be opened or checked.

use std::io;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A folder could not be made or entered.
    #[error("the store's folder can't be used")]
    Folder(#[source] io::Error),
    /// The database is another program's.
    #[error("the database is not a mail store")]
    Foreign,
    /// A newer version of this crate wrote it.
    #[error("the store has format {found}; this version reads up to {supported}")]
    Newer {
        /// The format of the store.
        found: i32,
        /// The newest format this version knows.
        supported: i32,
    },
    /// An earlier version of this crate wrote it, and it is opened for reading only: open it for writing once.
    #[error("the store has format {found}, which becomes {supported} when it is opened for writing")]
    Older {
        /// The format of the store.
        found: i32,
        /// The format of this version.
        supported: i32,
    },
    /// The machine gives no random numbers.
    #[error("no randomness: {0}")]
    Random(String),
    /// The database does not open.
    #[error("the database can't be opened")]
    Database(#[from] rusqlite::Error),
}
