// Spectral filters of least squares: scalar functions of one singular value, for CPU and GPU kernels, in double.
//
// Problem: a method that starts from zero gives coef = V diag(phi / s) U^T y with phi = 1 - r_k, r_k its residual
//   polynomial in a = step_size s^2. Here: gradient descent, heavy ball, Nesterov's schedule, ridge.
// Numerics: where phi is small (few steps, small a) it is made from positive terms, so its relative error is a
//   few eps; elsewhere its absolute error is. Beyond that only what a relative eps in a and momentum does to it.
//   Counts are whole and below 2^53, or inf where said.
// Source: the Chebyshev form of heavy ball and the recursions in standard texts (Polyak 1964; Su, Boyd, Candes
//   2016); the forms near its double root and for small k a are our own, verified against 60-digit arithmetic.
#pragma once

#ifndef __CUDACC_RTC__
#include <cmath>
#endif

#ifndef GENKERN_HOST_DEVICE
#ifdef __CUDACC__
#define GENKERN_HOST_DEVICE __host__ __device__
#else
#define GENKERN_HOST_DEVICE
#endif
#endif

namespace genkern {

GENKERN_HOST_DEVICE inline bool is_endless(double k) { return k > 0x1.fffffffffffffp1023; }

// s / (s^2 + ridge) for s > 0, without squaring s.
GENKERN_HOST_DEVICE inline double ridge_gain(double s, double ridge) {
  const double share = ridge / s;
  if (share <= s) return 1 / (s + share);
  const double inverse = s / ridge;
  return inverse / (1 + s * inverse);
}

// A ridge in units of the square of 2^exponent, the scale of a matrix: where the singular values s < 1 of the scaled
// matrix are nothing beside it, and it might overflow, the gain is `gain(s)` times 2^-shift, else shift is 0.
struct ScaledRidge {
  double fraction;
  int shift;

