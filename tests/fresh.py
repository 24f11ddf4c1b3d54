"""Risk curves by a fresh solve at every point, in plain NumPy, and the condition numbers that go with them."""

import numpy as np

MEASURED = ("train_risk", "test_risk", "coef_norm")


def solve(X, y, X_test, y_test, ridge=0.0, eps=2.0**-52, rcond=None):
    """Train risk, test risk, norm, predictions and condition number of one fit; y (n, k)."""
    n, d = X.shape
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    kept = s > (eps * max(n, d) if rcond is None else rcond) * s[:1].max(initial=0.0)
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    projections = U.T @ y
    if ridge == 0:
        coef = np.linalg.lstsq(X, y, rcond=eps * max(n, d) if rcond is None else rcond)[0]
    else:
        coef = Vt.T @ ((s / (s**2 + ridge))[:, None] * projections)
    # The residual without its cancellation: what no column reaches, and the share of the ridge.
    outside = np.zeros_like(y) if len(s) == n else y - U @ projections
    inside = (ridge / (s**2 + ridge))[:, None] * projections
    train = (np.sum(outside**2, axis=0) + np.sum(inside**2, axis=0)) / n
    used = np.any(X != 0, axis=0)
    prediction = X_test[:, used] @ coef[used]
    condition = s[0] / s[-1] if len(s) else 1.0
    return train, np.mean((prediction - y_test) ** 2, axis=0), np.linalg.norm(coef, axis=0), prediction, condition


def curve(solves):
    """Stack the results of solve over points."""
    train, test, norm, _, condition = (
        np.array(part) if i != 3 else None for i, part in enumerate(zip(*solves, strict=True))
    )
    return {"train_risk": train, "test_risk": test, "coef_norm": norm, "condition": condition}


def widths(F, y, F_test, y_test, points, **options):
    """Width curve at the given widths."""
    return curve([solve(F[:, :p], y, F_test[:, :p], y_test, **options) for p in points])


def samples(X, y, X_test, y_test, points, **options):
    """Sample curve at the given sample sizes."""
    return curve([solve(X[:i], y[:i], X_test, y_test, **options) for i in points])
