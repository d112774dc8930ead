//! What an IMAP server asks of whoever knows people and mailboxes.
//!
//! The session decides everything the protocol can decide: which name means which folder, which messages a sequence set
//! means, when a change may be told. What is left are these questions, in terms of the plain data of `mailstore-trait`.
//! One is out at a time. Each has a refusal that is always safe, and dropping a question's future is always safe too:
//! it leaves all of it done or nothing.
//!
//! | family | questions |
//! |---|---|
//! | people | [`Login`], [`Sasl`] |
//! | reading | [`Folders`], [`View`], [`Items`], [`ReadBody`], [`Changes`], [`Search`] |
//! | messages | [`SetFlags`], [`Copy`](struct@Copy), [`Move`], [`Expunge`] |
//! | appending | [`AppendOpen`], [`AppendChunk`]…, then [`AppendCommit`] or [`AppendAbandon`] |
//! | other people's mailboxes | [`Locate`], [`Shares`] |
//! | abilities | [`GetQuota`], [`SetQuota`], [`DeletedOctets`]; [`Acl`], [`ChangeAcl`], [`Identify`]; [`Metadata`], [`SetMetadata`] |
//! | folders | [`CreateFolder`], [`RenameFolder`], [`RenameInbox`], [`DeleteFolder`], [`Subscribe`] |

mod abilities;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use abilities::{
    Abilities, Acl, ChangeAcl, DeletedOctets, GetQuota, Identified, IdentifierOf, Identify, Locate, Located, Metadata,
    MetadataRefusal, Owner, SetMetadata, SetQuota, Share, Shares,
};
use bytes::Bytes;
use mailstore_trait::change::{ChangePage, ChangesOptions};
use mailstore_trait::date::DateTime;
use mailstore_trait::error::{CommitError, OpError, ReadError, UploadError};
use mailstore_trait::flags::{FlagChange, FlagSet};
use mailstore_trait::folder::{Folder, FolderList, FolderView, Role};
use mailstore_trait::id::{AccountId, EmailId, FolderId, ModSeq, Uid, UidValidity};
use mailstore_trait::item::{ItemPage, ItemsOptions};
use mailstore_trait::metadata::Entry;
use mailstore_trait::query::Filter;
use mailstore_trait::quota::Quota;
use mailstore_trait::sasl::Secret;
use mailstore_trait::session::LayerInfo;
use mailstore_trait::uid_set::UidSet;

