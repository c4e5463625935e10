// How ISA files say that a function must be inlined (left to itself the compiler keeps tiles out of line and passes vectors
// through memory), that a rare one must not be, that memory will soon be needed, and that a loop should be unrolled.
#pragma once

#define RNNEXT_PREFETCH(address) __builtin_prefetch(address)
#define RNNEXT_PREFETCH_L2(address) __builtin_prefetch(address, 0, 2)
#if defined(RNNEXT_SANITIZE)  // quick to compile counts, not quick to run
#define RNNEXT_INLINE inline
#define RNNEXT_LAMBDA
#define RNNEXT_RARE inline
#define RNNEXT_UNROLL_4
#else
#define RNNEXT_INLINE __attribute__((always_inline)) inline
#define RNNEXT_LAMBDA __attribute__((always_inline))  // after a lambda's parameters
#define RNNEXT_RARE __attribute__((noinline)) inline
#if defined(__clang__)
#define RNNEXT_UNROLL_4 _Pragma("unroll 4")  // the loop behind it
#else
#define RNNEXT_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#endif
