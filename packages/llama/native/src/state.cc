// The whole state of a sequence: bytes out, bytes in, cut and clear.
#include "context.h"
#include "log_sink.h"

namespace kvfold {

namespace {

std::vector<uint8_t> state_bytes_now(ContextHandle &context, llama_seq_id sequence) {
  std::vector<uint8_t> bytes(llama_state_seq_get_size(context.context(), sequence));
  const size_t written = llama_state_seq_get_data(context.context(), bytes.data(), bytes.size(), sequence);
  if (written == 0 || written > bytes.size())
    throw Failure("KVFOLD_STATE", "llama.cpp could not save the sequence: " + take_log_problems());
  bytes.resize(written);
  return bytes;
}

// stateBytes(context, sequence): promise of what llama_state_seq_get_data gives.
Napi::Value state_bytes(const Napi::CallbackInfo &info) {
  auto context = context_arg(info[0]);
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  using Result = std::vector<uint8_t>;
  return Job<Result>::start(
      info.Env(), [context = std::move(context), sequence]() { return state_bytes_now(**context, sequence); },
      [](Napi::Env env, Result &bytes) { return take_array<uint8_t>(env, std::move(bytes)); });
}

constexpr size_t kPrefix = 8;  // magic and sequence, before the memory part of a state

struct Bytes {
  const uint8_t *data;
  size_t size;
};

void set_state_now(ContextHandle &context, llama_seq_id sequence, Bytes bytes,
                   const std::vector<uint32_t> &destinations) {
  take_log_problems();
  try {
    if (bytes.size < kPrefix) throw Failure("KVFOLD_STATE", "the state ends too early");
    if (!destinations.empty()) {
      restore_cells(context.foldable_cache(), sequence, bytes.data + kPrefix, bytes.size - kPrefix, destinations);
    } else if (llama_state_seq_set_data(context.context(), bytes.data, bytes.size, sequence) == 0) {
      throw Failure("KVFOLD_STATE", "llama.cpp refused it");
    }
  } catch (const std::exception &error) {
    llama_memory_seq_rm(context.memory(), sequence, -1, -1);
    const std::string why = std::string(error.what()) + " " + take_log_problems();
    throw Failure("KVFOLD_STATE", "the snapshot could not be restored: " + why,
                  "the sequence is empty now; restore only snapshots of a context with the same settings");
  }
}

// setState(context, sequence, bytes, destinations): promise. Without destinations llama.cpp chooses the cells.
// A failure leaves the sequence empty. The bytes are not copied, which would take long here: a snapshot keeps them, and
// they stay as they are while it lives.
Napi::Value set_state(const Napi::CallbackInfo &info) {
  auto context = context_arg(info[0]);
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  const auto array = typed_arg<uint8_t>(info[2], "bytes");
  const Bytes bytes = {array.ElementLength() == 0 ? nullptr : array.Data(), array.ElementLength()};
  auto held = std::make_shared<Napi::ObjectReference>(Napi::Persistent(array.As<Napi::Object>()));
  auto destinations = std::make_shared<std::vector<uint32_t>>(array_arg<uint32_t>(info[3], "destinations"));
  return Job<bool>::start(
      info.Env(),
      [context = std::move(context), sequence, bytes, destinations]() {
        set_state_now(**context, sequence, bytes, *destinations);
        return true;
      },
      [held](Napi::Env env, bool &) { return env.Undefined(); });
}

// removeRange(context, sequence, from, to): drops the cells at positions from <= p < to; -1: open end. False: cannot.
Napi::Value remove_range(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  const auto from = static_cast<llama_pos>(integer_arg(info[2], "from", -1, INT32_MAX));
  const auto to = static_cast<llama_pos>(integer_arg(info[3], "to", -1, INT32_MAX));
  if ((*context)->memory() == nullptr) return Napi::Boolean::New(info.Env(), true);
  return Napi::Boolean::New(info.Env(), llama_memory_seq_rm((*context)->memory(), sequence, from, to));
}

// largestPosition(context, sequence): -1 when empty.
Napi::Value largest_position(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  const llama_memory_t memory = (*context)->memory();
  return Napi::Number::New(info.Env(), memory == nullptr ? -1 : llama_memory_seq_pos_max(memory, sequence));
}

}  // namespace

void register_state(Napi::Env env, Napi::Object exports) {
  exports.Set("stateBytes", Napi::Function::New(env, guarded<state_bytes>));
  exports.Set("setState", Napi::Function::New(env, guarded<set_state>));
  exports.Set("removeRange", Napi::Function::New(env, guarded<remove_range>));
  exports.Set("largestPosition", Napi::Function::New(env, guarded<largest_position>));
}

}  // namespace kvfold
