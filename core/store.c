/* What every call on a store does: lookups, ownership, appending to the log. */
#include "store.h"

#include "bytes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

ingot_status ig_store_enter(const ingot_store *store, ingot_error *err) {
    if (getpid() != store->pid)
        return ig_fail(err, INGOT_FORKED, "%s was opened by process %ld, before fork", store->path,
                       (long)store->pid);
    return INGOT_OK;
}

ingot_status ig_store_enter_write(const ingot_store *store, ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK && store->read_only)
        status = ig_fail(err, INGOT_READ_ONLY, "%s was opened read-only", store->path);
    return status;
}

ingot_status ig_fail_not_found(ingot_error *err, const ingot_id *id) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    return ig_fail(err, INGOT_NOT_FOUND, "no object %s", hex);
}

uint64_t ig_store_durable_seq(const ingot_store *store) {
    return store->log == NULL ? UINT64_MAX : ig_log_durable_seq(store->log);
}

int64_t ig_store_now_ms(const ingot_store *store) {
    return store->log == NULL ? ig_os->wall_ms() : ig_log_now_ms(store->log);
}

void ingot_store_hash(const ingot_store *store, const void *data, size_t len, ingot_id *ret_id) {
    ig_digest_hash(&store->digest, data, len, ret_id);
}

/* What the filter and the index say. */
static ingot_status look_index(ingot_store *store, const ingot_id *id, bool counted,
                               struct ig_state *ret_state, ingot_error *err) {
    struct ig_content content;
    struct ig_refs refs = {.delta = 0};
    memset(ret_state, 0, sizeof *ret_state);
    if (ig_front_absent(store->front, id))
        return INGOT_OK;
    ig_count(&store->counters.index_lookups, 1);
    ingot_status status = ig_index_content(store->index, id, &content, err);
    if (status == INGOT_NOT_FOUND)
        return INGOT_OK;
    if (status == INGOT_OK && counted)
        status = ig_index_refs(store->index, id, &refs, err);
    if (status != INGOT_OK)
        return status;
    ig_count(&store->counters.index_hits, 1);
    ig_state_from_index(&content, &refs, ret_state);
    return INGOT_OK;
}

ingot_status ig_store_look(ingot_store *store, const ingot_id *id, bool counted,
                           struct ig_state *ret_state, ingot_error *err) {
    static const struct ig_wait forever = {.deadline_ns = UINT64_MAX};
    uint64_t removed_seq;
    if (ig_pend_peek(store->pending, id, ig_store_durable_seq(store), ret_state, &removed_seq))
        return ig_store_settled(store, removed_seq, INGOT_OK, &forever, err);
    ingot_status status = look_index(store, id, counted, ret_state, err);
    /* A count is read in two parts, and cleaning may move it from one to the other meanwhile. */
    for (uint64_t seq = 0; counted && status == INGOT_OK && seq != ret_state->seq;) {
        seq = ret_state->seq;
        status = look_index(store, id, counted, ret_state, err);
    }
    return status;
}