mailstore_trait::questions! {
    /// Whether this name and password are somebody's.
    Login -> Result<Authenticated, LoginFailure>, refused by Err(LoginFailure::Unavailable);
    /// One step of a SASL exchange.
    Sasl -> SaslStep, refused by SaslStep::Failed(LoginFailure::Unavailable);
    /// All folders and subscriptions.
    Folders -> Result<Arc<FolderList>, Refusal>, refused by Err(Refusal::Unavailable);
    /// A folder's numbers and UIDs.
    View -> Result<FolderView, Refusal>, refused by Err(Refusal::Unavailable);
    /// A page of rows.
    Items -> Result<ItemPage, Refusal>, refused by Err(Refusal::Unavailable);
    /// A piece of a message.
    ReadBody -> Result<Bytes, Refusal>, refused by Err(Refusal::Unavailable);
    /// What changed since a cursor.
    Changes -> Result<ChangePage, Refusal>, refused by Err(Refusal::Unavailable);
    /// One bounded step of a search.
    Search -> Result<Found, Refusal>, refused by Err(Refusal::Unavailable);
    /// Change flags.
    SetFlags -> Result<FlagsSet, Refusal>, refused by Err(Refusal::Unavailable);
    /// Copy messages.
    Copy -> Result<Transferred, Refusal>, refused by Err(Refusal::Unavailable);
    /// Move messages.
    Move -> Result<Transferred, Refusal>, refused by Err(Refusal::Unavailable);
    /// Remove messages that are marked deleted.
    Expunge -> Result<Expunged, Refusal>, refused by Err(Refusal::Unavailable);
    /// Begin the octets of a message.
    AppendOpen -> Result<(), Refusal>, refused by Err(Refusal::Unavailable);
    /// More octets of it.
    AppendChunk -> Result<(), Refusal>, refused by Err(Refusal::Unavailable);
    /// Make what was appended visible.
    AppendCommit -> Result<Appended, Refusal>, refused by Err(Refusal::Unavailable);
    /// Forget what was appended.
    AppendAbandon -> (), refused by ();
    /// Make a folder.
    CreateFolder -> Result<Folder, Refusal>, refused by Err(Refusal::Unavailable);
    /// Rename or move a folder.
    RenameFolder -> Result<Folder, Refusal>, refused by Err(Refusal::Unavailable);
    /// Move the inbox's messages into a new folder.
    RenameInbox -> Result<Folder, Refusal>, refused by Err(Refusal::Unavailable);
    /// Delete a folder.
    DeleteFolder -> Result<(), Refusal>, refused by Err(Refusal::Unavailable);
    /// Subscribe to a name or end that.
    Subscribe -> Result<(), Refusal>, refused by Err(Refusal::Unavailable);
    /// Whose mailboxes a name below a namespace means.
    Locate -> Result<Located, Refusal>, refused by Err(Refusal::Unavailable);
    /// Everybody whose mailboxes may be seen.
    Shares -> Result<Vec<Share>, Refusal>, refused by Err(Refusal::Unavailable);
    /// Limits and usage.
    GetQuota -> Result<Quota, Refusal>, refused by Err(Refusal::Unavailable);
    /// Set limits.
    SetQuota -> Result<Quota, Refusal>, refused by Err(Refusal::Unavailable);
    /// What an EXPUNGE would give back.
    DeletedOctets -> Result<Vec<(FolderId, u64)>, Refusal>, refused by Err(Refusal::Unavailable);
    /// A folder's list of rights.
    Acl -> Result<Vec<Identified>, Refusal>, refused by Err(Refusal::Unavailable);
    /// Change a folder's list of rights.
    ChangeAcl -> Result<(), Refusal>, refused by Err(Refusal::Unavailable);
    /// Whether an identifier is somebody.
    Identify -> Result<IdentifierOf, Refusal>, refused by Err(Refusal::Unavailable);
    /// Annotations.
    Metadata -> Result<Vec<Entry>, Refusal>, refused by Err(Refusal::Unavailable);
    /// Set annotations.
    SetMetadata -> Result<(), MetadataRefusal>, refused by Err(MetadataRefusal::Refused(Refusal::Unavailable));
}

/// LOGIN (RFC 9051 §6.2.3): whether this name and password are somebody's.
///
/// Refusal: [`LoginFailure::Unavailable`]; the client is told to try later, and it is not counted as a failed login.
#[derive(Debug)]
pub struct Login {
    /// The name, as the client sent it: no preparation was done.
    pub user: String,
    /// The password, as the client sent it.
    pub password: Secret,
}

/// One step of AUTHENTICATE (RFC 9051 §6.2.2). The fulfiller owns the mechanism's machine; a step with a `start` drops
/// any machine that was left.
///
/// The session only asks for mechanisms it advertised. Base64 is undone. When the client cancels with `*`, nothing more
/// is asked.
///
/// Refusal: [`LoginFailure::Unavailable`].
#[derive(Debug)]
pub struct Sasl {
    /// Present in the first step of an exchange.
    pub start: Option<SaslStart>,
    /// What the client sent; `None` in a first step without initial response.
    pub octets: Option<Secret>,
}

/// What a mechanism's machine must know to begin.
#[derive(Debug)]
pub struct SaslStart {
    /// The mechanism's name, in upper case.
    pub mechanism: String,
    /// The TLS beneath, for channel binding and certificates.
    pub tls: Option<LayerInfo>,
}

