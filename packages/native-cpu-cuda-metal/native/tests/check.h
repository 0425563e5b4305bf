// CHECK for tests: counts, prints what failed, and ends the program with its verdict.
#ifndef KVFOLD_TESTS_CHECK_H
#define KVFOLD_TESTS_CHECK_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace check {

inline int failed = 0;
inline long passed = 0;
constexpr int kShown = 20;

inline bool report(bool ok, const char *file, int line, const char *what, const char *detail) {
  if (ok) passed++;
  else if (failed++ < kShown) std::printf("%s:%d: failed: %s %s\n", file, line, what, detail);
  return ok;
}

/// What is added to the seeds of random cases, so that several processes can share them: KVFOLD_TEST_SEED.
inline uint32_t first_seed() {
  const char *text = std::getenv("KVFOLD_TEST_SEED");
  return text == nullptr ? 0 : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

/// For the end of main().
inline int verdict(const char *name) {
  std::printf("%s: %ld checks, %d failed\n", name, passed + failed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) check::report((condition), __FILE__, __LINE__, #condition, "")
#define CHECK_MESSAGE(condition, detail) check::report((condition), __FILE__, __LINE__, #condition, (detail))

#endif
