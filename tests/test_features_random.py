"""The random numbers: known answers, the same bits everywhere, and the distributions they are meant to have."""

import hashlib
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from scipy import stats

from genkern import _random

SIGNIFICANCE = 1e-3  # of every test of a distribution; seeds are fixed, so a test passes always or never

KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

CASES = [(0, 0, 0), (1, 1, 7), (2**32 - 1, 5, 2**32 - 100), (2**64 - 1, 2, 2**64 - 257), (0x9E3779B97F4A7C15, 3, 2**63)]


def columns(start, count):
    return np.uint64(start) + np.arange(count, dtype=np.uint64)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers(counter, key, words):
    assert tuple(int(word) for word in _random.philox4x32(counter, key)) == words


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers_compiled(native, counter, key, words):
    assert native.philox4x32(counter, key) == words


@pytest.mark.parametrize(("seed", "stream", "start"), CASES)
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_compiled_numbers_have_the_bits_of_the_definition(native, seed, stream, start, rows):
    for kind in ("normal", "uniform"):
        expected = getattr(_random, kind)(seed, stream, columns(start, 257), rows)
        found = getattr(native, kind)(seed, stream, start, 257, rows)
        assert found.shape == (rows, 257)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("seed", "stream", "start"), CASES)
def test_numba_numbers_have_the_bits_of_the_definition(seed, stream, start):
    from genkern._numba import features

    found = np.empty((7, 257))
    features.normal(np.uint64(seed), np.uint64(stream), np.uint64(start), found)
    assert found.tobytes() == _random.normal(seed, stream, columns(start, 257), 7).tobytes()


SCRIPT = """
import hashlib, numpy as np
from genkern import _native
print(_native.isa())
for kind in (_native.normal, _native.uniform):
    print(hashlib.sha256(kind(2**64 - 3, 1, 2**32 - 500, 1000, 33).tobytes()).hexdigest())
x = np.linspace(-7, 7, 1001)
for name in ("relu", "erf", "tanh", "cos", "sin", "sign", "rff"):
    for values in (x, x.astype(np.float32)):
        print(hashlib.sha256(_native.activate(name, values).tobytes()).hexdigest())
"""


def test_every_instruction_set_makes_the_same_bits(native):
    outputs = {}
    for isa in native.available_isas():
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | {"GENKERN_ISA": isa}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        name, *outputs[isa] = done.stdout.split()
        assert name == isa
    expected = outputs.pop("base")
    for number, kind in enumerate((_random.normal, _random.uniform)):
        values = kind(2**64 - 3, 1, columns(2**32 - 500, 1000), 33)
        assert expected[number] == hashlib.sha256(values.tobytes()).hexdigest()
    for isa, found in outputs.items():
        assert found == expected, isa


def test_addressed_by_column_and_row_alone():
    whole = _random.normal(11, 0, columns(0, 50), 9)
    assert np.array_equal(_random.normal(11, 0, [40, 3, 7], 5), whole[:5, [40, 3, 7]])
    assert np.array_equal(_random.normal(11, 0, range(10, 20), 9), whole[:, 10:20])
    assert _random.normal(11, 0, range(0), 9).shape == (9, 0)


def ulps(found, exact):
    """Error of a float64 in units of the last place of the exact value."""
    return float(abs(mpmath.mpf(float(found)) - exact) / mpmath.mpf(float(np.spacing(abs(float(exact))))))


def test_logarithm_within_one_ulp():
    rng = np.random.default_rng(0)
    u = np.concatenate(
        [rng.random(2000), 2.0 ** -np.arange(1, 55), 1 - 2.0 ** -np.arange(1, 54), 0.7 + rng.random(500) / 50]
    )
    with mpmath.workdps(40):
        errors = [ulps(found, mpmath.log(mpmath.mpf(float(x)))) for x, found in zip(u, _random.log(u), strict=True)]
    assert max(errors) < 1.0
    assert _random.log(np.ones(1))[0] == 0.0


def test_sine_and_cosine_within_two_ulp():
    rng = np.random.default_rng(1)
    v = np.concatenate([rng.random(2000), np.arange(33) / 32, rng.random(100) * 1e-12])
    sine, cosine = _random.sincos_turns(v)
    with mpmath.workdps(60):
        for x, s, c in zip(v, sine, cosine, strict=True):
            angle = 2 * mpmath.mpf(float(x))
            exact_s, exact_c = mpmath.sinpi(angle), mpmath.cospi(angle)
            assert (s == 0) if exact_s == 0 else ulps(s, exact_s) < 2.0
            assert (c == 0) if exact_c == 0 else ulps(c, exact_c) < 2.0


def test_normals_are_standard_normal():
    z = _random.normal(3, 0, range(100_000), 10)
    assert stats.kstest(z.ravel(), "norm").pvalue > SIGNIFICANCE
    for branch in (z[0::2], z[1::2]):  # cosine and sine
        assert stats.kstest(branch.ravel(), "norm").pvalue > SIGNIFICANCE
    count, bound = z.size, stats.norm.isf(SIGNIFICANCE / 2)
    for power, variance in ((1, 1), (2, 2), (3, 15), (4, 96)):  # of z^power
        mean = {1: 0, 2: 1, 3: 0, 4: 3}[power]
        assert abs(np.mean(z**power) - mean) < bound * np.sqrt(variance / count)
    tail = np.count_nonzero(np.abs(z) > 4)
    assert stats.binomtest(tail, count, 2 * stats.norm.sf(4)).pvalue > SIGNIFICANCE


def test_rows_columns_streams_and_seeds_are_uncorrelated():
    z = _random.normal(3, 0, range(50_000), 6)
    others = {
        "column": z[:, 1:],
        "row": np.roll(z, 1, axis=0)[:, :-1],
        "stream": _random.normal(3, 2, range(49_999), 6),
        "seed": _random.normal(4, 0, range(49_999), 6),
        "high word of the seed": _random.normal(3 + 2**32, 0, range(49_999), 6),
        "high word of the column": _random.normal(3, 0, columns(2**32, 49_999), 6),
    }
    first = z[:, :-1]
    bound = stats.norm.isf(SIGNIFICANCE / 2) / np.sqrt(first.size)
    for name, other in others.items():
        assert abs(np.mean(first * other)) < bound, name
        assert abs(np.mean((first**2 - 1) * (other**2 - 1)) / 2) < bound, name


def test_uniforms_are_uniform():
    u = _random.uniform(9, 1, range(200_000), 3)
    assert u.min() > 0 and u.max() <= 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > SIGNIFICANCE
