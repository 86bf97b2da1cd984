/* Collection in two steps that share a run: sweeping ids (gc.c), cleaning segments (clean.c). */
#ifndef IG_COLLECT_H
#define IG_COLLECT_H

#include "store.h"

enum ig_verdict {
    IG_KEEP_LIVE,
    IG_KEEP_GRACE,
    IG_KEEP_LEASED,
    IG_KEEP_LIMBO,
    IG_SWEEP,           /* to limbo */
    IG_SWEEP_AND_PURGE, /* there is no limbo time */
    IG_DROP,            /* limbo is over */
};

struct ig_collection {
    ingot_store *store;
    const ingot_gc_options *options;
    ingot_gc_report *report;
    struct ig_wait wait;
    bool dry_run;
    int64_t now_ms;
    int64_t grace_ms;
    int64_t limbo_ms;
    /* Dry run: bytes that a real run would have taken from each segment, by number. */
    int64_t *foreseen;
    uint32_t foreseen_count;
};

/* What is to become of an id in this state with this many leases. */
enum ig_verdict ig_collection_verdict(const struct ig_collection *run, const struct ig_state *state,
                                      uint32_t leases);

/* Cleans the segments with too little live data. */
ingot_status ig_clean(struct ig_collection *run, ingot_error *err);

#endif
