// RMSNorm ("SubLN") and int8 quantization of one row, fused: what BitLinear and BitConv1d do before their product.
//
//   v = x / sqrt(mean(x^2) + eps) * gain * mask      s = 127 / max(max|v|, 1e-5)      q = clip(rint(v s), -128, 127)
//
// One threadgroup of 32 * SIMDGROUPS threads a row. The row is read once and stays in registers, 4 * GROUPS values a
// thread; all statistics are fp32. Two reductions, over the simdgroup by simd_sum and simd_max, over the simdgroups
// (rows of more than 1024 values) through threadgroup memory.
//
// x (R, K) of type T, gain (K), mask (R), settings (eps) -> integers (R, ceil(K / 32) * 8): four int8 a word, zeros
// beyond K; inverse_scale (R): 1 / s.

const uint threads = 32 * SIMDGROUPS;
const uint inputs = x_shape[1];
const uint words = (inputs + 31) / 32 * 8;
const uint row = threadgroup_position_in_grid.x;
const uint thread_id = thread_index_in_threadgroup;

threadgroup float partial_squares[SIMDGROUPS];
threadgroup float partial_largest[SIMDGROUPS];

float values[GROUPS][4];
float squares = 0.0f;
UNROLL
for (uint group = 0; group < GROUPS; group++) {
    UNROLL
    for (uint i = 0; i < 4; i++) {
        const uint k = 4 * (group * threads + thread_id) + i;
        values[group][i] = k < inputs ? float(x[row * inputs + k]) : 0.0f;
        squares = fma(values[group][i], values[group][i], squares);
    }
}
squares = simd_sum(squares);
if (SIMDGROUPS > 1) {
    if (thread_index_in_simdgroup == 0) {
        partial_squares[simdgroup_index_in_threadgroup] = squares;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);  // every simdgroup's sum must be there before any is read
    squares = 0.0f;
    for (uint other = 0; other < SIMDGROUPS; other++) {
        squares += partial_squares[other];
    }
}

const float norm = precise::rsqrt(squares / float(inputs) + settings[0]);
const float present = mask[row];
float largest = 0.0f;
UNROLL
for (uint group = 0; group < GROUPS; group++) {
    UNROLL
    for (uint i = 0; i < 4; i++) {
        const uint k = 4 * (group * threads + thread_id) + i;
        values[group][i] = k < inputs ? values[group][i] * norm * gain[k] * present : 0.0f;
        largest = max(largest, abs(values[group][i]));
    }
}
largest = simd_max(largest);
if (SIMDGROUPS > 1) {
    if (thread_index_in_simdgroup == 0) {
        partial_largest[simdgroup_index_in_threadgroup] = largest;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    largest = 0.0f;
    for (uint other = 0; other < SIMDGROUPS; other++) {
        largest = max(largest, partial_largest[other]);
    }
}

const float scale = 127.0f / max(largest, 1e-5f);
UNROLL
for (uint group = 0; group < GROUPS; group++) {
    const uint word = group * threads + thread_id;
    uint packed = 0;
    UNROLL
    for (uint i = 0; i < 4; i++) {
        const int whole = int(clamp(rint(values[group][i] * scale), -128.0f, 127.0f));  // rint: half to even
        packed |= (uint(whole) & 0xffu) << (8 * i);
    }
    if (word < words) {
        integers[row * words + word] = packed;
    }
}
if (thread_id == 0) {
    inverse_scale[row] = 1.0f / scale;
}
