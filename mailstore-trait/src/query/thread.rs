//! Conversations (RFC 5256 §3, THREAD): rows come in pages, trees come out.
//!
//! Everything is indices into vectors: no tree is walked by recursion, and what one hostile mailbox can cost is bounded
//! by [`OrderLimits`].
//!
//! ```text
//!  REFERENCES   push: link by Message-ID (1)          finish: prune what is not there (2, 3), order the roots (4),
//!                                                     join roots of one subject (5), order all siblings (6)
//!  ORDEREDSUBJECT                                     finish: order by subject and date, cut where the subject changes
//! ```

use std::collections::BTreeMap;

use super::collation::collate;
use super::order::{OrderLimits, TooMany, sent};
use crate::id::Uid;
use crate::item::{ItemPage, ItemRow, Projection};
use crate::mime::SummaryRef;

/// How conversations are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Messages with one base subject are a thread: the first by date, then the others as its children.
    OrderedSubject,
    /// By Message-ID, References and In-Reply-To, and threads whose subject is one are joined.
    References,
}

/// A piece of the trees, in the order they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadToken {
    /// A thread, or one of several branches, begins.
    Open,
    /// A message: the child of the one before it.
    Member(Uid),
    /// It ends.
    Close,
}

/// Finds the conversations of messages. Rows are pushed in the order of the mailbox.
#[derive(Debug)]
pub struct Threader {
    algorithm: Algorithm,
    limits: OrderLimits,
    messages: Vec<Message>,
    /// Base subjects as they are compared, by number from 1; the empty one is 0.
    subjects: BTreeMap<Box<[u8]>, u32>,
    ids: BTreeMap<Box<[u8]>, u32>,
    nodes: Vec<Node>,
    octets: usize,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    uid: Uid,
    sent: i64,
    subject: u32,
    is_reply_or_forward: bool,
}

/// Nobody, in the place of an index.
const NONE: u32 = u32::MAX;

/// A message, or the place of one that is not among those that are threaded.
#[derive(Clone, Copy, Debug)]
struct Node {
    message: u32,
    parent: u32,
    has_children: bool,
}

