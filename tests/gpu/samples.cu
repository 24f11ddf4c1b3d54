// TEST ONLY: kernels that show what the emulator runs and what it finds.

// out[0] += sum of x (n), by shared memory, shuffles and an atomic.
template <class T>
__device__ void add_up(const T* x, T* out, long long n) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ T of_warp[32];
  T* const part = reinterpret_cast<T*>(memory);
  T sum = 0;
  const long long stride = (long long)blockDim.x * gridDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) sum += x[i];
  part[threadIdx.x] = sum;
  __syncthreads();
  sum = part[blockDim.x - 1 - threadIdx.x];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();  // of_warp
  if (threadIdx.x != 0) return;
  T total = 0;
  for (int w = 0; w < int(blockDim.x / 32); ++w) total += of_warp[w];
  atomicAdd(out, total);
}
extern "C" __global__ void __launch_bounds__(256) sample_sum_f32(const float* x, float* out, long long n) {
  add_up(x, out, n);
}
extern "C" __global__ void __launch_bounds__(256) sample_sum_f64(const double* x, double* out, long long n) {
  add_up(x, out, n);
}

// Lane operations of one warp, each into a row of out (8, 32).
extern "C" __global__ void sample_lanes(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_sync(0xffffffffu, lane, lane + 5, 16);
  out[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 3, 8);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
  out[96 + lane] = __shfl_xor_sync(0xffffffffu, lane, 9);
  out[128 + lane] = int(__ballot_sync(0xffffffffu, lane % 3 == 0));
  out[160 + lane] = __any_sync(0xffffffffu, lane == 7) + 2 * __all_sync(0xffffffffu, lane < 31);
  if (lane < 16) {
    out[192 + lane] = __shfl_sync(0x0000ffffu, lane, 15 - lane);
  } else {
    out[192 + lane] = __shfl_sync(0xffff0000u, lane, 16);
  }
  __syncwarp();
  out[224 + lane] = __syncthreads_count(lane % 4 == 0);
}

extern "C" __global__ void sample_missing_threads(int n) {
  if (int(threadIdx.x) < n) __syncthreads();
}
extern "C" __global__ void sample_two_barriers(int n) {
  if (int(threadIdx.x) < n) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
extern "C" __global__ void sample_missing_lane(int* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
}
extern "C" __global__ void sample_unnamed_lane(int* out) {
  if (threadIdx.x < 4) out[threadIdx.x] = __shfl_sync(0xfu, 1, 4);
}
extern "C" __global__ void sample_beyond(float* out, int bytes) {
  extern __shared__ unsigned char memory[];
  memory[bytes] = 1;
  out[0] = 1;
}
extern "C" __global__ void sample_unwritten(float* out) {
  __shared__ float there[4];
  extern __shared__ float also[];
  if (threadIdx.x > 4) there[threadIdx.x - 5] = 0;
  out[threadIdx.x] = there[threadIdx.x] + also[threadIdx.x];
}
extern "C" __global__ void sample_outside(float* out, long long at) {
  if (threadIdx.x == 0) out[at] = 0;
}
// Wrong without the barrier, in one of the two orders of threads at least.
extern "C" __global__ void sample_race(float* out) {
  __shared__ float value[64];
  value[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = value[(threadIdx.x + 1) % 64];
}