  GENKERN_HOST_DEVICE ScaledRidge(double ridge, int exponent) {
    int ridge_exponent = 0;
    fraction = frexp(ridge, &ridge_exponent);
    const int relative = ridge_exponent - 2 * exponent;
    shift = ridge > 0 && relative > 600 ? relative : 0;
    if (shift == 0) fraction = ldexp(fraction, relative);
  }
  GENKERN_HOST_DEVICE double gain(double s) const { return shift != 0 ? s / fraction : ridge_gain(s, fraction); }
};

// 1 - (1 - a)^k; k may be inf (then 1, the limit where there is one).
GENKERN_HOST_DEVICE inline double gd_filter(double a, double k) {
  if (k == 0) return 0;
  if (is_endless(k)) return 1;
  if (a <= 1) return -expm1(k * log1p(-a));
  const double exponent = k * log1p(a - 2);  // of |1 - a|^k; a - 2 is exact where that matters
  return fmod(k, 2.0) == 0 ? -expm1(exponent) : 1 + exp(exponent);
}

// phi of heavy ball while (k + 1) |1 - z| <= 1 for both roots z of z^2 - (1 + beta - a) z + beta:
// a sum_m (-1)^(m+1) C(k+1, m+1) h_(m-1), h the complete homogeneous polynomials of the two 1 - z.
GENKERN_HOST_DEVICE inline double heavy_ball_series(double a, double beta, double k) {
  const double N = k + 1, sum = N * ((1 - beta) + a), product = N * N * a;
  double binomial = k / (2 * N);  // C(N, m + 1) / N^(m + 1) at m = 1
  double h = 1, h_before = 0, total = 0;
  for (int m = 1; m <= 40; ++m) {
    const double term = binomial * h;
    total += m % 2 == 1 ? term : -term;
    if (fabs(binomial) * (m + 1) < 1e-18) break;
    const double h_next = sum * h - product * h_before;
    h_before = h;
    h = h_next;
    binomial *= (k - m) / (N * (m + 2));
  }
  return product * total;
}

// 1 - r_k for r_0 = 1, r_1 = 1 - a, r_(k+1) = (1 + beta - a) r_k - beta r_(k-1), 0 <= beta < 1.
GENKERN_HOST_DEVICE inline double heavy_ball_filter(double a, double beta, double k) {
  if (beta == 0) return gd_filter(a, k);
  if (k == 0) return 0;
  if (is_endless(k)) return 1;
  // The roots z of z^2 - (1 + beta - a) z + beta are real and positive for a <= low, complex up to high, then
  // real and negative.
  const double root = sqrt(beta), gap = (1 - beta) / (1 + root);
  const double low = gap * gap, high = (1 + root) * (1 + root);
  if (a <= low) {
    const double difference = sqrt((low - a) * (high - a));            // z1 - z2
    const double d2 = ((1 - beta) + a + difference) / 2, d1 = a / d2;  // 1 - z2, 1 - z1
    if ((k + 1) * d2 <= 1) return heavy_ball_series(a, beta, k);
    const double z1 = 1 - d1, z2 = beta / z1, exponent = k * log1p(-d1), power = exp(exponent);
    // (z1^k - z2^k) / (z1 - z2), smooth through the double root
    const double quotient =
        difference > 0 ? power * -expm1(k * log1p(-fmin(1.0, difference / z1))) / difference : k * power / z1;
    return -expm1(exponent) - z2 * d1 * quotient;
  }
  const double sign = fmod(k, 2.0) == 0 ? 1 : -1;
  if (a >= high) {
    const double difference = sqrt((a - low) * (a - high));
    const double y1 = (a - 1 - beta + difference) / 2, y2 = beta / y1;  // the roots are -y1, -y2
    // Far from the double root 1 - y1 from the distance to the limit of stability; near it y1 must fit y2.
    const double rate = y2 < y1 / 2 ? log1p(-(2 * (1 + beta) - a) / (1 - y2)) : log(y1);
    const double power = exp(k * rate);
    const double quotient =
        difference > 0 ? power * -expm1(k * log1p(-fmin(1.0, difference / y1))) / difference : k * power / y1;
    return 1 - sign * (power + (y2 + beta) * quotient);
  }
  if ((k + 1) * sqrt(a) <= 1) return heavy_ball_series(a, beta, k);
  const double below = sqrt(a - low), above = sqrt(high - a);
  const double power = exp(k / 2 * log(beta)), sine = below * above / (2 * root);
  if (a <= 1 + beta) {
    const double angle = 2 * atan2(below, above);
    return 1 - power * (cos(k * angle) + (1 - beta - a) / (2 * root) * (sin(k * angle) / sine));
  }
  const double angle = 2 * atan2(above, below);  // from the negative axis
  return 1 - sign * power * (cos(k * angle) + (a - 1 + beta) / (2 * root) * (sin(k * angle) / sine));
}

// Nesterov's schedule as a recursion in phi = 1 - r and its last increment; step j = 1, 2, ... has momentum
// (j - 1) / (j + 2).
struct NesterovState {
  double phi = 0, increment = 0;

  GENKERN_HOST_DEVICE void step(double a, double momentum) {
    const double ahead = momentum * increment;
    increment = ahead + a * (1 - phi - ahead);
    phi += increment;
  }
  // What the recursion can still add is below 2^-60: r^2 + increment^2 / a never grows for a <= 1.
  GENKERN_HOST_DEVICE bool settled(double a) const {
    const double r = 1 - phi;
    return a <= 1 && r * r + increment * increment / a < 0x1p-120;
  }
};

// Does the method diverge at a? With `endless` (a count is inf) also at the limit itself.
GENKERN_HOST_DEVICE inline bool gd_diverges(double a, double beta, bool nesterov, bool endless) {
  if (nesterov) return a > 4.0 / 3.0;
  const double limit = 2 * (1 + beta);
  return a > limit || (endless && a == limit);
}

}  // namespace genkern
