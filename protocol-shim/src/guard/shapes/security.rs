//! Authentication, ACLs, delegation tokens, quotas and SCRAM credentials.

use crate::guard::field::*;

/// SaslHandshake (17), versions 0-1.
pub(crate) const SASL_HANDSHAKE: Shape = &[string("mechanism")];

/// DescribeAcls (29), versions 1-3.
pub(crate) const DESCRIBE_ACLS: Shape = &[
    int8("resource_type_filter"),
    string("resource_name_filter").nullable(),
    int8("pattern_type_filter"),
    string("principal_filter").nullable(),
    string("host_filter").nullable(),
    int8("operation"),
    int8("permission_type"),
];

/// CreateAcls (30), versions 1-3.
pub(crate) const CREATE_ACLS: Shape = &[array("creations").of(&[
    int8("resource_type"),
    string("resource_name"),
    int8("resource_pattern_type"),
    string("principal"),
    string("host"),
    int8("operation"),
    int8("permission_type"),
])];

/// DeleteAcls (31), versions 1-3.
pub(crate) const DELETE_ACLS: Shape = &[array("filters").of(&[
    int8("resource_type_filter"),
    string("resource_name_filter").nullable(),
    int8("pattern_type_filter"),
    string("principal_filter").nullable(),
    string("host_filter").nullable(),
    int8("operation"),
    int8("permission_type"),
])];

/// SaslAuthenticate (36), versions 0-2.
pub(crate) const SASL_AUTHENTICATE: Shape = &[bytes("auth_bytes")];

/// CreateDelegationToken (38), versions 1-3.
pub(crate) const CREATE_DELEGATION_TOKEN: Shape = &[
    string("owner_principal_type").since(3).nullable(),
    string("owner_principal_name").since(3).nullable(),
    array("renewers").of(&[string("principal_type"), string("principal_name")]),
    int64("max_lifetime_ms"),
];

/// RenewDelegationToken (39), versions 1-2.
pub(crate) const RENEW_DELEGATION_TOKEN: Shape = &[bytes("hmac"), int64("renew_period_ms")];

/// ExpireDelegationToken (40), versions 1-2.
pub(crate) const EXPIRE_DELEGATION_TOKEN: Shape = &[bytes("hmac"), int64("expiry_time_period_ms")];

/// DescribeDelegationToken (41), versions 1-3.
pub(crate) const DESCRIBE_DELEGATION_TOKEN: Shape = &[array("owners")
    .nullable()
    .of(&[string("principal_type"), string("principal_name")])];

/// DescribeClientQuotas (48), versions 0-1.
pub(crate) const DESCRIBE_CLIENT_QUOTAS: Shape = &[
    array("components").of(&[
        string("entity_type"),
        int8("match_type"),
        string("match").nullable(),
    ]),
    boolean("strict"),
];

/// AlterClientQuotas (49), versions 0-1.
pub(crate) const ALTER_CLIENT_QUOTAS: Shape = &[
    array("entries").of(&[
        array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
        array("ops").of(&[string("key"), float64("value"), boolean("remove")]),
    ]),
    boolean("validate_only"),
];

/// DescribeUserScramCredentials (50), versions 0-0.
pub(crate) const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape =
    &[array("users").nullable().of(&[string("name")])];

/// AlterUserScramCredentials (51), versions 0-0.
pub(crate) const ALTER_USER_SCRAM_CREDENTIALS: Shape = &[
    array("deletions").of(&[string("name"), int8("mechanism")]),
    array("upsertions").of(&[
        string("name"),
        int8("mechanism"),
        int32("iterations"),
        bytes("salt"),
        bytes("salted_password"),
    ]),
];
