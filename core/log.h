/* The log: one append position, many writers, group commit.
 *
 * A writer reserves room in the open group (short lock), fills it in parallel with others, then
 * waits. One of the waiters leads: it closes the group, waits for the fillers, writes and syncs
 * once for all, and wakes them. While it does, the next group fills. Groups are written strictly
 * one behind the other, so a durable record has only durable records before it.
 *
 * After a failed write or sync the log is poisoned: what was not yet durable fails, nothing more is
 * accepted, nothing is synced again.
 */
#ifndef IG_LOG_H
#define IG_LOG_H

#include "segments.h"
#include "state.h"
#include "wait.h"

struct ig_log;

#define IG_GROUP_RECORDS 8192 /* records in one group at most */

/* The changes of one committed group, on their way to the index. */
struct ig_changeset {
    struct ig_change *changes;
    uint32_t count;
    struct ig_watermark end; /* the place behind the group */
    uint64_t chain;          /* of the group's header */
    uint64_t group_offset;   /* where the group starts, in end.segment */
    uint64_t bytes;
    struct ig_changeset *next;
};

struct ig_log_options {
    struct ig_segments *segments;
    uint64_t dirty_max;
    uint64_t body_max;         /* longest object in the log */
    struct ig_watermark start; /* where to go on; segment 0 for a new store */
    uint64_t chain;            /* of the group before that place */
    int64_t clock_floor_ms;    /* the log's time never goes back behind this */
};

ingot_status ig_log_open(const struct ig_log_options *options, struct ig_log **ret_log,
                         ingot_error *err);
/* Nothing may be in progress. Does not sync: call ig_log_sync before. */
void ig_log_close(struct ig_log *log);

/* Room for `count` consecutive records of one group. */
struct ig_slot {
    struct ig_group *group;
    uint64_t serial;
    uint64_t seq; /* of the first record */
    uint32_t segment;
    uint64_t offset;      /* of the first record */
    uint64_t record_seed; /* for ig_record_encode */
    int64_t time_ms;      /* of the group */
    uint8_t *memory;
    struct ig_change *changes; /* `count` of them, to be filled */
};

/* Reserves `bytes` (the records' footprints, at most one group) for `count` records. `reclaims`:
 * they help to give space back, so they may use the room that is kept for a full device. Must be
 * followed by ig_log_filled, and soon: the leader waits for it. */
ingot_status ig_log_reserve(struct ig_log *log, uint64_t bytes, uint32_t count, bool reclaims,
                            const struct ig_wait *wait, struct ig_slot *ret_slot, ingot_error *err);
void ig_log_filled(struct ig_log *log, const struct ig_slot *slot);

/* Returns when the slot's records are durable. */
ingot_status ig_log_wait(struct ig_log *log, const struct ig_slot *slot, const struct ig_wait *wait,
                         ingot_error *err);
/* Says that nobody waits for the slot: the log commits it by itself within 20 ms. */
void ig_log_unwaited(struct ig_log *log);
/* Returns when everything reserved before the call is durable. */
ingot_status ig_log_sync(struct ig_log *log, const struct ig_wait *wait, ingot_error *err);

uint64_t ig_log_durable_seq(const struct ig_log *log);
/* The status that poisoned the log, or INGOT_OK. */
ingot_status ig_log_failed(struct ig_log *log, ingot_error *err);
/* Poisons it from outside (the index cannot take any more). */
void ig_log_fail(struct ig_log *log, ingot_status status, const char *message);

/* Copies bytes that are still in a group's memory. INGOT_NOT_FOUND: they are in the segment. */
ingot_status ig_log_read_staged(struct ig_log *log, uint32_t segment, uint64_t offset, size_t len,
                                void *buffer);

/* The segment that is being written: never cleaned. */
uint32_t ig_log_segment(struct ig_log *log);
/* Milliseconds since 1970, never going back. */
int64_t ig_log_now_ms(const struct ig_log *log);

/* For the applier. Takes all committed groups in order, waiting up to `ns` for the first one; NULL
 * if none came. Give them back with ig_log_recycle when the index has them. */
struct ig_changeset *ig_log_take(struct ig_log *log, uint64_t ns);
void ig_log_recycle(struct ig_log *log, struct ig_changeset *sets);
/* Wakes ig_log_take. */
void ig_log_nudge(struct ig_log *log);

struct ig_log_info {
    uint64_t groups;
    uint64_t records;
    uint64_t syncs;
    uint64_t bytes;
};
void ig_log_info(struct ig_log *log, struct ig_log_info *ret_info);

#endif
