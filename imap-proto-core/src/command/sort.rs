//! What SORT and THREAD ask for (RFC 5256 §5, RFC 5957 §5, RFC 5267 §5).

use mailstore_trait::query::{Algorithm, Criterion, SortKey};
use smallvec::SmallVec;

use super::cursor::{Cursor, Result};
use super::search::{self, SearchArguments};
use super::{Bounds, Expected};

/// Criteria of an order, the first one deciding first.
pub type Criteria = SmallVec<[Criterion; 4]>;

const KEYS: [(&[u8], SortKey); 9] = [
    (b"ARRIVAL", SortKey::Arrival),
    (b"CC", SortKey::Cc),
    (b"DATE", SortKey::Date),
    (b"FROM", SortKey::From),
    (b"SIZE", SortKey::Size),
    (b"SUBJECT", SortKey::Subject),
    (b"TO", SortKey::To),
    (b"DISPLAYFROM", SortKey::DisplayFrom),
    (b"DISPLAYTO", SortKey::DisplayTo),
];

pub(crate) fn sort<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<(Criteria, SearchArguments<'a>)> {
    let returns = search::returns(cursor)?;
    let criteria = criteria(cursor, bounds)?;
    cursor.space()?;
    // RFC 5256 §3: the charset has no word before it and can't be left out.
    let charset_known = search::charset(cursor)?;
    cursor.space()?;
    Ok((criteria, search::keys(cursor, bounds, returns, charset_known)?))
}

fn criteria(cursor: &mut Cursor<'_>, bounds: &Bounds) -> Result<Criteria> {
    cursor.open()?;
    let mut criteria = Criteria::new();
    loop {
        if criteria.len() >= bounds.criteria {
            return cursor.fail(Expected::Fewer);
        }
        let reverse = cursor.eat_word(b"REVERSE");
        if reverse {
            cursor.space()?;
        }
        let from = *cursor;
        let word = cursor.atom()?;
        let Some((_, key)) = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
            return from.fail(Expected::SortKey);
        };
        criteria.push(Criterion { key: *key, reverse });
        if cursor.eat(b')') {
            return Ok(criteria);
        }
        cursor.space()?;
    }
}

pub(crate) fn thread<'a>(cursor: &mut Cursor<'a>, bounds: &Bounds) -> Result<(Algorithm, SearchArguments<'a>)> {
    let from = *cursor;
    let word = cursor.atom()?;
    let algorithm = match word.to_ascii_uppercase().as_slice() {
        b"ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        b"REFERENCES" => Algorithm::References,
        _ => return from.fail(Expected::Option),
    };
    cursor.space()?;
    let charset_known = search::charset(cursor)?;
    cursor.space()?;
    Ok((algorithm, search::keys(cursor, bounds, (None, None), charset_known)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::SearchReturn;

    fn parse<T>(text: &str, with: fn(&mut Cursor<'_>, &Bounds) -> Result<T>) -> Result<T> {
        let mut cursor = Cursor::new(text.as_bytes());
        let parsed = with(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(parsed)
    }

    fn criteria_of(text: &str) -> Result<Criteria> {
        parse(text, |cursor, bounds| sort(cursor, bounds).map(|(criteria, _)| criteria))
    }

    #[test]
    fn orders_have_criteria_and_a_charset() {
        let by = |key, reverse| Criterion { key, reverse };
        assert_eq!(
            criteria_of("(subject REVERSE date) UTF-8 ALL").unwrap().as_slice(),
            [by(SortKey::Subject, false), by(SortKey::Date, true)]
        );
        for (word, key) in KEYS {
            let text = format!("({}) US-ASCII UNSEEN", String::from_utf8_lossy(word));
            assert_eq!(criteria_of(&text).unwrap().as_slice(), [by(key, false)]);
        }
        let returns = |text| parse(text, |cursor, bounds| sort(cursor, bounds).map(|(_, search)| search.returns));
        let expected = Some(SearchReturn::COUNT | SearchReturn::UPDATE);
        assert_eq!(returns("RETURN (UPDATE COUNT) (REVERSE DATE) UTF-8 UNDELETED").unwrap(), expected);
        let known = |text| parse(text, |cursor, bounds| sort(cursor, bounds).map(|(_, search)| search.charset_known));
        assert_eq!(known("(DATE) KOI8-R TEXT \"\u{fc}\""), Ok(false));
    }

    #[test]
    fn threads_have_an_algorithm_and_a_charset() {
        let algorithm = |text| parse(text, |cursor, bounds| thread(cursor, bounds).map(|(algorithm, _)| algorithm));
        assert_eq!(algorithm("references UTF-8 SINCE 5-MAR-2000"), Ok(Algorithm::References));
        assert_eq!(algorithm("ORDEREDSUBJECT US-ASCII TEXT \"gewp\""), Ok(Algorithm::OrderedSubject));
        for bad in [
            "",
            "REFS UTF-8 ALL",
            "REFERENCES UTF-8",
            "REFERENCES UTF-8 ",
            "REFERENCES",
            "RETURN (ALL) REFERENCES UTF-8 ALL",
        ] {
            assert!(algorithm(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for bad in [
            "() UTF-8 ALL",
            "DATE UTF-8 ALL",
            "(DATE) UTF-8",
            "(DATE) ",
            "(DATE)",
            "(REVERSE) UTF-8 ALL",
            "(REVERSE REVERSE DATE) UTF-8 ALL",
            "(DATE  TO) UTF-8 ALL",
            "(DATES) UTF-8 ALL",
            "(DATE UTF-8 ALL",
            "RETURN ALL (DATE) UTF-8 ALL",
        ] {
            assert!(criteria_of(bad).is_err(), "{bad}");
        }
        let many = format!("(DATE{}) UTF-8 ALL", " REVERSE DATE".repeat(64));
        assert_eq!(criteria_of(&many).unwrap_err().expected, Expected::Fewer);
    }
}
