"""Are our average precisions those of scikit-learn, to 1e-12, on the same scores?

    cargo bench -p retrieval --bench map -- --dump DIR
    python map_check.py DIR            (needs numpy and scikit-learn)

scikit-learn takes equal scores as one threshold; the protocol ranks them by gallery index. So queries
without a tie that touches a relevant item are compared on the scores as they are, and the others on
scores replaced by their place in the stable order."""
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

TOLERANCE = 1e-12
folder = Path(sys.argv[1])
labels = np.fromfile(folder / "labels.u32", "<u4")
failed = False
for name, kind in (("f32", "f32"), ("f64", "f64"), ("tied", "f32")):
    scores = np.fromfile(folder / f"scores-{name}.{kind}", "<f4" if kind == "f32" else "<f8").reshape(-1, len(labels))
    ours = np.fromfile(folder / f"precision-{name}.f64", "<f8")
    assert len(ours) == len(scores) > 0
    worst, tied_queries = 0.0, 0
    for q, row in enumerate(scores):
        relevant = labels == labels[q]
        values, counts = np.unique(row, return_counts=True)
        tied = np.isin(row, values[counts > 1])
        if (tied & relevant).any():
            tied_queries += 1
            place = np.empty(len(row))
            place[np.argsort(-row, kind="stable")] = np.arange(len(row))
            row = -place
        worst = max(worst, abs(average_precision_score(relevant, row) - ours[q]))
    failed |= not worst <= TOLERANCE
    print(f"{name:>4}: {len(ours)} queries ({tied_queries} with ties), largest difference {worst:.1e}, mean {ours.mean():.6f}")
sys.exit("not equal" if failed else 0)
