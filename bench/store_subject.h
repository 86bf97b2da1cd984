/* ingot as a subject of the common workload, through its public header. */
#ifndef BENCH_STORE_SUBJECT_H
#define BENCH_STORE_SUBJECT_H

#include "workload.h"

#include <ingot/ingot.h>

/* Variants. */
#define STORE_RELAXED UINT32_C(1)   /* puts do not wait for the device */
#define STORE_BIG_CACHE UINT32_C(2) /* the memory cache holds the data set */
#define STORE_NO_CACHE UINT32_C(4)  /* the memory cache is off */

struct store_db {
    ingot_store *store;
    uint32_t variant;
};

extern const struct wl_subject store_durable;
extern const struct wl_subject store_relaxed;
extern const struct wl_subject store_cached;   /* relaxed puts, STORE_BIG_CACHE */
extern const struct wl_subject store_uncached; /* relaxed puts, STORE_NO_CACHE */

/* Ends the program unless status is INGOT_OK. */
void store_must(const char *what, ingot_status status, const ingot_error *err);
ingot_stats store_stats_of(ingot_store *store);

#endif
