//! The filter tree: which messages are wanted (RFC 9051 §6.4.4, RFC 5032, RFC 7162, RFC 8474, RFC 8514).
//!
//! The tree is one flat row of nodes in postfix order. Building, evaluating, cloning and dropping it are loops, so no
//! nesting that a peer sends can exhaust a stack, and [`Limits`] bounds the work a filter can cause.

use std::ops::RangeInclusive;

use super::pattern::Pattern;
use crate::flags::{Keyword, SystemFlags};
use crate::id::{EmailId, ModSeq, ThreadId, Uid};
use crate::uid_set::UidSet;

/// Bounds of a filter that a peer describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Tests and combinations in one filter.
    pub nodes: usize,
    /// Combinations inside each other.
    pub depth: usize,
    /// Octets of one text to look for.
    pub text: usize,
    /// Octets of all texts to look for and header names.
    pub texts: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 1000, depth: 64, text: 1024, texts: 16 * 1024 }
    }
}

/// Why a filter can't be built. All are the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// More than [`Limits::nodes`].
    #[error("more than {0} search keys")]
    TooManyNodes(usize),
    /// More than [`Limits::depth`].
    #[error("search keys nested more than {0} deep")]
    TooDeep(usize),
    /// More than [`Limits::text`] or [`Limits::texts`].
    #[error("more than {0} octets of text to search for")]
    TooMuchText(usize),
    /// A combination was left open, closed without being open, or lacks operands.
    #[error("a search key is missing")]
    Incomplete,
}

/// What one message either is or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Test {
    /// Every message.
    All,
    /// Has all of these flags.
    Flags(SystemFlags),
    /// Has this keyword.
    Keyword(Keyword),
    /// Is one of these. A session turns sequence numbers, `RECENT` and `$` into this.
    Uids(UidSet),
    /// Changed at this number or later (RFC 7162 §3.1.5).
    ModSeq(ModSeq),
    /// Is a place of this message (RFC 8474 §6).
    Email(EmailId),
    /// Belongs to this conversation (RFC 8474 §6).
    Thread(ThreadId),
    /// Has more octets than this.
    Larger(u64),
    /// Has fewer octets than this.
    Smaller(u64),
    /// A date of the message, without time and zone, lies in this span.
    Day(DateOf, Days),
    /// A date of the message lies less than this many seconds ago: WITHIN's `YOUNGER` (RFC 5032 §3).
    ///
    /// `OLDER` is its negation: RFC 5032 counts the exact interval with both.
    Younger(DateOf, u64),
    /// A field of this name contains the text; with an empty text, there is such a field.
    Header(HeaderName, Pattern),
    /// The decoded text of the body contains the text. Header fields of embedded messages count as body.
    Body(Pattern),
    /// The decoded header, MIME headers included, or the body contains the text.
    Text(Pattern),
}

/// Which date of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateOf {
    /// INTERNALDATE, its day in its own zone.
    Internal,
    /// The `Date` field, its day in its own zone. A message without a readable one has no day and matches no span.
    Sent,
    /// When it came into the folder (RFC 8514 §4.3), its day in UTC.
    Saved,
}

/// A span of days since 1970-01-01, as [`days_from_civil`](crate::date::days_from_civil) counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Days {
    /// The first day.
    pub first: i64,
    /// The last day.
    pub last: i64,
}

impl Days {
    /// `BEFORE`: earlier than this day.
    #[must_use]
    pub const fn before(day: i64) -> Days {
        Days { first: i64::MIN, last: day.saturating_sub(1) }
    }

    /// `ON`: this day.
    #[must_use]
    pub const fn on(day: i64) -> Days {
        Days { first: day, last: day }
    }

    /// `SINCE`: this day or later.
    #[must_use]
    pub const fn since(day: i64) -> Days {
        Days { first: day, last: i64::MAX }
    }

