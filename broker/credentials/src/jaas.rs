//! `sasl.jaas.config`: one login module with its options, as Kafka's `JaasConfig` reads it.
//!
//! `MODULE FLAG NAME="VALUE" ...;` in the tokens of Java's `StreamTokenizer`: words, quoted texts with escapes, comments.
//! Reading takes one pass over the text.

use std::collections::BTreeMap;

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

    proptest! {
        #[test]
        fn whatever_is_read_is_refused_or_read(text in "[ a-z=;\"'\\\\/*0-9\n\u{e9}.-]{0,80}") {
            let _ = LoginModule::parse(&text);
            let _ = LoginModule::parse(&format!("C required {text};"));
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_was(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(options(&format!("a=\"{quoted}\"")), pairs(&[("a", &value)]));
        }
    }
}
