/* Multi-head self-attention on a CPU: softmax(q k^T / sqrt(D)) v, QUERIES at a time against all keys, so that no matrix
 * of T x T is ever written (FlashAttention, arXiv:2205.14135, without its running maximum: some rows of scores fit into
 * the cache here).
 *
 * Written in the vectors of GCC and Clang, in three sizes. Both products are one inner loop, over right-hand sides that
 * were packed into panels of PANEL columns: (columns / PANEL, depth, PANEL).
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && !defined(BITJETS_PLAIN)
#define LANES 16
#define TALL 8
#elif defined(__AVX2__) && !defined(BITJETS_PLAIN)
#define LANES 8
#define TALL 4
#else
#define LANES 4
#define TALL 4
#endif
#define WIDE 3 /* vectors: TALL x WIDE sums stay in registers */
#define PANEL (LANES * WIDE)
#define QUERIES 32 /* of a round: so often is a panel used once it is in the cache */
#define LOWEST -90.0f /* 2^-90 of a row's largest is nothing in fp32 */

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

static inline Vector load(const float *from) {
  Vector made;
  memcpy(&made, from, sizeof made);
  return made;
}

static inline Vector larger(Vector a, Vector b) {
  const Integers first = a > b;
  return (Vector)(((Integers)a & first) | ((Integers)b & ~first));
}

/* out (TALL, PANEL), rows `out_stride` apart = a (TALL, depth), rows `stride` apart, times panel (depth, PANEL). */
static void multiply(const float *a, ptrdiff_t stride, const float *panel, int depth, float *out,
                     ptrdiff_t out_stride) {
  Vector sums[TALL][WIDE];
  memset(sums, 0, sizeof sums);
  for (int k = 0; k < depth; k++) {
    Vector b[WIDE];
    for (int w = 0; w < WIDE; w++) b[w] = load(panel + (size_t)k * PANEL + w * LANES);
    for (int r = 0; r < TALL; r++)
      for (int w = 0; w < WIDE; w++) sums[r][w] += a[r * stride + k] * b[w];
  }
  for (int r = 0; r < TALL; r++) memcpy(out + r * out_stride, sums[r], sizeof sums[r]);
}

/* 2^x for x <= 0, 0 below 2^-90: the whole part goes to the exponent. */
static inline Vector exp2_nonpositive(Vector x) {
  const Integers big_enough = x > LOWEST;
  x = (Vector)((Integers)x & big_enough);
  const Integers whole = __builtin_convertvector(x - 0.5f, Integers); /* truncated, so rounded */
  const Vector rest = x - __builtin_convertvector(whole, Vector);
  const Vector power = EXP2_NEAR_ZERO(rest);
  return (Vector)(((whole << 23) + (Integers)power) & big_enough);
}

/* scores (columns) -> 2^(scores + bias - largest), without the division by their sum, which is returned. */
static float softmax(float *scores, const float *bias, int columns) {
  Vector largest = load(scores) + load(bias);
  for (int t = 0; t < columns; t += LANES) {
    const Vector sum = load(scores + t) + load(bias + t);
    memcpy(scores + t, &sum, sizeof sum);
    largest = larger(largest, sum);
  }
  float top = largest[0];
  for (int i = 1; i < LANES; i++) top = fmaxf(top, largest[i]);
  Vector total = {0};
  for (int t = 0; t < columns; t += LANES) {
    const Vector power = exp2_nonpositive(load(scores + t) - top);
    memcpy(scores + t, &power, sizeof power);
    total += power;
  }
  float sum = 0.0f;
  for (int i = 0; i < LANES; i++) sum += total[i];
  return sum;
}

typedef struct {
  const float *qkv;    /* (batch, frames, 3, heads, depth) */
  const float *mask;   /* (batch, frames) */
  float *out;          /* (batch, frames, heads, depth) */
  int frames, heads, depth;
  int columns, width;  /* frames and depth, up to a multiple of PANEL */
  float *bias;         /* (batch, columns): 0, or very low where there is no frame */
  float *keys;         /* (batch * heads, columns / PANEL, depth, PANEL), transposed */
  float *values;       /* (batch * heads, width / PANEL, columns, PANEL) */
  float *scratch;
  size_t scratch_floats; /* of a thread */
} Attention;

