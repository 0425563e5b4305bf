// The benchmark as a program, for machines without Node: a line for every row as it comes, or one JSON object.
#include <cstdio>

#include "arguments.h"
#include "names.h"

using namespace kvfold::bench;

namespace {

/// Collects what the JSON object holds.
struct Report {
  std::string rows;
  double copy = 0, read = 0, peak = 0;  // of the last operation
};

void add_json(const Request &request, const Result &result, const Row &row, Report *report) {
  char text[768];
  const double gflops = row.facts.operations / row.median / 1e9;
  std::snprintf(
      text, sizeof text,
      "%s{\"op\":\"%s\",\"variant\":\"%s\",\"backend\":\"%s\",\"isa\":\"%s\",\"type\":\"%s\",\"layout\":\"%s\","
      "\"shape\":\"%ux%ux%u\",\"cells\":%u,\"foldRatio\":%u,\"undoLog\":%s,\"threads\":%u,\"runs\":%u,"
      "\"GBs\":%.3f,\"GFLOPs\":%.3f,\"ratio\":%.4f,\"copyGBs\":%.3f,\"readGBs\":%.3f,\"peakGFLOPs\":%.3f,"
      "\"ms\":{\"median\":%.4f,\"minimum\":%.4f,\"maximum\":%.4f}}",
      report->rows.empty() ? "" : ",", request.op.c_str(), row.facts.variant.c_str(), request.backend->name,
      isa_of(request), name_of(request.type), request.transposed ? "transposed" : "rows", request.shape.layers,
      request.shape.kv_heads, request.shape.head_dim, request.cells, request.ratio,
      row.facts.undo_log ? "true" : "false", request.threads, request.runs, row.facts.bytes / row.median / 1e9, gflops,
      row.ratio, result.copy / 1e9, result.read / 1e9, result.peak / 1e9, 1e3 * row.median, 1e3 * row.least,
      1e3 * row.most);
  report->rows += text;
}

void print_row(const Request &request, const Result &result, const Row &row) {
  const double work = result.compute ? row.facts.operations : row.facts.bytes;
  const std::string variant = row.facts.variant + (row.facts.undo_log ? ", log" : "");
  std::printf("%-9s %-17s %-9s %-5s %-10s %ux%ux%u %6u cells %10.2f ms %8.2f G%s/s %6.1f %% of %.1f\n",
              request.op.c_str(), variant.c_str(), request.backend->name, name_of(request.type),
              request.transposed ? "transposed" : "rows", request.shape.layers, request.shape.kv_heads,
              request.shape.head_dim, request.cells, 1e3 * row.median, work / row.median / 1e9,
              result.compute ? "FLOP" : "B", 100 * row.ratio, (result.compute ? result.peak : result.copy) / 1e9);
  std::fflush(stdout);
}

bool time_one(const Request &request, bool json, Report *report) {
  Result result;
  kvfold_error error{};
  if (run(request, &result, &error) != KVFOLD_OK) {
    std::fprintf(stderr, "%s: %s\n", request.op.c_str(), error.message);
    return false;
  }
  if (result.skipped.empty()) {
    report->copy = result.copy;
    report->read = result.read;
    report->peak = result.peak;
  }
  for (const Row &row : result.rows) {
    if (!json) print_row(request, result, row);
    add_json(request, result, row, report);
  }
  if (!result.skipped.empty() && !request.transposed)
    std::fprintf(stderr, "skipped: %s of %s, %s, %ux%ux%u, %u cells: %s\n", request.op.c_str(), request.backend->name,
                 name_of(request.type), request.shape.layers, request.shape.kv_heads, request.shape.head_dim,
                 request.cells, result.skipped.c_str());
  return true;
}

bool time_all(const Arguments &arguments, Report *report) {
  Request request = arguments.common;
  bool ok = true;
  for (const std::string &op : arguments.ops) {
    for (const Shape &shape : arguments.shapes) {
      for (uint32_t cells : arguments.cells) {
        for (int32_t type : arguments.types) {
          for (const kvfold_backend *backend : arguments.backends) {
            for (bool transposed : {false, true}) {
              request.op = op;
              request.shape = shape;
              request.cells = cells;
              request.type = type;
              request.backend = backend;
              request.transposed = transposed;
              ok = time_one(request, arguments.json, report) && ok;
            }
          }
        }
      }
    }
  }
  return ok;
}

}  // namespace

int main(int count, char **words) {
  Arguments arguments;
  std::string problem;
  if (!read_arguments(count, words, &arguments, &problem)) {
    std::fprintf(stderr, "%s\n%s", problem.c_str(), usage());
    return 2;
  }
  if (arguments.help) return std::printf("%s", usage()) < 0 ? 1 : 0;
  Report report;
  const bool ok = time_all(arguments, &report);
  if (arguments.json)
    std::printf("{\"command\":\"bench-kernels\",\"copyGBs\":%.3f,\"peakGFLOPs\":%.3f,\"readGBs\":%.3f,\"rows\":[%s]}\n",
                report.copy / 1e9, report.peak / 1e9, report.read / 1e9, report.rows.c_str());
  return ok ? 0 : 1;
}
