// As much of the Metal Shading Language as the kernels use, in C++, for running them on the CPU (see emulator.py).
//
// Sources are compiled with -ffp-contract=off, so that only fma() fuses. Address spaces are gone here; static_check.py
// looks after those.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "scheduler.h"

#define device
#define constant static
#define thread
#define kernel

typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned long ulong;
typedef _Float16 half;

// bfloat16: the upper half of a float, rounded half to even.
struct bfloat {
    uint16_t bits;
    bfloat() = default;
    explicit bfloat(float value) {
        uint32_t whole;
        memcpy(&whole, &value, 4);
        bits = uint16_t(value != value ? (whole >> 16) | 0x40 : (whole + 0x7fff + ((whole >> 16) & 1)) >> 16);
    }
    explicit operator float() const {
        const uint32_t whole = uint32_t(bits) << 16;
        float value;
        memcpy(&value, &whole, 4);
        return value;
    }
};
typedef half float16_t;
typedef bfloat bfloat16_t;

template <typename T, int N>
struct vec;
template <typename T>
struct vec<T, 2> {
    T x, y;
    vec() = default;
    explicit vec(T all) : x(all), y(all) {}
    vec(T x, T y) : x(x), y(y) {}
    T& operator[](int i) { return (&x)[i]; }
    const T& operator[](int i) const { return (&x)[i]; }
    vec operator-(vec other) const { return vec(T(x - other.x), T(y - other.y)); }
};
template <typename T>
struct vec<T, 4> {
    T x, y, z, w;
    vec() = default;
    vec(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
    T& operator[](int i) { return (&x)[i]; }
    const T& operator[](int i) const { return (&x)[i]; }
};
struct uint3 {
    uint x, y, z;
};
typedef vec<half, 2> half2;
typedef vec<half, 4> half4;
typedef vec<ulong, 2> ulong2;

template <typename To, typename From>
To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From));
    gpu::counters.conversions++;
    To to;
    memcpy(static_cast<void*>(&to), &from, sizeof to);
    return to;
}

namespace metal {

template <typename T> T min(T a, T b) { return b < a ? b : a; }
template <typename T> T max(T a, T b) { return a < b ? b : a; }
inline float clamp(float value, float low, float high) { return min(max(value, low), high); }
inline float fma(float a, float b, float c) {
    gpu::counters.fused_multiply_adds++;
    return std::fma(a, b, c);
}
inline float rint(float a) { return ::rintf(a); }
inline float abs(float a) { return ::fabsf(a); }
inline float tanh(float a) { return ::tanhf(a); }
namespace precise {
inline float rsqrt(float a) { return 1.0f / ::sqrtf(a); }
}

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
inline void threadgroup_barrier(mem_flags, int line = __builtin_LINE()) { gpu::barrier(line); }

// -- collective operations of a simdgroup --------------------------------------------------------------------------

inline float simd_sum(float value, int line = __builtin_LINE()) {
    gpu::collective(
        [](void** lanes) {
            float sums[gpu::SIMD];
            for (uint i = 0; i < gpu::SIMD; i++) sums[i] = *static_cast<float*>(lanes[i]);
            for (uint width = gpu::SIMD / 2; width > 0; width /= 2)
                for (uint i = 0; i < width; i++) sums[i] += sums[i + width];
            for (uint i = 0; i < gpu::SIMD; i++) *static_cast<float*>(lanes[i]) = sums[0];
        },
        &value, line);
    return value;
}

inline float simd_max(float value, int line = __builtin_LINE()) {
    gpu::collective(
        [](void** lanes) {
            float largest = *static_cast<float*>(lanes[0]);
            for (uint i = 1; i < gpu::SIMD; i++) largest = max(largest, *static_cast<float*>(lanes[i]));
            for (uint i = 0; i < gpu::SIMD; i++) *static_cast<float*>(lanes[i]) = largest;
        },
        &value, line);
    return value;
}

inline float simd_shuffle_xor(float value, ushort distance, int line = __builtin_LINE()) {
    struct Argument {
        float value;
        ushort distance;
        float found;
    } argument{value, distance, 0};
    gpu::collective(
        [](void** lanes) {
            for (uint i = 0; i < gpu::SIMD; i++) {
                Argument* mine = static_cast<Argument*>(lanes[i]);
                mine->found = static_cast<Argument*>(lanes[(i ^ mine->distance) % gpu::SIMD])->value;
            }
        },
        &argument, line);
    return argument.found;
}

// -- 8x8 matrices, two neighbouring elements a lane, in the layout MLX's GEMM relies on -----------------------------

template <typename T, int C, int R>
struct simdgroup_matrix {
    vec<T, 2> elements;
    vec<T, 2>& thread_elements() { return elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;

inline int matrix_row(uint lane) { return int(((lane / 4) & 4) + (lane / 2) % 4); }
inline int matrix_column(uint lane) { return int(((lane / 4) & 2) * 2 + (lane % 2) * 2); }

template <typename T, int C, int R>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T value) {
    return {vec<T, 2>(value)};
}

template <typename T>
void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix, const T* source, ulong stride, ulong2 origin = ulong2(0, 0),
                    bool transpose = false, int line = __builtin_LINE()) {
    gpu::convergent(line);
    gpu::counters.matrix_loads++;
    const int row = matrix_row(gpu::current->lane), column = matrix_column(gpu::current->lane);
    source += origin.y * stride + origin.x;
    for (int i = 0; i < 2; i++) {
        matrix.elements[i] = transpose ? source[ulong(column + i) * stride + ulong(row)]
                                       : source[ulong(row) * stride + ulong(column + i)];
    }
}

inline void simdgroup_multiply_accumulate(simdgroup_float8x8& out, simdgroup_half8x8& a, simdgroup_half8x8& b,
                                          simdgroup_float8x8& c, int line = __builtin_LINE()) {
    struct Argument {
        simdgroup_float8x8 *out, *c;
        simdgroup_half8x8 *a, *b;
    } argument{&out, &c, &a, &b};
    gpu::collective(
        [](void** lanes) {
            gpu::counters.multiply_accumulates++;
            float left[8][8], right[8][8], sums[8][8];
            for (uint i = 0; i < gpu::SIMD; i++) {
                const Argument& mine = *static_cast<Argument*>(lanes[i]);
                for (int k = 0; k < 2; k++) {
                    left[matrix_row(i)][matrix_column(i) + k] = float(mine.a->elements[k]);
                    right[matrix_row(i)][matrix_column(i) + k] = float(mine.b->elements[k]);
                    sums[matrix_row(i)][matrix_column(i) + k] = mine.c->elements[k];
                }
            }
            for (int row = 0; row < 8; row++)
                for (int k = 0; k < 8; k++)
                    for (int column = 0; column < 8; column++) sums[row][column] += left[row][k] * right[k][column];
            for (uint i = 0; i < gpu::SIMD; i++) {
                for (int k = 0; k < 2; k++) {
                    static_cast<Argument*>(lanes[i])->out->elements[k] = sums[matrix_row(i)][matrix_column(i) + k];
                }
            }
        },
        &argument, line);
}

}  // namespace metal
using namespace metal;
