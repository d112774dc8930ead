//! Durations and sizes as people write them: `5m`, `50MiB`.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A duration: a whole number and one of `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        let wrong = || format!("{text:?} is not a duration, such as \"30s\", \"5m\", \"4h\" or \"5d\"");
        let (number, unit) = split(&text).ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let seconds = number.checked_mul(seconds).filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds));
        seconds.map(|seconds| Span(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

/// Octets: a whole number, alone or with one of `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(crate) struct Octets(pub(crate) u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Octets {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Octets, String> {
        match value {
            NumberOrText::Number(number) => Ok(Octets(number)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Octets {
    type Err = String;

    fn from_str(text: &str) -> Result<Octets, String> {
        let wrong = || format!("{text:?} is not a size, such as \"64KiB\" or \"50MiB\"");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let octets = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(octets).map(Octets).ok_or_else(wrong)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}