ingot_status ig_store_own(ingot_store *store, const ingot_id *id, const struct ig_wait *wait,
                          struct ig_pend **ret_pend, ingot_error *err) {
    struct ig_pend *pend;
    ingot_status status = ig_pend_own(store->pending, id, wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    if (!pend->resolved) {
        struct ig_state state;
        status = look_index(store, id, true, &state, err);
        if (status != INGOT_OK) {
            ig_pend_disown(store->pending, pend);
            return status;
        }
        ig_pend_resolve(store->pending, pend, &state);
    }
    *ret_pend = pend;
    return INGOT_OK;
}

/* Writes one record at *memory and moves it on. */
static void write_record(uint8_t **memory, struct ig_record *record, const void *body,
                         uint64_t seed) {
    uint64_t footprint = ig_record_footprint(record->body_len);
    uint8_t *at = *memory + IG_RECORD_HEADER;
    record->body_sum = 0;
    if (record->body_len > 0) {
        memcpy(at, body, record->body_len);
        record->body_sum = ig_sum(at, record->body_len, 0);
    }
    memset(at + record->body_len, 0, footprint - IG_RECORD_HEADER - record->body_len);
    ig_record_encode(record, seed, *memory);
    *memory += footprint;
}

/* The sums and the segments' live bytes, as of accepted records; the index follows. */
static void account(ingot_store *store, const struct ig_change *change) {
    ig_lock(&store->totals_lock);
    ig_totals_add(&store->totals, &change->before, &change->after);
    ig_unlock(&store->totals_lock);
    uint64_t was = ig_state_log_bytes(&change->before), is = ig_state_log_bytes(&change->after);
    if (was == is && change->before.segment == change->after.segment)
        return;
    if (was != 0)
        ig_segment_add_live(store->segments, change->before.segment, -(int64_t)was);
    if (is != 0)
        ig_segment_add_live(store->segments, change->after.segment, (int64_t)is);
}

static bool helps_to_reclaim(const struct ig_append *append) {
    const struct ig_record *record = &append->record;
    return append->copied || record->kind == IG_TOMBSTONE || record->kind == IG_PURGE ||
           (record->kind == IG_REF && record->refs < 0);
}

ingot_status ig_store_append(ingot_store *store, struct ig_append *appends, uint32_t count,
                             bool relaxed, const struct ig_wait *wait, struct ig_slot *ret_slot,
                             ingot_error *err) {
    uint64_t bytes = 0;
    bool reclaims = true;
    for (uint32_t i = 0; i < count; i++) {
        bytes += ig_record_footprint(appends[i].record.body_len);
        reclaims = reclaims && helps_to_reclaim(&appends[i]);
    }
    struct ig_slot slot;
    ingot_status status = ig_log_reserve(store->log, bytes, count, reclaims, wait, &slot, err);
    if (status != INGOT_OK)
        return status;
    uint8_t *memory = slot.memory;
    for (uint32_t i = 0; i < count; i++) {
        struct ig_append *append = &appends[i];
        struct ig_change *change = &slot.changes[i];
        append->record.seq = slot.seq + i;
        uint64_t offset = slot.offset + (uint64_t)(memory - slot.memory);
        memset(change, 0, sizeof *change);
        change->id = append->record.id;
        change->seq = append->record.seq;
        change->kind = append->record.kind;
        change->before = append->pend->state;
        change->after = append->pend->state;
        ig_state_apply(&change->after, &append->record, slot.segment, offset, slot.time_ms);
        write_record(&memory, &append->record, append->body, slot.record_seed);
        uint64_t visible_seq = append->copied ? append->pend->visible_seq
                               : relaxed      ? 0
                                              : append->record.seq;
        ig_pend_change(store->pending, append->pend, &change->after, visible_seq, 1);
        account(store, change);
    }
    ig_log_filled(store->log, &slot);
    if (relaxed)
        ig_log_unwaited(store->log);
    *ret_slot = slot;
    return INGOT_OK;
}

ingot_status ig_store_commit(ingot_store *store, const struct ig_slot *slot, bool relaxed,
                             const struct ig_wait *wait, ingot_error *err) {
    if (relaxed || slot->group == NULL)
        return INGOT_OK;
    return ig_log_wait(store->log, slot, wait, err);
}

ingot_status ig_store_settled(ingot_store *store, uint64_t told_seq, ingot_status status,
                              const struct ig_wait *wait, ingot_error *err) {
    if (told_seq <= ig_store_durable_seq(store))
        return status;
    ingot_error error = INGOT_ERROR_INIT;
    ingot_status waited = ig_log_sync(store->log, wait, &error);
    return waited == INGOT_OK ? status : ig_fail(err, waited, "%s", error.message);
}

ingot_status ig_store_drain(ingot_store *store, const struct ig_wait *wait, ingot_error *err) {
    if (store->log == NULL)
        return INGOT_OK;
    ingot_status status = ig_log_sync(store->log, wait, err);
    return status != INGOT_OK ? status : ig_apply_drain(store->apply, wait, err);
}

ingot_status ingot_store_sync(ingot_store *store, const ingot_op *op, ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, 0, &wait, err);
    if (status != INGOT_OK || store->read_only)
        return status;
    return ig_log_sync(store->log, &wait, err);
}