impl Threader {
    /// Conversations by this algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm, limits: OrderLimits) -> Threader {
        Threader {
            algorithm,
            limits,
            messages: Vec::new(),
            subjects: BTreeMap::new(),
            ids: BTreeMap::new(),
            nodes: Vec::new(),
            octets: 0,
            steps: limits.steps,
        }
    }

    /// What a row has to bring.
    #[must_use]
    pub fn projection(&self) -> Projection {
        Projection::DATES | Projection::SUMMARY
    }

    /// Adds the next message of the mailbox.
    ///
    /// # Errors
    /// [`TooMany`]; then there is no answer.
    pub fn push(&mut self, page: &ItemPage, row: &ItemRow) -> Result<(), TooMany> {
        let summary = page.summary(row).and_then(|octets| SummaryRef::from_bytes(octets).ok()).unwrap_or_default();
        let message = index(self.messages.len())?;
        if self.messages.len() >= self.limits.messages || self.octets >= self.limits.octets {
            return Err(TooMany);
        }
        let subject = self.subject(summary.base_subject)?;
        let is_reply_or_forward = summary.is_reply_or_forward;
        self.messages.push(Message { uid: row.uid, sent: sent(row, &summary), subject, is_reply_or_forward });
        match self.algorithm {
            Algorithm::OrderedSubject => Ok(()),
            Algorithm::References => self.link(message, &summary),
        }
    }

    fn subject(&mut self, base: &str) -> Result<u32, TooMany> {
        let mut key = Vec::with_capacity(base.len());
        collate(base, &mut key);
        key.truncate(self.limits.text);
        if key.is_empty() {
            return Ok(0);
        }
        if let Some(known) = self.subjects.get(key.as_slice()) {
            return Ok(*known);
        }
        let new = index(self.subjects.len() + 1)?;
        self.octets += key.len();
        self.subjects.insert(key.into(), new);
        Ok(new)
    }

    /// Step 1: the message's references are a line of ancestors.
    fn link(&mut self, message: u32, summary: &SummaryRef<'_>) -> Result<(), TooMany> {
        let mut last = NONE;
        // Without References the first id of In-Reply-To is the one: in practice only that one is an id.
        let replied = if summary.references.is_empty() { 1 } else { 0 };
        for id in summary.references.chain(summary.in_reply_to.take(replied)) {
            let node = self.node_of(id)?;
            // Step 1.A: an existing link stays, as References may have been cut short; no loops.
            if last != NONE && self.node(node).parent == NONE && !self.descends(last, node)? {
                self.adopt(last, node);
            }
            last = node;
        }
        let node = match summary.message_id {
            Some(id) => self.node_of(id)?,
            None => self.add_node(NONE)?,
        };
        // Of messages with one id only the first has it.
        let node = if self.node(node).message == NONE { node } else { self.add_node(NONE)? };
        // Step 1.B: what this message says of its parent is better than what others said.
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.message = message;
            node.parent = NONE;
        }
        if last != NONE && !self.descends(last, node)? {
            self.adopt(last, node);
        }
        Ok(())
    }

    fn node_of(&mut self, id: &[u8]) -> Result<u32, TooMany> {
        if let Some(node) = self.ids.get(id) {
            return Ok(*node);
        }
        let node = self.add_node(NONE)?;
        self.octets += id.len();
        if self.octets > self.limits.octets {
            return Err(TooMany);
        }
        self.ids.insert(id.into(), node);
        Ok(node)
    }

    fn add_node(&mut self, message: u32) -> Result<u32, TooMany> {
        let node = index(self.nodes.len())?;
        self.octets += size_of::<Node>();
        self.nodes.push(Node { message, parent: NONE, has_children: false });
        Ok(node)
    }

    fn node(&self, at: u32) -> Node {
        self.nodes.get(at as usize).copied().unwrap_or(Node { message: NONE, parent: NONE, has_children: false })
    }

    fn adopt(&mut self, parent: u32, child: u32) {
        if let Some(node) = self.nodes.get_mut(child as usize) {
            node.parent = parent;
        }
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.has_children = true;
        }
    }

    /// Whether `node` is `ancestor` or lies below it.
    fn descends(&mut self, node: u32, ancestor: u32) -> Result<bool, TooMany> {
        if node == ancestor {
            return Ok(true);
        }
        // Nothing lies below most: mail mostly comes in the order it was written.
        if !self.node(ancestor).has_children {
            return Ok(false);
        }
        let mut at = self.node(node).parent;
        while at != NONE {
            if at == ancestor {
                return Ok(true);
            }
            self.steps = self.steps.checked_sub(1).ok_or(TooMany)?;
            at = self.node(at).parent;
        }
        Ok(false)
    }

    /// The threads, in order.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn finish(self) -> Result<Vec<ThreadToken>, TooMany> {
        let forest = match self.algorithm {
            Algorithm::OrderedSubject => self.by_subject()?,
            Algorithm::References => self.by_references()?,
        };
        Ok(forest.tokens())
    }

    fn by_subject(self) -> Result<Forest, TooMany> {
        let mut order: Vec<u32> = (0..index(self.messages.len())?).collect();
        let message = |at: u32| self.messages.get(at as usize);
        // Subjects in any order will do: threads are put in order by the date of their first message.
        order.sort_unstable_by_key(|&at| (message(at).map(|message| (message.subject, message.sent)), at));
        let mut forest = Forest::default();
        let mut parent = NONE;
        let mut subject = None;
        for at in order {
            let Some(message) = message(at) else { continue };
            if subject != Some(message.subject) {
                subject = Some(message.subject);
                parent = forest.add(Some(message), at)?;
                forest.roots.push(parent);
            } else {
                let child = forest.add(Some(message), at)?;
                forest.append(parent, child);
            }
        }
        forest.sort_all();
        Ok(forest)
    }

    /// Steps 2 to 6.
    fn by_references(self) -> Result<Forest, TooMany> {
        let mut forest = Forest::default();
        for (at, node) in self.nodes.iter().enumerate() {
            let message = self.messages.get(node.message as usize);
            forest.add(message, if message.is_some() { node.message } else { index(at)? })?;
        }
        // Step 3: who is not there gives its children to its parent, but at the root keeps them together.
        let mut kept = vec![None; self.nodes.len()];
        let mut path = Vec::new();
        for (at, node) in (0..).zip(&self.nodes) {
            if node.message == NONE {
                continue;
            }
            let parent = self.kept_parent(node.parent, &mut kept, &mut path);
            if parent == NONE {
                forest.roots.push(at);
            } else {
                if self.node(parent).message == NONE && forest.children(parent).is_empty() {
                    forest.roots.push(parent);
                }
                forest.append(parent, at);
            }
        }
        for root in &mut forest.roots {
            if let Some(Tree { uid: None, children, .. }) = forest.trees.get(*root as usize)
                && let [only] = children.as_slice()
            {
                *root = *only;
            }
        }
        // Step 4, and 6 for now: step 5 looks at the first child of a dummy.
        forest.sort_all();
        forest.join_subjects()?;
        forest.sort_all();
        Ok(forest)
    }

    /// The nearest ancestor that is there, or else the topmost one that is not; nobody at the root.
    fn kept_parent(&self, mut at: u32, kept: &mut [Option<u32>], path: &mut Vec<u32>) -> u32 {
        path.clear();
        let found = loop {
            if at == NONE {
                break path.last().copied().unwrap_or(NONE);
            }
            let node = self.node(at);
            if node.message != NONE {
                break at;
            }
            if let Some(known) = kept.get(at as usize).copied().flatten() {
                break known;
            }
            path.push(at);
            at = node.parent;
        };
        for &passed in path.iter() {
            if let Some(kept) = kept.get_mut(passed as usize) {
                *kept = Some(found);
            }
        }
        found
    }
}

