//! From a connection that somebody has made to one that is encrypted, and whose client may have shown a certificate.

use std::io;
use std::time::Duration;

use rustls::{
    AlertDescription, CertificateError, Error as TlsFailure, InvalidMessage, PeerIncompatible,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::parse_x509_certificate;

use super::distinguished_name::rfc2253;
use super::listeners::{Current, TlsListener};
use crate::config::SecurityProtocol;
use crate::net::session::Principal;

/// How long a client may take over its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that is refused may take to read why.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// What such a client may still send meanwhile.
const FAREWELL_BYTES: u64 = 64 << 10;

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHandshake {
    #[error("what the client sends is not TLS{0}")]
    NotTls(String),
    #[error("the client did not finish the TLS handshake within {HANDSHAKE_TIMEOUT:?}")]
    TooSlow,
    #[error("the client and the broker have nothing in common: {0}")]
    NothingInCommon(String),
    #[error("the client's certificate is refused: {0}")]
    Certificate(String),
    #[error("the client shows no certificate, and ssl.client.auth=required")]
    NoCertificate,
    #[error("no rule of ssl.principal.mapping.rules is for the client's name {0}")]
    NoRule(String),
    #[error(
        "the client does not accept the broker's certificate ({0}): does it trust who issued it?"
    )]
    NotTrusted(String),
    #[error("the TLS handshake failed: {0}")]
    Failed(TlsFailure),
    #[error("the client left during the TLS handshake: {0}")]
    Left(io::Error),
}

/// Encrypts a connection, and says who its client is by its certificate.
pub(crate) async fn shake_hands(
    tls: &TlsListener,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Principal), NoHandshake> {
    let within = timeout(HANDSHAKE_TIMEOUT, accept(tls, stream)).await;
    within.map_err(|_| NoHandshake::TooSlow)?
}

async fn accept(
    tls: &TlsListener,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Principal), NoHandshake> {
    check_first_bytes(tls.security_protocol(), &stream).await?;
    let current = tls.current();
    let acceptor = TlsAcceptor::from(current.config.clone());
    let handshake = acceptor.accept(stream).into_fallible();
    let accepted = tls.turns.run(handshake).await;
    let accepted = accepted.map_err(|error| NoHandshake::Left(io::Error::other(error)))?;
    let encrypted = match accepted {
        Ok(encrypted) => encrypted,
        Err((error, stream)) => {
            bid_farewell(stream).await;
            return Err(reason(error));
        }
    };
    let principal = principal(&current, &encrypted)?;
    Ok((encrypted, principal))
}

/// Reads nothing, but looks whether a handshake has come: what answers a client that speaks something else are bytes that
/// it takes for the length of a response.
async fn check_first_bytes(
    protocol: SecurityProtocol,
    stream: &TcpStream,
) -> Result<(), NoHandshake> {
    let mut first = [0; 4];
    let count = stream.peek(&mut first).await.map_err(NoHandshake::Left)?;
    let name = protocol.name();
    let hint = match first.get(..count).unwrap_or_default() {
        // A record of type handshake, or nothing at all.
        [0x16, ..] | [] => return Ok(()),
        // The length of a request below 16 MiB.
        [0, ..] => format!(
            "; this looks like Kafka's protocol, and the listener is {name}: the client needs security.protocol={name}"
        ),
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"PRI " => {
            "; this looks like HTTP, and the port speaks Kafka's protocol over TLS".to_owned()
        }
        _ => String::new(),
    };
    Err(NoHandshake::NotTls(hint))
}

/// Waits until the client has read why it is refused. A connection that is closed while bytes of the client are unread is
/// reset, and the client may see no more than that.
async fn bid_farewell(mut stream: TcpStream) {
    let leave = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout(FAREWELL_TIMEOUT, leave).await;
}

/// Who a client is by the certificate that it has shown.
fn principal(
    current: &Current,
    encrypted: &TlsStream<TcpStream>,
) -> Result<Principal, NoHandshake> {
    let (_, connection) = encrypted.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default();
    let Some(certificate) = certificates.first().filter(|_| current.asks_clients()) else {
        return Ok(Principal::anonymous());
    };
    let (_, certificate) = parse_x509_certificate(certificate)
        .map_err(|error| NoHandshake::Certificate(error.to_string()))?;
    let name = rfc2253(certificate.subject());
    let mapped = current.settings.mapping_rules.apply(&name);
    let name = mapped.ok_or(NoHandshake::NoRule(name))?;
    Ok(Principal {
        kind: "User".into(),
        name: name.into(),
    })
}

/// What there is to say about a handshake that failed.
fn reason(error: io::Error) -> NoHandshake {
    let failure = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsFailure>());
    let Some(failure) = failure else {
        return NoHandshake::Left(error);
    };
    match failure {
        TlsFailure::NoCertificatesPresented => NoHandshake::NoCertificate,
        TlsFailure::InvalidCertificate(why) => NoHandshake::Certificate(certificate_fault(why)),
        TlsFailure::PeerIncompatible(what) => NoHandshake::NothingInCommon(incompatible(what)),
        TlsFailure::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate),
        ) => NoHandshake::NotTrusted(format!("{alert:?}")),
        TlsFailure::InvalidMessage(InvalidMessage::InvalidContentType) => {
            NoHandshake::NotTls(String::new())
        }
        other => NoHandshake::Failed(other.clone()),
    }
}

fn certificate_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => "nobody in the truststore has issued it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        other => other.to_string(),
    }
}

fn incompatible(what: &PeerIncompatible) -> String {
    match what {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite".to_owned(),
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => {
            "no version of TLS (ssl.enabled.protocols)".to_owned()
        }
        PeerIncompatible::NoKxGroupsInCommon => "no group of keys".to_owned(),
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "no signature for the broker's kind of certificate".to_owned()
        }
        other => format!("{other:?}"),
    }
}
