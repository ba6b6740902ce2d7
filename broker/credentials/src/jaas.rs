//! `sasl.jaas.config`: one login module with its options, as Kafka's `JaasConfig` reads it; and JAAS files, as Java reads
//! them, whose sections have several.
//!
//! `MODULE FLAG NAME="VALUE" ...;` in the tokens of Java's `StreamTokenizer`: words, quoted texts with escapes, comments.
//! Reading takes one pass over the text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::secret::Secret;

/// A login module and what it is told.
#[derive(Clone, Debug)]
pub struct LoginModule {
    /// The class, with its package.
    pub class: String,
    pub options: BTreeMap<String, Secret>,
}

/// A text that names no module. What it says never tells a value, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JaasError {
    #[error("Login module not specified in JAAS config")]
    NoModule,
    #[error("Login module control flag not specified in JAAS config")]
    NoFlag,
    #[error(
        "Invalid login module control flag in JAAS config: expected required, requisite, sufficient or optional"
    )]
    Flag,
    #[error("Value not specified for key '{0}' in JAAS config")]
    NoValue(String),
    #[error("JAAS config entry not terminated by semi-colon")]
    NotTerminated,
    #[error("JAAS config property contains several login modules, should be 1 module")]
    Several,
    #[error("expected sections as NAME {{ MODULE FLAG OPTIONS; }};")]
    NoSection,
}

impl LoginModule {
    /// Reads the value of `sasl.jaas.config`.
    ///
    /// # Errors
    /// See [`JaasError`].
    pub fn parse(text: &str) -> Result<Self, JaasError> {
        let mut tokens = Tokens::new(text);
        let module = match tokens.next() {
            None => return Err(JaasError::NoModule),
            Some(Token::Text(class)) => Self {
                class,
                options: options(&mut tokens)?,
            },
            Some(Token::Other(_)) => return Err(JaasError::NoModule),
        };
        match tokens.next() {
            None => Ok(module),
            Some(_) => Err(JaasError::Several),
        }
    }

    /// The same as a value of `sasl.jaas.config`. It has passwords in the clear.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} required", self.class);
        for (name, value) in &self.options {
            // Writing to a string does not fail.
            let _ = write!(text, " {}={}", quote(name), quote(value.expose()));
        }
        text + ";"
    }
}

