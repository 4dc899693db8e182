// The kernels' dialect as clang's "C++ for OpenCL" understands it, for type-checking only: device, threadgroup, constant
// and thread memory are address spaces here that do not convert into each other. See static_check.py.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define device __global
#define constant __constant
#define threadgroup __local
#define thread __private

typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned long ulong;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef half float16_t;
typedef __bf16 bfloat16_t;
typedef half half2 __attribute__((ext_vector_type(2)));
typedef half half4 __attribute__((ext_vector_type(4)));
typedef ulong ulong2 __attribute__((ext_vector_type(2)));
typedef uint uint3 __attribute__((ext_vector_type(3)));
#define half2(...) ((half2)(__VA_ARGS__))
#define half4(...) ((half4)(__VA_ARGS__))
#define ulong2(...) ((ulong2)(__VA_ARGS__))

template <typename To, typename From>
To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}

namespace metal {
float min(float, float);
float max(float, float);
float clamp(float, float, float);
float fma(float, float, float);
float rint(float);
float abs(float);
float tanh(float);
namespace precise {
float rsqrt(float);
}
float simd_sum(float);
float simd_max(float);
float simd_shuffle_xor(float, ushort);
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
void threadgroup_barrier(mem_flags);

template <typename T, int C, int R>
struct simdgroup_matrix {
    typedef T pair __attribute__((ext_vector_type(2)));
    pair elements;
    simdgroup_matrix() __private = default;
    template <typename Other>  // clang's own copy assignment knows no address space
    void operator=(Other other) __private { elements = other.elements; }
    __private pair& thread_elements() __private { return elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
template <typename T, int C, int R>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T value);
template <typename T>
void simdgroup_load(__private simdgroup_matrix<T, 8, 8>&, const __local T*, ulong, ulong2 = ulong2(0, 0), bool = false);
template <typename T>
void simdgroup_load(__private simdgroup_matrix<T, 8, 8>&, const __global T*, ulong, ulong2 = ulong2(0, 0), bool = false);
void simdgroup_multiply_accumulate(__private simdgroup_float8x8&, __private simdgroup_half8x8&,
                                   __private simdgroup_half8x8&, __private simdgroup_float8x8&);
}  // namespace metal
using namespace metal;
