/* Reference counts, removal, and changes of many counts at once. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

static ingot_status fail_no_reference(const ingot_id *id, ingot_error *err) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    return ig_fail(err, INGOT_NO_REFERENCE, "object %s has no reference to take", hex);
}

/* An object in limbo comes back with its first reference: the bytes are still there. */
static struct ig_record ref_record(const ingot_store *store, const struct ig_pend *pend,
                                   int64_t change) {
    bool revive = pend->state.present && pend->state.limbo;
    return (struct ig_record){
        .kind = revive ? IG_CHECKPOINT : IG_REF,
        .id = pend->id,
        .refs = change,
        .aux = revive ? ig_store_now_ms(store) : 0,
    };
}

static ingot_status allowed(const struct ig_pend *pend, int64_t refs_now, int64_t change,
                            ingot_error *err) {
    if (!pend->state.present || (pend->state.limbo && change < 0))
        return ig_fail_not_found(err, &pend->id);
    if (change > 0 && refs_now == INT64_MAX)
        return ig_fail(err, INGOT_TOO_LARGE, "an object has as many references as can be counted");
    return refs_now + change < 0 ? fail_no_reference(&pend->id, err) : INGOT_OK;
}

ingot_status ig_store_change_ref(ingot_store *store, const ingot_id *id, int64_t change,
                                 bool relaxed, const struct ig_wait *wait, struct ig_slot *ret_slot,
                                 int64_t *ret_refs, ingot_error *err) {
    struct ig_pend *pend;
    ingot_status status = ig_store_own(store, id, wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    status = allowed(pend, pend->state.refs, change, err);
    if (status == INGOT_OK) {
        struct ig_append append = {.record = ref_record(store, pend, change), .pend = pend};
        status = ig_store_append(store, &append, 1, relaxed, wait, ret_slot, err);
        *ret_refs = pend->state.refs;
    }
    uint64_t told_seq = status == INGOT_OK ? 0 : ig_pend_told_seq(pend);
    ig_pend_disown(store->pending, pend);
    return ig_store_settled(store, told_seq, status, wait, err);
}

static ingot_status change_ref(ingot_store *store, const ingot_id *id, int64_t change,
                               const ingot_op *op, int64_t *ret_refs, ingot_error *err) {
    struct ig_wait wait;
    struct ig_slot slot;
    int64_t refs;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_RELAXED, &wait, err);
    if (status != INGOT_OK)
        return status;
    bool relaxed = op != NULL && (op->flags & INGOT_RELAXED) != 0;
    status = ig_store_change_ref(store, id, change, relaxed, &wait, &slot, &refs, err);
    if (status == INGOT_OK)
        status = ig_store_commit(store, &slot, relaxed, &wait, err);
    if (status == INGOT_OK && ret_refs != NULL)
        *ret_refs = refs;
    return status;
}

ingot_status ingot_store_ref(ingot_store *store, const ingot_id *id, const ingot_op *op,
                             int64_t *ret_refs, ingot_error *err) {
    return change_ref(store, id, 1, op, ret_refs, err);
}

ingot_status ingot_store_unref(ingot_store *store, const ingot_id *id, const ingot_op *op,
                               int64_t *ret_refs, ingot_error *err) {
    return change_ref(store, id, -1, op, ret_refs, err);
}

ingot_status ingot_store_refcount(ingot_store *store, const ingot_id *id, int64_t *ret_refs,
                                  ingot_error *err) {
    ingot_stat stat;
    ingot_status status = ingot_store_stat(store, id, &stat, err);
    if (status == INGOT_OK)
        *ret_refs = stat.refs;
    return status;
}

void ig_store_stat_of(const struct ig_state *state, ingot_stat *ret_stat) {
    *ret_stat = (ingot_stat){
        .size = state->size,
        .stored_size = ig_state_log_bytes(state) + (state->file ? state->size : 0),
        .refs = state->refs,
        .stored_ms = state->time_ms,
        .place = state->file ? INGOT_PLACE_FILE : INGOT_PLACE_LOG,
        .segment = state->file ? 0 : state->segment,
        .offset = state->file ? 0 : state->offset + IG_RECORD_HEADER,
    };
}

