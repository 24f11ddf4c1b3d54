#include "support/isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace genkern {
namespace {

std::vector<const Kernels*> runnable() {
  std::vector<const Kernels*> tables{&isa_base::kernels};
#ifdef GENKERN_X86_ISA
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&isa_avx2::kernels);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
      tables.push_back(&isa_avx512::kernels);
  }
#endif
  return tables;
}

const Kernels* choose() {
  const std::vector<const Kernels*> tables = runnable();
  const char* wanted = std::getenv("GENKERN_ISA");
  if (wanted == nullptr || *wanted == '\0') return tables.back();
  std::string names;
  for (const Kernels* table : tables) {
    if (std::string(wanted) == table->name) return table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  throw std::invalid_argument("GENKERN_ISA must be one of " + names + " on this machine, got " + wanted);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels* const chosen = choose();
  return *chosen;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* table : runnable()) names.emplace_back(table->name);
  return names;
}

}  // namespace genkern
