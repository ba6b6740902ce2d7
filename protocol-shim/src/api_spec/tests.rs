use kafka_protocol::messages::ApiKey;

use super::*;
use crate::newer;

#[test]
fn no_key_occurs_twice_and_every_key_is_found() {
    for api in all() {
        assert!(
            std::ptr::eq(spec(api.api_key).unwrap(), api),
            "{}",
            api.name
        );
    }
    for key in [-1, 4, 7, 52, 82, 93, i16::MIN, i16::MAX] {
        assert!(spec(key).is_none(), "{key}");
    }
}

#[test]
fn names_are_those_of_the_crate_and_ranges_those_of_it_and_of_newer() {
    // The crate says 10 of these two, and does not decode it.
    let overstated = ["OffsetCommit", "OffsetFetch"];
    for api in all() {
        let theirs = ApiKey::try_from(api.api_key).unwrap();
        assert_eq!(format!("{theirs:?}"), api.name);
        let range = theirs.valid_versions();
        assert!(range.min <= api.min_version, "{}", api.name);
        assert!(api.min_version <= api.max_version);
        let is_newer = api.max_version > range.max || overstated.contains(&api.name);
        assert_eq!(
            is_newer,
            newer::API_KEYS.contains(&api.api_key),
            "{}",
            api.name
        );
    }
}

#[test]
fn header_versions_are_those_of_the_crate() {
    for api in all() {
        let theirs = ApiKey::try_from(api.api_key).unwrap();
        for version in api.min_version..=api.max_version {
            let place = format!("{} v{version}", api.name);
            let request = theirs.request_header_version(version);
            assert_eq!(api.request_header_version(version), request, "{place}");
            let response = theirs.response_header_version(version);
            assert_eq!(api.response_header_version(version), response, "{place}");
        }
    }
}

#[test]
fn only_produce_announces_versions_that_nobody_serves() {
    for api in all() {
        let gap = api.min_version - api.advertised_min_version;
        assert_eq!(
            gap,
            if api.name == "Produce" { 3 } else { 0 },
            "{}",
            api.name
        );
    }
}

#[test]
fn who_is_merely_connected_may_ask_these_and_no_others() {
    let open = all().filter(|spec| spec.access == Access::Open);
    let names: Vec<&str> = open.map(|spec| spec.name).collect();
    assert_eq!(
        names,
        [
            "SaslHandshake",
            "ApiVersions",
            "SaslAuthenticate",
            "DescribeCluster",
            "GetTelemetrySubscriptions",
            "PushTelemetry",
        ]
    );
}
