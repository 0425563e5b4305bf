// The command line of the program.
#ifndef KVFOLD_BENCH_ARGUMENTS_H
#define KVFOLD_BENCH_ARGUMENTS_H

#include <string>
#include <vector>

#include "bench.h"

namespace kvfold {
namespace bench {

struct Arguments {
  std::vector<std::string> ops;
  std::vector<const kvfold_backend *> backends;
  std::vector<int32_t> types;
  std::vector<Shape> shapes;
  std::vector<uint32_t> cells;
  Request common;  // variants, ratio, threads, runs, query rows, memory limit
  bool json = false;
  bool help = false;
};

/// Fills in the defaults too; false with a sentence when a word is wrong.
bool read_arguments(int count, char **words, Arguments *arguments, std::string *problem);
/// What `--help` prints.
const char *usage();

}  // namespace bench
}  // namespace kvfold

#endif
