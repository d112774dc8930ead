//! Values there and back, known octets, and every way to be cut short.

use proptest::prelude::*;

use super::*;

/// One value of every type with its octets in a ROP buffer and the offsets at which its fields begin.
fn known() -> Vec<(PropertyValue, Vec<u8>, Vec<usize>)> {
    let guid = Guid::parse("a4f1db00-ca47-1067-b31f-00dd010662da").unwrap();
    let ours = ServerId::Ours { folder_id: [1; 8], message_id: [2; 8], instance: 3 };
    let mut ours_octets = vec![21, 0, 1];
    ours_octets.extend([1; 8].iter().chain(&[2; 8]).chain(&[3, 0, 0, 0]));
    let with_guid = |prefix: &[u8]| [prefix, guid.as_octets()].concat();
    vec![
        (PropertyValue::Null, vec![], vec![]),
        (PropertyValue::Integer16(-2), vec![0xfe, 0xff], vec![0]),
        (PropertyValue::Integer32(1), vec![1, 0, 0, 0], vec![0]),
        (PropertyValue::Floating32(1.0), vec![0, 0, 0x80, 0x3f], vec![0]),
        (PropertyValue::Floating64(1.0), vec![0, 0, 0, 0, 0, 0, 0xf0, 0x3f], vec![0]),
        (PropertyValue::Currency(12_3456), vec![0x40, 0xe2, 1, 0, 0, 0, 0, 0], vec![0]),
        // The specification's own example: 4 January 1900, six in the morning.
        (PropertyValue::FloatingTime(5.25), vec![0, 0, 0, 0, 0, 0, 0x15, 0x40], vec![0]),
        (PropertyValue::ErrorCode(0x8004_010f), vec![0x0f, 1, 4, 0x80], vec![0]),
        (PropertyValue::Boolean(true), vec![1], vec![0]),
        (PropertyValue::Integer64(-1), vec![0xff; 8], vec![0]),
        (PropertyValue::String8(b"ab".to_vec()), vec![b'a', b'b', 0], vec![0]),
        (PropertyValue::String("a\u{20ac}".into()), vec![0x61, 0, 0xac, 0x20, 0, 0], vec![0]),
        (PropertyValue::Time(1), vec![1, 0, 0, 0, 0, 0, 0, 0], vec![0]),
        (PropertyValue::Guid(guid), with_guid(&[]), vec![0]),
        (PropertyValue::ServerId(ServerId::Client(vec![7])), vec![2, 0, 0, 7], vec![0, 2]),
        (PropertyValue::ServerId(ours), ours_octets, vec![0, 2]),
        (PropertyValue::Binary(vec![8, 9]), vec![2, 0, 8, 9], vec![0, 2]),
        (PropertyValue::MultipleInteger16(vec![1, 2]), vec![2, 0, 0, 0, 1, 0, 2, 0], vec![0]),
        (PropertyValue::MultipleInteger32(vec![1]), vec![1, 0, 0, 0, 1, 0, 0, 0], vec![0]),
        (PropertyValue::MultipleFloating32(vec![1.0]), vec![1, 0, 0, 0, 0, 0, 0x80, 0x3f], vec![0]),
        (PropertyValue::MultipleFloating64(vec![]), vec![0; 4], vec![0]),
        (PropertyValue::MultipleCurrency(vec![1]), vec![1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], vec![0]),
        (PropertyValue::MultipleFloatingTime(vec![0.0]), [&[1, 0, 0, 0][..], &[0; 8]].concat(), vec![0]),
        (PropertyValue::MultipleInteger64(vec![-1]), [&[1, 0, 0, 0][..], &[0xff; 8]].concat(), vec![0]),
        (
            PropertyValue::MultipleString8(vec![b"ab".to_vec(), vec![]]),
            vec![2, 0, 0, 0, b'a', b'b', 0, 0],
            vec![0, 4, 7],
        ),
        (
            PropertyValue::MultipleString(vec!["a".into(), "".into()]),
            vec![2, 0, 0, 0, 0x61, 0, 0, 0, 0, 0],
            vec![0, 4, 8],
        ),
        (PropertyValue::MultipleTime(vec![0]), [&[1, 0, 0, 0][..], &[0; 8]].concat(), vec![0]),
        (PropertyValue::MultipleGuid(vec![guid]), with_guid(&[1, 0, 0, 0]), vec![0]),
        (PropertyValue::MultipleBinary(vec![vec![8, 9], vec![]]), vec![2, 0, 0, 0, 2, 0, 8, 9, 0, 0], vec![0, 4, 6, 8]),
    ]
}

