//! The full-text index of the reference store: what a search looks into, kept beside the messages.
//!
//! As an index that is fed by somebody who comes by now and then: each answer knows what was there when the last one was
//! given.

use std::collections::BTreeMap;

use super::MemStore;
use crate::error::ReadError;
use crate::future::BoxFuture;
use crate::id::{AccountId, EmailId, FolderId, ModSeq};
use crate::item::{ItemsOptions, Projection};
use crate::query::{Filter, Pattern, Test, TextReader, Texts};
use crate::search::{Candidates, SearchStore};
use crate::store::MailStore;
use crate::uid_set::UidSet;

/// What is indexed of an account.
#[derive(Debug)]
pub(super) struct Index {
    upto: ModSeq,
    texts: BTreeMap<EmailId, Texts>,
}

impl Default for Index {
    fn default() -> Index {
        Index { upto: ModSeq::FIRST, texts: BTreeMap::new() }
    }
}

impl Texts {
    /// Whether this test may find something here; `None` for one that looks at something else.
    fn may(&self, test: &Test) -> Option<bool> {
        let in_text = |text: &str, pattern: &Pattern| text.contains(pattern.folded());
        match test {
            Test::Header(name, pattern) if name.is(b"Subject") => Some(in_text(&self.subject, pattern)),
            Test::Header(_, pattern) => Some(in_text(&self.header, pattern)),
            Test::Body(pattern) => Some(in_text(&self.body, pattern)),
            Test::Text(pattern) => Some(in_text(&self.header, pattern) || in_text(&self.body, pattern)),
            _ => None,
        }
    }
}

impl SearchStore for MemStore {
    fn candidates<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Candidates>, ReadError>> {
        Box::pin(async move {
            let options = ItemsOptions {
                content_up_to: u64::MAX,
                max_rows: usize::MAX,
                max_octets: usize::MAX,
                ..ItemsOptions::new(Projection::CONTENT)
            };
            let page = self.items(account, folder, &UidSet::all(), options).await?;
            let at = self.account(account).await?.at;
            let mut tail = UidSet::new();
            Ok(self.with(|state| {
                let index = state.indexes.entry(account).or_default();
                let indexed_upto = index.upto;
                for row in page.rows() {
                    if row.created > index.upto {
                        tail.insert(row.uid);
                    }
                    index.texts.entry(row.email).or_insert_with(|| {
                        let content = page.content(row).unwrap_or_default();
                        let mut reader = TextReader::new(row.size, usize::MAX);
                        while let Some(wanted) = reader.wants() {
                            let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                            reader.feed(content.get(at(wanted.start)..at(wanted.end)).unwrap_or_default());
                        }
                        reader.finish()
                    });
                }
                index.upto = at;
                let indexed = filter.bounds_with(|test| {
                    let rows = page.rows().iter().filter(|row| row.created <= indexed_upto);
                    let texts = rows.map(|row| (row.uid, index.texts.get(&row.email)));
                    let may = texts.map(|(uid, texts)| Some((uid, texts?.may(test)?)));
                    let may: Option<Vec<_>> = may.collect();
                    Some(may?.into_iter().filter_map(|(uid, may)| may.then_some(uid)).collect())
                });
                if indexed == UidSet::all() {
                    return None;
                }
                Some(Candidates { indexed, tail, indexed_upto })
            }))
        })
    }
}
