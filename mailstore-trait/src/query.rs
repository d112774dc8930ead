//! What is looked for in a mailbox, the same for IMAP, MAPI and the web.
//!
//! | part | what it is |
//! |---|---|
//! | [`Filter`], [`Test`], [`Builder`] | which messages are wanted, as a flat tree within limits |
//! | [`Pattern`] | a text to look for, and the collation texts are compared by |

mod filter;
mod pattern;

pub use filter::{Builder, Combine, DateOf, Days, Filter, FilterError, HeaderName, Limits as FilterLimits, Need, Test};
pub use pattern::Pattern;
