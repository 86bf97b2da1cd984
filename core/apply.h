/* The applier: one thread that carries committed groups into the index, behind the writers. */
#ifndef IG_APPLY_H
#define IG_APPLY_H

#include "index.h"
#include "log.h"
#include "pending.h"

struct ig_apply;

/* What the index remembers about the last group it has taken: meta value "tail". */
struct ig_tail {
    uint64_t chain;
    uint64_t group_offset;
};
#define IG_META_TAIL "tail"
void ig_tail_put(struct ig_index_batch *batch, const struct ig_tail *tail);
ingot_status ig_tail_get(struct ig_index *index, struct ig_tail *ret_tail, ingot_error *err);

ingot_status ig_apply_start(struct ig_log *log, struct ig_index *index, struct ig_pending *pending,
                            struct ig_apply **ret_apply, ingot_error *err);
/* Takes what is committed, then ends the thread. */
void ig_apply_stop(struct ig_apply *apply);
/* Returns when everything that is durable now is in the index; INGOT_READ_ONLY if it cannot be. */
ingot_status ig_apply_drain(struct ig_apply *apply, const struct ig_wait *wait, ingot_error *err);
/* Records durable but not yet in the index. */
uint64_t ig_apply_behind(struct ig_apply *apply);
/* Holds the index still: between pause and resume the applier writes nothing. */
void ig_apply_pause(struct ig_apply *apply);
void ig_apply_resume(struct ig_apply *apply);

#endif
