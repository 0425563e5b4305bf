// A test harness in one page: TEST registers, CHECK counts and goes on, REQUIRE leaves the test.
#ifndef KVFOLD_ATTENTION_TESTS_CHECK_H
#define KVFOLD_ATTENTION_TESTS_CHECK_H

#include <cstdio>
#include <vector>

namespace check {

struct Test {
  const char *name;
  void (*run)();
};

inline std::vector<Test> &tests() {
  static std::vector<Test> all;
  return all;
}

struct Counts {
  unsigned long checks = 0, failures = 0;
};

inline Counts &counts() {
  static Counts all;
  return all;
}

struct Register {
  Register(const char *name, void (*run)()) { tests().push_back({name, run}); }
};

inline bool record(bool ok, const char *file, int line, const char *what) {
  counts().checks++;
  if (!ok && counts().failures++ < 20) std::printf("%s:%d: failed: %s\n", file, line, what);
  return ok;
}

/// got <= bound, with both numbers in the message.
inline bool record_bound(double got, double bound, const char *file, int line, const char *what) {
  const bool ok = got <= bound;  // false for NaN
  record(ok, file, line, what);
  if (!ok && counts().failures < 20) std::printf("  got %.6g, bound %.6g\n", got, bound);
  return ok;
}

}  // namespace check

#define TEST(name)                                     \
  static void name();                                  \
  static const check::Register name##_test(#name, name); \
  static void name()

#define CHECK(condition) check::record((condition), __FILE__, __LINE__, #condition)
#define CHECK_BOUND(got, bound) check::record_bound((got), (bound), __FILE__, __LINE__, #got " <= " #bound)
#define REQUIRE(condition) \
  if (!CHECK(condition)) return

#endif
