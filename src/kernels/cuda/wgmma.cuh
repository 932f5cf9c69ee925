// wgmma of compute capability 9.0: products of a warpgroup, 64 rows by 8 kTiles columns by 16 k's, with A in registers
// and B in shared memory. Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". A warp has 16 of the
// rows; its fragments of A and D are those of mma.m16n8k16 (ptx.cuh), D's of one tile of 8 columns after the other.
#pragma once
#include <cstdint>

namespace trimeter::cuda {

// B [column][64 k's]: rows of 128 bytes, of which the 16 bytes at piece p of column c lie at piece p ^ c % 8; 8 columns
// are 1024 bytes, aligned so. A step of 16 k's is 32 bytes: 2 of a descriptor.
__device__ __forceinline__ uint64_t wgmma_operand(uint32_t shared) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightColumns = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightColumns | (shared & 0x3ffff) >> 4;
}
// Before the first product that takes registers written otherwise.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// What follows reads registers of products after the wait for them, not before.
__device__ __forceinline__ void fence_registers(float (&d)[4]) {
  asm volatile("" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])::"memory");
}
// Makes this thread's writes to shared memory visible to wgmma.
__device__ __forceinline__ void fence_for_wgmma() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Registers that the threads of a warpgroup give back, or take of those that another has given back.
template <int kRegisters>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// d += a b^T
#define TM_TILE(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define TM_WGMMA(columns, d, a0, a1, a2, a3, b)                                                                 \
  "{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"                                                                    \
  "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 {" d "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b \
  ", p, 1, 1, 0;\n}"
__device__ __forceinline__ void wgmma(float (&d)[2][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(TM_WGMMA("16", "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", "%11", "%12")
               : TM_TILE(0), TM_TILE(1)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void wgmma(float (&d)[4][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(TM_WGMMA("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17",
                        "%18", "%19", "%20")
               : TM_TILE(0), TM_TILE(1), TM_TILE(2), TM_TILE(3)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void wgmma(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(TM_WGMMA("64",
                        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31",
                        "%32", "%33", "%34", "%35", "%36")
               : TM_TILE(0), TM_TILE(1), TM_TILE(2), TM_TILE(3), TM_TILE(4), TM_TILE(5), TM_TILE(6), TM_TILE(7)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void wgmma(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(TM_WGMMA("128",
                        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63",
                        "%64", "%65", "%66", "%67", "%68")
               : TM_TILE(0), TM_TILE(1), TM_TILE(2), TM_TILE(3), TM_TILE(4), TM_TILE(5), TM_TILE(6), TM_TILE(7),
                 TM_TILE(8), TM_TILE(9), TM_TILE(10), TM_TILE(11), TM_TILE(12), TM_TILE(13), TM_TILE(14), TM_TILE(15)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef TM_TILE
#undef TM_WGMMA

}  // namespace trimeter::cuda
