/* Replay: log records into an index (open, rebuild) or into the pending table (read-only open). */
#ifndef IG_REPLAY_H
#define IG_REPLAY_H

#include "apply.h"
#include "index.h"
#include "pending.h"
#include "segments.h"

struct ig_replay_options {
    struct ig_segments *segments;
    struct ig_index *index;
    struct ig_pending *pending; /* not NULL: leave the index alone and put the changes here */
    bool salvage;               /* go on behind damage */
};

struct ig_replay_report {
    struct ig_watermark end;    /* behind the last group with records */
    uint64_t chain;             /* of that group */
    uint64_t group_offset;      /* of that group */
    struct ig_watermark resume; /* where the log goes on: behind a seal, the next segment */
    uint64_t resume_chain;
    int64_t time_ms; /* of the last group; 0 without any */
    uint64_t segments;
    uint64_t records;
    uint64_t damages;
    struct ig_totals change; /* of the sums over all ids */
};

/* From the index's watermark to the end of the log. INGOT_CORRUPT where only damage explains what
 * is found, unless salvaging. */
ingot_status ig_replay(const struct ig_replay_options *options, struct ig_replay_report *ret_report,
                       ingot_error *err);

#endif
