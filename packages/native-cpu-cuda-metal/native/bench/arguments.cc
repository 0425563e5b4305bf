// The command line of the program.
#include "arguments.h"

#include <cerrno>
#include <cstdlib>

#include "names.h"

namespace kvfold {
namespace bench {
namespace {

using Words = std::vector<std::string>;

Words split(const std::string &text, char separator) {
  Words parts(1);
  for (char letter : text) {
    if (letter == separator) parts.emplace_back();
    else parts.back() += letter;
  }
  return parts;
}

bool whole(const std::string &text, uint32_t *number) {
  if (text.empty() || text.size() > 9) return false;
  for (char letter : text) {
    if (letter < '0' || letter > '9') return false;
  }
  *number = static_cast<uint32_t>(std::strtoul(text.c_str(), nullptr, 10));
  return *number > 0;
}

bool shape_named(const std::string &text, Shape *shape) {
  const Words parts = split(text, 'x');
  return parts.size() == 3 && whole(parts[0], &shape->layers) && whole(parts[1], &shape->kv_heads) &&
         whole(parts[2], &shape->head_dim);
}

bool read_list(const std::string &option, const std::string &part, Arguments *arguments) {
  uint32_t number = 0;
  Shape shape{};
  if (option == "--op") {
    for (const std::string &op : operations()) {
      if (op == part) return arguments->ops.push_back(op), true;
    }
    return false;
  }
  if (option == "--backend") {
    arguments->backends.push_back(kvfold_backend_named(part.c_str()));
    return arguments->backends.back() != nullptr;
  }
  if (option == "--type") {
    arguments->types.push_back(type_named(part));
    return arguments->types.back() >= 0;
  }
  if (option == "--variant") return arguments->common.variants.push_back(part), !part.empty();
  if (option == "--shape" && shape_named(part, &shape)) return arguments->shapes.push_back(shape), true;
  if (option == "--cells" && whole(part, &number)) return arguments->cells.push_back(number), true;
  return false;
}

bool read_number(const std::string &option, const std::string &text, Request *common) {
  uint32_t gigabytes = 0;
  if (option == "--ratio") return whole(text, &common->ratio);
  if (option == "--threads") return whole(text, &common->threads);
  if (option == "--runs") return whole(text, &common->runs);
  if (option == "--query-rows") return whole(text, &common->query_rows);
  if (option != "--memory" || !whole(text, &gigabytes)) return false;
  common->memory_limit = uint64_t{gigabytes} << 30;
  return true;
}

bool is_list(const std::string &option) {
  for (const char *list : {"--op", "--variant", "--backend", "--type", "--shape", "--cells"}) {
    if (option == list) return true;
  }
  return false;
}

bool read_option(const std::string &option, const std::string &value, Arguments *arguments) {
  if (!is_list(option)) return read_number(option, value, &arguments->common);
  for (const std::string &part : split(value, ',')) {
    if (!read_list(option, part, arguments)) return false;
  }
  return true;
}

void fill_in(Arguments *arguments) {
  if (arguments->ops.empty()) arguments->ops = operations();
  if (arguments->types.empty()) arguments->types = {KVFOLD_F16, KVFOLD_Q8_0};
  if (arguments->shapes.empty()) arguments->shapes = {{30, 3, 64}, {32, 8, 128}};
  if (arguments->cells.empty()) arguments->cells = {2048, 8192, 32768};
  if (!arguments->backends.empty()) return;
  // the reference is there to be right; it would take hours. The caches lie in host memory
  for (size_t i = 0; const kvfold_backend *backend = kvfold_backend_at(i); i++) {
    if (backend == kvfold_backend_named("reference") || backend->device != nullptr) continue;
    arguments->backends.push_back(backend);
  }
}

}  // namespace

bool read_arguments(int count, char **words, Arguments *arguments, std::string *problem) {
  for (int i = 1; i < count; i++) {
    const std::string option = words[i];
    if (option == "--json") arguments->json = true;
    else if (option == "--help") arguments->help = true;
    else if (i + 1 < count && read_option(option, words[i + 1], arguments)) i++;
    else {
      *problem = option + (i + 1 < count ? std::string(" does not take ") + words[i + 1] : " needs a value");
      return false;
    }
  }
  fill_in(arguments);
  return true;
}

const char *usage() {
  return "kvfold_bench_kernels: times every operation of the backends of this build against the machine itself\n"
         "  --op LIST          fold, rope, key-stats, attend, fit (all)\n"
         "  --variant LIST     merge, merge-turned, evict, composite of fold, and so on (all)\n"
         "  --backend LIST     (all but reference)\n"
         "  --type LIST        f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 (f16,q8_0)\n"
         "  --shape LIST       layers x KV heads x head size (30x3x64,32x8x128)\n"
         "  --cells LIST       (2048,8192,32768)\n"
         "  --ratio N          cells before / cells after (4)\n"
         "  --threads N        (1)\n"
         "  --runs N           rounds that count (10)\n"
         "  --query-rows N     for each KV head; attend and fit (1024)\n"
         "  --memory GIB       what needs more is left out (no limit)\n"
         "  --json             one JSON object at the end\n"
         "Example: kvfold_bench_kernels --op fold --variant merge --type f16 --cells 8192 --threads 2\n";
}

}  // namespace bench
}  // namespace kvfold
