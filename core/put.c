/* Putting objects. */
#include "store.h"

#include <string.h>

#define PUT_FLAGS (INGOT_RELAXED | INGOT_NO_REF | INGOT_NO_CACHE)

static ingot_status append_new(ingot_store *store, const struct ig_put *put, struct ig_pend *pend,
                               const struct ig_wait *wait, struct ig_slot *ret_slot,
                               ingot_error *err) {
    struct ig_append append = {
        .record = {.kind = put->out != NULL ? IG_LINK : IG_OBJECT,
                   .size = put->len,
                   .body_len = put->out != NULL ? 0 : put->len,
                   .id = put->id,
                   .refs = (put->flags & INGOT_NO_REF) != 0 ? 0 : 1,
                   .aux = ig_store_now_ms(store)},
        .body = put->data,
        .pend = pend,
    };
    if (put->out != NULL) {
        ingot_status status = ig_large_publish(put->out, &put->id, err);
        if (status != INGOT_OK)
            return status;
    }
    bool relaxed = (put->flags & INGOT_RELAXED) != 0;
    return ig_store_append(store, &append, 1, relaxed, wait, ret_slot, err);
}

/* The bytes are there, perhaps not yet durable: whatever is waited for must cover them too. */
static ingot_status append_duplicate(ingot_store *store, const struct ig_put *put,
                                     struct ig_pend *pend, const struct ig_wait *wait,
                                     struct ig_slot *ret_slot, ingot_error *err) {
    bool settled = pend->state.seq <= ig_store_durable_seq(store);
    /* Without a reference the record still renews the grace period. */
    if ((put->flags & INGOT_NO_REF) != 0 && settled && pend->state.refs > 0) {
        *ret_slot = (struct ig_slot){.group = NULL};
        return INGOT_OK;
    }
    struct ig_append append = {
        .record = {.kind = IG_REF, .id = put->id, .refs = (put->flags & INGOT_NO_REF) != 0 ? 0 : 1},
        .pend = pend,
    };
    bool relaxed = (put->flags & INGOT_RELAXED) != 0;
    return ig_store_append(store, &append, 1, relaxed, wait, ret_slot, err);
}

static ingot_status put_owned(ingot_store *store, struct ig_put *put, struct ig_pend *pend,
                              const struct ig_wait *wait, struct ig_slot *ret_slot,
                              ingot_error *err) {
    bool known = ig_state_live(&pend->state);
    ingot_status status = known ? append_duplicate(store, put, pend, wait, ret_slot, err)
                                : append_new(store, put, pend, wait, ret_slot, err);
    if (status != INGOT_OK)
        return status;
    ig_count(known ? &store->counters.puts_duplicate : &store->counters.puts_new, 1);
    ig_count(&store->counters.put_new_bytes, known ? 0 : put->len);
    if (put->lease != NULL) {
        ig_pend_lease(store->pending, pend);
        *put->lease = pend;
    }
    put->removals = ig_pend_removals(store->pending, &put->id);
    ig_count(&store->counters.puts, 1);
    ig_count(&store->counters.put_bytes, put->len);
    return INGOT_OK;
}

