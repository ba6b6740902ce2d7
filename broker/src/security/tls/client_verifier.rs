//! Which certificates of clients are accepted.
//!
//! webpki asks for a chain to a certificate authority. Java also takes a certificate that is in the truststore itself, of
//! whatever kind: people put self-signed ones there, which `openssl req -x509` marks as authorities, and ones of X.509
//! version 1. webpki would refuse both.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use x509_parser::asn1_rs::{FromDer as _, Sequence};
use x509_parser::parse_x509_certificate;

/// Accepts what is in a truststore, and what that has issued.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// `None`: no entry of the truststore can issue anything.
    issued: Option<Arc<dyn ClientCertVerifier>>,
    trusted: HashSet<CertificateDer<'static>>,
    hints: Vec<DistinguishedName>,
    is_required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(crate) fn new(
        trusted: Vec<CertificateDer<'static>>,
        is_required: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let hints = trusted.iter().filter_map(|der| {
            let (_, certificate) = parse_x509_certificate(der).ok()?;
            Some(DistinguishedName::from(
                certificate.subject().as_raw().to_vec(),
            ))
        });
        let hints = hints.collect();
        let issued =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Self {
            issued: issued.build().ok(),
            trusted: trusted.into_iter().collect(),
            hints,
            is_required,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trusted.contains(end_entity) {
            check_dates(end_entity, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        match &self.issued {
            Some(issued) => issued.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trusted.contains(cert) {
            true => verify_tls12_signature_of_key(&self.algorithms, message, cert, dss),
            false => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trusted.contains(cert) {
            true => {
                let key = public_key(cert).ok_or(CertificateError::BadEncoding)?;
                verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
            }
            false => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(SubjectPublicKeyInfoDer::from(
        certificate.public_key().raw.to_vec(),
    ))
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, certificate) = parse_x509_certificate(certificate)
        .map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Whether the handshake is signed with the key of a certificate that webpki need not be able to read.
fn verify_tls12_signature_of_key(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = |what: CertificateError| Error::from(what);
    let (_, certificate) =
        parse_x509_certificate(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
    let key = certificate.public_key();
    let algorithm = key_algorithm(key.raw).ok_or_else(|| bad(CertificateError::BadEncoding))?;
    let mut mapping = algorithms.mapping.iter();
    let (_, candidates) = mapping
        .find(|(scheme, _)| *scheme == signed.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // In TLS 1.2 a scheme does not say which curve a key is on.
    let mut candidates = candidates.iter();
    let candidate = candidates
        .find(|candidate| candidate.public_key_alg_id().as_ref() == algorithm)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let verified =
        candidate.verify_signature(&key.subject_public_key.data, message, signed.signature());
    verified.map_err(|_| bad(CertificateError::BadSignature))?;
    Ok(HandshakeSignatureValid::assertion())
}

/// The content of the algorithm in a DER `SubjectPublicKeyInfo`, which is what names an algorithm for webpki.
fn key_algorithm(info: &[u8]) -> Option<&[u8]> {
    let content = |der| -> Option<(&[u8], &[u8])> {
        let (rest, sequence) = Sequence::from_der(der).ok()?;
        match sequence.content {
            std::borrow::Cow::Borrowed(content) => Some((content, rest)),
            std::borrow::Cow::Owned(_) => None,
        }
    };
    Some(content(content(info)?.0)?.0)
}
