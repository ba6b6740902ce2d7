//! A broker that counts what is not there, in every answer that a command reads. To believe it would end the process.

use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable as _, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// At how many places of an answer there is a lie. No answer has its last count behind them, where the others are 0.
const PLACES: usize = 64;
/// The largest counts there are: of 32 bits, of 16, compact.
const LIES: [&[u8]; 3] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
];

/// Says that it serves every API, and answers each request with what `body` gives for it.
async fn serve(mut stream: TcpStream, body: impl Fn(u64) -> Vec<u8>) -> std::io::Result<()> {
    let mut answered = 0;
    loop {
        let length = stream.read_i32().await?;
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await?;
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let (key, version) = (ApiKey::try_from(number(0)).unwrap(), number(2));
        let mut answer = BytesMut::from(&frame[4..8]);
        if key == ApiKey::ApiVersions {
            versions().encode(&mut answer, version).unwrap();
        } else {
            if key.response_header_version(version) > 0 {
                answer.put_u8(0);
            }
            answer.extend(body(answered));
            answered += 1;
        }
        // In one piece: the second of two would wait until the first is confirmed.
        let length = (answer.len() as i32).to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat()).await?;
    }
}

fn versions() -> ApiVersionsResponse {
    let keys = ApiKey::iter().map(|key| {
        let versions = key.valid_versions();
        api_versions_response::ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(versions.min)
            .with_max_version(versions.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// Zeros up to a place, then a lie, then what many elements could begin with.
fn lie(answered: u64) -> Vec<u8> {
    let at = answered as usize;
    let mut body = vec![0; at / LIES.len() % PLACES];
    body.extend(LIES[at % LIES.len()]);
    body.extend([1; 32]);
    body
}

async fn hears_lies<R: Request + Default>() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move { serve(listener.accept().await?.0, lie).await });
    let patience = Duration::from_secs(60);
    let opened = Connection::open(&address, &Security::default(), patience).await;
    let mut connection = opened.unwrap_or_else(|failure| panic!("{}", failure.text()));
    for _ in 0..PLACES * LIES.len() {
        // Some lies are the value of a field, and the answer is whole.
        if let Err(failure) = connection.call(R::default()).await {
            let text = failure.text();
            assert!(text.contains("an answer that is none"), "{text}");
        }
    }
    serving.abort();
}

#[tokio::test]
async fn a_broker_that_counts_what_is_not_there_ends_no_command() {
    macro_rules! hear {
        ($($request:ident)*) => {$( hears_lies::<$request>().await; )*};
    }
    hear! {
        MetadataRequest FindCoordinatorRequest ListOffsetsRequest ProduceRequest FetchRequest
        OffsetCommitRequest OffsetFetchRequest OffsetDeleteRequest
        JoinGroupRequest SyncGroupRequest HeartbeatRequest LeaveGroupRequest
        ListGroupsRequest DescribeGroupsRequest ConsumerGroupDescribeRequest DeleteGroupsRequest
        CreateTopicsRequest DeleteTopicsRequest CreatePartitionsRequest DeleteRecordsRequest
        DescribeConfigsRequest IncrementalAlterConfigsRequest
        DescribeAclsRequest CreateAclsRequest DeleteAclsRequest
        DescribeUserScramCredentialsRequest AlterUserScramCredentialsRequest
        DescribeClientQuotasRequest AlterClientQuotasRequest
        SaslHandshakeRequest SaslAuthenticateRequest AddPartitionsToTxnRequest
    }
}

#[tokio::test]
async fn a_broker_that_lies_from_its_first_answer_on_is_none() {
    for lie in LIES {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let length = stream.read_i32().await?;
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).await?;
            // The correlation id, no error, and a count.
            let answer = [&frame[4..8], &[0, 0], lie].concat();
            stream.write_i32(answer.len() as i32).await?;
            stream.write_all(&answer).await
        });
        let security = Security::default();
        let opened = Connection::open(&address, &security, Duration::from_secs(60));
        let failure = opened.await.err().expect("it is no broker");
        assert!(failure.text().contains("an answer that is none"));
    }
}
