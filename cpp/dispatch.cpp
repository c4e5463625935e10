#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

namespace rnnext {

extern const KernelTable scalar_table;
extern const KernelTable vec128_table;
extern const KernelTable avx2_table;
extern const KernelTable avx512_table;

namespace {

bool always() { return true; }

#if defined(RNNEXT_HAVE_X86)
bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool cpu_has_avx512() { return cpu_has_avx2() && __builtin_cpu_supports("avx512f"); }
#endif

struct Isa {
  const KernelTable* table;
  bool (*available)();
};

// Worst first. A new ISA is a row here, its table's declaration above and a line in CMakeLists.txt.
constexpr Isa isas[] = {
    {&scalar_table, always},
#if defined(RNNEXT_HAVE_VEC128)
    {&vec128_table, always},
#endif
#if defined(RNNEXT_HAVE_X86)
    {&avx2_table, cpu_has_avx2},
    {&avx512_table, cpu_has_avx512},
#endif
};

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

const KernelTable& choose() {
  const char* forced = std::getenv("RNNEXT_ISA");
  const std::string wanted = forced != nullptr ? forced : "";
  const KernelTable* best = nullptr;
  for (const Isa& isa : isas) {
    const bool asked = wanted == isa.table->name;
    if (asked && !isa.available()) {
      throw std::runtime_error("RNNEXT_ISA is '" + wanted + "', which this CPU lacks; it has: " + join(available_isas()));
    }
    if (asked || (wanted.empty() && isa.available())) best = isa.table;
  }
  if (best == nullptr) {
    throw std::runtime_error("RNNEXT_ISA is '" + wanted + "', expected one of: " + join(compiled_isas()));
  }
  return *best;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

std::vector<std::string> compiled_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas) names.emplace_back(isa.table->name);
  return names;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas) {
    if (isa.available()) names.emplace_back(isa.table->name);
  }
  return names;
}

}  // namespace rnnext
