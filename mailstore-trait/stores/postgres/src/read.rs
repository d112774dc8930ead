//! Questions: each is answered from one snapshot, and waits for no writer.

pub(crate) mod abilities;
pub(crate) mod changes;
pub(crate) mod content;
pub(crate) mod items;
pub(crate) mod view;

use mailstore_trait::id::AccountId;
use tokio_postgres::Row;

use crate::call::{Call, call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::write::account::{ACCOUNT_COLUMNS, AccountRow};

const ACCOUNT: &str = concat!("SELECT ", ACCOUNT_COLUMNS!(), " FROM mailstore.account WHERE id = $1 AND NOT removed");

/// The question every other begins with.
pub(crate) fn ask_account(account: AccountId) -> Call {
    call!(ACCOUNT, sql(account.value()))
}

/// Its answer. What is seen of the counter is news for whoever watches.
pub(crate) fn account(env: &Env, rows: &[Row]) -> Result<AccountRow> {
    let row = AccountRow::read(rows.first().ok_or(Fault::NotFound)?)?;
    env.hints.seen(row.id, row.at()?);
    Ok(row)
}

/// The answers of a flight, taken out one by one.
pub(crate) struct Answers {
    rows: std::vec::IntoIter<Vec<Row>>,
}

impl Answers {
    pub(crate) fn new(rows: Vec<Vec<Row>>) -> Answers {
        Answers { rows: rows.into_iter() }
    }

    /// The rows of the next statement.
    pub(crate) fn take(&mut self) -> Vec<Row> {
        self.rows.next().unwrap_or_default()
    }
}
