//! A bar on stderr where work is long and somebody sees it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for so many of `what`; drawn only where stderr is a terminal.
pub(crate) fn progress(count: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(count).with_message(what);
    let template = "{bar:40} {pos}/{len} {msg}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
