//! GUIDs ([MS-DTYP] §2.3.4): three little-endian numbers, then eight octets as they are.

use std::fmt;

use crate::wire::{Reader, WireError, Writer};

/// A globally unique identifier.
///
/// ```
/// use mapi_rpc::guid::Guid;
///
/// let guid = Guid::parse("f5cc5a18-4264-101a-8c59-08002b2f8426").expect("a GUID");
/// assert_eq!(guid.to_string(), "f5cc5a18-4264-101a-8c59-08002b2f8426");
/// assert_eq!(guid.as_octets()[..4], [0x18, 0x5a, 0xcc, 0xf5]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

/// The wire's position of each octet of the text form.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// From its octets as they are on the wire.
    pub const fn from_octets(octets: [u8; 16]) -> Guid {
        Guid(octets)
    }

    /// Its octets as they are on the wire.
    pub const fn as_octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the text form, `8-4-4-4-12` hexadecimal digits in either case, without braces.
    pub fn parse(text: &str) -> Option<Guid> {
        let mut octets = [0; 16];
        let mut groups = text.split('-');
        let mut order = TEXT_ORDER.into_iter();
        for len in [8, 4, 4, 4, 12] {
            let group = groups.next().filter(|group| group.len() == len)?;
            for pair in group.as_bytes().chunks_exact(2) {
                let octet = pair.iter().try_fold(0_u8, |sum, digit| {
                    let digit = char::from(*digit).to_digit(16)?;
                    Some(sum << 4 | u8::try_from(digit).ok()?)
                })?;
                *octets.get_mut(order.next()?)? = octet;
            }
        }
        groups.next().is_none().then_some(Guid(octets))
    }

    /// Reads 16 octets.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn read(reader: &mut Reader<'_>) -> Result<Guid, WireError> {
        reader.array().map(Guid)
    }

    /// Writes 16 octets.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn write(&self, writer: &mut Writer) -> Result<(), WireError> {
        writer.put(&self.0)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, position) in TEXT_ORDER.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0.get(position).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_text_and_wire_agree() {
        // [MS-OXCMAPIHTTP] names the EMSMDB interface so.
        let text = "a4f1db00-ca47-1067-b31f-00dd010662da";
        let octets = [0, 0xdb, 0xf1, 0xa4, 0x47, 0xca, 0x67, 0x10, 0xb3, 0x1f, 0, 0xdd, 1, 6, 0x62, 0xda];
        let guid = Guid::parse(text).unwrap();
        assert_eq!(guid, Guid::from_octets(octets));
        assert_eq!(Guid::read(&mut Reader::new(&octets)), Ok(guid));
        assert_eq!(guid.to_string(), text);
        assert_eq!(Guid::parse(&text.to_uppercase()), Some(guid));
        let mut writer = Writer::new(16);
        guid.write(&mut writer).unwrap();
        assert_eq!(writer.as_slice(), octets);
        assert!(guid.write(&mut writer).is_err());
    }

    #[test]
    fn guid_texts_that_are_none() {
        for bad in [
            "",
            "a4f1db00-ca47-1067-b31f",
            "{a4f1db00-ca47-1067-b31f-00dd010662da}",
            "a4f1db00-ca47-1067-b31f-00dd010662da-",
            "a4f1db00ca471067b31f00dd010662da",
            "a4f1db0-0ca47-1067-b31f-00dd010662da",
            "g4f1db00-ca47-1067-b31f-00dd010662da",
            "\u{e9}f1db00-ca47-1067-b31f-00dd010662da",
        ] {
            assert_eq!(Guid::parse(bad), None, "{bad}");
        }
    }
}
