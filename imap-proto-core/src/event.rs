//! What a session tells the embedder, and what the embedder tells a session.

use mailstore_trait::id::{AccountId, ModSeq};

/// For logs, metrics and subscriptions; needs no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client logged in. From now on the driver passes change hints of this account to the session as
    /// [`News::Hint`].
    LoggedIn {
        /// Whose mail it works on.
        account: AccountId,
        /// The name it acts as.
        user: String,
    },
    /// The client logged out and stays connected (RFC 8437): hints of the account are not for it any more.
    LoggedOut,
    /// A login failed.
    LoginFailed {
        /// The name that was tried, as far as the protocol saw it: SASL hides it.
        user: Option<String>,
    },
    /// A mailbox was selected.
    Selected {
        /// Its name.
        mailbox: String,
        /// Messages in the view.
        exists: u32,
    },
    /// From now on the driver passes change hints of this account instead: a mailbox of it is selected.
    Watch {
        /// Whose.
        account: AccountId,
    },
    /// A message was appended.
    Appended {
        /// Its octets.
        size: u64,
    },
    /// The client said what it is (RFC 2971). For logs only: it never changes what a session does.
    ClientId {
        /// Field names and values, in the order they were sent.
        fields: Vec<(String, Option<String>)>,
    },
    /// Something the peer or the store did against the rules; the text says what, without message contents.
    Fault {
        /// What happened.
        what: &'static str,
    },
}

/// What happened elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// An account reached a change. Lossy and coalescing: a hint only makes the session ask.
    Hint {
        /// The account.
        account: AccountId,
        /// At least this far.
        upto: ModSeq,
    },
}
