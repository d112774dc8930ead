//! Statements with their parameters, owned, so that many can be sent before the first is answered.

use bytes::{Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type};

type Outcome = Result<IsNull, Box<dyn std::error::Error + Sync + Send>>;

/// A parameter. Its type is said to the server, so that a statement needs no round trip to be described.
#[derive(Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Bool(bool),
    Text(Option<String>),
    Octets(Option<Bytes>),
    Ints(Vec<i64>),
    OptionInts(Vec<Option<i64>>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    OctetsList(Vec<Bytes>),
    OptionOctetsList(Vec<Option<Bytes>>),
}

impl Value {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Value::Int(_) => Type::INT8,
            Value::Bool(_) => Type::BOOL,
            Value::Text(_) => Type::TEXT,
            Value::Octets(_) => Type::BYTEA,
            Value::Ints(_) | Value::OptionInts(_) => Type::INT8_ARRAY,
            Value::Bools(_) => Type::BOOL_ARRAY,
            Value::Texts(_) => Type::TEXT_ARRAY,
            Value::OctetsList(_) | Value::OptionOctetsList(_) => Type::BYTEA_ARRAY,
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Outcome {
        match self {
            Value::Int(value) => value.to_sql(kind, out),
            Value::Bool(value) => value.to_sql(kind, out),
            Value::Text(value) => value.as_deref().to_sql(kind, out),
            Value::Octets(value) => value.as_deref().to_sql(kind, out),
            Value::Ints(values) => values.to_sql(kind, out),
            Value::OptionInts(values) => values.to_sql(kind, out),
            Value::Bools(values) => values.to_sql(kind, out),
            Value::Texts(values) => values.to_sql(kind, out),
            Value::OctetsList(values) => values.iter().map(|octets| &octets[..]).collect::<Vec<_>>().to_sql(kind, out),
            Value::OptionOctetsList(values) => {
                values.iter().map(Option::as_deref).collect::<Vec<Option<&[u8]>>>().to_sql(kind, out)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Outcome {
        self.to_sql(kind, out)
    }
}

macro_rules! from {
    ($($kind:ty => $value:pat => $made:expr),* $(,)?) => {
        $(impl From<$kind> for Value {
            fn from($value: $kind) -> Value {
                $made
            }
        })*
    };
}

from! {
    i64 => value => Value::Int(Some(value)),
    Option<i64> => value => Value::Int(value),
    bool => value => Value::Bool(value),
    String => value => Value::Text(Some(value)),
    &str => value => Value::Text(Some(value.to_owned())),
    Option<String> => value => Value::Text(value),
    Bytes => value => Value::Octets(Some(value)),
    Option<Bytes> => value => Value::Octets(value),
    Vec<u8> => value => Value::Octets(Some(value.into())),
    [u8; 16] => value => Value::Octets(Some(Bytes::copy_from_slice(&value))),
    Vec<i64> => values => Value::Ints(values),
    Vec<Option<i64>> => values => Value::OptionInts(values),
    Vec<bool> => values => Value::Bools(values),
    Vec<String> => values => Value::Texts(values),
    Vec<Bytes> => values => Value::OctetsList(values),
    Vec<Option<Bytes>> => values => Value::OptionOctetsList(values),
}

/// A statement and its parameters.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) statement: &'static str,
    pub(crate) values: Vec<Value>,
}

/// `call!(STATEMENT, first, second)`.
macro_rules! call {
    ($statement:expr $(, $value:expr)* $(,)?) => {
        $crate::call::Call { statement: $statement, values: vec![$($crate::call::Value::from($value)),*] }
    };
}
pub(crate) use call;

/// Sixteen octets as a parameter in a list.
pub(crate) fn id_octets(id: &[u8; 16]) -> Bytes {
    Bytes::copy_from_slice(id)
}

/// A number that the database holds; ours never come near its end.
pub(crate) fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of a column that is never negative.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A duration as the columns count time.
pub(crate) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
