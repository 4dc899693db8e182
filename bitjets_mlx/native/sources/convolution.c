/* The convolution that both vocoders are made of, for one CPU core. Included before hifigan.c and harmonic.c.
 *
 * Activations are channels-first here, (C, T) with one row per channel, so that vector lanes are neighboring samples whatever
 * the number of channels, and a tap is a load some floats further on. Weights are (ceil(O / 8), I, K, 8), padded with
 * zeros. A tile of 8 outputs x 3 vectors of samples stays in registers over all inputs and taps, then goes through what
 * follows the convolution (bias, activation, residual) before it is stored. The plain form of everything is the MLX code
 * of vocoder/hifigan.py and vocoder/harmonic.py, which the tests hold this against.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 8 /* outputs that a packed weight holds side by side */
#define WIDE 3  /* vectors of samples in a tile */
#if defined(__AVX512F__)
#define LANES 16
#define OUTS 8 /* outputs in registers at a time: OUTS x WIDE accumulators of 32 registers, or of 16 */
#elif defined(__AVX__)
#define LANES 8
#define OUTS 4
#elif defined(__ARM_NEON)
#define LANES 4
#define OUTS 8
#else
#define LANES 4
#define OUTS 4
#endif
#define TILE (WIDE * LANES)
#define SLACK 64 /* floats that a tile may read beyond the last row */
#define INLINE static inline __attribute__((always_inline))

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { BIAS, LEAKY, PAIR, SUM, GATE, SCALED };

/* What happens to y = convolution + bias; `out`, `activated` and `add` point at the first sample, rows `stride` apart. */
typedef struct {
  int kind;                 /* BIAS: out = y. LEAKY: out = leaky(y). PAIR: out = y + add, activated = leaky(out). */
  float *out;               /* SUM: out = y + add, added to out unless `first`. GATE: out = gate(y). */
  ptrdiff_t stride;         /* SCALED: out = add + scale[o] y. */
  const float *add, *scale;
  float *activated;
  float slope;
  int first;
} After;

typedef struct {
  const float *weight, *bias; /* as above; bias (8 ceil(O / 8)) */
  int inputs, outputs, taps, dilation;
} Convolution;

INLINE float leaky(float x, float slope) { return x > 0.0f ? x : slope * x; }

INLINE void products(const float *x, ptrdiff_t stride, const float *weight, int inputs, int taps, int dilation, int wide,
                     float out[BLOCK][TILE]) {
  for (int part = 0; part < BLOCK; part += OUTS) {
    Lanes sums[OUTS][WIDE];
    for (int o = 0; o < OUTS; o++)
      for (int v = 0; v < wide; v++) sums[o][v] = (Lanes){0.0f};
    const float *w = weight + part;
    for (int i = 0; i < inputs; i++) {
      const float *row = x + i * stride;
      for (int k = 0; k < taps; k++, row += dilation, w += BLOCK) {
        Lanes in[WIDE];
        for (int v = 0; v < wide; v++) in[v] = *(const Lanes *)(row + v * LANES);
        for (int o = 0; o < OUTS; o++)
          for (int v = 0; v < wide; v++) sums[o][v] += w[o] * in[v];
      }
    }
    for (int o = 0; o < OUTS; o++)
      for (int v = 0; v < wide; v++) *(Lanes *)(out[part + o] + v * LANES) = sums[o][v];
  }
}

/* x 0.5 (1 + x / sqrt(1 + x^2)): `gate` of harmonic.py. */
INLINE float gated(float x) { return x * (0.5f + 0.5f * x / sqrtf(1.0f + x * x)); }

INLINE void finish(const After *after, const float *values, float bias, int o, ptrdiff_t t, int count) {
  const ptrdiff_t at = o * after->stride + t;
  float *restrict out = after->out + at;
  switch (after->kind) {
    case BIAS:
      for (int l = 0; l < count; l++) out[l] = values[l] + bias;
      break;
    case LEAKY:
      for (int l = 0; l < count; l++) out[l] = leaky(values[l] + bias, after->slope);
      break;
    case PAIR: {
      const float *add = after->add + at;
      float *restrict activated = after->activated + at;
      for (int l = 0; l < count; l++) {
        const float y = values[l] + bias + add[l];
        out[l] = y;
        activated[l] = leaky(y, after->slope);
      }
      break;
    }
    case SUM: {
      const float *add = after->add + at;
      if (after->first)
        for (int l = 0; l < count; l++) out[l] = values[l] + bias + add[l];
      else
        for (int l = 0; l < count; l++) out[l] += values[l] + bias + add[l];
      break;
    }
    case GATE:
      for (int l = 0; l < count; l++) out[l] = gated(values[l] + bias);
      break;
    case SCALED: {
      const float *add = after->add + at;
      for (int l = 0; l < count; l++) out[l] = add[l] + after->scale[o] * (values[l] + bias);
      break;
    }
  }
}

INLINE void tile(const Convolution *c, const float *x, ptrdiff_t stride, const After *after, ptrdiff_t t, int wide,
                 int count) {
  float values[BLOCK][TILE] __attribute__((aligned(64)));
  for (int o = 0; o < c->outputs; o += BLOCK) {
    const float *weight = c->weight + (ptrdiff_t)o * c->inputs * c->taps;
    products(x + t, stride, weight, c->inputs, c->taps, c->dilation, wide, values);
    const int rows = c->outputs - o < BLOCK ? c->outputs - o : BLOCK;
    for (int r = 0; r < rows; r++) finish(after, values[r], c->bias[o + r], o + r, t, count);
  }
}

/* `count` samples; x points at what the first tap of the first sample sees, rows `stride` apart. */
static void convolve(const Convolution *c, const float *x, ptrdiff_t stride, ptrdiff_t count, const After *after) {
  ptrdiff_t t = 0;
  for (; count - t >= TILE; t += TILE) tile(c, x, stride, after, t, WIDE, TILE);
  const int left = (int)(count - t);
  if (left > 2 * LANES)
    tile(c, x, stride, after, t, 3, left);
  else if (left > LANES)
    tile(c, x, stride, after, t, 2, left);
  else if (left > 0)
    tile(c, x, stride, after, t, 1, left);
}

/* The next convolution of a flat array of weights: packed weight, then bias. */
static Convolution next_convolution(const float **weights, int inputs, int outputs, int taps, int dilation) {
  const int padded = (outputs + BLOCK - 1) / BLOCK * BLOCK;
  const Convolution c = {*weights, *weights + (ptrdiff_t)padded * inputs * taps, inputs, outputs, taps, dilation};
  *weights = c.bias + padded;
  return c;
}

/* Floats from row to row for `count` samples: whole vectors, and no multiple of two lines, whose rows would all fall
 * into the same few places of the cache. */
static ptrdiff_t row_stride(ptrdiff_t count) {
  const ptrdiff_t lines = (count + 15) / 16;
  return 16 * (lines | 1);
}