    /// Whether this day is one of them.
    #[must_use]
    pub const fn contains(self, day: i64) -> bool {
        self.first <= day && day <= self.last
    }
}

/// The name of a header field, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(Box<[u8]>);

impl HeaderName {
    /// A name; case does not count (RFC 5322 §1.2.2). A name that no field can have matches nothing.
    #[must_use]
    pub fn new(name: impl AsRef<[u8]>) -> HeaderName {
        HeaderName(name.as_ref().to_ascii_lowercase().into())
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a field of this name is meant.
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

/// What has to be read to answer a test, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// What every row has: UID, flags, change numbers, ids.
    Row,
    /// Dates of the store and size.
    Dates,
    /// The MIME skeleton, which holds the fields of the ENVELOPE.
    Skeleton,
    /// The message's header.
    Header,
    /// The message.
    Content,
}

impl Test {
    /// `FROM`, `TO`, `CC`, `BCC`, `SUBJECT`, `HEADER`: a field of this name contains `text`.
    #[must_use]
    pub fn header(name: impl AsRef<[u8]>, text: &str) -> Test {
        Test::Header(HeaderName::new(name), Pattern::new(text))
    }

    /// `BODY`.
    #[must_use]
    pub fn body(text: &str) -> Test {
        Test::Body(Pattern::new(text))
    }

    /// `TEXT`.
    #[must_use]
    pub fn text(text: &str) -> Test {
        Test::Text(Pattern::new(text))
    }

    /// What has to be read to answer this.
    #[must_use]
    pub fn need(&self) -> Need {
        match self {
            Test::All
            | Test::Flags(_)
            | Test::Keyword(_)
            | Test::Uids(_)
            | Test::ModSeq(_)
            | Test::Email(_)
            | Test::Thread(_) => Need::Row,
            Test::Larger(_) | Test::Smaller(_) => Need::Dates,
            Test::Day(date, _) | Test::Younger(date, _) => match date {
                DateOf::Internal | DateOf::Saved => Need::Dates,
                DateOf::Sent => Need::Skeleton,
            },
            Test::Header(name, _) if is_envelope_field(name) => Need::Skeleton,
            Test::Header(..) => Need::Header,
            // Every text contains the empty text (RFC 9051 §6.4.4: substring match).
            Test::Body(pattern) | Test::Text(pattern) if pattern.is_empty() => Need::Row,
            Test::Body(_) | Test::Text(_) => Need::Content,
        }
    }

    fn octets(&self) -> (usize, usize) {
        match self {
            Test::Header(name, pattern) => (pattern.len(), name.0.len().saturating_add(pattern.len())),
            Test::Body(pattern) | Test::Text(pattern) => (pattern.len(), pattern.len()),
            _ => (0, 0),
        }
    }
}

/// The fields the MIME skeleton keeps raw.
fn is_envelope_field(name: &HeaderName) -> bool {
    const FIELDS: [&[u8]; 10] =
        [b"bcc", b"cc", b"date", b"from", b"in-reply-to", b"message-id", b"reply-to", b"sender", b"subject", b"to"];
    FIELDS.binary_search(&name.as_bytes()).is_ok()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Test(Test),
    /// All of so many operands before it.
    And(usize),
    /// One of so many operands before it.
    Or(usize),
    /// The opposite of the operand before it.
    Not,
}

/// Which messages are wanted. Built by its constructors or, from a peer's words, by a [`Builder`].
///
/// ```
/// use mailstore_trait::flags::SystemFlags;
/// use mailstore_trait::query::{Filter, Test};
///
/// let unread = Filter::not(Test::Flags(SystemFlags::SEEN));
/// let wanted = Filter::all([unread, Test::header("Subject", "minutes").into()]);
/// assert_eq!(wanted.tests().count(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    nodes: Vec<Node>,
}

impl Filter {
    /// Every message.
    #[must_use]
    pub fn everything() -> Filter {
        Filter::from(Test::All)
    }

