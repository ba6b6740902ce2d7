//! What a client and the broker say to each other until the client is known: Kafka's `SaslServerAuthenticator`, without its
//! socket.
//!
//! ```text
//! ApiVersions (once) ─► SaslHandshake ─► v0: tokens as they are          ─► done
//!                                        v1: tokens in SaslAuthenticate
//! ```
//!
//! Nothing else is decoded. Whatever does not fit here ends the conversation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use protocol_shim::api_spec::{API_VERSIONS, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use protocol_shim::decode;
use protocol_shim::encode::{Response, ResponseFrame};
use protocol_shim::error_code::ErrorCode;
use protocol_shim::header::{self, RequestHeader};

use super::mechanisms::{Exchange, Mechanisms, Offered};
use super::{Failure, Identity, Known, Step, ToClient};
use crate::api;

/// A conversation up to its end.
pub struct Conversation {
    mechanisms: Arc<Mechanisms>,
    state: State,
    /// Who the client has been so far, where it proves it again (KIP-368).
    before: Option<LoggedIn>,
}

enum State {
    Handshake {
        are_versions_told: bool,
    },
    Exchange(Box<Exchanging>),
    /// A client wants to log in again in another way. It is told at its next token, as by Kafka.
    OtherMechanism,
}

struct Exchanging {
    offered: Offered,
    exchange: Exchange,
    framing: Framing,
}

/// How tokens travel: the version of SaslHandshake says it.
enum Framing {
    /// A length and the token.
    Raw,
    /// In SaslAuthenticate (KIP-152), whose header waits for the answer.
    Framed(Option<RequestHeader>),
}

/// What comes of a frame.
pub enum Turn {
    /// The client asks for versions: answer it, and say so with [`Conversation::told_versions`].
    Versions(RequestHeader, Bytes),
    Answer(ResponseFrame),
    /// Read the keys of tokens again, and say so with [`Conversation::retry`].
    Keys,
    /// Do this where it holds nobody up, and hand what comes of it to [`Conversation::go_on`].
    Work(Box<dyn FnOnce() -> Step + Send>),
    Done(LoggedIn, ResponseFrame),
    Refused(Box<Refusal>),
}

/// A client that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Name of the `User:` principal.
    pub name: String,
    pub mechanism: &'static str,
    /// For how long, from now on. `None`: as long as the connection lasts.
    pub lifetime: Option<Duration>,
    /// It has shown a delegation token (KIP-48).
    pub by_token: bool,
}

/// The conversation has ended without one. The connection is to be closed.
#[derive(Debug)]
pub struct Refusal {
    /// What to send first, after a while. Clients that are told nothing look for trouble in the network.
    pub answer: Option<ResponseFrame>,
    /// Who the client wanted to be.
    pub user: Option<String>,
    pub mechanism: Option<&'static str>,
    /// For the operator: text of the broker's own.
    pub why: String,
}

impl Refusal {
    fn silent(why: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            answer: None,
            user: None,
            mechanism: None,
            why: why.into(),
        })
    }
}

impl From<Box<Refusal>> for Turn {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

impl Conversation {
    /// A connection over which nothing has been said.
    pub fn new(mechanisms: Arc<Mechanisms>) -> Self {
        Self {
            mechanisms,
            state: State::Handshake {
                are_versions_told: false,
            },
            before: None,
        }
    }

    /// Somebody who is known proves it again. The first frame is a handshake.
    pub fn again(mechanisms: Arc<Mechanisms>, before: LoggedIn) -> Self {
        Self {
            before: Some(before),
            state: State::Handshake {
                are_versions_told: true,
            },
            ..Self::new(mechanisms)
        }
    }

    /// Takes the client's next frame, at `now_ms` since 1970.
    pub fn take(&mut self, frame: Bytes, users: &Known, now_ms: i64) -> Turn {
        let outcome = match &mut self.state {
            State::Handshake { .. } => self.take_request(frame),
            State::Exchange(_) => self.take_token(frame, users, now_ms),
            State::OtherMechanism => Err(Refusal::silent(
                "logs in again with another mechanism than before",
            )),
        };
        outcome.unwrap_or_else(Turn::Refused)
    }

    /// The client has been told which versions there are, or what was wrong with its question.
    pub fn told_versions(&mut self, is_ok: bool) {
        if let State::Handshake { are_versions_told } = &mut self.state {
            *are_versions_told = is_ok;
        }
    }