fn read(octets: &[u8], property_type: PropertyType, form: Form) -> Result<PropertyValue, WireError> {
    let mut reader = Reader::new(octets);
    let value = PropertyValue::read(&mut reader, property_type, form, &Limits::default())?;
    reader.finish().map(|()| value)
}

fn written(value: &PropertyValue, form: Form) -> Vec<u8> {
    let mut writer = Writer::new(1 << 20);
    value.write(&mut writer, form).unwrap();
    writer.into_vec()
}

#[test]
fn every_type_has_its_octets() {
    let mut types = Vec::new();
    for (value, octets, _) in known() {
        assert_eq!(written(&value, Form::Rop), octets, "{value:?}");
        assert_eq!(read(&octets, value.property_type(), Form::Rop), Ok(value.clone()));
        types.push(value.property_type());
    }
    // None is forgotten but those that have no value of their own here.
    let without =
        [PropertyType::Unspecified, PropertyType::Object, PropertyType::Restriction, PropertyType::RuleAction];
    for property_type in PropertyType::ALL {
        assert_ne!(types.contains(property_type), without.contains(property_type), "{property_type:?}");
    }
}

#[test]
fn every_value_cut_short_says_where() {
    for (value, octets, fields) in known() {
        for cut in 0..octets.len() {
            let error = read(&octets[..cut], value.property_type(), Form::Rop).unwrap_err();
            assert_eq!(error.fault, Fault::End, "{value:?} cut at {cut}");
            // Where the first field begins that the cut reaches. What has fixed elements is one field with its count,
            // and a count that is cut off counts by itself.
            let expected = if matches!(fields[..], [0, 4, ..]) && cut >= 4 && lists_too_much(&octets, cut, &value) {
                0
            } else {
                fields.iter().copied().filter(|field| *field <= cut).max().unwrap()
            };
            assert_eq!(error.offset, expected, "{value:?} cut at {cut}");
        }
    }
}

/// Whether the count announces more than could be left even if every element were as short as can be.
fn lists_too_much(octets: &[u8], cut: usize, value: &PropertyValue) -> bool {
    let least = if matches!(value, PropertyValue::MultipleString8(_)) { 1 } else { 2 };
    usize::from(octets[0]) * least > cut - 4
}

#[test]
fn wide_form_has_wide_lengths() {
    let value = PropertyValue::MultipleBinary(vec![vec![8]]);
    assert_eq!(written(&value, Form::Wide), [1, 0, 0, 0, 1, 0, 0, 0, 8]);
    let long = PropertyValue::Binary(vec![0; 65_536]);
    let mut writer = Writer::new(1 << 20);
    assert_eq!(long.write(&mut writer, Form::Rop), Err(WireError { offset: 0, fault: Fault::Full }));
    assert_eq!(read(&written(&long, Form::Wide), PropertyType::Binary, Form::Wide), Ok(long));
}

#[test]
fn counts_over_the_limit_are_refused() {
    let octets = written(&PropertyValue::MultipleInteger16(vec![0; 5]), Form::Rop);
    let mut limits = Limits::default();
    let mut read = |values| {
        limits.values = values;
        PropertyValue::read(&mut Reader::new(&octets), PropertyType::MultipleInteger16, Form::Rop, &limits)
    };
    assert!(read(5).is_ok());
    assert_eq!(read(4), Err(WireError { offset: 0, fault: Fault::TooMany }));
}