/* PANEL keys and values of a head into panels, zero where there are none. */
static void pack_round(const void *job, int number, int thread) {
  (void)thread;
  const Attention *all = job;
  const int panels = all->columns / PANEL, both = number / panels, begin = number % panels * PANEL;
  const int utterance = both / all->heads, head = both % all->heads, depth = all->depth;
  const int count = all->frames - begin < PANEL ? all->frames - begin : PANEL;
  const size_t row = (size_t)3 * all->heads * depth, first = (size_t)utterance * all->frames + begin;
  const float *from = all->qkv + first * row + (size_t)(all->heads + head) * depth;
  float *keys = all->keys + ((size_t)both * all->columns + begin) * depth;
  for (int d = 0; d < depth; d++)
    for (int t = 0; t < PANEL; t++) keys[d * PANEL + t] = t < count ? from[t * row + d] : 0.0f;
  from += (size_t)all->heads * depth;
  for (int d = 0; d < all->width; d += PANEL) {
    float *values = all->values + ((size_t)both * all->width + d) * all->columns + (size_t)begin * PANEL;
    const int there = depth - d < PANEL ? depth - d : PANEL;
    memset(values, 0, sizeof(float) * PANEL * PANEL);
    for (int t = 0; t < count; t++) memcpy(values + t * PANEL, from + t * row + d, sizeof(float) * there);
  }
  if (head == 0)
    for (int t = 0; t < PANEL; t++)
      all->bias[(size_t)utterance * all->columns + begin + t] = t < count ? (all->mask[first + t] - 1.0f) * 1e9f : -1e9f;
}

/* QUERIES of a head. */
static void attention_round(const void *job, int number, int thread) {
  const Attention *all = job;
  const int rounds = (all->frames + QUERIES - 1) / QUERIES, both = number / rounds, begin = number % rounds * QUERIES;
  const int utterance = both / all->heads, head = both % all->heads, depth = all->depth, columns = all->columns;
  const int count = all->frames - begin < QUERIES ? all->frames - begin : QUERIES;
  float *query = all->scratch + thread * all->scratch_floats; /* (QUERIES, depth) */
  float *scores = query + (size_t)QUERIES * depth;            /* (QUERIES, columns) */
  float *mixed = scores + (size_t)QUERIES * columns;          /* (QUERIES, width) */
  const float unit = 1.44269504f / sqrtf((float)depth);       /* log2(e): powers are of two */
  for (int r = 0; r < QUERIES; r++) {
    const size_t frame = (size_t)utterance * all->frames + begin + r;
    for (int d = 0; d < depth; d++)
      query[r * depth + d] = r < count ? all->qkv[(frame * 3 * all->heads + head) * depth + d] * unit : 0.0f;
  }
  const float *keys = all->keys + (size_t)both * columns * depth;
  for (int t = 0; t < columns; t += PANEL)
    for (int r = 0; r < count; r += TALL)
      multiply(query + r * depth, depth, keys + (size_t)t * depth, depth, scores + (size_t)r * columns + t, columns);
  float totals[QUERIES];
  for (int r = 0; r < count; r++)
    totals[r] = softmax(scores + (size_t)r * columns, all->bias + (size_t)utterance * columns, columns);
  const float *values = all->values + (size_t)both * all->width * columns;
  for (int d = 0; d < all->width; d += PANEL)
    for (int r = 0; r < count; r += TALL)
      multiply(scores + (size_t)r * columns, columns, values + (size_t)d * columns, columns, mixed + r * all->width + d,
               all->width);
  for (int r = 0; r < count; r++) {
    float *out = all->out + (((size_t)utterance * all->frames + begin + r) * all->heads + head) * depth;
    for (int d = 0; d < depth; d++) out[d] = mixed[r * all->width + d] / totals[r];
  }
}

static int up_to_panel(int count) { return (count + PANEL - 1) / PANEL * PANEL; }

/* Floats of scratch that `bitjets_attention` wants. */
size_t bitjets_attention_scratch(int batch, int frames, int heads, int depth, int threads) {
  const size_t columns = up_to_panel(frames), width = up_to_panel(depth);
  const size_t packed = batch * columns * (1 + heads * (depth + width));
  return packed + threads * (QUERIES * (depth + columns + width) + 16);
}

/* qkv (batch, frames, 3, heads, depth), mask (batch, frames) -> out (batch, frames, heads, depth). Never fails. */
void bitjets_attention(const float *qkv, const float *mask, float *out, int batch, int frames, int heads, int depth,
                       float *scratch, int threads) {
  Attention all = {.qkv = qkv,
                   .mask = mask,
                   .out = out,
                   .frames = frames,
                   .heads = heads,
                   .depth = depth,
                   .columns = up_to_panel(frames),
                   .width = up_to_panel(depth)};
  all.bias = scratch;
  all.keys = all.bias + (size_t)batch * all.columns;
  all.values = all.keys + (size_t)batch * heads * all.columns * depth;
  all.scratch = all.values + (size_t)batch * heads * all.columns * all.width;
  all.scratch_floats = (size_t)QUERIES * (depth + all.columns + all.width) + 16;
  run_rounds(pack_round, &all, batch * heads * (all.columns / PANEL), threads);
  run_rounds(attention_round, &all, batch * heads * ((frames + QUERIES - 1) / QUERIES), threads);
}
