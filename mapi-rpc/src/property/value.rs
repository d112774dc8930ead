//! Property values on the wire ([MS-OXCDATA] §2.11.1 to §2.11.5).

use std::fmt;

use super::types::{PropertyTag, PropertyType, read_type};
use crate::guid::Guid;
use crate::wire::{Fault, Reader, WireError, Writer};

/// How wide counts are ([MS-OXCDATA] §2.11.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// In ROP buffers.
    Rop,
    /// In extended rules ([MS-OXORULE] §2.2.4) and the bodies of MAPI over HTTP.
    Wide,
}

/// How much a peer's value may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Values in one multiple value. [MS-OXNSPI] §2.2.2.11 allows 100,000.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { values: 100_000 }
    }
}

/// A string in UTF-16, as the peer sent it: unpaired surrogates survive.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WideString(Vec<u16>);

impl WideString {
    /// From 16-bit units; `None` when one is zero, which would end it on the wire.
    pub fn new(units: Vec<u16>) -> Option<WideString> {
        (!units.contains(&0)).then_some(WideString(units))
    }

    /// Its 16-bit units, without the zero at the end.
    pub fn units(&self) -> &[u16] {
        &self.0
    }
}

impl From<&str> for WideString {
    /// Zeros are left out: they cannot stand in a string on the wire.
    fn from(text: &str) -> WideString {
        WideString(text.encode_utf16().filter(|unit| *unit != 0).collect())
    }
}

