//! Orders, against a comparison of one criterion after the other.

use proptest::prelude::*;

use super::*;
use crate::date::Timestamp;
use crate::flags::SystemFlags;
use crate::id::{EmailId, ItemId, ModSeq, ThreadId};
use crate::item::{ItemPageBuilder, RowHead, RowParts};

/// A row of a page for tests of orders and threads.
pub(in crate::query) fn push(
    builder: &mut ItemPageBuilder,
    uid: u32,
    arrived: i64,
    size: u64,
    summary: &SummaryRef<'_>,
) {
    let head = RowHead {
        item: ItemId::new(u64::from(uid)).unwrap(),
        uid: Uid::new(uid).unwrap(),
        email: EmailId([0; 16]),
        thread: ThreadId([0; 16]),
        internal_date: Timestamp::from_seconds(arrived).at_offset(0),
        save_date: Timestamp::default(),
        size,
        generation: 0,
        created: ModSeq::FIRST,
        content_change: ModSeq::FIRST,
        read_change: ModSeq::FIRST,
        change: ModSeq::FIRST,
    };
    let summary = summary.to_summary();
    let parts = RowParts { summary: summary.as_bytes(), ..RowParts::default() };
    builder.push(head, SystemFlags::empty(), [], parts);
}

fn by(key: SortKey) -> Criterion {
    Criterion { key, reverse: false }
}

fn reverse(key: SortKey) -> Criterion {
    Criterion { key, reverse: true }
}

fn numbers(sorter: &Sorter) -> Vec<u32> {
    sorter.uids().map(Uid::value).collect()
}

fn sorted(page: &ItemPage, criteria: &[Criterion]) -> Vec<u32> {
    let mut sorter = Sorter::new(criteria, OrderLimits::default());
    page.rows().iter().for_each(|row| sorter.push(page, row).unwrap());
    sorter.sort();
    numbers(&sorter)
}

fn subjects(subjects: &[&str]) -> ItemPage {
    let mut builder = ItemPageBuilder::new();
    for (uid, subject) in (1..).zip(subjects) {
        push(&mut builder, uid, 0, 1, &SummaryRef { subject, base_subject: subject, ..SummaryRef::default() });
    }
    builder.finish(None)
}

#[test]
fn subjects_are_in_the_order_of_the_collation() {
    let page = subjects(&["[b", "Zebra", "apple", "", "Äpfel", "apples", "A\0b", "A\u{1}b", "A"]);
    assert_eq!(sorted(&page, &[by(SortKey::Subject)]), [4, 9, 7, 8, 3, 6, 5, 2, 1]);
    assert_eq!(sorted(&page, &[reverse(SortKey::Subject)]), [1, 2, 5, 6, 3, 8, 7, 9, 4]);
}

#[test]
fn equals_stand_as_in_the_mailbox_whatever_is_reversed() {
    let page = subjects(&["b", "a", "B", "A"]);
    assert_eq!(sorted(&page, &[by(SortKey::Subject)]), [2, 4, 1, 3]);
    assert_eq!(sorted(&page, &[reverse(SortKey::Subject)]), [1, 3, 2, 4]);
    assert_eq!(sorted(&page, &[reverse(SortKey::Arrival)]), [1, 2, 3, 4]);
}

#[test]
fn the_date_is_that_of_arrival_where_none_was_sent() {
    let mut builder = ItemPageBuilder::new();
    let sent =
        |seconds| SummaryRef { sent: Some(Timestamp::from_seconds(seconds).at_offset(-300)), ..Default::default() };
    push(&mut builder, 1, 500, 1, &sent(300));
    push(&mut builder, 2, 200, 1, &SummaryRef::default());
    push(&mut builder, 3, 100, 1, &sent(-5));
    let page = builder.finish(None);
    assert_eq!(sorted(&page, &[by(SortKey::Date)]), [3, 2, 1]);
    assert_eq!(sorted(&page, &[by(SortKey::Arrival)]), [3, 2, 1]);
    assert_eq!(sorted(&page, &[reverse(SortKey::Date)]), [1, 2, 3]);
}

