//! The annotations of one subject.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::MetadataError;
use crate::metadata::{Entry, EntryChange, EntryName, MetadataLimits, Scope, Subject, Wanted};

/// Values by scope and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations(BTreeMap<(Scope, EntryName), Bytes>);

impl Annotations {
    /// Does all changes, or says why none can be done. Whether anything became another.
    pub(super) fn change(&mut self, changes: &[EntryChange], limits: MetadataLimits) -> Result<bool, MetadataError> {
        let mut after = self.0.clone();
        for change in changes {
            let key = (change.scope, change.name.clone());
            match &change.value {
                Some(value) if value.len() as u64 > limits.value => {
                    return Err(MetadataError::TooLarge { limit: limits.value });
                }
                Some(value) => after.insert(key, value.clone()),
                None => after.remove(&key),
            };
        }
        let count = |scope| after.keys().filter(|(of, _)| *of == scope).count();
        // Who is over the limit already may still change and remove.
        let grew = |scope| count(scope) > self.0.keys().filter(|(of, _)| *of == scope).count();
        if changes.iter().any(|change| grew(change.scope) && count(change.scope) > limits.entries) {
            return Err(MetadataError::TooMany);
        }
        let changed = after != self.0;
        self.0 = after;
        Ok(changed)
    }

    pub(super) fn wanted<'a>(&'a self, subject: Subject, wanted: &'a [Wanted]) -> impl Iterator<Item = Entry> + 'a {
        let matches = move |(scope, name): &(Scope, EntryName)| wanted.iter().any(|one| one.matches(*scope, name));
        self.0.iter().filter(move |(key, _)| matches(key)).map(move |((scope, name), value)| Entry {
            subject,
            scope: *scope,
            name: name.clone(),
            value: value.clone(),
        })
    }
}
