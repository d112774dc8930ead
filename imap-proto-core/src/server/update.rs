//! Searches whose results are kept up to date (RFC 5267 §4.3): what came or changed is looked at for each of them.

use std::sync::Arc;

use mailstore_trait::item::{ItemPage, ItemsOptions};
use mailstore_trait::query::TooMany;
use mailstore_trait::uid_set::UidSet;

use super::search::after;
use super::state::{Core, Step};
use crate::request::{Answer, Items, Search};
use crate::view::{Context, without};

/// A round through the contexts of the view.
#[derive(Debug)]
pub(super) struct Update {
    touched: UidSet,
    /// The context that is looked at.
    at: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The next context begins.
    Next,
    /// Which of the messages match; those that are left, and those that do.
    Looking(UidSet, UidSet),
    /// The rows of new results that have an order.
    Placing(UidSet),
}

impl Update {
    pub(super) fn new(touched: UidSet) -> Update {
        Update { touched, at: 0, stage: Stage::Next }
    }

    /// What is needed next; `None` when the round is over.
    pub(super) fn poll(&mut self, core: &mut Core) -> Option<Step> {
        loop {
            if !core.has_room() {
                return Some(Step::Drain);
            }
            let account = core.view_account()?;
            let Core { view: Some(view), outbox, config, .. } = core else { return None };
            let folder = view.folder();
            let context = view.context_at(self.at).filter(|_| !self.touched.is_empty())?;
            match &mut self.stage {
                Stage::Next => {
                    let left = self.touched.intersection(&context.filter().bounds());
                    self.stage = Stage::Looking(left, UidSet::new());
                }
                Stage::Looking(left, _) if !left.is_empty() => {
                    let (uids, filter) = (left.clone(), Arc::clone(context.filter()));
                    return Some(core.ask(Search { account, folder, uids, filter }));
                }
                Stage::Looking(_, found) => {
                    let gone = without(&self.touched, found);
                    let new = without(found, context.results());
                    let sorted = context.projection().is_some();
                    let out = outbox.text();
                    view.update_context(self.at, |context, view| {
                        context.remove(&gone, view, out);
                        if !sorted && !new.is_empty() {
                            context.add(new.clone(), view, out);
                        }
                    });
                    if sorted && !new.is_empty() {
                        self.stage = Stage::Placing(new);
                    } else {
                        self.next();
                    }
                }
                Stage::Placing(left) if !left.is_empty() => {
                    let uids = left.clone();
                    let mut options = ItemsOptions::new(context.projection().unwrap_or_default());
                    options.max_rows = config.limits.rows;
                    return Some(core.ask(Items { account, folder, uids, options }));
                }
                Stage::Placing(_) => self.next(),
            }
        }
    }

    pub(super) fn answer(&mut self, core: &mut Core, answer: Answer) {
        match (answer, &mut self.stage) {
            (Answer::Search(Ok(step)), Stage::Looking(left, found)) => {
                left.intersection(&step.uids).ranges().for_each(|range| found.insert_range(range));
                *left = after(left, step.next);
            }
            (Answer::Items(Ok(page)), Stage::Placing(left)) => {
                let asked = std::mem::replace(left, after(left, page.next));
                if self.place(core, &page, &asked).is_err() {
                    self.give_up(core, "Too many results");
                }
            }
            _ => self.give_up(core, "The search can't be gone on with"),
        }
    }

    fn place(&self, core: &mut Core, page: &ItemPage, asked: &UidSet) -> Result<(), TooMany> {
        let Core { view: Some(view), outbox, config, .. } = core else { return Ok(()) };
        let (out, most) = (outbox.text(), config.limits.context_results as u64);
        let placed = view.update_context(self.at, |context, view| {
            page.rows().iter().filter(|row| asked.contains(row.uid)).try_for_each(|row| {
                if context.results().len() >= most {
                    return Err(TooMany);
                }
                context.insert(page, row, view, out)
            })
        });
        placed.unwrap_or(Ok(()))
    }

    fn next(&mut self) {
        self.at += 1;
        self.stage = Stage::Next;
    }

    /// A context that would not be right any more ends, and its client is told.
    fn give_up(&mut self, core: &mut Core, text: &str) {
        let Core { view: Some(view), outbox, .. } = core else { return };
        if let Some(tag) = view.context_at(self.at).map(|context| context.tag().to_vec()) {
            Context::refuse(&tag, text, outbox.text());
            view.end_context(&tag);
        }
        self.stage = Stage::Next;
    }
}
