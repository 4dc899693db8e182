// Shared by every kernel: exact conversions between packed integers and floating point, and the epilogue's activation.
//
// Apple GPUs take several cycles to convert an integer to a float and load single bytes slowly. So integers arrive four
// int8 or sixteen 2-bit codes to a 32-bit word, and become floating point by writing their digits into the mantissa of a
// number whose unit is 1 (1024 in half, 2^23 in float) and subtracting that number: bit operations and one exact
// subtraction, for halves two at a time.

// Before every loop whose variable indexes an array or a vector of the thread's own: registers have no addresses, so that
// such an array stays in memory if one loop over it is not unrolled.
#define UNROLL _Pragma("clang loop unroll(full)")

constant constexpr uint ZERO_CODES = 0x55555555u;  // sixteen codes 1, which is the trit 0
constant constexpr int ACTIVATION_RELU = 1;
constant constexpr int ACTIVATION_GELU = 2;

// Four int8 of a word, lowest byte first, as halves. Byte b ^ 0x80 is b + 128, so 1024 + 128 is to be subtracted.
inline half4 int8_to_half(uint word) {
    const uint biased = word ^ 0x80808080u;
    const half2 unit = half2(half(1152.0f));
    const half2 even = as_type<half2>((biased & 0x00ff00ffu) | 0x64006400u) - unit;        // bytes 0 and 2
    const half2 odd = as_type<half2>(((biased >> 8) & 0x00ff00ffu) | 0x64006400u) - unit;  // bytes 1 and 3
    return half4(even.x, odd.x, even.y, odd.y);
}

// One int8 of a word as a float: 2^23 + 128 is to be subtracted.
inline float int8_to_float(uint word, uint byte) {
    return as_type<float>(0x4b000000u | (((word ^ 0x80808080u) >> (8 * byte)) & 0xffu)) - 8388736.0f;
}

// The trits `pair` and `pair + 8` (pair in 0..7) of a word of sixteen codes, as halves: code - 1.
inline half2 trits_to_half(uint word, uint pair) {
    return as_type<half2>(((word >> (2 * pair)) & 0x00030003u) | 0x64006400u) - half2(half(1025.0f));
}

// One trit of a word of sixteen codes, as a float.
inline float trit_to_float(uint word, uint index) {
    return as_type<float>(0x4b000000u | ((word >> (2 * index)) & 3u)) - 8388609.0f;
}

// GELU in its tanh form (arXiv:1606.08415, section 2). tanh is 1 in fp32 long before 15, where it might overflow.
inline float activate(float value, int activation) {
    if (activation == ACTIVATION_RELU) {
        return max(value, 0.0f);
    }
    if (activation == ACTIVATION_GELU) {
        const float inner = 0.7978845608f * fma(0.044715f * value * value, value, value);
        return 0.5f * value * (1.0f + tanh(clamp(inner, -15.0f, 15.0f)));
    }
    return value;
}
