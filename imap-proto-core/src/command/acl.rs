//! The arguments of the commands about rights (RFC 4314 §3).

use mailstore_trait::acl::{Rights, RightsChange};

use super::Expected;
use super::cursor::{Cursor, Result, Text};

/// A command about rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclCommand<'a> {
    /// GETACL, with the mailbox.
    Of(Text<'a>),
    /// SETACL, and DELETEACL, which sets no rights at all.
    Set {
        /// Of which mailbox.
        mailbox: Text<'a>,
        /// Whose, as it was sent: with `-` in front for negative rights.
        identifier: Text<'a>,
        /// What with them.
        change: RightsChange,
        /// Whether it was DELETEACL.
        delete: bool,
    },
    /// LISTRIGHTS
    List {
        /// Of which mailbox.
        mailbox: Text<'a>,
        /// Whose.
        identifier: Text<'a>,
    },
    /// MYRIGHTS, with the mailbox.
    Mine(Text<'a>),
}

/// RFC 4314 §3.1: rights, perhaps with a plus or a minus in front. Letters that stand for no right are an error.
pub(crate) fn change(cursor: &mut Cursor<'_>) -> Result<RightsChange> {
    let from = *cursor;
    let letters = cursor.astring()?;
    let rights = |letters: &[u8]| Rights::parse(letters).map_or_else(|| from.fail(Expected::Rights), Ok);
    match letters.as_ref() {
        [b'+', letters @ ..] => rights(letters).map(RightsChange::Add),
        [b'-', letters @ ..] => rights(letters).map(RightsChange::Remove),
        letters => rights(letters).map(RightsChange::Replace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_replaced_added_or_removed() {
        let read = |text: &'static str| change(&mut Cursor::new(text.as_bytes()));
        let rights = |letters: &[u8]| Rights::parse(letters).unwrap();
        assert_eq!(read("lrs\r\n").unwrap(), RightsChange::Replace(rights(b"lrs")));
        assert_eq!(read("+cda\r\n").unwrap(), RightsChange::Add(rights(b"kxtea")));
        assert_eq!(read("-\r\n").unwrap(), RightsChange::Remove(Rights::empty()));
        assert_eq!(read("\"\"\r\n").unwrap(), RightsChange::Replace(Rights::empty()));
        // RFC 4314 section 3.1: both examples of what must not be passed over.
        assert_eq!(read("lrQswicda\r\n").unwrap_err().expected, Expected::Rights);
        assert_eq!(read("lrqswicda\r\n").unwrap_err().expected, Expected::Rights);
    }
}
