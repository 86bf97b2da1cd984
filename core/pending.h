/* Ids with work in progress: the lock stripes of the store.
 *
 * An entry exists while a thread works on its id, while the index has not taken a record of it, and
 * while it is leased. It holds the newest state of the id, so a lookup asks here first and then the
 * index; an id without an entry is exactly what the index says. Work on one id is serialised by
 * ownership of its entry, held across lookup and log reservation but never across a device write;
 * the stripe's lock itself is held for a few loads only.
 */
#ifndef IG_PENDING_H
#define IG_PENDING_H

#include "lock.h"
#include "log.h"
#include "state.h"
#include "wait.h"

struct ig_pending;

struct ig_pend {
    ingot_id id;          /* sync: fixed after init */
    struct ig_pend *next; /* sync: stripe lock, like what follows */
    uint32_t users;       /* threads that own it or wait to */
    bool owned;
    bool resolved;      /* state is known */
    uint32_t unapplied; /* records that the index has not taken */
    uint32_t leases;
    struct ig_state state; /* written by the owner under the stripe lock */
    uint64_t visible_seq;  /* the object may be seen when this record is durable; 0: now */
    uint64_t removed_seq;  /* its absence may be told when this record is durable; 0: now */
};

/* Called under the stripe's lock when an id becomes present, before its entry can be dropped. */
typedef void (*ig_pend_appeared)(void *context, const ingot_id *id);

ingot_status ig_pending_new(ig_pend_appeared appeared, void *context,
                            struct ig_pending **ret_pending, ingot_error *err);
/* Takes and drops every stripe's lock: what `appeared` read before is no longer in use after. */
void ig_pending_barrier(struct ig_pending *pending);
void ig_pending_free(struct ig_pending *pending);

/* Makes the caller the owner of the id's entry, waiting for another owner if need be. */
ingot_status ig_pend_own(struct ig_pending *pending, const ingot_id *id, const struct ig_wait *wait,
                         struct ig_pend **ret_pend, ingot_error *err);
/* Ends ownership. */
void ig_pend_disown(struct ig_pending *pending, struct ig_pend *pend);

/* By the owner: what the index says about a new entry. */
void ig_pend_resolve(struct ig_pending *pending, struct ig_pend *pend,
                     const struct ig_state *state);
/* By the owner: the state after `records` new records in the log. */
void ig_pend_change(struct ig_pending *pending, struct ig_pend *pend, const struct ig_state *state,
                    uint64_t visible_seq, uint32_t records);
/* By the owner: the record that must be durable before an answer from this state may be given. */
uint64_t ig_pend_told_seq(const struct ig_pend *pend);
/* By the applier: the index has taken this many records of the id. */
void ig_pend_applied(struct ig_pending *pending, const ingot_id *id, uint32_t records);

/* The state if there is an entry that knows it: true, and the state as a reader may see it, given
 * what is durable. An answer that it is absent must wait for *ret_removed_seq. */
bool ig_pend_peek(struct ig_pending *pending, const ingot_id *id, uint64_t durable_seq,
                  struct ig_state *ret_state, uint64_t *ret_removed_seq);

/* All ids that have an entry, sorted. Owned. */
ingot_status ig_pending_ids(struct ig_pending *pending, ingot_id **ret_ids, size_t *ret_count,
                            ingot_error *err);

/* By the owner, or a holder of a lease: one lease more or less. The entry stays while leased. */
void ig_pend_lease(struct ig_pending *pending, struct ig_pend *pend);
void ig_pend_unlease(struct ig_pending *pending, struct ig_pend *pend);
uint32_t ig_pend_leases(struct ig_pending *pending, struct ig_pend *pend);

/* A number that changes whenever an id of this id's stripe leaves the store. What was looked up
 * before may be cached after only if it is still the same, see ig_pend_if_unchanged. */
uint64_t ig_pend_removals(struct ig_pending *pending, const ingot_id *id);
/* Calls `act` under the stripe's lock if no id of the stripe has left since `removals`. */
void ig_pend_if_unchanged(struct ig_pending *pending, const ingot_id *id, uint64_t removals,
                          void (*act)(void *context), void *context);

#endif
