// Every kernel family compiled for one instruction set. The standard headers come first, before the target
// changes: an inline function of theirs compiled for a higher set could be the copy that the linker keeps for
// all.
#include "cpu/isa_prelude.hpp"

#ifdef GENKERN_X86_ISA
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#endif

#define GENKERN_ISA isa_avx512
#define GENKERN_VECTOR_BYTES 64
#include "cpu/isa_kernels.inc"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
