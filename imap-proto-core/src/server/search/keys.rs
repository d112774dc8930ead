//! From the keys of a command to the filter they mean: everything that only the session knows becomes UIDs.

use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::id::Uid;
use mailstore_trait::query::{Builder, Combine, DateOf, Days, Filter, FilterError, FilterLimits, Test};
use mailstore_trait::uid_set::UidSet;

use super::super::condstore::modseq;
use crate::command::{SearchArguments, SearchKey, SearchToken, SequenceSet, When};
use crate::response::Reply;
use crate::view::View;

/// Which messages numbers mean.
pub(super) trait Place {
    /// The messages of a set; `None` when a number has no message and needs one.
    fn resolve(&self, uid: bool, set: &SequenceSet) -> Option<UidSet>;
    /// Messages that are recent to this session.
    fn recent(&self) -> UidSet;
}

/// The selected mailbox, now.
pub(super) struct Selected<'a>(pub(super) &'a View);

impl Place for Selected<'_> {
    fn resolve(&self, uid: bool, set: &SequenceSet) -> Option<UidSet> {
        self.0.resolve(uid, set)
    }

    fn recent(&self) -> UidSet {
        self.0.recent().clone()
    }
}

/// The selected mailbox, now and as it will be: UIDs mean messages that are still to come, too (RFC 5267 §4.3).
pub(super) struct Lasting<'a>(pub(super) &'a View);

impl Place for Lasting<'_> {
    fn resolve(&self, uid: bool, set: &SequenceSet) -> Option<UidSet> {
        let mut uids = self.0.resolve(uid, set)?;
        if uid && !set.is_saved() {
            set.all_uids(Uid::MAX).ranges().for_each(|range| uids.insert_range(range));
        }
        Some(uids)
    }

    fn recent(&self) -> UidSet {
        self.0.recent().clone()
    }
}

/// The filter of a command.
///
/// # Errors
/// The answer when there can't be one.
pub(super) fn filter(
    place: &dyn Place,
    limits: FilterLimits,
    arguments: &SearchArguments<'_>,
) -> Result<Filter, Reply> {
    let mut builder = Builder::new(limits);
    for token in &arguments.tokens {
        let added = match token {
            SearchToken::Open(combine) => builder.open(*combine),
            SearchToken::Close => builder.close(),
            SearchToken::Key(key) => add(&mut builder, place, key)?,
        };
        if added.is_err() {
            return Err(Reply::no("LIMIT", "The search is too large"));
        }
    }
    builder.finish().map_err(|_| Reply::bad("Syntax error"))
}

type Added = Result<(), FilterError>;

/// Adds a key to the filter; the answer when it can't be.
fn add(builder: &mut Builder, place: &dyn Place, key: &SearchKey<'_>) -> Result<Added, Reply> {
    Ok(match key {
        SearchKey::All => builder.test(Test::All),
        SearchKey::Flag(flag, set) => add_if(builder, Test::Flags(*flag), *set),
        SearchKey::Keyword(word, set) => match std::str::from_utf8(word).ok().and_then(Keyword::new) {
            Some(keyword) => add_if(builder, Test::Keyword(keyword), *set),
            // A word that can't be a keyword is on no message.
            None => add_if(builder, Test::All, !*set),
        },
        SearchKey::Recent => builder.test(Test::Uids(place.recent())),
        SearchKey::Old => add_if(builder, Test::Uids(place.recent()), false),
        SearchKey::New => new(builder, place),
        SearchKey::Header(name, text) => builder.test(Test::header(name, text)),
        SearchKey::Body(text) => builder.test(Test::body(text)),
        SearchKey::Text(text) => builder.test(Test::text(text)),
        SearchKey::Larger(octets) => builder.test(Test::Larger(*octets)),
        SearchKey::Smaller(octets) => builder.test(Test::Smaller(*octets)),
        SearchKey::Date(of, when, day) => {
            let days = match when {
                When::Before => Days::before(*day),
                When::On => Days::on(*day),
                When::Since => Days::since(*day),
            };
            builder.test(Test::Day(*of, days))
        }
        SearchKey::Younger(seconds, younger) => add_if(builder, Test::Younger(DateOf::Internal, *seconds), *younger),
        SearchKey::SaveDateSupported => builder.test(Test::All),
        // What was never given out is on no message.
        SearchKey::Email(None) | SearchKey::Thread(None) => add_if(builder, Test::All, false),
        SearchKey::Email(Some(email)) => builder.test(Test::Email(*email)),
        SearchKey::Thread(Some(thread)) => builder.test(Test::Thread(*thread)),
        SearchKey::ModSeq(value) => builder.test(Test::ModSeq(modseq(*value))),
        SearchKey::UidBeyond(uid, above) => {
            let mut uids = UidSet::new();
            match (*above, uid.value().checked_sub(1).and_then(Uid::new)) {
                (true, _) if *uid == Uid::MAX => {}
                (true, _) => uids.insert_range(uid.plus(1)..=Uid::MAX),
                (false, Some(before)) => uids.insert_range(Uid::MIN..=before),
                (false, None) => {}
            }
            builder.test(Test::Uids(uids))
        }
        SearchKey::Uid(set) => builder.test(Test::Uids(place.resolve(true, set).unwrap_or_default())),
        SearchKey::Sequence(set) => match place.resolve(false, set) {
            Some(uids) => builder.test(Test::Uids(uids)),
            None => return Err(Reply::bad("No such message")),
        },
    })
}

/// The test, or its opposite.
fn add_if(builder: &mut Builder, test: Test, holds: bool) -> Added {
    if !holds {
        builder.open(Combine::Not)?;
    }
    builder.test(test)
}

/// RFC 3501 §6.4.4, NEW: `(RECENT UNSEEN)`.
fn new(builder: &mut Builder, place: &dyn Place) -> Added {
    builder.open(Combine::And)?;
    builder.test(Test::Uids(place.recent()))?;
    add_if(builder, Test::Flags(SystemFlags::SEEN), false)?;
    builder.close()
}
