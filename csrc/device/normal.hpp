// Two standard normals from two uniforms by Box and Muller's transformation,
//   sqrt(-2 log u) cos(2 pi v)   and   sqrt(-2 log u) sin(2 pi v).
//
// Numerics: log to 1 ULP, sine and cosine to 2. The operations and constants are those of genkern/_random.py,
// one by one, so the bits are the same on every instruction set and backend.
#pragma once

#include "device/philox.hpp"

namespace device {

// Natural logarithm of a positive normal number: with u = 2^k (1 + f), s = f / (2 + f) and z = s^2,
// log(1 + f) = f - s (f - z L(z)).
GENKERN_HD double log_positive(double u) {
  constexpr double L[] = {
      0.6666666666666734, 0.39999999999414315, 0.2857142874247648,  0.2222219856329391,
      0.1818356487895059, 0.15314035460431313, 0.14796109736092475,
  };
  const u64 bits = bits_of(u);
  const u64 biased = (bits - 0x3FE6A09E667F3BCDull + 0x3FF0000000000000ull) >> 52;  // k + 1023
  const double k = from_bits(0x4330000000000000ull | biased) - (0x1p52 + 1023);
  const double f = from_bits(bits - (biased << 52) + 0x3FF0000000000000ull) - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  return k * 0x1.62e42fefa3800p-1 + (f - (s * (f - z * polynomial(L, z)) - k * 0x1.ef35793c76730p-45));
}

// sin(2 pi v) and cos(2 pi v) for 0 <= v <= 1: with r = 4 v minus the nearest integer and z = r^2,
// sin(pi r / 2) = r (pi/2 + z S(z)), cos(pi r / 2) = 1 + z C(z).
GENKERN_HD void sincos_turns(double v, double& sine, double& cosine) {
  constexpr double S[] = {
      -0.645964097506245,     0.07969262624606271,    -0.004681754132616178,
      0.00016044115259784513, -3.598649338456308e-06, 5.6346748011976716e-08,
  };
  constexpr double C[] = {
      -1.2337005501361697,    0.2536695079010469,     -0.020863480763315442,  0.0009192602742250346,
      -2.520203699153979e-05, 4.7106156576538966e-07, -6.321892423260709e-09,
  };
  const double quarters = 4.0 * v;
  const double shifted = quarters + round_to_integer;
  const double r = quarters - (shifted - round_to_integer);
  const double z = r * r;
  const double along = 0x1.921fb54442d18p+0 * r + r * (0x1.1a62633145c07p-54 + z * polynomial(S, z));
  const double across = 1.0 + z * polynomial(C, z);
  // Odd quadrants swap the two, the signs follow; as bit operations these need no comparison of integers.
  const u64 quadrant = bits_of(shifted);
  const u64 swap = (bits_of(along) ^ bits_of(across)) & (0 - (quadrant & 1));
  sine = from_bits((bits_of(along) ^ swap) ^ ((quadrant & 2) << 62));
  cosine = from_bits((bits_of(across) ^ swap) ^ (((quadrant + 1) & 2) << 62));
}

// The normals of an even row and of the odd one after it from the 64-bit words of their block.
GENKERN_HD void normal_pair(u64 first, u64 second, double& even, double& odd) {
  double sine, cosine;
  const double radius = GENKERN_SQRT(-2.0 * log_positive(uniform(first)));
  sincos_turns(uniform(second), sine, cosine);
  even = radius * cosine;
  odd = radius * sine;
}

}  // namespace device
