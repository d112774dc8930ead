//! What is looked for in a mailbox, the same for IMAP, MAPI and the web.
//!
//! | part | what it is |
//! |---|---|
//! | [`Filter`], [`Test`], [`Builder`] | which messages are wanted, as a flat tree within limits |
//! | [`Pattern`] | a text to look for, and the collation texts are compared by |
//! | [`Sorter`], [`Threader`] | the order of messages, and their conversations, from pages of rows |
//! | `TextReader`, `Texts` | what of a message is searched, for an index (feature `async`) |
//! | [`Search`], `search_step` | a question, and one bounded step towards its answer (feature `async`) |

mod collation;
#[cfg(feature = "async")]
mod extract;
mod filter;
#[cfg(feature = "async")]
pub(crate) mod message;
mod order;
mod pattern;
#[cfg(feature = "async")]
mod row;
mod search;
#[cfg(feature = "async")]
#[cfg(test)]
mod tests;
#[cfg(feature = "async")]
mod text;
mod thread;

#[cfg(feature = "async")]
pub use extract::{TextReader, Texts};
pub use filter::{Builder, Combine, DateOf, Days, Filter, FilterError, HeaderName, Limits as FilterLimits, Need, Test};
pub use order::{Criterion, OrderLimits, SortKey, Sorter, TooMany};
pub use pattern::Pattern;
pub use search::Search;
#[cfg(feature = "async")]
pub use search::{Budget, Cursor, Step, search_step};
pub use thread::{Algorithm, ThreadToken, Threader};
