//! Where Ottla answers differently, and why.

use compat_tests::scenario::comparison::Deliberate;

/// Every difference that is meant; `*` stands for any text.
pub static TABLE: &[Deliberate] = &[];
