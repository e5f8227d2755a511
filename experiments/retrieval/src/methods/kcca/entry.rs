//! KCCA in the registry.

use experiment_spec::catalog::MethodEntry;

use super::kernel::KERNELS;
use crate::parameters::{choice, count, float, floats, integers, tuned};

/// Most training pairs whose kernel is decomposed as it is, where the number of landmarks is left at 0.
pub const LARGEST_EXACT: usize = 4000;
/// Landmarks above that.
pub const LANDMARKS: usize = 2000;

/// What the registry says about KCCA.
#[must_use]
pub fn entry() -> MethodEntry {
    let factor = float("bandwidth-factor", (1e-3, 1e3), 1.0, "Bandwidth over the median distance (inferred).");
    let kappa = float("kappa", (1e-12, 10.0), 1e-2, "Penalty over the number of training pairs (inferred).");
    let dims = count("dims", (1, 4096), 10, "Components kept (inferred).");
    MethodEntry {
        key: "kcca".into(),
        label: "KCCA".into(),
        revision: 1,
        objective: "max over a, b of a'Kx Ky b subject to ||(Kx + kI)a|| = ||(Ky + kI)b|| = 1".into(),
        reference: "Hardoon, Szedmak, Shawe-Taylor: Canonical correlation analysis: an overview with application to \
                    learning methods. Neural Computation 16(12), 2004"
            .into(),
        parameters: vec![
            choice("kernel", &KERNELS, "Gaussian (paper) or linear, which is CCA up to the form of its penalty."),
            count(
                "landmarks",
                (0, 8000),
                0,
                "Training pairs that the kernel is approximated by; 0 is none up to 4,000 training pairs and 2,000 above (inferred).",
            ),
            tuned(factor, floats([0.5, 1.0, 2.0])),
            tuned(kappa, floats([1e-3, 1e-2, 1e-1])),
            tuned(dims, integers([10, 20, 50, 100, 200, 300])),
        ],
        presets: vec![],
        departures: vec![
            "the penalty is that of Bach and Jordan, ||(K + kI)a|| = 1, in place of Hardoon's a'(K^2 + kK)a = 1".into(),
            "bandwidth, penalty and components are chosen on validation pairs: the authors' settings are not recorded"
                .into(),
            "above 4,000 training pairs the kernel is approximated by 2,000 landmarks (Nystrom), and the median \
             distance is that of the landmarks"
                .into(),
        ],
    }
}
