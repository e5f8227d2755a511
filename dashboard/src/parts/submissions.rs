//! Submissions with their progress; each is a link to itself from near.

use maud::{Markup, html};
use orchestrator_proto::v1::SubmissionSummary;

use super::scrolling;
use crate::{
    overview::{Overview, ended, runs},
    wording::{ago, time_left},
};

pub(crate) fn section(overview: &Overview) -> Markup {
    html! {
        section #submissions aria-labelledby="submissions-title" {
            h2 #submissions-title { "Submissions" }
            @if overview.submissions.is_empty() {
                p { "None yet. " code { "orchestrator submit SPEC" } " sends one." }
            } @else {
                (scrolling("Submissions", &table(overview)))
            }
        }
    }
}

fn table(overview: &Overview) -> Markup {
    let shown = overview.shown.as_ref().map(|shown| shown.summary.id);
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "name" }
                    th scope="col" { "runs ended" }
                    th scope="col" { "states" }
                    th scope="col" { "time left" }
                    th scope="col" { "sent" }
                }
            }
            tbody {
                @for summary in &overview.submissions {
                    tr .chosen[shown == Some(summary.id)] {
                        th scope="row" {
                            a #{ "submission-" (summary.id) } href={ "/?submission=" (summary.id) }
                                aria-current=[(shown == Some(summary.id)).then_some("true")] { (summary.name) }
                            small { " #" (summary.id) }
                        }
                        td {
                            progress value=(ended(summary)) max=(runs(summary).max(1))
                                aria-label={ "runs ended of " (summary.name) } {}
                            " " (ended(summary)) "/" (runs(summary))
                        }
                        td { (states(summary)) }
                        td .figure { @if summary.seconds_left_known { (time_left(summary.seconds_left)) } }
                        td { (ago(overview.at_ms, summary.created_at_ms)) }
                    }
                }
            }
        }
    }
}

fn states(summary: &SubmissionSummary) -> Markup {
    let counts = [
        ("running", summary.running),
        ("assigned", summary.assigned),
        ("queued", summary.queued),
        ("succeeded", summary.succeeded),
        ("failed", summary.failed),
        ("cancelled", summary.cancelled),
    ];
    let told = counts.into_iter().filter(|(_, count)| *count > 0);
    let told = told.map(|(name, count)| (format!("state-{name}"), format!("{count} {name}")));
    let others = [
        (summary.extractions_pending > 0).then(|| format!("{} extractions pending", summary.extractions_pending)),
        summary.paused.then(|| "paused".to_owned()),
        (summary.priority != 0).then(|| format!("priority {}", summary.priority)),
    ];
    let told = told.chain(others.into_iter().flatten().map(|text| (String::new(), text)));
    html! {
        @for (place, (class, text)) in told.enumerate() {
            @if place > 0 { " · " }
            span .state .(class) { (text) }
        }
    }
}