/// The answer to [`Sasl`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SaslStep {
    /// More is needed: octets to send to the client, before base64.
    Challenge(Bytes),
    /// The client is who it says.
    Authenticated(Authenticated),
    /// It is not, or that could not be found out.
    Failed(LoginFailure),
}

/// Who logged in, and what the session may rely on from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authenticated {
    /// The account whose mail this session works on.
    pub account: AccountId,
    /// The name to show in logs: the identity that is acted as.
    pub user: String,
    /// The largest message the store takes, in octets.
    pub max_message: u64,
    /// The most messages one question may change.
    pub max_ops: usize,
    /// Capabilities to leave out for this account, beside those of the [`Config`](crate::Config::disabled).
    pub disabled: BTreeSet<String>,
    /// The IMAP URL of the server that has their own mailboxes, where this one has others only (RFC 2221 §4).
    pub referral: Option<String>,
    /// What else there is for this client.
    pub abilities: Abilities,
}

impl Authenticated {
    /// Somebody whose store takes messages of up to `max_message` octets and changes `max_ops` messages at once.
    #[must_use]
    pub fn new(account: AccountId, user: String, max_message: u64, max_ops: usize) -> Authenticated {
        Authenticated {
            account,
            user,
            max_message,
            max_ops,
            disabled: BTreeSet::new(),
            referral: None,
            abilities: Abilities::empty(),
        }
    }

    /// The same with these abilities.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Authenticated {
        Authenticated { abilities, ..self }
    }
}

/// Why nobody was logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginFailure {
    /// Wrong name, password or proof, or an exchange that makes no sense. Counted against the session.
    Credentials,
    /// Right, but this client may not act as the identity it asked for. Counted against the session.
    Authorization,
    /// Right, but too old: the password or token must be renewed.
    Expired,
    /// Right, but their mail is on another server: its IMAP URL (RFC 2221 §4).
    Elsewhere(String),
    /// The mechanism can't be used on this connection.
    Mechanism,
    /// Could not be found out.
    Unavailable,
}

/// All folders and subscriptions of an account, from one snapshot. Asked by every command that names a mailbox.
///
/// Refusal: [`Refusal::Unavailable`]; the command is answered NO.
#[derive(Debug)]
pub struct Folders {
    /// Whose.
    pub account: AccountId,
}

/// A folder's numbers and UIDs at one moment, for SELECT, EXAMINE, and after a [`Refusal::Gap`].
///
/// Refusal: [`Refusal::Unavailable`]; the command is answered NO and nothing is selected.
#[derive(Debug)]
pub struct View {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Claim unclaimed messages as recent (RFC 3501 §2.3.2): SELECT does, EXAMINE does not.
    pub claim_recent: bool,
}

/// A page of rows, ascending by UID, not older than any change this session was answered.
///
/// Refusal: [`Refusal::Unavailable`]; the FETCH is answered NO after the rows that were told.
#[derive(Debug)]
pub struct Items {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Which messages; those not there are passed over.
    pub uids: UidSet,
    /// What of them, and how much at most. The session asks again from [`ItemPage::next`].
    ///
    /// A row asked for with its skeleton or its summary has one of this library's version: the fulfiller scans the
    /// message when the store has none.
    pub options: ItemsOptions,
}

/// A non-empty piece of a message from `offset`, of at most `max` octets. Empty only at the message's end.
///
/// Refusal: [`Refusal::Unavailable`]. When a literal's length was announced already, the session can only close.
#[derive(Debug)]
pub struct ReadBody {
    /// Whose.
    pub account: AccountId,
    /// Which message. It stays readable for a grace period after it was removed.
    pub email: EmailId,
    /// Octets from its start.
    pub offset: u64,
    /// Octets at most.
    pub max: usize,
}

/// What changed after a cursor, ascending; removals included.
///
/// Refusal: [`Refusal::Unavailable`]; nothing new is told until it is answered another time. [`Refusal::Gap`] makes the
/// session ask for a [`View`] and find the difference itself. [`Refusal::NotFound`] says that the folder is gone, and
/// ends the selected state.
#[derive(Debug)]
pub struct Changes {
    /// Whose.
    pub account: AccountId,
    /// Since when, of which folder, how many at most. Pages are gathered until [`ChangePage::more`] is false.
    pub options: ChangesOptions,
}

