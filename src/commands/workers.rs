//! `workers` and `drain`: the fleet, and taking a node out of it.

use orchestrator_proto::v1::{self, WorkerSummary};

use crate::{
    cli::Global,
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Shows every worker that ever joined.
pub(super) async fn workers(global: &Global) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let answer = session.client.list_workers(v1::ListWorkersRequest {}).await;
    session.close().await;
    let workers = answer?.into_inner().workers;
    if global.json {
        return workers.iter().try_for_each(output::json);
    }
    table(&workers)
}

/// Has a worker get nothing new, or get work again.
pub(super) async fn drain(global: &Global, worker: String, undo: bool) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let answer = session.client.drain_worker(v1::DrainWorkerRequest { worker, undo }).await;
    session.close().await;
    let answer = answer?.into_inner();
    if global.json {
        return output::json(&answer);
    }
    output::lines([sentence(&answer, undo)])
}

fn sentence(answer: &v1::DrainWorkerResponse, undo: bool) -> String {
    let v1::DrainWorkerResponse { name, steps } = answer;
    if undo {
        return format!("worker {name} gets work again");
    }
    let rest = match &steps[..] {
        [] => "it is idle".to_owned(),
        steps => format!("it is still at work on {}", numbers(steps)),
    };
    format!("worker {name} gets nothing new; {rest}")
}

/// The fleet, one worker a row; below it why some of them get nothing.
pub(super) fn table(workers: &[WorkerSummary]) -> Outcome {
    let rows = workers.iter().map(|w| {
        vec![
            w.name.clone(),
            w.state.clone(),
            w.devices.iter().chain(&w.labels).map(String::as_str).collect::<Vec<_>>().join(", "),
            format!("{}/{}", w.cpus_used, w.cpus),
            format!("{}/{} GiB", gibibytes(w.memory_used_bytes), gibibytes(w.memory_bytes)),
            w.kind.clone(),
            numbers(&w.steps),
            output::time(w.last_seen_ms),
        ]
    });
    let header = ["worker", "state", "devices", "cpus used", "memory used", "kind", "at work on", "last seen"];
    output::table(&header, rows.collect())?;
    let aside = workers.iter().filter(|worker| !worker.aside_reason.is_empty());
    output::lines(aside.map(|w| {
        if w.aside_until_ms == 0 {
            return format!("worker {} takes nothing: {}", w.name, output::printable(&w.aside_reason));
        }
        format!(
            "worker {name} gets nothing until {until}, or until `orchestrator drain {name} --undo`: {reason}",
            name = w.name,
            until = output::time(w.aside_until_ms),
            reason = w.aside_reason,
        )
    }))
}

fn numbers(steps: &[i64]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn gibibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_says_what_is_still_at_work() {
        let told = |steps: &[i64], undo| {
            sentence(&v1::DrainWorkerResponse { name: "node-1".to_owned(), steps: steps.to_vec() }, undo)
        };
        assert_eq!(told(&[], false), "worker node-1 gets nothing new; it is idle");
        assert_eq!(told(&[3, 7], false), "worker node-1 gets nothing new; it is still at work on 3 7");
        assert_eq!(told(&[3], true), "worker node-1 gets work again");
    }
}
