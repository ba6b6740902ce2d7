//! All bytes that are read before anybody has logged in, and what operators and issuers write about log-ins: valid ones that
//! were tampered with. `storage/tests/fuzzing.rs` does the same for files.
//!
//! `PROPTEST_CASES=1000000 cargo test --release -p ottla --test fuzzing -- --include-ignored` takes hours instead of seconds.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use broker::security::sasl::fuzzing::{jaas, log_in, token};
use broker::security::tls::fuzzing::{mapping, name, slow_store, store};
use proptest::prelude::*;
use proptest::sample::Index;

const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// What damage and malice do to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Truncate(Index),
    Number(Index, i32),
    Repeat(Index, Index),
    Insert(Index, Vec<u8>),
}

fn any_change() -> impl Strategy<Value = Change> {
    let number = proptest::sample::select(vec![0, 1, -1, i32::MAX, i32::MIN]);
    let text = proptest::collection::vec(any::<u8>(), 1..8);
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<Index>().prop_map(Change::Truncate),
        (any::<Index>(), number).prop_map(|(at, number)| Change::Number(at, number)),
        any::<(Index, Index)>().prop_map(|(at, end)| Change::Repeat(at, end)),
        (any::<Index>(), text).prop_map(|(at, text)| Change::Insert(at, text)),
    ]
}

fn changed(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match change {
        Change::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
        Change::Set(at, byte) => bytes[at.index(length)] = *byte,
        Change::Truncate(at) => bytes.truncate(at.index(length)),
        Change::Number(at, number) => {
            let behind = bytes[at.index(length)..].iter_mut();
            behind
                .zip(number.to_be_bytes())
                .for_each(|(byte, new)| *byte = new);
        }
        Change::Repeat(at, end) => {
            let at = at.index(length);
            let part = bytes[at..=at + end.index(length - at)].to_vec();
            bytes.splice(at..at, part);
        }
        Change::Insert(at, text) => {
            let at = at.index(length);
            bytes.splice(at..at, text.iter().copied());
        }
    }
}

/// Some of these, each changed a few times.
fn tampered(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec(any_change(), 0..4);
    (proptest::sample::select(valid), changes).prop_map(|(mut bytes, changes)| {
        changes
            .iter()
            .for_each(|change| changed(&mut bytes, change));
        bytes
    })
}

fn request(key: i16, version: i16, is_flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
    frame.extend([0, 0, 0, 1, 0, 1, b'c']);
    if is_flexible {
        frame.push(0);
    }
    frame.extend(body);
    frame
}

fn handshake(version: i16, mechanism: &str) -> Vec<u8> {
    let length = i16::try_from(mechanism.len()).unwrap().to_be_bytes();
    request(
        SASL_HANDSHAKE,
        version,
        false,
        &[&length, mechanism.as_bytes()].concat(),
    )
}

fn authenticate(version: i16, token: &[u8]) -> Vec<u8> {
    let length = u32::try_from(token.len()).unwrap();
    if version < 2 {
        return request(
            SASL_AUTHENTICATE,
            version,
            false,
            &[&length.to_be_bytes(), token].concat(),
        );
    }
    // A varint of two bytes.
    let length = length + 1;
    let length = [(length & 0x7f | 0x80) as u8, (length >> 7) as u8];
    request(
        SASL_AUTHENTICATE,
        version,
        true,
        &[&length, token, &[0]].concat(),
    )
}

/// A mechanism, the tokens of a log-in with it, and the kinds of conversations that they succeed in.
type LogIn = (&'static str, Vec<Vec<u8>>, &'static [u8]);

