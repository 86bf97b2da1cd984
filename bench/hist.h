/* A log-linear histogram of durations in the manner of HdrHistogram (http://hdrhistogram.org):
 * HIST_SUB buckets per power of two, so a reported value is within 1/(2*HIST_SUB) of a recorded
 * one. One writer; merged when the writers have ended. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_TOP_BIT 40 /* about 18 minutes in ns; longer ones count as this */
#define HIST_BUCKETS ((HIST_TOP_BIT - HIST_SUB_BITS + 2) * HIST_SUB)

struct hist {
    uint64_t count;
    uint64_t max;
    uint32_t buckets[HIST_BUCKETS];
};

void hist_add(struct hist *hist, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* The value that `fraction` (0 to 1) of the recorded ones do not exceed; 0 when empty. */
double hist_quantile(const struct hist *hist, double fraction);

#endif
