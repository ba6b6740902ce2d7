//! Sections: structs that the code reads, made from the rows of their keys.
//!
//! A row in [`section!`] is all that there is to a key: the field that the code reads, the key's name, how it is checked, and
//! what it does. The doc comment of a row is what `docs/configuration.md` and DescribeConfigs say.

use super::def::{list, parse_bool};
use super::host_port::{HostPort, parse_host_port};
use storage::log::Durability;

/// Gives the value in force for a key; `None` is Kafka's null.
pub type Values<'a> = dyn Fn(&'static str) -> Option<&'a str> + 'a;

/// A struct that is made from settings.
pub trait Section: Sized {
    type Row: Row + 'static;
    /// The row of every key that the section reads.
    const ROWS: &'static [Self::Row];

    /// Reads every field. The values have passed the checks of their rows.
    fn read(values: &Values<'_>) -> Self;
}

/// What a section has to know of a key.
pub trait Row {
    fn name(&self) -> &'static str;
}

/// A value that may stand in a setting.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;

    /// What Kafka's null means; `None`: such a key always has a value.
    fn from_null() -> Option<Self> {
        None
    }
}

/// The value of one key.
pub(super) fn read_as<T: FromText>(row: &impl Row, values: &Values<'_>) -> T {
    let read = match values(row.name()) {
        Some(text) => T::from_text(text.trim()),
        None => T::from_null(),
    };
    read.expect("what passes the check of its row can be read, a test says so")
}

/// Turns a number whose row has no lower bound into a count: below zero is zero.
pub(super) fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl FromText for $number {
            fn from_text(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        })*
    };
}

numbers!(u16, i32, i64, u64, usize, f64);

impl FromText for bool {
    fn from_text(text: &str) -> Option<Self> {
        parse_bool(text)
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromText for HostPort {
    fn from_text(text: &str) -> Option<Self> {
        parse_host_port(text)
    }
}

impl FromText for Durability {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "strict" => Some(Self::Strict),
            "os" => Some(Self::Os),
            _ => None,
        }
    }
}

impl<T: FromText> FromText for Option<T> {
    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn from_null() -> Option<Self> {
        Some(None)
    }
}

/// The items of a comma-separated list.
impl<T: FromText> FromText for Vec<T> {
    fn from_text(text: &str) -> Option<Self> {
        list(text).map(T::from_text).collect()
    }
}

/// Makes a [`Section`]: a struct of its own, or the fields of one that another crate has (`fill`).
///
/// `field: type = row` reads a key, `=> function` turns the value into what the code wants. Fields before `keys` are not
/// read: the code that builds the section sets them. Keys under `also` have no field: the code looks them up by their name.
macro_rules! section {
    (
        $(#[$about:meta])*
        $visibility:vis struct $section:ident of $row:ident {
            $( $(#[$given_about:meta])* pub $given:ident: $given_type:ty, )*
        }
        keys {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:expr $(=> $convert:expr)?, )*
        }
        also {
            $( $(#[doc = $also_doc:literal])+ _ = $also:expr, )*
        }
    ) => {
        $(#[$about])*
        $visibility struct $section {
            $( $(#[$given_about])* pub $given: $given_type, )*
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl $crate::config::section::Section for $section {
            type Row = $row;
            const ROWS: &'static [$row] = &[
                $( $key.doc(concat!($($doc),+)), )*
                $( $also.doc(concat!($($also_doc),+)), )*
            ];

            fn read(values: &$crate::config::section::Values<'_>) -> Self {
                Self {
                    $( $given: Default::default(), )*
                    $( $field: section!(@read values, $row, $key $(, $convert)?), )*
                }
            }
        }
    };
    (
        fill $section:ident of $row:ident = $base:expr;
        keys {
            $( $(#[doc = $doc:literal])+ $field:ident = $key:expr $(=> $convert:expr)?, )*
        }
        also {
            $( $(#[doc = $also_doc:literal])+ _ = $also:expr, )*
        }
    ) => {
        impl $crate::config::section::Section for $section {
            type Row = $row;
            const ROWS: &'static [$row] = &[
                $( $key.doc(concat!($($doc),+)), )*
                $( $also.doc(concat!($($also_doc),+)), )*
            ];

            #[allow(clippy::needless_update, reason = "some have a row for every field")]
            fn read(values: &$crate::config::section::Values<'_>) -> Self {
                Self {
                    $( $field: section!(@read values, $row, $key $(, $convert)?), )*
                    ..$base
                }
            }
        }
    };
    (@read $values:expr, $row:ident, $key:expr) => {{
        const ROW: $row = $key;
        $crate::config::section::read_as(&ROW, $values)
    }};
    (@read $values:expr, $row:ident, $key:expr, $convert:expr) => {{
        const ROW: $row = $key;
        $convert($crate::config::section::read_as(&ROW, $values))
    }};
}
pub(super) use section;
