/* The recursions of `ops/alignment.py`, an utterance after the other on one CPU core.
 *
 * CTC's states are kept as two rows: blanks (tokens + 1 of them) and tokens. From a blank on comes the token behind it,
 * from a token on the blank behind it or, over that, the next token; and all may stay.
 */
#include <math.h>
#include <string.h>

/* Scales a row of blanks and tokens to sum 1 and returns what the sum was, no less than `smallest`. */
static double normalize(double *blank, double *token, int tokens, double smallest) {
  double total = blank[tokens];
  for (int k = 0; k < tokens; k++) total += blank[k] + token[k];
  if (total < smallest) total = smallest;
  const double inverse = 1.0 / total;
  for (int k = 0; k < tokens; k++) blank[k] *= inverse, token[k] *= inverse;
  blank[tokens] *= inverse;
  return total;
}

/* log_probabilities (frames, classes), blank first, of which `tokens` + 1 count. Fills gradient (frames, classes) with
 * that of *loss, both divided by the number of tokens; *fits says whether probabilities stayed above `smallest`.
 * `scratch` takes 2 x frames x (2 tokens + 1) + 2 (2 tokens + 1) numbers. */
void bitjets_forward_sum(const double *log_probabilities, int frames, int tokens, int classes, double smallest,
                         float *gradient, double *loss, int *fits, double *scratch) {
  const int states = 2 * tokens + 1;
  double *const emission = scratch; /* (frames, states): the blank, tokens; the rest is not used */
  double *const forward = scratch + (long)frames * states, *const here = forward + (long)frames * states;
  double *const from = here + states;
  double total = 0.0;
  *fits = 1;
  for (int t = 0; t < frames; t++) {
    const double *const row = log_probabilities + (long)t * classes;
    double *const now = emission + (long)t * states;
    for (int k = 0; k <= tokens; k++) now[k] = exp(row[k]);
    double *const blank = forward + (long)t * states, *const token = blank + tokens + 1;
    if (t == 0) {
      memset(blank, 0, sizeof(double) * (size_t)states);
      blank[0] = now[0];
      token[0] = now[1];
    } else {
      const double *const old_blank = blank - states, *const old_token = old_blank + tokens + 1;
      blank[0] = old_blank[0] * now[0];
      token[0] = (old_token[0] + old_blank[0]) * now[1];
      for (int k = 1; k < tokens; k++) {
        blank[k] = (old_blank[k] + old_token[k - 1]) * now[0];
        token[k] = (old_token[k] + old_blank[k] + old_token[k - 1]) * now[k + 1];
      }
      blank[tokens] = (old_blank[tokens] + old_token[tokens - 1]) * now[0];
    }
    total += log(normalize(blank, token, tokens, smallest));
  }
  const double *const end = forward + (long)(frames - 1) * states;
  const double mass = end[tokens] + end[states - 1];
  if (mass < smallest) *fits = 0;
  *loss = -(total + log(mass < smallest ? smallest : mass)) / tokens;
  double *const blank = here, *const token = here + tokens + 1;
  memset(here, 0, sizeof(double) * (size_t)states);
  blank[tokens] = token[tokens - 1] = 0.5;
  for (int t = frames - 1; t >= 0; t--) {
    if (t + 1 < frames) {
      const double *const next = emission + (long)(t + 1) * states;
      double *const from_blank = from, *const from_token = from + tokens + 1;
      for (int k = 0; k <= tokens; k++) from_blank[k] = blank[k] * next[0];
      for (int k = 0; k < tokens; k++) from_token[k] = token[k] * next[k + 1];
      for (int k = 0; k < tokens - 1; k++) {
        blank[k] = from_blank[k] + from_token[k];
        token[k] = from_token[k] + from_blank[k + 1] + from_token[k + 1];
      }
      blank[tokens - 1] = from_blank[tokens - 1] + from_token[tokens - 1];
      token[tokens - 1] = from_token[tokens - 1] + from_blank[tokens];
      blank[tokens] = from_blank[tokens];
      normalize(blank, token, tokens, smallest);
    }
    const double *const blanks = forward + (long)t * states, *const others = blanks + tokens + 1;
    double of_blanks = blanks[tokens] * blank[tokens], all = 0.0;
    for (int k = 0; k < tokens; k++) of_blanks += blanks[k] * blank[k], all += others[k] * token[k];
    all += of_blanks;
    if (all < smallest) *fits = 0, all = 1.0;
    float *const out = gradient + (long)t * classes;
    const double factor = -1.0 / (all * tokens);
    out[0] = (float)(of_blanks * factor);
    for (int k = 0; k < tokens; k++) out[k + 1] = (float)(others[k] * token[k] * factor);
  }
}

/* log_probabilities (frames, columns), of which `tokens` count -> durations (tokens) in frames.
 * `best` takes `tokens` numbers, `stepped` frames x tokens. */
void bitjets_monotonic_search(const double *log_probabilities, int frames, int tokens, int columns, int *durations,
                              double *best, unsigned char *stepped) {
  for (int n = 0; n < tokens; n++) best[n] = -1e30;
  best[0] = log_probabilities[0];
  for (int t = 1; t < frames; t++) {
    const double *const row = log_probabilities + (long)t * columns;
    unsigned char *const step = stepped + (long)t * tokens;
    for (int n = tokens - 1; n > 0; n--) {
      step[n] = best[n - 1] > best[n]; /* token n at frame t came from n - 1 */
      best[n] = (step[n] ? best[n - 1] : best[n]) + row[n];
    }
    best[0] += row[0];
  }
  memset(durations, 0, sizeof(int) * (size_t)tokens);
  for (int t = frames - 1, n = tokens - 1; t >= 0; t--) {
    durations[n]++;
    if (n > 0 && (n == t || stepped[(long)t * tokens + n])) n--;
  }
}
