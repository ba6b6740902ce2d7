//! What went wrong, for people: what was refused, why, and what to do.

use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command ends with another exit code than 0.
#[derive(Debug)]
pub enum Failure {
    /// The arguments do not fit together: exit code 2.
    Usage(String),
    /// It was refused, or could not be done: exit code 1.
    Failed(String),
}

impl Failure {
    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::Usage(text) | Self::Failed(text) => text,
        }
    }
}

pub(crate) fn failed(text: impl Into<String>) -> Failure {
    Failure::Failed(text.into())
}

pub(crate) fn usage(text: impl Into<String>) -> Failure {
    Failure::Usage(text.into())
}

/// What a broker answered to one thing: fine, or refused.
///
/// # Errors
/// It was refused.
pub(crate) fn check(what: &str, code: i16, message: Option<&StrBytes>) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let error = ErrorCode::from_code(code);
    let name = error.map_or_else(|| format!("error {code}"), |error| error.name().to_owned());
    let mut text = format!("{what}: {name}");
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        text = format!("{text}: {message}");
    }
    if let Some(advice) = error.and_then(advice) {
        text = format!("{text}; {advice}");
    }
    Err(failed(text))
}

/// What to do about it, where that is known.
fn advice(error: ErrorCode) -> Option<&'static str> {
    use ErrorCode as E;
    Some(match error {
        E::UnknownTopicOrPartition => {
            "there is no such topic or partition, or the user may not see it: `ottla topics list` tells those that are there"
        }
        E::GroupIdNotFound => {
            "there is no such group: `ottla groups list` tells those that are there"
        }
        E::NonEmptyGroup => "stop its members first: `ottla groups describe` tells them",
        E::GroupSubscribedToTopic => "members read this topic: stop them first",
        E::UnknownMemberId | E::RebalanceInProgress | E::IllegalGeneration => {
            "the group has members, or is being joined: stop them, or try again"
        }
        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed => {
            "the user has no right to do this: somebody who may alter the cluster gives it with `ottla acls add`"
        }
        E::SaslAuthenticationFailed => "look at the user and the password in --client-config",
        E::SecurityDisabled => {
            "the broker has no authorizer: start it with --secure or authorizer.class.name"
        }
        E::OffsetOutOfRange => {
            "there are no records at that offset: `ottla topics describe` tells the range"
        }
        E::RequestTimedOut | E::CoordinatorNotAvailable | E::NotLeaderOrFollower => "try again",
        _ => return None,
    })
}

/// Several outcomes of one command: says what was done, and fails if anything was refused.
#[derive(Default)]
pub(crate) struct Outcomes {
    refusals: Vec<String>,
}

impl Outcomes {
    /// One outcome; `done` is said when it is fine.
    pub(crate) fn add(&mut self, outcome: Result<()>, done: impl FnOnce() -> String) {
        match outcome {
            Ok(()) => crate::page::line(&done()),
            Err(failure) => self.refusals.push(failure.text()),
        }
    }

    /// # Errors
    /// Anything was refused.
    pub(crate) fn end(self) -> Result<()> {
        match self.refusals.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(self.refusals.join("\n"))),
        }
    }
}
