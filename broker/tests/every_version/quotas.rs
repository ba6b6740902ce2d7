//! Quotas of clients (KIP-546).

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use protocol_shim::ErrorCode;

use super::Case;
use super::support::string;

const INVALID: i16 = ErrorCode::InvalidRequest as i16;

type Entity = &'static [(&'static str, Option<&'static str>)];

fn entry(entity: Entity, ops: &[(&'static str, Option<f64>)]) -> EntryData {
    let parts = entity.iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(string(kind))
            .with_entity_name(name.map(string))
    });
    let ops = ops.iter().map(|(key, value)| {
        OpData::default()
            .with_key(string(key))
            .with_value(value.unwrap_or_default())
            .with_remove(value.is_none())
    });
    EntryData::default()
        .with_entity(parts.collect())
        .with_ops(ops.collect())
}

/// The errors of the entries, in their order.
async fn alter(case: &mut Case, entries: Vec<EntryData>) -> Vec<i16> {
    let request = AlterClientQuotasRequest::default().with_entries(entries);
    let response = case.client.call(case.version, request).await;
    let entries = response.entries.iter();
    entries
        .map(|entry| {
            let has_message = entry.error_message.is_some();
            assert_eq!(has_message, entry.error_code != 0, "{entry:?}");
            entry.error_code
        })
        .collect()
}

/// What is told of some components, a word for each quota: `user=ann producer_byte_rate=5`.
async fn describe(
    case: &mut Case,
    components: &[(&'static str, i8, Option<&'static str>)],
    strict: bool,
) -> Result<Vec<String>, i16> {
    let components = components.iter().map(|(kind, match_type, name)| {
        ComponentData::default()
            .with_entity_type(string(kind))
            .with_match_type(*match_type)
            .with_match(name.map(string))
    });
    let request = DescribeClientQuotasRequest::default()
        .with_components(components.collect())
        .with_strict(strict);
    let response = case.client.call(case.version, request).await;
    let Some(entries) = response.entries else {
        assert!(response.error_message.is_some());
        return Err(response.error_code);
    };
    assert_eq!(response.error_code, 0);
    let mut told = Vec::new();
    for entry in entries {
        let parts = entry.entity.iter().map(|part| {
            let name = part.entity_name.as_ref().map_or("*", |name| name.as_str());
            format!("{}={name}", part.entity_type.as_str())
        });
        let whom = parts.collect::<Vec<_>>().join(" ");
        for value in entry.values {
            told.push(format!("{whom} {}={}", value.key.as_str(), value.value));
        }
    }
    Ok(told)
}

const ANN: Entity = &[("user", Some("ann"))];
const ANYBODY: Entity = &[("user", None)];
const ANNS_APP: Entity = &[("user", Some("ann")), ("client-id", Some("app"))];
const ANYBODYS_APP: Entity = &[("client-id", Some("app")), ("user", None)];
const ANY_APP: Entity = &[("client-id", None)];
const HOME: Entity = &[("ip", Some("127.0.0.1"))];
const ANYWHERE: Entity = &[("ip", None)];