/// One bounded step of a search over messages of one folder.
///
/// A step looks at as many messages as it likes, in ascending order of UID, and says where it stopped; the session asks
/// again from there, and may tell of progress or be cancelled in between.
///
/// Refusal: [`Refusal::Unavailable`]; the SEARCH is answered NO.
#[derive(Debug)]
pub struct Search {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Messages to look at: those in the session's view that earlier steps have not looked at.
    pub uids: UidSet,
    /// What is wanted. The same in every step of one search.
    pub filter: Arc<Filter>,
}

/// The answer to [`Search`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Messages looked at in this step that match.
    pub uids: UidSet,
    /// The first UID not looked at; `None` when the search is complete.
    pub next: Option<Uid>,
}

/// Changes flags of messages in one commit: everything or nothing.
///
/// The session makes two changes of what is one STORE when it must learn which messages others changed meanwhile.
///
/// Refusal: [`Refusal::Unavailable`]; the STORE is answered NO.
#[derive(Debug)]
pub struct SetFlags {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Which messages; those not there are passed over.
    pub uids: UidSet,
    /// What to change.
    pub change: FlagChange,
    /// Leave those that changed after this alone, and say which (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

/// The answer to [`SetFlags`].
#[derive(Clone, Debug)]
pub struct FlagsSet {
    /// A row for each message that was looked at and is there, changed or not, with its flags after the commit.
    pub page: ItemPage,
    /// Those left alone because of `unchanged_since`.
    pub conflicts: UidSet,
    /// The account's change counter after the commit.
    pub upto: ModSeq,
}

/// Copies messages in one commit: all of them or none (RFC 9051 §6.4.7).
///
/// Refusal: [`Refusal::Unavailable`]. [`Refusal::NotFound`] when the target is gone: TRYCREATE.
#[derive(Debug)]
pub struct Copy {
    /// Whose.
    pub account: AccountId,
    /// To whom; the same unless one of them is shared.
    pub to_account: AccountId,
    /// Where they are.
    pub from: FolderId,
    /// Which; those not there are passed over.
    pub uids: UidSet,
    /// Where they go; may be the same folder.
    pub to: FolderId,
}

/// Moves messages in one commit (RFC 6851): never more than [`Authenticated::max_ops`] and the session's own limit.
///
/// Refusal: as [`Copy`](struct@Copy).
#[derive(Debug)]
pub struct Move {
    /// Whose.
    pub account: AccountId,
    /// To whom; the same unless one of them is shared.
    pub to_account: AccountId,
    /// Where they are.
    pub from: FolderId,
    /// Which; those not there are passed over.
    pub uids: UidSet,
    /// Where they go; may be the same folder.
    pub to: FolderId,
}

/// The answer to [`Copy`](struct@Copy) and [`Move`]: what became what. The nth of `from` is the nth of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The UIDVALIDITY of the folder they are in now.
    pub uid_validity: UidValidity,
    /// Their old UIDs.
    pub from: UidSet,
    /// Their new UIDs.
    pub to: UidSet,
    /// The change counter of the account they came from, after the commit.
    pub upto: ModSeq,
}

/// Removes those of these messages that have `\Deleted` at this moment (RFC 9051 §6.4.3), in one commit.
///
/// Refusal: [`Refusal::Unavailable`]; the EXPUNGE is answered NO.
#[derive(Debug)]
pub struct Expunge {
    /// Whose.
    pub account: AccountId,
    /// Which folder.
    pub folder: FolderId,
    /// Which messages; those not there are passed over.
    pub uids: UidSet,
}

/// The answer to [`Expunge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expunged {
    /// Which messages were removed.
    pub uids: UidSet,
    /// The account's change counter after the commit.
    pub upto: ModSeq,
}