ingot_status ingot_store_stat(ingot_store *store, const ingot_id *id, ingot_stat *ret_stat,
                              ingot_error *err) {
    struct ig_state state;
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_store_look(store, id, true, &state, err);
    if (status != INGOT_OK)
        return status;
    if (!ig_state_live(&state))
        return ig_fail_not_found(err, id);
    ig_store_stat_of(&state, ret_stat);
    return INGOT_OK;
}

ingot_status ig_store_bury(ingot_store *store, struct ig_pend *pend, bool relaxed,
                           const struct ig_wait *wait, struct ig_slot *ret_slot, ingot_error *err) {
    struct ig_append append = {
        .record = {.kind = IG_TOMBSTONE, .id = pend->id, .aux = pend->state.segment},
        .pend = pend,
    };
    ingot_status status = ig_store_append(store, &append, 1, relaxed, wait, ret_slot, err);
    /* After the state has changed: what is cached from now on sees the removal. */
    if (status == INGOT_OK)
        ig_l1_remove(store->l1, &pend->id);
    return status;
}

ingot_status ingot_store_delete(ingot_store *store, const ingot_id *id, const ingot_op *op,
                                ingot_error *err) {
    struct ig_wait wait;
    struct ig_pend *pend;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_RELAXED, &wait, err);
    if (status == INGOT_OK)
        status = ig_store_own(store, id, &wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    bool relaxed = op != NULL && (op->flags & INGOT_RELAXED) != 0;
    struct ig_slot slot = {.group = NULL};
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    if (!ig_state_live(&pend->state))
        status = ig_fail_not_found(err, id);
    else if (pend->state.refs > 0)
        status = ig_fail(err, INGOT_IN_USE, "object %s has %lld references", hex,
                         (long long)pend->state.refs);
    else if (ig_pend_leases(store->pending, pend) > 0)
        status = ig_fail(err, INGOT_IN_USE, "object %s is leased", hex);
    else
        status = ig_store_bury(store, pend, relaxed, &wait, &slot, err);
    uint64_t told_seq = status == INGOT_OK ? 0 : ig_pend_told_seq(pend);
    ig_pend_disown(store->pending, pend);
    if (status != INGOT_OK)
        return ig_store_settled(store, told_seq, status, &wait, err);
    return ig_store_commit(store, &slot, relaxed, &wait, err);
}

/* ---- Batches of changes ---- */

struct change {
    ingot_id id;
    int64_t by;
    uint32_t order;
};

struct ingot_batch {
    ingot_store *store;
    uint32_t count;
    struct change changes[INGOT_BATCH_MAX];
};

ingot_status ingot_batch_new(ingot_store *store, ingot_batch **ret_batch, ingot_error *err) {
    ingot_status status = ig_store_enter_write(store, err);
    if (status != INGOT_OK)
        return status;
    ingot_batch *batch = ig_alloc(sizeof *batch);
    if (batch == NULL)
        return ig_fail_memory(err, "a batch");
    batch->store = store;
    *ret_batch = batch;
    return INGOT_OK;
}

void ingot_batch_free(ingot_batch *batch) { ig_free(batch); }

static ingot_status add_change(ingot_batch *batch, const ingot_id *id, int64_t by,
                               ingot_error *err) {
    if (batch->count == INGOT_BATCH_MAX)
        return ig_fail(err, INGOT_BUSY, "a batch holds %d changes", INGOT_BATCH_MAX);
    batch->changes[batch->count] = (struct change){.id = *id, .by = by, .order = batch->count};
    batch->count++;
    return INGOT_OK;
}

ingot_status ingot_batch_ref(ingot_batch *batch, const ingot_id *id, ingot_error *err) {
    return add_change(batch, id, 1, err);
}

