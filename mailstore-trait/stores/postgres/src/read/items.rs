//! Pages of rows.
//!
//! Bodies are wanted by few octets at a time: the database adds up what rows would bring and sends no row beyond the
//! one that goes over the page's bound. That one is needed to say where the next page begins; the first row always
//! fits, so the second comes along whatever the first one brings.

use mailstore_trait::id::{AccountId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemPageBuilder, ItemsOptions, Projection, RowParts};
use mailstore_trait::uid_set::UidSet;

use super::view::FOLDER;
use super::{Answers, account, ask_account};
use crate::call::{Call, call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::{FolderRow, ITEM_COLUMNS, ItemRow, get};

macro_rules! shelf {
    () => {
        "(SELECT shelf FROM mailstore.folder WHERE account = $1 AND id = $2)"
    };
}

/// $1 account, $2 folder, $3 and $4 first and last UIDs, $5 rows.
const PLAIN: &str = concat!(
    "SELECT ",
    ITEM_COLUMNS!(),
    " FROM unnest($3::int8[], $4::int8[]) AS range (first, last)
     JOIN mailstore.item ON account = $1 AND shelf = ",
    shelf!(),
    " AND uid BETWEEN range.first AND range.last ORDER BY uid LIMIT $5"
);
/// The same where one range is all: read in the order of the key, and no further than needed.
const PLAIN_ONE: &str = concat!(
    "SELECT ",
    ITEM_COLUMNS!(),
    " FROM mailstore.item WHERE account = $1 AND shelf = ",
    shelf!(),
    " AND uid BETWEEN $3 AND $4 ORDER BY uid LIMIT $5"
);

/// $6 to $8: whether skeletons, summaries, contents are wanted; $9 contents up to; $10 octets of the page.
macro_rules! full {
    ($from:expr) => {
        concat!(
            "SELECT ",
            ITEM_COLUMNS!(),
            ", CASE WHEN $6 THEN email.skeleton ELSE '' END, CASE WHEN $7 THEN email.summary ELSE '' END,
             CASE WHEN has_content THEN email.prefix ELSE '' END, CASE WHEN has_content THEN blob.octets END,
             CASE WHEN has_content THEN email.blob END
             FROM (
                SELECT costs.*, sum(cost) OVER (ORDER BY uid) AS upto,
                    row_number() OVER (ORDER BY uid) AS place FROM (
                    SELECT item.*, $8 AND item.size <= $9 AS has_content,
                        CASE WHEN $8 AND item.size <= $9 THEN item.size ELSE 0 END
                        + CASE WHEN $6 THEN octet_length(email.skeleton) ELSE 0 END
                        + CASE WHEN $7 THEN octet_length(email.summary) ELSE 0 END AS cost
                    FROM (",
            $from,
            ") AS item JOIN mailstore.email ON email.account = item.account AND email.id = item.email
                ) AS costs
             ) AS item
             JOIN mailstore.email ON email.account = item.account AND email.id = item.email
             JOIN mailstore.blob ON blob.id = email.blob
             WHERE item.upto - item.cost <= $10 OR item.place <= 2 ORDER BY uid"
        )
    };
}
const FULL: &str = full!(concat!(
    "SELECT item.* FROM unnest($3::int8[], $4::int8[]) AS range (first, last)
     JOIN mailstore.item ON account = $1 AND shelf = ",
    "(SELECT shelf FROM mailstore.folder WHERE account = $1 AND id = $2)",
    " AND uid BETWEEN range.first AND range.last ORDER BY uid LIMIT $5"
));
const FULL_ONE: &str = full!(concat!(
    "SELECT item.* FROM mailstore.item WHERE account = $1 AND shelf = ",
    "(SELECT shelf FROM mailstore.folder WHERE account = $1 AND id = $2)",
    " AND uid BETWEEN $3 AND $4 ORDER BY uid LIMIT $5"
));

pub(crate) async fn page(
    env: &Env,
    id: AccountId,
    folder: FolderId,
    uids: &UidSet,
    options: &ItemsOptions,
) -> Result<ItemPage> {
    let mut builder = ItemPageBuilder::new();
    let mut steps = Steps::new(uids, options.max_rows);
    let mut tx = env.link.read().await?;
    let first = steps.next();
    let mut calls = vec![ask_account(id), call!(FOLDER, sql(id.value()), sql(folder.value()))];
    calls.extend(first.as_ref().map(|ranges| ask(id, folder, ranges, options)));
    let mut answers = Answers::new(tx.flight(calls).await?);
    let at = account(env, &answers.take())?.at()?;
    if options.at_least.is_some_and(|at_least| at_least > at) {
        return Err(Fault::Busy);
    }
    let row = FolderRow::read(answers.take().first().ok_or(Fault::NotFound)?)?;
    if !row.selectable {
        return Err(Fault::NotFound);
    }
    let mut step = first;
    let mut rows = answers.take();
    while let Some(ranges) = step {
        let asked = rows.len();
        for row in &rows {
            let item = ItemRow::read(row)?;
            let mut parts = Parts::default();
            if wants_parts(options) {
                parts.read(env, row, item.head.size).await?;
            }
            let parts = parts.view();
            if builder.is_full(options, &parts) {
                return Ok(builder.finish(Some(item.head.uid)));
            }
            builder.push(item.head, item.flags.system, item.flags.keywords(), parts);
        }
        // A step that brought fewer rows than it may was read to its end.
        let limit = limit(options);
        step = match ranges.last() {
            Some(&(_, last)) if asked >= limit => {
                let read = rows.last().map(|row| get::<i64>(row, 1)).transpose()?.unwrap_or(last);
                let rest =
                    ranges.iter().filter(|(_, last)| *last > read).map(|&(first, last)| (first.max(read + 1), last));
                Some(rest.collect()).filter(|rest: &Vec<_>| !rest.is_empty()).or_else(|| steps.next())
            }
            _ => steps.next(),
        };
        if let Some(ranges) = &step {
            rows = tx.one(ask(id, folder, ranges, options)).await?;
        }
    }
    Ok(builder.finish(None::<Uid>))
}

fn wants_parts(options: &ItemsOptions) -> bool {
    options.projection.intersects(Projection::SKELETON | Projection::SUMMARY | Projection::CONTENT)
}

fn limit(options: &ItemsOptions) -> usize {
    options.max_rows.clamp(1, 100_000) + 1
}

fn ask(id: AccountId, folder: FolderId, ranges: &[(i64, i64)], options: &ItemsOptions) -> Call {
    let (account, folder) = (sql(id.value()), sql(folder.value()));
    let limit = sql(limit(options) as u64);
    let wants = |what| options.projection.contains(what);
    let bounds = [wants(Projection::SKELETON), wants(Projection::SUMMARY), wants(Projection::CONTENT)];
    let mut call = match ranges {
        [(first, last)] if wants_parts(options) => call!(FULL_ONE, account, folder, *first, *last, limit),
        [(first, last)] => call!(PLAIN_ONE, account, folder, *first, *last, limit),
        _ => {
            let (first, last): (Vec<i64>, Vec<i64>) = ranges.iter().copied().unzip();
            let statement = if wants_parts(options) { FULL } else { PLAIN };
            call!(statement, account, folder, first, last, limit)
        }
    };
    if wants_parts(options) {
        call.values.extend(bounds.map(Into::into));
        call.values.push(sql(options.content_up_to).into());
        call.values.push(sql(options.max_octets as u64).into());
    }
    call
}

/// The parts of a row that lie outside it.
#[derive(Default)]
struct Parts {
    skeleton: Vec<u8>,
    summary: Vec<u8>,
    content: Vec<u8>,
}

impl Parts {
    async fn read(&mut self, env: &Env, row: &tokio_postgres::Row, size: u64) -> Result<()> {
        self.skeleton = get(row, 16)?;
        self.summary = get(row, 17)?;
        self.content = get(row, 18)?;
        let (octets, blob): (Option<&[u8]>, Option<&[u8]>) = (get(row, 19)?, get(row, 20)?);
        match (octets, blob) {
            (Some(octets), _) => self.content.extend_from_slice(octets),
            // In pieces: rare, for contents that come with pages are small ones.
            (None, Some(blob)) => {
                let id = blob.try_into().map_err(|_| Fault::corrupt("an id of other than 16 octets"))?;
                let from = self.content.len() as u64;
                super::content::whole(env, mailstore_trait::id::BlobId(id), size - from.min(size), &mut self.content)
                    .await?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn view(&self) -> RowParts<'_> {
        RowParts { skeleton: &self.skeleton, summary: &self.summary, content: &self.content }
    }
}

/// A set of UIDs cut into questions: a long range alone, to be read in order as far as needed; many short ones
/// together, as long as they can't bring much more than a page.
struct Steps<'u> {
    ranges: std::iter::Peekable<Box<dyn Iterator<Item = (i64, i64)> + Send + 'u>>,
    most: i64,
}

impl<'u> Steps<'u> {
    fn new(uids: &'u UidSet, rows: usize) -> Steps<'u> {
        let ranges: Box<dyn Iterator<Item = (i64, i64)> + Send + 'u> =
            Box::new(uids.ranges().map(|range| (range.start().value().into(), range.end().value().into())));
        Steps { ranges: ranges.peekable(), most: sql(rows.clamp(1, 100_000) as u64).saturating_mul(4) }
    }
}

impl Iterator for Steps<'_> {
    type Item = Vec<(i64, i64)>;

    fn next(&mut self) -> Option<Vec<(i64, i64)>> {
        let mut step = vec![self.ranges.next()?];
        let mut width: i64 = step.iter().map(|(first, last)| last - first + 1).sum();
        while let Some(range) = self.ranges.next_if(|(first, last)| width + (last - first + 1) <= self.most) {
            width += range.1 - range.0 + 1;
            step.push(range);
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ranges_are_asked_alone_and_short_ones_together() {
        let uid = |value| Uid::new(value).unwrap();
        let mut uids: UidSet = (1..=9).step_by(2).map(uid).collect();
        uids.insert_range(uid(100)..=Uid::MAX);
        let steps: Vec<_> = Steps::new(&uids, 1).collect();
        assert_eq!(steps, [vec![(1, 1), (3, 3), (5, 5), (7, 7)], vec![(9, 9)], vec![(100, i64::from(u32::MAX))]]);
        assert_eq!(Steps::new(&UidSet::new(), 10).count(), 0);
    }
}
