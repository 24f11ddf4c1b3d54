"""Random numbers addressed by (seed, stream, column, row), in plain NumPy: the definition.

Philox4x32-10 [1]_ has no state: block ``(row // 2, column low word, column high word, stream)`` under the key ``(seed
low word, seed high word)`` gives four words, hence the two uniforms of an even row and the odd one after it, and by
Box-Muller their two normals. Every number can so be made alone, in any order, and is the same wherever it is made: the
logarithm, sine and cosine here are polynomials in +, -, *, / and sqrt, which IEEE arithmetic rounds alike everywhere.
The compiled kernels repeat this file operation by operation (csrc/device/philox.hpp, normal.hpp).

References
----------
.. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Words = np.ndarray[Any, np.dtype[np.uint32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

WEIGHTS, PHASES, INPUTS, NOISE, LABELS, SIGNAL = range(6)

_LOW = np.uint64(0xFFFFFFFF)

# log(1 + f) = f - s (f - z L(z)) with s = f / (2 + f), z = s^2, |f| up to sqrt(2) - 1: relative error 2^-58 in z L.
LOG = (
    0.6666666666666734,
    0.39999999999414315,
    0.2857142874247648,
    0.2222219856329391,
    0.1818356487895059,
    0.15314035460431313,
    0.14796109736092475,
)
LN2_HIGH = float.fromhex("0x1.62e42fefa3800p-1")  # 42 bits, so that its products with exponents are exact
LN2_LOW = float.fromhex("0x1.ef35793c76730p-45")
# sin(pi r / 2) = r (pi/2 + z S(z)) and cos(pi r / 2) = 1 + z C(z) with z = r^2, |r| <= 1/2: errors 2^-57 and 2^-64.
SIN = (
    -0.645964097506245,
    0.07969262624606271,
    -0.004681754132616178,
    0.00016044115259784513,
    -3.598649338456308e-06,
    5.6346748011976716e-08,
)
COS = (
    -1.2337005501361697,
    0.2536695079010469,
    -0.020863480763315442,
    0.0009192602742250346,
    -2.520203699153979e-05,
    4.7106156576538966e-07,
    -6.321892423260709e-09,
)
HALF_PI_HIGH = float.fromhex("0x1.921fb54442d18p+0")
HALF_PI_LOW = float.fromhex("0x1.1a62633145c07p-54")


def philox4x32(counter: ArrayLike, key: ArrayLike) -> Words:
    """Philox4x32-10: blocks ``(..., 4)`` of uint32 words for counters ``(..., 4)`` and keys ``(..., 2)``."""
    words = np.asarray(counter, np.uint32).astype(np.uint64)
    keys = np.asarray(key, np.uint32).astype(np.uint64)
    x0, x1, x2, x3 = (words[..., i] for i in range(4))
    k0, k1 = keys[..., 0], keys[..., 1]
    for _ in range(10):
        product0 = x0 * np.uint64(0xD2511F53)
        product1 = x2 * np.uint64(0xCD9E8D57)
        x0, x2 = (product1 >> np.uint64(32)) ^ x1 ^ k0, (product0 >> np.uint64(32)) ^ x3 ^ k1
        x1, x3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return np.stack(np.broadcast_arrays(x0, x1, x2, x3), axis=-1).astype(np.uint32)


def uniform(seed: int, stream: int, columns: ArrayLike, rows: int) -> Doubles:
    """Uniforms ``((word >> 11) + 1/2) 2^-53`` of rows 0..rows-1 of the given columns, ``(rows, len(columns))``."""
    first, second = _uniform_pairs(seed, stream, columns, rows)
    return _interleave(first, second, rows)


def normal(seed: int, stream: int, columns: ArrayLike, rows: int) -> Doubles:
    """Standard normals of rows 0..rows-1 of the given columns, ``(rows, len(columns))``."""
    first, second = _uniform_pairs(seed, stream, columns, rows)
    radius = np.sqrt(-2.0 * log(first))
    sine, cosine = sincos_turns(second)
    return _interleave(radius * cosine, radius * sine, rows)


def log(u: Doubles) -> Doubles:
    """Natural logarithm of positive normal numbers, to 1 ULP."""
    shifted = u.view(np.int64) - np.int64(0x3FE6A09E667F3BCD)  # below sqrt(1/2) the exponent is one less
    exponent = shifted >> np.int64(52)
    f = (u.view(np.int64) - (exponent << np.int64(52))).view(np.float64) - 1.0
    k = exponent.astype(np.float64)
    s = f / (2.0 + f)
    z = s * s
    return k * LN2_HIGH + (f - (s * (f - z * polynomial(LOG, z)) - k * LN2_LOW))


def sincos_turns(v: Doubles) -> tuple[Doubles, Doubles]:
    """``sin(2 pi v), cos(2 pi v)`` for v in [0, 1], to 2 ULP."""
    quarters = 4.0 * v
    nearest = np.rint(quarters)
    r = quarters - nearest
    z = r * r
    sine = HALF_PI_HIGH * r + r * (HALF_PI_LOW + z * polynomial(SIN, z))
    cosine = 1.0 + z * polynomial(COS, z)
    quadrant = nearest.astype(np.int64) & 3
    odd = (quadrant & 1) == 1
    sine, cosine = np.where(odd, cosine, sine), np.where(odd, sine, cosine)
    return np.where(quadrant >= 2, -sine, sine), np.where((quadrant == 1) | (quadrant == 2), -cosine, cosine)


def polynomial(coefficients: tuple[float, ...], z: Doubles) -> Doubles:
    """Horner's rule, every product and sum rounded."""
    value = np.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value


def _uniform_pairs(seed: int, stream: int, columns: ArrayLike, rows: int) -> tuple[Doubles, Doubles]:
    j = np.asarray(columns, dtype=np.uint64)
    pairs = (rows + 1) // 2
    counter = np.empty((pairs, j.size, 4), np.uint32)
    counter[..., 0] = np.arange(pairs, dtype=np.uint32)[:, None]
    counter[..., 1] = (j & _LOW).astype(np.uint32)
    counter[..., 2] = (j >> np.uint64(32)).astype(np.uint32)
    counter[..., 3] = stream
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).astype(np.uint64)

    def uniforms(low: Any, high: Any) -> Doubles:
        bits = ((high << np.uint64(32)) | low) >> np.uint64(11)
        return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-53)

    return uniforms(words[..., 0], words[..., 1]), uniforms(words[..., 2], words[..., 3])


def _interleave(even: Doubles, odd: Doubles, rows: int) -> Doubles:
    return np.stack((even, odd), axis=1).reshape(2 * len(even), even.shape[1])[:rows]
