/* The state of one id, and how log records change it ("From the log to the state" in
 * docs/format.md). The live store, replay, rebuild, check and cleaning all go through
 * ig_state_apply, so there is one reading of the log.
 */
#ifndef IG_STATE_H
#define IG_STATE_H

#include "format.h"
#include "index.h"

struct ig_state {
    bool present;
    bool limbo;
    bool file;        /* bytes under objects/, not in the log */
    uint32_t segment; /* of the OBJECT or LINK record */
    uint64_t offset;  /* of that record */
    uint64_t seq;     /* of that record */
    uint64_t size;
    int64_t refs;
    int64_t time_ms;    /* stored; in limbo: swept */
    int64_t changed_ms; /* latest change of the count; 0: none since the record */
};

/* A state change on its way to the index. */
struct ig_change {
    ingot_id id;
    uint64_t seq;
    uint8_t kind; /* enum ig_kind */
    struct ig_state before;
    struct ig_state after;
};

/* Sums over all ids, kept in the index as counters. */
struct ig_totals {
    int64_t objects;
    int64_t bytes;
    int64_t limbo;
    int64_t large;
    int64_t large_bytes;
};

/* True if the object is in the store. */
bool ig_state_live(const struct ig_state *state);
/* Same place, size, count and standing. Times do not count. */
bool ig_state_equal(const struct ig_state *a, const struct ig_state *b);
/* Bytes of the log that this state needs, in state->segment. */
uint64_t ig_state_log_bytes(const struct ig_state *state);
/* Since when nothing has changed, for the grace period. */
int64_t ig_state_quiet_since(const struct ig_state *state);

/* `time_ms` is the time of the record's group. */
void ig_state_apply(struct ig_state *state, const struct ig_record *record, uint32_t segment,
                    uint64_t offset, int64_t time_ms);

void ig_state_from_index(const struct ig_content *content, const struct ig_refs *refs,
                         struct ig_state *ret_state);

/* What a batch of changes adds to the index's counters: written once a batch, not once a change. */
#define IG_SUMS_SEGMENTS 64
struct ig_sums {
    struct ig_totals totals;
    uint32_t segment_count;
    struct {
        uint32_t number;
        int64_t live_bytes;
    } segments[IG_SUMS_SEGMENTS];
};
/* Writes what differs between before and after, and adds it to the sums. */
void ig_change_to_batch(const struct ig_change *change, struct ig_sums *sums,
                        struct ig_index_batch *batch);
/* Writes the sums and empties them. */
void ig_sums_to_batch(struct ig_sums *sums, struct ig_index_batch *batch);

void ig_totals_add(struct ig_totals *totals, const struct ig_state *before,
                   const struct ig_state *after);

/* Names of the counters in the index. */
#define IG_COUNTER_OBJECTS "objects"
#define IG_COUNTER_BYTES "bytes"
#define IG_COUNTER_LIMBO "limbo"
#define IG_COUNTER_LARGE "large"
#define IG_COUNTER_LARGE_BYTES "large-bytes"
#define IG_COUNTER_LIVE "live/" /* + eight digits: needed bytes of a segment */

#endif
