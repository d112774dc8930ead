//! What a row and a skeleton say about a message, without reading it.

use std::fmt::Write as _;

use super::filter::{DateOf, HeaderName, Need, Test};
use super::pattern::Pattern;
use super::text::Haystack;
use crate::date::{DateTime, Timestamp};
use crate::item::{ItemPage, ItemRow};
use crate::mime::{Address, Addresses, Envelope, SkeletonRef, decode, parse_date};

/// What a row says. `known` is the dearest thing that was asked for with it, `now` the time ages are counted from.
pub(super) fn row_answer(test: &Test, page: &ItemPage, row: &ItemRow, known: Need, now: Timestamp) -> Option<bool> {
    if test.need() > known.min(Need::Dates) {
        return None;
    }
    Some(match test {
        Test::All => true,
        Test::Flags(flags) => row.flags.contains(*flags),
        Test::Keyword(keyword) => page.keywords(row).any(|have| have == keyword),
        Test::Uids(uids) => uids.contains(row.uid),
        Test::ModSeq(modseq) => row.change >= *modseq,
        Test::Email(email) => row.email == *email,
        Test::Thread(thread) => row.thread == *thread,
        Test::Larger(octets) => row.size > *octets,
        Test::Smaller(octets) => row.size < *octets,
        Test::Day(date, days) => days.contains(stored_date(*date, row)?.local_day()),
        Test::Younger(date, seconds) => {
            let earliest = now.seconds().saturating_sub(i64::try_from(*seconds).unwrap_or(i64::MAX));
            stored_date(*date, row)?.instant.seconds() >= earliest
        }
        // Only the empty text gets here: every text contains it.
        Test::Body(_) | Test::Text(_) => true,
        Test::Header(..) => return None,
    })
}

fn stored_date(date: DateOf, row: &ItemRow) -> Option<DateTime> {
    match date {
        DateOf::Internal => Some(row.internal_date),
        DateOf::Saved => Some(row.save_date.at_offset(0)),
        DateOf::Sent => None,
    }
}

/// What a skeleton says: envelope fields and the date it was sent. `haystack` is room to work in.
pub(super) fn skeleton_answer(
    test: &Test,
    now: Timestamp,
    skeleton: SkeletonRef<'_>,
    haystack: &mut Haystack,
) -> Option<bool> {
    if test.need() != Need::Skeleton {
        return None;
    }
    let envelope = skeleton.root().envelope()?;
    match test {
        Test::Header(name, pattern) => Some(field_contains(&envelope, name, pattern, haystack)),
        Test::Day(_, days) => Some(sent(&envelope).is_some_and(|date| days.contains(date.local_day()))),
        Test::Younger(_, seconds) => {
            let earliest = now.seconds().saturating_sub(i64::try_from(*seconds).unwrap_or(i64::MAX));
            Some(sent(&envelope).is_some_and(|date| date.instant.seconds() >= earliest))
        }
        _ => None,
    }
}

fn sent(envelope: &Envelope<'_>) -> Option<DateTime> {
    parse_date(envelope.date?)
}

/// Whether an envelope field contains the text, RFC 9051 §6.4.4: the envelope structure's field, encoded words decoded.
fn field_contains(envelope: &Envelope<'_>, name: &HeaderName, pattern: &Pattern, haystack: &mut Haystack) -> bool {
    let mut unstructured = |value: Option<&[u8]>| value.is_some_and(|value| haystack.holds(&decode(value), pattern));
    match name.as_bytes() {
        b"subject" => unstructured(envelope.subject),
        b"date" => unstructured(envelope.date),
        b"message-id" => unstructured(envelope.message_id),
        b"in-reply-to" => unstructured(envelope.in_reply_to),
        b"from" => list_contains(envelope.from, pattern, haystack),
        b"sender" => list_contains(envelope.sender, pattern, haystack),
        b"reply-to" => list_contains(envelope.reply_to, pattern, haystack),
        b"to" => list_contains(envelope.to, pattern, haystack),
        b"cc" => list_contains(envelope.cc, pattern, haystack),
        b"bcc" => list_contains(envelope.bcc, pattern, haystack),
        _ => false,
    }
}

/// The address lists of an envelope, as [`field_contains`] looks into them.
pub(super) fn address_lists<'a>(envelope: &Envelope<'a>) -> impl Iterator<Item = String> + use<'a> {
    let Envelope { from, sender, reply_to, to, cc, bcc, .. } = *envelope;
    [from, sender, reply_to, to, cc, bcc].into_iter().filter(|list| !list.is_empty()).map(written)
}

/// Whether the list, written as a header writes it, contains the text.
fn list_contains(list: Addresses<'_>, pattern: &Pattern, haystack: &mut Haystack) -> bool {
    !list.is_empty() && haystack.holds(&written(list), pattern)
}

/// The list as a header writes it.
fn written(list: Addresses<'_>) -> String {
    let mut text = String::new();
    let mut begins = true;
    for address in list {
        if !std::mem::replace(&mut begins, matches!(address, Address::Group { .. }))
            && !matches!(address, Address::GroupEnd)
        {
            text.push_str(", ");
        }
        match address {
            Address::Group { name } => {
                text.push_str(&decode(name));
                text.push_str(": ");
            }
            Address::GroupEnd => text.push(';'),
            Address::Mailbox(mailbox) => {
                let local = String::from_utf8_lossy(mailbox.local);
                let domain = String::from_utf8_lossy(mailbox.domain);
                // Writing to a string does not fail.
                let _ = match mailbox.name {
                    Some(name) => write!(text, "{} <{local}@{domain}>", decode(name)),
                    None => write!(text, "{local}@{domain}"),
                };
            }
        }
    }
    text
}
