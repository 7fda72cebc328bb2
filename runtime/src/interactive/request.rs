//! Requests: what front ends ask of a session, from any thread.

use crate::diagnostic::Kind;

pub enum Request {
    /// A line of Rhai, or a command.
    Line { text: String, reply: Reply },
    /// What could stand at a place of a line.
    Complete { text: String, at: usize, reply: Reply },
    /// What runs in the background.
    Jobs { reply: Reply },
    /// The table of a job, each time that this passes, for as long as it runs.
    Subscribe { job: usize, every: std::time::Duration, reply: Reply },
    /// Detach everything and leave.
    Leave,
}

pub type Reply = Box<dyn FnOnce(Answer) + Send>;

/// How a request ended; results are on the screen by then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why it failed: who has to act, and what was shown.
    pub failed: Option<(Kind, String)>,
    /// The session is over, with this exit status.
    pub left: Option<i32>,
    /// What was asked for, where that is data.
    pub data: Option<serde_json::Value>,
}

impl Request {
    pub fn answer(self, answer: Answer) {
        match self {
            Request::Line { reply, .. }
            | Request::Complete { reply, .. }
            | Request::Jobs { reply }
            | Request::Subscribe { reply, .. } => reply(answer),
            Request::Leave => {}
        }
    }
}