#[test]
fn types_without_a_value_are_refused_where_they_stand() {
    for property_type in [PropertyType::Object, PropertyType::Restriction, PropertyType::RuleAction] {
        assert_eq!(read(&[0; 8], property_type, Form::Rop), Err(WireError { offset: 0, fault: Fault::Type }));
    }
    // Typed values: unknown, or unspecified within unspecified.
    for octets in [[0xff, 0, 0], [0, 0, 0]] {
        let refused = read(&octets, PropertyType::Unspecified, Form::Rop);
        assert_eq!(refused, Err(WireError { offset: 0, fault: Fault::Type }));
    }
    let mut writer = Writer::new(8);
    PropertyValue::Boolean(true).write_typed(&mut writer, Form::Rop).unwrap();
    assert_eq!(writer.as_slice(), [0x0b, 0, 1]);
    assert_eq!(read(writer.as_slice(), PropertyType::Unspecified, Form::Rop), Ok(PropertyValue::Boolean(true)));
}

#[test]
fn server_ids_of_neither_kind_are_refused() {
    let refused = |octets: &[u8]| read(octets, PropertyType::ServerId, Form::Rop).unwrap_err();
    assert_eq!(refused(&[1, 0, 2]), WireError { offset: 2, fault: Fault::Value });
    assert_eq!(refused(&[0, 0]), WireError { offset: 2, fault: Fault::End });
    assert_eq!(refused(&[&[22, 0, 1][..], &[0; 21]].concat()), WireError { offset: 23, fault: Fault::Trailing });
}

#[test]
fn tagged_values_carry_their_type() {
    let tagged = TaggedPropertyValue { id: 0x0037, value: PropertyValue::String("Hi".into()) };
    let mut writer = Writer::new(64);
    tagged.write(&mut writer, Form::Rop).unwrap();
    assert_eq!(writer.as_slice(), [0x1f, 0, 0x37, 0, b'H', 0, b'i', 0, 0, 0]);
    let read = |octets: &[u8]| TaggedPropertyValue::read(&mut Reader::new(octets), Form::Rop, &Limits::default());
    assert_eq!(read(writer.as_slice()), Ok(tagged));
    for bad in [[0xff, 0, 1, 0], [0, 0, 1, 0], [0x1f, 0x30, 1, 0]] {
        assert_eq!(read(&bad), Err(WireError { offset: 0, fault: Fault::Type }));
    }
}

#[test]
fn flagged_values_may_be_missing() {
    let read = |octets: &[u8], property_type| {
        Flagged::read(&mut Reader::new(octets), property_type, Form::Rop, &Limits::default())
    };
    for (flagged, octets, typed) in [
        (Flagged::Value(PropertyValue::Boolean(true)), &[0, 1][..], &[0x0b, 0, 0, 1][..]),
        (Flagged::Absent, &[1], &[0x0a, 0, 1]),
        (Flagged::Error(0x8004_010f), &[0x0a, 0x0f, 1, 4, 0x80], &[0x0a, 0, 0x0a, 0x0f, 1, 4, 0x80]),
    ] {
        let (mut plain, mut with_type) = (Writer::new(16), Writer::new(16));
        flagged.write(&mut plain, Form::Rop).unwrap();
        flagged.write_typed(&mut with_type, Form::Rop).unwrap();
        assert_eq!((plain.as_slice(), with_type.as_slice()), (octets, typed));
        assert_eq!(read(octets, PropertyType::Boolean), Ok(flagged.clone()));
        assert_eq!(read(typed, PropertyType::Unspecified), Ok(flagged));
    }
    assert_eq!(read(&[2], PropertyType::Boolean), Err(WireError { offset: 0, fault: Fault::Value }));
    assert_eq!(read(&[0, 0, 0], PropertyType::Unspecified), Err(WireError { offset: 0, fault: Fault::Type }));
}

#[test]
fn strings_keep_what_is_no_text_and_hold_no_zero() {
    let lone = WideString::new(vec![0xd800, 0x41]).unwrap();
    assert_eq!(lone.to_string(), "\u{fffd}A");
    let value = PropertyValue::String(lone);
    assert_eq!(read(&written(&value, Form::Rop), PropertyType::String, Form::Rop), Ok(value));
    assert_eq!(WideString::new(vec![0x41, 0]), None);
    assert_eq!(WideString::from("a\0b").to_string(), "ab");
    assert_eq!(written(&PropertyValue::String8(b"a\0b".to_vec()), Form::Rop), b"a\0");
}