/// A log-in with each mechanism.
fn log_ins() -> Vec<LogIn> {
    let part = |json: &str| BASE64.encode(json);
    let unsigned = format!(
        "{}.{}.",
        part(r#"{"alg":"none"}"#),
        part(r#"{"sub":"alice","iat":1699999000,"exp":1800000000,"scope":["read"]}"#)
    );
    let bearer = |token: &str| format!("n,a=alice,\x01auth=Bearer {token}\x01\x01").into_bytes();
    let stars = "*".repeat(26);
    let proof = |bytes| base64::prelude::BASE64_STANDARD.encode(vec![0; bytes]);
    let last = |bytes| format!("c=biws,r=abc{stars},p={}", proof(bytes)).into_bytes();
    vec![
        ("PLAIN", vec![b"\0alice\0alice-secret".to_vec()], &[0, 1, 2]),
        (
            "SCRAM-SHA-256",
            vec![b"n,,n=alice,r=abc".to_vec(), last(32)],
            &[],
        ),
        (
            "SCRAM-SHA-512",
            vec![b"n,a=alice,n=alice,r=abc".to_vec(), last(64)],
            &[],
        ),
        (
            "SCRAM-SHA-512",
            vec![b"n,,n=id,r=abc,tokenauth=true".to_vec(), last(64)],
            &[],
        ),
        ("OAUTHBEARER", vec![bearer(&unsigned), vec![1]], &[1]),
        ("OAUTHBEARER", vec![bearer(&signed_token()), vec![1]], &[]),
    ]
}

/// A whole conversation. Version 0 of the handshake has tokens without a frame of Kafka's around them.
fn conversation(
    kind: u8,
    shaken: i16,
    version: i16,
    mechanism: &str,
    tokens: &[Vec<u8>],
) -> Vec<u8> {
    let mut frames = Vec::new();
    if kind & 2 == 0 {
        let name = b"\x05name\x082.0.0.x\0";
        frames.push(request(API_VERSIONS, 3, true, name));
    }
    frames.push(handshake(shaken, mechanism));
    frames.extend(tokens.iter().map(|token| match shaken {
        0 => token.clone(),
        _ => authenticate(version, token),
    }));
    let mut bytes = vec![kind];
    for frame in frames {
        bytes.extend(u16::try_from(frame.len()).unwrap().to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

fn conversations() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (mechanism, tokens, _) in log_ins() {
        for kind in 0..4 {
            for (shaken, version) in [(0, 0), (1, 0), (1, 1), (1, 2)] {
                all.push(conversation(kind, shaken, version, mechanism, &tokens));
            }
        }
    }
    all
}

/// The keys and the token of RFC 7515, A.3.
fn key_set() -> String {
    r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"c2VjcmV0"}]}"#
        .to_owned()
}

fn signed_token() -> String {
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
     DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        .to_owned()
}

fn tokens() -> Vec<Vec<u8>> {
    let [none, signed] = [BASE64.encode(r#"{"alg":"none"}"#) + ".e30.", signed_token()];
    [none, signed]
        .map(|token| format!("{}\0{token}", key_set()).into_bytes())
        .into()
}

fn jaas_texts() -> Vec<Vec<u8>> {
    let module =
        "org.example.Module required user_alice=\"a\\\"b\" // who\n x='y' /* and */ debug=true;";
    [
        module.to_owned(),
        format!("KafkaServer {{ {module} {module} }};\nlogin.KafkaServer {{ {module} }};"),
    ]
    .map(String::into_bytes)
    .into()
}

fn rules() -> Vec<Vec<u8>> {
    [
        "RULE:^CN=(.*?),OU=(.*?),O=(.*?)$/$1@$2/L,RULE:.*[Cc]n=([\\w.-]{1,9})+?.*/$1\\//U, DEFAULT\0CN=ann,OU=a,O=\u{fc}",
        "DEFAULT\0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/security/tls/fixtures");
    let files = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn stores(is_slow: bool) -> Vec<Vec<u8>> {
    let slow = |name: &str| name.ends_with(".p12") || name == "encrypted-key.pem";
    let files = fixtures().into_iter().filter(|(name, _)| {
        let is_store = name.ends_with(".jks") || name.ends_with(".pem") || slow(name);
        is_store && (is_slow || !slow(name))
    });
    files.map(|(_, bytes)| bytes).collect()
}

fn certificates() -> Vec<Vec<u8>> {
    let files = fixtures()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".pem"));
    let sections = files.flat_map(|(_, text)| pem::parse_many(text).unwrap());
    sections
        .filter(|section| section.tag() == "CERTIFICATE")
        .map(|section| section.into_contents())
        .collect()
}

#[test]
fn what_is_tampered_with_was_valid_before() {
    for (mechanism, tokens, succeeds_in) in log_ins() {
        for kind in 0..4 {
            for (shaken, version) in [(0, 0), (1, 0), (1, 1), (1, 2)] {
                let known = log_in(&conversation(kind, shaken, version, mechanism, &tokens));
                let what = format!("{mechanism}, kind {kind}, versions {shaken} and {version}");
                assert!(known || !succeeds_in.contains(&kind), "{what}");
                assert!(!known || mechanism != "SCRAM-SHA-512", "{what}");
            }
        }
    }
    assert!(!certificates().is_empty());
    assert!(stores(false).len() >= 3 && stores(true).len() > stores(false).len());
}

proptest! {
    #[test]
    fn a_conversation_before_a_log_in_ends_or_is_refused(bytes in tampered(conversations())) {
        log_in(&bytes);
    }

    #[test]
    fn a_jaas_text_is_read_or_refused(bytes in tampered(jaas_texts())) {
        jaas(&bytes);
    }

    #[test]
    fn keys_and_tokens_are_read_or_refused(bytes in tampered(tokens())) {
        token(&bytes);
    }

    #[test]
    fn a_store_is_read_or_refused(bytes in tampered(stores(false))) {
        store(&bytes);
    }

    #[test]
    #[ignore = "a file may ask for as many rounds as it likes: operators have their own"]
    fn an_encrypted_store_is_read_or_refused(bytes in tampered(stores(true))) {
        slow_store(&bytes);
    }

    #[test]
    fn a_certificate_has_a_name_or_is_refused(bytes in tampered(certificates())) {
        name(&bytes);
    }

    #[test]
    fn a_rule_about_names_is_read_or_refused(bytes in tampered(rules())) {
        mapping(&bytes);
    }
}
