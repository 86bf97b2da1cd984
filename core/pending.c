#include "pending.h"

#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STRIPES 256
#define BUCKETS 1024 /* a stripe */

struct stripe {
    ig_mutex lock;
    ig_cond released;
    uint64_t removals;       /* sync: lock */
    struct ig_pend **bucket; /* sync: lock */
};

struct ig_pending {
    uint64_t seed; /* sync: fixed after init, like all but the stripes */
    ig_pend_appeared appeared;
    void *context;
    struct stripe stripes[STRIPES];
};

ingot_status ig_pending_new(ig_pend_appeared appeared, void *context,
                            struct ig_pending **ret_pending, ingot_error *err) {
    struct ig_pending *pending = ig_alloc(sizeof *pending);
    if (pending == NULL)
        return ig_fail_memory(err, "the table of pending ids");
    pending->appeared = appeared;
    pending->context = context;
    bool complete = ig_os->random(&pending->seed, sizeof pending->seed) == 0;
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &pending->stripes[i];
        ig_mutex_init(&stripe->lock, IG_RANK_STRIPE);
        ig_cond_init(&stripe->released);
        stripe->bucket = ig_alloc_array(BUCKETS, sizeof(struct ig_pend *));
        complete = complete && stripe->bucket != NULL;
    }
    if (!complete) {
        ig_pending_free(pending);
        return ig_fail_memory(err, "the table of pending ids");
    }
    *ret_pending = pending;
    return INGOT_OK;
}

void ig_pending_free(struct ig_pending *pending) {
    if (pending == NULL)
        return;
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &pending->stripes[i];
        for (unsigned b = 0; stripe->bucket != NULL && b < BUCKETS; b++) {
            while (stripe->bucket[b] != NULL) {
                struct ig_pend *pend = stripe->bucket[b];
                stripe->bucket[b] = pend->next;
                ig_free(pend);
            }
        }
        ig_free(stripe->bucket);
        ig_cond_release(&stripe->released);
        ig_mutex_release(&stripe->lock);
    }
    ig_free(pending);
}

void ig_pending_barrier(struct ig_pending *pending) {
    for (unsigned i = 0; i < STRIPES; i++) {
        ig_lock(&pending->stripes[i].lock);
        ig_unlock(&pending->stripes[i].lock);
    }
}

/* Ids are uniform, but chosen ids need not be: the seed keeps their places unknown. */
static uint64_t place_of(const struct ig_pending *pending, const ingot_id *id) {
    return (ig_get64(id->bytes + 8) ^ pending->seed) * UINT64_C(0x9E3779B97F4A7C15);
}

static struct stripe *stripe_of(struct ig_pending *pending, const ingot_id *id) {
    return &pending->stripes[place_of(pending, id) >> 56];
}

static struct ig_pend **slot_locked(struct ig_pending *pending, struct stripe *stripe,
                                    const ingot_id *id) {
    struct ig_pend **slot = &stripe->bucket[(place_of(pending, id) >> 40) % BUCKETS];
    while (*slot != NULL && memcmp(&(*slot)->id, id, sizeof *id) != 0)
        slot = &(*slot)->next;
    return slot;
}

static void free_if_idle_locked(struct ig_pending *pending, struct stripe *stripe,
                                struct ig_pend *pend) {
    if (pend->users > 0 || pend->unapplied > 0 || pend->leases > 0)
        return;
    struct ig_pend **slot = slot_locked(pending, stripe, &pend->id);
    *slot = pend->next;
    ig_free(pend);
}

ingot_status ig_pend_own(struct ig_pending *pending, const ingot_id *id, const struct ig_wait *wait,
                         struct ig_pend **ret_pend, ingot_error *err) {
    struct stripe *stripe = stripe_of(pending, id);
    ingot_status status = INGOT_OK;
    ig_lock(&stripe->lock);
    struct ig_pend **slot = slot_locked(pending, stripe, id);
    struct ig_pend *pend = *slot;
    if (pend == NULL) {
        pend = ig_alloc(sizeof *pend);
        if (pend == NULL) {
            ig_unlock(&stripe->lock);
            return ig_fail_memory(err, "a pending id");
        }
        pend->id = *id;
        *slot = pend;
    }
    pend->users++;
    while (pend->owned && status == INGOT_OK) {
        ig_cond_wait_ns(&stripe->released, &stripe->lock, ig_wait_slice_ns(wait));
        status = ig_wait_check(wait, err);
    }
    if (status == INGOT_OK) {
        pend->owned = true;
        *ret_pend = pend;
    } else {
        pend->users--;
        free_if_idle_locked(pending, stripe, pend);
    }
    ig_unlock(&stripe->lock);
    return status;
}

void ig_pend_disown(struct ig_pending *pending, struct ig_pend *pend) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    pend->owned = false;
    if (--pend->users > 0)
        ig_cond_wake_all(&stripe->released);
    free_if_idle_locked(pending, stripe, pend);
    ig_unlock(&stripe->lock);
}

