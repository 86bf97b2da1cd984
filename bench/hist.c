#include "hist.h"

static unsigned bucket_of(uint64_t value) {
    if (value < HIST_SUB)
        return (unsigned)value;
    unsigned top = 63u - (unsigned)__builtin_clzll(value);
    if (top > HIST_TOP_BIT)
        return HIST_BUCKETS - 1;
    unsigned shift = top - HIST_SUB_BITS;
    return (shift + 1) * HIST_SUB + (unsigned)((value >> shift) - HIST_SUB);
}

static double middle_of(unsigned bucket) {
    if (bucket < HIST_SUB)
        return bucket;
    unsigned shift = bucket / HIST_SUB - 1;
    uint64_t low = (uint64_t)(HIST_SUB + bucket % HIST_SUB) << shift;
    return (double)low + (double)((UINT64_C(1) << shift) - 1) / 2;
}

void hist_add(struct hist *hist, uint64_t value) {
    hist->buckets[bucket_of(value)]++;
    hist->count++;
    if (value > hist->max)
        hist->max = value;
}

void hist_merge(struct hist *into, const struct hist *from) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

double hist_quantile(const struct hist *hist, double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)hist->count + 0.5);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen > 0 && seen >= wanted)
            return middle_of(i) < (double)hist->max ? middle_of(i) : (double)hist->max;
    }
    return 0;
}
