// A baseline, for timing only: 2-bit weights, one simdgroup for every output of every row, activations not quantized.
// x (M, 16 W) of type T, codes (1, O, W) -> out (M, O).
const uint outputs = codes_shape[1];
const uint words = codes_shape[2];
const uint row = threadgroup_position_in_grid.y;
const uint output = threadgroup_position_in_grid.x;
float sum = 0.0f;
for (uint word = thread_index_in_simdgroup; word < words; word += 32) {
    const uint packed = codes[output * words + word];
    for (uint k = 0; k < 16; k++) {
        sum += (float((packed >> (2 * k)) & 3u) - 1.0f) * float(x[row * words * 16 + word * 16 + k]);
    }
}
sum = simd_sum(sum);
if (thread_index_in_simdgroup == 0) {
    out[row * outputs + output] = T(sum);
}
