//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Each takes any octets, panics when an invariant breaks and returns otherwise. Not part of the public contract.

use crate::property::{Flagged, Form, Limits, PropertyType, PropertyValue, TaggedPropertyValue};
use crate::wire::{Reader, WireError, Writer};

/// Property values of every type, tagged values and flagged ones. The first octet says what follows and in which form;
/// what is read is written back and read again the same, by its octets.
pub fn property_value(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else { return };
    let form = if first & 0x80 == 0 { Form::Rop } else { Form::Wide };
    let limits = Limits::default();
    let kind = usize::from(first & 0x7f);
    let types = PropertyType::ALL;
    if let Some(property_type) = types.get(kind) {
        there_and_back(
            octets,
            |reader| PropertyValue::read(reader, *property_type, form, &limits),
            |value, writer| match property_type {
                PropertyType::Unspecified => value.write_typed(writer, form),
                _ => value.write(writer, form),
            },
        );
    } else if kind == types.len() {
        there_and_back(
            octets,
            |reader| TaggedPropertyValue::read(reader, form, &limits),
            |tagged, writer| tagged.write(writer, form),
        );
    } else if let Some(property_type) = types.get(kind - types.len() - 1) {
        there_and_back(
            octets,
            |reader| Flagged::read(reader, *property_type, form, &limits),
            |flagged, writer| match property_type {
                PropertyType::Unspecified => flagged.write_typed(writer, form),
                _ => flagged.write(writer, form),
            },
        );
    }
}

fn there_and_back<T>(
    octets: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Result<T, WireError>,
    write: impl Fn(&T, &mut Writer) -> Result<(), WireError>,
) {
    let mut reader = Reader::new(octets);
    let value = match read(&mut reader) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.offset <= octets.len(), "{error} lies outside");
            return;
        }
    };
    let write_all = |value: &T| {
        let mut writer = Writer::new(octets.len() + 16);
        let result = write(value, &mut writer);
        assert_eq!(result, Ok(()), "what was read can be written");
        writer.into_vec()
    };
    let once = write_all(&value);
    assert_eq!(once.len(), reader.offset(), "as long as what was read");
    let mut again = Reader::new(&once);
    let back = read(&mut again).ok().filter(|_| again.remaining() == 0).map(|value| write_all(&value));
    assert_eq!(back.as_deref(), Some(&once[..]), "the same when read again");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn property_value_seeds_replay() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/property_value");
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            property_value(&seed);
            // Cut short at every octet, and with every octet another.
            for at in 0..seed.len() {
                property_value(&seed[..at]);
                for flip in [0x01, 0x80, 0xff] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    property_value(&other);
                }
            }
            seeds += 1;
        }
        assert!(seeds >= 20, "{seeds} seeds");
    }
}
