// See abort_guard.h.
#include "abort_guard.h"

#include <cstdio>
#include <cstring>
#include <string>

#include "failure.h"
#include "ggml.h"

namespace kvfold {

namespace {

thread_local int depth = 0;
thread_local bool stopped = false;

// The message without the folder in which the library was built.
std::string short_message(const char *message) {
  const char *colon = std::strchr(message, ':');
  const char *start = message;
  for (const char *at = message; at < colon; at++)
    if (*at == '/') start = at + 1;
  return start;
}

void on_abort(const char *message) {
  if (depth > 0) {
    stopped = true;
    throw Failure("KVFOLD_NATIVE", "llama.cpp stopped: " + short_message(message),
                  "the model or its settings are not what llama.cpp expects");
  }
  std::fprintf(stderr, "%s\n", message);
}

}  // namespace

AbortGuard::AbortGuard() { depth++; }
AbortGuard::~AbortGuard() { depth--; }

void install_abort_guard() { ggml_set_abort_callback(on_abort); }

bool stopped_here() {
  const bool was = stopped;
  stopped = false;
  return was;
}

}  // namespace kvfold