/// A text as Java's tokenizer reads it back.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char < ' ' => {
                let _ = write!(quoted, "\\{:03o}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

/// A JAAS file: `NAME { MODULE FLAG OPTIONS; ... };`, one after the other.
#[derive(Clone, Debug)]
pub struct JaasFile {
    sections: BTreeMap<String, Vec<LoginModule>>,
}

impl JaasFile {
    /// # Errors
    /// See [`JaasError`].
    pub fn parse(text: &str) -> Result<Self, JaasError> {
        let mut tokens = Tokens::new(text);
        let mut sections = BTreeMap::new();
        while let Some(first) = tokens.next() {
            let (Token::Text(name), Some(Token::Other('{'))) = (first, tokens.next()) else {
                return Err(JaasError::NoSection);
            };
            let mut modules = Vec::new();
            loop {
                match tokens.next() {
                    Some(Token::Other('}')) => break,
                    Some(Token::Text(class)) => modules.push(LoginModule {
                        class,
                        options: options(&mut tokens)?,
                    }),
                    Some(Token::Other(_)) | None => return Err(JaasError::NoSection),
                }
            }
            if tokens.next() != Some(Token::Other(';')) {
                return Err(JaasError::NotTerminated);
            }
            sections.insert(name, modules);
        }
        Ok(Self { sections })
    }

    /// The modules of a section.
    pub fn section(&self, name: &str) -> Option<&[LoginModule]> {
        self.sections.get(name).map(Vec::as_slice)
    }
}

/// A flag, options and a semicolon.
fn options(tokens: &mut Tokens<'_>) -> Result<BTreeMap<String, Secret>, JaasError> {
    let flags = ["required", "requisite", "sufficient", "optional"];
    match tokens.next() {
        None => return Err(JaasError::NoFlag),
        Some(Token::Text(flag)) if flags.iter().any(|known| flag.eq_ignore_ascii_case(known)) => {}
        Some(_) => return Err(JaasError::Flag),
    }
    let mut options = BTreeMap::new();
    loop {
        let name = match tokens.next() {
            None => return Err(JaasError::NotTerminated),
            Some(Token::Other(';')) => return Ok(options),
            Some(Token::Text(name)) => name,
            Some(Token::Other(other)) => return Err(JaasError::NoValue(other.to_string())),
        };
        let value = match (tokens.next(), tokens.next()) {
            (Some(Token::Other('=')), Some(Token::Text(value))) => value,
            _ => return Err(JaasError::NoValue(name)),
        };
        options.insert(name, Secret::new(value));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word or a quoted text.
    Text(String),
    /// A character that stands alone, or the first one of a number, which is no text for Java.
    Other(char),
}

struct Tokens<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
        }
    }

    /// The next one; `None` at the end.
    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.next()?;
            match first {
                first if first <= ' ' => {}
                '/' => self.skip_comment(),
                '"' | '\'' => return Some(Token::Text(self.quoted(first))),
                first if begins_a_word(first) => return Some(Token::Text(self.word(first))),
                first if first.is_ascii_digit() || first == '.' => {
                    self.word(first);
                    return Some(Token::Other(first));
                }
                other => return Some(Token::Other(other)),
            }
        }
    }

    fn word(&mut self, first: char) -> String {
        let goes_on = |next: &char| {
            begins_a_word(*next) || next.is_ascii_digit() || matches!(next, '.' | '-')
        };
        let mut word = String::from(first);
        while let Some(next) = self.rest.next_if(goes_on) {
            word.push(next);
        }
        word
    }

    /// What follows a slash is a comment: up to `*/`, or to the end of the line.
    fn skip_comment(&mut self) {
        if self.rest.next_if_eq(&'*').is_none() {
            while self.rest.next().is_some_and(|next| !is_line_end(next)) {}
            return;
        }
        while let Some(next) = self.rest.next() {
            if next == '*' && self.rest.next_if_eq(&'/').is_some() {
                return;
            }
        }
    }

    /// A text up to its quote, or to the end of its line.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        while let Some(next) = self.rest.next_if(|next| !is_line_end(*next)) {
            match next {
                next if next == quote => break,
                '\\' => text.extend(self.escaped()),
                next => text.push(next),
            }
        }
        text
    }

    /// What follows a backslash: a letter with a meaning, up to three octal digits, or itself.
    fn escaped(&mut self) -> Option<char> {
        let first = self.rest.next()?;
        if let Some(digit) = first.to_digit(8) {
            let mut code = digit;
            // The third digit must leave it within a byte.
            for _ in 0..if digit <= 3 { 2 } else { 1 } {
                match self.rest.next_if(|next| next.is_digit(8)) {
                    Some(next) => code = code * 8 + next.to_digit(8).unwrap_or(0),
                    None => break,
                }
            }
            return char::from_u32(code);
        }
        Some(match first {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            other => other,
        })
    }
}

fn begins_a_word(char: char) -> bool {
    char.is_ascii_alphabetic() || matches!(char, '_' | '$') || char >= '\u{a0}'
}

