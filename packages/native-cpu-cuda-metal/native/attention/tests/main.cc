// Runs all tests, or those whose name contains the first argument.
#include <cstdio>
#include <cstring>

#include "attention.h"
#include "check.h"

int main(int argc, char **argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const char *wanted : {"avx512", "avx2", "neon", "scalar"}) {
    bool here = false;
    for (uint32_t i = 0; const char *isa = kvfold_attention_isa(i); i++) here |= std::strcmp(isa, wanted) == 0;
    std::printf("%s %s\n", here ? "has" : "SKIPPED: no", wanted);
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
