/* A whole ternary layer on a CPU: RMSNorm, int8 quantization, ternary convolution, bias, ReLU, residual.
 *
 * Weights are codes w + 1 in {0, 1, 2}, a byte each, in blocks of 16 output channels x 4 inputs: (K, ceil(O / 16),
 * ceil(I / 4), 16, 4), padded with the code 1. The product of unsigned codes and signed activations is what one x86
 * instruction (vpdpbusd) does for such a block: sum q w = sum q (w + 1) - sum q, and sum q is known for every frame.
 * All sums are int32 and exact. Taps are outermost; a tap's sums are scaled by 1 / s of the frame it saw. fmaf leaves no
 * choice of rounding to the compiler.
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

/* RMSNorm and quantization of one frame; q (groups * 4) is zero beyond `inputs`. Returns 1 / s. In double: then the
 * integers depend neither on the order of the sum nor on the instructions, and are the same on every processor. */
static __attribute__((noinline)) float quantize(const float *x, const float *gain, float mask, float eps, int inputs,
                                                int groups, int8_t *q, int32_t *sum) {
  double squares = 0.0, largest = 0.0;
  for (int k = 0; k < inputs; k++) squares += (double)x[k] * x[k];
  for (int k = 0; k < inputs; k++) largest = fmax(largest, fabs((double)x[k] * gain[k]));
  const double norm = mask / sqrt(squares / inputs + eps);
  const double scale = 127.0 / fmax(largest * norm, 1e-5), factor = norm * scale;
  int32_t total = 0;
  for (int k = 0; k < inputs; k++) {
    q[k] = (int8_t)rint((double)x[k] * gain[k] * factor); /* no more than 127 by the choice of scale */
    total += q[k];
  }
  memset(q + inputs, 0, (size_t)(groups * GROUP - inputs));
  *sum = total;
  return (float)(1.0 / scale);
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

#define FRAMES 48 /* of a round: a multiple of ROWS */

typedef struct {
  const float *x, *mask, *gain;
  const uint8_t *codes;
  const float *beta, *bias, *residual;
  float *out;
  int frames, inputs, outputs, taps, beta_a_channel, relu;
  float eps;
  int groups, blocks, chunks; /* of inputs, of output channels, of an utterance's frames */
  char *scratch;
  size_t scratch_bytes; /* of a thread */
} Layer;

/* Quantized frames, `taps - 1` more than there are outputs. */
typedef struct {
  int8_t *q;      /* (rows, groups * 4) */
  int32_t *sums;  /* (rows) */
  float *inverse; /* (rows): 1 / s */
} Quantized;

/* `rows` outputs from frame `row` of `in` on, `blocks` blocks of channels from `block` on; `out` and `residual` begin at
 * that frame. */
static inline __attribute__((always_inline)) void tile(const Layer *layer, const Quantized *in, int row, int block,
                                                       const float *residual, float *out, int rows, int blocks) {
  float total[ROWS][BLOCKS][BLOCK];
  memset(total, 0, sizeof total);
  for (int tap = 0; tap < layer->taps; tap++) {
    const int8_t *rows_q[ROWS];
    for (int r = 0; r < rows; r++) rows_q[r] = in->q + (size_t)(row + tap + r) * layer->groups * GROUP;
    const size_t at = ((size_t)tap * layer->blocks + block) * layer->groups * BLOCK * GROUP;
    int32_t sums[ROWS][BLOCKS][BLOCK];
    integer_sums(rows_q, in->sums + row + tap, layer->codes + at, layer->groups, rows, blocks, sums);
    for (int r = 0; r < rows; r++)
      for (int b = 0; b < blocks; b++)
        for (int channel = 0; channel < BLOCK; channel++)
          total[r][b][channel] = fmaf((float)sums[r][b][channel], in->inverse[row + tap + r], total[r][b][channel]);
  }
  const int first = block * BLOCK;
  const int count = layer->outputs - first < blocks * BLOCK ? layer->outputs - first : blocks * BLOCK;
  for (int r = 0; r < rows; r++) {
    const size_t at = (size_t)r * layer->outputs + first;
    const float *values = &total[r][0][0];
    for (int i = 0; i < count; i++) {
      float value = fmaf(values[i], layer->beta[layer->beta_a_channel ? first + i : 0], layer->bias[first + i]);
      if (layer->relu) value = fmaxf(value, 0.0f);
      if (residual) value += residual[at + i];
      out[at + i] = value;
    }
  }
}

/* Up to FRAMES frames of an utterance, all of a layer for them. */
static void layer_round(const void *job, int number, int thread) {
  const Layer *layer = job;
  const int width = layer->groups * GROUP, reach = layer->taps / 2, utterance = number / layer->chunks;
  const int begin = number % layer->chunks * FRAMES;
  const int count = layer->frames - begin < FRAMES ? layer->frames - begin : FRAMES;
  char *scratch = layer->scratch + thread * layer->scratch_bytes;
  const size_t rows = FRAMES + layer->taps - 1;
  const Quantized in = {(int8_t *)(scratch + 8 * rows), (int32_t *)scratch, (float *)(scratch + 4 * rows)};
  for (int row = 0; row < count + 2 * reach; row++) {
    const int frame = begin + row - reach;
    if (frame < 0 || frame >= layer->frames) {
      memset(in.q + (size_t)row * width, 0, (size_t)width);
      in.sums[row] = 0;
      in.inverse[row] = 0.0f;
    } else {
      const size_t at = (size_t)utterance * layer->frames + frame;
      in.inverse[row] = quantize(layer->x + at * layer->inputs, layer->gain, layer->mask[at], layer->eps, layer->inputs,
                                 layer->groups, in.q + (size_t)row * width, in.sums + row);
    }
  }
  const size_t start = ((size_t)utterance * layer->frames + begin) * layer->outputs;
  for (int block = 0; block < layer->blocks;) { /* a panel of weights stays in the cache for all frames */
    const int blocks = layer->blocks - block >= BLOCKS ? BLOCKS : 1;
    for (int row = 0; row < count;) {
      const size_t at = start + (size_t)row * layer->outputs;
      const float *residual = layer->residual ? layer->residual + at : NULL;
      const int tall = count - row >= ROWS ? ROWS : 1;
      if (tall == ROWS && blocks == BLOCKS)
        tile(layer, &in, row, block, residual, layer->out + at, ROWS, BLOCKS);
      else if (tall == ROWS)
        tile(layer, &in, row, block, residual, layer->out + at, ROWS, 1);
      else if (blocks == BLOCKS)
        tile(layer, &in, row, block, residual, layer->out + at, 1, BLOCKS);
      else
        tile(layer, &in, row, block, residual, layer->out + at, 1, 1);
      row += tall;
    }
    block += blocks;
  }
}

/* Bytes of scratch that `bitjets_layer` wants for each thread. */
size_t bitjets_layer_scratch(int inputs, int taps) {
  const size_t width = (size_t)(inputs + GROUP - 1) / GROUP * GROUP;
  return ((size_t)FRAMES + taps - 1) * (width + 8) + 64; /* 64: threads write to cache lines of their own */
}

/* x (batch, frames, inputs), mask (batch, frames), gain (inputs), codes as above, beta (1) or (outputs), bias (outputs),
 * residual (batch, frames, outputs) or NULL -> out (batch, frames, outputs). Never fails. */
void bitjets_layer(const float *x, const float *mask, const float *gain, const uint8_t *codes, const float *beta,
                   const float *bias, const float *residual, float *out, int batch, int frames, int inputs, int outputs,
                   int taps, int beta_a_channel, int relu, float eps, char *scratch, int threads) {
  const Layer layer = {.x = x,
                       .mask = mask,
                       .gain = gain,
                       .codes = codes,
                       .beta = beta,
                       .bias = bias,
                       .residual = residual,
                       .out = out,
                       .frames = frames,
                       .inputs = inputs,
                       .outputs = outputs,
                       .taps = taps,
                       .beta_a_channel = beta_a_channel,
                       .relu = relu,
                       .eps = eps,
                       .groups = (inputs + GROUP - 1) / GROUP,
                       .blocks = (outputs + BLOCK - 1) / BLOCK,
                       .chunks = (frames + FRAMES - 1) / FRAMES,
                       .scratch = scratch,
                       .scratch_bytes = bitjets_layer_scratch(inputs, taps)};
  run_rounds(layer_round, &layer, batch * layer.chunks, threads);
}

/* The integers that `bitjets_layer` multiplies: x (rows, inputs), mask (rows), gain (inputs) -> q (rows, inputs padded to
 * a multiple of 4) and 1 / s (rows). For tests and comparisons. */
void bitjets_quantize(const float *x, const float *mask, const float *gain, int rows, int inputs, float eps, int8_t *q,
                      float *inverse) {
  const int groups = (inputs + GROUP - 1) / GROUP;
  for (int row = 0; row < rows; row++) {
    int32_t sum;
    inverse[row] = quantize(x + (size_t)row * inputs, gain, mask[row], eps, inputs, groups,
                            q + (size_t)row * groups * GROUP, &sum);
  }
}
