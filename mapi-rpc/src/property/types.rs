//! Property types and tags ([MS-OXCDATA] §2.9, §2.11.1).

use std::fmt;

use crate::wire::{Fault, Reader, WireError, Writer};

macro_rules! property_types {
    ($($(#[$meta:meta])* $name:ident = $code:literal;)+) => {
        /// The type of a property's value. `Debug` and the names follow the specification without its `Ptyp`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum PropertyType {
            $($(#[$meta])* $name = $code,)+
        }

        impl PropertyType {
            /// Every type.
            pub const ALL: &[PropertyType] = &[$(PropertyType::$name,)+];

            /// The type with this code.
            pub const fn from_code(code: u16) -> Option<PropertyType> {
                match code {
                    $($code => Some(PropertyType::$name),)+
                    _ => None,
                }
            }

            /// Its code.
            pub const fn code(self) -> u16 {
                match self {
                    $(PropertyType::$name => $code,)+
                }
            }
        }
    };
}

// [MS-OXCDATA] §2.11.1: the table of types.
property_types! {
    /// Any type: asks the server to say which. A value has its own type in front.
    Unspecified = 0x0000;
    /// A placeholder without a value.
    Null = 0x0001;
    /// A signed 16-bit number.
    Integer16 = 0x0002;
    /// A signed 32-bit number.
    Integer32 = 0x0003;
    /// A 32-bit floating point number.
    Floating32 = 0x0004;
    /// A 64-bit floating point number.
    Floating64 = 0x0005;
    /// A signed 64-bit number of ten-thousandths.
    Currency = 0x0006;
    /// Days since 30 December 1899 as a 64-bit floating point number.
    FloatingTime = 0x0007;
    /// A 32-bit error code in place of a value.
    ErrorCode = 0x000a;
    /// One octet, 0 or 1.
    Boolean = 0x000b;
    /// An object that is opened, not read: no value on the wire.
    Object = 0x000d;
    /// A signed 64-bit number.
    Integer64 = 0x0014;
    /// A string in a code page known elsewhere, ended by a zero octet.
    String8 = 0x001e;
    /// A string in UTF-16LE, ended by a zero unit.
    String = 0x001f;
    /// 100-nanosecond steps since 1601.
    Time = 0x0040;
    /// A GUID.
    Guid = 0x0048;
    /// A server-side identifier of a folder or message.
    ServerId = 0x00fb;
    /// A restriction. Its length is known only to who parses it.
    Restriction = 0x00fd;
    /// Rule actions. Their length is known only to who parses them.
    RuleAction = 0x00fe;
    /// Counted octets.
    Binary = 0x0102;
    /// Counted [`Integer16`](PropertyType::Integer16)s.
    MultipleInteger16 = 0x1002;
    /// Counted [`Integer32`](PropertyType::Integer32)s.
    MultipleInteger32 = 0x1003;
    /// Counted [`Floating32`](PropertyType::Floating32)s.
    MultipleFloating32 = 0x1004;
    /// Counted [`Floating64`](PropertyType::Floating64)s.
    MultipleFloating64 = 0x1005;
    /// Counted [`Currency`](PropertyType::Currency) values.
    MultipleCurrency = 0x1006;
    /// Counted [`FloatingTime`](PropertyType::FloatingTime)s.
    MultipleFloatingTime = 0x1007;
    /// Counted [`Integer64`](PropertyType::Integer64)s.
    MultipleInteger64 = 0x1014;
    /// Counted [`String8`](PropertyType::String8)s.
    MultipleString8 = 0x101e;
    /// Counted [`String`](PropertyType::String)s.
    MultipleString = 0x101f;
    /// Counted [`Time`](PropertyType::Time)s.
    MultipleTime = 0x1040;
    /// Counted [`Guid`](PropertyType::Guid)s.
    MultipleGuid = 0x1048;
    /// Counted [`Binary`](PropertyType::Binary) values.
    MultipleBinary = 0x1102;
}

impl PropertyType {
    /// Whether it holds several values.
    pub const fn is_multiple(self) -> bool {
        self.code() & 0x1000 != 0
    }

    /// The type of each value of a multiple type, and a single type itself.
    pub const fn single(self) -> PropertyType {
        match PropertyType::from_code(self.code() & !0x1000) {
            Some(single) => single,
            None => self,
        }
    }
}

/// A property's type and id in one number, as the protocol names properties ([MS-OXCDATA] §2.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropertyTag {
    /// Which property: from 0x8000 the meaning is the mailbox's own, by its map of named properties.
    pub id: u16,
    /// The type's code as it was sent. A table column may carry the flag that asks for one row per value (0x2000), so
    /// not every code is one of [`PropertyType`].
    pub type_code: u16,
}

impl PropertyTag {
    /// Asks a table for one row per value of a multiple type ([MS-OXCDATA] §2.11.1.3).
    pub const MULTIVALUE_INSTANCE: u16 = 0x2000;

    /// The tag of a property of this type.
    pub const fn new(id: u16, property_type: PropertyType) -> PropertyTag {
        PropertyTag { id, type_code: property_type.code() }
    }

    /// From the number that documents print, such as 0x0037001F for the subject.
    pub const fn from_u32(tag: u32) -> PropertyTag {
        let [t0, t1, i0, i1] = tag.to_le_bytes();
        PropertyTag { id: u16::from_le_bytes([i0, i1]), type_code: u16::from_le_bytes([t0, t1]) }
    }

    /// The number that documents print.
    pub const fn to_u32(self) -> u32 {
        let ([t0, t1], [i0, i1]) = (self.type_code.to_le_bytes(), self.id.to_le_bytes());
        u32::from_le_bytes([t0, t1, i0, i1])
    }

    /// The type of the values that stand under this tag: the single type where one row per value is asked for.
    pub const fn value_type(self) -> Option<PropertyType> {
        if self.type_code & PropertyTag::MULTIVALUE_INSTANCE == 0 {
            return PropertyType::from_code(self.type_code);
        }
        match PropertyType::from_code(self.type_code & !PropertyTag::MULTIVALUE_INSTANCE) {
            Some(multiple) if multiple.is_multiple() => Some(multiple.single()),
            _ => None,
        }
    }

    /// Reads a tag: type first, then id.
    ///
    /// # Errors
    /// When fewer than four octets are left.
    pub fn read(reader: &mut Reader<'_>) -> Result<PropertyTag, WireError> {
        reader.u32().map(PropertyTag::from_u32)
    }

    /// Writes a tag.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn write(self, writer: &mut Writer) -> Result<(), WireError> {
        writer.u32(self.to_u32())
    }
}

impl fmt::Debug for PropertyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PropertyTag(0x{:08X})", self.to_u32())
    }
}

