/* The harmonic vocoder on some frames of an utterance: network, excitation, FFTs, filters, overlap-add. Needs convolution.c.
 *
 * Lanes are frames throughout: one FFT is LANES FFTs side by side. A complex one takes pulses (real part) and noise
 * (imaginary part) at once, and the inverse two groups of frames. Convolutions see `kernel / 2` frames a layer beyond
 * the frames that are wanted, and overlap-add two more; a piece computes these again.
 */
#define HOP 256
#define FFT 1024
#define BINS 513
#define EDGE 2           /* frames that overlap-add needs on either side */
#define GROUP (2 * LANES) /* frames that are filtered at once */
#define NORM_EPS 1e-5f
#define LOWEST -12.0f
#define HIGHEST 4.0f

INLINE float exponential(float x) { /* Cephes' expf, for -80 < x < 80 */
  const float n = rintf(x * 1.44269504088896341f);
  x -= n * 0.693359375f;
  x += n * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * x * x + x + 1.0f;
  union {
    int32_t bits;
    float value;
  } power = {((int32_t)n + 127) << 23};
  return y * power.value;
}

INLINE float clipped_gain(float x) { /* fminf and fmaxf would not become vector instructions, for NaN's sake */
  x = x > LOWEST ? x : LOWEST;
  return x < HIGHEST ? x : HIGHEST;
}

INLINE float sine_of_half_turns(float x) { /* sin(pi x), |x| < 2^22 */
  const float n = rintf(x), half = 0.5f * n, sign = 1.0f - 4.0f * (half - floorf(half));
  const float r = 3.14159265358979f * (x - n), s = r * r; /* |r| <= pi / 2 */
  float y = -2.50521084e-8f;
  y = y * s + 2.75573192e-6f;
  y = y * s - 1.98412698e-4f;
  y = y * s + 8.33333333e-3f;
  y = y * s - 1.66666667e-1f;
  return sign * (r + r * s * y);
}

typedef struct {
  float cosine[FFT], sine[FFT], window[FFT]; /* cos and sin of 2 pi k / 1024, periodic Hann */
} Tables;

int64_t bitjets_harmonic_tables(Tables *tables) {
  if (tables)
    for (int k = 0; k < FFT; k++) {
      const double angle = 2.0 * 3.14159265358979323846 * k / FFT;
      tables->cosine[k] = (float)cos(angle);
      tables->sine[k] = (float)sin(angle);
      tables->window[k] = (float)(0.5 - 0.5 * cos(angle));
    }
  return sizeof(Tables) / sizeof(float);
}

/* LANES FFTs of 1024 complex values: Stockham's algorithm, radix 4. Re and im are (1024, LANES) each; the result is in
 * other_re and other_im. `sign` is -1 forwards, 1 backwards (not divided by 1024). */
static void fft(const Tables *tables, Lanes *re, Lanes *im, Lanes *other_re, Lanes *other_im, float sign) {
  int s = 1;
  for (int n = FFT; n > 1; n /= 4, s *= 4) {
    const int quarter = n / 4;
    for (int p = 0; p < quarter; p++) {
      float c[4], w[4]; /* of the angles 0, p, 2 p, 3 p */
      for (int k = 1; k < 4; k++) c[k] = tables->cosine[k * p * s], w[k] = sign * tables->sine[k * p * s];
      for (int q = 0; q < s; q++) {
        const int from = q + s * p, step = s * quarter, to = q + 4 * s * p;
        const Lanes ar = re[from], br = re[from + step], cr = re[from + 2 * step], dr = re[from + 3 * step];
        const Lanes ai = im[from], bi = im[from + step], ci = im[from + 2 * step], di = im[from + 3 * step];
        const Lanes pr = ar + cr, pi = ai + ci, mr = ar - cr, mi = ai - ci;
        const Lanes qr = br + dr, qi = bi + di;
        const Lanes nr = -sign * (bi - di), ni = sign * (br - dr); /* sign i (b - d) */
        other_re[to] = pr + qr;
        other_im[to] = pi + qi;
        const Lanes xr = mr + nr, xi = mi + ni, yr = pr - qr, yi = pi - qi, zr = mr - nr, zi = mi - ni;
        other_re[to + s] = c[1] * xr - w[1] * xi;
        other_im[to + s] = c[1] * xi + w[1] * xr;
        other_re[to + 2 * s] = c[2] * yr - w[2] * yi;
        other_im[to + 2 * s] = c[2] * yi + w[2] * yr;
        other_re[to + 3 * s] = c[3] * zr - w[3] * zi;
        other_im[to + 3 * s] = c[3] * zi + w[3] * zr;
      }
    }
    Lanes *swap = re;
    re = other_re, other_re = swap;
    swap = im, im = other_im, other_im = swap;
  }
}

