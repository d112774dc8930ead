//! Who else may use a folder, and for what (RFC 4314).
//!
//! A folder's list holds what its owner granted to others; the owner has every right without being on it. The lists name
//! accounts, not addresses: somebody who gets an old address anew gets none of the rights of whoever had it before.
//! Backends only keep the lists. What they mean is decided in one place, [`Guard`](crate::guard::Guard).

use std::fmt;

use crate::error::AclError;
use crate::flags::SystemFlags;
#[cfg(feature = "async")]
use crate::future::BoxFuture;
use crate::id::{AccountId, FolderId};

/// Entries one list may have; more fail with [`AclError::Limit`].
pub const MAX_ENTRIES: usize = 1000;

bitflags::bitflags! {
    /// What may be done with a folder (RFC 4314 §2.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Rights: u16 {
        /// `l`: see that it is there.
        const LOOKUP = 1;
        /// `r`: read its messages.
        const READ = 1 << 1;
        /// `s`: change `\Seen`, for everybody.
        const SEEN = 1 << 2;
        /// `w`: change flags other than `\Seen` and `\Deleted`.
        const WRITE = 1 << 3;
        /// `i`: put messages into it.
        const INSERT = 1 << 4;
        /// `p`: send mail to its submission address.
        const POST = 1 << 5;
        /// `k`: make folders in it, or move them there.
        const CREATE = 1 << 6;
        /// `x`: delete it, or move it elsewhere.
        const DELETE = 1 << 7;
        /// `t`: change `\Deleted`.
        const DELETE_MESSAGES = 1 << 8;
        /// `e`: expunge.
        const EXPUNGE = 1 << 9;
        /// `a`: read and change this list.
        const ADMIN = 1 << 10;
    }
}

impl Rights {
    /// Every right with its letter, in the order of RFC 4314 §2.1.
    pub const LETTERS: [(Rights, char); 11] = [
        (Rights::LOOKUP, 'l'),
        (Rights::READ, 'r'),
        (Rights::SEEN, 's'),
        (Rights::WRITE, 'w'),
        (Rights::INSERT, 'i'),
        (Rights::POST, 'p'),
        (Rights::CREATE, 'k'),
        (Rights::DELETE, 'x'),
        (Rights::DELETE_MESSAGES, 't'),
        (Rights::EXPUNGE, 'e'),
        (Rights::ADMIN, 'a'),
    ];

    /// The rights these letters stand for; nothing when one of them stands for none.
    ///
    /// `c` and `d` are those of RFC 2086 (RFC 4314 §2.1.1): here `c` is `k`, and `d` is `x`, `t` and `e`.
    #[must_use]
    pub fn parse(letters: &[u8]) -> Option<Rights> {
        letters.iter().try_fold(Rights::empty(), |rights, letter| {
            let right = match letter {
                b'c' => Some(Rights::CREATE),
                b'd' => Some(Rights::DELETE | Rights::DELETE_MESSAGES | Rights::EXPUNGE),
                _ => Rights::LETTERS.iter().find(|(_, known)| *known == char::from(*letter)).map(|(right, _)| *right),
            };
            right.map(|right| rights | right)
        })
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rights::LETTERS
            .iter()
            .filter(|(right, _)| self.contains(*right))
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

/// To whom rights are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grantee {
    /// Everybody who can log in (RFC 4314 §2: `anyone`).
    Anyone,
    /// This principal.
    Account(AccountId),
}

/// One line of a list. Never without rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Who.
    pub grantee: Grantee,
    /// Whether the rights are taken instead of granted (RFC 4314 §2: identifiers that begin with `-`).
    pub negative: bool,
    /// Which.
    pub rights: Rights,
}

/// A folder's list: at most one entry, and one negative entry, for each grantee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// The entries, ascending by grantee, the negative one last.
    pub entries: Vec<AclEntry>,
}

