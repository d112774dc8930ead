//! What goes wrong inside, before it is said in the words of the family that asked.
//!
//! The one distinction that matters for mail: whether the database may have done what it was asked. A fault is *passing*
//! when nothing was done and trying again may help; whether a COMMIT was on its way is the caller's to know.

use std::time::Duration;

use mailstore_trait::error::{CommitError, DirectoryError, LeaseError, OpError, ReadError, Source, UploadError};
use mailstore_trait::id::{BlobId, ModSeq};
use tokio_postgres::error::{Severity, SqlState};

/// When a caller that met an overload should come back.
const RETRY_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) enum Fault {
    /// This operation cannot be done.
    Op(OpError),
    /// An operation cannot be done, and so the batch is not.
    Refused {
        account: usize,
        at: usize,
        error: OpError,
    },
    Fenced,
    TooLarge,
    BlobGone(BlobId),
    NotFound,
    Gap(ModSeq),
    Corrupt(String),
    ReadOnly,
    Full,
    /// Lease: another has it.
    Held,
    /// Lease: another got it.
    Taken,
    Exists,
    IllegalAddress,
    /// Passing: the connection was lost, or its server process was ended.
    Lost(Source),
    /// Passing: the database asks to begin anew (deadlock, serialization).
    Anew(Source),
    /// Passing: somebody else was quicker with the same key.
    Raced(Source),
    /// No connection, no lock in time.
    Busy,
    Unknown(Source),
    Unavailable(Source),
}

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    pub(crate) fn unavailable(error: impl Into<Source>) -> Fault {
        Fault::Unavailable(error.into())
    }

    pub(crate) fn lost(error: impl Into<Source>) -> Fault {
        Fault::Lost(error.into())
    }

    /// A row that does not read back.
    pub(crate) fn corrupt(what: impl Into<String>) -> Fault {
        Fault::Corrupt(what.into())
    }

    /// Whether beginning anew may help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Fault::Lost(_) | Fault::Anew(_) | Fault::Raced(_))
    }

    /// Whether this was said with the account locked and the batch's record looked at, so that it is certain that the
    /// batch was not done by an earlier attempt.
    pub(crate) fn is_verdict(&self) -> bool {
        matches!(
            self,
            Fault::Op(_)
                | Fault::Refused { .. }
                | Fault::Fenced
                | Fault::TooLarge
                | Fault::BlobGone(_)
                | Fault::Corrupt(_)
        )
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Fault::Lost(error)
            | Fault::Anew(error)
            | Fault::Raced(error)
            | Fault::Unknown(error)
            | Fault::Unavailable(error) => error,
            Fault::Corrupt(what) => format!("corrupt: {what}").into(),
            Fault::Full => "no space left".into(),
            Fault::ReadOnly => "the database is read-only".into(),
            Fault::Busy => "busy".into(),
            other => format!("{other:?}").into(),
        }
    }
}

impl From<OpError> for Fault {
    fn from(error: OpError) -> Fault {
        Fault::Op(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        let Some(db) = error.as_db_error() else { return Fault::lost(error) };
        if matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            // The server process is gone, or there was no room for one.
            return if *db.code() == SqlState::TOO_MANY_CONNECTIONS { Fault::Busy } else { Fault::lost(error) };
        }
        match db.code() {
            code if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => {
                Fault::Anew(Box::new(error))
            }
            code if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::FOREIGN_KEY_VIOLATION => {
                Fault::Raced(Box::new(error))
            }
            code if *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::QUERY_CANCELED
                || *code == SqlState::TOO_MANY_CONNECTIONS =>
            {
                Fault::Busy
            }
            code if *code == SqlState::DISK_FULL => Fault::Full,
            code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Fault::ReadOnly,
            code if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                Fault::Corrupt(error.to_string())
            }
            _ => Fault::unavailable(error),
        }
    }
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> CommitError {
        match fault {
            Fault::Op(error) => CommitError::Operation { account: 0, at: 0, error },
            Fault::Refused { account, at, error } => CommitError::Operation { account, at, error },
            Fault::Fenced => CommitError::Fenced,
            Fault::TooLarge => CommitError::TooLarge,
            Fault::BlobGone(blob) => CommitError::BlobGone(blob),
            Fault::NotFound => CommitError::Operation { account: 0, at: 0, error: OpError::NotFound },
            Fault::Busy => CommitError::Busy { retry_after: RETRY_AFTER },
            Fault::ReadOnly => CommitError::ReadOnly,
            Fault::Full => CommitError::Full,
            Fault::Unknown(error) => CommitError::Unknown(error),
            other => CommitError::Unavailable(other.source()),
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        match fault {
            Fault::NotFound | Fault::Op(OpError::NotFound) => ReadError::NotFound,
            Fault::Gap(floor) => ReadError::Gap { floor },
            Fault::Busy => ReadError::Busy { retry_after: RETRY_AFTER },
            Fault::Corrupt(what) => ReadError::Corrupt { what },
            other => ReadError::Unavailable(other.source()),
        }
    }
}

impl From<Fault> for UploadError {
    fn from(fault: Fault) -> UploadError {
        match fault {
            Fault::Full => UploadError::Full,
            other => UploadError::Unavailable(other.source()),
        }
    }
}

impl From<Fault> for LeaseError {
    fn from(fault: Fault) -> LeaseError {
        match fault {
            Fault::Held => LeaseError::Held,
            Fault::Taken => LeaseError::Lost,
            other => LeaseError::Unavailable(other.source()),
        }
    }
}

impl From<Fault> for DirectoryError {
    fn from(fault: Fault) -> DirectoryError {
        match fault {
            Fault::Exists => DirectoryError::Exists,
            Fault::NotFound => DirectoryError::NotFound,
            Fault::IllegalAddress => DirectoryError::IllegalAddress,
            other => DirectoryError::Unavailable(other.source()),
        }
    }
}
