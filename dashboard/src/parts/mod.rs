//! The sections of the page, each a function of what a look found.

pub(crate) mod steps;
pub(crate) mod submissions;
pub(crate) mod tables;
pub(crate) mod workers;

use maud::{Markup, html};

/// A wide table scrolls in its own box, by touch and by keyboard.
fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div .scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}
