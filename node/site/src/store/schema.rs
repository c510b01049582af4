//! The tables, and how those of an older version become those of this one.

use rusqlite::{Connection, TransactionBehavior};

use super::Unopened;

/// Each brings the tables from one version to the next; none is ever changed once it was released.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("notices.sql"),
    include_str!("told.sql"),
    include_str!("spellings.sql"),
    include_str!("given.sql"),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_revoked_before_stay_and_other_spellings_of_them_have_room() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        MIGRATIONS[..3].iter().for_each(|migration| db.execute_batch(migration).unwrap());
        db.pragma_update(None, "user_version", 3).unwrap();
        let group = "INSERT INTO groups (id, name, certificate, key, secret, ends, policy, first, made)
            VALUES (7, 'chess', x'', x'', x'', 0, 'sign', 1, 0)";
        db.execute(group, []).unwrap();
        let revoke = "INSERT INTO revoked_users (group_id, user, at) VALUES (7, ?1, 5)";
        db.execute(revoke, ["bob"]).unwrap();
        assert!(db.execute(revoke, ["Bob"]).is_err());
        migrate(&mut db).unwrap();
        assert!(db.execute(revoke, ["bob"]).is_err());
        db.execute(revoke, ["Bob"]).unwrap();
        let count = "SELECT count(*) FROM revoked_users WHERE group_id = 7 AND at = 5";
        assert_eq!(db.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
        assert!(db.execute("DELETE FROM groups", []).is_err(), "the group is still referred to");
    }
}
