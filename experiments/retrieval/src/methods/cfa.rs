//! CFA: cross-modal factor analysis (spec C.2).

use experiment_spec::catalog::{MethodEntry, Parameters};

use super::projection::Projection;
use crate::{
    error::{Error, Result},
    linalg::{
        components::surviving,
        decompose::{Svd, thin_svd},
        product::product,
        standardise::Standardisation,
    },
    method::FitRecord,
    parameters::{count, integers, tuned},
    tuning::closed_form::{ClosedForm, Problem, Visit},
};

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Cfa;

impl ClosedForm for Cfa {
    fn entry(&self) -> MethodEntry {
        let dims = count("dims", (1, 4096), 10, "Components kept (inferred).");
        MethodEntry {
            key: "cfa".into(),
            label: "CFA".into(),
            revision: 1,
            objective: "min over A, B of ||XA - YB||_F^2 subject to A'A = B'B = I".into(),
            reference: "Li, Dimitrova, Li, Sethi: Multimedia content processing through cross-modal association. ACM \
                        Multimedia, 2003"
                .into(),
            parameters: vec![tuned(dims, integers([5, 10, 20, 50, 100, 200, 300]))],
            presets: vec![],
            departures: vec![
                "components are chosen on validation pairs: the authors' setting is not recorded".into(),
                "the top singular vectors of X'Y are taken, as is usual; they are the minimum only where ||XA|| and \
                 ||YB|| are treated as fixed"
                    .into(),
            ],
        }
    }

    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        let image = Standardisation::fit("image", problem.train.image)?;
        let text = Standardisation::fit("text", problem.train.text)?;
        let (x, y) = (image.apply(problem.train.image), text.apply(problem.train.text));
        let Svd { left, values, right } =
            thin_svd(product(x.transpose(), y.as_ref()).as_ref(), "the cross-covariance of images and texts")?;
        let components = surviving(&values);
        if components == 0 {
            return Err(Error::Data("images and texts do not vary together: all features are constant".into()));
        }
        let mut record = FitRecord::default();
        if components < values.len() {
            let most = values.len();
            record.notes.push(format!("{components} of {most} components are used: the features are of lower rank"));
        }
        let kept = components.min(problem.most_dims);
        let projection = Projection::new(
            (image, left.subcols(0, kept).to_owned()),
            (text, right.subcols(0, kept).to_owned()),
            record,
        )
        .with_worth("singular-values", values[..kept].to_vec());
        for index in 0..settings.len() {
            visit(index, Ok(Box::new(projection.clone())))?;
        }
        Ok(())
    }
}