    /// No message.
    #[must_use]
    pub fn nothing() -> Filter {
        Filter::any([])
    }

    /// Messages that all of these want; every message when there are none.
    #[must_use]
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter::combined(filters, Node::And)
    }

    /// Messages that one of these wants; no message when there are none.
    #[must_use]
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter::combined(filters, Node::Or)
    }

    /// Messages that this does not want.
    #[must_use]
    pub fn not(filter: impl Into<Filter>) -> Filter {
        let mut nodes = filter.into().nodes;
        nodes.push(Node::Not);
        Filter { nodes }
    }

    fn combined(filters: impl IntoIterator<Item = Filter>, node: fn(usize) -> Node) -> Filter {
        let (mut nodes, mut operands) = (Vec::new(), 0);
        for filter in filters {
            nodes.extend(filter.nodes);
            operands += 1;
        }
        if operands != 1 {
            nodes.push(node(operands));
        }
        Filter { nodes }
    }

    /// The tests, in order.
    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Test(test) => Some(test),
            _ => None,
        })
    }

    /// The dearest thing any of its tests needs.
    #[must_use]
    pub fn need(&self) -> Need {
        self.tests().map(Test::need).max().unwrap_or(Need::Row)
    }

    /// Every wanted message is one of these: what has to be looked at.
    #[must_use]
    pub fn bounds(&self) -> UidSet {
        self.bounds_with(|_| None)
    }

    /// The same with somebody who knows for some tests which messages may answer them with yes.
    #[must_use]
    pub fn bounds_with(&self, mut may: impl FnMut(&Test) -> Option<UidSet>) -> UidSet {
        let mut stack: Vec<UidSet> = Vec::new();
        for node in &self.nodes {
            let bounds = match node {
                Node::Test(Test::Uids(uids)) => uids.clone(),
                Node::Test(test) => may(test).unwrap_or_else(UidSet::all),
                Node::And(n) => operands(&mut stack, *n).fold(UidSet::all(), |all, set| all.intersection(&set)),
                Node::Or(n) => operands(&mut stack, *n).fold(UidSet::new(), union),
                Node::Not => {
                    stack.pop();
                    UidSet::all()
                }
            };
            stack.push(bounds);
        }
        stack.pop().unwrap_or_default()
    }

    #[cfg(any(feature = "async", test))]
    /// Whether a message is wanted, as far as that can be told when some tests have no answer yet.
    ///
    /// `answer` is asked for each test in the order of [`tests`](Filter::tests); `stack` is room to work in.
    pub(super) fn decide(
        &self,
        stack: &mut Vec<Option<bool>>,
        mut answer: impl FnMut(usize, &Test) -> Option<bool>,
    ) -> Option<bool> {
        stack.clear();
        let mut at = 0;
        for node in &self.nodes {
            let value = match node {
                Node::Test(test) => {
                    at += 1;
                    answer(at - 1, test)
                }
                Node::And(n) => operands(stack, *n).fold(Some(true), and),
                Node::Or(n) => operands(stack, *n).fold(Some(false), or),
                Node::Not => stack.pop().flatten().map(|value| !value),
            };
            stack.push(value);
        }
        stack.pop().flatten()
    }
}

impl From<Test> for Filter {
    fn from(test: Test) -> Filter {
        Filter { nodes: vec![Node::Test(test)] }
    }
}

impl From<RangeInclusive<Uid>> for Filter {
    fn from(uids: RangeInclusive<Uid>) -> Filter {
        let mut set = UidSet::new();
        set.insert_range(uids);
        Filter::from(Test::Uids(set))
    }
}

fn operands<T>(stack: &mut Vec<T>, n: usize) -> impl Iterator<Item = T> + '_ {
    let from = stack.len().saturating_sub(n);
    stack.drain(from..)
}

#[cfg(any(feature = "async", test))]
/// Kleene's three values: an unknown operand matters only when the known ones leave the question open.
fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

