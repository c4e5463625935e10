// How an ISA file says that a function must not stand on its own (left to itself the compiler keeps tiles out of line, and
// vectors passed through memory), that one must since it is rare, that memory will be wanted soon, and that a loop's body is
// worth repeating.
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
