//! The tables, and how those of an older version become those of this one.

use rusqlite::{Connection, TransactionBehavior};

use super::Unopened;

/// Each brings the tables from one version to the next; none is ever changed once it was released.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("notices.sql"), include_str!("told.sql")];

/// Brings the tables to this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Unopened> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = usize::try_from(version).ok().filter(|version| *version <= MIGRATIONS.len());
    for (migration, next) in MIGRATIONS.iter().zip(1..).skip(known.ok_or(Unopened::Newer(version))?) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", next)?;
    }
    Ok(transaction.commit()?)
}
