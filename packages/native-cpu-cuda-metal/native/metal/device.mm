// Metal itself: device, library, pipelines, buffers and command buffers. Manual retain and release, no blocks, no
// literals: Apple's compiler and GNU Objective-C++ both take it.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>

#include "common/error.h"
#include "metal/device.h"

#if defined(__clang__)
#if __has_feature(objc_arc)
#error "device.mm counts references itself: compile it without ARC"
#endif
#endif

namespace kvfold {
namespace metal {
namespace {

constexpr uint64_t kLeastBytes = 16;
constexpr NSUInteger kGroup = 256;  // threads; a multiple of every SIMD width
constexpr uint64_t kMostThreads = UINT32_MAX - kGroup;  // the position of a thread is 32 bits

/// Objects that calls return for a while are let go of at the end of a scope.
class Pool {
 public:
  Pool() : pool_([[NSAutoreleasePool alloc] init]) {}
  Pool(const Pool &) = delete;
  ~Pool() { [pool_ drain]; }

 private:
  NSAutoreleasePool *pool_;
};

/// Kept for the life of the process.
struct Context {
  id<MTLDevice> device = nil;
  id<MTLCommandQueue> queue = nil;
  id<MTLLibrary> library = nil;
  std::mutex mutex;
  std::map<std::string, id> pipelines;  // id<MTLComputePipelineState>; GNU templates take no protocols
  char reason[200] = "";

  void say(const char *what, NSError *error) {
    const char *detail = error == nil ? "" : [[error localizedDescription] UTF8String];
    std::snprintf(reason, sizeof reason, "%s%s", what, detail == nullptr ? "" : detail);
  }

  Context() { start(); }

  void start() {
    const Pool pool;
    device = MTLCreateSystemDefaultDevice();
    if (device == nil) return say("this machine has no Metal device", nil);
    if (![device hasUnifiedMemory]) return say("the GPU has memory of its own; caches are folded in shared memory", nil);
    MTLCompileOptions *options = [[MTLCompileOptions alloc] init];
    [options setFastMathEnabled:NO];
    [options setLanguageVersion:MTLLanguageVersion2_4];
    NSError *error = nil;
    library = [device newLibraryWithSource:[NSString stringWithUTF8String:kKernelText] options:options error:&error];
    [options release];
    if (library == nil) return say("the kernels do not compile: ", error);
    queue = [device newCommandQueue];
    if (queue == nil) say("the device gives no command queue", nil);
  }

  bool usable() const { return queue != nil; }

