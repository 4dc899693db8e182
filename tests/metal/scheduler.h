// What a kernel that runs on the CPU sees of the emulated GPU (scheduler.cpp): its thread, collective operations of a
// simdgroup, threadgroup memory, and the counters.
#pragma once
#include <cstddef>
#include <cstdint>

namespace gpu {

constexpr unsigned SIMD = 32;
constexpr unsigned MOST_THREADS = 1024;

struct Size {
    unsigned x, y, z;
};

// One GPU thread. It runs as a fiber: on a stack of its own, until it waits for others.
struct Thread {
    unsigned lane, simdgroup, index;
    Size in_grid, in_threadgroup, threadgroup;
    uint64_t history;  // of simd operations that do not wait, such as simdgroup_load: all lanes must have done the same
};

// Once a threadgroup: barriers and bytes of threadgroup memory (of one threadgroup). Once a simdgroup: simd operations,
// 8x8 multiply-accumulates among them. Once a thread: fused multiply-adds, bit conversions, loads of 8x8 matrices.
struct Counters {
    uint64_t barriers, multiply_accumulates, simd_operations, threadgroup_bytes;
    uint64_t fused_multiply_adds, conversions, matrix_loads;
};

extern Thread* current;
extern Counters counters;
extern Size threads_per_threadgroup, threadgroups_per_grid;

// Waits until all lanes of the simdgroup are here, at the same `line`; then `resolve` runs once, with every lane's
// argument. Lanes at different lines, or lanes that have left, are an error: undefined behaviour on a GPU.
void collective(void (*resolve)(void** arguments), void* argument, int line);

// Waits until all threads of the threadgroup are here.
void barrier(int line);

// Notes an operation that every lane must take part in, but for which none needs to wait.
void convergent(int line);

// Memory shared by a threadgroup, one allocation a `line`, between guard pages and full of NaN at first.
void* threadgroup_memory(size_t bytes, int line);

// Ends the launch with this message.
[[noreturn]] void fail(const char* message, const char* name, long index);

// A device or constant pointer. It counts bytes; for outputs it checks that every element is written exactly once.
// A read outside meets a guard page.
template <typename T>
struct Input {
    const T* data;
    uint64_t* bytes;
    const T& operator[](long index) const {
        *bytes += sizeof(T);
        return data[index];
    }
};

template <typename T>
struct Output {
    T* data;
    long elements;
    uint8_t* written;
    uint64_t* bytes;
    const char* name;

    struct Element {
        const Output& of;
        long index;
        void operator=(T value) {
            if (index < 0 || index >= of.elements) {
                fail("write outside", of.name, index);
            }
            if (of.written[index]++) {
                fail("second write", of.name, index);
            }
            of.data[index] = value;
            *of.bytes += sizeof(T);
        }
    };
    Element operator[](long index) const { return Element{*this, index}; }
};

// Implemented by the generated source: calls the kernel with this launch's buffers.
struct Buffer {
    void* data;
    long elements;
    uint8_t* written;   // of outputs: how often each element was
    uint64_t* bytes;    // read or written so far
};
using Entry = void (*)(const Buffer* buffers);

}  // namespace gpu
