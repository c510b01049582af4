//! The only connection that writes, on a thread of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::refusal::Refusal;

/// Writes that wait; further ones are refused as busy.
const WAITING_MAX: usize = 2048;
/// Writes that share a wait for the disk.
const BATCH_MAX: usize = 128;

/// One write and whoever waits for it.
trait Job: Send {
    /// Does it; whether it stays.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells how it ended; `broken` if the transaction around it did not come to its end.
    fn answer(self: Box<Self>, broken: Option<Refusal>);
}

struct Work<T, F> {
    act: Option<F>,
    result: Result<T, Refusal>,
    answer: oneshot::Sender<Result<T, Refusal>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Refusal> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(act) = self.act.take() else { return false };
        // What a panic leaves behind is rolled back; the site goes on for everybody else.
        self.result = catch_unwind(AssertUnwindSafe(|| act(connection))).unwrap_or(Err(Refusal::Broken));
        self.result.is_ok()
    }

    fn answer(self: Box<Self>, broken: Option<Refusal>) {
        let result = match broken {
            Some(broken) if self.act.is_some() || self.result.is_ok() => Err(broken),
            _ => self.result,
        };
        let _ = self.answer.send(result);
    }
}

/// The thread that writes; it ends with this, after what it was given before.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let run = move || write_all(&connection, waiting);
        let thread = std::thread::Builder::new().name("site-writer".to_owned()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn write<T, F>(&self, act: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Work { act: Some(act), result: Err(Refusal::Broken), answer });
        let jobs = self.jobs.as_ref().ok_or(Refusal::Broken)?;
        jobs.try_send(job).map_err(|_| Refusal::Busy)?;
        answered.await.unwrap_or(Err(Refusal::Broken))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = waiting.blocking_recv() {
        let rest = std::iter::from_fn(|| waiting.try_recv().ok()).take(BATCH_MAX - 1);
        let mut batch: Vec<Box<dyn Job>> = Vec::from([first]);
        batch.extend(rest);
        let broken = commit(connection, &mut batch).err();
        for job in batch {
            job.answer(broken);
        }
    }
}

/// Runs a batch in one transaction.
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Refusal> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = batch.iter_mut().try_for_each(|job| attempt(connection, job.as_mut()));
    let done = done.and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

/// Runs one job in a savepoint. A full disk may end the whole transaction: then nothing of the batch stays.
fn attempt(connection: &Connection, job: &mut dyn Job) -> Result<(), Refusal> {
    connection.execute_batch("SAVEPOINT job")?;
    let stays = job.run(connection);
    if connection.is_autocommit() {
        return Err(Refusal::Unavailable);
    }
    connection.execute_batch(if stays { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
    Ok(())
}