/// Reads a type's code.
pub(super) fn read_type(reader: &mut Reader<'_>) -> Result<PropertyType, WireError> {
    let start = *reader;
    PropertyType::from_code(reader.u16()?).ok_or(start.error(Fault::Type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_type_codes_are_those_of_the_table() {
        assert_eq!(PropertyType::ALL.len(), 32);
        for property_type in PropertyType::ALL {
            assert_eq!(PropertyType::from_code(property_type.code()), Some(*property_type));
            assert!(!property_type.single().is_multiple(), "{property_type:?}");
        }
        assert_eq!(PropertyType::MultipleBinary.single(), PropertyType::Binary);
        assert_eq!(PropertyType::from_code(0x00ff), None);
        assert_eq!(PropertyType::from_code(0x101f), Some(PropertyType::MultipleString));
    }

    #[test]
    fn property_tag_is_type_then_id_on_the_wire() {
        // PidTagSubject, a Unicode string.
        let tag = PropertyTag::from_u32(0x0037_001f);
        assert_eq!((tag.id, tag.value_type()), (0x0037, Some(PropertyType::String)));
        assert_eq!(tag, PropertyTag::new(0x0037, PropertyType::String));
        let mut writer = Writer::new(4);
        tag.write(&mut writer).unwrap();
        assert_eq!(writer.as_slice(), [0x1f, 0, 0x37, 0]);
        assert_eq!(PropertyTag::read(&mut Reader::new(writer.as_slice())), Ok(tag));
        assert_eq!(format!("{tag:?}"), "PropertyTag(0x0037001F)");
    }

    #[test]
    fn a_column_of_instances_holds_single_values() {
        assert_eq!(PropertyTag { id: 1, type_code: 0x301f }.value_type(), Some(PropertyType::String));
        assert_eq!(PropertyTag { id: 1, type_code: 0x201f }.value_type(), None);
        assert_eq!(PropertyTag { id: 1, type_code: 0x30ff }.value_type(), None);
    }
}
