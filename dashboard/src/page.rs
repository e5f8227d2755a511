//! The page around its parts.

use maud::{DOCTYPE, Markup, html};

use crate::{
    overview::{Overview, ended, runs},
    parts,
    source::Look,
};

/// The whole page. Where scripts run it renews itself; where they do not, the browser reloads it.
pub(crate) fn whole(look: &Look, submission: &str, has_sign_in: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (head(&title(look)))
                script src="/assets/dashboard.js" defer {}
                noscript { meta http-equiv="refresh" content="2"; }
            }
            body {
                a #skip href="#live" { "To the content" }
                header {
                    h1 { a href="/" { "orchestrator" } }
                    p #connection role="status" {}
                    @if has_sign_in { a href="/sign-out" { "Sign out" } }
                }
                main #live tabindex="-1" data-submission=(submission) { (fragment(look)) }
            }
        }
    }
}

/// What stands in the head of every page.
pub(crate) fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        title { (title) }
        link rel="icon" href="data:,";
        link rel="stylesheet" href="/assets/dashboard.css";
    }
}

/// The part that is renewed every second.
pub(crate) fn fragment(look: &Look) -> Markup {
    match look {
        Ok(overview) => sections(overview),
        Err(error) => html! {
            section #problem {
                h2 { "Nothing to show" }
                p { (error) }
            }
        },
    }
}

fn sections(overview: &Overview) -> Markup {
    html! {
        (parts::submissions::section(overview))
        @if let Some(shown) = &overview.shown {
            (parts::steps::section(shown))
            (parts::tables::section(shown))
        }
        (parts::workers::section(overview))
    }
}

fn title(look: &Look) -> String {
    match look.as_ref().ok().and_then(|overview| overview.shown.as_ref()) {
        Some(shown) => {
            format!("{}/{} {} - orchestrator", ended(&shown.summary), runs(&shown.summary), shown.summary.name)
        }
        None => "orchestrator".to_owned(),
    }
}
