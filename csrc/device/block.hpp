// Sums and the like over the threads of a block (a multiple of 32 of them), for GPU kernels.
#pragma once

namespace device {

// Every lane gets combine() of the values of its warp; combine must commute.
template <class V, class Combine>
__device__ __forceinline__ V over_lanes(V value, Combine combine) {
  for (int half = 16; half > 0; half /= 2) value = combine(value, __shfl_xor_sync(~0u, value, half));
  return value;
}

// Every thread gets combine() of the values of all. The order is one for a block size. `slots`
// (blockDim.x / 32) may be used anew after another barrier.
template <class V, class Combine>
__device__ __forceinline__ V over_block(V value, V* slots, Combine combine) {
  value = over_lanes(value, combine);
  const int warps = blockDim.x / 32;
  if (warps == 1) return value;
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = value;
  __syncthreads();
  V total = slots[0];
  for (int warp = 1; warp < warps; ++warp) total = combine(total, slots[warp]);
  return total;
}

struct Sum {
  template <class V>
  __device__ __forceinline__ V operator()(V a, V b) const {
    return a + b;
  }
};
// A NaN goes through.
struct Least {
  template <class V>
  __device__ __forceinline__ V operator()(V a, V b) const {
    return a < b || a != a ? a : b;
  }
};
struct Largest {
  template <class V>
  __device__ __forceinline__ V operator()(V a, V b) const {
    return a > b || a != a ? a : b;
  }
};

}  // namespace device
