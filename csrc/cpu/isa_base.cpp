// Every kernel family compiled for one instruction set. The standard headers come first, before the target
// changes: an inline function of theirs compiled for a higher set could be the copy that the linker keeps for
// all.
#include "cpu/isa_prelude.hpp"

#define GENKERN_ISA isa_base
#define GENKERN_VECTOR_BYTES 16
#include "cpu/isa_kernels.inc"
