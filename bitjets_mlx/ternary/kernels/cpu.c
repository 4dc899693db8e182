/* A whole ternary layer on one CPU core: RMSNorm, int8 quantisation, ternary convolution, bias, ReLU, residual.
 *
 * Weights are codes w + 1 in {0, 1, 2}, a byte each, in blocks of 16 output channels x 4 inputs: (K, ceil(O / 16),
 * ceil(I / 4), 16, 4), padded with the code 1. The product of unsigned codes and signed activations is what one x86
 * instruction (vpdpbusd) does for such a block: sum q w = sum q (w + 1) - sum q, and sum q is known for every frame.
 * All sums are int32 and exact. Taps are outermost; a tap's sums are scaled by 1 / s of the frame it saw.
 *
 * Three versions of the inner product: AVX-512 VNNI, AVX2, and plain C, which the others are tested against
 * (-DBITJETS_PLAIN).
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(BITJETS_PLAIN) && defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#define VNNI 1
#elif !defined(BITJETS_PLAIN) && defined(__AVX2__)
#include <immintrin.h>
#define AVX2 1
#endif

#define BLOCK 16 /* output channels */
#define GROUP 4  /* inputs */
#define ROWS 6   /* frames at a time */
#define BLOCKS 4 /* blocks of channels at a time */

const char *bitjets_instructions(void) {
#if defined(VNNI)
  return "AVX-512 VNNI";
#elif defined(AVX2)
  return "AVX2";
#else
  return "plain C";
#endif
}

/* RMSNorm and quantisation of one frame; q (groups * 4) is zero beyond `inputs`. Returns 1 / s. */
static float quantise(const float *x, const float *gain, float mask, float eps, int inputs, int groups, int8_t *q,
                      int32_t *sum) {
  float squares = 0.0f, largest = 0.0f;
  for (int k = 0; k < inputs; k++) squares += x[k] * x[k];
  const float norm = mask / sqrtf(squares / (float)inputs + eps);
  for (int k = 0; k < inputs; k++) largest = fmaxf(largest, fabsf(x[k] * norm * gain[k]));
  const float scale = 127.0f / fmaxf(largest, 1e-5f);
  int32_t total = 0;
  for (int k = 0; k < inputs; k++) {
    const float whole = rintf(x[k] * norm * gain[k] * scale);
    q[k] = (int8_t)fminf(fmaxf(whole, -128.0f), 127.0f);
    total += q[k];
  }
  memset(q + inputs, 0, (size_t)(groups * GROUP - inputs));
  *sum = total;
  return 1.0f / scale;
}

/* sums[rows][blocks][BLOCK] of `rows` frames and `blocks` blocks; both are constants where this is inlined. */
static inline __attribute__((always_inline)) void integer_sums(const int8_t *const *q, const int32_t *q_sums,
                                                               const uint8_t *codes, int groups, int rows, int blocks,
                                                               int32_t sums[ROWS][BLOCKS][BLOCK]) {
  const size_t block_bytes = (size_t)groups * BLOCK * GROUP;
#if defined(VNNI)
  __m512i accumulators[ROWS][BLOCKS];
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++) accumulators[r][b] = _mm512_set1_epi32(-q_sums[r]);
  for (int g = 0; g < groups; g++) {
    __m512i weights[BLOCKS];
    for (int b = 0; b < blocks; b++) weights[b] = _mm512_loadu_si512(codes + b * block_bytes + (size_t)g * BLOCK * GROUP);
    for (int r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, q[r] + g * GROUP, 4);
      const __m512i same = _mm512_set1_epi32(four);
      for (int b = 0; b < blocks; b++) accumulators[r][b] = _mm512_dpbusd_epi32(accumulators[r][b], weights[b], same);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++) _mm512_storeu_si512(sums[r][b], accumulators[r][b]);
#elif defined(AVX2)
  const __m256i one = _mm256_set1_epi16(1);
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++) {
      for (int half = 0; half < 2; half++) {
        __m256i accumulator = _mm256_set1_epi32(-q_sums[r]);
        for (int start = 0; start < groups; start += 32) { /* 32 x 2 x 2 x 128 still fits 16 bits */
          const int stop = start + 32 < groups ? start + 32 : groups;
          __m256i pairs = _mm256_setzero_si256();
          for (int g = start; g < stop; g++) {
            int32_t four;
            memcpy(&four, q[r] + g * GROUP, 4);
            const uint8_t *at = codes + b * block_bytes + (size_t)g * BLOCK * GROUP + half * 32;
            const __m256i weights = _mm256_loadu_si256((const __m256i *)at);
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights, _mm256_set1_epi32(four)));
          }
          accumulator = _mm256_add_epi32(accumulator, _mm256_madd_epi16(pairs, one));
        }
        _mm256_storeu_si256((__m256i *)(sums[r][b] + half * 8), accumulator);
      }
    }
