//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Octets;

/// A mail server: SMTP, submission, LMTP, POP3 and IMAP on one mailbox.
#[derive(Debug, Parser)]
#[command(name = "mailserver", version)]
pub(crate) struct Cli {
    /// The configuration file. Without it: ./mailserver.toml if there is one, else the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or SIGINT (the default).
    Serve,
    /// Add, list and remove accounts, set passwords; also while the server runs.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Bring messages of an mbox file, a directory of them or a Maildir into an account.
    ///
    /// An mbox file named inbox or mbox (.mbox) goes into the inbox, any other into a folder of its name. The same import once
    /// more adds nothing.
    Import {
        /// The account's address.
        address: String,
        /// An mbox file, a directory of them, or a Maildir.
        path: PathBuf,
        /// Skip messages that can't be read instead of stopping at the first.
        #[arg(long)]
        skip_malformed: bool,
    },
    /// Copy all mail of an account on another server into an account here.
    ///
    /// Flags, folders and dates are kept. A copy that was cut off goes on where it was; the same copy once more brings what
    /// is new.
    Copy {
        /// The account's address here.
        address: String,
        /// The account there: imaps://user@host:port, or imap://user@host:port with STARTTLS. The port may be left out.
        source: String,
        /// Read the password there from the first line of standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        /// Trust the certificates in this file instead of the system's.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Write an account's messages into a Maildir, or into one mbox file for each folder.
    Export {
        /// The account's address.
        address: String,
        /// The directory to make.
        path: PathBuf,
        /// Write mbox files instead of a Maildir.
        #[arg(long)]
        mbox: bool,
    },
    /// Look at and change the mail that waits to leave.
    Queue {
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Check the configuration and say what it means.
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account.
    Add {
        /// Its address.
        address: String,
        /// Read the password from the first line of standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        /// How much mail it may hold, such as 500MiB; "none" for no limit. Without it: `quota` of the configuration.
        #[arg(long, value_name = "SIZE")]
        quota: Option<Quota>,
    },
    /// Say how much an account holds and may hold, or set how much it may.
    Quota {
        /// Its address.
        address: String,
        /// How much mail it may hold, such as 500MiB; "none" for no limit.
        size: Option<Quota>,
    },
    /// List the accounts.
    List,
    /// Remove an account together with its mail. Its address can be given away again.
    Remove {
        /// Its address.
        address: String,
    },
    /// Set an account's password.
    Passwd {
        /// Its address.
        address: String,
        /// Read the password from the first line of standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// How much mail an account may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota(pub(crate) Option<u64>);

impl std::str::FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Quota, String> {
        match text {
            "none" => Ok(Quota(None)),
            text => text.parse().map(|Octets(octets)| Quota(Some(octets))),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List what waits.
    List {
        #[command(flatten)]
        which: Which,
        /// One JSON object a line instead of text for people.
        #[arg(long)]
        json: bool,
    },
    /// Try entries again now; without any, all.
    Flush {
        #[command(flatten)]
        which: Which,
    },
    /// Remove entries. Nobody is told.
    Remove {
        #[command(flatten)]
        which: Which,
    },
    /// Keep entries from being tried until they are released.
    Hold {
        #[command(flatten)]
        which: Which,
    },
    /// Let entries go that are held.
    Release {
        #[command(flatten)]
        which: Which,
    },
}

/// Entries of the queue. Several conditions mean those that meet all of them.
#[derive(Debug, Default, Args)]
pub(crate) struct Which {
    /// Their ids.
    pub(crate) ids: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Those that wait for a recipient in this domain.
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// Those from this sender; "" for reports, which have none.
    #[arg(long)]
    pub(crate) sender: Option<String>,
}