/// Begins the octets of a message to append (RFC 9051 §6.3.12), before the client is told to send them. The message
/// opened before it in the same command, if any, is complete.
///
/// The session has checked the size against its own limit and the target against [`Folders`].
///
/// Refusal: [`Refusal::Unavailable`]; what was opened in this command is abandoned.
#[derive(Debug)]
pub struct AppendOpen {
    /// Whose.
    pub account: AccountId,
    /// Where it will go.
    pub folder: FolderId,
    /// Octets to come; `None` for a message put together from parts (RFC 4469), which has as many as chunks bring.
    pub size: Option<u64>,
    /// Whether another message goes when this one comes: then only the commit knows what the quota says (RFC 8508 §3.4).
    pub replaces: bool,
}

/// Octets of the message opened last. The next chunk comes when this is answered: the answer is the back-pressure.
///
/// Refusal: [`Refusal::Unavailable`]; the rest of the literal is read and dropped, the upload is abandoned.
#[derive(Debug)]
pub struct AppendChunk {
    /// The octets, not empty.
    pub octets: Bytes,
}

/// Makes the messages that were opened visible, all at once. Asked only after the command's last CRLF.
///
/// Refusal: [`Refusal::Unavailable`]; nothing was appended.
#[derive(Debug)]
pub struct AppendCommit {
    /// Whose.
    pub account: AccountId,
    /// Where they go.
    pub folder: FolderId,
    /// One for each [`AppendOpen`] of this command, in order.
    pub messages: Vec<AppendMessage>,
    /// The message that is removed in the same commit (RFC 8508 §3.4). One that is gone already is no hindrance.
    pub replaces: Option<Replaced>,
}

/// A message that another one takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it is.
    pub folder: FolderId,
    /// Which.
    pub uid: Uid,
}

/// What is said about a message that is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendMessage {
    /// Its flags.
    pub flags: FlagSet,
    /// Its INTERNALDATE; `None` for now.
    pub internal_date: Option<DateTime>,
}

/// The answer to [`AppendCommit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The folder's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The new messages' UIDs, ascending in the order they were sent.
    pub uids: UidSet,
    /// The account's change counter after the commit.
    pub upto: ModSeq,
}

/// Forgets what was opened and not committed. Nothing of it was visible.
///
/// Refusal: none is needed.
#[derive(Debug)]
pub struct AppendAbandon;

/// Makes a folder, and folders for the levels above it that do not exist (RFC 9051 §6.3.4).
///
/// Refusal: [`Refusal::Unavailable`]; the CREATE is answered NO. Levels made before the refusal stay.
#[derive(Debug)]
pub struct CreateFolder {
    /// Whose.
    pub account: AccountId,
    /// The lowest level that exists; `None` for the top.
    pub parent: Option<FolderId>,
    /// Leaf names below it; the last is the one asked for. Never empty.
    pub path: Vec<String>,
    /// What the last one is for (RFC 6154 §3).
    pub role: Option<Role>,
}

/// Renames or moves a folder; its children come along, and missing levels above the new name are made.
///
/// Refusal: [`Refusal::Unavailable`]; the RENAME is answered NO.
#[derive(Debug)]
pub struct RenameFolder {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub folder: FolderId,
    /// The lowest level of the new name that exists; `None` for the top.
    pub parent: Option<FolderId>,
    /// Leaf names below it; the last is the folder's new name. Never empty.
    pub path: Vec<String>,
}

/// Moves everything in the inbox into a new folder; the inbox and its children stay (RFC 9051 §6.3.6).
///
/// Refusal: [`Refusal::Unavailable`]; the RENAME is answered NO.
#[derive(Debug)]
pub struct RenameInbox {
    /// Whose.
    pub account: AccountId,
    /// The inbox.
    pub inbox: FolderId,
    /// The lowest level of the new name that exists; `None` for the top.
    pub parent: Option<FolderId>,
    /// Leaf names below it; the last is the new folder's. Never empty.
    pub path: Vec<String>,
}

