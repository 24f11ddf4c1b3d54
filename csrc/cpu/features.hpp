// Random features: interface of csrc/cpu/features.inc.
#pragma once

namespace genkern {

struct FeaturesKernels {};

}  // namespace genkern
