//! UIDBATCHES (RFC 10022 §3.1): ranges of UIDs that hold so many messages each, from the newest down.
//!
//! The ranges touch each other and reach down to 1, so that every UID is in one of them, whatever comes and goes
//! meanwhile. They are counted off the view; the store is not asked.

use bytes::BufMut;
use mailstore_trait::id::{SeqNum, Uid};
use mailstore_trait::uid_set::UidMap;

use super::state::{Core, Step, finish};
use crate::response::{self, Quoted, Reply};

/// Answers UIDBATCHES: batches of `size` messages, of which those counted by `range` are wanted.
pub(super) fn uid_batches(core: &mut Core, size: u32, range: Option<(u32, u32)>) -> Step {
    let limits = core.config.limits;
    let Core { view: Some(view), outbox, tag, .. } = core else {
        return finish(Reply::bad("No mailbox is selected"));
    };
    // RFC 10022 §3.1: smaller batches would be message numbers by another name.
    if size < limits.uid_batch {
        return finish(Reply::no("TOOFEW", "The batches are too small"));
    }
    let uids = view.uids();
    let all = uids.len().div_ceil(size.max(1));
    let (first, last) = match range {
        None => (1, all),
        Some((first, last)) if first > last => {
            let reply = Reply::bad("The range goes backwards");
            return finish(reply.with_code(|code| code.put_slice(b"CLIENTBUG")));
        }
        Some(range) => range,
    };
    if last.saturating_sub(first) >= limits.uid_batches {
        return finish(Reply::no("TOOMANY", "Too many batches at once"));
    }
    let out = outbox.text();
    out.put_slice(b"* UIDBATCHES (TAG ");
    response::string(tag, Quoted::Ascii, out);
    out.put_u8(b')');
    for (at, batch) in (first..=last.min(all)).enumerate() {
        let Some((low, high)) = batch_of(uids, size, batch) else { break };
        out.put_u8(if at == 0 { b' ' } else { b',' });
        response::number(u64::from(high), out);
        out.put_u8(b':');
        response::number(u64::from(low), out);
    }
    out.put_slice(b"\r\n");
    finish(Reply::ok("UIDBATCHES completed"))
}

/// The lowest and the highest UID of a batch; the first holds the newest messages.
fn batch_of(uids: &UidMap, size: u32, batch: u32) -> Option<(u32, u32)> {
    if batch.checked_sub(1)?.checked_mul(size)? >= uids.len() {
        return None;
    }
    let behind = |batch: u32| uids.len().checked_sub(batch.checked_mul(size)?);
    // The first message of a batch; of the last one all there are below it, too.
    let low = |batch: u32| match behind(batch) {
        Some(before) if before > 0 => SeqNum::new(before + 1).and_then(|seq| uids.uid(seq)).map(Uid::value),
        _ => Some(1),
    };
    let high = if batch == 1 { uids.last()?.value() } else { low(batch - 1)?.checked_sub(1)? };
    Some((low(batch)?, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_touch_and_reach_down_to_one() {
        let map: UidMap = [3, 5, 8, 9, 20].into_iter().filter_map(Uid::new).collect();
        let all = |size| (1..).map_while(|batch| batch_of(&map, size, batch)).take(9).collect::<Vec<_>>();
        assert_eq!(all(2), [(9, 20), (5, 8), (1, 4)]);
        assert_eq!(all(5), [(1, 20)]);
        assert_eq!(all(9), [(1, 20)]);
        assert_eq!(all(4), [(5, 20), (1, 4)]);
        assert_eq!(batch_of(&UidMap::default(), 5, 1), None);
        let low: UidMap = [1, 2].into_iter().filter_map(Uid::new).collect();
        assert_eq!(batch_of(&low, 1, 2), Some((1, 1)));
        assert_eq!(batch_of(&low, u32::MAX, 2), None);
    }
}
