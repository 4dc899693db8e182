/* HiFi-GAN's generator: a stage (upsampling, then the mean of its residual blocks) on some samples. Needs convolution.c.
 *
 * A stage is cut along time into pieces whose activations stay in the cache; every piece computes some samples of its
 * neighbors again, as far as its convolutions see, so that pieces know nothing of each other.
 *
 * shape: inputs, outputs, rate, size of the upsampling, residual blocks, 2 or 1 convolutions a step, is it the last
 * stage, then for each block: kernel, steps, dilations of the steps. Weights: the upsampling phase after phase (each a
 * convolution of ceil(size / rate) taps), the blocks' convolutions in their order, of the last stage conv_post.
 */
#define SLOPE 0.1f
#define LAST_SLOPE 0.01f
#define POST_TAPS 7

typedef struct {
  ptrdiff_t begin, end, origin, stride; /* samples of this piece; of the sample in column 0; from row to row */
  ptrdiff_t total;                      /* samples of the utterance */
} Piece;

static ptrdiff_t clipped(const Piece *p, ptrdiff_t at) { return at < 0 ? 0 : at > p->total ? p->total : at; }

/* How far a block's convolutions see beyond a sample, from step `step` on. */
static int reach(const int32_t *block, int per_step, int step) {
  int sum = 0;
  for (int s = step; s < block[1]; s++) sum += block[0] / 2 * (block[2 + s] + (per_step == 2));
  return sum;
}

static int widest_reach(const int32_t *shape) {
  const int32_t *block = shape + 7;
  int widest = 0;
  for (int b = 0; b < shape[4]; b++, block += 2 + block[1]) {
    const int own = reach(block, shape[5], 0);
    widest = own > widest ? own : widest;
  }
  return widest + (shape[6] ? POST_TAPS / 2 : 0);
}

/* Floats of work that a piece of `length` samples needs. */
int64_t bitjets_hifigan_work(const int32_t *shape, int64_t length) {
  return 6 * shape[1] * row_stride(length + 2 * widest_reach(shape)) + 2 * SLACK;
}

/* A convolution of `c` whose outputs are wanted from begin - halo to end + halo, as far as there are samples. */
static void piece_convolution(const Piece *p, const Convolution *c, const float *in, int halo, After after) {
  const ptrdiff_t from = clipped(p, p->begin - halo) - p->origin, to = clipped(p, p->end + halo) - p->origin;
  after.stride = p->stride;
  after.out += from;
  if (after.add) after.add += from;
  if (after.activated) after.activated += from;
  convolve(c, in + from - c->dilation * (c->taps / 2), p->stride, to - from, &after);
}

/* Transposed convolution, phase by phase: x (inputs, frames) -> `raw` and leaky(raw). Phase b of frame a is
 * sum_j w[q + j rate] x[a + shift - j] with q + shift rate = b + (size - rate) / 2. */
static void upsample(const Piece *p, const int32_t *shape, const float **weights, const float *x, ptrdiff_t stride,
                     int halo, float *phase, float *raw, float *activated) {
  const int rate = shape[2], size = shape[3], taps = (size + rate - 1) / rate, padding = (size - rate) / 2;
  const ptrdiff_t from = clipped(p, p->begin - halo), to = clipped(p, p->end + halo);
  const ptrdiff_t first = from / rate, count = (to + rate - 1) / rate - first;
  for (int b = 0; b < rate; b++) {
    const Convolution c = next_convolution(weights, shape[0], shape[1], taps, 1);
    const After after = {.kind = BIAS, .out = phase, .stride = p->stride};
    convolve(&c, x + first + (b + padding) / rate - (taps - 1), stride, count, &after);
    for (int o = 0; o < shape[1]; o++)
      for (ptrdiff_t a = 0; a < count; a++) {
        const ptrdiff_t sample = (first + a) * rate + b;
        if (sample >= from && sample < to) raw[o * p->stride + sample - p->origin] = phase[o * p->stride + a];
      }
  }
  for (int o = 0; o < shape[1]; o++)
    for (ptrdiff_t t = from - p->origin; t < to - p->origin; t++)
      activated[o * p->stride + t] = leaky(raw[o * p->stride + t], SLOPE);
}

