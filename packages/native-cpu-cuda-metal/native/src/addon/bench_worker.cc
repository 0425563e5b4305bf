// Times operations off the event loop; native/bench/ does the work.
#include "addon/bench_worker.h"

#include <memory>

#include "addon/arguments.h"
#include "addon/promise_worker.h"
#include "bench.h"
#include "names.h"

namespace kvfold {
namespace addon {
namespace {

struct BenchJob {
  bench::Request request;
  bench::Result result;
  AbortFlag flag;
};

void read_request(const Napi::Object &object, BenchJob *job) {
  const auto number = [&](const char *name) {
    return static_cast<uint32_t>(integer_argument(object.Get(name), name, UINT32_MAX));
  };
  bench::Request &request = job->request;
  request.backend = backend_argument(object.Get("backend"));
  request.op = string_argument(object.Get("op"), "op");
  const std::string type = string_argument(object.Get("type"), "type");
  request.type = bench::type_named(type);
  if (request.type < 0) throw_error(object.Env(), KVFOLD_STATUS_ARGUMENT, "there is no type \"" + type + "\"");
  request.transposed = flag_argument(object.Get("valueTransposed"), "valueTransposed");
  request.shape = {number("layers"), number("kvHeads"), number("headDim")};
  request.cells = number("cells");
  request.ratio = number("ratio");
  request.threads = number("threads");
  request.runs = number("runs");
  request.query_rows = number("queryRows");
  request.memory_limit = limit_argument(object.Get("memoryLimit"));
  job->flag = flag_argument_or_none(object.Get("flag"));
  request.cancelled = is_raised;
  request.cancelled_data = job->flag.get();
}

Napi::Object row_object(Napi::Env env, const bench::Row &row) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("variant", row.facts.variant);
  object.Set("undoLog", Napi::Boolean::New(env, row.facts.undo_log));
  object.Set("bytes", row.facts.bytes);
  object.Set("operations", row.facts.operations);
  object.Set("median", row.median);
  object.Set("minimum", row.least);
  object.Set("maximum", row.most);
  object.Set("ratio", row.ratio);
  return object;
}

Napi::Value result_object(Napi::Env env, const BenchJob &job) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array rows = Napi::Array::New(env, job.result.rows.size());
  for (uint32_t i = 0; i < job.result.rows.size(); i++) rows.Set(i, row_object(env, job.result.rows[i]));
  object.Set("rows", rows);
  object.Set("compute", Napi::Boolean::New(env, job.result.compute));
  object.Set("copy", job.result.copy);
  object.Set("read", job.result.read);
  object.Set("peak", job.result.peak);
  object.Set("skipped", job.result.skipped);
  object.Set("isa", bench::isa_of(job.request));
  return object;
}

}  // namespace

/// benchOperations() -> names
Napi::Value bench_operations(const Napi::CallbackInfo &info) {
  const std::vector<std::string> names = bench::operations();
  Napi::Array array = Napi::Array::New(info.Env(), names.size());
  for (uint32_t i = 0; i < names.size(); i++) array.Set(i, names[i]);
  return array;
}

/// bench({ backend, op, type, valueTransposed, layers, kvHeads, headDim, cells, ratio, threads, runs, queryRows,
///         memoryLimit, flag }) -> Promise<{ rows, compute, copy, read, peak, skipped, isa }>
Napi::Value bench(const Napi::CallbackInfo &info) {
  auto job = std::make_shared<BenchJob>();
  read_request(object_argument(info[0], "request"), job.get());
  return PromiseWorker::start(
      info.Env(), [=](kvfold_error *error) { return bench::run(job->request, &job->result, error); },
      [=](Napi::Env env, kvfold_status status) -> Napi::Value {
        return status == KVFOLD_OK ? result_object(env, *job) : env.Undefined();
      });
}

}  // namespace addon
}  // namespace kvfold