fn any_value() -> impl Strategy<Value = PropertyValue> {
    let string8 = || prop::collection::vec(1..=255_u8, 0..8);
    let string = || prop::collection::vec(1..=u16::MAX, 0..8).prop_map(|units| WideString::new(units).unwrap());
    let binary = || prop::collection::vec(any::<u8>(), 0..8);
    let guid = || any::<[u8; 16]>().prop_map(Guid::from_octets);
    fn many<S: Strategy>(one: S) -> impl Strategy<Value = Vec<S::Value>> {
        prop::collection::vec(one, 0..5)
    }
    let single = prop_oneof![
        Just(PropertyValue::Null),
        any::<i16>().prop_map(PropertyValue::Integer16),
        any::<i32>().prop_map(PropertyValue::Integer32),
        any::<f32>().prop_map(PropertyValue::Floating32),
        any::<f64>().prop_map(PropertyValue::Floating64),
        any::<i64>().prop_map(PropertyValue::Currency),
        any::<f64>().prop_map(PropertyValue::FloatingTime),
        any::<u32>().prop_map(PropertyValue::ErrorCode),
        any::<bool>().prop_map(PropertyValue::Boolean),
        any::<i64>().prop_map(PropertyValue::Integer64),
        string8().prop_map(PropertyValue::String8),
        string().prop_map(PropertyValue::String),
        any::<u64>().prop_map(PropertyValue::Time),
        guid().prop_map(PropertyValue::Guid),
        binary().prop_map(|octets| PropertyValue::ServerId(ServerId::Client(octets))),
        any::<([u8; 8], [u8; 8], u32)>().prop_map(|(folder_id, message_id, instance)| {
            PropertyValue::ServerId(ServerId::Ours { folder_id, message_id, instance })
        }),
        binary().prop_map(PropertyValue::Binary),
    ];
    let multiple = prop_oneof![
        many(any::<i16>()).prop_map(PropertyValue::MultipleInteger16),
        many(any::<i32>()).prop_map(PropertyValue::MultipleInteger32),
        many(any::<f32>()).prop_map(PropertyValue::MultipleFloating32),
        many(any::<f64>()).prop_map(PropertyValue::MultipleFloating64),
        many(any::<i64>()).prop_map(PropertyValue::MultipleCurrency),
        many(any::<f64>()).prop_map(PropertyValue::MultipleFloatingTime),
        many(any::<i64>()).prop_map(PropertyValue::MultipleInteger64),
        many(string8()).prop_map(PropertyValue::MultipleString8),
        many(string()).prop_map(PropertyValue::MultipleString),
        many(any::<u64>()).prop_map(PropertyValue::MultipleTime),
        many(guid()).prop_map(PropertyValue::MultipleGuid),
        many(binary()).prop_map(PropertyValue::MultipleBinary),
    ];
    prop_oneof![single, multiple]
}

proptest! {
    #[test]
    fn values_come_back_as_they_went(value in any_value(), wide in any::<bool>(), behind in any::<[u8; 3]>()) {
        let form = if wide { Form::Wide } else { Form::Rop };
        let mut octets = written(&value, form);
        let len = octets.len();
        octets.extend(behind);
        let mut reader = Reader::new(&octets);
        let back = PropertyValue::read(&mut reader, value.property_type(), form, &Limits::default()).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(reader.offset(), len, "it reads what it wrote and nothing behind");
        // Cut anywhere it is an error inside.
        for cut in 0..len {
            let error = read(&octets[..cut], value.property_type(), form).unwrap_err();
            prop_assert!(error.offset <= cut && error.fault == Fault::End, "{:?} at {}", error, cut);
        }
        // With no room for it whole it is not written.
        let mut writer = Writer::new(len.saturating_sub(1));
        prop_assert_eq!(value.write(&mut writer, form).is_err(), len > 0);
    }

    #[test]
    fn noise_never_panics(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        crate::fuzzing::property_value(&octets);
    }
}
