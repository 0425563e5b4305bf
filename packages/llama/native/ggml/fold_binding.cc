// Folds on devices for TypeScript: opened, written chunk by chunk, taken back, closed.
#include "fold.h"

namespace kvfold {

// Its memory goes with `closeFold`, or with the handle.
struct FoldHandle {
  explicit FoldHandle(std::unique_ptr<DeviceFold> made) : fold(std::move(made)) {}
  std::shared_ptr<DeviceFold> fold;
};

template <>
struct Tag<FoldHandle> {
  static constexpr napi_type_tag value = {0x6b76666f6c646666ull, 0x6c6c616d61666f6cull};
  static constexpr const char *name = "fold on a device";
};

namespace {

std::shared_ptr<DeviceFold> fold_arg(const Napi::Value &value) {
  auto fold = unwrap<FoldHandle>(value)->fold;
  if (fold == nullptr) throw Failure("KVFOLD_DISPOSED", "the fold was already disposed of");
  return fold;
}

SumList sums_arg(const Napi::Value &value) {
  if (!value.IsObject()) throw Failure("KVFOLD_ARGUMENT", "a list of sums must be an object");
  const auto given = value.As<Napi::Object>();
  SumList list;
  list.to = array_arg<int32_t>(given.Get("to"), "to");
  list.offsets = array_arg<uint32_t>(given.Get("offsets"), "offsets");
  list.from = array_arg<int32_t>(given.Get("from"), "from");
  list.weights = array_arg<float>(given.Get("weights"), "weights");
  list.turns = array_arg<int32_t>(given.Get("turns"), "turns");
  if (list.offsets.empty()) throw Failure("KVFOLD_ARGUMENT", "a list of sums has no offsets");
  return list;
}

Chunk chunk_arg(const Napi::Value &value) {
  if (!value.IsObject()) throw Failure("KVFOLD_ARGUMENT", "a chunk must be an object");
  const auto given = value.As<Napi::Object>();
  const auto number = [&](const char *name, int64_t to) { return integer_arg(given.Get(name), name, 0, to); };
  Chunk chunk;
  chunk.layer = static_cast<uint32_t>(number("layer", 4095));
  chunk.kind = static_cast<uint32_t>(number("kind", 1));
  chunk.place.first_head = number("firstHead", 4095);
  chunk.place.heads = number("heads", 4096);
  chunk.place.whole_cells = given.Get("wholeCells").ToBoolean();
  chunk.place.cells = number("cells", KVFOLD_MAX_CONTEXT);
  chunk.copied_from = array_arg<int32_t>(given.Get("copiedFrom"), "copiedFrom");
  chunk.copied_to = array_arg<int32_t>(given.Get("copiedTo"), "copiedTo");
  chunk.given_to = array_arg<int32_t>(given.Get("givenTo"), "givenTo");
  chunk.given = array_arg<uint8_t>(given.Get("given"), "given");
  chunk.sums = sums_arg(given.Get("sums"));
  chunk.turned = sums_arg(given.Get("turned"));
  return chunk;
}

// openFold(tensors, rows, undoOnHost): promise of a handle with the undo log reserved.
Napi::Value open_fold(const Napi::CallbackInfo &info) {
  const auto tensors = unwrap<Tensors>(info[0]);
  auto use = std::make_shared<TensorsUse>(tensors);
  const auto rows = static_cast<uint32_t>(integer_arg(info[1], "rows", 1, KVFOLD_MAX_CONTEXT));
  const bool on_host = info[2].ToBoolean();
  using Result = std::shared_ptr<FoldHandle>;
  return Job<Result>::start(
      info.Env(),
      [use = std::move(use), tensors, rows, on_host]() -> Result {
        return std::make_shared<FoldHandle>(std::make_unique<DeviceFold>(tensors, rows, on_host));
      },
      [](Napi::Env env, Result &handle) { return wrap(env, handle); });
}

// writeFold(fold, chunk, failAt): promise of the fault points passed.
Napi::Value write_fold(const Napi::CallbackInfo &info) {
  const auto fold = fold_arg(info[0]);
  auto use = std::make_shared<TensorsUse>(fold->tensors());
  const auto chunk = std::make_shared<Chunk>(chunk_arg(info[1]));
  const int64_t fail_at = integer_arg(info[2], "failAt", -1, INT32_MAX);
  return Job<int64_t>::start(
      info.Env(),
      [use = std::move(use), fold, chunk, fail_at]() { return fold->write(*chunk, fail_at); },
      [](Napi::Env env, int64_t &points) { return Napi::Number::New(env, static_cast<double>(points)); });
}

// rollBackFold(fold): promise. Can be repeated after a failure.
Napi::Value roll_back_fold(const Napi::CallbackInfo &info) {
  const auto fold = fold_arg(info[0]);
  auto use = std::make_shared<TensorsUse>(fold->tensors());
  return Job<bool>::start(
      info.Env(),
      [use = std::move(use), fold]() {
        fold->roll_back();
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

// heldBytes(fold): of the undo log.
Napi::Value held_bytes(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>(fold_arg(info[0])->held_bytes()));
}

// closeFold(fold): promise. The fold cannot be used any more at once; twice does no harm.
Napi::Value close_fold(const Napi::CallbackInfo &info) {
  auto closing = std::make_shared<decltype(FoldHandle::fold)>(std::move(unwrap<FoldHandle>(info[0])->fold));
  return Job<bool>::start(
      info.Env(),
      [closing]() {
        closing->reset();
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

}  // namespace

void register_device_fold(Napi::Env env, Napi::Object exports) {
  exports.Set("openFold", Napi::Function::New(env, guarded<open_fold>));
  exports.Set("writeFold", Napi::Function::New(env, guarded<write_fold>));
  exports.Set("rollBackFold", Napi::Function::New(env, guarded<roll_back_fold>));
  exports.Set("heldBytes", Napi::Function::New(env, guarded<held_bytes>));
  exports.Set("closeFold", Napi::Function::New(env, guarded<close_fold>));
}

}  // namespace kvfold
