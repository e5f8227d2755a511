//! What this program can do, as the plain value that submissions are checked against.

use experiment_spec::catalog::Catalog;

use crate::{
    datasets::{data_sets, folders::DataFolders},
    encoders::{encoder::Encoder, encoders},
    protocol,
    registry::registry,
};

/// Everything a submission may name: methods in the order of the paper's tables, the data sets of `folders`, encoders.
#[must_use]
pub fn catalog(folders: &DataFolders) -> Catalog {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for data_set in data_sets() {
        match data_set.entry(folders) {
            Ok(entry) => found.push(entry),
            Err(why) => absent.push(why),
        }
    }
    Catalog {
        methods: registry().iter().map(|method| method.entry()).collect(),
        external: None,
        data_sets: found,
        absent,
        encoders: encoders().into_iter().map(Encoder::entry).collect(),
        protocol: protocol::REVISION,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_defaults_fit_their_parameters() {
        let catalog = catalog(&DataFolders::default());
        let methods: HashSet<&str> = catalog.methods.iter().map(|method| method.key.as_str()).collect();
        assert_eq!(methods.len(), catalog.methods.len());
        for data_set in &catalog.data_sets {
            assert!(catalog.encoder(&data_set.default_encoder).is_some(), "{}", data_set.key);
            assert!(data_set.encoders.iter().all(|encoder| catalog.encoder(encoder).is_some()), "{}", data_set.key);
        }
        for method in &catalog.methods {
            let keys: HashSet<&str> = method.parameters.iter().map(|parameter| parameter.key.as_str()).collect();
            assert_eq!(keys.len(), method.parameters.len(), "{}", method.key);
            for preset in &method.presets {
                assert!(preset.values.keys().all(|key| keys.contains(key.as_str())), "{} {}", method.key, preset.name);
            }
        }
    }
}