#else
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++)
      for (int channel = 0; channel < BLOCK; channel++) {
        int32_t sum = -q_sums[r];
        for (int g = 0; g < groups; g++)
          for (int k = 0; k < GROUP; k++)
            sum += codes[b * block_bytes + ((size_t)g * BLOCK + channel) * GROUP + k] * q[r][g * GROUP + k];
        sums[r][b][channel] = sum;
      }
#endif
}

typedef struct {
  const uint8_t *codes;
  const float *beta, *bias, *residual;
  float *out;
  int taps, frames, outputs, output_blocks, groups, relu, beta_a_channel;
} Layer;

/* `rows` frames from `frame` on, `blocks` blocks from `block` on. q, q_sums and inverse are those of frame 0, with
 * taps / 2 empty frames before. */
static inline __attribute__((always_inline)) void tile(const Layer *layer, const int8_t *q, const int32_t *q_sums,
                                                       const float *inverse, int frame, int block, int rows,
                                                       int blocks) {
  float total[ROWS][BLOCKS][BLOCK];
  memset(total, 0, sizeof total);
  for (int tap = 0; tap < layer->taps; tap++) {
    const int first = frame + tap - layer->taps / 2;
    const int8_t *rows_q[ROWS];
    for (int r = 0; r < rows; r++) rows_q[r] = q + (ptrdiff_t)(first + r) * layer->groups * GROUP;
    const size_t at = ((size_t)tap * layer->output_blocks + block) * layer->groups * BLOCK * GROUP;
    int32_t sums[ROWS][BLOCKS][BLOCK];
    integer_sums(rows_q, q_sums + first, layer->codes + at, layer->groups, rows, blocks, sums);
    for (int r = 0; r < rows; r++)
      for (int b = 0; b < blocks; b++)
        for (int channel = 0; channel < BLOCK; channel++)
          total[r][b][channel] += (float)sums[r][b][channel] * inverse[first + r];
  }
  for (int r = 0; r < rows; r++) {
    const int first = block * BLOCK;
    const int count = layer->outputs - first < blocks * BLOCK ? layer->outputs - first : blocks * BLOCK;
    float *out = layer->out + (size_t)(frame + r) * layer->outputs + first;
    const float *values = &total[r][0][0];
    for (int i = 0; i < count; i++) {
      float value = values[i] * layer->beta[layer->beta_a_channel ? first + i : 0] + layer->bias[first + i];
      if (layer->relu) value = fmaxf(value, 0.0f);
      if (layer->residual) value += layer->residual[(size_t)(frame + r) * layer->outputs + first + i];
      out[i] = value;
    }
  }
}

/* x (frames, inputs), mask (frames), gain (inputs), codes as above, beta (1) or (outputs), bias (outputs), residual
 * (frames, outputs) or NULL -> out (frames, outputs). Room for frames + taps - 1 rows in q (groups * 4), q_sums and
 * inverse. Returns nothing; never fails. */
void bitjets_layer(const float *x, const float *mask, const float *gain, const uint8_t *codes, const float *beta,
                   const float *bias, const float *residual, float *out, int frames, int inputs, int outputs, int taps,
                   int beta_a_channel, int relu, float eps, int8_t *q, int32_t *q_sums, float *inverse) {
  const int groups = (inputs + GROUP - 1) / GROUP, reach = taps / 2;
  const Layer layer = {codes, beta,  bias, residual, out, taps, frames, outputs, (outputs + BLOCK - 1) / BLOCK,
                       groups, relu, beta_a_channel};
  for (int row = 0; row < frames + 2 * reach; row++) {
    const int frame = row - reach;
    if (frame < 0 || frame >= frames) {
      memset(q + (size_t)row * groups * GROUP, 0, (size_t)groups * GROUP);
      q_sums[row] = 0;
      inverse[row] = 0.0f;
    } else {
      inverse[row] = quantise(x + (size_t)frame * inputs, gain, mask[frame], eps, inputs, groups,
                              q + (size_t)row * groups * GROUP, q_sums + row);
    }
  }
  q += (size_t)reach * groups * GROUP;
  q_sums += reach;
  inverse += reach;
  for (int block = 0; block < layer.output_blocks;) { /* a panel of weights stays in the cache for all frames */
    const int blocks = layer.output_blocks - block >= BLOCKS ? BLOCKS : 1;
    int frame = 0;
    for (; frame + ROWS <= frames; frame += ROWS) {
      if (blocks == BLOCKS)
        tile(&layer, q, q_sums, inverse, frame, block, ROWS, BLOCKS);
      else
        tile(&layer, q, q_sums, inverse, frame, block, ROWS, 1);
    }
    for (; frame < frames; frame++) {
      if (blocks == BLOCKS)
        tile(&layer, q, q_sums, inverse, frame, block, 1, BLOCKS);
      else
        tile(&layer, q, q_sums, inverse, frame, block, 1, 1);
    }
    block += blocks;
  }
}
