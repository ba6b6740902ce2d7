//! `ottla users`: those with SCRAM credentials.

use std::num::NonZeroU32;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use credentials::password_variable;
use credentials::scram::{MAX_ITERATIONS, MIN_ITERATIONS, ScramMechanism, random_text};
use credentials::secret::Secret;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest,
};
use protocol_shim::ErrorCode;
use serde_json::json;

use crate::cluster::Cluster;
use crate::connection::text;
use crate::failure::{Failure, Result, check, failed, usage};
use crate::page::{Output, Table, line};

/// List, add and remove users who log in with SCRAM
#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// All users, and the mechanisms that each has a password for
    List,
    /// Give a user a password, also in place of another one; it is read from the environment (OTTLA_PASSWORD_NAME), a file or
    /// stdin. On the broker's machine, where nobody can log in: `ottla users add NAME --data-dir DIR`
    Add {
        name: String,
        #[command(flatten)]
        password: Password,
        #[arg(long, value_name = "MECHANISM", default_value = "SCRAM-SHA-512", value_parser = parse_mechanism)]
        mechanism: ScramMechanism,
        /// Rounds of hashing: more are slower for who guesses
        #[arg(long, default_value_t = MIN_ITERATIONS, value_parser = clap::value_parser!(i32).range(i64::from(MIN_ITERATIONS)..=i64::from(MAX_ITERATIONS)))]
        iterations: i32,
    },
    /// Take a user's password away
    Remove {
        name: String,
        /// Of this mechanism alone [default: of all]
        #[arg(long, value_name = "MECHANISM", value_parser = parse_mechanism)]
        mechanism: Option<ScramMechanism>,
    },
}

/// Where the password is.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct Password {
    /// The first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The first line of stdin
    #[arg(long)]
    password_stdin: bool,
}

fn parse_mechanism(text: &str) -> Result<ScramMechanism, String> {
    ScramMechanism::from_name(text)
        .ok_or_else(|| "expected SCRAM-SHA-256 or SCRAM-SHA-512".to_owned())
}

impl Password {
    fn read(&self, name: &str) -> Result<Secret> {
        let read = match (&self.password_file, self.password_stdin) {
            (Some(file), _) => std::fs::read_to_string(file)
                .map_err(|error| failed(format!("--password-file {}: {error}", file.display())))?,
            (None, true) => std::io::read_to_string(std::io::stdin())
                .map_err(|error| failed(format!("--password-stdin: {error}")))?,
            (None, false) => {
                let variable = password_variable(name);
                std::env::var(&variable).map_err(|_| {
                    usage(format!(
                        "there is no password for {name}: set {variable}, or use --password-file FILE or --password-stdin"
                    ))
                })?
            }
        };
        match read.lines().next().filter(|line| !line.is_empty()) {
            Some(password) => Ok(Secret::new(password)),
            None => Err(usage(format!("the password for {name} is empty"))),
        }
    }
}

impl Users {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::List => list(cluster, output).await,
            Self::Add {
                name,
                password,
                mechanism,
                iterations,
            } => {
                let password = password.read(&name)?;
                let salt = random_text();
                let rounds = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
                let salted = mechanism.salted_password(
                    password.expose().as_bytes(),
                    salt.as_bytes(),
                    rounds.unwrap_or(NonZeroU32::MIN),
                );
                let upsertion = ScramCredentialUpsertion::default()
                    .with_name(text(&name))
                    .with_mechanism(mechanism as i8)
                    .with_iterations(iterations)
                    .with_salt(Bytes::from(salt))
                    .with_salted_password(Bytes::from(salted));
                let request =
                    AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion]);
                alter(cluster, "add", request).await?;
                line(&format!("{name} logs in with {}", mechanism.name()));
                Ok(())
            }
            Self::Remove { name, mechanism } => {
                let mechanisms = match mechanism {
                    Some(mechanism) => vec![mechanism as i8],
                    None => mechanisms(cluster, &name).await?,
                };
                let deletion = |mechanism: i8| {
                    ScramCredentialDeletion::default()
                        .with_name(text(&name))
                        .with_mechanism(mechanism)
                };
                // A request may name a user once.
                for mechanism in mechanisms {
                    let request = AlterUserScramCredentialsRequest::default()
                        .with_deletions(vec![deletion(mechanism)]);
                    alter(cluster, "remove", request).await?;
                }
                line(&format!("removed {name}"));
                Ok(())
            }
        }
    }
}

async fn alter(
    cluster: &mut Cluster,
    verb: &str,
    request: AlterUserScramCredentialsRequest,
) -> Result<()> {
    let answer = cluster.any().call(request).await?;
    for result in &answer.results {
        let what = format!("{verb} user {}", result.user.as_str());
        check(&what, result.error_code, result.error_message.as_ref())?;
    }
    Ok(())
}

async fn list(cluster: &mut Cluster, output: Output) -> Result<()> {
    let request = DescribeUserScramCredentialsRequest::default().with_users(None);
    let answer = cluster.any().call(request).await?;
    check(
        "list users",
        answer.error_code,
        answer.error_message.as_ref(),
    )?;
    let mut table = Table::new(&["user", "mechanism", "iterations"]);
    for user in &answer.results {
        let what = format!("user {}", user.user.as_str());
        check(&what, user.error_code, user.error_message.as_ref())?;
        for credential in &user.credential_infos {
            let mechanism = ScramMechanism::from_wire(credential.mechanism);
            table.row([
                json!(user.user.as_str()),
                json!(mechanism.map_or("unknown", ScramMechanism::name)),
                json!(credential.iterations),
            ]);
        }
    }
    output.table(&table);
    Ok(())
}

/// Those that a user has a password for.
async fn mechanisms(cluster: &mut Cluster, name: &str) -> Result<Vec<i8>> {
    use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
    let asked = vec![UserName::default().with_name(text(name))];
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(asked));
    let answer = cluster.any().call(request).await?;
    check(
        "look for the user",
        answer.error_code,
        answer.error_message.as_ref(),
    )?;
    let not_there = || -> Failure {
        failed(format!(
            "{}: there is no user {name} with a SCRAM password: `ottla users list` tells those that are there",
            ErrorCode::ResourceNotFound.name()
        ))
    };
    let user = answer.results.into_iter().next().ok_or_else(not_there)?;
    if user.error_code == ErrorCode::ResourceNotFound as i16 {
        return Err(not_there());
    }
    check(
        &format!("user {name}"),
        user.error_code,
        user.error_message.as_ref(),
    )?;
    Ok(user
        .credential_infos
        .iter()
        .map(|info| info.mechanism)
        .collect())
}
