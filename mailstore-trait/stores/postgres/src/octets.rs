//! Numbers and strings as octets: what results of batches and queue entries are kept as.
//!
//! Numbers are LEB128: seven bits an octet, the lowest first. Signed ones fold the sign into the lowest bit. Strings
//! follow their length.

use crate::fault::{Fault, Result};

#[derive(Debug, Default)]
pub(crate) struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.octets
    }

    pub(crate) fn octet(&mut self, value: u8) {
        self.octets.push(value);
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            let [low, ..] = value.to_le_bytes();
            self.octets.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.octets.push(low);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn fixed(&mut self, octets: &[u8; 16]) {
        self.octets.extend_from_slice(octets);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.octets.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.octet(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Writer, &T)) {
        self.number(values.len() as u64);
        values.iter().for_each(|value| write(self, value));
    }
}

/// Reads what [`Writer`] wrote; damage is a fault that names what was read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
    what: &'a str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8], what: &'a str) -> Reader<'a> {
        Reader { left: octets, what }
    }

    pub(crate) fn corrupt(&self) -> Fault {
        Fault::corrupt(self.what)
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.left.is_empty() { Ok(()) } else { Err(self.corrupt()) }
    }

    pub(crate) fn octet(&mut self) -> Result<u8> {
        let (&first, rest) = self.left.split_first().ok_or_else(|| self.corrupt())?;
        self.left = rest;
        Ok(first)
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            value |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.corrupt())
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T> {
        T::try_from(self.number()?).map_err(|_| self.corrupt())
    }

    /// A number that makes an id.
    pub(crate) fn id<N: TryFrom<u64>, T>(&mut self, make: impl FnOnce(N) -> Option<T>) -> Result<T> {
        let number = self.small()?;
        make(number).ok_or_else(|| self.corrupt())
    }

    pub(crate) fn fixed(&mut self) -> Result<[u8; 16]> {
        let (fixed, rest) = self.left.split_first_chunk().ok_or_else(|| self.corrupt())?;
        self.left = rest;
        Ok(*fixed)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        let length = self.small()?;
        let (text, rest) = self.left.split_at_checked(length).ok_or_else(|| self.corrupt())?;
        self.left = rest;
        String::from_utf8(text.to_vec()).map_err(|_| self.corrupt())
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.octet()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(self.corrupt()),
        }
    }

    /// A list; its length is believed only as far as there are octets.
    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let length: usize = self.small()?;
        let mut values = Vec::with_capacity(length.min(self.left.len()));
        for _ in 0..length {
            values.push(read(self)?);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, signed: i64, text: String, list: Vec<u32>) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.signed(signed);
            writer.text(&text);
            writer.list(&list, |writer, &value| writer.number(value.into()));
            writer.option(Some(7), Writer::octet);
            let octets = writer.finish();
            let mut reader = Reader::new(&octets, "test");
            prop_assert_eq!(reader.number().unwrap(), number);
            prop_assert_eq!(reader.signed().unwrap(), signed);
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert_eq!(reader.list(Reader::small::<u32>).unwrap(), list);
            prop_assert_eq!(reader.option(Reader::octet).unwrap(), Some(7));
            reader.end().unwrap();
        }

        #[test]
        fn noise_is_a_fault_and_no_panic(noise: Vec<u8>) {
            let mut reader = Reader::new(&noise, "noise");
            while reader.list(Reader::text).is_ok() && reader.signed().is_ok() {}
        }
    }
}
