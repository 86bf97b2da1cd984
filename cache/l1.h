/* L1: objects in memory, by id, within a byte budget.
 *
 * Entries are pinned ingot_buf views; eviction drops the cache's pin and never the caller's. The
 * full id is compared on every hit. Thread-safe.
 */
#ifndef IG_L1_H
#define IG_L1_H

#include <ingot/ingot.h>

#include <stdbool.h>

struct ig_l1;

/* A budget of 0 makes a cache that holds nothing. */
ingot_status ig_l1_new(uint64_t budget_bytes, struct ig_l1 **ret_l1, ingot_error *err);
void ig_l1_free(struct ig_l1 *l1);

/* A new pin on the bytes, or NULL. Counts a hit or a miss. */
ingot_buf *ig_l1_find(struct ig_l1 *l1, const ingot_id *id);
/* Admits the buffer (taking a pin of its own) if the policy and the budget allow. An entry that is
 * there already stays. */
void ig_l1_insert(struct ig_l1 *l1, const ingot_id *id, ingot_buf *buf);
/* True if it was there. */
bool ig_l1_remove(struct ig_l1 *l1, const ingot_id *id);
/* Empties the cache; returns how many entries went. */
uint64_t ig_l1_clear(struct ig_l1 *l1);
/* Evicts down to the new budget before it returns. */
void ig_l1_resize(struct ig_l1 *l1, uint64_t budget_bytes);
void ig_l1_info(const struct ig_l1 *l1, ingot_cache_info *ret_info);

#endif
