use kafka_protocol::messages::ApiKey;

use super::*;

#[test]
fn no_key_occurs_twice_and_every_key_is_found() {
    for api in API_SPECS {
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
fn names_and_ranges_lie_within_those_of_the_crate() {
    for api in API_SPECS {
        let theirs = ApiKey::try_from(api.api_key).unwrap();
        assert_eq!(format!("{theirs:?}"), api.name);
        let range = theirs.valid_versions();
        assert!(
            range.min <= api.min_version && api.max_version <= range.max,
            "{}",
            api.name
        );
        assert!(api.min_version <= api.max_version);
    }
}

#[test]
fn header_versions_are_those_of_the_crate() {
    for api in API_SPECS {
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
fn only_produce_announces_versions_that_it_does_not_serve() {
    for api in API_SPECS {
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
fn apis_are_announced_in_the_order_of_their_keys_and_only_when_served() {
    let keys: Vec<i16> = advertised().map(|api| api.api_key).collect();
    assert!(keys.is_sorted());
    assert_eq!(
        keys.len(),
        API_SPECS.iter().filter(|api| api.served).count()
    );
    assert!(keys.contains(&API_VERSIONS) && keys.contains(&FETCH));
}

#[test]
fn what_is_not_announced_is_not_accepted() {
    assert_eq!(served(0, 3).unwrap().name, "Produce");
    let too_old = Unsupported::Version {
        name: "Produce",
        version: 2,
        min: 3,
        max: 13,
    };
    assert_eq!(served(0, 2).unwrap_err(), too_old);
    assert_eq!(
        served(26, 0).unwrap_err(),
        Unsupported::Api { api_key: 26 },
        "EndTxn"
    );
    assert_eq!(served(4, 0).unwrap_err(), Unsupported::Api { api_key: 4 });
}

#[test]
fn who_is_merely_connected_may_ask_these_and_no_others() {
    let open = API_SPECS.iter().filter(|spec| spec.access == Access::Open);
    let names: Vec<&str> = open.map(|spec| spec.name).collect();
    assert_eq!(
        names,
        [
            "ApiVersions",
            "DescribeCluster",
            "GetTelemetrySubscriptions",
            "PushTelemetry",
            "SaslHandshake",
            "SaslAuthenticate",
        ]
    );
}