    fn take_request(&mut self, mut frame: Bytes) -> Result<Turn, Box<Refusal>> {
        let header = header::parse_request_header(&mut frame);
        let header = header.map_err(|_| {
            Refusal::silent(
                "sends no request of Kafka's: a token without SaslHandshake, or no SASL",
            )
        })?;
        let is_known = api::served(header.api_key, header.api_version);
        match (header.api_key, &self.state) {
            (
                API_VERSIONS,
                State::Handshake {
                    are_versions_told: false,
                },
            ) => Ok(Turn::Versions(header, frame)),
            (API_VERSIONS, _) => Err(Refusal::silent("asks for versions again")),
            (SASL_HANDSHAKE, _) => {
                is_known.map_err(|error| Refusal::silent(error.to_string()))?;
                let request: SaslHandshakeRequest = decoded(&header, frame)?;
                self.shake_hands(&header, &request.mechanism)
            }
            (api_key, _) => Err(Refusal::silent(
                match protocol_shim::api_spec::spec(api_key) {
                    Some(spec) => format!("asks {} before it has logged in", spec.name),
                    None => "asks something unknown before it has logged in".to_owned(),
                },
            )),
        }
    }

    fn shake_hands(&mut self, header: &RequestHeader, name: &str) -> Result<Turn, Box<Refusal>> {
        let names = self.mechanisms.names().map(StrBytes::from_static_str);
        let mut response = SaslHandshakeResponse::default().with_mechanisms(names.collect());
        let Some(offered) = self.mechanisms.find(name) else {
            response.error_code = ErrorCode::UnsupportedSaslMechanism.into();
            return Err(Box::new(Refusal {
                answer: Some(frame_of(header, &response)?),
                ..*Refusal::silent("asks for a mechanism that is not enabled")
            }));
        };
        let is_another = |before: &LoggedIn| before.mechanism != offered.mechanism.name();
        self.state = match self.before.as_ref().is_some_and(is_another) {
            true => State::OtherMechanism,
            false => State::Exchange(Box::new(Exchanging {
                exchange: offered.mechanism.begin(),
                offered: offered.clone(),
                framing: match header.api_version {
                    0 => Framing::Raw,
                    _ => Framing::Framed(None),
                },
            })),
        };
        Ok(Turn::Answer(frame_of(header, &response)?))
    }

    fn take_token(
        &mut self,
        frame: Bytes,
        users: &Known,
        now_ms: i64,
    ) -> Result<Turn, Box<Refusal>> {
        let State::Exchange(exchanging) = &mut self.state else {
            return Err(Refusal::silent("sends a token too early"));
        };
        let token = match &mut exchanging.framing {
            Framing::Raw => frame,
            Framing::Framed(asked) => {
                let (header, token) = authenticate_request(frame)?;
                *asked = Some(header);
                token
            }
        };
        let step = exchanging.exchange.step(&token, users, now_ms);
        Ok(self.go_on(step, now_ms))
    }

    /// The keys of tokens have been read again.
    pub fn retry(&mut self, known: &Known, now_ms: i64) -> Turn {
        let step = match &mut self.state {
            State::Exchange(exchanging) => exchanging.exchange.retry(known, now_ms),
            _ => None,
        };
        match step {
            Some(step) => self.go_on(step, now_ms),
            None => Refusal::silent("waits for nothing").into(),
        }
    }

