// Names of the margin losses and of the algorithms that descend on them; their numbers are part of the kernels'
// interface, on CPU and GPU.
#pragma once

namespace genkern {

enum class MarginLoss : int { logistic, exponential };
enum class DescentAlgorithm : int { gd, normalized, heavy_ball, accelerated, sign, coordinate, mirror };

}  // namespace genkern
