// Which operations are timed; the whole table.
#include "providers.h"

namespace kvfold {
namespace bench {

static const Provider *const kProviders[] = {&kFold, &kRope, &kKeyStats, &kAttend, &kFit};

const Provider *provider_of(const std::string &op) {
  for (const Provider *provider : kProviders) {
    if (op == provider->op) return provider;
  }
  return nullptr;
}

std::vector<std::string> operations() {
  std::vector<std::string> names;
  for (const Provider *provider : kProviders) names.emplace_back(provider->op);
  return names;
}

}  // namespace bench
}  // namespace kvfold