impl Acl {
    /// What somebody who is not the owner may do (RFC 4314 §2): everything granted to them or to anyone, less what is
    /// taken from them or from anyone.
    #[must_use]
    pub fn rights_of(&self, who: AccountId) -> Rights {
        let about = |entry: &&AclEntry| match entry.grantee {
            Grantee::Anyone => true,
            Grantee::Account(account) => account == who,
        };
        let sum = |negative| {
            let entries = self.entries.iter().filter(about).filter(|entry| entry.negative == negative);
            entries.fold(Rights::empty(), |rights, entry| rights | entry.rights)
        };
        sum(false) - sum(true)
    }

    /// The list after a change; a change that leaves no rights takes the entry away.
    ///
    /// # Errors
    /// [`AclError::Limit`] when it would have more than [`MAX_ENTRIES`].
    pub fn change(&mut self, change: AclChange) -> Result<(), AclError> {
        let key = (change.grantee, change.negative);
        let at = self.entries.binary_search_by_key(&key, |entry| (entry.grantee, entry.negative));
        let before = at.ok().and_then(|at| self.entries.get(at)).map_or(Rights::empty(), |entry| entry.rights);
        let rights = match change.rights {
            RightsChange::Replace(rights) => rights,
            RightsChange::Add(rights) => before | rights,
            RightsChange::Remove(rights) => before - rights,
        };
        match at {
            Ok(at) if rights.is_empty() => {
                self.entries.remove(at);
            }
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.rights = rights;
                }
            }
            Err(_) if rights.is_empty() => {}
            Err(_) if self.entries.len() >= MAX_ENTRIES => return Err(AclError::Limit),
            Err(at) => {
                self.entries.insert(at, AclEntry { grantee: change.grantee, negative: change.negative, rights });
            }
        }
        Ok(())
    }
}

/// What to do with one entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AclChange {
    /// Whose entry.
    pub grantee: Grantee,
    /// Whether it is the negative one.
    pub negative: bool,
    /// What with its rights.
    pub rights: RightsChange,
}

impl AclChange {
    /// A change of what is granted.
    #[must_use]
    pub const fn new(grantee: Grantee, rights: RightsChange) -> AclChange {
        AclChange { grantee, negative: false, rights }
    }

    /// The same for the negative entry.
    #[must_use]
    pub const fn negative(self) -> AclChange {
        AclChange { negative: true, ..self }
    }
}

/// What to do with rights (RFC 4314 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChange {
    /// These and no others; none ends the entry.
    Replace(Rights),
    /// These too.
    Add(Rights),
    /// Not these.
    Remove(Rights),
}

/// What somebody may do with the folders of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Everything: it is their own.
    Owner,
    /// These rights, of those folders that have the look-up right. Ascending by folder.
    Shared(Vec<(FolderId, Rights)>),
}

impl Allowed {
    /// The rights to one folder; none without the look-up right.
    #[must_use]
    pub fn rights(&self, folder: FolderId) -> Rights {
        match self {
            Allowed::Owner => Rights::all(),
            Allowed::Shared(rights) => {
                let at = rights.binary_search_by_key(&folder, |(id, _)| *id).ok();
                at.and_then(|at| rights.get(at)).map_or(Rights::empty(), |(_, rights)| *rights)
            }
        }
    }

    /// Whether any folder has all of these.
    #[must_use]
    pub fn any(&self, wanted: Rights) -> bool {
        match self {
            Allowed::Owner => true,
            Allowed::Shared(rights) => rights.iter().any(|(_, rights)| rights.contains(wanted)),
        }
    }
}

/// The flags somebody with these rights may set and clear (RFC 4314 §4).
#[must_use]
pub fn settable(rights: Rights) -> SystemFlags {
    let mut flags = SystemFlags::empty();
    if rights.contains(Rights::SEEN) {
        flags |= SystemFlags::SEEN;
    }
    if rights.contains(Rights::DELETE_MESSAGES) {
        flags |= SystemFlags::DELETED;
    }
    if rights.contains(Rights::WRITE) {
        flags |= SystemFlags::all() - SystemFlags::SEEN - SystemFlags::DELETED;
    }
    flags
}

