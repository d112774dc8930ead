//! Identities: one type for each number whose mix-up would lose mail.
//!
//! Numbers that clients see ([`Uid`], [`UidValidity`]) stay below 2^31, for clients that keep them in signed integers;
//! numbers that MAPI sees ([`ItemId`], [`FolderId`], [`ModSeq`]) stay below 2^48 ([MS-OXCDATA] §2.2.1.1).

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// The largest 48-bit number.
pub const MAX_48: u64 = (1 << 48) - 1;

/// The largest UID a store gives out.
pub const MAX_UID: u32 = (1 << 31) - 1;

macro_rules! id_u64 {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// From a number from 1 to 2^48 - 1.
            #[must_use]
            pub const fn new(value: u64) -> Option<$name> {
                if value > MAX_48 {
                    return None;
                }
                match NonZeroU64::new(value) {
                    Some(value) => Some($name(value)),
                    None => None,
                }
            }

            /// The number.
            #[must_use]
            pub const fn value(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! id_u32 {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The smallest.
            pub const MIN: $name = $name(NonZeroU32::MIN);
            /// The largest the type holds.
            pub const MAX: $name = $name(NonZeroU32::MAX);

            /// From any number but 0.
            #[must_use]
            pub const fn new(value: u32) -> Option<$name> {
                match NonZeroU32::new(value) {
                    Some(value) => Some($name(value)),
                    None => None,
                }
            }

            /// The number.
            #[must_use]
            pub const fn value(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! id_128 {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id_u64! {
    /// An account: the unit of consistency. Never reused.
    AccountId
}
id_u64! {
    /// A folder of an account; never reused inside it.
    FolderId
}
id_u64! {
    /// A message's place in a folder; never reused inside the account, new on copy and move. The base of the POP3 UIDL.
    ItemId
}
id_u64! {
    /// A value of the account's change counter: IMAP's mod-sequence (RFC 7162) and MAPI's change number.
    ModSeq
}
id_u32! {
    /// A message's unique identifier in its folder (RFC 9051 §2.3.1.1). Stores give out at most [`MAX_UID`].
    Uid
}
id_u32! {
    /// The generation of a folder's UIDs (RFC 9051 §2.3.1.1); higher whenever a name is made again.
    UidValidity
}
id_u32! {
    /// A message's place in a session's view of a folder (RFC 9051 §2.3.1.2), from 1.
    SeqNum
}
id_128! {
    /// The octets of one message. Random, fixed before the first octet; a digest is an attribute, never the name.
    BlobId
}
id_128! {
    /// An immutable message of an account, shared by its copies: IMAP's EMAILID (RFC 8474).
    EmailId
}
id_128! {
    /// A conversation: IMAP's THREADID (RFC 8474).
    ThreadId
}
id_128! {
    /// Names one [`Batch`](crate::batch::Batch), so that repeating it is harmless.
    BatchId
}
id_128! {
    /// A message waiting to leave.
    QueueId
}

impl ModSeq {
    /// What an account starts at, before any change.
    pub const FIRST: ModSeq = ModSeq(NonZeroU64::MIN);

    /// The number `n` further on; stops at the largest 48-bit number.
    #[must_use]
    pub fn plus(self, n: u64) -> ModSeq {
        let value = self.value().saturating_add(n).min(MAX_48);
        ModSeq::new(value).unwrap_or(self)
    }
}

impl Uid {
    /// The number `n` further on; stops at the largest the type holds.
    #[must_use]
    pub fn plus(self, n: u32) -> Uid {
        Uid(self.0.saturating_add(n))
    }
}
