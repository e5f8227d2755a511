//! From the text of a file to the steps it asks for, in the order they are to be queued.

use experiment_spec::{
    catalog::Catalog,
    plan::plan,
    program::Files,
    run::{Device, Resources, StepSpec},
    spec::{Problem, TableSpec, parse_with},
};

use crate::store::steps::NewStep;

/// Cores that an extraction asks for; on a worker with fewer it has them all. More would not make it faster.
const EXTRACTION_CPUS: u32 = 8;

/// A submission that is in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// Data sets that it does without, because they are not here.
    pub(crate) left_out: Vec<String>,
    /// The tables it asks for.
    pub(crate) tables: Vec<TableSpec>,
    /// Its steps; each extraction stands right before the first run that reads it.
    pub(crate) steps: Vec<NewStep>,
}

impl Planned {
    /// Numbers of runs and of extractions.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let runs = self.steps.iter().filter(|step| step.needs.is_some()).count();
        let count = |n: usize| u32::try_from(n).expect("a plan is limited to far fewer steps");
        (count(runs), count(self.steps.len() - runs))
    }
}

/// Reads, checks and expands a file. Pure and bounded by the limits of `experiment_spec::spec::limits`.
///
/// # Errors
/// Every mistake of the file.
pub(crate) fn read(yaml: &str, catalog: &Catalog, files: &mut dyn Files) -> Result<Planned, Vec<Problem>> {
    let submission = parse_with(yaml, catalog, files)?;
    let plan = plan(&submission, catalog);
    let mut steps = Vec::with_capacity(plan.runs.len() + plan.extractions.len());
    let mut placed: Vec<Option<usize>> = vec![None; plan.extractions.len()];
    for run in plan.runs {
        let needs = if let Some(index) = placed[run.extraction] {
            index
        } else {
            let extraction = &plan.extractions[run.extraction];
            steps.push(NewStep {
                spec: StepSpec::Extraction(extraction.spec.clone()),
                fingerprint: extraction.fingerprint,
                label: extraction.spec.shown_encoder(),
                round: run.round,
                expected_ms: None,
                needs: None,
                // Every run waits for it and it does not wait beside them: it may have the whole machine,
                // but no GPU: encoders run on the processor.
                resources: Resources {
                    cpus: submission.resources.cpus.max(EXTRACTION_CPUS),
                    gpus: 0.0,
                    device: Device::Cpu,
                    ..submission.resources.clone()
                },
                retries: submission.retries,
            });
            *placed[run.extraction].insert(steps.len() - 1)
        };
        steps.push(NewStep {
            spec: StepSpec::Run(run.spec),
            fingerprint: run.fingerprint,
            label: run.label,
            round: run.round,
            expected_ms: None,
            needs: Some(needs),
            resources: submission.resources.clone(),
            retries: submission.retries,
        });
    }
    Ok(Planned { name: submission.name, left_out: submission.left_out, tables: submission.tables, steps })
}
