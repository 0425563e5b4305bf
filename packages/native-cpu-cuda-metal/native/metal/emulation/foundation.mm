// Foundation's root of all objects for the fake device: reference counts, autorelease pools, strings, errors.
#import <Foundation/Foundation.h>
#include <objc/runtime.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "metal/emulation/fake.h"

namespace fake {
Alive alive;
Counts counts;
Orders orders;
}  // namespace fake

namespace {

using Objects = std::vector<id>;
thread_local NSAutoreleasePool *innermost = nil;

}  // namespace

@interface NSAutoreleasePool (Adding)
- (id)add:(id)object;
@end

@implementation NSObject

+ (void)initialize {
}

+ (id)alloc {
  NSObject *made = class_createInstance(self, 0);  // cleared
  made->references = 1;
  fake::alive.objects++;
  return made;
}

- (id)init {
  return self;
}

- (void)dealloc {
  fake::alive.objects--;
  object_dispose(self);
}

- (id)retain {
  __atomic_add_fetch(&references, 1, __ATOMIC_RELAXED);
  return self;
}

- (void)release {
  if (__atomic_sub_fetch(&references, 1, __ATOMIC_ACQ_REL) == 0) [self dealloc];
}

- (NSUInteger)retainCount {
  return references;
}

- (id)autorelease {
  if (innermost == nil) {
    fake::counts.mistakes++;
    std::printf("an object was autoreleased without a pool\n");
    return self;
  }
  return [innermost add:self];
}

@end

@implementation NSAutoreleasePool

- (id)init {
  outer = innermost;
  objects = new Objects();
  innermost = self;
  return self;
}

- (id)add:(id)object {
  static_cast<Objects *>(objects)->push_back(object);
  return object;
}

- (void)drain {
  [self release];
}

- (void)dealloc {
  innermost = static_cast<NSAutoreleasePool *>(outer);
  for (id object : *static_cast<Objects *>(objects)) [object release];
  delete static_cast<Objects *>(objects);
  [super dealloc];
}

@end

@implementation NSString

+ (id)stringWithUTF8String:(const char *)from {
  NSString *made = [self alloc];
  const size_t length = std::strlen(from);
  made->text = new char[length + 1];
  std::memcpy(made->text, from, length + 1);
  return [made autorelease];
}

- (const char *)UTF8String {
  return text;
}

- (void)dealloc {
  delete[] text;
  [super dealloc];
}

@end

@implementation NSError

- (NSString *)localizedDescription {
  return description;
}

- (void)dealloc {
  [description release];
  [super dealloc];
}

@end
