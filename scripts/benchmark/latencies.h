/*
 * Time, and the latencies of one measurement: a plain array, sorted once at the end. Header only, for the two C programs
 * of the bench.
 */

#ifndef DRAWBRIDGE_BENCH_LATENCIES_H
#define DRAWBRIDGE_BENCH_LATENCIES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct latencies {
  uint32_t *nanos;
  size_t count;
  size_t capacity;
};

static inline uint64_t now_nanos(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline void add_latency(struct latencies *all, uint64_t nanos) {
  if (all->count == all->capacity) {
    all->capacity = all->capacity == 0 ? 1 << 16 : all->capacity * 2;
    all->nanos = realloc(all->nanos, all->capacity * sizeof *all->nanos);
    if (all->nanos == NULL) {
      fprintf(stderr, "out of memory\n");
      exit(1);
    }
  }
  all->nanos[all->count++] = nanos > UINT32_MAX ? UINT32_MAX : (uint32_t)nanos;
}

static int compare_latencies(const void *left, const void *right) {
  uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return (a > b) - (a < b);
}

static inline double percentile_micros(const struct latencies *sorted, double fraction) {
  if (sorted->count == 0) return 0;
  size_t index = (size_t)(fraction * (double)(sorted->count - 1));
  return sorted->nanos[index] / 1000.0;
}

/* One line of JSON, which ends the measurement. */
static inline void print_result(struct latencies *all, double seconds) {
  qsort(all->nanos, all->count, sizeof *all->nanos, compare_latencies);
  printf("{\"count\":%zu,\"seconds\":%.6f,\"p50Micros\":%.2f,\"p99Micros\":%.2f,\"p999Micros\":%.2f,\"maxMicros\":%.2f}\n",
         all->count, seconds, percentile_micros(all, 0.50), percentile_micros(all, 0.99), percentile_micros(all, 0.999),
         percentile_micros(all, 1));
  fflush(stdout);
  all->count = 0;
}

#endif
