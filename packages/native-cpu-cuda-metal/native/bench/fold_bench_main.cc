// Prints how fast folds are: kvfold_fold_bench [--option value ...]. Options narrow the table that is printed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/arch/arch.h"
#include "fold_bench.h"

using namespace kvfold;
using bench::FoldBenchCase;
using bench::FoldPlanKind;

namespace {

constexpr const char *kHelp =
    "kvfold_fold_bench: folds as a ratio to copy bandwidth, medians of interleaved runs\n"
    "  --backend NAME   [cpu]            --threads N      [2]     --runs N [10]    --ratio N [4]\n"
    "  --shape LxHxD    [30x3x64 and 32x8x128]           --cells N [8192]\n"
    "  --type NAME      f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 [f16 and q8_0]\n"
    "  --plan NAME      merge merge-turned evict composite [all]\n"
    "  --transposed     values transposed\n"
    "  --cpu-time       time that the threads ran, for a machine that others use as well\n"
    "  --gib N          skip what needs more memory [4]\n"
    "example: kvfold_fold_bench --shape 30x3x64 --type f16 --plan merge --cells 32768\n";

struct Named {
  const char *name;
  int value;
};
constexpr Named kTypes[] = {{"f32", KVFOLD_F32},   {"f16", KVFOLD_F16},   {"bf16", KVFOLD_BF16}, {"q8_0", KVFOLD_Q8_0},
                            {"q4_0", KVFOLD_Q4_0}, {"q4_1", KVFOLD_Q4_1}, {"q5_0", KVFOLD_Q5_0}, {"q5_1", KVFOLD_Q5_1}};
constexpr Named kPlans[] = {{"merge", static_cast<int>(FoldPlanKind::merge)},
                            {"merge-turned", static_cast<int>(FoldPlanKind::merge_turned)},
                            {"evict", static_cast<int>(FoldPlanKind::evict)},
                            {"composite", static_cast<int>(FoldPlanKind::composite)}};

struct Request {
  std::string backend = "cpu", shape, type, plan;
  uint32_t threads = 2, runs = 10, ratio = 4, cells = 8192, gib = 4;
  bool transposed = false, cpu_time = false;
};

[[noreturn]] void stop(const char *message, const char *what) {
  std::fprintf(stderr, "%s %s\n%s", message, what, kHelp);
  std::exit(2);
}

uint32_t number(const char *text) {
  char *end = nullptr;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (end == text || *end != '\0' || value == 0 || value > (1ul << 27)) stop("not a number in range:", text);
  return static_cast<uint32_t>(value);
}

Request read_arguments(int count, char **arguments) {
  Request request;
  for (int i = 1; i < count; i++) {
    const std::string name = arguments[i];
    if (name == "--help") {
      std::printf("%s", kHelp);
      std::exit(0);
    }
    if (name == "--transposed") {
      request.transposed = true;
      continue;
    }
    if (name == "--cpu-time") {
      request.cpu_time = true;
      continue;
    }
    if (i + 1 == count) stop("no value for", arguments[i]);
    const char *value = arguments[++i];
    if (name == "--backend") request.backend = value;
    else if (name == "--shape") request.shape = value;
    else if (name == "--type") request.type = value;
    else if (name == "--plan") request.plan = value;
    else if (name == "--threads") request.threads = number(value);
    else if (name == "--runs") request.runs = number(value);
    else if (name == "--ratio") request.ratio = number(value);
    else if (name == "--cells") request.cells = number(value);
    else if (name == "--gib") request.gib = number(value);
    else stop("unknown option", name.c_str());
  }
  return request;
}

/// Prints one line; false on a failure that is no refusal.
bool print_case(const FoldBenchCase &one, const char *type, const char *plan, uint64_t limit) {
  std::printf("%-9s %-5s %-13s %5ux%u x%-4u %6u  ", one.backend->name, type, plan, one.layers, one.kv_heads,
              one.head_dim, one.cells);
  if (bench::fold_bench_bytes(one) > limit) {
    std::printf("skipped: needs %.1f GiB\n", static_cast<double>(bench::fold_bench_bytes(one)) / (1u << 30));
    return true;
  }
  bench::FoldBenchResult result{};
  kvfold_error error{};
  const kvfold_status status = bench::fold_bench(one, &result, &error);
  if (status != KVFOLD_OK) {
    std::printf("%s: %s\n", status == KVFOLD_STATUS_UNSUPPORTED ? "refused" : "failed", error.message);
    return status == KVFOLD_STATUS_UNSUPPORTED;
  }
  std::printf("%6.2f %6.2f  %5.2f (%.2f-%.2f)  %5.2f   %8.2f %8.2f %8.2f\n", result.copy, result.fold,
              result.fold_ratio, result.fold_lowest, result.fold_highest, result.logged_ratio,
              result.prepare_milliseconds, result.save_milliseconds, result.write_milliseconds);
  std::fflush(stdout);
  return true;
}

}  // namespace

int main(int count, char **arguments) {
  const Request request = read_arguments(count, arguments);
  const kvfold_backend *backend = kvfold_backend_named(request.backend.c_str());
  if (backend == nullptr) stop("no backend", request.backend.c_str());
  std::vector<std::string> shapes = {"30x3x64", "32x8x128"};
  if (!request.shape.empty()) shapes = {request.shape};
  std::printf("%s kernels, %u threads, %u runs, ratio %u%s\n", cpu::kernels().isa, request.threads, request.runs,
              request.ratio, request.transposed ? ", values transposed" : "");
  std::printf("backend   type  plan             shape     cells    copy   fold  ratio (range)      +undo    "
              "prepare     save    write\n");
  std::printf("                                                 GB/s   GB/s                               ms"
              "       ms       ms\n");
  bool ok = true, any = false;
  for (const std::string &shape : shapes) {
    unsigned layers = 0, heads = 0, dim = 0;
    if (std::sscanf(shape.c_str(), "%ux%ux%u", &layers, &heads, &dim) != 3 || layers * heads * dim == 0)
      stop("a shape is layers x KV heads x channels, for example 30x3x64:", shape.c_str());
    for (const Named &type : kTypes) {
      if (request.type.empty() ? type.value != KVFOLD_F16 && type.value != KVFOLD_Q8_0 : request.type != type.name)
        continue;
      for (const Named &plan : kPlans) {
        if (!request.plan.empty() && request.plan != plan.name) continue;
        any = true;
        const FoldBenchCase one = {backend,    layers,
                                   heads,      dim,
                                   request.cells, type.value,
                                   request.transposed, static_cast<FoldPlanKind>(plan.value),
                                   request.ratio,      request.threads,
                                   request.runs,       request.cpu_time};
        ok = print_case(one, type.name, plan.name, uint64_t{request.gib} << 30) && ok;
      }
    }
  }
  if (!any) stop("nothing of that type and plan:", (request.type + " " + request.plan).c_str());
  return ok ? 0 : 1;
}
