// A ternary linear layer for 1 to 4 rows, bound by the bytes of its weights: every code is read once, for all rows.
//
// A simdgroup is split into 32 / LANES groups of lanes. A group computes OUTPUTS output channels, its lanes striding
// over the words of a channel's codes; the lanes' sums meet by simd_shuffle_xor. The rows' activations are converted
// once a word and used for all OUTPUTS channels. All sums are of integers and stay exact in fp32.
//
// integers (ROWS, 4 W): int8, four a word; inverse_scale (ROWS); codes (1, O, W): 2-bit, sixteen a word; beta (1) or
// (O); bias (O); residual (ROWS, O) -> out (ROWS, O) = activate(sum beta / s + bias) + residual.

const uint outputs = codes_shape[1];
const uint words = codes_shape[2];
const uint lane = thread_index_in_simdgroup;
const uint group = threadgroup_position_in_grid.x * SIMDGROUPS + simdgroup_index_in_threadgroup;
const uint first = (group * (32 / LANES) + lane / LANES) * OUTPUTS;

float sums[ROWS][OUTPUTS];
UNROLL
for (uint row = 0; row < ROWS; row++) {
    UNROLL
    for (uint i = 0; i < OUTPUTS; i++) {
        sums[row][i] = 0.0f;
    }
}
for (uint word = lane % LANES; word < words; word += LANES) {
    float activations[ROWS][16];
    UNROLL
    for (uint row = 0; row < ROWS; row++) {
        UNROLL
        for (uint part = 0; part < 4; part++) {
            const uint packed = integers[(row * words + word) * 4 + part];
            UNROLL
            for (uint byte = 0; byte < 4; byte++) {
                activations[row][4 * part + byte] = int8_to_float(packed, byte);
            }
        }
    }
    UNROLL
    for (uint i = 0; i < OUTPUTS; i++) {
        const uint packed = first + i < outputs ? codes[(first + i) * words + word] : ZERO_CODES;
        UNROLL
        for (uint k = 0; k < 16; k++) {
            const float trit = trit_to_float(packed, k);
            UNROLL
            for (uint row = 0; row < ROWS; row++) {
                sums[row][i] = fma(trit, activations[row][k], sums[row][i]);
            }
        }
    }
}
UNROLL
for (uint row = 0; row < ROWS; row++) {
    UNROLL
    for (uint i = 0; i < OUTPUTS; i++) {
        float sum = sums[row][i];
        for (ushort distance = LANES / 2; distance > 0; distance /= 2) {
            sum += simd_shuffle_xor(sum, distance);
        }
        const uint output = first + i;
        if (lane % LANES == 0 && output < outputs) {
            const float scaled = sum * inverse_scale[row];
            float value = fma(scaled, beta[BETA_A_CHANNEL ? output : 0], HAS_BIAS ? bias[output] : 0.0f);
            value = activate(value, ACTIVATION);
            if (HAS_RESIDUAL) {
                value += float(residual[row * outputs + output]);
            }
            out[row * outputs + output] = T(value);
        }
    }
}
