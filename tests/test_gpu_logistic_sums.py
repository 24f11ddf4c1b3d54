"""Descent on a GPU, of problems that one block does not hold: the sums of chunks of rows, and the memory they take."""

import importlib
import re

import numpy as np
import pytest
from gpu import compile, nvrtc
from gpu.descents import FIELDS, logged, names, options_of, problem

import genkern


@pytest.mark.parametrize("shared_X", [False, True])
@pytest.mark.parametrize("algorithm", ["gd", "normalized", "coordinate"])
@pytest.mark.parametrize("constants", [
    {"TILE_BYTES": 300, "CHUNKS": 4}, {"TALL": 2, "WEIGHTS": 5, "COLUMNS": 3, "SPLIT": 7},
    {"TALL": 2, "WEIGHTS": 5, "COLUMNS": 3},
])  # fmt: skip
def test_how_many_items_go_together_changes_no_bit(emulated, change, monkeypatch, algorithm, constants, shared_X):
    """Their sums take no more memory than allowed, or what one item needs."""
    X, y = problem(30, 7, batch=(1 if shared_X else 5,))
    y = problem(30, 7, batch=(5,), seed=1)[1]
    X[-1:, 3, 2] = X[0, 3, 2] if shared_X else np.nan
    eta = np.linspace(0.01, 0.03, 5)
    change("logistic", SMALL_BYTES=0)
    change("logistic_large", **constants)
    call = lambda: genkern.logistic_path(X, y, [0, 1, 9], step_size=eta, **options_of(algorithm))  # noqa: E731
    whole, launches, _ = logged(call)
    first = names(launches)[0]
    assert names(launches).count(first) == 9
    large = importlib.import_module("genkern._cupy.logistic_large")
    plan = large.Tall.of(30, 7, 8) if large.TALL >= 7 else large.Wide.of(30, 7)
    each, empty, follow, taken = plan.workspace(30, 7, 8), emulated.empty, large._follow, []

    def counted(shape, dtype=float):
        taken[-1] += int(np.prod(shape)) * 8 if dtype in (float, np.float64) else 0
        return empty(shape, dtype)

    def watched(*given):
        taken.append(0)
        with monkeypatch.context() as inside:
            inside.setattr(emulated, "empty", counted)
            follow(*given)

    change("logistic_large", _follow=watched)
    for together, parts in ((0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1])):
        change("logistic_large", WORKSPACE=together * each + each // 2)
        taken.clear()
        found, launches, _ = logged(call)
        assert taken == [each * part for part in parts] and names(launches).count(first) == 9 * len(parts)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


SHAPES = [
    ((1_000_000, 600), True), ((768, 600), False), ((769, 600), True), ((2000, 513), True), ((100_000, 16_353), False),
    ((100_000, 16_352), True), ((300, 1_000_000), False),
]  # fmt: skip


@pytest.mark.parametrize("shape, split", SHAPES)
def test_blocks_that_add_up_the_gradient_of_long_rows(shape, split):
    """As many as a large GPU has room for, where the problem has them, and none that has little to do."""
    from genkern._cupy.logistic_large import CHUNKS, Wide

    (n, k), plan = shape, Wide.of(*shape)
    assert plan.split == split
    blocks = -(-k // 32) * (plan.chunks if split else 1)
    assert blocks >= min(CHUNKS, n * k / (4 * 256 * 32)) and plan.warps * 32 <= (256 if split else 512)


@pytest.mark.skipif(not nvrtc.libraries(), reason="NVRTC: pip install nvidia-cuda-nvrtc-cu12")
@pytest.mark.parametrize("kernel", ["logistic_large_pass_f32", "logistic_large_pass_f64"])
def test_a_tile_has_several_loads_on_their_way(kernel):
    """Eight of them before the first store, of a matrix and of a triangle."""
    ptx = nvrtc.compiled((compile.CSRC / "cuda" / "logistic_large.cu").read_text(), "sm_80").entry(kernel)
    order = "".join({"ld.global": "L", "st.shared": "S"}[word] for word in re.findall(r"ld\.global|st\.shared", ptx))
    assert order.count("L" * 8 + "S" * 8) == 2
