//! What goes wrong inside, before it is said in the words of the family that asked.
//!
//! One commit answers many batches, so a fault can be cloned; the error it came from is shared.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::error::{CommitError, DirectoryError, LeaseError, OpError, ReadError, Source, UploadError};
use mailstore_trait::id::{BlobId, ModSeq};
use rusqlite::ErrorCode;

/// When a caller that met an overload should come back.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// An error that several answers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[derive(Clone, Debug)]
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
    Busy,
    Corrupt(String),
    ReadOnly,
    Full,
    /// Lease: another has it.
    Held,
    /// Lease: another got it.
    Lost,
    Exists,
    IllegalAddress,
    Unknown(Shared),
    Unavailable(Shared),
}

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    pub(crate) fn unavailable(error: impl Into<Source>) -> Fault {
        Fault::Unavailable(Shared(Arc::from(error.into())))
    }

    /// A row that does not read back.
    pub(crate) fn corrupt(what: impl Into<String>) -> Fault {
        Fault::Corrupt(what.into())
    }

    /// What a failed COMMIT means. Only there may something have been done.
    pub(crate) fn of_commit(error: rusqlite::Error) -> Fault {
        match Fault::from(error) {
            Fault::Unavailable(error) => Fault::Unknown(error),
            known => known,
        }
    }

    fn source(self) -> Source {
        match self {
            Fault::Unknown(error) | Fault::Unavailable(error) => Box::new(error),
            Fault::Corrupt(what) => format!("corrupt: {what}").into(),
            Fault::Full => "no space left".into(),
            Fault::ReadOnly => "the store is read-only".into(),
            Fault::Busy => "busy".into(),
            Fault::BlobGone(blob) => format!("octets {blob} are gone").into(),
            other => format!("{other:?}").into(),
        }
    }
}

impl From<OpError> for Fault {
    fn from(error: OpError) -> Fault {
        Fault::Op(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => return Fault::Corrupt(error.to_string()),
            _ => {}
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault::Full,
            Some(ErrorCode::ReadOnly) => Fault::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Corrupt(format!("database: {error}")),
            _ => Fault::unavailable(error),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly,
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
            Fault::Unknown(error) => CommitError::Unknown(Box::new(error)),
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
            Fault::Lost => LeaseError::Lost,
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
