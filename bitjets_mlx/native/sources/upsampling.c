/* Gaussian upsampling on a CPU: frame t is a mixture of tokens weighted by exp(-delta (t - c_n)^2), c_n being the center
 * of token n, weights summing to 1 (Non-Attentive Tacotron, arXiv:2010.04301, section 3.2).
 *
 * Centres ascend, so a frame needs only the few tokens on both sides of its nearest one whose weight is not nothing.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#define NOTHING 62.0f /* e^-62 of the largest weight */
#define FRAMES_A_ROUND 64

typedef struct {
  const float *tokens;  /* (batch, count, width) */
  const float *centers; /* (batch, count), ascending */
  const float *mask;    /* (batch, count): zeros are padding at the end */
  float *out;           /* (batch, frames, width) */
  int count, width, frames;
  float delta, first; /* time of frame 0 */
} Upsampling;

static void upsampling_round(const void *job, int number, int thread) {
  (void)thread;
  const Upsampling *all = job;
  const int rounds = (all->frames + FRAMES_A_ROUND - 1) / FRAMES_A_ROUND, utterance = number / rounds;
  const int begin = number % rounds * FRAMES_A_ROUND;
  const int end = begin + FRAMES_A_ROUND < all->frames ? begin + FRAMES_A_ROUND : all->frames;
  const float *centers = all->centers + (size_t)utterance * all->count;
  int last = all->count - 1;
  while (last > 0 && all->mask[(size_t)utterance * all->count + last] == 0.0f) last--; /* padding */
  int nearest = 0;
  for (int t = begin; t < end; t++) {
    const float time = (float)t + all->first;
    while (nearest < last && fabsf(centers[nearest + 1] - time) <= fabsf(centers[nearest] - time)) nearest++;
    const float least = all->delta * (centers[nearest] - time) * (centers[nearest] - time);
    float *frame = all->out + ((size_t)utterance * all->frames + t) * all->width;
    memset(frame, 0, sizeof(float) * all->width);
    float total = 0.0f;
    for (int step = -1; step <= 1; step += 2)
      for (int n = step < 0 ? nearest : nearest + 1; n >= 0 && n <= last; n += step) {
        const float score = least - all->delta * (centers[n] - time) * (centers[n] - time);
        if (score < -NOTHING) break;
        const float weight = expf(score), *token = all->tokens + ((size_t)utterance * all->count + n) * all->width;
        for (int d = 0; d < all->width; d++) frame[d] += weight * token[d];
        total += weight;
      }
    for (int d = 0; d < all->width; d++) frame[d] /= total;
  }
}

/* tokens (batch, count, width), centers (batch, count), mask (batch, count), whose zeros are all at the end -> out (batch,
 * frames, width). Never fails. */
void bitjets_upsampling(const float *tokens, const float *centers, const float *mask, float *out, int batch, int count,
                        int width, int frames, float delta, float first, int threads) {
  const Upsampling all = {tokens, centers, mask, out, count, width, frames, delta, first};
  run_rounds(upsampling_round, &all, batch * ((frames + FRAMES_A_ROUND - 1) / FRAMES_A_ROUND), threads);
}