typedef struct {
  int mels, width, hidden, layers, kernel, frames; /* frames: of the utterance */
} Shape;

typedef struct {
  const float *mel;          /* (T, mels) natural log */
  const float *log_f0, *voiced; /* (T) */
  const float *phase;        /* (T + 3) cycles at the beginning of each block of excitation */
  const float *frequency;    /* (T + 4) cycles a sample, and */
  const float *gate;         /* (T + 4) voicing, at the centres of the frames, two repeated at either end */
  const float *noise;        /* (256 (T + 3)) */
  const int32_t *envelope_low;   /* (513) mel band below each bin, */
  const float *envelope_share;   /* (513) and how far it lies towards the next */
} Inputs;

static int at_least(int x, int y) { return x > y ? x : y; }
static int at_most(int x, int y) { return x < y ? x : y; }

/* Depthwise convolution and LayerNorm of columns from to to: x (width) -> y; weights: (kernel, width), gain, bias. */
static void depthwise_and_norm(const Shape *shape, const float **weights, const float *x, float *y, ptrdiff_t stride,
                               int from, int to) {
  const int width = shape->width, kernel = shape->kernel;
  const float *depthwise = kernel ? *weights : NULL, *gain = *weights + kernel * width, *bias = gain + width;
  for (int t = from; t < to; t += LANES) { /* up to LANES - 1 columns more than asked for, in y only */
    Lanes sum = {0.0f}, squares = {0.0f};
    for (int c = 0; c < width; c++) {
      Lanes value = {0.0f};
      const float *row = x + c * stride + t - kernel / 2;
      if (kernel == 0) value = *(const Lanes *)row;
      for (int k = 0; k < kernel; k++) value += depthwise[k * width + c] * *(const Lanes *)(row + k);
      *(Lanes *)(y + c * stride + t) = value;
      sum += value;
    }
    const Lanes mean = sum / (float)width;
    for (int c = 0; c < width; c++) {
      const Lanes centred = *(Lanes *)(y + c * stride + t) - mean;
      squares += centred * centred;
    }
    Lanes inverse;
    for (int l = 0; l < LANES; l++) inverse[l] = 1.0f / sqrtf(squares[l] / (float)width + NORM_EPS);
    for (int c = 0; c < width; c++) {
      Lanes *place = (Lanes *)(y + c * stride + t);
      *place = (*place - mean) * inverse * gain[c] + bias[c];
    }
  }
  *weights = bias + width;
}

/* 256 samples of `count` blocks of excitation from block `first` on, lanes being blocks: pulse_train of harmonic.py, and
 * the noise. */
static void excitation(const Inputs *in, int first, int count, float *pulses, float *noise, ptrdiff_t stride) {
  for (int n = 0; n < HOP; n++) {
    const float x = (float)n;
    float *restrict row = pulses + n * stride, *restrict noise_row = noise + n * stride;
    for (int t = 0; t < count; t++) {
      const int block = first + t;
      const float left = in->frequency[block], slope = (in->frequency[block + 1] - left) * (1.0f / HOP);
      float cycles = in->phase[block] + x * (left + x * (0.5f * slope));
      cycles -= rintf(cycles);
      const float harmonics = floorf(0.5f / (left + x * slope)), odd = 2.0f * harmonics + 1.0f;
      const float voiced = in->gate[block] + (in->gate[block + 1] - in->gate[block]) * (x * (1.0f / HOP));
      const int peak = fabsf(cycles) < 1e-6f;
      const float safe = peak ? 0.25f : cycles;
      const float ratio = sine_of_half_turns(odd * safe) / sine_of_half_turns(safe);
      row[t] = 0.5f * ((peak ? odd : ratio) - 1.0f) * sqrtf(2.0f / harmonics) * voiced;
    }
    for (int t = 0; t < count; t++) noise_row[t] = in->noise[(ptrdiff_t)(first + t) * HOP + n];
  }
}

/* Filters from the network's outputs (4 x 513, LANES), excitation's spectrum (1024, LANES) -> the spectrum of speech
 * (513, LANES) of one vector of frames. `mel` (mels) is normalized. */