/// Deletes a folder and its messages; with children it stays as a name (RFC 9051 §6.3.5).
///
/// Refusal: [`Refusal::Unavailable`]; the DELETE is answered NO.
#[derive(Debug)]
pub struct DeleteFolder {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub folder: FolderId,
}

/// Adds a name to the subscriptions or takes it out (RFC 9051 §6.3.7, §6.3.8). The name need not exist.
///
/// Refusal: [`Refusal::Unavailable`]; the command is answered NO.
#[derive(Debug)]
pub struct Subscribe {
    /// Whose.
    pub account: AccountId,
    /// Leaf names from the top.
    pub path: Vec<String>,
    /// Whether to add it.
    pub subscribed: bool,
}

/// Why a question about mail was refused: the store's errors as far as a client may know them.
///
/// Sources are not kept: the fulfiller logs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such folder or message, or the client may not know that there is.
    NotFound,
    /// Removals since the cursor are no longer all known.
    Gap,
    /// The name is taken.
    Exists,
    /// The role is another folder's.
    RoleTaken,
    /// Not possible with the inbox.
    Inbox,
    /// The folder has children.
    HasChildren,
    /// The folder is a name only.
    NotSelectable,
    /// A folder can't lie in itself.
    Cycle,
    /// The name is empty, too long, or holds control characters.
    IllegalName,
    /// A precondition does not hold any more.
    Conflict,
    /// The account's quota would be exceeded, or there is no room on the disk.
    OverQuota,
    /// One message or one step is larger than the store takes.
    TooLarge,
    /// UIDs, folders or keywords are used up.
    Limit,
    /// The client may not do this.
    Denied,
    /// The store takes no writes.
    ReadOnly,
    /// Overloaded; try later.
    Busy,
    /// What was stored does not read back.
    Corrupt,
    /// Whether it was done is not known, and repeating did not help.
    Unknown,
    /// The store can't be reached.
    Unavailable,
}

impl From<&ReadError> for Refusal {
    fn from(error: &ReadError) -> Refusal {
        match error {
            ReadError::NotFound => Refusal::NotFound,
            ReadError::Denied => Refusal::Denied,
            ReadError::Gap { .. } => Refusal::Gap,
            ReadError::Busy { .. } => Refusal::Busy,
            ReadError::Corrupt { .. } => Refusal::Corrupt,
            _ => Refusal::Unavailable,
        }
    }
}

impl From<&UploadError> for Refusal {
    fn from(error: &UploadError) -> Refusal {
        match error {
            UploadError::TooLarge { .. } => Refusal::TooLarge,
            UploadError::Full => Refusal::OverQuota,
            _ => Refusal::Unavailable,
        }
    }
}

impl From<&CommitError> for Refusal {
    fn from(error: &CommitError) -> Refusal {
        match error {
            CommitError::Operation { error, .. } => Refusal::from(*error),
            CommitError::TooLarge => Refusal::TooLarge,
            CommitError::ReadOnly => Refusal::ReadOnly,
            CommitError::Full => Refusal::OverQuota,
            CommitError::Busy { .. } => Refusal::Busy,
            CommitError::Unknown(_) => Refusal::Unknown,
            _ => Refusal::Unavailable,
        }
    }
}

impl From<OpError> for Refusal {
    fn from(error: OpError) -> Refusal {
        match error {
            OpError::NotFound => Refusal::NotFound,
            OpError::Exists => Refusal::Exists,
            OpError::RoleTaken => Refusal::RoleTaken,
            OpError::Inbox => Refusal::Inbox,
            OpError::HasChildren => Refusal::HasChildren,
            OpError::NotSelectable => Refusal::NotSelectable,
            OpError::Cycle => Refusal::Cycle,
            OpError::IllegalName => Refusal::IllegalName,
            OpError::Conflict => Refusal::Conflict,
            OpError::Denied => Refusal::Denied,
            OpError::OverQuota => Refusal::OverQuota,
            OpError::Limit => Refusal::Limit,
            _ => Refusal::Unavailable,
        }
    }
}
