// The ternary product of many rows: a tiled GEMM on 8x8 simdgroup matrices. A 1-D convolution is the same GEMM once a
// tap, its loader reading the frames that the tap sees; there is no im2col buffer. A linear layer has one tap.
//
// A threadgroup computes BM frames x BN output channels with WM x WN simdgroups, each FM x FN matrices of 8 x 8. Taps
// are outermost: every input frame has a scale of its own, so a tap's integer sums (exact in fp32) are multiplied by
// 1 / s of the frames it saw when the tap ends, and only then join the other taps'. For each tap and 32 inputs, codes
// and activations are decoded once a threadgroup, into halves, which hold them exactly.
//
// integers (B, F, 4 W): int8, four a word; inverse_scale (B, F); codes (taps, O, W): 2-bit, sixteen a word;
// beta (1) or (O); bias (O); residual (B, F, O); settings (dilation) -> out (B, F, O) of type T.

constexpr int BM = 8 * WM * FM;
constexpr int BN = 8 * WN * FN;
constexpr int BK = 32;           // inputs a step: two words of codes, eight words of activations
constexpr int LD = BK + 8;       // row length in threadgroup memory; 8 more, so that rows start in different banks
constexpr int THREADS = 32 * WM * WN;

threadgroup half activations[BM * LD];
threadgroup half weights[BN * LD];

const int frames = integers_shape[1];
const int outputs = codes_shape[1];
const int taps = codes_shape[0];
const int words = codes_shape[2];
const int first_frame = int(threadgroup_position_in_grid.y) * BM;
const int first_output = int(threadgroup_position_in_grid.x) * BN;
const int utterance = int(threadgroup_position_in_grid.z) * frames;  // row of its first frame
const int thread_id = int(thread_index_in_threadgroup);
const int lane = int(thread_index_in_simdgroup);

// This simdgroup's corner of the tile, and the two neighboring elements of an 8x8 matrix that this lane holds (the
// layout MLX's own GEMM relies on).
const int corner_frame = int(simdgroup_index_in_threadgroup) / WN * FM * 8;
const int corner_output = int(simdgroup_index_in_threadgroup) % WN * FN * 8;
const int lane_row = ((lane / 4) & 4) + (lane / 2) % 4;
const int lane_column = ((lane / 4) & 2) * 2 + (lane % 2) * 2;

float total[FM][FN][2];
UNROLL
for (int m = 0; m < FM; m++) {
    UNROLL
    for (int n = 0; n < FN; n++) {
        total[m][n][0] = 0.0f;
        total[m][n][1] = 0.0f;
    }
}

for (int tap = 0; tap < taps; tap++) {
    const int shift = (tap - taps / 2) * settings[0];
    simdgroup_float8x8 sums[FM][FN];
    UNROLL
    for (int m = 0; m < FM; m++) {
        UNROLL
        for (int n = 0; n < FN; n++) {
            sums[m][n] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
    for (int step = 0; step < words / 2; step++) {
        for (int i = thread_id; i < BM * 8; i += THREADS) {  // one word of activations
            const int row = i / 8;
            const int part = i % 8;
            const int frame = first_frame + row + shift;
            const bool inside = frame >= 0 && frame < frames;
            const half4 four = int8_to_half(inside ? integers[(utterance + frame) * words * 4 + step * 8 + part] : 0u);
            UNROLL
            for (int k = 0; k < 4; k++) {
                activations[row * LD + part * 4 + k] = four[k];
            }
        }
        for (int i = thread_id; i < BN * 4; i += THREADS) {  // half a word of codes
            const int row = i / 4;
            const int part = i % 4;
            const int output = first_output + row;
            const uint packed = output < outputs ? codes[(tap * outputs + output) * words + step * 2 + part / 2] : ZERO_CODES;
            for (int pair = part % 2 * 4; pair < part % 2 * 4 + 4; pair++) {
                const half2 two = trits_to_half(packed, pair);
                weights[row * LD + part / 2 * 16 + pair] = two.x;
                weights[row * LD + part / 2 * 16 + pair + 8] = two.y;
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);  // the tile must be whole before anybody multiplies
        UNROLL
        for (int k = 0; k < BK; k += 8) {
            simdgroup_half8x8 a[FM];
            simdgroup_half8x8 b[FN];
            UNROLL
            for (int m = 0; m < FM; m++) {
                simdgroup_load(a[m], activations + (corner_frame + m * 8) * LD + k, LD);
            }
            UNROLL
            for (int n = 0; n < FN; n++) {
                simdgroup_load(b[n], weights + (corner_output + n * 8) * LD + k, LD, ulong2(0, 0), true);
            }
            UNROLL
            for (int m = 0; m < FM; m++) {
                UNROLL
                for (int n = 0; n < FN; n++) {
                    simdgroup_multiply_accumulate(sums[m][n], a[m], b[n], sums[m][n]);
                }
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);  // nobody may still multiply when the next tile is written
    }
    UNROLL
    for (int m = 0; m < FM; m++) {
        const int frame = first_frame + corner_frame + m * 8 + lane_row + shift;
        const float inverse = frame >= 0 && frame < frames ? inverse_scale[utterance + frame] : 0.0f;
        UNROLL
        for (int n = 0; n < FN; n++) {
            total[m][n][0] = fma(sums[m][n].thread_elements()[0], inverse, total[m][n][0]);
            total[m][n][1] = fma(sums[m][n].thread_elements()[1], inverse, total[m][n][1]);
        }
    }
}

UNROLL
for (int m = 0; m < FM; m++) {
    const int frame = first_frame + corner_frame + m * 8 + lane_row;
    UNROLL
    for (int n = 0; n < FN; n++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int output = first_output + corner_output + n * 8 + lane_column + i;
            if (frame < frames && output < outputs) {
                float value = fma(total[m][n][i], beta[BETA_A_CHANNEL ? output : 0], HAS_BIAS ? bias[output] : 0.0f);
                value = activate(value, ACTIVATION);
                if (HAS_RESIDUAL) {
                    value += float(residual[(utterance + frame) * outputs + output]);
                }
                out[(utterance + frame) * outputs + output] = T(value);
            }
        }
    }
}