static void filter(const Inputs *in, const float *network, const float *mel, ptrdiff_t mel_stride, const Lanes *re,
                   const Lanes *im, Lanes *speech_re, Lanes *speech_im) {
  for (int k = 0; k < BINS; k++) {
    const int back = (FFT - k) % FFT;
    const float *low = mel + in->envelope_low[k] * mel_stride;
    const float share = in->envelope_share[k];
    const float *row = network + (ptrdiff_t)k * GROUP;
    const float *zr = (const float *)&re[k], *zi = (const float *)&im[k];
    const float *br = (const float *)&re[back], *bi = (const float *)&im[back];
    float *restrict out_re = (float *)&speech_re[k], *restrict out_im = (float *)&speech_im[k];
    for (int l = 0; l < LANES; l++) {
      const float envelope = 2.5f * (low[l] + share * (low[mel_stride + l] - low[l])) - 5.0f;
      const float gain = exponential(clipped_gain(row[l] + envelope));
      const float noise_gain = exponential(clipped_gain(row[BINS * GROUP + l] + envelope));
      const float real = row[2 * BINS * GROUP + l] + 1.0f, imaginary = row[3 * BINS * GROUP + l];
      const float scale = gain / sqrtf(real * real + imaginary * imaginary + 1e-6f);
      const float fr = scale * real, fi = scale * imaginary;
      /* z = pulses + i noise: its even part is the pulses' spectrum, its odd part i times the noise's. */
      const float pulse_re = 0.5f * (zr[l] + br[l]), pulse_im = 0.5f * (zi[l] - bi[l]);
      const float noise_re = 0.5f * (zi[l] + bi[l]), noise_im = 0.5f * (br[l] - zr[l]);
      out_re[l] = pulse_re * fr - pulse_im * fi + noise_re * noise_gain;
      out_im[l] = pulse_re * fi + pulse_im * fr + noise_im * noise_gain;
    }
  }
}

/* Floats of work for a piece of `length` frames. */
int64_t bitjets_harmonic_work(const Shape *shape, int64_t length) {
  const int64_t columns = length + 2 * EDGE + 2 * (shape->layers + 1) * (shape->kernel / 2) + 2 * shape->kernel;
  const int64_t stride = row_stride(columns + GROUP);
  const int64_t network = (shape->mels + 2 + 2 * shape->width + shape->hidden) * stride;
  const int64_t transforms = 6 * FFT * LANES + 4 * BINS * LANES * 2 + 4 * BINS * GROUP;
  return network + 3 * HOP * stride + transforms + 4 * SLACK;
}

/* Mel, log F0 and voicing of the columns from to to, normalized, and zeros outside the utterance. */
static void inputs_of(const Shape *shape, const Inputs *in, float *x, ptrdiff_t stride, int origin, int from, int to) {
  for (int t = from; t < to; t++) {
    const float *mel = in->mel + (ptrdiff_t)t * shape->mels;
    float *column = x + t - origin;
    for (int c = 0; c < shape->mels; c++) column[c * stride] = (mel[c] + 5.0f) * (1.0f / 2.5f);
    column[shape->mels * stride] = (in->log_f0[t] - 5.3f) * 2.0f;
    column[(shape->mels + 1) * stride] = in->voiced[t];
  }
}

/* The network up to its last norm: x (mels + 2) -> normed (width), for the frames begin to end. */
static void network(const Shape *shape, const float **weights, const float *x, float *state, float *normed,
                    float *hidden, ptrdiff_t stride, int origin, int begin, int end) {
  const int width = shape->width, side = shape->kernel / 2;
  int behind = shape->layers * side; /* frames that the layers still to come see on either side */
  int from = at_least(begin - behind, 0) - origin, to = at_most(end + behind, shape->frames) - origin;
  const Convolution first = next_convolution(weights, shape->mels + 2, width, shape->kernel, 1);
  const After store = {.kind = BIAS, .out = state + from, .stride = stride};
  convolve(&first, x + from - side, stride, to - from, &store);
  for (int layer = 0; layer < shape->layers; layer++) {
    behind -= side;
    from = at_least(begin - behind, 0) - origin, to = at_most(end + behind, shape->frames) - origin;
    depthwise_and_norm(shape, weights, state, normed, stride, from, to);
    const Convolution widen = next_convolution(weights, width, shape->hidden, 1, 1);
    const Convolution narrow = next_convolution(weights, shape->hidden, width, 1, 1);
    const float *scale = *weights;
    *weights += width;
    const After gate = {.kind = GATE, .out = hidden + from, .stride = stride};
    convolve(&widen, normed + from, stride, to - from, &gate);
    const After add = {.kind = SCALED, .out = state + from, .add = state + from, .scale = scale, .stride = stride};
    convolve(&narrow, hidden + from, stride, to - from, &add);
  }
  Shape plain = *shape;
  plain.kernel = 0;
  depthwise_and_norm(&plain, weights, state, normed, stride, from, to);
}

/* Overlap-added `sound` (256, blocks of the padded utterance from `first` on), divided by the sum of squared windows ->
 * the samples of frames begin to end. */
