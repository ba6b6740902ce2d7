//! A client logs in before its first request, and again while it is connected (KIP-368).
//!
//! Here are the socket, the clock and the threads around [`Conversation`], which decides.

#![expect(
    clippy::disallowed_methods,
    reason = "credentials are looked up before anybody has asked for anything"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol_shim::decode;
use protocol_shim::encode::ResponseFrame;
use protocol_shim::header::RequestHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::connection::{self, Begun};
use super::frame_reader::{FrameReader, Limits};
use super::halves::{Close, Connection};
use super::session::{ClientListener, Principal, Session};
use crate::api::{self, api_versions};
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::context::RequestContext;
use crate::log_limited;
use crate::metrics::logins::BY_TLS;
use crate::response;
use crate::security::sasl::Known;
use crate::security::sasl::conversation::{Conversation, LoggedIn, Refusal, Turn};
use crate::security::sasl::mechanisms::Mechanisms;
use crate::security::tls::handshake::shake_hands;
use crate::security::tls::listeners::TlsListener;

/// How soon after the last time a client may log in again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A client that has logged in, and may have to again.
pub struct Login {
    mechanisms: Arc<Mechanisms>,
    who: LoggedIn,
    /// When no request is answered any more.
    expires_at: Option<Instant>,
    last_begun: Option<Instant>,
    /// It logs in again just now.
    again: Option<Conversation>,
}

/// What a frame of a logged in client is.
pub(super) enum Meaning {
    Request,
    /// A part of a log-in.
    Login,
    /// It came too late.
    Expired,
}

/// Finds out who the client is, where its listener asks for that, and answers its requests.
pub async fn serve<S>(
    broker: Arc<Broker>,
    listener: Arc<ClientListener>,
    mut stream: S,
    peer_addr: SocketAddr,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let nobody = Session::new(peer_addr, Principal::anonymous(), listener);
    let nobody = Arc::new(nobody);
    let Some(mechanisms) = broker.logins.of(&nobody.listener.name).cloned() else {
        return connection::serve(broker, nobody, stream).await;
    };
    // In a box, so that a connection that is known is small.
    let known = Box::pin(log_in(&broker, &nobody, mechanisms, &mut stream));
    match broker.unauthenticated.log_in(known).await {
        Ok((session, begun)) => {
            connection::serve_begun(broker, Arc::new(session), stream, begun).await;
        }
        Err(close) => connection::tell(&nobody, &close),
    }
}

/// The same over TLS, where the client may also be known by its certificate.
pub(super) async fn serve_encrypted(
    broker: Arc<Broker>,
    tls: Arc<TlsListener>,
    listener: Arc<ClientListener>,
    stream: TcpStream,
    peer_addr: SocketAddr,
) {
    let nobody = Session::new(peer_addr, Principal::anonymous(), Arc::clone(&listener));
    let nobody = Arc::new(nobody);
    let known = async {
        let counts = &broker.login_counts;
        let shaken = shake_hands(&tls, stream).await;
        let (mut stream, principal) = shaken.inspect_err(|_| {
            let by_tls = broker.logins.of(&listener.name).is_none().then_some(BY_TLS);
            counts.count(&listener.name, by_tls, false);
        })?;
        let (session, begun) = match broker.logins.of(&listener.name).cloned() {
            Some(mechanisms) => log_in(&broker, &nobody, mechanisms, &mut stream).await?,
            None => {
                counts.count(&listener.name, Some(BY_TLS), true);
                let session = Session::new(peer_addr, principal, Arc::clone(&listener));
                (session, Begun::default())
            }
        };
        Ok((session, begun, stream))
    };
    match broker.unauthenticated.log_in(Box::pin(known)).await {
        Ok((session, begun, stream)) => {
            connection::serve_begun(broker, Arc::new(session), stream, begun).await;
        }
        Err(close) => connection::tell(&nobody, &close),
    }
}

