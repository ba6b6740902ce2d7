//! ApiVersions (key 18), versions 0-5.

use super::prelude::*;

structure! {
    ApiVersionsRequest {
        client_software_name / with_client_software_name: StrBytes [3.., ignorable];
        client_software_version / with_client_software_version: StrBytes [3.., ignorable];
        cluster_id / with_cluster_id: Option<StrBytes> [5.., ignorable];
        node_id / with_node_id: i32 [5.., ignorable] = -1;
    }
}

request!(18, ApiVersionsRequest => ApiVersionsResponse);

structure! {
    ApiVersionsResponse {
        error_code / with_error_code: i16 [..];
        api_keys / with_api_keys: Vec<ApiVersion> [..];
        throttle_time_ms / with_throttle_time_ms: i32 [1.., ignorable];
        supported_features / with_supported_features: Vec<SupportedFeatureKey> [3.., ignorable, tag(0)];
        finalized_features_epoch / with_finalized_features_epoch: i64 [3.., ignorable, tag(1)] = -1;
        finalized_features / with_finalized_features: Vec<FinalizedFeatureKey> [3.., ignorable, tag(2)];
        zk_migration_ready / with_zk_migration_ready: bool [3.., ignorable, tag(3)];
    }
}

structure! {
    FinalizedFeatureKey {
        name / with_name: StrBytes [3..];
        max_version_level / with_max_version_level: i16 [3..];
        min_version_level / with_min_version_level: i16 [3..];
    }
}

structure! {
    SupportedFeatureKey {
        name / with_name: StrBytes [3..];
        min_version / with_min_version: i16 [3..];
        max_version / with_max_version: i16 [3..];
    }
}

structure! {
    ApiVersion {
        api_key / with_api_key: i16 [..];
        min_version / with_min_version: i16 [..];
        max_version / with_max_version: i16 [..];
    }
}

response!(18, ApiVersionsResponse);
