// TEST ONLY: a program that launches emulated kernels as races.py has recorded them, for the sanitizers.
#pragma once

#include "emulator_launch.hpp"

#define EMULATOR_REPLAY(...)                                                                                        \
  static const emulator::Entry emulator_table[] = {__VA_ARGS__};                                                    \
  int main(int, char** arguments) {                                                                                 \
    return emulator::replay(arguments[1], emulator_table, int(sizeof(emulator_table) / sizeof(emulator_table[0]))); \
  }

namespace emulator {

inline std::uint64_t number(std::FILE* file) {
  std::uint64_t value = 0;
  if (std::fread(&value, 8, 1, file) != 1) std::exit(2);
  return value;
}
inline void bytes(std::FILE* file, void* to, std::size_t count) {
  if (count > 0 && std::fread(to, 1, count, file) != count) std::exit(2);
}

// A file of launches: entry, grid, block, shared bytes, memories (bytes and content each), arguments (memory and
// offset, or -1 and eight bytes of a number or a null pointer). Every memory is an allocation of exactly its size.
inline int replay(const char* path, const Entry* table, int entries) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return 2;
  for (std::uint64_t launches = number(file); launches > 0; --launches) {
    char name[256] = {};
    bytes(file, name, number(file));
    const Entry* entry = table;
    while (entry < table + entries && std::strcmp(entry->name, name) != 0) ++entry;
    if (entry == table + entries) return 2;
    unsigned grid[3], size[3];
    for (unsigned& n : grid) n = static_cast<unsigned>(number(file));
    for (unsigned& n : size) n = static_cast<unsigned>(number(file));
    const std::size_t shared = number(file);
    char* memories[64];  // not static: the launch fills .bss
    const std::size_t count = number(file);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t length = number(file);
      memories[i] = static_cast<char*>(std::malloc(length));
      bytes(file, memories[i], length);
    }
    std::uint64_t values[64];
    void* pointers[64];
    const std::size_t parameters = number(file);
    for (std::size_t i = 0; i < parameters; ++i) {
      const std::int64_t memory = static_cast<std::int64_t>(number(file));
      values[i] = number(file);
      if (memory >= 0) values[i] += reinterpret_cast<std::uint64_t>(memories[memory]);
      pointers[i] = &values[i];
    }
    if (const char* error = launch(*entry, grid, size, shared, pointers, false)) {
      std::fprintf(stderr, "%s: %s\n", name, error);
      return 3;
    }
    for (std::size_t i = 0; i < count; ++i) std::free(memories[i]);
  }
  std::fclose(file);
  return 0;
}

}  // namespace emulator
