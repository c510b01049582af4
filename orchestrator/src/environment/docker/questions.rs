//! Questions that nobody waits for: each has a task of its own, which leaves the answer in a tray.

use atoll_core::control::{Command, Reply};
use atoll_fabric::api::{Ask, Client};
use atoll_fabric::clock::Clock;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::environment::{Answer, COMMAND_LIMIT, Question};
use crate::error::{OrFail as _, Result};

/// Answers that lie in the tray at most; tasks with more of them wait.
const ANSWERS_MAX: usize = 1024;

/// Where answers lie until they are taken.
pub(super) struct Tray {
    next: u64,
    leave: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Tray {
    /// An empty one.
    pub(super) fn new() -> Self {
        let (leave, answers) = channel(ANSWERS_MAX);
        Self { next: 0, leave, answers }
    }

    /// Asks a node; the times of answers are those of `clock`. What gets no answer leaves none.
    ///
    /// # Errors
    /// The command cannot be written down.
    pub(super) fn ask(
        &mut self,
        client: &Client,
        (node, command): (String, &Command),
        clock: Clock,
    ) -> Result<Question> {
        let command = serde_json::to_value(command).or_fail(|| format!("cannot ask {node}"))?;
        let question = Question(self.next);
        self.next += 1;
        let (client, leave) = (client.clone(), self.leave.clone());
        tokio::spawn(async move {
            let ask = Ask { nodes: vec![node], command };
            let answer = tokio::time::timeout(clock.real(COMMAND_LIMIT), client.command(&ask)).await;
            let at = clock.now();
            let Ok(Ok(mut answers)) = answer else { return };
            let reply: Option<Reply> =
                answers.pop().and_then(Result::ok).and_then(|value| serde_json::from_value(value).ok());
            if let Some(reply) = reply {
                // Nobody takes it if the environment is gone.
                let _ = leave.send(Answer { question, at, reply }).await;
            }
        });
        Ok(question)
    }

    /// What lies there, in the order of the questions.
    pub(super) fn take(&mut self) -> Vec<Answer> {
        let mut answers: Vec<Answer> = std::iter::from_fn(|| self.answers.try_recv().ok()).collect();
        answers.sort_by_key(|answer| answer.question);
        answers
    }
}
