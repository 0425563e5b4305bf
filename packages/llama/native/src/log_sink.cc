// See log_sink.h.
#include "log_sink.h"

#include <deque>
#include <mutex>

#include "llama.h"

namespace kvfold {

namespace {

constexpr size_t kKept = 4;
constexpr size_t kLineLimit = 300;

std::mutex guard;
std::deque<std::string> problems;
bool last_was_problem = false;

std::string trimmed(const char *text) {
  std::string line = text == nullptr ? "" : text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  if (line.size() > kLineLimit) line = line.substr(0, kLineLimit) + "...";
  return line;
}

void sink(ggml_log_level level, const char *text, void *) {
  const std::lock_guard<std::mutex> lock(guard);
  const std::string line = trimmed(text);
  if (level == GGML_LOG_LEVEL_CONT) {
    if (last_was_problem && !problems.empty() && problems.back().size() < kLineLimit) problems.back() += line;
    return;
  }
  last_was_problem = level == GGML_LOG_LEVEL_ERROR;
  if (!last_was_problem || line.empty()) return;
  problems.push_back(line);
  if (problems.size() > kKept) problems.pop_front();
}

}  // namespace

void install_log_sink() { llama_log_set(sink, nullptr); }

std::string take_log_problems() {
  const std::lock_guard<std::mutex> lock(guard);
  std::string all;
  for (const std::string &line : problems) all += (all.empty() ? "" : " | ") + line;
  problems.clear();
  return all;
}

}  // namespace kvfold
