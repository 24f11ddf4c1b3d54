// What the kernels of every family may include: standard headers and headers without ISA-dependent code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/least_squares_svd.hpp"
#include "support/buffer.hpp"
#include "support/isa.hpp"
#include "support/lapack.hpp"
#include "support/strip_team.hpp"
#include "support/thread_pool.hpp"
#include "support/view.hpp"
