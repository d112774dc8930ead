//! The tables, the version of their format, and the steps from each version to the next.
//!
//! All machines may start at once: the one that gets the lock on the version's row does the steps, in one transaction.

use tokio_postgres::{Client, Row};

use crate::config::Config;
use crate::error::OpenError;

/// The format this version writes.
pub const FORMAT: i64 = 2;

/// What leads from each format to the next; the first one from an empty database.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_2.sql")];

const FIRST: &str = "
CREATE SCHEMA IF NOT EXISTS mailstore;
CREATE TABLE IF NOT EXISTS mailstore.store (
    one int8 PRIMARY KEY CHECK (one = 1),
    format int8 NOT NULL,
    secret bytea NOT NULL,
    next_account int8 NOT NULL
)";

/// Makes or updates the tables. What fake salts are made from.
pub(crate) async fn open(client: &Client, config: &Config) -> Result<Vec<u8>, OpenError> {
    let unreachable = |error: tokio_postgres::Error| OpenError::Unreachable(Box::new(error));
    if config.require_durable {
        for setting in ["fsync", "synchronous_commit"] {
            let value = show(client, setting).await.map_err(unreachable)?;
            if value.as_deref() == Some("off") {
                return Err(OpenError::NotDurable { setting, value: "off".into() });
            }
        }
    }
    match find(client, "").await {
        Ok(Some((FORMAT, secret))) => return Ok(secret),
        Ok(Some((found, _))) if found > FORMAT => return Err(OpenError::Newer { found, known: FORMAT }),
        Ok(_) | Err(_) => {}
    }
    // Two that make the same schema at once may meet in the catalogue: the loser tries again and finds it made.
    let mut left = 5;
    while let Err(error) = client.batch_execute(FIRST).await {
        left -= 1;
        if left == 0 {
            return Err(unreachable(error));
        }
    }
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| OpenError::Unreachable(error.to_string().into()))?;
    let secret: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    let begin = format!(
        "BEGIN; INSERT INTO mailstore.store (one, format, secret, next_account)
         VALUES (1, 0, decode('{secret}', 'hex'), 1) ON CONFLICT DO NOTHING"
    );
    client.batch_execute(&begin).await.map_err(unreachable)?;
    let outcome = migrate(client).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await.map_err(unreachable)?;
    outcome
}

async fn migrate(client: &Client) -> Result<Vec<u8>, OpenError> {
    let unreachable = |error: tokio_postgres::Error| OpenError::Unreachable(Box::new(error));
    let missing = || OpenError::Unreachable("the row of the store can't be found".into());
    let (found, secret) = find(client, " FOR UPDATE").await.map_err(unreachable)?.ok_or_else(missing)?;
    if found > FORMAT {
        return Err(OpenError::Newer { found, known: FORMAT });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        client.batch_execute(step).await.map_err(unreachable)?;
    }
    let set = format!("UPDATE mailstore.store SET format = {FORMAT}");
    client.batch_execute(&set).await.map_err(unreachable)?;
    Ok(secret)
}

async fn find(client: &Client, lock: &str) -> Result<Option<(i64, Vec<u8>)>, tokio_postgres::Error> {
    let statement = format!("SELECT format, secret FROM mailstore.store WHERE one = 1{lock}");
    let rows = client.query_typed(&statement, &[]).await?;
    rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

async fn show(client: &Client, setting: &str) -> Result<Option<String>, tokio_postgres::Error> {
    // An engine that only speaks the protocol may not know the setting, and then has no such switch.
    let statement = format!("SELECT current_setting('{setting}', true)");
    let rows: Vec<Row> = client.query_typed(&statement, &[]).await?;
    rows.first().map_or(Ok(None), |row| row.try_get(0))
}
