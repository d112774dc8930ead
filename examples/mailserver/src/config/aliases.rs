//! `[aliases]` and `recipient_delimiter`: which addresses stand for which.

use serde::Deserialize;

/// What an address stands for: one address or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Targets {
    One(String),
    Many(Vec<String>),
}

impl From<Targets> for Vec<String> {
    fn from(targets: Targets) -> Vec<String> {
        match targets {
            Targets::One(address) => vec![address],
            Targets::Many(addresses) => addresses,
        }
    }
}

/// What stands between a user's name and a detail; nothing when addresses have none.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Delimiter(pub(crate) Option<char>);

impl Default for Delimiter {
    fn default() -> Delimiter {
        Delimiter(Some('+'))
    }
}

impl TryFrom<String> for Delimiter {
    type Error = String;

    fn try_from(text: String) -> Result<Delimiter, String> {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (first, None) if first != Some('@') => Ok(Delimiter(first)),
            _ => Err(format!("{text:?} is not one character, such as \"+\", and not \"\" for none")),
        }
    }
}
