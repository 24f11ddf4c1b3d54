"""Gradient descent and its relatives on a margin loss, at any step count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _checks, _checks_separable, _registry
from genkern._logistic_steps import default_step_size, runs_every_step
from genkern.errors import BackendUnavailable

Array = np.ndarray[Any, Any]
LOSSES = ("logistic", "exponential")
ALGORITHMS = ("gd", "normalized", "heavy_ball", "accelerated", "sign", "coordinate", "mirror")
SCHEDULES = ("constant", "sqrt")
METHODS = ("auto", "exact", "continued")
_SCHEDULED = ("normalized", "sign", "coordinate", "mirror")


@dataclass(frozen=True, eq=False)
class LogisticPath:
    """Iterates at the logged steps, arrays of the caller's library; without the axis t if `steps` was a number.

    Attributes
    ----------
    steps : array (t,), float64
        The counts as used: whole numbers below 2^53.
    coef : array (..., t, d)
        The iterates; NaN where `status` is 1, and from where an iterate was not finite.
    log_loss, loss : array (..., t)
        Logarithm of the sum of the losses, and the sum itself, which underflows long before its logarithm.
    margin : array (..., t)
        ``min_i y_i <x_i, coef> / ||coef||``, in the Euclidean norm; NaN for ``coef == 0``.
    norm : array (..., t)
        ``||coef||``.
    error : array (..., t), float64
        Estimated relative error ``||coef - exact|| / ||exact||`` of the continuation, against exact arithmetic; 0 where
        every step was run, infinite where nothing is known (then coef may be NaN). Where ``||coef||`` is below ``1e-4 /
        max_i ||x_i||``, relative to that.
    step_size : array (...), float64
        As used.
    status : array (...), int8
        0 fine, 1 X, y or init of this item is not finite, 2 an iterate was not finite (diverged, or data so large or
        small that float64 holds no default step size for it), 3 `error` is above `rtol` at some logged step.
    """

    steps: Any
    coef: Any
    log_loss: Any
    loss: Any
    margin: Any
    norm: Any
    error: Any
    step_size: Any
    status: Any

    def angle(self, direction: Any) -> Any:
        """Angle in radians between the iterates and a direction (..., d): array (..., t); NaN for a zero vector."""
        (coef, to), library = _checks.device_arrays(coef=self.coef, direction=direction)
        xp = library.namespace
        if to.ndim < 1 or to.shape[-1] != coef.shape[-1]:
            raise ValueError(f"direction must have shape (..., d) with d = {coef.shape[-1]}, got {to.shape}")
        if np.ndim(self.steps):
            to = to[..., None, :]
        _checks.broadcast_batch({"coef": coef.shape[:-1], "direction": to.shape[:-1]})
        with np.errstate(invalid="ignore", divide="ignore"):
            u, v = (a / xp.linalg.norm(a, axis=-1, keepdims=True) for a in (coef, to))
            # The arc cosine of the inner product would lose half the digits of a small angle.
            return library.wrap(2 * xp.arctan2(xp.linalg.norm(u - v, axis=-1), xp.linalg.norm(u + v, axis=-1)))

    def plot(self, direction: Any = None) -> Any:
        """Loss, margin, norm and, with a direction, the angle to it, over steps: a `matplotlib.figure.Figure`."""
        from genkern import _plot_logistic

        return _plot_logistic.draw(self, None if direction is None else self.angle(direction))


def logistic_path(
    X: Any,
    y: Any,
    steps: Any,
    *,
    step_size: Any = None,
    loss: str | tuple[Callable[[float], float], Callable[[float], float]] = "logistic",
    algorithm: str = "gd",
    schedule: str = "constant",
    momentum: float = 0.9,
    p: float | None = None,
    method: str = "auto",
    init: Any = None,
    rtol: float = 1e-9,
    progress: bool | Callable[[float], object] | None = None,
    out: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> LogisticPath:
    r"""Iterates of gradient descent, or of a relative of it, on a margin loss, for a batch of problems.

    With ``z_i = y_i x_i`` the objective is the *sum* ``L(w) = sum_i l(<z_i, w>)``, ``l(u) = log(1 + exp(-u))`` or
    ``exp(-u)``; the step size of a mean of losses is n times the one here. On separable data ``||w||`` grows like
    log t and ``w / ||w||`` tends to the direction of the largest margin like 1 / log t [1]_.

    Parameters
    ----------
    X : array (..., n, d)
        Inputs; batch axes broadcast. float32 is iterated in float32, integers become float64.
    y : array (..., n)
        Labels -1 and +1; one class alone is fine.
    steps : float or array (t,)
        Step counts in [0, 1e300] in increasing order, floored below 2^53. A number adds no axis, a sequence the axis t.
    step_size : float or array (...), optional
        Step size eta > 0, broadcast over the batch. The defaults, with ``B_q = max_i ||x_i||_q`` and s_max the largest
        singular value of X: gradient descent ``4 / s_max^2`` (logistic) or ``1 / (L(init) B_2^2)`` (exponential: the
        loss then never rises); heavy ball ``1 - momentum`` times that; normalized and accelerated ``1 / B_2^2``; sign
        ``0.1 / B_1`` (with a constant step its limit misses the largest margin by O(eta)); coordinate ``1 / B_inf^2``;
        mirror ``1 / B_q^p`` with ``1/p + 1/q = 1``. 1 where all x_i are 0.
        A loss of your own has no default.
    loss : {"logistic", "exponential"} or pair of functions
        Or ``(l, l')`` of the margin u, decreasing, plain Python or numba-jitted functions of one number. The numba
        backend (the default then) compiles them in, the reference backend calls them, cpp and cupy cannot.
    algorithm : str
        With ``g = -grad L(w)``, ``q = -grad log L(w)``, and t = 1, 2, ... the number of the step:

        * ``gd``: ``w += eta g``;
        * ``heavy_ball``: ``w_t = w_{t-1} + eta g + momentum (w_{t-1} - w_{t-2})``;
        * ``normalized``: ``w += eta_t q``;
        * ``accelerated``: ``v = (t - 1)/t (v + q)``, ``w += eta (v + q)`` (Ji, Srebro, Telgarsky 2021);
        * ``sign``: ``w += eta_t sign(q)``, towards the largest margin in the l_inf norm;
        * ``coordinate``: ``w_j += eta_t q_j`` at the largest ``|q_j|`` (the first of several), l1 norm;
        * ``mirror``: ``grad psi(w) += eta_t q`` for ``psi(w) = ||w||_p^p / p``, l_p norm.

        All but the first two follow log L, so that their iterates grow like t and not like log t.
    schedule : {"constant", "sqrt"}
        ``eta_t = eta`` or ``eta / sqrt(t)``; "sqrt" for ``normalized``, ``sign``, ``coordinate`` and ``mirror`` only.
    momentum : float
        Of ``heavy_ball``, in [0, 1).
    p : float, optional
        Of ``mirror``, > 1.
    method : {"auto", "exact", "continued"}
        "exact" runs every step. "continued" runs as many as it needs to estimate its error, then follows the modified
        differential equation of gradient descent in log t (see Notes); for ``gd`` with a built-in loss only. "auto" is
        "exact" up to 16384 steps, or as many as 2e9 flops allow, and for whatever cannot be continued. On a GPU nothing
        is continued: more steps than these need "exact" there.
    init : array (..., d), optional
        Where to start, 0 by default.
    rtol : float
        Relative error of coef, or the rounding unit of its dtype if that is larger, that the continuation has to reach
        at every logged step; else `status` is 3.
    progress : bool or function, optional
        True shows a bar (needs tqdm); a function is called now and then with the share of the work that is done.
    out : array (..., t, d), optional
        Memory for `coef`: C-contiguous, of the result's dtype, apart from the inputs.
    backend : {None, "reference", "cpp", "numba", "cupy"}
        None follows the array and the machine.
    n_threads : int, optional
        Threads at most; None is every core that the process may use.

    Returns
    -------
    LogisticPath
        Bad data spoils its own item only. The bits of an item depend neither on `n_threads` nor on its batch.

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range, type or dtype; an algorithm that has no continuation.
    BackendUnavailable, DeviceMismatch
        The backend cannot run here; the arrays live on different devices.

    Notes
    -----
    After a burn-in gradient descent follows, up to terms of fourth order in eta, the differential equation ``dw/dt =
    -eta g - eta^2/2 H g - eta^3 (H H g/3 + D^2 g[g, g]/12)`` (g gradient, H Hessian), which is solved in log t, in
    min(n, d) variables and in float64 whatever the dtype, at a cost of order log t. The burn-in goes on until two of
    them, of t and of t/2 steps, are continued to the same path; their difference is where `error` comes from.
    Data that is not separable converges to its finite optimum, exactly or continued. A data set of which one part is
    separable and another one is not keeps its accuracy as long as rounding of the gradient allows (`error` tells).

    Cost of an exact step: ``4 n d`` flops, or ``2 n^2`` in Gram form (``n < d / 2``), and n exponentials.

    References
    ----------
    .. [1] D. Soudry, E. Hoffer, M. S. Nacson, S. Gunasekar, N. Srebro, "The implicit bias of gradient descent on
       separable data", JMLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from genkern import logistic_path
    >>> X = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5]])
    >>> path = logistic_path(X, np.array([1, 1, -1, -1]), [1e3, 1e100])
    >>> path.coef.shape
    (2, 2)
    """
    given = {"X": X} if init is None else {"X": X, "init": init}
    views, library = _checks.device_arrays(**given, y=y)
    dtype = _checks.device_arrays(**given)[0][0].dtype  # labels of integers do not make float32 data float64
    X_view, *_, y_view = (view.astype(dtype, copy=False) for view in views)
    _checks.minimum_axes("X", X_view, 2, "(..., n, d)")
    n, d = X_view.shape[-2:]
    _checks_separable.labels(y_view, X_view)
    start = library.namespace.zeros(d, dtype) if init is None else views[1].astype(dtype, copy=False)
    if start.ndim < 1 or start.shape[-1] != d:
        raise ValueError(f"init must have shape (..., d) with d = {d}, got {start.shape}")
    counts = _checks_separable.increasing_counts("steps", steps)
    rule = _checks_separable.margin_loss(loss, LOSSES)
    algorithm = _checks.choice("algorithm", algorithm, ALGORITHMS)
    schedule = _checks.choice("schedule", schedule, SCHEDULES)
    method = _checks.choice("method", method, METHODS)
    if schedule != "constant" and algorithm not in _SCHEDULED:
        raise ValueError(f"schedule must be 'constant' for algorithm={algorithm!r}, got {schedule!r}")
    momentum = _checks.momentum("momentum", momentum, False)
    if algorithm != "heavy_ball" and momentum != 0.9:
        raise ValueError(f"momentum is an option of algorithm='heavy_ball', got {momentum} with {algorithm!r}")
    if algorithm == "mirror":
        if p is None:
            raise ValueError("p must be given for algorithm='mirror', got None")
        p = _checks.real_number("p", p, low=1.0, strict=True)
    elif p is not None:
        raise ValueError(f"p is an option of algorithm='mirror', got {p} with {algorithm!r}")
    if method == "continued" and (algorithm != "gd" or not isinstance(rule, str)):
        what = f"algorithm={algorithm!r}" if algorithm != "gd" else "a loss of your own"
        raise ValueError(f"method must be 'exact' or 'auto' with {what}, which has no continuation, got 'continued'")
    if method == "auto":
        cheap = algorithm != "gd" or not isinstance(rule, str) or runs_every_step(n, d, counts)
        method = "exact" if cheap else "continued"
    if method == "exact":
        _checks_separable.exact_counts("steps", counts, f"method='exact', algorithm={algorithm!r}")
    if not isinstance(rule, str):
        if step_size is None:
            raise ValueError("step_size must be given with a loss of your own, got None")
        backend = backend if backend is not None else "numba" if library.device is None else "cupy"
        if backend in ("cpp", "cupy"):
            raise BackendUnavailable(
                f"backend={backend!r} cannot run: a loss of your own needs numba, which compiles it in"
                f"{'' if backend == 'cpp' else ', and arrays in host memory'}"
            )
    elif method == "continued" and library.device is not None:
        raise BackendUnavailable(
            "backend='cupy' cannot run: steps are not continued on a GPU; method='exact' runs every step there, and "
            "arrays in host memory can be continued"
        )
    rtol = _checks.real_number("rtol", rtol, low=0.0, strict=True)
    sizes = np.array(np.nan) if step_size is None else _checks.positive("step_size", step_size)
    shapes = {"X": X_view.shape[:-2], "y": y_view.shape[:-1], "init": start.shape[:-1], "step_size": sizes.shape}
    batch = _checks.broadcast_batch(shapes)
    threads = _checks.threads(n_threads)
    inputs = {"X": X_view, "y": y_view, "init": start, "steps": counts, "step_size": sizes}
    coef = _checks.output(out, (*batch, *counts.shape, d), X_view.dtype, library, inputs)
    solve = _registry.resolve("logistic_path", backend, library.device)
    if step_size is None:
        sizes = default_step_size(X_view, y_view, start, rule, algorithm, momentum, p, backend, threads)
    used = _checks.broadcast(library.namespace.asarray(sizes), batch).copy()
    report, finish = _checks_separable.reporter(progress)

    scalars = {name: library.empty((*batch, *counts.shape), X_view.dtype) for name in ("log_loss", "margin", "norm")}
    error, status = library.namespace.zeros((*batch, *counts.shape)), library.empty(batch, np.int8)
    long = (*batch, counts.size)
    try:
        solve(
            _checks.broadcast(X_view, (*batch, n, d)),
            _checks.broadcast(y_view, (*batch, n)),
            np.atleast_1d(counts),
            used,
            _checks.broadcast(start, (*batch, d)),
            coef.reshape((*long, d)),
            *(values.reshape(long) for values in scalars.values()),
            error.reshape(long),
            status,
            loss=rule,
            algorithm=algorithm,
            schedule=schedule,
            momentum=momentum,
            p=2.0 if p is None else p,
            continued=method == "continued",
            rtol=rtol,
            progress=report,
            n_threads=threads,
        )
    finally:
        finish()
    scalars["loss"] = library.namespace.exp(scalars["log_loss"])
    return LogisticPath(
        steps=library.wrap(library.namespace.asarray(counts)),
        coef=library.result(coef, out),
        error=library.wrap(error),
        step_size=library.wrap(used),
        status=library.wrap(status),
        **{name: library.wrap(values) for name, values in scalars.items()},
    )
