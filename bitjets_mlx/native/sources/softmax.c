/* The softmax of attention and its gradient, row by row, on one CPU core. Unlike that of attention.c it is of whole rows,
 * whose probabilities the gradient needs, and what is not a number stays so. */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* 2^x of x <= 0 in what has vector instructions; relative error below 3e-7. Below 2^-90, nothing in float32, it stays
 * there: subnormal numbers are slow. */
static inline float power_of_two(float x) {
  x = x < -90.0f ? -90.0f : x;
  const float whole = rintf(x), rest = x - whole;
  float power = EXP2_NEAR_ZERO(rest);
  uint32_t bits;
  memcpy(&bits, &power, sizeof bits);
  bits += (uint32_t)(int32_t)whole << 23; /* unsigned, since what is not a number comes here too */
  memcpy(&power, &bits, sizeof bits);
  return power;
}

/* The largest of numbers that may be NaN, 16 side by side: compilers do not reorder comparisons of floats. */
static float largest_of(const float *values, int count) {
  float lanes[16], largest = values[0];
  int i = 0;
  if (count >= 16) {
    memcpy(lanes, values, sizeof lanes);
    for (i = 16; i + 16 <= count; i += 16)
      for (int j = 0; j < 16; j++) lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
    for (int j = 0; j < 16; j++) largest = lanes[j] > largest ? lanes[j] : largest;
  }
  for (; i < count; i++) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

/* scores (rows, columns) become softmax(scale x scores), scale > 0. */
void bitjets_softmax(float *scores, int rows, int columns, float scale) {
  scale *= 1.44269504f; /* log2 e */
  for (int row = 0; row < rows; row++) {
    float *const at = scores + (long)row * columns;
    float total = 0.0f;
    const float largest = largest_of(at, columns);
    for (int i = 0; i < columns; i++) {
      at[i] = power_of_two((at[i] - largest) * scale);
      total += at[i];
    }
    const float inverse = 1.0f / total;
    for (int i = 0; i < columns; i++) at[i] *= inverse;
  }
}

/* The gradient of the probabilities (rows, columns) becomes that of the scores. */
void bitjets_softmax_gradient(const float *probabilities, float *gradient, int rows, int columns, float scale) {
  for (int row = 0; row < rows; row++) {
    const float *const probability = probabilities + (long)row * columns;
    float *const at = gradient + (long)row * columns;
    float along = 0.0f;
    for (int i = 0; i < columns; i++) along += probability[i] * at[i];
    for (int i = 0; i < columns; i++) at[i] = scale * probability[i] * (at[i] - along);
  }
}
