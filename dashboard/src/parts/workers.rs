//! The fleet.

use maud::{Markup, html};

use super::scrolling;
use crate::{overview::Overview, wording::ago};

pub(crate) fn section(overview: &Overview) -> Markup {
    html! {
        section #workers aria-labelledby="workers-title" {
            h2 #workers-title { "Workers" }
            @if !overview.halted.is_empty() {
                p { span .state .state-failed { "nothing is given out" } " " (overview.halted) }
            }
            @if overview.workers.is_empty() {
                p { "None. Runs wait until one joins: " code { "orchestrator worker" } "." }
            } @else {
                (scrolling("Workers", &table(overview)))
            }
        }
    }
}

fn table(overview: &Overview) -> Markup {
    html! {
        table {
            thead {
                tr {
                    @for heading in ["worker", "state", "cores in use", "devices", "at work on", "kind", "last heard"] {
                        th scope="col" { (heading) }
                    }
                }
            }
            tbody {
                @for worker in &overview.workers {
                    tr {
                        th scope="row" { (worker.name) small { " #" (worker.id) } }
                        td {
                            span .state .state-failed[matches!(worker.state.as_str(), "lost" | "put aside" | "halted")] { (worker.state) }
                            @if !worker.aside_reason.is_empty() { small class="reason" { (worker.aside_reason) } }
                        }
                        td {
                            meter value=(worker.cpus_used) max=(worker.cpus.max(1))
                                aria-label={ "cores in use of " (worker.name) } {}
                            " " (worker.cpus_used) "/" (worker.cpus)
                        }
                        td { (worker.devices.iter().chain(&worker.labels).map(String::as_str).collect::<Vec<_>>().join(", ")) }
                        td { (worker.steps.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")) }
                        td { (worker.kind) }
                        td { (ago(overview.at_ms, worker.last_seen_ms)) }
                    }
                }
            }
        }
    }
}
