//! Authentication, ACLs, delegation tokens, quotas and SCRAM credentials.

use super::{ApiSpec, api};
use crate::access::Access::{Named, OnCluster, Open};
use crate::access::Operation::{Alter, AlterConfigs, Describe, DescribeConfigs};
use crate::api_spec::ApiClass::Security;
use crate::api_spec::NEVER;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(17, "SaslHandshake", (0, 1), NEVER, Security, Open).body(&[string("mechanism")]),
    api(29, "DescribeAcls", (1, 3), 2, Security, OnCluster(Describe)).body(&[
        int8("resource_type_filter"),
        string("resource_name_filter").nullable(),
        int8("pattern_type_filter"),
        string("principal_filter").nullable(),
        string("host_filter").nullable(),
        int8("operation"),
        int8("permission_type"),
    ]),
    api(30, "CreateAcls", (1, 3), 2, Security, OnCluster(Alter)).body(&[array("creations").of(&[
        int8("resource_type"),
        string("resource_name"),
        int8("resource_pattern_type"),
        string("principal"),
        string("host"),
        int8("operation"),
        int8("permission_type"),
    ])]),
    api(31, "DeleteAcls", (1, 3), 2, Security, OnCluster(Alter)).body(&[array("filters").of(&[
        int8("resource_type_filter"),
        string("resource_name_filter").nullable(),
        int8("pattern_type_filter"),
        string("principal_filter").nullable(),
        string("host_filter").nullable(),
        int8("operation"),
        int8("permission_type"),
    ])]),
    api(36, "SaslAuthenticate", (0, 2), 2, Security, Open).body(&[bytes("auth_bytes")]),
    api(38, "CreateDelegationToken", (1, 3), 2, Security, Named).body(&[
        string("owner_principal_type").since(3).nullable(),
        string("owner_principal_name").since(3).nullable(),
        array("renewers").of(&[string("principal_type"), string("principal_name")]),
        int64("max_lifetime_ms"),
    ]),
    api(39, "RenewDelegationToken", (1, 2), 2, Security, Named).body(&[bytes("hmac"), int64("renew_period_ms")]),
    api(40, "ExpireDelegationToken", (1, 2), 2, Security, Named).body(&[bytes("hmac"), int64("expiry_time_period_ms")]),
    api(41, "DescribeDelegationToken", (1, 3), 2, Security, Named).body(&[array("owners")
        .nullable()
        .of(&[string("principal_type"), string("principal_name")])]),
    api(48, "DescribeClientQuotas", (0, 1), 1, Security, OnCluster(DescribeConfigs)).body(&[
        array("components").of(&[
            string("entity_type"),
            int8("match_type"),
            string("match").nullable(),
        ]),
        boolean("strict"),
    ]),
    api(49, "AlterClientQuotas", (0, 1), 1, Security, OnCluster(AlterConfigs)).body(&[
        array("entries").of(&[
            array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
            array("ops").of(&[string("key"), float64("value"), boolean("remove")]),
        ]),
        boolean("validate_only"),
    ]),
    api(50, "DescribeUserScramCredentials", (0, 0), 0, Security, OnCluster(Describe)).body(&[array("users").nullable().of(&[string("name")])]),
    api(51, "AlterUserScramCredentials", (0, 0), 0, Security, OnCluster(Alter)).body(&[
        array("deletions").of(&[string("name"), int8("mechanism")]),
        array("upsertions").of(&[
            string("name"),
            int8("mechanism"),
            int32("iterations"),
            bytes("salt"),
            bytes("salted_password"),
        ]),
    ]),
];
