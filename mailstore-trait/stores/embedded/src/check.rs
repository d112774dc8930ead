//! Whether what is counted agrees with what is there.

use std::fmt;

use mailstore_trait::id::BlobId;

use crate::fault::Result;
use crate::read::Snapshot;
use crate::write::account::unsigned;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// SQLite's own check found this.
    Database(String),
    /// A folder's counts, highest change or next UID disagree with its messages.
    Folder {
        /// The account's number.
        account: i64,
        /// The folder's number.
        folder: i64,
        /// What disagrees.
        what: &'static str,
    },
    /// An account's counts or its change counter disagree with its folders.
    Account {
        /// The account's number.
        account: i64,
        /// What disagrees.
        what: &'static str,
    },
    /// Two changes of an account have the same number.
    Change {
        /// The account's number.
        account: i64,
        /// The number.
        change: i64,
    },
    /// A message is shown by another number of items than it counts.
    Email {
        /// The email's number.
        email: i64,
    },
    /// Octets are named by another number of emails than they count.
    Blob(BlobId),
    /// The file of these octets is missing or has another length.
    File(BlobId),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Database(what) => write!(f, "database: {what}"),
            Finding::Folder { account, folder, what } => write!(f, "folder {folder} of account {account}: {what}"),
            Finding::Account { account, what } => write!(f, "account {account}: {what}"),
            Finding::Change { account, change } => write!(f, "account {account}: change {change} was given twice"),
            Finding::Email { email } => write!(f, "email {email}: its count of items is wrong"),
            Finding::Blob(blob) => write!(f, "octets {blob}: their count of uses is wrong"),
            Finding::File(blob) => write!(f, "octets {blob}: the file is missing or has another length"),
        }
    }
}

/// Folders whose row disagrees with their items. Each column of the result is one thing that can be wrong.
const FOLDERS: &str = "
    SELECT folder.account, folder.id,
        folder.messages <> count(item.uid),
        folder.unseen <> count(item.uid) FILTER (WHERE (item.flags & 1) = 0),
        folder.deleted <> count(item.uid) FILTER (WHERE (item.flags & 8) = 8),
        folder.octets <> ifnull(sum(item.size), 0),
        folder.uid_next <= ifnull(max(item.uid), 0),
        folder.highest < ifnull(max(item.change), 0)
    FROM folder LEFT JOIN item ON item.account = folder.account AND item.folder = folder.id
    GROUP BY folder.account, folder.id";
const FOLDER_FAULTS: [&str; 6] = ["messages", "unseen", "deleted", "octets", "next UID", "highest change"];

const ACCOUNTS: &str = "
    SELECT account.id,
        account.messages <> ifnull(sum(folder.messages), 0),
        account.octets <> ifnull(sum(folder.octets), 0),
        account.at < ifnull(max(max(folder.highest, folder.change)), 0),
        account.next_folder <= ifnull(max(folder.id), 0)
    FROM account LEFT JOIN folder ON folder.account = account.id
    WHERE account.removed = 0 GROUP BY account.id";
const ACCOUNT_FAULTS: [&str; 4] = ["messages", "octets", "change counter", "next folder"];

const CHANGES: &str = "
    SELECT account, change FROM (
        SELECT account, change FROM item
            WHERE NOT EXISTS (SELECT 1 FROM purge WHERE purge.account = item.account AND purge.folder = item.folder)
        UNION ALL SELECT account, change FROM gone
        UNION ALL SELECT account, change FROM folder_gone
    ) GROUP BY account, change HAVING count(*) > 1";

const EMAILS: &str = "
    SELECT email.id FROM email
    LEFT JOIN (SELECT email, count(*) AS uses FROM item GROUP BY email) AS shown ON shown.email = email.id
    WHERE email.uses <> ifnull(shown.uses, 0)
    UNION SELECT item.email FROM item WHERE NOT EXISTS (SELECT 1 FROM email WHERE email.id = item.email)";

const BLOBS: &str = "
    SELECT blob.name FROM blob
    LEFT JOIN (
        SELECT blob, count(*) AS uses FROM (SELECT blob FROM email UNION ALL SELECT blob FROM queue) GROUP BY blob
    ) AS named ON named.blob = blob.name
    WHERE blob.uses <> ifnull(named.uses, 0)
        OR (blob.body IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM body WHERE body.id = blob.body AND length(body.octets) = blob.size))
    UNION SELECT email.blob FROM email WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.name = email.blob)";

/// Those of these missing files that a row names.
pub(crate) fn still_missed(snapshot: &Snapshot<'_>, findings: &[Finding]) -> Result<Vec<BlobId>> {
    let mut find = snapshot.connection.prepare("SELECT 1 FROM blob WHERE name = ?1")?;
    let mut missed = Vec::new();
    for finding in findings {
        if let Finding::File(blob) = finding
            && find.exists([&blob.0[..]])?
        {
            missed.push(*blob);
        }
    }
    Ok(missed)
}

pub(crate) fn check(snapshot: &Snapshot<'_>) -> Result<Vec<Finding>> {
    let connection = snapshot.connection;
    let mut findings = Vec::new();
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let what: String = row.get(0)?;
        if what != "ok" {
            findings.push(Finding::Database(what));
        }
    }
    let mut statement = connection.prepare(FOLDERS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (at, what) in FOLDER_FAULTS.into_iter().enumerate() {
            if row.get(at + 2)? {
                findings.push(Finding::Folder { account: row.get(0)?, folder: row.get(1)?, what });
            }
        }
    }
    let mut statement = connection.prepare(ACCOUNTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (at, what) in ACCOUNT_FAULTS.into_iter().enumerate() {
            if row.get(at + 1)? {
                findings.push(Finding::Account { account: row.get(0)?, what });
            }
        }
    }
    let mut statement = connection.prepare(CHANGES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        findings.push(Finding::Change { account: row.get(0)?, change: row.get(1)? });
    }
    let mut statement = connection.prepare(EMAILS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        findings.push(Finding::Email { email: row.get(0)? });
    }
    let mut statement = connection.prepare(BLOBS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        findings.push(Finding::Blob(BlobId(row.get(0)?)));
    }
    let mut statement = connection.prepare("SELECT name, size FROM blob WHERE body IS NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, size) = (BlobId(row.get(0)?), unsigned(row.get(1)?));
        if snapshot.env.blobs.len(name)? != Some(size) {
            findings.push(Finding::File(name));
        }
    }
    Ok(findings)
}
