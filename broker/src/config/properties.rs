//! Java properties files, as Kafka's `server.properties`.

use std::collections::BTreeMap;
use std::path::Path;

use java_properties::PropertiesIter;

use super::error::ConfigError;

/// Keys and values as they were written; of a repeated key the last one counts.
pub type Properties = BTreeMap<String, String>;

/// Reads a properties file.
///
/// # Errors
/// The file cannot be read, or a line is not in properties syntax.
pub fn read_properties(path: &Path) -> Result<Properties, ConfigError> {
    let file = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse_properties(&file).map_err(|(line, what)| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        what,
    })
}

/// Parses the text of a properties file; the error names the line, from 1, where it is known.
pub(super) fn parse_properties(text: &[u8]) -> Result<Properties, (usize, String)> {
    read_all(PropertiesIter::new(text))
}

/// The same of a text that may be in another encoding than Java's.
pub(super) fn read_all(mut lines: PropertiesIter<&[u8]>) -> Result<Properties, (usize, String)> {
    let mut properties = Properties::new();
    lines
        .read_into(|key, value| {
            // Kafka parses every value trimmed; trailing blanks of a line are never meant.
            properties.insert(key, value.trim().to_owned());
        })
        .map_err(|error| (error.line_number().unwrap_or(0), error.to_string()))?;
    Ok(properties)
}
