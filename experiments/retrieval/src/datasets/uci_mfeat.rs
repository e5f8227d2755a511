//! UCI "Multiple Features" (Duin): 2,000 handwritten digits, two views of each taken as the two modalities.

use super::{
    given_set::{GivenSet, Released},
    mat_file::Arrays,
};

/// The data set.
pub static SET: GivenSet = GivenSet {
    key: "uci-mfeat",
    description: "2,000 handwritten digits in 10 classes: Fourier coefficients (76) against Karhunen-Loeve \
                  coefficients (64); UCI Multiple Features, CC BY 4.0",
    classes: &[
        "class 1", "class 2", "class 3", "class 4", "class 5", "class 6", "class 7", "class 8", "class 9", "class 10",
    ],
    files: &[("uci-mfeat", "uci_all.mat")],
    dims: (76, 64),
    pairs: (1500, 500),
    paper: &[],
    read: |files| {
        let arrays = Arrays::read(&files[0].1, &files[0].0)?;
        let both = |names: [&str; 2]| names.into_iter().map(|name| arrays.matrix(name)).collect::<Result<Vec<_>, _>>();
        Ok(Released { image: both(["I_tr", "I_te"])?, text: both(["T_tr", "T_te"])?, labels: both(["L_tr", "L_te"])? })
    },
};
