// Turning queries and attending with them, off the event loop. Sizes are checked before results are made.
#include "addon/attend_worker.h"

#include <memory>

#include "addon/arguments.h"
#include "addon/memory.h"
#include "addon/plan.h"
#include "addon/promise_worker.h"

namespace kvfold {
namespace addon {
namespace {

/// What both jobs have. Not movable once filled: spans point into it.
struct Job {
  Napi::ObjectReference memory_external;
  const kvfold_memory *memory = nullptr;
  const kvfold_backend *backend = nullptr;
  uint32_t layer = 0;
  uint32_t threads = 1;
  uint64_t memory_limit = 0;
  AbortFlag flag;
  std::vector<Napi::ObjectReference> results;

  Job() = default;
  Job(const Job &) = delete;
  Job &operator=(const Job &) = delete;

  kvfold_options options() const { return {threads, is_raised, flag.get(), nullptr, memory_limit}; }
  const kvfold_memory_layer &layer_shape() const { return memory->layers[layer]; }
};

struct TurnJob : Job {
  kvfold_turn turn{};
  std::vector<int32_t> positions;
  std::vector<uint16_t> rows;
};

struct AttendJob : Job {
  kvfold_attention attention{};
  kvfold_attention_result result{};
  std::vector<uint32_t> slots;
  std::vector<float> queries, bias;
};

void read_job(const Napi::Object &request, Job *job) {
  job->memory = memory_argument(request.Get("memory"));
  job->memory_external = Napi::Persistent(request.Get("memory").As<Napi::Object>());
  job->backend = backend_argument(request.Get("backend"));
  if (job->backend->attend == nullptr || job->backend->turn_queries == nullptr)
    throw_error(request.Env(), KVFOLD_STATUS_UNSUPPORTED, std::string(job->backend->name) + " cannot attend");
  job->layer = static_cast<uint32_t>(integer_argument(request.Get("layer"), "layer", UINT32_MAX));
  if (job->layer >= job->memory->layer_count)
    throw_error(request.Env(), KVFOLD_STATUS_ARGUMENT, "layer " + std::to_string(job->layer) + " does not exist");
  job->threads = static_cast<uint32_t>(integer_argument(request.Get("threads"), "threads", KVFOLD_MAX_THREADS));
  job->memory_limit = limit_argument(request.Get("memoryLimit"));
  job->flag = flag_argument_or_none(request.Get("flag"));
  const kvfold_options options = job->options();
  kvfold_error error{};
  throw_unless_ok(request.Env(), kvfold_check_options(&options, &error), error);
}

/// A result of the job. At most 2^12 heads of 2^27 cells or 2^22 rows; Node refuses what is too long for it.
float *new_result(Napi::Env env, Job *job, uint64_t count, uint64_t width) {
  const uint64_t length = uint64_t{job->layer_shape().kv_heads} * count * width;
  if (length > (uint64_t{1} << 32))
    throw_error(env, KVFOLD_STATUS_PLAN_LIMIT, "a result of " + std::to_string(length) + " numbers is too long");
  Napi::Float32Array array = Napi::Float32Array::New(env, static_cast<size_t>(length));
  job->results.push_back(Napi::Persistent(array.As<Napi::Object>()));
  return array.Data();
}

uint32_t u32(const Napi::Object &object, const char *name) {
  return static_cast<uint32_t>(integer_argument(object.Get(name), name, UINT32_MAX));
}

}  // namespace

/// turnQueries({ memory, backend, threads, flag, layer, positions, queries: { heads, scale, rows }, last, horizon,
///               maxRows }) -> Promise<Float32Array [kvHeads, rows, keyDim]>
Napi::Value turn_queries(const Napi::CallbackInfo &info) {
  const Napi::Object request = object_argument(info[0], "request");
  auto job = std::make_shared<TurnJob>();
  read_job(request, job.get());
  job->positions = copy_array<int32_t>(request.Get("positions"), "positions");
  kvfold_turn &turn = job->turn;
  turn.layer = &job->layer_shape();
  turn.queries = query_layer_argument(object_argument(request.Get("queries"), "queries"), &job->rows);
  turn.positions = {job->positions.data(), job->positions.size()};
  turn.last = static_cast<int32_t>(integer_argument(request.Get("last"), "last", INT32_MAX));
  turn.horizon = u32(request, "horizon");
  turn.max_rows = u32(request, "maxRows");
  kvfold_error error{};
  throw_unless_ok(info.Env(), kvfold_check_turn(&turn, &error), error);
  float *out = new_result(info.Env(), job.get(), kvfold_turned_rows(&turn), turn.layer->key_dim);
  return PromiseWorker::start(
      info.Env(),
      [=](kvfold_error *problem) {
        const kvfold_options options = job->options();
        return job->backend->turn_queries(&job->turn, &options, out, problem);
      },
      [=](Napi::Env, kvfold_status) -> Napi::Value { return job->results[0].Value(); });
}

/// attend({ memory, backend, threads, flag, memoryLimit, layer, slots, rows, queries, bias, outputs })
///   -> Promise<{ maximum, mean, rms, outputs, workingBytes }>
Napi::Value attend(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const Napi::Object request = object_argument(info[0], "request");
  auto job = std::make_shared<AttendJob>();
  read_job(request, job.get());
  job->slots = copy_array<uint32_t>(request.Get("slots"), "slots");
  job->queries = copy_array<float>(request.Get("queries"), "queries");
  job->bias = copy_array<float>(request.Get("bias"), "bias", true);
  const bool outputs = flag_argument(request.Get("outputs"), "outputs");
  job->attention = {job->memory,
                    job->layer,
                    {job->slots.data(), job->slots.size()},
                    u32(request, "rows"),
                    {job->queries.data(), job->queries.size()},
                    {job->bias.data(), job->bias.size()}};
  kvfold_error error{};
  throw_unless_ok(env, kvfold_check_attention(&job->attention, &error), error);
  const uint64_t cells = job->slots.size();
  job->result.maximum = new_result(env, job.get(), cells, 1);
  job->result.mean = new_result(env, job.get(), cells, 1);
  job->result.rms = new_result(env, job.get(), cells, 1);
  if (outputs) job->result.outputs = new_result(env, job.get(), job->attention.rows, job->layer_shape().value_dim);
  return PromiseWorker::start(
      env,
      [=](kvfold_error *problem) {
        const kvfold_options options = job->options();
        return job->backend->attend(&job->attention, &options, &job->result, problem);
      },
      [=](Napi::Env settled, kvfold_status) -> Napi::Value {
        Napi::Object result = Napi::Object::New(settled);
        result.Set("maximum", job->results[0].Value());
        result.Set("mean", job->results[1].Value());
        result.Set("rms", job->results[2].Value());
        result.Set("outputs", outputs ? job->results[3].Value() : settled.Null());
        result.Set("workingBytes", static_cast<double>(job->result.working_bytes));
        return result;
      });
}

}  // namespace addon
}  // namespace kvfold
