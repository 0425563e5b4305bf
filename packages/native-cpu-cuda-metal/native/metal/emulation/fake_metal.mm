// A Metal device of its own: the unmodified device.mm drives it, and it runs the unmodified kernels as C++.
//
// Kernels run when a command buffer is committed, not before, with more threads than asked for (whole threadgroups), as
// on a GPU. Rules that Metal's own validation would hold up are counted as mistakes.
#import <Metal/Metal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "metal/emulation/fake.h"

namespace {

constexpr NSUInteger kMostBuffers = 31, kMostBytes = 4096, kGroup = 256;

void mistake(const char *what, const char *where) {
  fake::counts.mistakes++;
  std::printf("Metal would not allow this: %s (%s)\n", what, where);
}

/// A kernel with what is bound to it; buffers are retained until it has run.
struct Dispatch {
  std::string name;
  fake::Kernel run;
  std::vector<id> retained;  // id<MTLBuffer>
  std::vector<void *> bound;
  std::vector<char> bytes;  // of index 0
  NSUInteger threads;
};

using Dispatches = std::vector<Dispatch>;

}  // namespace

@interface FakeBuffer : NSObject <MTLBuffer> {
 @public
  void *memory;
  NSUInteger bytes;
  bool owned;
}
@end

@implementation FakeBuffer
- (void *)contents {
  return memory;
}
- (NSUInteger)length {
  return bytes;
}
- (void)dealloc {
  if (owned) std::free(memory);
  fake::alive.buffers--;
  [super dealloc];
}
@end

@interface FakeFunction : NSObject <MTLFunction> {
 @public
  std::string *name;
}
@end

@implementation FakeFunction
- (void)dealloc {
  delete name;
  [super dealloc];
}
@end

@interface FakePipeline : NSObject <MTLComputePipelineState> {
 @public
  std::string *name;
  fake::Kernel run;
  size_t buffers;
}
@end

@implementation FakePipeline
- (NSUInteger)maxTotalThreadsPerThreadgroup {
  return kGroup;
}
- (void)dealloc {
  fake::alive.pipelines--;
  delete name;
  [super dealloc];
}
@end

@interface FakeLibrary : NSObject <MTLLibrary> {
 @public
  std::string *text;
}
@end

@implementation FakeLibrary
- (id<MTLFunction>)newFunctionWithName:(NSString *)name {
  if (!fake::defines_kernel(text->c_str(), [name UTF8String])) return nil;
  FakeFunction *made = [[FakeFunction alloc] init];
  made->name = new std::string([name UTF8String]);
  return made;
}
- (void)dealloc {
  delete text;
  [super dealloc];
}
@end

@interface FakeEncoder : NSObject <MTLComputeCommandEncoder> {
 @public
  Dispatches *dispatches;  // of the command buffer
  FakePipeline *pipeline;
  id<MTLBuffer> buffers[kMostBuffers];
  NSUInteger offsets[kMostBuffers];
  std::vector<char> *bytes;
  bool ended;
}
@end

@implementation FakeEncoder
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state {
  pipeline = (FakePipeline *)state;
}
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
  if (index >= kMostBuffers) return mistake("a buffer beyond index 30", pipeline->name->c_str());
  if (buffer == nil || offset % 4 != 0 || offset >= [buffer length])
    return mistake("a buffer that is missing, or bound at a wrong offset", pipeline->name->c_str());
  buffers[index] = buffer;
  offsets[index] = offset;
}
- (void)setBytes:(const void *)from length:(NSUInteger)length atIndex:(NSUInteger)index {
  if (index != 0 || length > kMostBytes) return mistake("bytes that are no parameters", pipeline->name->c_str());
  bytes->assign(static_cast<const char *>(from), static_cast<const char *>(from) + length);
}
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads {
  const char *name = pipeline->name->c_str();
  if (ended) return mistake("a dispatch after the encoder ended", name);
  if (threads.width > kGroup || groups.width == 0 || groups.height * groups.depth * threads.height * threads.depth != 1)
    return mistake("a grid that is empty or too wide", name);
  Dispatch one = {name, pipeline->run, {}, {nullptr}, *bytes, groups.width * threads.width};
  for (NSUInteger i = 1; i < pipeline->buffers; i++) {
    if (buffers[i] == nil) return mistake("a buffer that was not bound", name);
    one.retained.push_back([buffers[i] retain]);
    one.bound.push_back(static_cast<char *>([buffers[i] contents]) + offsets[i]);
  }
  dispatches->push_back(one);
  std::memset(buffers, 0, sizeof buffers);  // so that the next kernel binds all of its own
}
- (void)endEncoding {
  if (ended) mistake("an encoder that ended twice", "endEncoding");
  ended = true;
}
- (void)dealloc {
  if (!ended) mistake("an encoder that was let go before its end", "release");
  fake::alive.encoders--;
  delete bytes;
  [super dealloc];
}
@end

@interface FakeCommand : NSObject <MTLCommandBuffer> {
 @public
  Dispatches *dispatches;
  FakeEncoder *encoder;
  MTLCommandBufferStatus state;
  bool committed;
}
@end