#[test]
fn displayed_names_come_before_addresses() {
    let from =
        |name, local, domain| SummaryRef { from: Some(Correspondent { name, local, domain }), ..Default::default() };
    let mut builder = ItemPageBuilder::new();
    push(&mut builder, 1, 0, 1, &from("Zoe", "a", "x.test"));
    push(&mut builder, 2, 0, 1, &from("", "m", "x.test"));
    push(&mut builder, 3, 0, 1, &from("", "m", ""));
    push(&mut builder, 4, 0, 1, &SummaryRef::default());
    push(&mut builder, 5, 0, 1, &from("bob", "z", "x.test"));
    let page = builder.finish(None);
    assert_eq!(sorted(&page, &[by(SortKey::DisplayFrom)]), [4, 5, 3, 2, 1]);
    assert_eq!(sorted(&page, &[by(SortKey::From)]), [4, 1, 2, 3, 5]);
    assert_eq!(sorted(&page, &[by(SortKey::DisplayTo), by(SortKey::Cc), by(SortKey::To)]), [1, 2, 3, 4, 5]);
}

#[test]
fn only_what_is_compared_is_asked_for() {
    let projection = |criteria: &[Criterion]| Sorter::new(criteria, OrderLimits::default()).projection();
    assert_eq!(projection(&[by(SortKey::Size), reverse(SortKey::Arrival)]), Projection::DATES);
    assert_eq!(projection(&[by(SortKey::Size), by(SortKey::To)]), Projection::DATES | Projection::SUMMARY);
}

#[test]
fn limits_hold() {
    let page = subjects(&["abcdef", "abcxyz", "abc"]);
    let sort = |limits: OrderLimits| {
        let mut sorter = Sorter::new([reverse(SortKey::Subject)], limits);
        let pushed: Result<Vec<()>, TooMany> = page.rows().iter().map(|row| sorter.push(&page, row)).collect();
        sorter.sort();
        (pushed.is_ok(), numbers(&sorter))
    };
    let limits = OrderLimits::default();
    assert_eq!(sort(OrderLimits { text: 3, ..limits }), (true, vec![1, 2, 3]));
    assert_eq!(sort(OrderLimits { messages: 2, ..limits }), (false, vec![2, 1]));
    assert_eq!(sort(OrderLimits { octets: 1, ..limits }), (false, vec![1]));
}

#[test]
fn an_order_that_changes_for_long_does_not_grow() {
    let page = subjects(&[&"a".repeat(400), &"b".repeat(400)]);
    let mut sorter = Sorter::new([by(SortKey::Subject)], OrderLimits::default());
    page.rows().iter().for_each(|row| sorter.push(&page, row).unwrap());
    sorter.sort();
    for _ in 0..1000 {
        assert_eq!(sorter.remove(Uid::new(1).unwrap()), Some(0));
        assert_eq!(sorter.insert(&page, &page.rows()[0]), Ok(0));
    }
    assert_eq!(numbers(&sorter), [1, 2]);
    assert!(sorter.keys.len() < 2 * IDLE, "{}", sorter.keys.len());
    assert_eq!(sorter.remove(Uid::new(7).unwrap()), None);
}

proptest! {
    #[test]
    fn orders_are_those_of_one_criterion_after_the_other(
        rows in prop::collection::vec(("[a-c\\x00\\x01]{0,3}", -2i64..3, 0u64..3), 0..12),
        criteria in prop::collection::vec((0u8..3, any::<bool>()), 1..4),
    ) {
        let mut builder = ItemPageBuilder::new();
        for (uid, (subject, arrived, size)) in (1..).zip(&rows) {
            push(&mut builder, uid, *arrived, *size, &SummaryRef { subject, base_subject: subject, ..Default::default() });
        }
        let page = builder.finish(None);
        let keys = [SortKey::Subject, SortKey::Arrival, SortKey::Size];
        let criteria: Vec<Criterion> =
            criteria.iter().map(|(key, reverse)| Criterion { key: keys[usize::from(*key)], reverse: *reverse }).collect();
        let mut naive: Vec<usize> = (0..rows.len()).collect();
        naive.sort_by(|&a, &b| {
            let (a, b) = (&rows[a], &rows[b]);
            let each = criteria.iter().map(|criterion| {
                let order = match criterion.key {
                    SortKey::Subject => a.0.to_uppercase().cmp(&b.0.to_uppercase()),
                    SortKey::Arrival => a.1.cmp(&b.1),
                    _ => a.2.cmp(&b.2),
                };
                if criterion.reverse { order.reverse() } else { order }
            });
            each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        let naive: Vec<u32> = naive.into_iter().map(|at| u32::try_from(at).unwrap() + 1).collect();
        prop_assert_eq!(sorted(&page, &criteria), naive.clone());
        // One by one, at the place that is said.
        let mut one_by_one = Sorter::new(criteria.as_slice(), OrderLimits::default());
        let mut told = Vec::new();
        for row in page.rows() {
            told.insert(one_by_one.insert(&page, row).unwrap(), row.uid.value());
        }
        prop_assert_eq!(told, naive);
    }
}
