//! Little-endian reading and writing with nested length scopes, errors that carry the offset, and no panics.
//!
//! A [`Reader`] walks borrowed octets. A length prefix opens a scope: a reader of its own that sees exactly those
//! octets, while the outer one goes on behind them, so a wrong length inside never leads outside. Offsets always count
//! from the first octet of the whole buffer. A [`Writer`] has a limit from the start, for every response of the
//! protocol has one, and fails where it would pass it, leaving what was written before.
//!
//! ```
//! use mapi_rpc::wire::{Fault, Reader, Writer};
//!
//! let mut writer = Writer::new(64);
//! writer.u8(0xfe)?;
//! writer.scope_u16(|inner| inner.u32(7))?;
//! assert_eq!(writer.as_slice(), [0xfe, 4, 0, 7, 0, 0, 0]);
//!
//! let mut reader = Reader::new(writer.as_slice());
//! assert_eq!(reader.u8()?, 0xfe);
//! let mut inner = reader.scope_u16()?;
//! assert_eq!(inner.u16()?, 7);
//! let error = inner.u32().expect_err("two octets are left");
//! assert_eq!((error.offset, error.fault), (5, Fault::End));
//! # Ok::<(), mapi_rpc::wire::WireError>(())
//! ```

use std::fmt;

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WireError {
    /// Octets before the field at fault, from the first octet of the buffer.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is longer than the octets that are left in its scope.
    #[error("the octets end inside the field")]
    End,
    /// Octets are left in a scope that should be used up.
    #[error("octets are left over")]
    Trailing,
    /// It counts more than the limit.
    #[error("more than the limit")]
    TooMany,
    /// A property type that is unknown, or has no value of its own.
    #[error("not a type that has a value")]
    Type,
    /// A value that the field may not have.
    #[error("not a value of the field")]
    Value,
    /// It does not fit into what may be written, or into the width of its length prefix.
    #[error("no room to write it")]
    Full,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}", self.fault, self.offset)
    }
}

impl std::error::Error for WireError {}

/// Reads octets from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

macro_rules! read_numbers {
    ($($(#[$meta:meta])* $name:ident -> $number:ty;)+) => {
        $(
            $(#[$meta])*
            ///
            /// # Errors
            /// [`Fault::End`] at its first octet.
            pub fn $name(&mut self) -> Result<$number, WireError> {
                self.array().map(<$number>::from_le_bytes)
            }
        )+
    };
}

impl<'a> Reader<'a> {
    /// Reads these octets.
    pub fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader { rest: octets, offset: 0 }
    }

    /// Octets already read, from the first octet of the whole buffer, even in a scope.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Octets left in this scope.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The octets left in this scope, without reading them.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at the next octet.
    pub fn error(&self, fault: Fault) -> WireError {
        WireError { offset: self.offset, fault }
    }

    /// The next `len` octets.
    ///
    /// # Errors
    /// [`Fault::End`] at the first of them.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.error(Fault::End))?;
        self.rest = rest;
        self.offset += len;
        Ok(taken)
    }

    /// The next `N` octets.
    ///
    /// # Errors
    /// [`Fault::End`] at the first of them.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.error(Fault::End))?;
        self.rest = rest;
        self.offset += N;
        Ok(*taken)
    }

    read_numbers! {
        /// One octet.
        u8 -> u8;
        /// Two octets.
        u16 -> u16;
        /// Four octets.
        u32 -> u32;
        /// Eight octets.
        u64 -> u64;
        /// Two octets, signed.
        i16 -> i16;
        /// Four octets, signed.
        i32 -> i32;
        /// Eight octets, signed.
        i64 -> i64;
        /// Four octets, IEEE 754.
        f32 -> f32;
        /// Eight octets, IEEE 754.
        f64 -> f64;
    }

    /// A reader of the next `len` octets; this one goes on behind them.
    ///
    /// # Errors
    /// [`Fault::End`] at the first of them.
    pub fn scope(&mut self, len: usize) -> Result<Reader<'a>, WireError> {
        let offset = self.offset;
        self.take(len).map(|rest| Reader { rest, offset })
    }

    /// A 16-bit length and a reader of that many octets.
    ///
    /// # Errors
    /// [`Fault::End`] at the length, or behind it when fewer octets are left.
    pub fn scope_u16(&mut self) -> Result<Reader<'a>, WireError> {
        let len = self.u16()?;
        self.scope(usize::from(len))
    }

    /// A 32-bit length and a reader of that many octets.
    ///
    /// # Errors
    /// [`Fault::End`] at the length, or behind it when fewer octets are left.
    pub fn scope_u32(&mut self) -> Result<Reader<'a>, WireError> {
        let len = self.u32()?;
        self.scope(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// A 32-bit count of things that take at least `least` octets each.
    ///
    /// Checked against what is left and against `limit`, so a list can be made room for without trusting the peer.
    ///
    /// # Errors
    /// [`Fault::TooMany`] or [`Fault::End`] at the count.
    pub fn count_u32(&mut self, least: usize, limit: usize) -> Result<usize, WireError> {
        let start = *self;
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > limit {
            return Err(start.error(Fault::TooMany));
        }
        if count.saturating_mul(least) > self.remaining() {
            return Err(start.error(Fault::End));
        }
        Ok(count)
    }

    /// The octets before a zero octet, which is read too.
    ///
    /// # Errors
    /// [`Fault::End`] at the first octet when there is no zero.
    pub fn until_zero(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.rest.iter().position(|octet| *octet == 0).ok_or(self.error(Fault::End))?;
        let taken = self.take(len)?;
        self.u8()?;
        Ok(taken)
    }

    /// The 16-bit units before a zero unit, which is read too.
    ///
    /// # Errors
    /// [`Fault::End`] at the first unit when there is no zero.
    pub fn until_zero_u16(&mut self) -> Result<Vec<u16>, WireError> {
        let units = || {
            self.rest.chunks_exact(2).map(|unit| unit.iter().rev().fold(0, |sum, octet| sum << 8 | u16::from(*octet)))
        };
        let len = units().position(|unit| unit == 0).ok_or(self.error(Fault::End))?;
        let taken = units().take(len).collect();
        self.take(2 * len + 2)?;
        Ok(taken)
    }

    /// Ends the scope.
    ///
    /// # Errors
    /// [`Fault::Trailing`] at the next octet, if there is one.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Fault::Trailing)) }
    }
}