static void samples_of(const Shape *shape, const Tables *tables, const float *sound, ptrdiff_t stride, int first,
                       int begin, int end, float *out) {
  for (int n = 0; n < HOP; n++) {
    const int late = n < HOP / 2; /* the utterance begins in the middle of the second block of padding */
    const float *w = tables->window + n;
    for (int f = begin; f < end; f++) {
      const int block = f + (late ? 2 : 1), r = late ? n + HOP / 2 : n - HOP / 2;
      float weight = 0.0f;
      for (int k = 0; k < FFT / HOP; k++)
        if (block - k >= 0 && block - k < shape->frames) weight += w[k * HOP] * w[k * HOP];
      out[(ptrdiff_t)f * HOP + r] = sound[n * stride + block - first] / fmaxf(weight, 1e-8f);
    }
  }
}

/* Samples of the frames begin to end of out (256 T). Weights: the input's convolution; for each layer depthwise (kernel,
 * width), norm's gain and bias, widen, narrow, scale; norm's gain and bias; output. */
void bitjets_harmonic(const Shape *shape, const Inputs *in, const Tables *tables, const float *weights, int begin,
                      int end, float *out, float *work) {
  const int frames = shape->frames, side = shape->kernel / 2;
  const int from = at_least(begin - EDGE, 0), to = at_most(end + EDGE, frames);
  const int reach = (shape->layers + 1) * side, origin = from - reach - shape->kernel;
  const ptrdiff_t stride = row_stride(to - origin + reach + GROUP);
  memset(work, 0, sizeof(float) * (size_t)bitjets_harmonic_work(shape, end - begin));
  float *x = work + SLACK, *state = x + (shape->mels + 2) * stride, *normed = state + shape->width * stride;
  float *hidden = normed + shape->width * stride, *pulses = hidden + shape->hidden * stride;
  float *noise = pulses + HOP * stride, *sound = noise + HOP * stride, *network_out = sound + HOP * stride;
  Lanes *re = (Lanes *)(network_out + 4 * BINS * GROUP), *im = re + FFT, *other_re = im + FFT, *other_im = other_re + FFT;
  Lanes *joint_re = other_im + FFT, *joint_im = joint_re + FFT, *speech = joint_im + FFT;
  inputs_of(shape, in, x, stride, origin, at_least(from - reach, 0), at_most(to + reach, frames));
  network(shape, &weights, x, state, normed, hidden, stride, origin, from, to);
  excitation(in, from, to - from + 3, pulses, noise, stride);
  const Convolution output = next_convolution(&weights, shape->width, 4 * BINS, 1, 1);
  for (int group = from; group < to; group += GROUP) {
    const int count = at_most(to - group, GROUP);
    const After store = {.kind = BIAS, .out = network_out, .stride = GROUP};
    convolve(&output, normed + group - origin, stride, count, &store);
    for (int half = 0; half < 2; half++) {
      Lanes *speech_re = speech + 2 * BINS * half, *speech_im = speech_re + BINS;
      if (half * LANES >= count) {
        memset(speech_re, 0, sizeof(Lanes) * 2 * BINS);
        continue;
      }
      const int block = group + half * LANES - from;
      for (int j = 0; j < FFT; j++) {
        const ptrdiff_t at = (j % HOP) * stride + block + j / HOP;
        re[j] = tables->window[j] * *(const Lanes *)(pulses + at);
        im[j] = tables->window[j] * *(const Lanes *)(noise + at);
      }
      fft(tables, re, im, other_re, other_im, -1.0f);
      filter(in, network_out + half * LANES, x + group + half * LANES - origin, stride, other_re, other_im, speech_re,
             speech_im);
    }
    const Lanes *ar = speech, *ai = speech + BINS, *br = speech + 2 * BINS, *bi = speech + 3 * BINS;
    for (int k = 0; k < BINS; k++) { /* a + i b of all 1024 bins; those of 0 Hz and Nyquist are real */
      const float inner = k % (FFT / 2) ? 1.0f : 0.0f;
      joint_re[k] = ar[k] - inner * bi[k];
      joint_im[k] = inner * ai[k] + br[k];
      if (inner == 0.0f) continue;
      joint_re[FFT - k] = ar[k] + bi[k];
      joint_im[FFT - k] = br[k] - ai[k];
    }
    fft(tables, joint_re, joint_im, other_re, other_im, 1.0f);
    for (int j = 0; j < FFT; j++) {
      const float w = tables->window[j] / FFT;
      const float *a = (const float *)&other_re[j], *b = (const float *)&other_im[j];
      float *row = sound + (j % HOP) * stride + group - from + j / HOP;
      for (int l = 0; l < at_most(count, LANES); l++) row[l] += w * a[l];
      for (int l = 0; l < count - LANES; l++) row[LANES + l] += w * b[l];
    }
  }
  samples_of(shape, tables, sound, stride, from, begin, end, out);
}
