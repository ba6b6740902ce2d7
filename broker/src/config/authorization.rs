//! Who may do what, as the settings say it.

use super::broker_row::{BrokerRow, kafka, own};
use super::def::Kind;
use super::error::ConfigError;
use super::section::section;
use super::settings::Settings;

/// The authorizer that there is, by the name of Kafka's.
const STANDARD: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
const CLASS: &str = "authorizer.class.name";
const SUPER_USERS: &str = "super.users";
const ALLOW_EVERYONE: &str = "allow.everyone.if.no.acl.found";
const NO_AUTHORIZER: &str = "without authorizer.class.name everybody could do everything";

section! {
    /// What clients may do.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AuthorizationConfig of BrokerRow {}
    keys {
        /// org.apache.kafka.metadata.authorizer.StandardAuthorizer: clients may do what ACLs allow. Empty: everybody may do
        /// everything.
        is_on: bool = kafka(CLASS) => |class: String| !class.trim().is_empty(),
        /// Who may do everything, whatever ACLs say: principals such as User:admin, separated by semicolons.
        super_users: Vec<String> = own(SUPER_USERS, Kind::String, "").hidden() => principals,
        /// Whether everybody may do what they like to a resource on which nobody has an ACL.
        allows_everyone_without_acls: bool = own(ALLOW_EVERYONE, Kind::Boolean, "false").hidden(),
    }
    also {}
}

fn principals(text: String) -> Vec<String> {
    let items = text.split(';').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Refuses another authorizer than ours, and what only means something to an authorizer where there is none.
pub(super) fn check_authorizer(settings: &Settings) -> Result<(), ConfigError> {
    let class = settings.get(CLASS).unwrap_or_default().trim();
    let super_users = settings.get(SUPER_USERS).unwrap_or_default();
    let allows_everyone = settings.explicit(ALLOW_EVERYONE).unwrap_or_default();
    match class {
        STANDARD => {
            let principals = principals(super_users.to_owned());
            let wrong = principals
                .into_iter()
                .find(|principal| !principal.contains(':'));
            wrong.map_or(Ok(()), |wrong| {
                let expected = format!(
                    "expected principals such as User:admin, separated by semicolons, not {wrong}"
                );
                Err(settings.invalid(SUPER_USERS, expected))
            })
        }
        "" if !super_users.trim().is_empty() => {
            Err(ConfigError::unserved(SUPER_USERS, NO_AUTHORIZER))
        }
        "" if allows_everyone.trim().eq_ignore_ascii_case("false") => {
            Err(ConfigError::unserved(ALLOW_EVERYONE, NO_AUTHORIZER))
        }
        "" => Ok(()),
        _ => {
            let expected =
                format!("there are no plugins, and the one authorizer of ACLs is {STANDARD}");
            Err(settings.invalid(CLASS, expected))
        }
    }
}
