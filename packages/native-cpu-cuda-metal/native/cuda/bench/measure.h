// Medians, the copy bandwidth of the device, and results as a table and as JSON.
#ifndef KVFOLD_CUDA_BENCH_MEASURE_H
#define KVFOLD_CUDA_BENCH_MEASURE_H

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/device.h"

namespace kvfold {
namespace cuda {
namespace bench {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? NAN : values[values.size() / 2];
}

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds of one copy within the device by events, counting what is read plus what is written.
class CopyRate {
 public:
  kvfold_status prepare(size_t bytes, kvfold_error *error) {
    if (kvfold_status status = Device::open(0, &device_, error)) return status;
    if (kvfold_status status = check(cudaEventCreate(&events_[0]), "timing", error)) return status;
    if (kvfold_status status = check(cudaEventCreate(&events_[1]), "timing", error)) return status;
    if (kvfold_status status = from_.allocate(device_, bytes, "a copy", error)) return status;
    return to_.allocate(device_, bytes, "a copy", error);
  }
  /// Adds bytes a second of one more copy.
  kvfold_status sample(kvfold_error *error) {
    float milliseconds = 0;
    if (kvfold_status status = check(cudaEventRecord(events_[0], device_->stream()), "timing", error)) return status;
    const cudaError_t code = cudaMemcpyAsync(to_.data(), from_.data(), from_.size(), cudaMemcpyDeviceToDevice,
                                             device_->stream());
    if (kvfold_status status = check(code, "copying", error)) return status;
    if (kvfold_status status = check(cudaEventRecord(events_[1], device_->stream()), "timing", error)) return status;
    if (kvfold_status status = device_->wait(error)) return status;
    const cudaError_t timed = cudaEventElapsedTime(&milliseconds, events_[0], events_[1]);
    if (kvfold_status status = check(timed, "timing", error)) return status;
    rates_.push_back(2e3 * static_cast<double>(from_.size()) / milliseconds);
    return KVFOLD_OK;
  }
  double rate() const { return median(rates_); }
  void forget() { rates_.clear(); }

 private:
  Device *device_ = nullptr;
  cudaEvent_t events_[2] = {};
  Buffer<uint8_t> from_, to_;
  std::vector<double> rates_;
};

/// One line of the result.
struct Line {
  std::string name;
  std::vector<std::pair<std::string, double>> numbers;
};

inline void print(const std::vector<Line> &lines) {
  for (const Line &line : lines) {
    std::printf("%-34s", line.name.c_str());
    for (const auto &number : line.numbers) std::printf("  %s %.4g", number.first.c_str(), number.second);
    std::printf("\n");
  }
}

/// False when the file cannot be written. Names hold no characters that JSON would escape.
inline bool write_json(const char *path, const std::string &device, const std::vector<Line> &lines) {
  FILE *file = std::fopen(path, "w");
  if (file == nullptr) return false;
  std::fprintf(file, "{\n  \"device\": \"%s\",\n  \"results\": [", device.c_str());
  for (size_t i = 0; i < lines.size(); i++) {
    std::fprintf(file, "%s\n    { \"name\": \"%s\"", i == 0 ? "" : ",", lines[i].name.c_str());
    for (const auto &number : lines[i].numbers) {
      if (std::isfinite(number.second)) std::fprintf(file, ", \"%s\": %.6g", number.first.c_str(), number.second);
      else std::fprintf(file, ", \"%s\": null", number.first.c_str());
    }
    std::fprintf(file, " }");
  }
  std::fprintf(file, "\n  ]\n}\n");
  return std::fclose(file) == 0;
}

}  // namespace bench
}  // namespace cuda
}  // namespace kvfold

#endif
