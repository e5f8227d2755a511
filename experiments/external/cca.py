"""Canonical correlation analysis by scikit-learn, as a method of one's own.

README.md beside this file is the contract; `external.yaml` puts this program into one table with the method `cca`.
"""

import argparse
import json
import warnings

import numpy as np
from sklearn.cross_decomposition import CCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler


def load(part, side):
    """Features of a part of the split."""
    return np.load(part[side]).astype(np.float64)


def varying(train, *others):
    """Columns that are not constant over the training rows, z-scored with the statistics of those rows."""
    kept = train.std(axis=0) > 0
    scaler = StandardScaler().fit(train[:, kept])
    return [scaler.transform(rows[:, kept]) for rows in (train, *others)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, default=9, help="components to keep")
    dims = parser.parse_args().dims

    with open("input/description.json") as file:
        given = json.load(file)
    train, test = given["train"], given["test"]
    image, test_image = varying(load(train, "image"), load(test, "image"))
    text, test_text = varying(load(train, "text"), load(test, "text"))

    dims = min(dims, image.shape[1], text.shape[1])
    print(f"{len(image)} training pairs, {image.shape[1]} and {text.shape[1]} columns, {dims} components")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        cca = CCA(n_components=dims, scale=False, max_iter=2000).fit(image, text)
    for warning in caught:
        print(warning.message)
    a, b = cca.transform(image, text)
    for component in range(dims):
        correlation = float(np.corrcoef(a[:, component], b[:, component])[0, 1])
        progress = {"iteration": component + 1, "iterations": dims, "metrics": {"correlation": correlation}}
        print(json.dumps(progress))

    # Of pairs of test rows nothing is known: each side is mapped by itself. CCA scales its projections to those of
    # the training rows; in the metric of cosine each component counts by its spread there.
    test_a, _ = cca.transform(test_image, np.zeros((len(test_image), text.shape[1])))
    _, test_b = cca.transform(np.zeros((len(test_text), image.shape[1])), test_text)
    np.save(given["output"]["image"], test_a / a.std(axis=0))
    np.save(given["output"]["text"], test_b / b.std(axis=0))


if __name__ == "__main__":
    main()
