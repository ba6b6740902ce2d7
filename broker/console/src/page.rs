//! What is shown: aligned columns for people, JSON on request.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Map, Value};

/// Rows under column names; the names are the keys in JSON.
pub(crate) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Value; N]) {
        self.rows.push(cells.into());
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row.iter().cloned()).collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn text(&self) -> String {
        let heads = self.columns.iter().map(|name| heading(name)).collect();
        let cells = self.rows.iter().map(|row| row.iter().map(cell).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| {
                let missing = width - cell.chars().count();
                format!("{cell}{}", " ".repeat(missing + 2))
            });
            text.push_str(padded.collect::<String>().trim_end());
            text.push('\n');
        }
        text
    }
}

/// `error_code` is ERROR CODE.
fn heading(column: &str) -> String {
    column.to_uppercase().replace('_', " ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text of a broker without anything that a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => plain.extend(character.escape_default()),
            false => plain.push(character),
        }
    }
    plain
}

/// How pages are shown.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// One table: rows, or in JSON an array.
    pub(crate) fn table(self, table: &Table) {
        match self.json {
            true => line(&format!("{:#}", table.json())),
            false => print(table.text().as_bytes()),
        }
    }

    /// Several tables that have names: one after the other, or in JSON an object.
    pub(crate) fn tables(self, tables: &[(&str, &Table)]) {
        if self.json {
            let members = tables
                .iter()
                .map(|(name, table)| ((*name).to_owned(), table.json()));
            return line(&format!("{:#}", Value::Object(members.collect())));
        }
        let filled = tables.iter().filter(|(_, table)| !table.rows.is_empty());
        let texts: Vec<String> = filled.map(|(_, table)| table.text()).collect();
        print(texts.join("\n").as_bytes());
    }
}

/// What is written does not come between the lines of a terminal.
pub(crate) fn stdout_is_elsewhere() -> bool {
    !std::io::stdout().is_terminal()
}

pub(crate) fn line(text: &str) {
    print(format!("{text}\n").as_bytes());
}

/// Writes to stdout. Whoever has closed it wants no more: that ends the command, in order.
pub(crate) fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["name", "is_internal", "replicas"]);
        table.row([json!("a"), json!(false), json!([1, 2])]);
        table.row([json!("longer\x1b[2J"), json!(null), json!([])]);
        table
    }

    #[test]
    fn columns_are_aligned_and_obey_no_terminal() {
        assert_eq!(
            table().text(),
            "NAME             IS INTERNAL  REPLICAS\n\
             a                false        1,2\n\
             longer\\u{1b}[2J  -            -\n"
        );
    }

    #[test]
    fn json_has_the_columns_as_keys() {
        assert_eq!(
            table().json()[0],
            json!({"name": "a", "is_internal": false, "replicas": [1, 2]})
        );
    }
}