fn index(at: usize) -> Result<u32, TooMany> {
    u32::try_from(at).ok().filter(|at| *at != NONE).ok_or(TooMany)
}

/// Trees under an invisible root.
#[derive(Debug, Default)]
struct Forest {
    trees: Vec<Tree>,
    roots: Vec<u32>,
}

#[derive(Debug, Default)]
struct Tree {
    /// Nobody for a dummy.
    uid: Option<Uid>,
    sent: i64,
    /// Its place in the mailbox.
    place: u32,
    subject: u32,
    is_reply_or_forward: bool,
    children: Vec<u32>,
}

impl Forest {
    fn add(&mut self, message: Option<&Message>, place: u32) -> Result<u32, TooMany> {
        let at = index(self.trees.len())?;
        self.trees.push(match message {
            Some(&Message { uid, sent, subject, is_reply_or_forward }) => {
                Tree { uid: Some(uid), sent, place, subject, is_reply_or_forward, children: Vec::new() }
            }
            None => Tree { place, ..Tree::default() },
        });
        Ok(at)
    }

    fn tree(&self, at: u32) -> Option<&Tree> {
        self.trees.get(at as usize)
    }

    fn children(&self, at: u32) -> &[u32] {
        self.tree(at).map(|tree| tree.children.as_slice()).unwrap_or_default()
    }

    fn append(&mut self, parent: u32, child: u32) {
        if let Some(parent) = self.trees.get_mut(parent as usize) {
            parent.children.push(child);
        }
    }

    /// Whose date and subject count: its own, or those of a dummy's first child. Dummies have children that are none.
    fn head(&self, at: u32) -> Option<&Tree> {
        let tree = self.tree(at)?;
        match (tree.uid, tree.children.first()) {
            (None, Some(first)) => self.tree(*first),
            _ => Some(tree),
        }
    }

