/* The dedup front: a Bloom filter over all present ids, built beside the running store, so that a
 * lookup of an absent id seldom asks the index.
 *
 * No false negative (invariant I11): an id is added under its stripe's lock when it becomes
 * present, before its pending entry can be dropped. A new filter is first published as the second
 * target of all adds; after a barrier over all stripes every later add reaches it, and every
 * earlier id is in the log, so that once the index has caught up a walk over it finds the rest.
 */
#ifndef IG_FRONT_H
#define IG_FRONT_H

#include "apply.h"
#include "index.h"
#include "pending.h"

#include <stdbool.h>

struct ig_front;

ingot_status ig_front_new(struct ig_front **ret_front, ingot_error *err);
/* Starts the thread that builds and grows the filter. `apply` and `log` are NULL when read-only. */
ingot_status ig_front_start(struct ig_front *front, struct ig_index *index,
                            struct ig_pending *pending, struct ig_log *log, struct ig_apply *apply,
                            ingot_error *err);
/* Ends the thread. */
void ig_front_stop(struct ig_front *front);
void ig_front_free(struct ig_front *front);

/* Under the stripe's lock of the id. */
void ig_front_add(struct ig_front *front, const ingot_id *id);
/* True: surely in neither index nor log. */
bool ig_front_absent(struct ig_front *front, const ingot_id *id);
uint64_t ig_front_bytes(struct ig_front *front);
uint64_t ig_front_absences(struct ig_front *front);

#endif