    /// Goes on with what has come of a token.
    pub fn go_on(&mut self, step: Step, now_ms: i64) -> Turn {
        let State::Exchange(exchanging) = &mut self.state else {
            return Refusal::silent("has said too much").into();
        };
        let outcome = match step {
            Step::Work(work) => Ok(Turn::Work(work)),
            Step::Keys => Ok(Turn::Keys),
            Step::Challenge(token) => exchanging.answer(&token, None).map(Turn::Answer),
            Step::Done(identity) => exchanging.finish(identity, self.before.as_ref(), now_ms),
            Step::Failed(failure) => Err(exchanging.refuse(failure, self.before.is_some())),
        };
        outcome.unwrap_or_else(Turn::Refused)
    }
}

impl Exchanging {
    /// A token on its way to the client.
    fn answer(
        &self,
        token: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<ResponseFrame, Box<Refusal>> {
        let Framing::Framed(Some(header)) = &self.framing else {
            return Ok(ResponseFrame::raw(token));
        };
        let lifetime_ms = lifetime.map_or(0, |lifetime| lifetime.as_millis());
        let mut response =
            SaslAuthenticateResponse::default().with_auth_bytes(Bytes::copy_from_slice(token));
        if header.api_version >= 1 {
            response.session_lifetime_ms = i64::try_from(lifetime_ms).unwrap_or(i64::MAX);
        }
        frame_of(header, &response)
    }

    fn finish(
        &self,
        identity: Identity,
        before: Option<&LoggedIn>,
        now_ms: i64,
    ) -> Result<Turn, Box<Refusal>> {
        if let Some(before) = before
            && before.name != identity.name
        {
            let message = format!(
                "Cannot change principals during re-authentication from User.{}: User.{}",
                before.name, identity.name
            );
            return Err(self.refuse(
                Failure {
                    to_client: ToClient::Message(message),
                    user: Some(identity.name),
                    why: "logs in again as somebody else",
                },
                true,
            ));
        }
        let of_credential = identity.expires_at_ms.map(|at_ms| {
            let left_ms = at_ms.saturating_sub(now_ms);
            Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
        });
        let lifetimes = of_credential.into_iter().chain(self.offered.max_reauth);
        let lifetime = lifetimes.min();
        let answer = self.answer(&identity.answer, lifetime)?;
        let logged_in = LoggedIn {
            name: identity.name,
            mechanism: self.offered.mechanism.name(),
            lifetime,
            by_token: identity.by_token,
        };
        Ok(Turn::Done(logged_in, answer))
    }

    fn refuse(&self, failure: Failure, is_again: bool) -> Box<Refusal> {
        let mechanism = self.offered.mechanism.name();
        let message = match failure.to_client {
            ToClient::Message(message) => message,
            ToClient::InvalidCredentials => format!(
                "Authentication failed during {} due to invalid credentials with SASL mechanism {mechanism}",
                if is_again {
                    "re-authentication"
                } else {
                    "authentication"
                },
            ),
        };
        let answer = match &self.framing {
            // There is no way to say it.
            Framing::Raw | Framing::Framed(None) => None,
            Framing::Framed(Some(header)) => {
                let response = SaslAuthenticateResponse::default()
                    .with_error_code(ErrorCode::SaslAuthenticationFailed.into())
                    .with_error_message(Some(StrBytes::from_string(message)));
                frame_of(header, &response).ok()
            }
        };
        Box::new(Refusal {
            answer,
            user: failure.user,
            mechanism: Some(mechanism),
            why: failure.why.to_owned(),
        })
    }
}

/// A token in SaslAuthenticate. Whatever else comes between tokens is ILLEGAL_SASL_STATE, where there is a short way to say so.
fn authenticate_request(mut frame: Bytes) -> Result<(RequestHeader, Bytes), Box<Refusal>> {
    let header = header::parse_request_header(&mut frame)
        .map_err(|_| Refusal::silent("sends no request of Kafka's within its log-in"))?;
    let illegal = ErrorCode::IllegalSaslState.into();
    let answer = match header.api_key {
        SASL_AUTHENTICATE => {
            let is_known = api::served(header.api_key, header.api_version);
            is_known.map_err(|error| Refusal::silent(error.to_string()))?;
            let request: SaslAuthenticateRequest = decoded(&header, frame)?;
            return Ok((header, request.auth_bytes));
        }
        SASL_HANDSHAKE if api::served(header.api_key, header.api_version).is_ok() => {
            let response = SaslHandshakeResponse::default().with_error_code(illegal);
            Some(frame_of(&header, &response)?)
        }
        API_VERSIONS if (0..=4).contains(&header.api_version) => {
            let response = ApiVersionsResponse::default().with_error_code(illegal);
            Some(frame_of(&header, &response)?)
        }
        _ => None,
    };
    Err(Box::new(Refusal {
        answer,
        ..*Refusal::silent("asks something else within its log-in")
    }))
}

fn decoded<R: Decodable>(header: &RequestHeader, body: Bytes) -> Result<R, Box<Refusal>> {
    let request = decode::decode_request(header.api_key, header.api_version, body);
    request.map_err(|error| Refusal::silent(error.to_string()))
}

fn frame_of(
    header: &RequestHeader,
    response: &impl Response,
) -> Result<ResponseFrame, Box<Refusal>> {
    let frame = response.to_frame(header.api_key, header.api_version, header.correlation_id);
    frame.map_err(|error| Refusal::silent(error.to_string()))
}
