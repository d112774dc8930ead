//! Why a store could not be opened.

use mailstore_trait::error::Source;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address of the database is not one.
    #[error("the address of the database can't be read")]
    Address(#[source] Source),
    /// The database could not be reached, or refused.
    #[error("the database can't be reached")]
    Unreachable(#[source] Source),
    /// The tables were written by a newer version of this crate.
    #[error("the store has format {found}; this version knows formats up to {known}")]
    Newer {
        /// The format found.
        found: i64,
        /// The newest format this version reads.
        known: i64,
    },
    /// The database does not write through to its disk, so a commit would not survive a power cut.
    ///
    /// [`Config::require_durable`](crate::Config::require_durable) lets it pass.
    #[error("the database's setting `{setting}` is `{value}`: commits would not survive a power cut")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: String,
    },
}