pub async fn describe_quotas(case: &mut Case) {
    assert_eq!(describe(case, &[], false).await, Ok(vec![]));
    let rate = [("producer_byte_rate", Some(5.0))];
    for (entity, ops) in [
        (ANN, &rate[..]),
        (
            ANYBODY,
            &[
                ("request_percentage", Some(0.5)),
                ("consumer_byte_rate", Some(7.0)),
            ],
        ),
        (ANNS_APP, &rate),
        (ANYBODYS_APP, &rate),
        (ANY_APP, &rate),
        (HOME, &[("connection_creation_rate", Some(9.0))]),
        (ANYWHERE, &[("connection_creation_rate", Some(10.0))]),
    ] {
        // Both APIs have the same versions.
        assert_eq!(alter(case, vec![entry(entity, ops)]).await, [0]);
    }
    let ann = "user=ann producer_byte_rate=5";
    let anns_app = "user=ann client-id=app producer_byte_rate=5";
    let anybodys_app = "user=* client-id=app producer_byte_rate=5";
    let anybody = [
        "user=* consumer_byte_rate=7",
        "user=* request_percentage=0.5",
    ];
    for (components, strict, expected) in [
        (&[("user", 0, Some("ann"))][..], false, vec![ann, anns_app]),
        (&[("user", 0, Some("ann"))], true, vec![ann]),
        (&[("user", 0, Some("bob"))], false, vec![]),
        (&[("user", 1, None)], true, anybody.to_vec()),
        (
            &[("user", 2, None), ("client-id", 2, None)],
            true,
            vec![anybodys_app, anns_app],
        ),
        (
            &[("user", 1, None), ("client-id", 0, Some("app"))],
            false,
            vec![anybodys_app],
        ),
        (
            &[("client-id", 1, None)],
            false,
            vec!["client-id=* producer_byte_rate=5"],
        ),
        (
            &[("ip", 2, None)],
            false,
            vec![
                "ip=* connection_creation_rate=10",
                "ip=127.0.0.1 connection_creation_rate=9",
            ],
        ),
        (&[], true, vec![]),
    ] {
        let told = describe(case, components, strict).await;
        assert_eq!(
            told,
            Ok(expected.iter().map(|line| (*line).to_owned()).collect()),
            "{components:?}"
        );
    }
    assert_eq!(describe(case, &[], false).await.map(|all| all.len()), Ok(8));
    let unsupported = ErrorCode::UnsupportedVersion as i16;
    for (components, error) in [
        (&[("", 2, None)][..], INVALID),
        (&[("planet", 2, None)], unsupported),
        (&[("user", 2, None), ("user", 1, None)], INVALID),
        (&[("user", 0, None)], INVALID),
        (&[("user", 1, Some("ann"))], INVALID),
        (&[("user", 2, Some("ann"))], INVALID),
        (&[("user", 3, None)], INVALID),
        (&[("user", 2, None), ("ip", 2, None)], INVALID),
    ] {
        assert_eq!(
            describe(case, components, false).await,
            Err(error),
            "{components:?}"
        );
    }
}

pub async fn alter_quotas(case: &mut Case) {
    let rate = [("producer_byte_rate", Some(5.0))];
    for (entity, ops, error) in [
        (ANN, &rate[..], 0),
        (ANN, &[("producer_byte_rate", None)], 0),
        (ANN, &[("consumer_byte_rate", None), ("no_such", None)], 0),
        (ANN, &[], 0),
        (&[], &rate, INVALID),
        (&[("planet", Some("x"))], &rate, INVALID),
        (&[("user", Some(""))], &rate, INVALID),
        (&[("user", None), ("ip", None)], &rate, INVALID),
        (
            &[("ip", Some("no address"))],
            &[("connection_creation_rate", Some(1.0))],
            INVALID,
        ),
        (HOME, &rate, INVALID),
        (
            HOME,
            &[("connection_creation_rate", Some(2_147_483_648.0))],
            INVALID,
        ),
        (ANN, &[("connection_creation_rate", Some(1.0))], INVALID),
        (ANN, &[("no_such", Some(1.0))], INVALID),
        (ANN, &[("producer_byte_rate", Some(0.0))], INVALID),
        (ANN, &[("producer_byte_rate", Some(-1.0))], INVALID),
        (ANN, &[("producer_byte_rate", Some(f64::NAN))], INVALID),
        (ANN, &[("producer_byte_rate", Some(1.5))], INVALID),
        (ANN, &[("producer_byte_rate", Some(1e19))], INVALID),
        (ANN, &[("request_percentage", Some(0.01))], 0),
        // One that is wrong keeps the others out.
        (
            ANN,
            &[("consumer_byte_rate", Some(3.0)), ("no_such", Some(1.0))],
            INVALID,
        ),
        (
            ANN,
            &[
                ("consumer_byte_rate", Some(3.0)),
                ("consumer_byte_rate", Some(4.0)),
            ],
            INVALID,
        ),
    ] {
        let altered = alter(case, vec![entry(entity, ops)]).await;
        assert_eq!(altered, [error], "{entity:?} {ops:?}");
    }
    // Of an entity that is named again the first mention counts, and it is answered once, with the error of the others.
    let twice = vec![
        entry(ANNS_APP, &rate),
        entry(ANYBODY, &rate),
        entry(ANNS_APP, &[("producer_byte_rate", Some(6.0))]),
    ];
    assert_eq!(alter(case, twice).await, [INVALID, 0]);
    let validate = AlterClientQuotasRequest::default()
        .with_entries(vec![entry(
            HOME,
            &[("connection_creation_rate", Some(1.0))],
        )])
        .with_validate_only(true);
    let validated = case.client.call(case.version, validate).await;
    assert_eq!(validated.entries[0].error_code, 0);
    let mut expected = [
        "user=* producer_byte_rate=5",
        "user=ann request_percentage=0.01",
        "user=ann client-id=app producer_byte_rate=5",
    ];
    expected.sort_unstable();
    let mut told = describe(case, &[], false).await.unwrap();
    told.sort_unstable();
    assert_eq!(told, expected);
}
