//! A fitted method with what the driver has to say about how it came about.

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::Rows,
    method::{Embedding, FitRecord, Fitted},
};

/// Adds a record to that of the method itself.
pub(super) struct Recorded<F: Fitted + ?Sized> {
    pub(super) record: FitRecord,
    pub(super) fitted: Box<F>,
}

impl<F: Fitted + ?Sized> Fitted for Recorded<F> {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.fitted.embed_image(rows)
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.fitted.embed_text(rows)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.fitted.tensors()
    }

    fn selected_iteration(&self) -> u64 {
        self.fitted.selected_iteration()
    }

    fn record(&self) -> FitRecord {
        let mut record = self.fitted.record();
        record.tuning = self.record.tuning.clone().or(record.tuning);
        record.notes.extend(self.record.notes.iter().cloned());
        record.facts.extend(self.record.facts.clone());
        record
    }
}
