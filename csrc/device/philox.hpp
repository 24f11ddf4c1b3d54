// Philox4x32-10: four random words for every (counter, key), without a state.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The layout is that
// of genkern/_random.py: block (row // 2, column low word, column high word, stream) under the key (seed low
// word, seed high word).
#pragma once

#include "device/common.hpp"

namespace device {

struct Words {
  u32 w0, w1, w2, w3;
};

GENKERN_HD Words philox4x32(Words x, u32 k0, u32 k1) {
  GENKERN_UNROLL(10)
  for (int round = 0; round < 10; ++round) {
    const u64 a = u64(x.w0) * 0xD2511F53u, b = u64(x.w2) * 0xCD9E8D57u;
    x = {u32(b >> 32) ^ x.w1 ^ k0, u32(b), u32(a >> 32) ^ x.w3 ^ k1, u32(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

// Words (0, 1) and (2, 3) as 64-bit words, little end first.
GENKERN_HD u64 first_word(Words x) { return u64(x.w1) << 32 | x.w0; }
GENKERN_HD u64 second_word(Words x) { return u64(x.w3) << 32 | x.w2; }

// ((w >> 11) + 1/2) 2^-53, built from halves because only AVX-512 converts 64-bit integers.
GENKERN_HD double uniform(u64 w) {
  const double lower = from_bits(0x4330000000000000ull | ((w >> 11) & 0xFFFFFFFFull));  // 2^52 + its low 32 bits
  const double upper = from_bits(0x4530000000000000ull | (w >> 43));                    // 2^84 + 2^32 its high 21
  const double integer = (upper - 0x1.00000001p84) + lower;                             // minus (2^84 + 2^52), exact
  return (integer + 0.5) * 0x1p-53;
}

}  // namespace device
