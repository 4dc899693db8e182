/* Training of a ternary layer on one CPU core: what lies around its matrix products, in one pass each.
 *
 * Plain loops that a compiler makes vector instructions of, and in which what is not a number stays so. `frames` rows per
 * utterance, `batch` utterances; what a convolution of `taps` sees of a frame lies side by side in a row of `columns`
 * (taps x inputs).
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The largest magnitude, or NaN: magnitudes are ordered like their bits, and there NaN is above all numbers. */
static float largest_magnitude(const float *values, int count) {
  int32_t largest = 0;
  for (int i = 0; i < count; i++) {
    int32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    bits &= INT32_MAX;
    largest = bits > largest ? bits : largest;
  }
  float magnitude;
  memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

/* beta = mean|W|, out = beta clip(round(W / (beta + eps)), -1, 1). */
void bitjets_quantize_weights(const float *weight, float *out, long count, float eps) {
  double total = 0.0;
  for (long i = 0; i < count; i++) total += fabsf(weight[i]);
  const float beta = (float)(total / (double)count), divisor = beta + eps;
  for (long i = 0; i < count; i++) {
    const float whole = rintf(weight[i] / divisor), above = whole < -1.0f ? -1.0f : whole;
    out[i] = (above > 1.0f ? 1.0f : above) * beta;
  }
}

/* RMSNorm and int8 quantization of x (batch, frames, inputs), into columns (batch, frames, taps x inputs); inverse
 * (batch, frames) keeps mask over root mean square, 0 beyond an utterance's end. */
void bitjets_norm_columns(const float *x, const float *gain, const float *mask, float *columns, float *inverse,
                          int batch, int frames, int inputs, int taps, float rms_eps, float least) {
  const int reach = taps / 2;
  const size_t width = (size_t)taps * inputs;
  for (int b = 0; b < batch; b++) {
    float *const rows = columns + (size_t)b * frames * width;
    for (int t = 0; t < frames; t++) {
      const size_t at = (size_t)b * frames + t;
      const float *const in = x + at * inputs;
      float *const out = rows + t * width + (size_t)reach * inputs;
      float squares = 0.0f;
      for (int i = 0; i < inputs; i++) squares += in[i] * in[i];
      const float norm = mask[at] / sqrtf(squares / (float)inputs + rms_eps);
      inverse[at] = norm;
      for (int i = 0; i < inputs; i++) out[i] = in[i] * norm * gain[i];
      const float largest = largest_magnitude(out, inputs), scale = 127.0f / (largest < least ? least : largest);
      for (int i = 0; i < inputs; i++) out[i] = rintf(out[i] * scale) / scale;
      for (int tap = 0; tap < taps; tap++) {
        const int row = t + reach - tap; /* that sees this frame through this tap */
        if (tap != reach && row >= 0 && row < frames)
          memcpy(rows + row * width + (size_t)tap * inputs, out, sizeof(float) * (size_t)inputs);
      }
    }
    for (int tap = 0; tap < taps; tap++) /* and rows whose tap sees nothing */
      for (int row = 0; row < frames; row++)
        if (row + tap - reach < 0 || row + tap - reach >= frames)
          memset(rows + row * width + (size_t)tap * inputs, 0, sizeof(float) * (size_t)inputs);
  }
}

/* The gradients of x and (added) of gain from that of columns, straight through the rounding. */
void bitjets_norm_columns_gradient(const float *columns, const float *x, const float *gain, const float *inverse,
                                   float *x_gradient, float *gain_gradient, int batch, int frames, int inputs,
                                   int taps) {
  const int reach = taps / 2;
  const size_t width = (size_t)taps * inputs;
  for (int b = 0; b < batch; b++) {
    const float *const rows = columns + (size_t)b * frames * width;
    for (int t = 0; t < frames; t++) {
      const size_t at = (size_t)b * frames + t;
      const float *const in = x + at * inputs;
      float *const out = x_gradient + at * inputs;
      const float norm = inverse[at];
      if (norm == 0.0f) {
        memset(out, 0, sizeof(float) * (size_t)inputs);
        continue;
      }
      memcpy(out, rows + t * width + (size_t)reach * inputs, sizeof(float) * (size_t)inputs);
      for (int tap = 0; tap < taps; tap++) {
        const int row = t + reach - tap;
        if (tap == reach || row < 0 || row >= frames) continue;
        const float *const more = rows + row * width + (size_t)tap * inputs;
        for (int i = 0; i < inputs; i++) out[i] += more[i];
      }
      float along = 0.0f; /* how far the gradient points along x */
      for (int i = 0; i < inputs; i++) {
        const float product = out[i] * in[i];
        gain_gradient[i] += product * norm;
        along += product * gain[i];
      }
      along *= norm * norm * norm / (float)inputs;
      for (int i = 0; i < inputs; i++) out[i] = out[i] * gain[i] * norm - in[i] * along;
    }
  }
}

/* values (rows, outputs) += bias, and ReLU where asked for. */
void bitjets_bias(float *values, const float *bias, long rows, int outputs, int relu) {
  for (long row = 0; row < rows; row++) {
    float *const out = values + row * outputs;
    if (relu)
      for (int i = 0; i < outputs; i++) {
        const float value = out[i] + bias[i];
        out[i] = value < 0.0f ? 0.0f : value;
      }
    else
      for (int i = 0; i < outputs; i++) out[i] += bias[i];
  }
}

/* The gradient before ReLU from the one behind it (values are what came out), and (added) that of the bias. */
void bitjets_bias_gradient(const float *behind, const float *values, float *before, float *bias_gradient, long rows,
                           int outputs, int relu) {
  for (long row = 0; row < rows; row++) {
    const float *const from = behind + row * outputs, *const value = values + row * outputs;
    float *const out = before + row * outputs;
    if (relu)
      for (int i = 0; i < outputs; i++) out[i] = value[i] > 0.0f ? from[i] : 0.0f;
    else
      memcpy(out, from, sizeof(float) * (size_t)outputs);
    for (int i = 0; i < outputs; i++) bias_gradient[i] += out[i];
  }
}