/// Lists of who may use folders. Optional: [`MailStore::as_acl`](crate::store::MailStore::as_acl).
///
/// A list belongs to its folder: a new folder begins, inside the commit that makes it, with a copy of its parent's list;
/// renaming takes the list along; deleting ends it, also where the name stays for the folders below. Dropping the future
/// of any method leaves all of it done or nothing.
#[cfg(feature = "async")]
pub trait AclStore: Send + Sync {
    /// The lists of all folders of the account that have any entry, ascending by folder, from one snapshot no older than
    /// the last commit that was answered.
    ///
    /// # Errors
    /// [`AclError::NotFound`] when there is no such account.
    fn acls(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(FolderId, Acl)>, AclError>>;

    /// Changes one entry of a folder's list and answers the list.
    ///
    /// Changes made at the same time are all done, one after the other. Durable when answered, and seen by every question
    /// that begins then. When the list became another, the folder takes one change number
    /// ([`ChangeKind::ATTRIBUTES`](crate::change::ChangeKind::ATTRIBUTES)) and watchers get a hint. A crash leaves the
    /// old list or the new. Repeating it is harmless.
    ///
    /// # Errors
    /// [`AclError::NotFound`] when there is no such folder; name-only folders have no list. After [`AclError::Unknown`]
    /// repeat it.
    fn change_acl(
        &self,
        account: AccountId,
        folder: FolderId,
        change: AclChange,
    ) -> BoxFuture<'_, Result<Acl, AclError>>;

    /// Up to `max` accounts after `after`, ascending, that have a folder on whose list `who` or anyone stands with a
    /// positive entry. A candidate: whether a right is left is for the lists to say.
    ///
    /// # Errors
    /// Only those of a store that fails.
    fn shared_with(
        &self,
        who: AccountId,
        after: Option<AccountId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountId>, AclError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64) -> AccountId {
        AccountId::new(number).unwrap()
    }

    #[test]
    fn letters_and_rights_are_one() {
        assert_eq!(Rights::all().to_string(), "lrswipkxtea");
        assert_eq!(Rights::parse(b"lrswipkxtea"), Some(Rights::all()));
        assert_eq!(Rights::parse(b""), Some(Rights::empty()));
        assert_eq!(Rights::parse(b"lq"), None);
        assert_eq!(Rights::parse(b"L"), None, "letters have a case");
        assert_eq!(Rights::parse(b"cd").unwrap().to_string(), "kxte", "RFC 4314 section 2.1.1");
    }

    #[test]
    fn negative_rights_are_taken_from_everything_granted() {
        let mut acl = Acl::default();
        let rights = |letters: &[u8]| Rights::parse(letters).unwrap();
        let mut change = |change| acl.change(change).unwrap();
        change(AclChange::new(Grantee::Anyone, RightsChange::Replace(rights(b"lr"))));
        change(AclChange::new(Grantee::Account(account(7)), RightsChange::Replace(rights(b"swi"))));
        change(AclChange::new(Grantee::Account(account(7)), RightsChange::Replace(rights(b"rw"))).negative());
        change(AclChange::new(Grantee::Account(account(7)), RightsChange::Remove(rights(b"s"))));
        change(AclChange::new(Grantee::Account(account(9)), RightsChange::Add(Rights::empty())));
        assert_eq!(acl.rights_of(account(7)).to_string(), "li");
        assert_eq!(acl.rights_of(account(8)).to_string(), "lr");
        assert_eq!(acl.entries.len(), 3, "an entry without rights is none");
        acl.change(AclChange::new(Grantee::Anyone, RightsChange::Remove(Rights::all()))).unwrap();
        assert_eq!(acl.entries.len(), 2);
    }

    #[test]
    fn lists_are_bounded() {
        let mut acl = Acl::default();
        let change = |n| AclChange::new(Grantee::Account(account(n)), RightsChange::Add(Rights::LOOKUP));
        (1..=MAX_ENTRIES as u64).for_each(|n| acl.change(change(n)).unwrap());
        assert!(matches!(acl.change(change(5000)), Err(AclError::Limit)));
        acl.change(change(5)).unwrap();
    }
}
