/* One pass over the weights for what MLX does in a dozen: the C form of `ops/adamw.py`. */
#include <float.h>
#include <math.h>

/* *sum = the squares of all numbers, added up. */
void bitjets_sum_of_squares(const float *values, long count, double *sum) {
  double total = 0.0;
  for (long begin = 0; begin < count; begin += 4096) { /* float sums of so many are exact enough, and faster */
    const long end = begin + 4096 < count ? begin + 4096 : count;
    float part = 0.0f;
    for (long i = begin; i < end; i++) part += values[i] * values[i];
    total += part;
  }
  *sum = total;
}

/* AdamW with clipping and the moving average of the weights: `adamw_plain`, whose scalars are `constants`:
 * beta 1, beta 2, epsilon, scale, keep, rate, correction, fraction. Returns whether every new parameter is finite. */
int bitjets_adamw(const float *parameter, const float *gradient, const float *first, const float *second,
                   const float *average, float *restrict new_parameter, float *restrict new_first,
                   float *restrict new_second, float *restrict new_average, long count, const float *constants) {
  const float beta1 = constants[0], beta2 = constants[1], epsilon = constants[2], scale = constants[3],
              keep = constants[4], rate = constants[5], correction = constants[6], fraction = constants[7];
  int finite = 1;
  for (long i = 0; i < count; i++) {
    const float g = gradient[i] * scale;
    const float m = beta1 * first[i] + (1.0f - beta1) * g;
    const float v = beta2 * second[i] + (1.0f - beta2) * (g * g);
    const float p = parameter[i] * keep - rate * m / (sqrtf(v) * correction + epsilon);
    new_first[i] = m;
    new_second[i] = v;
    new_parameter[i] = p;
    new_average[i] = average[i] + fraction * (p - average[i]);
    finite &= fabsf(p) <= FLT_MAX; /* not so for NaN */
  }
  return finite;
}
