//! Supervised tasks and their ordered shutdown.
//!
//! Tasks are started in the order they depend on each other and stopped one by one in the opposite order, each with
//! its own deadline; one that misses it is aborted. If a task fails, panics or ends unasked, everything stops.

use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a task gets to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Why the tasks stopped although nobody asked.
#[derive(Debug, Error)]
pub enum SuperviseError {
    /// A task returned an error.
    #[error("{task} failed")]
    Failed {
        /// Its name.
        task: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A task panicked.
    #[error("{task} panicked")]
    Panicked {
        /// Its name.
        task: &'static str,
        /// What the runtime knows.
        #[source]
        source: JoinError,
    },
    /// A task returned although it should have run on.
    #[error("{0} ended by itself")]
    Ended(&'static str),
}

/// Tasks that live and die together.
#[derive(Default)]
pub struct Supervisor {
    tasks: Vec<Task>,
    running: JoinSet<Result<(), BoxError>>,
}

struct Task {
    name: &'static str,
    id: Id,
    stop: CancellationToken,
    abort: AbortHandle,
    grace: Duration,
    asked: bool,
    ended: bool,
}

impl Supervisor {
    /// Without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task on what was started before it. It runs until the token it gets is cancelled, then has 10 seconds.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.spawn_with_grace(name, GRACE, task);
    }

    /// The same with another time to end in.
    pub fn spawn_with_grace<F>(
        &mut self,
        name: &'static str,
        grace: Duration,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let span = tracing::info_span!("task", name);
        let abort = self.running.spawn(task(stop.clone()).instrument(span));
        self.tasks.push(Task { name, id: abort.id(), stop, abort, grace, asked: false, ended: false });
    }

    /// Runs until `shutdown` is cancelled or a task ends, then stops all of them, the last started first.
    ///
    /// # Errors
    /// The first [`SuperviseError`]; later ones are logged.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), SuperviseError> {
        let mut first = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            result = self.next_end() => result,
        };
        for index in (0..self.tasks.len()).rev() {
            if let Err(error) = self.stop(index).await {
                tracing::error!(error = %crate::report::with_causes(&error), "task failed while stopping");
                first = first.and(Err(error));
            }
        }
        first
    }

    async fn stop(&mut self, index: usize) -> Result<(), SuperviseError> {
        let task = &mut self.tasks[index];
        task.asked = true;
        task.stop.cancel();
        let deadline = Instant::now() + task.grace;
        let mut result = Ok(());
        while !self.tasks[index].ended {
            match timeout_at(deadline, self.next_end()).await {
                Ok(end) => result = result.and(end),
                Err(_) => {
                    let task = &self.tasks[index];
                    tracing::warn!(task = task.name, "did not stop in time and was aborted");
                    task.abort.abort();
                    result = result.and(self.next_end().await);
                }
            }
        }
        result
    }

    /// Waits for any task to end and says how it did.
    async fn next_end(&mut self) -> Result<(), SuperviseError> {
        let (id, outcome) = match self.running.join_next_with_id().await {
            Some(Ok((id, outcome))) => (id, Ok(outcome)),
            Some(Err(error)) => (error.id(), Err(error)),
            None => return Ok(()),
        };
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else { return Ok(()) };
        task.ended = true;
        match outcome {
            Ok(Ok(())) if task.asked => Ok(()),
            Ok(Ok(())) => Err(SuperviseError::Ended(task.name)),
            Ok(Err(source)) => Err(SuperviseError::Failed { task: task.name, source }),
            Err(error) if error.is_cancelled() => Ok(()),
            Err(source) => Err(SuperviseError::Panicked { task: task.name, source }),
        }
    }
}

/// A token that SIGINT (ctrl-c) or SIGTERM cancels. A second signal ends the process at once with code 130.
///
/// # Errors
/// The operating system's, if signals cannot be watched.
pub fn shutdown_on_signals() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if again {
                std::process::exit(130);
            }
            tracing::info!("stopping; signal again to stop at once");
            stop.cancel();
        }
    });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn tasks_stop_in_the_opposite_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Supervisor::new();
        for name in ["store", "engine", "http"] {
            let order = order.clone();
            tasks.spawn(name, |stop| async move {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        tasks.run(shutdown).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["http", "engine", "store"]);
    }

    #[tokio::test]
    async fn one_failure_stops_all_and_is_named() {
        for (fate, expected) in
            [("error", "second failed"), ("panic", "second panicked"), ("end", "second ended by itself")]
        {
            let mut tasks = Supervisor::new();
            tasks.spawn("first", |stop| async move {
                stop.cancelled().await;
                Ok(())
            });
            tasks.spawn("second", |_| async move {
                match fate {
                    "error" => Err("no luck".into()),
                    "panic" => panic!("seeded"),
                    _ => Ok(()),
                }
            });
            let error = tasks.run(CancellationToken::new()).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_deaf_task_is_aborted() {
        let mut tasks = Supervisor::new();
        tasks.spawn_with_grace("deaf", Duration::from_millis(1), |_| async move { std::future::pending().await });
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        tasks.run(shutdown).await.unwrap();
    }
}
