// Runs all tests, or those whose name contains the first argument.
#include <cstdio>
#include <cstring>

#include "attention.h"
#include "check.h"

int main(int argc, char **argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (uint32_t i = 0; kvfold_attention_isa(i) != nullptr; i++) std::printf("has %s\n", kvfold_attention_isa(i));
  for (const char *isa : {"avx512", "avx2"}) {
    bool here = false;
    for (uint32_t i = 0; kvfold_attention_isa(i) != nullptr; i++) here |= std::strcmp(kvfold_attention_isa(i), isa) == 0;
    if (!here) std::printf("SKIPPED: %s is not here\n", isa);
  }
  size_t ran = 0;
  for (const check::Test &test : check::tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const unsigned long before = check::counts().failures;
    test.run();
    std::printf("%s %s\n", check::counts().failures == before ? "ok    " : "FAILED", test.name);
    ran++;
  }
  std::printf("%zu tests, %lu checks, %lu failures\n", ran, check::counts().checks, check::counts().failures);
  return ran == 0 || check::counts().failures > 0 ? 1 : 0;
}
