//! Keywords by number, looked up once for each page.

use std::collections::HashMap;

use mailstore_trait::flags::Keyword;
use mailstore_trait::id::AccountId;
use rusqlite::{Connection, OptionalExtension};

use crate::env::sql;
use crate::fault::Result;

pub(crate) struct Words {
    account: AccountId,
    known: HashMap<u16, Option<Keyword>>,
}

impl Words {
    pub(crate) fn new(account: AccountId) -> Words {
        Words { account, known: HashMap::new() }
    }

    /// The words of these numbers; a number without a word is passed over.
    pub(crate) fn all(&mut self, connection: &Connection, ids: &[u16]) -> Result<Vec<Keyword>> {
        let mut words = Vec::with_capacity(ids.len());
        for &id in ids {
            words.extend(self.word(connection, id)?);
        }
        words.sort_unstable();
        Ok(words)
    }

    fn word(&mut self, connection: &Connection, id: u16) -> Result<Option<Keyword>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let mut find = connection.prepare_cached("SELECT word FROM keyword WHERE account = ?1 AND id = ?2")?;
        let word: Option<String> =
            find.query_row([sql(self.account.value()), i64::from(id)], |row| row.get(0)).optional()?;
        let word = word.and_then(|word| Keyword::new(&word));
        self.known.insert(id, word.clone());
        Ok(word)
    }
}