  /// nil when there is no such kernel.
  id<MTLComputePipelineState> pipeline(const char *name) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto known = pipelines.find(name);
    if (known != pipelines.end()) return known->second;
    id<MTLFunction> function = [library newFunctionWithName:[NSString stringWithUTF8String:name]];
    if (function == nil) return nil;
    NSError *error = nil;
    id<MTLComputePipelineState> made = [device newComputePipelineStateWithFunction:function error:&error];
    [function release];
    if (made != nil) pipelines[name] = made;
    return made;
  }
};

/// Never destroyed, so that no thread can outlive it.
Context &context() {
  static Context *one = new Context();
  return *one;
}

id<MTLBuffer> buffer_of(void *object) { return (id<MTLBuffer>)object; }

}  // namespace

kvfold_status check_device(kvfold_error *error) {
  try {
    const Context &here = context();
    return here.usable() ? KVFOLD_OK : fail(error, KVFOLD_STATUS_UNSUPPORTED, "%s", here.reason);
  } catch (...) {
    return fail_memory(error, "the Metal device");
  }
}

// ---------------------------------------------------------------------------------------------------------- buffers

bool Buffer::allocate(uint64_t bytes) {
  free();
  const uint64_t length = bytes < kLeastBytes ? kLeastBytes : bytes;
  if (!context().usable() || length > [context().device maxBufferLength]) return false;
  id<MTLBuffer> made = [context().device newBufferWithLength:(NSUInteger)length options:MTLResourceStorageModeShared];
  if (made == nil) return false;
  object_ = made;
  data_ = static_cast<uint8_t *>([made contents]);
  bytes_ = bytes;
  return true;
}

bool Buffer::copy(const void *data, uint64_t bytes) {
  if (!allocate(bytes)) return false;
  if (bytes != 0) std::memcpy(data_, data, static_cast<size_t>(bytes));
  return true;
}

bool Buffer::wrap(void *data, uint64_t bytes) {
  free();
  const uintptr_t page = static_cast<uintptr_t>(getpagesize()), address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = address / page * page;
  if (bytes > UINTPTR_MAX - address - page) return false;
  const uintptr_t end = (address + static_cast<uintptr_t>(bytes) + page - 1) / page * page;
  if (!context().usable() || end - begin > [context().device maxBufferLength]) return false;
  id<MTLBuffer> made = [context().device newBufferWithBytesNoCopy:reinterpret_cast<void *>(begin)
                                                           length:(NSUInteger)(end - begin)
                                                          options:MTLResourceStorageModeShared
                                                      deallocator:nil];
  if (made == nil) return false;
  object_ = made;
  data_ = static_cast<uint8_t *>(data);
  bytes_ = bytes;
  base_ = static_cast<uint32_t>(address - begin);
  return true;
}

void Buffer::free() {
  if (object_ != nullptr) [buffer_of(object_) release];
  object_ = nullptr;
  data_ = nullptr;
  bytes_ = 0;
  base_ = 0;
}

// ------------------------------------------------------------------------------------------------------------- work

bool Work::begin() {
  if (encoder_ != nullptr) return true;
  if (failed_ || !context().usable()) return false;
  id<MTLCommandBuffer> command = [[context().queue commandBuffer] retain];
  id<MTLComputeCommandEncoder> encoder = [[command computeCommandEncoder] retain];
  command_ = command;
  encoder_ = encoder;
  failed_ = encoder == nil;
  return !failed_;
}

void Work::add(const char *kernel, const void *parameters, size_t bytes, uint64_t threads,
               std::initializer_list<Bound> buffers) {
  if (threads == 0) return;
  if (threads > kMostThreads) {
    too_many_ = kernel;
    return;
  }
  const Pool pool;
  if (!begin()) return;
  id<MTLComputePipelineState> pipeline = context().pipeline(kernel);
  if (pipeline == nil) {
    unknown_ = kernel;
    return;
  }
  id<MTLComputeCommandEncoder> encoder = (id<MTLComputeCommandEncoder>)encoder_;
  [encoder setComputePipelineState:pipeline];
  [encoder setBytes:parameters length:bytes atIndex:0];
  NSUInteger index = 1;
  for (const Bound &bound : buffers) {
    [encoder setBuffer:buffer_of(bound.buffer.object_) offset:(NSUInteger)bound.offset atIndex:index++];
  }
  const NSUInteger most = [pipeline maxTotalThreadsPerThreadgroup], group = most < kGroup ? most : kGroup;
  [encoder dispatchThreadgroups:MTLSizeMake(((NSUInteger)threads + group - 1) / group, 1, 1)
          threadsPerThreadgroup:MTLSizeMake(group, 1, 1)];
}

kvfold_status Work::finish(kvfold_error *error) {
  const Pool pool;
  kvfold_status status = KVFOLD_OK;
  if (failed_) {
    status = fail(error, KVFOLD_STATUS_NATIVE, "the Metal device gives no command buffer");
  } else if (unknown_ != nullptr) {
    status = fail(error, KVFOLD_STATUS_NATIVE, "the Metal kernel %s could not be made", unknown_);
  } else if (too_many_ != nullptr) {
    status = fail(error, KVFOLD_STATUS_PLAN_LIMIT, "the Metal kernel %s would need more than 2^32 threads", too_many_);
  } else if (encoder_ != nullptr) {
    id<MTLCommandBuffer> command = (id<MTLCommandBuffer>)command_;
    [(id<MTLComputeCommandEncoder>)encoder_ endEncoding];
    [(id<MTLComputeCommandEncoder>)encoder_ release];
    encoder_ = nullptr;
    [command commit];
    [command waitUntilCompleted];
    if ([command status] != MTLCommandBufferStatusCompleted) {
      const char *detail = [command error] == nil ? nullptr : [[[command error] localizedDescription] UTF8String];
      status = fail(error, KVFOLD_STATUS_NATIVE, "the GPU did not finish: %s", detail == nullptr ? "no reason" : detail);
    }
  }
  drop();
  return status;
}

void Work::drop() {
  if (encoder_ != nullptr) {
    [(id<MTLComputeCommandEncoder>)encoder_ endEncoding];  // an encoder must not go without
    [(id<MTLComputeCommandEncoder>)encoder_ release];
  }
  if (command_ != nullptr) [(id<MTLCommandBuffer>)command_ release];
  encoder_ = command_ = nullptr;
  unknown_ = too_many_ = nullptr;
  failed_ = false;
}

}  // namespace metal
}  // namespace kvfold