@implementation FakeCommand
- (id<MTLComputeCommandEncoder>)computeCommandEncoder {
  encoder = [[FakeEncoder alloc] init];
  encoder->dispatches = dispatches;
  encoder->bytes = new std::vector<char>();
  fake::alive.encoders++;
  return [encoder autorelease];
}
- (void)commit {
  if (committed || encoder == nil) mistake("a command buffer without work, or committed twice", "commit");
  committed = true;
}
- (void)waitUntilCompleted {
  if (!committed) return mistake("waiting for what was not committed", "waitUntilCompleted");
  fake::counts.submissions++;
  if (fake::orders.submissions_left-- <= 0) {
    state = MTLCommandBufferStatusError;
    return;
  }
  for (Dispatch &one : *dispatches) {
    one.bound[0] = one.bytes.data();
    for (NSUInteger i = 0; i < one.threads; i++) one.run(one.bound.data(), static_cast<uint32_t>(i));
  }
  state = MTLCommandBufferStatusCompleted;
}
- (MTLCommandBufferStatus)status {
  return state;
}
- (NSError *)error {
  return nil;
}
- (void)dealloc {
  for (Dispatch &one : *dispatches) {
    for (id buffer : one.retained) [buffer release];
  }
  delete dispatches;
  fake::alive.commands--;
  [super dealloc];
}
@end

@interface FakeQueue : NSObject <MTLCommandQueue>
@end

@implementation FakeQueue
- (id<MTLCommandBuffer>)commandBuffer {
  FakeCommand *made = [[FakeCommand alloc] init];
  made->dispatches = new Dispatches();
  fake::alive.commands++;
  return [made autorelease];
}
@end

@implementation MTLCompileOptions
- (void)setFastMathEnabled:(BOOL)enabled {
  fastMath = enabled;
}
- (void)setLanguageVersion:(MTLLanguageVersion)wanted {
  version = wanted;
}
@end

@interface FakeDevice : NSObject <MTLDevice>
@end

@implementation FakeDevice
- (BOOL)hasUnifiedMemory {
  return YES;
}
- (NSUInteger)maxBufferLength {
  return NSUInteger{1} << 32;
}
- (id<MTLCommandQueue>)newCommandQueue {
  return [[FakeQueue alloc] init];
}
- (id<MTLLibrary>)newLibraryWithSource:(NSString *)source options:(MTLCompileOptions *)options error:(NSError **)error {
  *error = nil;
  if (options->fastMath || options->version < MTLLanguageVersion2_4)
    mistake("kernels that count on fast math or an old language", "newLibraryWithSource");
  FakeLibrary *made = [[FakeLibrary alloc] init];
  made->text = new std::string([source UTF8String]);
  return made;
}
- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)function error:(NSError **)error {
  *error = nil;
  size_t buffers = 0;
  const std::string &name = *((FakeFunction *)function)->name;
  const fake::Kernel run = fake::kernel_named(name.c_str(), &buffers);
  if (run == nullptr) return nil;
  FakePipeline *made = [[FakePipeline alloc] init];
  made->name = new std::string(name);
  made->run = run;
  made->buffers = buffers;
  fake::alive.pipelines++;
  return made;
}
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
  if (length == 0 || options != MTLResourceStorageModeShared) mistake("an empty or private buffer", "newBuffer");
  if (fake::orders.buffers_left-- <= 0) return nil;
  FakeBuffer *made = [[FakeBuffer alloc] init];
  made->memory = std::malloc(length);
  std::memset(made->memory, 0xa5, length);
  made->bytes = length;
  made->owned = true;
  fake::alive.buffers++;
  return made;
}
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void *)deallocator {
  const uintptr_t page = static_cast<uintptr_t>(getpagesize()), address = reinterpret_cast<uintptr_t>(pointer);
  if (address % page != 0 || length % page != 0 || length == 0 || options != MTLResourceStorageModeShared)
    mistake("a range that is not whole pages", "newBufferWithBytesNoCopy");
  if ((fake::counts.wrapped + fake::counts.refused) % fake::orders.refuse_every == 0 || deallocator != nullptr) {
    fake::counts.refused++;
    return nil;
  }
  FakeBuffer *made = [[FakeBuffer alloc] init];
  made->memory = pointer;
  made->bytes = length;
  made->owned = false;
  fake::counts.wrapped++;
  fake::alive.buffers++;
  return made;
}
@end

extern "C" id<MTLDevice> MTLCreateSystemDefaultDevice(void) { return [[FakeDevice alloc] init]; }

namespace {

/// Every program that used the device ends with what it must not leave behind: all but the device, its queue, the
/// library and the pipelines.
struct Audit {
  ~Audit() {
    const int64_t kept = fake::alive.pipelines + 3;
    const bool used = fake::counts.submissions > 0;
    if (used)
      std::printf("fake Metal: %lld submissions, %lld ranges wrapped, %lld refused, %lld buffers left, %lld objects left,"
                  " %lld mistakes\n", static_cast<long long>(fake::counts.submissions),
                  static_cast<long long>(fake::counts.wrapped), static_cast<long long>(fake::counts.refused),
                  static_cast<long long>(fake::alive.buffers), static_cast<long long>(fake::alive.objects - kept),
                  static_cast<long long>(fake::counts.mistakes));
    std::fflush(stdout);
    if (used && (fake::alive.objects != kept || fake::alive.buffers != 0 || fake::counts.mistakes != 0)) _exit(1);
  }
} audit;

}  // namespace
