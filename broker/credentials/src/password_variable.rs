//! Where a password may stand that must not be an argument.

/// The environment variable that may hold a user's password: `OTTLA_PASSWORD_ALICE`. Every command that wants one looks there.
pub fn password_variable(user: &str) -> String {
    let letter = |char: char| match char.is_ascii_alphanumeric() {
        true => char.to_ascii_uppercase(),
        false => '_',
    };
    let name: String = user.chars().map(letter).collect();
    format!("OTTLA_PASSWORD_{name}")
}
