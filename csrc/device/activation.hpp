// Activations of random features: relu, sign, tanh, erf, cos, sin.
//
// Accuracy in float64: sin, cos and erf 1 ULP, tanh 2.6; float32 values are computed in float64 and rounded. A NaN goes
// through every function. cosine and sine reduce their argument by hand up to `trigonometric_limit`; beyond it the
// caller must use libm, whose reduction carries pi to as many digits as the largest number needs.
#pragma once

#include "device/common.hpp"

namespace device {

constexpr double trigonometric_limit = 1e6;

// exp(y) = power (1 + r + rest) for |y| below 700, power = 2^k with k the integer nearest to y / ln 2.
struct Exponential {
  double power, r, rest;
};
GENKERN_HD Exponential exponential(double y) {
  constexpr double E[] = {
      0.5000000000000006,    0.16666666666666685,    0.0416666666665741,    0.008333333333314657,
      0.0013888888932256423, 0.00019841269902897465, 2.480150456928238e-05, 2.7557228066144102e-06,
      2.762628389491353e-07, 2.5114439476025363e-08,
  };
  const double shifted = y * 0x1.71547652b82fep+0 + round_to_integer;
  const double k = shifted - round_to_integer;
  const double r = (y - k * 0x1.62e42fefa3800p-1) - k * 0x1.ef35793c76730p-45;
  return {from_bits((bits_of(shifted) + 1023) << 52), r, r * r * polynomial(E, r)};
}

GENKERN_HD double with_sign_of(double magnitude, double x) {
  return from_bits((bits_of(magnitude) & ~sign_bit) | (bits_of(x) & sign_bit));
}
GENKERN_HD double absolute(double x) { return from_bits(bits_of(x) & ~sign_bit); }

// tanh x = E / (E + 2), E = exp(2 |x|) - 1 without cancellation; 1 to the last bit from |x| = 20 on. For small x
// E = 2 |x| + rest, and tanh |x| = |x| + (rest - E^2 / (E + 2)) / 2 saves a bit.
GENKERN_HD double hyperbolic_tangent(double x) {
  const double a = absolute(x) > 20.0 ? 20.0 : absolute(x);
  const Exponential y = exponential(2.0 * a);
  const double e = y.power * (y.r + y.rest) + (y.power - 1.0);
  const double ratio = e / (e + 2.0);
  const double near = a + 0.5 * (y.rest - e * ratio);
  return with_sign_of(a < 0.17 ? near : ratio, x);
}

// |x| < 1: erf x = x + x (2/sqrt(pi) - 1 + z A(z)), z = x^2. Beyond: 1 - exp(Q(|x|)), Q = log erfc on [1, 5.95],
// where an error of Q counts only times erfc.
GENKERN_HD double error_function(double x) {
  constexpr double A[] = {
      0.1283791670955126,    -0.37612638903183615,   0.1128379167094708,     -0.02686617064349982,
      0.005223977608933906,  -0.0008548326051797079, 0.00012055296956367854, -1.4924772866841724e-05,
      1.644783435990262e-06, -1.621140687321637e-07, 1.3731929588499178e-08, -7.81680426573239e-10,
  };
  constexpr double Q[] = {
      -5.133599659714661e-07, -1.128373990558815,      -0.6366440602966881,    -0.10270227536028208,
      0.018988014370318135,   0.000413575362501263,    -0.001918986843675383,  0.0007730769708474426,
      -0.0001365760141817934, -1.9512741359409272e-05, 2.2528837895202547e-05, -8.577517547844719e-06,
      2.114493341597413e-06,  -3.695090903984132e-07,  4.5925634978376576e-08, -3.88931113073336e-09,
      2.0199427247585217e-10, -4.8640456290668585e-12,
  };
  const double a = absolute(x);
  const double z = a * a;
  const double near = a + a * polynomial(A, z);
  const double far = a > 5.95 ? 5.95 : a;
  const Exponential y = exponential(polynomial(Q, far));
  return with_sign_of(a < 1.0 ? near : 1.0 - (y.power + y.power * (y.r + y.rest)), x);
}

// sin x and cos x for |x| <= trigonometric_limit, from r = |x| - q pi/2 as a sum of two numbers: pi/2 in three
// parts, so that the products with q are exact. sin r = r + r z S(z), cos r = 1 - z/2 + z^2 C(z), z = r^2.
// `turn` quarter circles are added: 0 gives the sine, 1 the cosine.
GENKERN_HD double sine_of(double x, u64 turn) {
  constexpr double S[] = {
      -0.16666666666666632,   0.00833333333332237,     -0.00019841269829770815,
      2.7557313678564275e-06, -2.5050755947871106e-08, 1.5896665824019597e-10,
  };
  constexpr double C[] = {
      0.04166666666666665,     -0.0013888888888882816, 2.480158729460575e-05,
      -2.7557315730261363e-07, 2.087589636756931e-09,  -1.1367900041939653e-11,
  };
  const double a = absolute(x);
  const double shifted = a * 0x1.45f306dc9c883p-1 + round_to_integer;
  const double q = shifted - round_to_integer;
  const double first = a - q * 0x1.921fb54400000p+0;
  const double second = q * 0x1.0b4611a600000p-34;
  const double high = first - second;
  const double low = ((first - high) - second) - q * 0x1.3198a2e037073p-69;
  const double r = high + low;
  const double tail = (high - r) + low;
  const double z = r * r;
  const double along = r + (r * z * polynomial(S, z) + tail);
  const double half = 0.5 * z, rest = 1.0 - half;
  const double across = rest + (((1.0 - rest) - half) + (z * z * polynomial(C, z) - r * tail));
  const u64 quadrant = bits_of(shifted) + turn;
  const u64 swap = (bits_of(along) ^ bits_of(across)) & (0 - (quadrant & 1));
  const u64 odd_sign = bits_of(x) & sign_bit & (turn - 1);  // the sine is odd, the cosine even
  return from_bits((bits_of(along) ^ swap) ^ ((quadrant & 2) << 62) ^ odd_sign);
}

// Comparisons with a NaN are false, which here keeps it.
template <class T>
GENKERN_HD T rectified(T x) {
  return x < T(0) ? T(0) : x;
}
template <class T>
GENKERN_HD T sign_of(T x) {
  return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}

}  // namespace device