/* x (inputs, total / rate), its leaky ReLU taken already, rows `stride` apart and with a few zeros before and behind ->
 * samples begin to end of out (outputs, total), rows `out_stride` apart: the mean of the blocks and its leaky ReLU, or
 * for the last stage (1, total) what tanh is taken of. `work` as above, zeros outside the utterance. */
void bitjets_hifigan_stage(const int32_t *shape, const float *weights, const float *x, int64_t stride, int64_t total,
                           int64_t begin, int64_t end, float *out, int64_t out_stride, float *work) {
  const int outputs = shape[1], per_step = shape[5], last = shape[6], halo = widest_reach(shape);
  const int edge = last ? POST_TAPS / 2 : 0;
  const Piece p = {begin, end, begin - halo, row_stride(end - begin + 2 * halo), total};
  const ptrdiff_t size = outputs * p.stride;
  memset(work, 0, sizeof(float) * (6 * size + 2 * SLACK));
  float *raw = work + SLACK, *activated = raw + size, *own = activated + size, *own_activated = own + size;
  float *middle = own_activated + size, *sum = middle + size;
  upsample(&p, shape, &weights, x, stride, halo, sum, raw, activated);
  const int32_t *block = shape + 7;
  for (int b = 0; b < shape[4]; b++, block += 2 + block[1]) {
    const float *in = raw, *in_activated = activated;
    for (int step = 0; step < block[1]; step++) {
      const int behind = reach(block, per_step, step + 1) + edge;
      const float *source = in_activated;
      if (per_step == 2) {
        const Convolution c = next_convolution(&weights, outputs, outputs, block[0], block[2 + step]);
        const After after = {.kind = LEAKY, .out = middle, .slope = SLOPE};
        piece_convolution(&p, &c, source, behind + block[0] / 2, after);
        source = middle;
      }
      const int dilation = per_step == 2 ? 1 : block[2 + step];
      const Convolution c = next_convolution(&weights, outputs, outputs, block[0], dilation);
      /* Not in place where one convolution a step reads what it would write. */
      float *next = step % 2 && per_step == 1 ? middle : own_activated;
      const After pair = {.kind = PAIR, .out = own, .add = in, .activated = next, .slope = SLOPE};
      const After final = {.kind = SUM, .out = sum, .add = in, .first = b == 0};
      piece_convolution(&p, &c, source, behind, step + 1 < block[1] ? pair : final);
      in = own;
      in_activated = next;
    }
  }
  const float share = 1.0f / (float)shape[4], slope = last ? LAST_SLOPE : SLOPE;
  const ptrdiff_t from = clipped(&p, begin - edge) - p.origin, to = clipped(&p, end + edge) - p.origin;
  for (int o = 0; o < outputs; o++) {
    const float *values = sum + o * p.stride;
    float *to_row = last ? middle + o * p.stride : out + o * out_stride + p.origin;
    for (ptrdiff_t t = from; t < to; t++) to_row[t] = leaky(values[t] * share, slope);
  }
  if (last) {
    /* Beyond the utterance's ends `middle` may hold nothing but zeros, and did: only samples inside were written. */
    const Convolution post = next_convolution(&weights, outputs, 1, POST_TAPS, 1);
    const After after = {.kind = BIAS, .out = out + p.origin};
    piece_convolution(&p, &post, middle, 0, after);
  }
}

/* conv_pre and its leaky ReLU: x (inputs, total), with zeros before and behind -> out, both from column `begin` on. */
void bitjets_hifigan_pre(const float *weights, const float *x, int64_t stride, int inputs, int outputs, int taps,
                         int64_t begin, int64_t end, float *out, int64_t out_stride) {
  const Convolution c = next_convolution(&weights, inputs, outputs, taps, 1);
  const After after = {.kind = LEAKY, .out = out + begin, .stride = out_stride, .slope = SLOPE};
  convolve(&c, x + begin - taps / 2, stride, end - begin, &after);
}
