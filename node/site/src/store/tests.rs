//! What is answered is on the disk, and a write that fails takes nothing else with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

const COUNT: &str = "SELECT count(*) FROM site";

fn insert(connection: &Connection, name: &str) -> Result<(), Refusal> {
    connection.execute("INSERT INTO site (name, value) VALUES (?1, x'00')", [name])?;
    Ok(())
}

async fn count(store: &Store) -> i64 {
    store.read(|connection| Ok(connection.query_row(COUNT, [], |row| row.get(0))?)).await.unwrap()
}

#[tokio::test]
async fn a_refused_write_leaves_nothing_and_those_beside_it_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let refused = store.write(|connection| {
        insert(connection, "refused")?;
        Err::<(), _>(Refusal::Taken)
    });
    let (one, refused, two) = tokio::join!(
        store.write(|connection| insert(connection, "one")),
        refused,
        store.write(|connection| insert(connection, "two"))
    );
    assert_eq!((one, refused, two), (Ok(()), Err(Refusal::Taken), Ok(())));
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_write_that_panics_is_undone_and_the_next_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let panics = store.write(|connection| {
        insert(connection, "lost")?;
        assert!(connection.is_autocommit(), "a panic on purpose");
        Ok(())
    });
    assert_eq!(panics.await, Err(Refusal::Broken));
    assert_eq!(store.write(|connection| insert(connection, "one")).await, Ok(()));
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.write(|connection| insert(connection, "before")).await.unwrap();
    let limit = |pages: &'static str| store.write(move |connection| Ok(connection.execute_batch(pages)?));
    // SQLite answers as it does on a full disk.
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let large = |name: &'static str| {
        store.write(move |connection| {
            let sql = "INSERT INTO site (name, value) VALUES (?1, zeroblob(200000))";
            connection.execute(sql, [name])?;
            Ok(())
        })
    };
    assert_eq!(large("large").await, Err(Refusal::Unavailable));
    assert_eq!(count(&store).await, 1);
    limit("PRAGMA max_page_count = 100000").await.unwrap();
    assert_eq!(large("large").await, Ok(()));
    drop(store);
    assert_eq!(count(&Store::open(folder.path()).unwrap()).await, 2);
}

#[tokio::test]
async fn readers_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.read(|connection| insert(connection, "one")).await.is_err());
    assert_eq!(count(&store).await, 0);
}

#[test]
fn two_processes_do_not_share_a_database_and_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(Unopened::InUse)));
    drop(store);
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Store::open(folder.path()), Err(Unopened::Newer(99))));
}

#[tokio::test]
async fn nobody_else_reads_the_database_whatever_its_folder_allows() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = |suffix: &str| folder.path().join(format!("{DATABASE}{suffix}"));
    let modes = || ["", "-wal", "-shm"].map(|suffix| fs::metadata(path(suffix)).unwrap().mode() & 0o7777);
    let store = Store::open(folder.path()).unwrap();
    store.write(|connection| insert(connection, "one")).await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
    // Those of an older version, which died and left all three behind.
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let left = copy.path().join(format!("{DATABASE}{suffix}"));
        fs::copy(path(suffix), &left).unwrap();
        fs::set_permissions(&left, Permissions::from_mode(0o644)).unwrap();
    }
    let store = Store::open(copy.path()).unwrap();
    assert_eq!(count(&store).await, 1);
    for suffix in ["", "-wal", "-shm"] {
        let mode = fs::metadata(copy.path().join(format!("{DATABASE}{suffix}"))).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{suffix}");
    }
}