/// Writes octets at the end, never more than its limit.
#[derive(Clone, Debug)]
pub struct Writer {
    octets: Vec<u8>,
    limit: usize,
}

macro_rules! write_numbers {
    ($($(#[$meta:meta])* $name:ident($number:ty);)+) => {
        $(
            $(#[$meta])*
            ///
            /// # Errors
            /// [`Fault::Full`] when it does not fit.
            pub fn $name(&mut self, number: $number) -> Result<(), WireError> {
                self.put(&number.to_le_bytes())
            }
        )+
    };
}

impl Writer {
    /// An empty buffer that takes at most `limit` octets.
    pub fn new(limit: usize) -> Writer {
        Writer { octets: Vec::new(), limit }
    }

    /// Octets written so far: also the offset of the next one.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Octets that still fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.octets.len())
    }

    /// What is written.
    pub fn as_slice(&self) -> &[u8] {
        &self.octets
    }

    /// What is written, taken out.
    pub fn into_vec(self) -> Vec<u8> {
        self.octets
    }

    /// Goes back to an earlier length: what does not fit whole is taken back.
    pub fn truncate(&mut self, len: usize) {
        self.octets.truncate(len);
    }

    fn full(&self) -> WireError {
        WireError { offset: self.octets.len(), fault: Fault::Full }
    }

    /// Writes these octets.
    ///
    /// # Errors
    /// [`Fault::Full`] when they do not fit; then none is written.
    pub fn put(&mut self, octets: &[u8]) -> Result<(), WireError> {
        if octets.len() > self.room() {
            return Err(self.full());
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    write_numbers! {
        /// One octet.
        u8(u8);
        /// Two octets.
        u16(u16);
        /// Four octets.
        u32(u32);
        /// Eight octets.
        u64(u64);
        /// Two octets, signed.
        i16(i16);
        /// Four octets, signed.
        i32(i32);
        /// Eight octets, signed.
        i64(i64);
        /// Four octets, IEEE 754.
        f32(f32);
        /// Eight octets, IEEE 754.
        f64(f64);
    }

    /// A 32-bit count.
    ///
    /// # Errors
    /// [`Fault::Full`] when it does not fit, or is wider.
    pub fn count_u32(&mut self, count: usize) -> Result<(), WireError> {
        let count = u32::try_from(count).map_err(|_| self.full())?;
        self.u32(count)
    }

    /// What `write` writes, behind its length in 16 bits.
    ///
    /// # Errors
    /// [`Fault::Full`] when it does not fit or is longer than 65,535 octets; then nothing of it stays.
    pub fn scope_u16(&mut self, write: impl FnOnce(&mut Writer) -> Result<(), WireError>) -> Result<(), WireError> {
        self.scope(write, |len| u16::try_from(len).ok().map(u16::to_le_bytes))
    }

    /// What `write` writes, behind its length in 32 bits.
    ///
    /// # Errors
    /// [`Fault::Full`] when it does not fit; then nothing of it stays.
    pub fn scope_u32(&mut self, write: impl FnOnce(&mut Writer) -> Result<(), WireError>) -> Result<(), WireError> {
        self.scope(write, |len| u32::try_from(len).ok().map(u32::to_le_bytes))
    }

    fn scope<const N: usize>(
        &mut self,
        write: impl FnOnce(&mut Writer) -> Result<(), WireError>,
        prefix: impl FnOnce(usize) -> Option<[u8; N]>,
    ) -> Result<(), WireError> {
        let start = self.octets.len();
        let result = self.put(&[0; N]).and_then(|()| write(self)).and_then(|()| {
            let full = WireError { offset: start, fault: Fault::Full };
            let len = self.octets.len().checked_sub(start + N).and_then(prefix).ok_or(full)?;
            self.octets.get_mut(start..start + N).ok_or(full)?.copy_from_slice(&len);
            Ok(())
        });
        if result.is_err() {
            self.octets.truncate(start);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_both_ways() {
        let mut writer = Writer::new(64);
        writer.u8(1).unwrap();
        writer.u16(0x0302).unwrap();
        writer.u32(0x0706_0504).unwrap();
        writer.u64(0x0f0e_0d0c_0b0a_0908).unwrap();
        writer.i16(-2).unwrap();
        writer.i32(-2).unwrap();
        writer.i64(-2).unwrap();
        writer.f32(1.5).unwrap();
        writer.f64(-1.5).unwrap();
        let octets = writer.clone().into_vec();
        assert_eq!(octets[..15], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let mut reader = Reader::new(&octets);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Ok(1), Ok(0x0302), Ok(0x0706_0504)));
        assert_eq!(reader.u64(), Ok(0x0f0e_0d0c_0b0a_0908));
        assert_eq!((reader.i16(), reader.i32(), reader.i64()), (Ok(-2), Ok(-2), Ok(-2)));
        assert_eq!((reader.f32(), reader.f64()), (Ok(1.5), Ok(-1.5)));
        assert_eq!((reader.offset(), reader.remaining()), (octets.len(), 0));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn scopes_keep_offsets_of_the_whole_and_end_where_they_say() {
        let mut reader = Reader::new(&[3, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
        let mut inner = reader.scope_u16().unwrap();
        assert_eq!((inner.offset(), inner.remaining(), reader.offset()), (2, 3, 5));
        assert_eq!(inner.u16(), Ok(0xbbaa));
        assert_eq!(inner.u16(), Err(WireError { offset: 4, fault: Fault::End }));
        assert_eq!(inner.finish(), Err(WireError { offset: 4, fault: Fault::Trailing }));
        assert_eq!(reader.u8(), Ok(0xdd));
        // A length that reaches outside.
        let mut reader = Reader::new(&[0, 4, 0, 1, 2, 3]);
        reader.u8().unwrap();
        assert_eq!(reader.scope_u16().unwrap_err(), WireError { offset: 3, fault: Fault::End });
        let mut reader = Reader::new(&[255, 255, 255, 255, 0]);
        assert_eq!(reader.scope_u32().unwrap_err(), WireError { offset: 4, fault: Fault::End });
    }

    #[test]
    fn counts_are_checked_before_anything_is_made_room_for() {
        let count = |octets: &[u8], least, limit| Reader::new(octets).count_u32(least, limit);
        assert_eq!(count(&[2, 0, 0, 0, 1, 1], 1, 10), Ok(2));
        assert_eq!(count(&[2, 0, 0, 0, 1], 1, 10), Err(WireError { offset: 0, fault: Fault::End }));
        assert_eq!(count(&[255, 255, 255, 255, 1], 8, usize::MAX), Err(WireError { offset: 0, fault: Fault::End }));
        assert_eq!(count(&[3, 0, 0, 0, 1, 1, 1], 1, 2), Err(WireError { offset: 0, fault: Fault::TooMany }));
    }

    #[test]
    fn zero_terminated_strings_need_their_zero() {
        let mut reader = Reader::new(b"ab\0c");
        assert_eq!(reader.until_zero(), Ok(&b"ab"[..]));
        assert_eq!(reader.until_zero(), Err(WireError { offset: 3, fault: Fault::End }));
        // A zero octet inside a unit, or across two, ends nothing.
        let mut reader = Reader::new(&[0x41, 0, 0, 1, 0, 0, 0x42]);
        assert_eq!(reader.until_zero_u16(), Ok(vec![0x41, 0x100]));
        assert_eq!(reader.until_zero_u16(), Err(WireError { offset: 6, fault: Fault::End }));
    }

    #[test]
    fn a_writer_stops_at_its_limit_and_takes_back_what_is_not_whole() {
        let mut writer = Writer::new(5);
        writer.u8(9).unwrap();
        assert_eq!(writer.scope_u16(|inner| inner.u32(1)), Err(WireError { offset: 3, fault: Fault::Full }));
        assert_eq!((writer.as_slice(), writer.room()), (&[9][..], 4));
        assert_eq!(writer.u64(1), Err(WireError { offset: 1, fault: Fault::Full }));
        writer.scope_u16(|inner| inner.u16(7)).unwrap();
        assert_eq!(writer.as_slice(), [9, 2, 0, 7, 0]);
        // Longer than its prefix can say.
        let mut writer = Writer::new(1 << 20);
        let long = writer.scope_u16(|inner| inner.put(&[0; 65_536]));
        assert_eq!(long, Err(WireError { offset: 0, fault: Fault::Full }));
        assert!(writer.is_empty());
        assert!(writer.scope_u32(|inner| inner.put(&[0; 65_536])).is_ok());
    }
}