impl fmt::Display for WideString {
    /// Unpaired surrogates become U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        char::decode_utf16(self.0.iter().copied())
            .try_for_each(|c| fmt::Write::write_char(f, c.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl fmt::Debug for WideString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A server-side identifier ([MS-OXCDATA] §2.11.1.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerId {
    /// Of a folder or message of the server.
    Ours {
        /// The folder.
        folder_id: [u8; 8],
        /// The message in it; zero for the folder itself.
        message_id: [u8; 8],
        /// Which of several, in searches of multiple values; else zero.
        instance: u32,
    },
    /// The client's own, at most 65,534 octets.
    Client(Vec<u8>),
}

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the PropertyType of its name")]
pub enum PropertyValue {
    Null,
    Integer16(i16),
    Integer32(i32),
    Floating32(f32),
    Floating64(f64),
    Currency(i64),
    FloatingTime(f64),
    ErrorCode(u32),
    Boolean(bool),
    Integer64(i64),
    /// In a code page known elsewhere, without the zero at the end; what stands behind a zero inside is not written.
    String8(Vec<u8>),
    String(WideString),
    /// 100-nanosecond steps since 1601.
    Time(u64),
    Guid(Guid),
    ServerId(ServerId),
    Binary(Vec<u8>),
    MultipleInteger16(Vec<i16>),
    MultipleInteger32(Vec<i32>),
    MultipleFloating32(Vec<f32>),
    MultipleFloating64(Vec<f64>),
    MultipleCurrency(Vec<i64>),
    MultipleFloatingTime(Vec<f64>),
    MultipleInteger64(Vec<i64>),
    MultipleString8(Vec<Vec<u8>>),
    MultipleString(Vec<WideString>),
    MultipleTime(Vec<u64>),
    MultipleGuid(Vec<Guid>),
    MultipleBinary(Vec<Vec<u8>>),
}

impl PropertyValue {
    /// Its type.
    pub fn property_type(&self) -> PropertyType {
        use PropertyType as T;
        match self {
            PropertyValue::Null => T::Null,
            PropertyValue::Integer16(_) => T::Integer16,
            PropertyValue::Integer32(_) => T::Integer32,
            PropertyValue::Floating32(_) => T::Floating32,
            PropertyValue::Floating64(_) => T::Floating64,
            PropertyValue::Currency(_) => T::Currency,
            PropertyValue::FloatingTime(_) => T::FloatingTime,
            PropertyValue::ErrorCode(_) => T::ErrorCode,
            PropertyValue::Boolean(_) => T::Boolean,
            PropertyValue::Integer64(_) => T::Integer64,
            PropertyValue::String8(_) => T::String8,
            PropertyValue::String(_) => T::String,
            PropertyValue::Time(_) => T::Time,
            PropertyValue::Guid(_) => T::Guid,
            PropertyValue::ServerId(_) => T::ServerId,
            PropertyValue::Binary(_) => T::Binary,
            PropertyValue::MultipleInteger16(_) => T::MultipleInteger16,
            PropertyValue::MultipleInteger32(_) => T::MultipleInteger32,
            PropertyValue::MultipleFloating32(_) => T::MultipleFloating32,
            PropertyValue::MultipleFloating64(_) => T::MultipleFloating64,
            PropertyValue::MultipleCurrency(_) => T::MultipleCurrency,
            PropertyValue::MultipleFloatingTime(_) => T::MultipleFloatingTime,
            PropertyValue::MultipleInteger64(_) => T::MultipleInteger64,
            PropertyValue::MultipleString8(_) => T::MultipleString8,
            PropertyValue::MultipleString(_) => T::MultipleString,
            PropertyValue::MultipleTime(_) => T::MultipleTime,
            PropertyValue::MultipleGuid(_) => T::MultipleGuid,
            PropertyValue::MultipleBinary(_) => T::MultipleBinary,
        }
    }

    /// Reads a value of this type ([MS-OXCDATA] §2.11.2.1).
    ///
    /// Of [`PropertyType::Unspecified`] the value has its own type in front ([MS-OXCDATA] §2.11.3).
    ///
    /// # Errors
    /// [`Fault::Type`] at the value for types that have none here: `Object`, `Restriction`, `RuleAction`. Otherwise at
    /// the field that ends too early, counts too much or says what it may not.
    pub fn read(
        reader: &mut Reader<'_>,
        property_type: PropertyType,
        form: Form,
        limits: &Limits,
    ) -> Result<PropertyValue, WireError> {
        use PropertyType as T;
        let property_type = match property_type {
            T::Unspecified => read_inner_type(reader)?,
            property_type => property_type,
        };
        let many = limits.values;
        Ok(match property_type {
            T::Null => PropertyValue::Null,
            T::Integer16 => PropertyValue::Integer16(reader.i16()?),
            T::Integer32 => PropertyValue::Integer32(reader.i32()?),
            T::Floating32 => PropertyValue::Floating32(reader.f32()?),
            T::Floating64 => PropertyValue::Floating64(reader.f64()?),
            T::Currency => PropertyValue::Currency(reader.i64()?),
            T::FloatingTime => PropertyValue::FloatingTime(reader.f64()?),
            T::ErrorCode => PropertyValue::ErrorCode(reader.u32()?),
            // [MS-OXCDATA] §2.11.1: 0 or 1.
            // Deviation from [MS-OXCDATA] §2.11.1: any other octet counts as true, since nothing behind it could be
            // read if it were refused.
            T::Boolean => PropertyValue::Boolean(reader.u8()? != 0),
            T::Integer64 => PropertyValue::Integer64(reader.i64()?),
            T::String8 => PropertyValue::String8(reader.until_zero()?.to_vec()),
            T::String => PropertyValue::String(WideString(reader.until_zero_u16()?)),
            T::Time => PropertyValue::Time(reader.u64()?),
            T::Guid => PropertyValue::Guid(Guid::read(reader)?),
            T::ServerId => PropertyValue::ServerId(ServerId::read(reader)?),
            T::Binary => PropertyValue::Binary(read_binary(reader, form)?),
            T::MultipleInteger16 => PropertyValue::MultipleInteger16(read_many(reader, 2, many, Reader::i16)?),
            T::MultipleInteger32 => PropertyValue::MultipleInteger32(read_many(reader, 4, many, Reader::i32)?),
            T::MultipleFloating32 => PropertyValue::MultipleFloating32(read_many(reader, 4, many, Reader::f32)?),
            T::MultipleFloating64 => PropertyValue::MultipleFloating64(read_many(reader, 8, many, Reader::f64)?),
            T::MultipleCurrency => PropertyValue::MultipleCurrency(read_many(reader, 8, many, Reader::i64)?),
            T::MultipleFloatingTime => PropertyValue::MultipleFloatingTime(read_many(reader, 8, many, Reader::f64)?),
            T::MultipleInteger64 => PropertyValue::MultipleInteger64(read_many(reader, 8, many, Reader::i64)?),
            T::MultipleString8 => PropertyValue::MultipleString8(read_many(reader, 1, many, |reader| {
                reader.until_zero().map(<[u8]>::to_vec)
            })?),
            T::MultipleString => PropertyValue::MultipleString(read_many(reader, 2, many, |reader| {
                reader.until_zero_u16().map(WideString)
            })?),
            T::MultipleTime => PropertyValue::MultipleTime(read_many(reader, 8, many, Reader::u64)?),
            T::MultipleGuid => PropertyValue::MultipleGuid(read_many(reader, 16, many, Guid::read)?),
            T::MultipleBinary => {
                let least = if form == Form::Rop { 2 } else { 4 };
                PropertyValue::MultipleBinary(read_many(reader, least, many, |reader| read_binary(reader, form))?)
            }
            T::Unspecified | T::Object | T::Restriction | T::RuleAction => return Err(reader.error(Fault::Type)),
        })
    }

    /// Writes the value, without its type ([MS-OXCDATA] §2.11.2.1).
    ///
    /// # Errors
    /// [`Fault::Full`] when it does not fit, or is longer than the form's lengths can say. What was written of it stays:
    /// [`Writer::truncate`] takes it back.
    pub fn write(&self, writer: &mut Writer, form: Form) -> Result<(), WireError> {
        match self {
            PropertyValue::Null => Ok(()),
            PropertyValue::Integer16(value) => writer.i16(*value),
            PropertyValue::Integer32(value) => writer.i32(*value),
            PropertyValue::Floating32(value) => writer.f32(*value),
            PropertyValue::Floating64(value) | PropertyValue::FloatingTime(value) => writer.f64(*value),
            PropertyValue::Currency(value) | PropertyValue::Integer64(value) => writer.i64(*value),
            PropertyValue::ErrorCode(value) => writer.u32(*value),
            PropertyValue::Boolean(value) => writer.u8(u8::from(*value)),
            PropertyValue::String8(value) => write_string8(writer, value),
            PropertyValue::String(value) => write_string(writer, value),
            PropertyValue::Time(value) => writer.u64(*value),
            PropertyValue::Guid(value) => value.write(writer),
            PropertyValue::ServerId(value) => value.write(writer),
            PropertyValue::Binary(value) => write_binary(writer, value, form),
            PropertyValue::MultipleInteger16(values) => write_many(writer, values, |w, value| w.i16(*value)),
            PropertyValue::MultipleInteger32(values) => write_many(writer, values, |w, value| w.i32(*value)),
            PropertyValue::MultipleFloating32(values) => write_many(writer, values, |w, value| w.f32(*value)),
            PropertyValue::MultipleFloating64(values) | PropertyValue::MultipleFloatingTime(values) => {
                write_many(writer, values, |w, value| w.f64(*value))
            }
            PropertyValue::MultipleCurrency(values) | PropertyValue::MultipleInteger64(values) => {
                write_many(writer, values, |w, value| w.i64(*value))
            }
            PropertyValue::MultipleString8(values) => write_many(writer, values, |w, value| write_string8(w, value)),
            PropertyValue::MultipleString(values) => write_many(writer, values, write_string),
            PropertyValue::MultipleTime(values) => write_many(writer, values, |w, value| w.u64(*value)),
            PropertyValue::MultipleGuid(values) => write_many(writer, values, |w, value| value.write(w)),
            PropertyValue::MultipleBinary(values) => {
                write_many(writer, values, |w, value| write_binary(w, value, form))
            }
        }
    }

    /// Writes the value behind its type ([MS-OXCDATA] §2.11.3).
    ///
    /// # Errors
    /// As [`write`](PropertyValue::write).
    pub fn write_typed(&self, writer: &mut Writer, form: Form) -> Result<(), WireError> {
        writer.u16(self.property_type().code())?;
        self.write(writer, form)
    }
}

/// The type in front of a value whose column has none: it says one.
fn read_inner_type(reader: &mut Reader<'_>) -> Result<PropertyType, WireError> {
    let start = *reader;
    Some(read_type(reader)?).filter(|inner| *inner != PropertyType::Unspecified).ok_or(start.error(Fault::Type))
}

fn read_binary(reader: &mut Reader<'_>, form: Form) -> Result<Vec<u8>, WireError> {
    let octets = match form {
        Form::Rop => reader.scope_u16()?,
        Form::Wide => reader.scope_u32()?,
    };
    Ok(octets.rest().to_vec())
}

fn read_many<'a, T>(
    reader: &mut Reader<'a>,
    least: usize,
    limit: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = reader.count_u32(least, limit)?;
    (0..count).map(|_| read(reader)).collect()
}

fn write_many<T>(
    writer: &mut Writer,
    values: &[T],
    write: impl Fn(&mut Writer, &T) -> Result<(), WireError>,
) -> Result<(), WireError> {
    writer.count_u32(values.len())?;
    values.iter().try_for_each(|value| write(writer, value))
}

fn write_binary(writer: &mut Writer, octets: &[u8], form: Form) -> Result<(), WireError> {
    match form {
        Form::Rop => writer.scope_u16(|inner| inner.put(octets)),
        Form::Wide => writer.scope_u32(|inner| inner.put(octets)),
    }
}

fn write_string8(writer: &mut Writer, octets: &[u8]) -> Result<(), WireError> {
    // A zero inside would end the string early and make the rest of it the next value.
    let until_zero = octets.split(|octet| *octet == 0).next().unwrap_or_default();
    writer.put(until_zero)?;
    writer.u8(0)
}

fn write_string(writer: &mut Writer, string: &WideString) -> Result<(), WireError> {
    string.0.iter().try_for_each(|unit| writer.u16(*unit))?;
    writer.u16(0)
}

impl ServerId {
    fn read(reader: &mut Reader<'_>) -> Result<ServerId, WireError> {
        let mut inner = reader.scope_u16()?;
        let start = inner;
        match inner.u8()? {
            0 => Ok(ServerId::Client(inner.rest().to_vec())),
            1 => {
                let id =
                    ServerId::Ours { folder_id: inner.array()?, message_id: inner.array()?, instance: inner.u32()? };
                inner.finish()?;
                Ok(id)
            }
            _ => Err(start.error(Fault::Value)),
        }
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WireError> {
        writer.scope_u16(|inner| match self {
            ServerId::Client(octets) => {
                inner.u8(0)?;
                inner.put(octets)
            }
            ServerId::Ours { folder_id, message_id, instance } => {
                inner.u8(1)?;
                inner.put(folder_id)?;
                inner.put(message_id)?;
                inner.u32(*instance)
            }
        })
    }
}

/// A property's id with its value; the tag between them is made from both ([MS-OXCDATA] §2.11.4).
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedPropertyValue {
    /// Which property.
    pub id: u16,
    /// Its value.
    pub value: PropertyValue,
}

impl TaggedPropertyValue {
    /// Reads a tag and the value it announces.
    ///
    /// # Errors
    /// [`Fault::Type`] at the tag when its type is unknown, is `Unspecified` or asks for instances; otherwise as
    /// [`PropertyValue::read`].
    pub fn read(reader: &mut Reader<'_>, form: Form, limits: &Limits) -> Result<TaggedPropertyValue, WireError> {
        let start = *reader;
        let tag = PropertyTag::read(reader)?;
        let property_type = PropertyType::from_code(tag.type_code)
            .filter(|property_type| *property_type != PropertyType::Unspecified)
            .ok_or(start.error(Fault::Type))?;
        Ok(TaggedPropertyValue { id: tag.id, value: PropertyValue::read(reader, property_type, form, limits)? })
    }

    /// Writes tag and value.
    ///
    /// # Errors
    /// As [`PropertyValue::write`].
    pub fn write(&self, writer: &mut Writer, form: Form) -> Result<(), WireError> {
        PropertyTag::new(self.id, self.value.property_type()).write(writer)?;
        self.value.write(writer, form)
    }
}

/// A value in a row where some may be missing ([MS-OXCDATA] §2.11.5, and §2.11.6 for columns without a type).
#[derive(Clone, Debug, PartialEq)]
pub enum Flagged {
    /// Here it is.
    Value(PropertyValue),
    /// There is none.
    Absent,
    /// Why it is missing: an error code of [MS-OXCDATA] §2.4.
    Error(u32),
}

impl Flagged {
    /// Reads the flag and what follows it; of an `Unspecified` column the type stands before the flag.
    ///
    /// # Errors
    /// [`Fault::Value`] at the flag when it is none of the three; otherwise as [`PropertyValue::read`].
    pub fn read(
        reader: &mut Reader<'_>,
        property_type: PropertyType,
        form: Form,
        limits: &Limits,
    ) -> Result<Flagged, WireError> {
        let property_type = match property_type {
            PropertyType::Unspecified => read_inner_type(reader)?,
            property_type => property_type,
        };
        let start = *reader;
        match reader.u8()? {
            0x00 => PropertyValue::read(reader, property_type, form, limits).map(Flagged::Value),
            0x01 => Ok(Flagged::Absent),
            0x0a => reader.u32().map(Flagged::Error),
            _ => Err(start.error(Fault::Value)),
        }
    }

    /// Writes the flag and what follows it, for a column that has a type.
    ///
    /// # Errors
    /// As [`PropertyValue::write`].
    pub fn write(&self, writer: &mut Writer, form: Form) -> Result<(), WireError> {
        match self {
            Flagged::Value(value) => {
                writer.u8(0x00)?;
                value.write(writer, form)
            }
            Flagged::Absent => writer.u8(0x01),
            Flagged::Error(code) => {
                writer.u8(0x0a)?;
                writer.u32(*code)
            }
        }
    }

    /// Writes type, flag and what follows, for a column without a type. A missing value goes as `ErrorCode`.
    ///
    /// # Errors
    /// As [`PropertyValue::write`].
    pub fn write_typed(&self, writer: &mut Writer, form: Form) -> Result<(), WireError> {
        let property_type = match self {
            Flagged::Value(value) => value.property_type(),
            Flagged::Absent | Flagged::Error(_) => PropertyType::ErrorCode,
        };
        writer.u16(property_type.code())?;
        self.write(writer, form)
    }
}

#[cfg(test)]
mod tests;
