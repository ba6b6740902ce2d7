//! Log-ins where nobody asks for them, and the users that could.

use bytes::Bytes;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use protocol_shim::ErrorCode;

use crate::Case;
use crate::support::string;

const ILLEGAL: i16 = ErrorCode::IllegalSaslState as i16;

pub async fn sasl_handshake(case: &mut Case) {
    let request = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
    let response = case.client.call(case.version, request).await;
    assert_eq!(
        (response.error_code, response.mechanisms.len()),
        (ILLEGAL, 0)
    );
}

pub async fn sasl_authenticate(case: &mut Case) {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(b"\0a\0b"));
    let response = case.client.call(case.version, request).await;
    assert_eq!(response.error_code, ILLEGAL);
    assert_eq!(
        response.error_message.as_deref(),
        Some("SaslAuthenticate request received after successful authentication")
    );
}

pub async fn alter_user_scram_credentials(case: &mut Case) {
    let upsertion = |name: &'static str, iterations| {
        ScramCredentialUpsertion::default()
            .with_name(string(name))
            .with_mechanism(2)
            .with_iterations(iterations)
            .with_salt(Bytes::from_static(b"salt"))
            .with_salted_password(Bytes::from_static(b"salted"))
    };
    let deletion = |name: &'static str| {
        ScramCredentialDeletion::default()
            .with_name(string(name))
            .with_mechanism(2)
    };
    for (deletions, upsertions, expected) in [
        (
            vec![],
            vec![upsertion("ann", 4096), upsertion("bob", 1)],
            vec![("ann", 0), ("bob", 93)],
        ),
        (
            vec![deletion("ann")],
            vec![upsertion("ann", 8192)],
            vec![("ann", 92)],
        ),
        (vec![], vec![], vec![]),
    ] {
        let request = AlterUserScramCredentialsRequest::default()
            .with_deletions(deletions)
            .with_upsertions(upsertions);
        let response = case.client.call(case.version, request).await;
        let results = response.results.iter();
        let results: Vec<_> = results
            .map(|result| (result.user.as_str(), result.error_code))
            .collect();
        assert_eq!(results, expected);
    }
    let described = DescribeUserScramCredentialsRequest::default();
    let described = case.client.call(0, described).await;
    let infos = described.results.iter().map(|result| {
        let infos = result.credential_infos.iter();
        let infos = infos.map(|info| (info.mechanism, info.iterations));
        (result.user.as_str(), infos.collect::<Vec<_>>())
    });
    assert_eq!(infos.collect::<Vec<_>>(), [("ann", vec![(2, 4096)])]);
    let request = AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion("ann")]);
    let response = case.client.call(case.version, request).await;
    assert_eq!(response.results[0].error_code, 0);
    assert_eq!(response.results[0].error_message, None);
}