    fn is_dummy(&self, at: u32) -> bool {
        self.tree(at).is_none_or(|tree| tree.uid.is_none())
    }

    fn is_reply(&self, at: u32) -> bool {
        self.tree(at).is_some_and(|tree| tree.is_reply_or_forward)
    }

    /// RFC 5256 §2.2: by sent date, then by place.
    fn date(&self, at: u32) -> Option<(i64, u32)> {
        self.head(at).map(|head| (head.sent, head.place))
    }

    /// Steps 4 and 6: siblings in the order they were sent. Only dummies look at their children, and none lies below
    /// another, so every set of children is put in order before the roots are.
    fn sort_all(&mut self) {
        for at in 0..self.trees.len() {
            let Some(tree) = self.trees.get_mut(at) else { continue };
            if tree.children.len() > 1 {
                let mut children = std::mem::take(&mut tree.children);
                children.sort_by_key(|&child| self.date(child));
                if let Some(tree) = self.trees.get_mut(at) {
                    tree.children = children;
                }
            }
        }
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_key(|&root| self.date(root));
        self.roots = roots;
    }

    /// Step 5: threads with one subject become one.
    fn join_subjects(&mut self) -> Result<(), TooMany> {
        let roots = std::mem::take(&mut self.roots);
        let mut table: BTreeMap<u32, u32> = BTreeMap::new();
        for &root in &roots {
            let Some(subject) = self.subject(root) else { continue };
            let replaces = |have: u32| {
                !self.is_dummy(have) && (self.is_dummy(root) || self.is_reply(have) && !self.is_reply(root))
            };
            if table.get(&subject).is_none_or(|&have| replaces(have)) {
                table.insert(subject, root);
            }
        }
        // What stays at the root: those without a subject, and what the table holds in the end.
        let mut left = Vec::new();
        for &root in &roots {
            let Some(subject) = self.subject(root) else {
                left.push(root);
                continue;
            };
            let Some(&have) = table.get(&subject).filter(|have| **have != root) else { continue };
            match (self.is_dummy(have), self.is_dummy(root)) {
                (true, true) => {
                    let children = self.trees.get_mut(root as usize).map(|tree| std::mem::take(&mut tree.children));
                    children.into_iter().flatten().for_each(|child| self.append(have, child));
                }
                (true, false) => self.append(have, root),
                (false, _) if self.is_reply(root) && !self.is_reply(have) => self.append(have, root),
                (false, _) => {
                    let place = self.tree(have).map_or(0, |tree| tree.place);
                    let dummy = self.add(None, place)?;
                    self.append(dummy, have);
                    self.append(dummy, root);
                    table.insert(subject, dummy);
                }
            }
        }
        left.extend(table.into_values());
        self.roots = left;
        Ok(())
    }

    /// The thread subject, but an empty one.
    fn subject(&self, at: u32) -> Option<u32> {
        self.head(at).map(|head| head.subject).filter(|subject| *subject != 0)
    }

    /// RFC 5256 §5, thread-list: an only child stands behind its parent, several are each a list.
    fn tokens(&self) -> Vec<ThreadToken> {
        enum Todo {
            List(u32),
            Close,
        }
        let mut tokens = Vec::with_capacity(self.trees.len());
        let mut todo: Vec<Todo> = self.roots.iter().rev().map(|&root| Todo::List(root)).collect();
        while let Some(next) = todo.pop() {
            let Todo::List(mut at) = next else {
                tokens.push(ThreadToken::Close);
                continue;
            };
            tokens.push(ThreadToken::Open);
            todo.push(Todo::Close);
            loop {
                tokens.extend(self.tree(at).and_then(|tree| tree.uid).map(ThreadToken::Member));
                match self.children(at) {
                    [only] => at = *only,
                    children => {
                        todo.extend(children.iter().rev().map(|&child| Todo::List(child)));
                        break;
                    }
                }
            }
        }
        tokens
    }
}

#[cfg(test)]
mod tests;
