"""The fits of benches/closed_forms.rs with numpy and SciPy, on the features that its `make` has written.

python closed_forms.py cca|kcca|jrl FOLDER THREADS
"""
import os
import resource
import sys
import time

method, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)

import numpy as np
import scipy.linalg as la
from scipy.spatial.distance import cdist, pdist


def standardised(name, columns):
    x = np.fromfile(f"{folder}/{name}.f64").reshape(-1, columns)
    deviation = x.std(axis=0, ddof=1)
    deviation[deviation == 0] = 1
    return (x - x.mean(axis=0)) / deviation


def cca(x, t, ridge=0.01):
    """Thin SVDs of both sides, weighted, then the SVD between them: the dual form for fewer rows than columns."""
    ux, dx, vx = la.svd(x, full_matrices=False)
    ut, dt, vt = la.svd(t, full_matrices=False)
    keep = dx > 1e-10 * dx[0]
    ux, dx, vx = ux[:, keep], dx[keep], vx[keep]
    n = len(x) - 1
    wx, wt = dx / np.sqrt(dx**2 + n * ridge), dt / np.sqrt(dt**2 + n * ridge)
    u, rho, v = la.svd(wx[:, None] * (ux.T @ ut) * wt, full_matrices=False)
    a = vx.T @ (u[:, :100] / np.sqrt(dx**2 / n + ridge)[:, None])
    b = vt.T @ (v.T[:, :100] / np.sqrt(dt**2 / n + ridge)[:, None])
    assert a.shape == (x.shape[1], 100) and b.shape == (t.shape[1], 100)
    return rho[:10].sum()


def kcca(x, t, kappa=0.01):
    """Exact Gaussian kernels, median bandwidth, one linear solve a side and one SVD."""

    def kernel(rows):
        distances = pdist(rows)
        bandwidth = np.median(distances)
        k = np.exp(-cdist(rows, rows, "sqeuclidean") / (2 * bandwidth**2))
        return k - k.mean(0) - k.mean(1)[:, None] + k.mean()

    kx, kt = kernel(x), kernel(t)
    n = len(x)
    eye = kappa * n * np.eye(n)
    px = la.solve(kx + eye, kx, assume_a="pos")
    pt = la.solve(kt + eye, kt, assume_a="pos")
    u, rho, v = la.svd(px.T @ pt)
    alpha = la.solve(kx + eye, u[:, :10], assume_a="pos")
    beta = la.solve(kt + eye, v.T[:, :10], assume_a="pos")
    assert alpha.shape == beta.shape == (n, 10)
    return rho[:10].sum()


def jrl(x, t, labels, gam=1000.0, sig=1000.0, lam=1.0, mu=1.0, k=100):
    """One update of both projections from 0.5 throughout, the graph of 100 neighbours included."""
    y = np.eye(labels.max() + 1)[labels]

    def smoothness(rows):
        distances = cdist(rows, rows)
        np.fill_diagonal(distances, np.inf)
        nearest = np.argpartition(distances, k, axis=1)[:, :k]
        graph = np.zeros_like(distances)
        np.put_along_axis(graph, nearest, 1.0, axis=1)
        graph = np.maximum(graph, graph.T)
        root = 1 / np.sqrt(graph.sum(1))
        return rows.T @ (rows - root[:, None] * (graph @ (root[:, None] * rows)))

    lx, lt, gx, gt, cross = smoothness(x), smoothness(t), x.T @ x, t.T @ t, x.T @ t
    p, q = np.full((x.shape[1], y.shape[1]), 0.5), np.full((t.shape[1], y.shape[1]), 0.5)

    def update(smooth, gram, old, paired, targets):
        s = sig * smooth + (lam + mu) * gram
        s[np.diag_indices_from(s)] += gam / (2 * np.maximum(np.linalg.norm(old, axis=1), 1e-8))
        return la.solve(s, lam * paired + mu * targets, assume_a="pos")

    new = update(lx, gx, p, cross @ q, x.T @ y), update(lt, gt, q, cross.T @ p, t.T @ y)
    (p, q), fit = new, lambda a: np.square(a).sum()
    return (
        mu * (fit(x @ p - y) + fit(t @ q - y)) + lam * fit(x @ p - t @ q)
        + sig * ((p * (lx @ p)).sum() + (q * (lt @ q)).sum())
        + gam * (np.linalg.norm(p, axis=1).sum() + np.linalg.norm(q, axis=1).sum())
    )


image, text = standardised("image", 4096), standardised("text", 300)
labels = np.fromfile(f"{folder}/labels.u32", dtype=np.uint32)
start = time.perf_counter()
check = {"cca": lambda: cca(image, text), "kcca": lambda: kcca(image, text), "jrl": lambda: jrl(image, text, labels)}[method]()
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
print(f"{method} SciPy: {seconds:.2f} s, peak {peak} MiB, {threads} threads, check {check:.6f}")
