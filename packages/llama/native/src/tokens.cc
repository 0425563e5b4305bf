// Text to tokens and back.
#include <limits>
#include <vector>

#include "model.h"

namespace kvfold {

namespace {

const llama_vocab *vocab_with_text(const ModelHandle &model) {
  if (llama_vocab_type(model.vocab()) == LLAMA_VOCAB_TYPE_NONE)
    throw Failure("KVFOLD_MODEL_UNSUPPORTED", "the model has no vocabulary", "pass token ids instead of text");
  return model.vocab();
}

llama_token token_arg(const ModelHandle &model, const Napi::Value &value) {
  return static_cast<llama_token>(integer_arg(value, "token", 0, llama_vocab_n_tokens(model.vocab()) - 1));
}

std::vector<llama_token> tokenize_now(const llama_vocab *vocab, const std::string &text, bool bos, bool special) {
  std::vector<llama_token> tokens(text.size() / 2 + 16);
  const auto fill = [&]() {
    return llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                          static_cast<int32_t>(tokens.size()), bos, special);
  };
  int32_t count = fill();
  if (count < 0 && count != std::numeric_limits<int32_t>::min()) {  // the room that it needs, negated
    tokens.resize(static_cast<size_t>(-static_cast<int64_t>(count)));
    count = fill();
  }
  if (count < 0) throw Failure("KVFOLD_ARGUMENT", "llama.cpp could not tokenize the text");
  tokens.resize(static_cast<size_t>(count));
  tokens.shrink_to_fit();  // the array that is made of it keeps what it holds
  return tokens;
}

// tokenize(model, text, bos, special): promise of the tokens.
Napi::Value tokenize(const Napi::CallbackInfo &info) {
  const auto model = model_arg(info[0]);
  const llama_vocab *vocab = vocab_with_text(*model);
  auto text = std::make_shared<std::string>(string_arg(info[1], "text"));
  const bool bos = info[2].ToBoolean(), special = info[3].ToBoolean();
  if (text->size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 2)
    throw Failure("KVFOLD_ARGUMENT", "the text is longer than 1 GiB", "split it");
  using Result = std::vector<llama_token>;
  return Job<Result>::start(
      info.Env(),
      // the weights hold the vocabulary, also when somebody frees the model meanwhile
      [weights = model->weights, vocab, text, bos, special]() { return tokenize_now(vocab, *text, bos, special); },
      [](Napi::Env env, Result &tokens) { return take_array<int32_t>(env, std::move(tokens)); });
}

std::string detokenize_now(const llama_vocab *vocab, const std::vector<int32_t> &tokens) {
  for (const int32_t token : tokens)
    if (token < 0 || token >= llama_vocab_n_tokens(vocab))
      throw Failure("KVFOLD_ARGUMENT", "token " + std::to_string(token) + " is not in the vocabulary");
  std::string text(tokens.size() * 8 + 16, '\0');
  const auto fill = [&]() {
    return llama_detokenize(vocab, tokens.data(), static_cast<int32_t>(tokens.size()), &text[0],
                            static_cast<int32_t>(text.size()), false, true);
  };
  int32_t length = fill();
  if (length < 0) {
    text.resize(static_cast<size_t>(-static_cast<int64_t>(length)));
    length = fill();
  }
  if (length < 0) throw Failure("KVFOLD_NATIVE", "llama.cpp could not turn the tokens into text");
  text.resize(static_cast<size_t>(length));
  return text;
}

// detokenize(model, Int32Array): promise of the text.
Napi::Value detokenize(const Napi::CallbackInfo &info) {
  const auto model = model_arg(info[0]);
  const llama_vocab *vocab = vocab_with_text(*model);
  auto tokens = std::make_shared<std::vector<int32_t>>(array_arg<int32_t>(info[1], "tokens"));
  return Job<std::string>::start(
      info.Env(), [weights = model->weights, vocab, tokens]() { return detokenize_now(vocab, *tokens); },
      [](Napi::Env env, std::string &text) { return Napi::String::New(env, text); });
}

// tokenText(model, token): the piece of one token, special tokens by name.
Napi::Value token_text(const Napi::CallbackInfo &info) {
  const auto model = model_arg(info[0]);
  const llama_vocab *vocab = vocab_with_text(*model);
  const llama_token token = token_arg(*model, info[1]);
  std::string piece(64, '\0');
  int32_t length = llama_token_to_piece(vocab, token, &piece[0], static_cast<int32_t>(piece.size()), 0, true);
  if (length < 0) {
    piece.resize(static_cast<size_t>(-static_cast<int64_t>(length)));
    length = llama_token_to_piece(vocab, token, &piece[0], static_cast<int32_t>(piece.size()), 0, true);
  }
  piece.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return Napi::String::New(info.Env(), piece);
}

Napi::Value is_end(const Napi::CallbackInfo &info) {
  const auto model = model_arg(info[0]);
  const llama_token token = token_arg(*model, info[1]);
  return Napi::Boolean::New(info.Env(), llama_vocab_is_eog(model->vocab(), token));
}

}  // namespace

void register_tokens(Napi::Env env, Napi::Object exports) {
  exports.Set("tokenize", Napi::Function::New(env, guarded<tokenize>));
  exports.Set("detokenize", Napi::Function::New(env, guarded<detokenize>));
  exports.Set("tokenText", Napi::Function::New(env, guarded<token_text>));
  exports.Set("isEnd", Napi::Function::New(env, guarded<is_end>));
}

}  // namespace kvfold