/// Lets a client say who it is, and returns what it has said behind that.
///
/// # Errors
/// It has not proved to be anybody. It has been told so.
async fn log_in<S>(
    broker: &Arc<Broker>,
    nobody: &Arc<Session>,
    mechanisms: Arc<Mechanisms>,
    stream: &mut S,
) -> Result<(Session, Begun), Close>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = Connection::new(broker, nobody);
    let (reader, mut writer) = tokio::io::split(stream);
    let shutdown = std::pin::pin!(broker.wait_for_shutdown());
    let limits = Limits {
        max_bytes: mechanisms.max_receive_bytes,
        read_before: BytesMut::new(),
    };
    let mut frames = FrameReader::new(&connection, reader, limits, shutdown);
    let mut conversation = Conversation::new(Arc::clone(&mechanisms));
    loop {
        let (frame, _held) = frames.next().await?;
        match talk(&connection, &mut conversation, frame).await? {
            Said::Answer(answer) => send(&mut writer, answer).await?,
            Said::Done(who, answer) => {
                tell(&connection, &who);
                let listener = Arc::clone(&nobody.listener);
                let session = Session::new(nobody.peer_addr, principal(&who), listener);
                session.set_by_token(who.by_token);
                if let Some(software) = nobody.software.get() {
                    let _ = session.software.set(software.clone());
                }
                let login = Login::new(mechanisms, who);
                // The session begins before the client knows of it.
                send(&mut writer, answer).await?;
                let begun = Begun {
                    login: Some(login),
                    read: frames.into_rest(),
                };
                return Ok((session, begun));
            }
            Said::Refused(refusal) => {
                refuse(&connection, &refusal).await;
                if let Some(answer) = refusal.answer {
                    send(&mut writer, answer).await?;
                }
                let _ = writer.shutdown().await;
                return Err(Close::NotLoggedIn);
            }
        }
    }
}

/// What comes of a frame, when all that it takes has been done.
enum Said {
    Answer(ResponseFrame),
    Done(LoggedIn, ResponseFrame),
    Refused(Box<Refusal>),
}

async fn talk(
    connection: &Connection<'_>,
    conversation: &mut Conversation,
    frame: Bytes,
) -> Result<Said, Close> {
    let broker = connection.broker;
    let listener = &connection.session.listener.name;
    let known = || Known {
        image: broker.metadata.image(),
        disguise: broker.logins.disguise.clone(),
        keys: broker.logins.keys(listener),
        delegation: Arc::clone(&broker.delegation),
    };
    let frame_bytes = frame.len();
    let mut turn = conversation.take(frame, &known(), broker.clock.wall_ms());
    loop {
        return Ok(match turn {
            Turn::Versions(header, body) => {
                let (answer, is_ok) = versions(connection, &header, body, frame_bytes).await?;
                conversation.told_versions(is_ok);
                Said::Answer(answer)
            }
            Turn::Keys => {
                broker.logins.read_keys_again(listener).await;
                turn = conversation.retry(&known(), broker.clock.wall_ms());
                continue;
            }
            Turn::Work(work) => {
                let step = broker.logins.work(work).await;
                turn = conversation.go_on(step, broker.clock.wall_ms());
                continue;
            }
            Turn::Answer(answer) => Said::Answer(answer),
            Turn::Done(who, answer) => Said::Done(who, answer),
            Turn::Refused(refusal) => Said::Refused(refusal),
        });
    }
}

/// Answers ApiVersions; false if the client has to ask in another way.
async fn versions(
    connection: &Connection<'_>,
    header: &RequestHeader,
    body: Bytes,
    request_bytes: usize,
) -> Result<(ResponseFrame, bool), Close> {
    let (broker, session) = (connection.broker, connection.session);
    let now = std::time::Instant::now();
    let ctx = RequestContext::new(broker, session, header, request_bytes, now);
    if api::served(header.api_key, header.api_version).is_err() {
        let fallback = decode::api_versions_fallback();
        return Ok((response::encode_in(0, &ctx, header, &fallback)?, false));
    }
    let request = decode::decode_request(header.api_key, header.api_version, body);
    let request = request.map_err(response::RequestError::from)?;
    let answer = api_versions::handle(&ctx, request).await;
    let is_ok = answer.error_code == 0;
    Ok((response::encode(&ctx, header, &answer)?, is_ok))
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), answer: ResponseFrame) -> Result<(), Close> {
    writer.write_all(&answer.to_vec()).await?;
    Ok(writer.flush().await?)
}