ingot_status ig_store_put_one(ingot_store *store, struct ig_put *put, const struct ig_wait *wait,
                              struct ig_slot *ret_slot, ingot_error *err) {
    struct ig_pend *pend;
    ingot_status status = ig_store_own(store, &put->id, wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    status = put_owned(store, put, pend, wait, ret_slot, err);
    ig_pend_disown(store->pending, pend);
    return status;
}

static ingot_status put_large(ingot_store *store, struct ig_put *put, const struct ig_wait *wait,
                              struct ig_slot *ret_slot, ingot_error *err) {
    struct ig_large_out *out;
    uint64_t size;
    ingot_status status = ig_large_begin(&store->large, &out, err);
    if (status != INGOT_OK)
        return status;
    const uint8_t *data = put->data;
    for (uint64_t at = 0; at < put->len && status == INGOT_OK;) {
        uint64_t len = put->len - at < (1 << 24) ? put->len - at : 1 << 24;
        status = ig_large_append(out, data + at, len, err);
        at += len;
        if (status == INGOT_OK)
            status = ig_wait_check(wait, err);
    }
    if (status == INGOT_OK)
        status = ig_large_seal(out, &put->id, &size, err);
    put->out = out;
    if (status == INGOT_OK)
        status = ig_store_put_one(store, put, wait, ret_slot, err);
    put->out = NULL;
    ig_large_end(out);
    return status;
}

ingot_status ig_store_put_bytes(ingot_store *store, struct ig_put *put, const struct ig_wait *wait,
                                struct ig_slot *ret_slot, ingot_error *err) {
    ig_digest_hash(&store->digest, put->data, put->len, &put->id);
    if (put->len < store->format.large_min)
        return ig_store_put_one(store, put, wait, ret_slot, err);
    struct ig_pend *pend;
    ingot_status status = ig_store_own(store, &put->id, wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    bool live = ig_state_live(&pend->state);
    if (live)
        status = put_owned(store, put, pend, wait, ret_slot, err);
    ig_pend_disown(store->pending, pend);
    /* The file of new bytes is written without owning the id; should another put of the same bytes
     * come first, this one's file is dropped. */
    return live ? status : put_large(store, put, wait, ret_slot, err);
}

/* Written bytes are not in the page cache (O_DIRECT), so they are kept in L1 on the way. */
static void write_through(ingot_store *store, const struct ig_put *put) {
    if ((put->flags & INGOT_NO_CACHE) != 0 || put->len >= store->format.large_min)
        return;
    ingot_buf *buf = ig_buf_new(put->len);
    if (buf == NULL)
        return;
    if (put->len > 0)
        memcpy(ig_buf_bytes(buf), put->data, put->len);
    ig_store_admit(store, &put->id, buf, put->removals);
    ingot_buf_release(buf);
}

ingot_status ingot_store_put(ingot_store *store, const void *data, size_t len, const ingot_op *op,
                             ingot_id *ret_id, ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, PUT_FLAGS, &wait, err);
    if (status == INGOT_OK && len > (uint64_t)INGOT_OBJECT_MAX)
        status = ig_fail(err, INGOT_TOO_LARGE, "object of %zu bytes", len);
    if (status != INGOT_OK)
        return status;
    struct ig_put put = {.data = data, .len = len, .flags = op == NULL ? 0 : op->flags};
    struct ig_slot slot;
    status = ig_store_put_bytes(store, &put, &wait, &slot, err);
    bool relaxed = (put.flags & INGOT_RELAXED) != 0;
    if (status == INGOT_OK)
        status = ig_store_commit(store, &slot, relaxed, &wait, err);
    if (status != INGOT_OK)
        return status;
    write_through(store, &put);
    *ret_id = put.id;
    return INGOT_OK;
}

static ingot_status put_items(ingot_store *store, ingot_put_item *items, size_t count,
                              uint32_t flags, const struct ig_wait *wait, struct ig_slot *ret_last,
                              ingot_error *err) {
    ingot_status first = INGOT_OK;
    for (size_t i = 0; i < count; i++) {
        struct ig_put put = {.data = items[i].data, .len = items[i].len, .flags = flags};
        struct ig_slot slot;
        ingot_error error = INGOT_ERROR_INIT;
        items[i].status =
            put.len > (uint64_t)INGOT_OBJECT_MAX
                ? ig_fail(&error, INGOT_TOO_LARGE, "object of %zu bytes", items[i].len)
                : ig_store_put_bytes(store, &put, wait, &slot, &error);
        if (items[i].status != INGOT_OK) {
            if (first == INGOT_OK)
                first = ig_fail(err, items[i].status, "item %zu: %s", i, error.message);
            continue;
        }
        items[i].id = put.id;
        if (slot.group != NULL)
            *ret_last = slot;
    }
    return first;
}

ingot_status ingot_store_put_batch(ingot_store *store, ingot_put_item *items, size_t count,
                                   const ingot_op *op, ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, PUT_FLAGS, &wait, err);
    if (status != INGOT_OK) {
        for (size_t i = 0; i < count; i++)
            items[i].status = status;
        return status;
    }
    uint32_t flags = op == NULL ? 0 : op->flags;
    struct ig_slot last = {.group = NULL};
    status = put_items(store, items, count, flags, &wait, &last, err);
    /* The log is durable in order: the last record covers all before it. */
    ingot_error error = INGOT_ERROR_INIT;
    ingot_status committed =
        ig_store_commit(store, &last, (flags & INGOT_RELAXED) != 0, &wait, &error);
    if (committed == INGOT_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        if (items[i].status == INGOT_OK)
            items[i].status = committed;
    return status != INGOT_OK ? status : ig_fail(err, committed, "%s", error.message);
}

ingot_status ingot_store_check_duplicate(ingot_store *store, const void *data, size_t len,
                                         ingot_id *ret_id, ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    ingot_id id;
    ig_digest_hash(&store->digest, data, len, &id);
    struct ig_state state;
    status = ig_store_look(store, &id, false, &state, err);
    if (status != INGOT_OK)
        return status;
    *ret_id = id;
    return ig_state_live(&state) ? INGOT_OK : ig_fail_not_found(err, &id);
}