fn is_line_end(char: char) -> bool {
    matches!(char, '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(String, Vec<(String, String)>), JaasError> {
        let module = LoginModule::parse(text)?;
        let options = module.options.iter();
        let options = options.map(|(name, value)| (name.clone(), value.expose().to_owned()));
        Ok((module.class, options.collect()))
    }

    fn options(text: &str) -> Vec<(String, String)> {
        read(&format!("a.b.C required {text};")).expect(text).1
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_module_has_a_flag_and_options() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required\n  \
                    username=\"admin\" user_admin=\"admin-secret\"\n  user_alice='a;\"b\"';";
        let (class, options) = read(text).expect("a module");
        assert_eq!(
            class,
            "org.apache.kafka.common.security.plain.PlainLoginModule"
        );
        let expected = [
            ("user_admin", "admin-secret"),
            ("user_alice", "a;\"b\""),
            ("username", "admin"),
        ];
        assert_eq!(options, pairs(&expected));
        assert_eq!(read("C REQUIRED;").expect("a module").1, []);
    }

    #[test]
    fn values_have_javas_escapes_and_comments_are_passed_over() {
        for (text, expected) in [
            (r#"a="b\"c""#, "b\"c"),
            (r#"a="b\\c""#, "b\\c"),
            (r#"a="b\tc\n""#, "b\tc\n"),
            (r#"a="\101\1018\60\377""#, "AA80\u{ff}"),
            (r#"a="\q""#, "q"),
            (r#"a="größe€""#, "größe€"),
            ("a=word-1_$.x", "word-1_$.x"),
            ("a= /* b=c; */ \"d\" // e", "d"),
            ("a=\"/*d*/\"", "/*d*/"),
        ] {
            let text = format!("{text}\n");
            assert_eq!(options(&text), pairs(&[("a", expected)]), "{text}");
        }
        assert_eq!(options("\"user_a@b\"=\"c\""), pairs(&[("user_a@b", "c")]));
    }

    #[test]
    fn what_is_no_module_is_refused_in_kafkas_words_and_tells_no_value() {
        let no_value = |name: &str| JaasError::NoValue(name.to_owned());
        for (text, expected) in [
            ("", JaasError::NoModule),
            ("  // C required;", JaasError::NoModule),
            ("C", JaasError::NoFlag),
            ("C needed;", JaasError::Flag),
            ("C ;", JaasError::Flag),
            ("C required", JaasError::NotTerminated),
            ("C required a=\"b\"", JaasError::NotTerminated),
            ("C required a;", no_value("a")),
            ("C required a=;", no_value("a")),
            ("C required a=\"canary\" b", no_value("b")),
            // A number is no text for Java.
            ("C required a=1;", no_value("a")),
            ("C required; D required;", JaasError::Several),
        ] {
            assert_eq!(read(text).expect_err(text), expected, "{text}");
        }
        let refused = read("C required password=\"canary\" =").expect_err("refused");
        assert!(!refused.to_string().contains("canary"));
    }

    #[test]
    fn a_file_has_sections_of_several_modules() {
        let text = "/* all */ KafkaServer {\n  a.Plain required user_ann=\"b;}\";\n  a.Scram optional;\n};\n\
                    tc-0.KafkaServer { a.Plain required; };\nClient { };";
        let file = JaasFile::parse(text).expect("a file");
        let classes = |name| -> Option<Vec<&str>> {
            let modules = file.section(name)?.iter();
            Some(modules.map(|module| module.class.as_str()).collect())
        };
        assert_eq!(classes("KafkaServer"), Some(vec!["a.Plain", "a.Scram"]));
        assert_eq!(classes("tc-0.KafkaServer"), Some(vec!["a.Plain"]));
        assert_eq!(classes("Client"), Some(vec![]));
        assert_eq!(classes("Other"), None);
        let module = &file.section("KafkaServer").expect("a section")[0];
        assert_eq!(module.to_text(), "a.Plain required \"user_ann\"=\"b;}\";");
        assert_eq!(read("C required;").expect("a module").0, "C");
        for (text, expected) in [
            ("KafkaServer", JaasError::NoSection),
            ("KafkaServer {", JaasError::NoSection),
            ("KafkaServer { C required; }", JaasError::NotTerminated),
            (
                "KafkaServer { C required };",
                JaasError::NoValue("}".to_owned()),
            ),
            ("{ C required; };", JaasError::NoSection),
        ] {
            assert_eq!(JaasFile::parse(text).expect_err(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_module_comes_back_as_it_was_written(name in "[a-z@ ]{1,9}", value in any::<String>()) {
            let options = BTreeMap::from([(name.clone(), Secret::new(value.clone()))]);
            let written = LoginModule { class: "a.B".to_owned(), options }.to_text();
            let expected = vec![(name, value)];
            prop_assert_eq!(read(&written).expect("a module"), ("a.B".to_owned(), expected));
        }

        #[test]
        fn whatever_is_read_is_refused_or_read(text in "[ a-z=;\"'\\\\/*0-9\n\u{e9}.-]{0,80}") {
            let _ = LoginModule::parse(&text);
            let _ = LoginModule::parse(&format!("C required {text};"));
            let _ = JaasFile::parse(&format!("A {{ C required {text}; }};"));
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_was(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(options(&format!("a=\"{quoted}\"")), pairs(&[("a", &value)]));
        }
    }
}