fn principal(who: &LoggedIn) -> Principal {
    Principal {
        kind: "User".into(),
        name: who.name.as_str().into(),
    }
}

/// Tells of a log-in, and counts it.
fn tell(connection: &Connection<'_>, who: &LoggedIn) {
    let session = connection.session;
    let counts = &connection.broker.login_counts;
    counts.count(&session.listener.name, Some(who.mechanism), true);
    log_limited!(
        debug,
        target: "ottla::authentication",
        user = %client_text(&who.name),
        mechanism = who.mechanism,
        host = %session.peer_addr,
        listener = %session.listener.name,
        "logged in"
    );
}

/// Tells the operator of a log-in that has failed, and has the client wait for its answer: whoever tries passwords waits, too.
async fn refuse(connection: &Connection<'_>, refusal: &Refusal) {
    let session = connection.session;
    let counts = &connection.broker.login_counts;
    counts.count(&session.listener.name, refusal.mechanism, false);
    log_limited!(
        warn,
        target: "ottla::authentication",
        user = %client_text(refusal.user.as_deref().unwrap_or_default()),
        mechanism = refusal.mechanism.unwrap_or_default(),
        host = %session.peer_addr,
        listener = %session.listener.name,
        "not logged in: {}",
        client_text(&refusal.why)
    );
    let delay = connection.broker.config.authentication.failed_delay_ms;
    sleep(Duration::from_millis(delay)).await;
}

impl Login {
    fn new(mechanisms: Arc<Mechanisms>, who: LoggedIn) -> Self {
        let mut login = Self {
            mechanisms,
            who,
            expires_at: None,
            last_begun: None,
            again: None,
        };
        login.begin_lifetime();
        login
    }

    fn begin_lifetime(&mut self) {
        let lifetime = self.who.lifetime;
        self.expires_at = lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
    }

    /// Says what a frame is, and begins another log-in with a handshake.
    pub(super) fn meaning(&mut self, frame: &[u8]) -> Meaning {
        if self.again.is_some() {
            return Meaning::Login;
        }
        let Some(expires_at) = self.expires_at else {
            return Meaning::Request;
        };
        let now = Instant::now();
        let is_soon = |begun: Instant| now.duration_since(begun) < AGAIN_AFTER;
        let api_key = frame.first_chunk().copied().map(i16::from_be_bytes);
        if api_key == Some(protocol_shim::api_spec::SASL_HANDSHAKE)
            && !self.last_begun.is_some_and(is_soon)
        {
            self.last_begun = Some(now);
            let (mechanisms, before) = (Arc::clone(&self.mechanisms), self.who.clone());
            self.again = Some(Conversation::again(mechanisms, before));
            return Meaning::Login;
        }
        match now < expires_at {
            true => Meaning::Request,
            false => Meaning::Expired,
        }
    }

    /// Goes on with a log-in on a live connection; the answer takes its place behind those of earlier requests.
    ///
    /// # Errors
    /// It has failed. What there is to answer comes along; the connection is to be closed behind it.
    pub(super) async fn go_on(
        &mut self,
        connection: &Connection<'_>,
        frame: Bytes,
    ) -> Result<ResponseFrame, (Option<ResponseFrame>, Close)> {
        let Some(conversation) = &mut self.again else {
            return Err((None, Close::NotLoggedIn));
        };
        if frame.len() > self.mechanisms.max_receive_bytes {
            return Err((None, Close::NotLoggedIn));
        }
        match talk(connection, conversation, frame).await {
            Ok(Said::Answer(answer)) => Ok(answer),
            Ok(Said::Done(who, answer)) => {
                tell(connection, &who);
                connection.session.set_by_token(who.by_token);
                self.who = who;
                self.again = None;
                self.begin_lifetime();
                Ok(answer)
            }
            Ok(Said::Refused(refusal)) => {
                refuse(connection, &refusal).await;
                Err((refusal.answer, Close::NotLoggedIn))
            }
            Err(close) => Err((None, close)),
        }
    }
}
