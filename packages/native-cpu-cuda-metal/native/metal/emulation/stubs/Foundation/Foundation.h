// The part of Foundation that device.mm uses, for GNU Objective-C++. Selectors as Apple documents them.
#ifndef KVFOLD_STUB_FOUNDATION_H
#define KVFOLD_STUB_FOUNDATION_H

#include <objc/objc.h>

#include <cstdint>

typedef unsigned long NSUInteger;
typedef long NSInteger;

@protocol NSObject
- (id)retain;
- (void)release;
- (id)autorelease;
- (NSUInteger)retainCount;
@end

__attribute__((objc_root_class))
@interface NSObject <NSObject> {
  Class isa;
  NSUInteger references;
}
+ (id)alloc;
+ (void)initialize;
- (id)init;
- (void)dealloc;
@end

@interface NSAutoreleasePool : NSObject {
  void *outer;
  void *objects;
}
- (void)drain;
@end

@interface NSString : NSObject {
  char *text;
}
+ (id)stringWithUTF8String:(const char *)text;
- (const char *)UTF8String;
@end

@interface NSError : NSObject {
  NSString *description;
}
- (NSString *)localizedDescription;
@end

#endif