void ig_pend_resolve(struct ig_pending *pending, struct ig_pend *pend,
                     const struct ig_state *state) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    pend->state = *state;
    pend->visible_seq = 0;
    pend->resolved = true;
    ig_unlock(&stripe->lock);
}

void ig_pend_change(struct ig_pending *pending, struct ig_pend *pend, const struct ig_state *state,
                    uint64_t visible_seq, uint32_t records) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    bool was_live = ig_state_live(&pend->state), is_live = ig_state_live(state);
    /* An answer given before the object is durable (visible_seq 0) shows the object to everybody.
     */
    if ((!was_live && is_live) || visible_seq == 0)
        pend->visible_seq = visible_seq;
    if (was_live && !is_live) {
        stripe->removals++;
        pend->removed_seq = visible_seq;
    }
    if (!pend->state.present && state->present)
        pending->appeared(pending->context, &pend->id);
    pend->state = *state;
    pend->resolved = true;
    pend->unapplied += records;
    ig_unlock(&stripe->lock);
}

uint64_t ig_pend_told_seq(const struct ig_pend *pend) {
    return ig_state_live(&pend->state) ? pend->visible_seq : pend->removed_seq;
}

void ig_pend_applied(struct ig_pending *pending, const ingot_id *id, uint32_t records) {
    struct stripe *stripe = stripe_of(pending, id);
    ig_lock(&stripe->lock);
    struct ig_pend *pend = *slot_locked(pending, stripe, id);
    if (pend != NULL) {
        pend->unapplied -= records;
        free_if_idle_locked(pending, stripe, pend);
    }
    ig_unlock(&stripe->lock);
}

bool ig_pend_peek(struct ig_pending *pending, const ingot_id *id, uint64_t durable_seq,
                  struct ig_state *ret_state, uint64_t *ret_removed_seq) {
    struct stripe *stripe = stripe_of(pending, id);
    ig_lock(&stripe->lock);
    const struct ig_pend *pend = *slot_locked(pending, stripe, id);
    bool known = pend != NULL && pend->resolved;
    *ret_removed_seq = known && !ig_state_live(&pend->state) ? pend->removed_seq : 0;
    if (known && pend->visible_seq <= durable_seq)
        *ret_state = pend->state;
    else if (known)
        memset(ret_state, 0, sizeof *ret_state);
    ig_unlock(&stripe->lock);
    return known;
}

static int compare_ids(const void *a, const void *b) { return ingot_id_compare(a, b); }

static size_t copy_ids_locked(const struct stripe *stripe, ingot_id *ids) {
    size_t count = 0;
    for (unsigned b = 0; b < BUCKETS; b++)
        for (const struct ig_pend *pend = stripe->bucket[b]; pend != NULL; pend = pend->next) {
            if (ids != NULL)
                ids[count] = pend->id;
            count++;
        }
    return count;
}

ingot_status ig_pending_ids(struct ig_pending *pending, ingot_id **ret_ids, size_t *ret_count,
                            ingot_error *err) {
    ingot_id *ids = NULL;
    size_t count = 0;
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &pending->stripes[i];
        ig_lock(&stripe->lock);
        size_t more = copy_ids_locked(stripe, NULL);
        ingot_id *grown = ig_realloc(ids, (count + more) * sizeof *ids);
        if (grown != NULL)
            count += copy_ids_locked(stripe, grown + count);
        ig_unlock(&stripe->lock);
        if (grown == NULL) {
            ig_free(ids);
            return ig_fail_memory(err, "a list of ids");
        }
        ids = grown;
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    *ret_ids = ids;
    *ret_count = count;
    return INGOT_OK;
}

void ig_pend_lease(struct ig_pending *pending, struct ig_pend *pend) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    pend->leases++;
    ig_unlock(&stripe->lock);
}

void ig_pend_unlease(struct ig_pending *pending, struct ig_pend *pend) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    pend->leases--;
    free_if_idle_locked(pending, stripe, pend);
    ig_unlock(&stripe->lock);
}

uint32_t ig_pend_leases(struct ig_pending *pending, struct ig_pend *pend) {
    struct stripe *stripe = stripe_of(pending, &pend->id);
    ig_lock(&stripe->lock);
    uint32_t leases = pend->leases;
    ig_unlock(&stripe->lock);
    return leases;
}

uint64_t ig_pend_removals(struct ig_pending *pending, const ingot_id *id) {
    struct stripe *stripe = stripe_of(pending, id);
    ig_lock(&stripe->lock);
    uint64_t removals = stripe->removals;
    ig_unlock(&stripe->lock);
    return removals;
}

void ig_pend_if_unchanged(struct ig_pending *pending, const ingot_id *id, uint64_t removals,
                          void (*act)(void *context), void *context) {
    struct stripe *stripe = stripe_of(pending, id);
    ig_lock(&stripe->lock);
    if (stripe->removals == removals)
        act(context);
    ig_unlock(&stripe->lock);
}