#[cfg(any(feature = "async", test))]
fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn union(mut all: UidSet, set: UidSet) -> UidSet {
    set.ranges().for_each(|range| all.insert_range(range));
    all
}

/// How the operands of a combination make one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// All of any number, until [`Builder::close`]. None is every message.
    And,
    /// One of any number, until [`Builder::close`]. None is no message.
    Or,
    /// One of exactly two, closed by the second: IMAP's `OR`.
    Either,
    /// The opposite of exactly one, closed by it: IMAP's `NOT`.
    Not,
}

/// Builds a filter from a peer's words, left to right and without recursion, within [`Limits`].
///
/// ```
/// use mailstore_trait::flags::SystemFlags;
/// use mailstore_trait::query::{Builder, Combine, Filter, FilterLimits, Test};
///
/// // OR NOT SEEN (FLAGGED DELETED)
/// let mut builder = Builder::new(FilterLimits::default());
/// builder.open(Combine::Either)?;
/// builder.open(Combine::Not)?;
/// builder.test(Test::Flags(SystemFlags::SEEN))?;
/// builder.open(Combine::And)?;
/// builder.test(Test::Flags(SystemFlags::FLAGGED))?;
/// builder.test(Test::Flags(SystemFlags::DELETED))?;
/// builder.close()?;
/// let filter = builder.finish()?;
/// # let flags = |flags| Filter::from(Test::Flags(flags));
/// # let both = Filter::all([flags(SystemFlags::FLAGGED), flags(SystemFlags::DELETED)]);
/// # assert_eq!(filter, Filter::any([Filter::not(flags(SystemFlags::SEEN)), both]));
/// # Ok::<(), mailstore_trait::query::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    limits: Limits,
    nodes: Vec<Node>,
    open: Vec<(Combine, usize)>,
    /// Operands outside all combinations; they are all wanted together.
    top: usize,
    texts: usize,
}

