//! The arguments of the quota commands (RFC 9208 §4.1).

use mailstore_trait::quota::QuotaLimits;

use super::cursor::{Cursor, Result, Text};
use super::{Bounds, Expected};

/// A command about quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaCommand<'a> {
    /// GETQUOTA, with the root.
    Of(Text<'a>),
    /// GETQUOTAROOT, with the mailbox.
    RootOf(Text<'a>),
    /// SETQUOTA: all limits of a root; nothing in place of limits when a resource is not known here.
    Set {
        /// The root.
        root: Text<'a>,
        /// The new limits.
        limits: Option<QuotaLimits>,
    },
}

/// RFC 9208 §7, setquota, behind the root and a space.
pub(crate) fn limits(cursor: &mut Cursor<'_>, bounds: &Bounds) -> Result<Option<QuotaLimits>> {
    let (mut limits, mut known, mut count) = (QuotaLimits::none(), true, 0);
    cursor.open()?;
    while !cursor.eat(b')') {
        if count > 0 {
            cursor.space()?;
        }
        count += 1;
        if count > bounds.items {
            return cursor.fail(Expected::Fewer);
        }
        let resource = cursor.atom()?;
        cursor.space()?;
        let limit = cursor.number()?;
        // RFC 9208 §5.1: in units of 1,024 octets.
        match resource {
            _ if resource.eq_ignore_ascii_case(b"STORAGE") => limits.storage = Some(limit.saturating_mul(1024)),
            _ if resource.eq_ignore_ascii_case(b"MESSAGE") => limits.messages = Some(limit),
            _ if resource.eq_ignore_ascii_case(b"MAILBOX") => limits.folders = Some(limit),
            _ => known = false,
        }
    }
    Ok(known.then_some(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<QuotaLimits>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let limits = limits(&mut cursor, &Bounds::default())?;
        cursor.end()?;
        Ok(limits)
    }

    #[test]
    fn limits_are_lists_of_resources() {
        let some = QuotaLimits::none().with_storage(Some(510 * 1024)).with_messages(Some(0));
        assert_eq!(read("(STORAGE 510 message 0)").unwrap(), Some(some));
        assert_eq!(read("()").unwrap(), Some(QuotaLimits::none()));
        assert_eq!(read("(MAILBOX 3 X-OTHER 5)").unwrap(), None);
        for bad in [
            "",
            "STORAGE 1",
            "(STORAGE)",
            "(STORAGE -1)",
            "(STORAGE 1",
            "(STORAGE 1) x",
            "(STORAGE 9999999999999999999)",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("({}A 1)", "A 1 ".repeat(500))).is_err());
    }
}
