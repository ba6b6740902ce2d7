//! What a failure says: whether a statement was applied, and what to do.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::object::database::DatabaseError;

/// What is known of a statement that is a transaction by itself, or of a COMMIT, when it has failed like this.
///
/// Only what the server has answered as an error of this statement was certainly not applied. A session that it ends
/// (severity FATAL) may have committed before.
pub(super) fn of_statement(place: &str, error: &tokio_postgres::Error) -> DatabaseError {
    match error.as_db_error() {
        Some(answer) if is_rolled_back(answer) => of_answer(place, answer),
        _ => DatabaseError::InDoubt(describe(place, error)),
    }
}

/// What is known when nothing was asked for yet that lasts.
pub(super) fn of_preparation(place: &str, error: &tokio_postgres::Error) -> DatabaseError {
    match error.as_db_error() {
        Some(answer) if is_rolled_back(answer) => of_answer(place, answer),
        _ => DatabaseError::Unavailable(describe(place, error)),
    }
}

/// What is known when no session could be had. What is wrong with the login will not pass by itself.
pub(super) fn of_login(place: &str, error: &tokio_postgres::Error) -> DatabaseError {
    let text = describe(place, error);
    let answer = error.as_db_error();
    let lasting = answer.is_some_and(|answer| {
        let code = answer.code();
        code.code().starts_with("28")
            || *code == SqlState::INVALID_CATALOG_NAME
            || *code == SqlState::INSUFFICIENT_PRIVILEGE
    });
    if lasting {
        DatabaseError::Refused(text)
    } else {
        DatabaseError::Unavailable(text)
    }
}

fn is_rolled_back(answer: &DbError) -> bool {
    // Class 08 and 40003 are answers of those who do not know either.
    let code = answer.code().code();
    let unknown = code.starts_with("08") || code == "40003";
    answer.parsed_severity() == Some(Severity::Error) && !unknown
}

fn of_answer(place: &str, answer: &DbError) -> DatabaseError {
    let code = answer.code();
    // 40: locks and serialization. 53: room, memory, connections. 55: locks. 57: an operator, or the statement's timeout.
    let passes = ["40", "53", "55", "57"]
        .iter()
        .any(|class| code.code().starts_with(class))
        // A copy that has not become the primary yet.
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION;
    let text = describe_answer(place, answer);
    if passes {
        DatabaseError::Unavailable(text)
    } else {
        DatabaseError::Refused(text)
    }
}

/// What has gone wrong, where, and what to do about it.
pub(super) fn describe(place: &str, error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        return describe_answer(place, answer);
    }
    let mut text = format!("{place}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    if text.contains("server does not support TLS") {
        text.push_str("; turn it on there (ssl = on), or ask for none with sslmode=disable");
    } else if text.contains("certificate") {
        text.push_str("; name the authority of its certificate with sslrootcert");
    } else if text.contains("refused") || text.contains("lookup") {
        text.push_str("; check host and port, and that the server runs");
    }
    text
}

fn describe_answer(place: &str, answer: &DbError) -> String {
    let code = answer.code();
    let mut text = format!("{place}: {} (SQLSTATE {})", answer.message(), code.code());
    let advice = match code.code() {
        "28P01" | "28000" => {
            "; check user and password in the database URL, and the server's pg_hba.conf"
        }
        "3D000" => "; make it with CREATE DATABASE, with this user as its OWNER",
        "42501" => {
            "; let this user own the database, or give it CREATE on the database and all rights on the schema ottla and its tables"
        }
        "42P07" => "; the schema ottla is another program's: use another database",
        "25006" => "; connect to the primary",
        "53300" => "; raise the server's max_connections: each broker needs up to 20 sessions",
        _ => "",
    };
    text.push_str(advice);
    text
}