impl Builder {
    /// An empty filter within these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Builder {
        Builder { limits, nodes: Vec::new(), open: Vec::new(), top: 0, texts: 0 }
    }

    /// Begins a combination; the operands follow.
    ///
    /// # Errors
    /// [`FilterError::TooDeep`], [`FilterError::TooManyNodes`].
    pub fn open(&mut self, combine: Combine) -> Result<(), FilterError> {
        if self.open.len() >= self.limits.depth {
            return Err(FilterError::TooDeep(self.limits.depth));
        }
        self.room()?;
        self.open.push((combine, 0));
        Ok(())
    }

    /// Adds an operand.
    ///
    /// # Errors
    /// [`FilterError::TooManyNodes`], [`FilterError::TooMuchText`].
    pub fn test(&mut self, test: Test) -> Result<(), FilterError> {
        self.room()?;
        let (text, texts) = test.octets();
        if text > self.limits.text {
            return Err(FilterError::TooMuchText(self.limits.text));
        }
        self.texts = self.texts.saturating_add(texts);
        if self.texts > self.limits.texts {
            return Err(FilterError::TooMuchText(self.limits.texts));
        }
        self.nodes.push(Node::Test(test));
        self.operand();
        Ok(())
    }

    /// Ends an [`And`](Combine::And) or [`Or`](Combine::Or).
    ///
    /// # Errors
    /// [`FilterError::Incomplete`] when none is open, or one inside lacks operands.
    pub fn close(&mut self) -> Result<(), FilterError> {
        let node = match self.open.pop() {
            Some((Combine::And, n)) => Node::And(n),
            Some((Combine::Or, n)) => Node::Or(n),
            _ => return Err(FilterError::Incomplete),
        };
        self.push(node);
        self.operand();
        Ok(())
    }

    /// The filter: what all operands outside combinations want.
    ///
    /// # Errors
    /// [`FilterError::Incomplete`] when there are none, or a combination is still open.
    pub fn finish(mut self) -> Result<Filter, FilterError> {
        if !self.open.is_empty() || self.top == 0 {
            return Err(FilterError::Incomplete);
        }
        self.push(Node::And(self.top));
        Ok(Filter { nodes: self.nodes })
    }

    fn room(&self) -> Result<(), FilterError> {
        if self.nodes.len() + self.open.len() >= self.limits.nodes {
            return Err(FilterError::TooManyNodes(self.limits.nodes));
        }
        Ok(())
    }

    fn push(&mut self, node: Node) {
        // One operand needs no combination.
        if !matches!(node, Node::And(1) | Node::Or(1)) {
            self.nodes.push(node);
        }
    }

    /// Counts an operand that is complete, and closes what it completes.
    fn operand(&mut self) {
        loop {
            let Some((combine, n)) = self.open.last_mut() else {
                self.top += 1;
                return;
            };
            *n += 1;
            let node = match (*combine, *n) {
                (Combine::Not, _) => Node::Not,
                (Combine::Either, 2) => Node::Or(2),
                _ => return,
            };
            self.open.pop();
            self.nodes.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flag(bits: u8) -> Test {
        Test::Flags(SystemFlags::from_bits_truncate(bits))
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(u8),
        And(Vec<Tree>),
        Or(Vec<Tree>),
        Not(Box<Tree>),
    }

    impl Tree {
        fn any() -> impl Strategy<Value = Tree> {
            (0u8..16).prop_map(Tree::Leaf).prop_recursive(5, 40, 4, |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::And),
                    prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::Or),
                    inner.prop_map(|tree| Tree::Not(Box::new(tree))),
                ]
            })
        }

        fn filter(&self) -> Filter {
            match self {
                Tree::Leaf(bits) => flag(*bits).into(),
                Tree::And(trees) => Filter::all(trees.iter().map(Tree::filter)),
                Tree::Or(trees) => Filter::any(trees.iter().map(Tree::filter)),
                Tree::Not(tree) => Filter::not(tree.filter()),
            }
        }

        fn build(&self, builder: &mut Builder) {
            match self {
                Tree::Leaf(bits) => builder.test(flag(*bits)).unwrap(),
                Tree::Not(tree) => {
                    builder.open(Combine::Not).unwrap();
                    tree.build(builder);
                }
                Tree::Or(trees) if trees.len() == 2 => {
                    builder.open(Combine::Either).unwrap();
                    trees.iter().for_each(|tree| tree.build(builder));
                }
                Tree::And(trees) | Tree::Or(trees) => {
                    builder.open(if matches!(self, Tree::And(_)) { Combine::And } else { Combine::Or }).unwrap();
                    trees.iter().for_each(|tree| tree.build(builder));
                    builder.close().unwrap();
                }
            }
        }

        fn naive(&self, value: &dyn Fn(u8) -> bool) -> bool {
            match self {
                Tree::Leaf(bits) => value(*bits),
                Tree::And(trees) => trees.iter().all(|tree| tree.naive(value)),
                Tree::Or(trees) => trees.iter().any(|tree| tree.naive(value)),
                Tree::Not(tree) => !tree.naive(value),
            }
        }
    }

    fn bits(test: &Test) -> u8 {
        match test {
            Test::Flags(flags) => flags.bits(),
            _ => unreachable!("only flags are built here"),
        }
    }

    proptest! {
        #[test]
        fn decisions_agree_with_a_recursive_evaluation(tree in Tree::any(), truth: u16) {
            let value = |bits: u8| truth >> bits & 1 == 1;
            let decided = tree.filter().decide(&mut Vec::new(), |_, test| Some(value(bits(test))));
            prop_assert_eq!(decided, Some(tree.naive(&value)));
        }

        #[test]
        fn what_is_decided_early_stays(tree in Tree::any(), truth: u16, known: u16) {
            let early = tree.filter().decide(&mut Vec::new(), |_, test| {
                let bits = bits(test);
                (known >> bits & 1 == 1).then_some(truth >> bits & 1 == 1)
            });
            if let Some(early) = early {
                prop_assert_eq!(early, tree.naive(&|bits| truth >> bits & 1 == 1));
            }
        }

        #[test]
        fn the_builder_builds_what_the_constructors_do(tree in Tree::any()) {
            let mut builder = Builder::new(Limits::default());
            tree.build(&mut builder);
            prop_assert_eq!(builder.finish().unwrap(), tree.filter());
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { nodes: 5, depth: 3, text: 4, texts: 6 };
        let mut builder = Builder::new(limits);
        (0..5).for_each(|_| builder.test(flag(1)).unwrap());
        assert_eq!(builder.test(flag(1)), Err(FilterError::TooManyNodes(5)));
        assert_eq!(builder.open(Combine::Not), Err(FilterError::TooManyNodes(5)));

        let mut builder = Builder::new(limits);
        (0..3).for_each(|_| builder.open(Combine::Not).unwrap());
        assert_eq!(builder.open(Combine::And), Err(FilterError::TooDeep(3)));

        let mut builder = Builder::new(limits);
        assert_eq!(builder.test(Test::body("12345")), Err(FilterError::TooMuchText(4)));
        builder.test(Test::body("1234")).unwrap();
        assert_eq!(builder.test(Test::header("ab", "c")), Err(FilterError::TooMuchText(6)));
    }

    #[test]
    fn combinations_must_be_complete() {
        assert_eq!(Builder::new(Limits::default()).finish(), Err(FilterError::Incomplete));
        for combine in [Combine::Not, Combine::Either, Combine::And] {
            let mut builder = Builder::new(Limits::default());
            builder.open(combine).unwrap();
            assert_eq!(builder.finish(), Err(FilterError::Incomplete));
        }
        let mut builder = Builder::new(Limits::default());
        builder.open(Combine::And).unwrap();
        builder.open(Combine::Not).unwrap();
        assert_eq!(builder.close(), Err(FilterError::Incomplete));
    }

    #[test]
    fn bounds_hold_every_wanted_message() {
        let uids = |first: u32, last: u32| Filter::from(Uid::new(first).unwrap()..=Uid::new(last).unwrap());
        let numbers = |filter: Filter| filter.bounds().iter().map(Uid::value).collect::<Vec<_>>();
        assert_eq!(numbers(Filter::all([uids(1, 9), flag(1).into(), uids(8, 12)])), [8, 9]);
        assert_eq!(numbers(Filter::any([uids(1, 2), uids(5, 5)])), [1, 2, 5]);
        assert_eq!(Filter::not(uids(1, 2)).bounds(), UidSet::all());
        assert_eq!(Filter::any([uids(1, 2), flag(1).into()]).bounds(), UidSet::all());
        assert!(Filter::nothing().bounds().is_empty());
        let with = |filter: Filter| filter.bounds_with(|_| Some(uids(3, 4).bounds()));
        assert_eq!(with(Filter::all([flag(1).into(), uids(4, 9)])), uids(4, 4).bounds());
        assert_eq!(with(Filter::not(flag(1))), UidSet::all(), "who may match may also not");
    }

    #[test]
    fn needs_are_those_of_the_dearest_test() {
        let need = |test: Test| Filter::all([flag(1).into(), test.into()]).need();
        assert_eq!(need(flag(2)), Need::Row);
        assert_eq!(need(Test::Larger(3)), Need::Dates);
        assert_eq!(need(Test::Younger(DateOf::Saved, 3)), Need::Dates);
        assert_eq!(need(Test::Day(DateOf::Sent, Days::on(3))), Need::Skeleton);
        assert_eq!(need(Test::header("SubJect", "a")), Need::Skeleton);
        assert_eq!(need(Test::header("List-Id", "a")), Need::Header);
        assert_eq!(need(Test::body("a")), Need::Content);
        assert_eq!(need(Test::text("")), Need::Row);
    }
}
