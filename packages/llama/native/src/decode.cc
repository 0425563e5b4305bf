// Evaluating tokens off the event loop: logits, log-probabilities, greedy choice.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "context.h"
#include "log_sink.h"
#include "queries.h"

namespace kvfold {

namespace {

enum Wanted { kNone = 0, kLast = 1, kAll = 2 };

struct DecodeJob {
  llama_seq_id sequence = 0;
  llama_pos start = 0;
  std::vector<llama_token> tokens;
  Wanted wanted = kLast;
  bool log_probs = false;
  std::vector<float> previous;  // logits before the first token, or empty
  std::shared_ptr<QueriesHandle> queries;  // samples the queries of these tokens, or null
};

struct Decoded {
  std::vector<float> logits;     // [1 or tokens, vocabulary]
  std::vector<float> log_probs;  // [tokens], NaN where unknown
  uint32_t attention_length = 0;
};

// log p(token), natural, by log-sum-exp in double.
float log_probability(const float *logits, size_t vocabulary, llama_token token) {
  const double top = *std::max_element(logits, logits + vocabulary);
  double sum = 0;
  for (size_t i = 0; i < vocabulary; i++) sum += std::exp(logits[i] - top);
  return static_cast<float>(logits[token] - top - std::log(sum));
}

// One batch: consecutive positions of one sequence.
int32_t run_batch(ContextHandle &context, DecodeJob &job) {
  const size_t count = job.tokens.size();
  std::vector<llama_pos> positions(count);
  std::vector<int32_t> sequence_counts(count, 1);
  std::vector<llama_seq_id *> sequences(count, &job.sequence);
  std::vector<int8_t> outputs(count, job.wanted == kAll || job.log_probs);
  for (size_t i = 0; i < count; i++) positions[i] = job.start + static_cast<llama_pos>(i);
  if (job.wanted == kLast) outputs[count - 1] = 1;
  llama_batch batch{};
  batch.n_tokens = static_cast<int32_t>(count);
  batch.token = job.tokens.data();
  batch.pos = positions.data();
  batch.n_seq_id = sequence_counts.data();
  batch.seq_id = sequences.data();
  batch.logits = outputs.data();
  const int32_t result = llama_decode(context.context(), batch);
  llama_synchronize(context.context());
  return result;
}

// Tokens of a batch that failed half way are taken out again.
[[noreturn]] void fail_decode(ContextHandle &context, const DecodeJob &job, int32_t result,
                              const std::string &problem = "") {
  if (!llama_memory_seq_rm(context.memory(), job.sequence, job.start, -1))
    llama_memory_seq_rm(context.memory(), job.sequence, -1, -1);
  const std::string why = take_log_problems() + problem;
  if (result == 2) throw Failure("KVFOLD_ABORTED", "cancelled while decoding");
  if (result == 1)
    throw Failure("KVFOLD_CACHE_FULL", "no free cells for " + std::to_string(job.tokens.size()) + " tokens",
                  "fold the cache, clear a sequence, or create the context with a larger contextSize");
  throw Failure("KVFOLD_DECODE", "llama.cpp could not decode (" + std::to_string(result) + "): " + why,
                "positions must go on at the largest position of the sequence + 1");
}

void commit_queries(ContextHandle &context, const DecodeJob &job, Listening &listening) {
  try {
    listening.commit();
  } catch (const std::exception &error) {
    fail_decode(context, job, -1, error.what());
  }
}

Decoded decode_now(ContextHandle &context, DecodeJob &job) {
  take_log_problems();
  context.take_callback_problem();
  std::optional<Listening> listening;
  if (job.queries != nullptr)
    listening.emplace(context, *job.queries, job.start, static_cast<uint32_t>(job.tokens.size()));
  const int32_t result = run_batch(context, job);
  if (result != 0) fail_decode(context, job, result);
  const std::string problem = context.take_callback_problem();
  if (!problem.empty()) fail_decode(context, job, -1, problem);
  if (listening) commit_queries(context, job, *listening);

  const auto vocabulary = static_cast<size_t>(llama_vocab_n_tokens(context.vocab()));
  const size_t count = job.tokens.size();
  Decoded out;
  const auto row = [&](size_t i) { return llama_get_logits_ith(context.context(), static_cast<int32_t>(i)); };
  if (job.wanted != kNone) {
    const size_t first = job.wanted == kAll ? 0 : count - 1;
    out.logits.resize((count - first) * vocabulary);
    for (size_t i = first; i < count; i++) std::copy_n(row(i), vocabulary, &out.logits[(i - first) * vocabulary]);
  }
  if (job.log_probs) {
    out.log_probs.assign(count, std::numeric_limits<float>::quiet_NaN());
    if (!job.previous.empty()) out.log_probs[0] = log_probability(job.previous.data(), vocabulary, job.tokens[0]);
    for (size_t i = 1; i < count; i++) out.log_probs[i] = log_probability(row(i - 1), vocabulary, job.tokens[i]);
  }
  if (context.cache().cache != nullptr) out.attention_length = attention_length(context.cache(), job.sequence);
  return out;
}

DecodeJob job_arg(const Exclusive &context, const Napi::Value &value) {
  if (!value.IsObject()) throw Failure("KVFOLD_ARGUMENT", "expected a decode job");
  const Napi::Object given = value.As<Napi::Object>();
  DecodeJob job;
  job.sequence = sequence_arg(context, given.Get("sequence"));
  job.start = static_cast<llama_pos>(integer_arg(given.Get("start"), "start", 0, INT32_MAX - (1 << 16)));
  job.tokens = array_arg<int32_t>(given.Get("tokens"), "tokens");
  job.wanted = static_cast<Wanted>(integer_arg(given.Get("logits"), "logits", kNone, kAll));
  job.log_probs = given.Get("logProbs").ToBoolean();
  if (given.Get("queries").IsExternal()) job.queries = unwrap<QueriesHandle>(given.Get("queries"));
  const int32_t vocabulary = llama_vocab_n_tokens(context->vocab());
  if (given.Get("previous").IsTypedArray()) job.previous = array_arg<float>(given.Get("previous"), "previous");
  if (!job.previous.empty() && job.previous.size() != static_cast<size_t>(vocabulary))
    throw Failure("KVFOLD_ARGUMENT", "previous must hold one logit for every token of the vocabulary");
  if (job.tokens.empty() || job.tokens.size() > llama_n_batch(context->context()))
    throw Failure("KVFOLD_ARGUMENT", "a batch has 1 to batchSize tokens");
  for (const llama_token token : job.tokens)
    if (token < 0 || token >= vocabulary)
      throw Failure("KVFOLD_ARGUMENT", "token " + std::to_string(token) + " is not in the vocabulary of " +
                                           std::to_string(vocabulary) + " tokens");
  return job;
}

// decode(context, {sequence, start, tokens, logits, logProbs, previous, queries}):
// promise of {logits, logProbs, attentionLength}.
Napi::Value decode(const Napi::CallbackInfo &info) {
  auto context = context_arg(info[0]);
  if ((*context)->memory() == nullptr)
    throw Failure("KVFOLD_MODEL_UNSUPPORTED", "the model is no decoder with a cache", "use a text generation model");
  auto job = std::make_shared<DecodeJob>(job_arg(*context, info[1]));
  (*context)->cancel = false;
  return Job<Decoded>::start(
      info.Env(), [context = std::move(context), job]() { return decode_now(**context, *job); },
      [](Napi::Env env, Decoded &decoded) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("logits", decoded.logits.empty() ? env.Null() : take_array<float>(env, std::move(decoded.logits)));
        object.Set("logProbs", decoded.log_probs.empty() ? env.Null() : to_array<float>(env, decoded.log_probs));
        object.Set("attentionLength", Napi::Number::New(env, decoded.attention_length));
        return object;
      });
}

// cancel(context): the running evaluation stops at its next graph node; may be called at any time.
Napi::Value cancel(const Napi::CallbackInfo &info) {
  unwrap<ContextHandle>(info[0])->cancel = true;
  return info.Env().Undefined();
}

}  // namespace

void register_decode(Napi::Env env, Napi::Object exports) {
  exports.Set("decode", Napi::Function::New(env, guarded<decode>));
  exports.Set("cancel", Napi::Function::New(env, guarded<cancel>));
}

}  // namespace kvfold