ingot_status ingot_batch_unref(ingot_batch *batch, const ingot_id *id, ingot_error *err) {
    return add_change(batch, id, -1, err);
}

/* By id, so that two batches own their entries in the same order; then as they were added. */
static int compare_changes(const void *a, const void *b) {
    const struct change *x = a, *y = b;
    int order = ingot_id_compare(&x->id, &y->id);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

/* Owns every id once and prepares the records; *ret_owned entries are owned also on failure. */
static ingot_status prepare(const ingot_batch *batch, const struct change *sorted,
                            struct ig_append *appends, struct ig_pend **owned, uint32_t *ret_owned,
                            const struct ig_wait *wait, ingot_error *err) {
    ingot_store *store = batch->store;
    int64_t refs = 0;
    bool revived = false;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct ig_pend *pend = *ret_owned > 0 ? owned[*ret_owned - 1] : NULL;
        if (pend == NULL || ingot_id_compare(&pend->id, &sorted[i].id) != 0) {
            ingot_status status = ig_store_own(store, &sorted[i].id, wait, &pend, err);
            if (status != INGOT_OK)
                return status;
            owned[(*ret_owned)++] = pend;
            refs = pend->state.refs;
            revived = false;
        }
        ingot_status status =
            revived && refs + sorted[i].by >= 0 ? INGOT_OK : allowed(pend, refs, sorted[i].by, err);
        if (status != INGOT_OK)
            return status;
        appends[i] =
            (struct ig_append){.record = ref_record(store, pend, sorted[i].by), .pend = pend};
        if (revived)
            appends[i].record =
                (struct ig_record){.kind = IG_REF, .id = pend->id, .refs = sorted[i].by};
        refs += sorted[i].by;
        revived = revived || appends[i].record.kind == IG_CHECKPOINT;
    }
    return INGOT_OK;
}

static ingot_status commit_sorted(ingot_batch *batch, const struct change *sorted,
                                  struct ig_append *appends, struct ig_pend **owned, bool relaxed,
                                  const struct ig_wait *wait, ingot_error *err) {
    uint32_t owned_count = 0;
    struct ig_slot slot = {.group = NULL};
    ingot_status status = prepare(batch, sorted, appends, owned, &owned_count, wait, err);
    if (status == INGOT_OK)
        status = ig_store_append(batch->store, appends, batch->count, relaxed, wait, &slot, err);
    uint64_t told_seq = 0;
    for (uint32_t i = 0; i < owned_count; i++) {
        uint64_t seq = ig_pend_told_seq(owned[i]);
        told_seq = seq > told_seq ? seq : told_seq;
        ig_pend_disown(batch->store->pending, owned[i]);
    }
    if (status != INGOT_OK)
        return ig_store_settled(batch->store, told_seq, status, wait, err);
    return ig_store_commit(batch->store, &slot, relaxed, wait, err);
}

ingot_status ingot_batch_commit(ingot_batch *batch, const ingot_op *op, ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(batch->store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_RELAXED, &wait, err);
    if (status != INGOT_OK || batch->count == 0)
        return status;
    struct change *sorted = ig_alloc_array(batch->count, sizeof *sorted);
    struct ig_append *appends = ig_alloc_array(batch->count, sizeof *appends);
    struct ig_pend **owned = ig_alloc_array(batch->count, sizeof(struct ig_pend *));
    if (sorted == NULL || appends == NULL || owned == NULL) {
        status = ig_fail_memory(err, "a batch");
    } else {
        memcpy(sorted, batch->changes, batch->count * sizeof *sorted);
        qsort(sorted, batch->count, sizeof *sorted, compare_changes);
        bool relaxed = op != NULL && (op->flags & INGOT_RELAXED) != 0;
        status = commit_sorted(batch, sorted, appends, owned, relaxed, &wait, err);
    }
    ig_free(sorted);
    ig_free(appends);
    ig_free(owned);
    if (status == INGOT_OK)
        batch->count = 0;
    return status;
}
