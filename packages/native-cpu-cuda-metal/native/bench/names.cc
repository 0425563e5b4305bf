// Types by the names of ggml, and instruction sets.
#include "names.h"

#include <cstring>

#include "attention.h"
#include "case.h"
#include "cpu/arch/arch.h"

namespace kvfold {
namespace bench {
namespace {

struct Name {
  int32_t type;
  const char *name;
};

constexpr Name kNames[] = {{KVFOLD_F32, "f32"},   {KVFOLD_F16, "f16"},   {KVFOLD_BF16, "bf16"}, {KVFOLD_Q8_0, "q8_0"},
                           {KVFOLD_Q4_0, "q4_0"}, {KVFOLD_Q4_1, "q4_1"}, {KVFOLD_Q5_0, "q5_0"}, {KVFOLD_Q5_1, "q5_1"}};

}  // namespace

int32_t type_named(const std::string &name) {
  for (const Name &one : kNames) {
    if (name == one.name) return one.type;
  }
  return -1;
}

const char *name_of(int32_t type) {
  for (const Name &one : kNames) {
    if (type == one.type) return one.name;
  }
  return "";
}

const char *isa_of(const Request &request) {
  if (std::strcmp(request.backend->name, "cpu") != 0) return "";
  const Provider *provider = provider_of(request.op);
  return provider != nullptr && provider->compute ? kvfold_attention_isa(0) : cpu::kernels().isa;
}

}  // namespace bench
}  // namespace kvfold
