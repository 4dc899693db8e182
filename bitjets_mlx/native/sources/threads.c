/* A loop whose rounds run on several cores at once.
 *
 * A product of speaking takes a fraction of a millisecond, so waking threads up and waiting for them must cost
 * microseconds, and on a busy machine nobody may wait for a thread that has not been given a core. So the caller works
 * too, a round belongs to whoever takes it first, and the end of the loop waits for rounds that somebody has taken,
 * never for threads.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define MOST_THREADS 16
#define SPINS 2000 /* some 30 us: about what Python needs between two layers */

typedef void (*Round)(const void *job, int number, int thread);

static struct {
  Round round;
  const void *job;
} current;                          /* may only be read by who has taken a round of it */
static _Atomic uint64_t ticket;     /* threads << 56 | rounds << 32 | number of the next round */
static atomic_int unfinished;       /* rounds of the current loop */
static atomic_int sleepers;
static int workers;
static pthread_mutex_t one_loop = PTHREAD_MUTEX_INITIALIZER, mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t loop_begins = PTHREAD_COND_INITIALIZER;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/* Whether a ticket has a round for this thread. */
static int open_for(uint64_t t, int thread) {
  return (uint32_t)t < ((uint32_t)(t >> 32) & 0xffffff) && thread < (int)(t >> 56);
}

/* Take rounds and run them until none is left. */
static void help(int thread) {
  for (;;) {
    uint64_t t = atomic_load(&ticket);
    if (!open_for(t, thread)) return;
    if (!atomic_compare_exchange_weak(&ticket, &t, t + 1)) continue;
    current.round(current.job, (int)(uint32_t)t, thread);
    atomic_fetch_sub(&unfinished, 1);
  }
}

static void *worker(void *number) {
  const int thread = (int)(intptr_t)number;
  for (;;) {
    for (int spin = 0; spin < SPINS && !open_for(atomic_load(&ticket), thread); spin++) pause_briefly();
    if (!open_for(atomic_load(&ticket), thread)) {
      pthread_mutex_lock(&mutex);
      atomic_fetch_add(&sleepers, 1);
      while (!open_for(atomic_load(&ticket), thread)) pthread_cond_wait(&loop_begins, &mutex);
      atomic_fetch_sub(&sleepers, 1);
      pthread_mutex_unlock(&mutex);
    }
    help(thread);
  }
  return NULL;
}

/* A forked process has none of the threads. */
static void forget_threads(void) {
  workers = 0;
  atomic_store(&ticket, 0);
  atomic_store(&sleepers, 0);
  one_loop = mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  loop_begins = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

/* Run round(job, 0, thread) ... round(job, rounds - 1, thread), in no order, rounds < 2^24; thread numbers are below
 * `threads`. */
static void run_rounds(Round round, const void *job, int rounds, int threads) {
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (rounds < 2 || threads < 2 || pthread_mutex_trylock(&one_loop)) { /* two callers at once: each for itself */
    for (int number = 0; number < rounds; number++) round(job, number, 0);
    return;
  }
  static int at_fork;
  if (!at_fork) at_fork = !pthread_atfork(NULL, NULL, forget_threads);
  while (workers < threads - 1) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)(workers + 1))) break;
    pthread_detach(thread);
    workers++;
  }
  current.round = round;
  current.job = job;
  atomic_store(&unfinished, rounds);
  atomic_store(&ticket, (uint64_t)threads << 56 | (uint64_t)rounds << 32);
  if (atomic_load(&sleepers)) {
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&loop_begins);
    pthread_mutex_unlock(&mutex);
  }
  help(0);
  for (int spin = 0; atomic_load(&unfinished); spin++) {
    if (spin < SPINS)
      pause_briefly();
    else
      sched_yield();
  }
  pthread_mutex_unlock(&one_loop);
}
