//! What the owner does to keep the state folder within its bounds.

use experiment_spec::ids::StepId;

use super::{
    handle::{Answer, Forget},
    owner::Owner,
    refusal::Refusal,
};
use crate::store::{
    kept, thinning,
    thinning::Thinned,
    transitions::{self, Line},
};

impl Owner {
    /// Contents are kept no more: first the record says so, then those go that nothing else names.
    pub(crate) async fn forget(&mut self, Forget { rule, due, youth }: Forget) -> Answer<()> {
        let now_ms = self.clock.now_ms();
        let mut transaction = Self::begin(&mut self.writer).await?;
        let unnamed = kept::set_removed(&mut transaction, rule, &due, now_ms).await?;
        transaction.commit().await.map_err(Refusal::from)?;
        tracing::info!(count = due.len(), name = rule.name, rule = %rule.keep, "kept no more");
        if let Some(contents) = &self.contents {
            contents.remove_blobs(unnamed, youth);
        }
        self.committed(&[]);
        Ok(())
    }

    /// Leaves no more than so many points of each curve of a step, which has ended.
    pub(crate) async fn thin(&mut self, step: StepId, points: u32) -> Answer<Thinned> {
        if self.scheduler.step(step).is_some() {
            return Err(Refusal::Invalid(format!("{step} has not ended: its metrics still come")));
        }
        let now_ms = self.clock.now_ms();
        let mut transaction = Self::begin(&mut self.writer).await?;
        let thinned = thinning::thin(&mut transaction, step, points).await?;
        if thinned.before > thinned.after {
            let Thinned { before, after } = thinned;
            let sentence = format!("its metrics were thinned from {before} to {after} points, as a user asked");
            transitions::history_all(&mut transaction, &[Line::of_step(step, sentence, now_ms)]).await?;
        }
        transaction.commit().await.map_err(Refusal::from)?;
        self.committed(&[]);
        Ok(thinned)
    }
}
