// The kernels once per instruction set. Each isa_*.cpp compiles every .inc for one set and fills one Kernels
// table; kernels() is the best that the processor runs, or a lower one by the environment variable
// GENKERN_ISA.
#pragma once

#include <string>
#include <vector>

#include "cpu/curves.hpp"
#include "cpu/features.hpp"
#include "cpu/least_squares.hpp"
#include "cpu/logistic.hpp"
#include "cpu/margin.hpp"

#if defined(__x86_64__)
#define GENKERN_X86_ISA 1
#endif

namespace genkern {

struct Kernels {
  const char* name;
  LeastSquaresKernels least_squares;
  FeaturesKernels features;
  CurvesKernels curves;
  LogisticKernels logistic;
  MarginKernels margin;
};

namespace isa_base {
extern const Kernels kernels;
}
#ifdef GENKERN_X86_ISA
namespace isa_avx2 {
extern const Kernels kernels;
}
namespace isa_avx512 {
extern const Kernels kernels;
}
#endif

// The table in use. Throws std::invalid_argument if GENKERN_ISA names a set that is unknown or not available.
const Kernels& kernels();
// Names of the sets that this build has and this processor runs, lowest first.
std::vector<std::string> available_isas();

}  // namespace genkern
