//! The methods that a submission may name, in the order of the paper's tables: one line each.

use crate::{
    method::Method,
    methods::{
        cca::Cca, ccl::Ccl, cfa::Cfa, cm_gans::fit::CmGans, cmdn::Cmdn, corr_ae::CorrAe, dcca::Dcca, deep_sm::DeepSm,
        jrl::Jrl, kcca::solve::Kcca, lgcfl::Lgcfl,
    },
    nn::unit::UnitKind,
    tuning::{closed_form::Solved, iterative::Trained},
};

static METHODS: [&dyn Method; 12] = [
    &CmGans,
    &Trained(Ccl),
    &Trained(Cmdn { units: UnitKind::Rbm }),
    &Trained(Cmdn { units: UnitKind::Autoencoder }),
    &Trained(DeepSm),
    &Solved(Lgcfl),
    &Solved(Jrl),
    &Trained(Dcca),
    &Trained(CorrAe),
    &Solved(Kcca),
    &Solved(Cfa),
    &Solved(Cca),
];

/// Every method, in the order of the paper's tables.
#[must_use]
pub fn registry() -> &'static [&'static dyn Method] {
    &METHODS
}

/// The method of that key.
#[must_use]
pub fn find(key: &str) -> Option<&'static dyn Method> {
    METHODS.iter().copied().find(|method| method.entry().key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::parameters::Reader;

    #[test]
    fn entries_keep_the_promises_of_the_catalog() {
        let keys: BTreeSet<String> = registry().iter().map(|method| method.entry().key).collect();
        assert_eq!(keys.len(), registry().len(), "keys are unique");
        for method in registry() {
            let entry = method.entry();
            assert!(find(&entry.key).is_some_and(|found| found.entry() == entry));
            let parameters: BTreeSet<&str> = entry.parameters.iter().map(|p| p.key.as_str()).collect();
            assert_eq!(parameters.len(), entry.parameters.len(), "{}: parameters are unique", entry.key);
            let defaults = entry.parameters.iter().map(|p| (p.key.clone(), p.default.clone())).collect();
            Reader::new(&entry, &defaults).unwrap();
            for (number, preset) in entry.presets.iter().enumerate() {
                Reader::new(&entry, &preset.values).unwrap();
                assert_eq!(preset.values.is_empty(), number == 0, "{}: the first preset is the defaults", entry.key);
                for (key, value) in &preset.values {
                    assert_ne!(&entry.parameter(key).unwrap().default, value, "{}: {key}", entry.key);
                }
            }
        }
        assert!(find("no-such-method").is_none());
    }
}
