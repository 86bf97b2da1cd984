/* Getting objects: L1, then the log or the object file, verified. */
#include "store.h"

#include <inttypes.h>
#include <string.h>

/* A place found in the index may be cleaned away before it is read: look again that often. */
#define LOOK_AGAIN 16

static ingot_status fail_damaged(ingot_store *store, const ingot_id *id,
                                 const struct ig_state *state, ingot_error *err) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    ig_count(&store->counters.corruptions, 1);
    return ig_fail(err, INGOT_CORRUPT,
                   "object %s is damaged: log segment %" PRIu32 " at %" PRIu64 " holds other bytes",
                   hex, state->segment, state->offset);
}

static ingot_status read_log(ingot_store *store, const ingot_id *id, const struct ig_state *state,
                             void *buffer, ingot_error *err) {
    uint64_t offset = state->offset + IG_RECORD_HEADER;
    size_t len = (size_t)state->size;
    ingot_status status = INGOT_NOT_FOUND;
    if (state->seq > ig_store_durable_seq(store))
        status = ig_log_read_staged(store->log, state->segment, offset, len, buffer);
    if (status == INGOT_NOT_FOUND) {
        struct ig_segment segment;
        status = ig_segment_acquire(store->segments, state->segment, &segment, err);
        if (status != INGOT_OK)
            return status;
        status = ig_read_all(segment.fd, buffer, len, offset, "the log", err);
        ig_segment_release(store->segments, &segment);
    }
    ig_count(&store->counters.gets_log, 1);
    if (status == INGOT_CORRUPT ||
        (status == INGOT_OK && !ig_digest_matches(&store->digest, buffer, len, id)))
        return fail_damaged(store, id, state, err);
    return status;
}

static ingot_status read_file(ingot_store *store, const ingot_id *id, const struct ig_state *state,
                              void *buffer, ingot_error *err) {
    struct ig_large_in *in;
    ingot_status status = ig_large_open(&store->large, id, state->size, &in, err);
    if (status == INGOT_OK) {
        status = ig_large_read(in, 0, buffer, (size_t)state->size, err);
        ig_large_close(in);
    }
    ig_count(&store->counters.gets_file, 1);
    if (status == INGOT_CORRUPT)
        ig_count(&store->counters.corruptions, 1);
    return status;
}

ingot_status ig_store_read(ingot_store *store, const ingot_id *id, const struct ig_state *state,
                           void *buffer, ingot_error *err) {
    return state->file ? read_file(store, id, state, buffer, err)
                       : read_log(store, id, state, buffer, err);
}

/* True if the object has moved or gone since `state` was looked up: reading it failed for that. */
static bool moved(ingot_store *store, const ingot_id *id, const struct ig_state *state) {
    struct ig_state now;
    return ig_store_look(store, id, false, &now, NULL) == INGOT_OK &&
           (!ig_state_live(&now) || now.seq != state->seq);
}

/* Looks the object up and hands it to `read`, again if it moved meanwhile. */
static ingot_status look_and_read(ingot_store *store, const ingot_id *id,
                                  ingot_status (*read)(void *context, const struct ig_state *state,
                                                       ingot_error *err),
                                  void *context, ingot_error *err) {
    for (unsigned i = 0;; i++) {
        struct ig_state state;
        ingot_status status = ig_store_look(store, id, false, &state, err);
        if (status != INGOT_OK)
            return status;
        if (!ig_state_live(&state))
            return ig_fail_not_found(err, id);
        status = read(context, &state, err);
        bool place_gone = status == INGOT_NOT_FOUND || status == INGOT_CORRUPT;
        if (!place_gone || i == LOOK_AGAIN || !moved(store, id, &state)) {
            if (status == INGOT_NOT_FOUND)
                return fail_damaged(store, id, &state, err);
            return status;
        }
    }
}

struct admission {
    ingot_store *store;
    const ingot_id *id;
    ingot_buf *buf;
};

static void admit(void *context) {
    const struct admission *admission = context;
    ig_l1_insert(admission->store->l1, admission->id, admission->buf);
}

void ig_store_admit(ingot_store *store, const ingot_id *id, ingot_buf *buf, uint64_t removals) {
    struct admission admission = {.store = store, .id = id, .buf = buf};
    ig_pend_if_unchanged(store->pending, id, removals, admit, &admission);
}

struct whole {
    ingot_store *store;
    const ingot_id *id;
    ingot_buf *buf;
};

static ingot_status read_whole(void *context, const struct ig_state *state, ingot_error *err) {
    struct whole *whole = context;
    if (state->size > (uint64_t)INGOT_VIEW_MAX)
        return ig_fail(err, INGOT_TOO_LARGE,
                       "object of %" PRIu64 " bytes: read it by range or with a reader",
                       state->size);
    ingot_buf *buf = ig_buf_new((size_t)state->size);
    if (buf == NULL)
        return ig_fail_memory(err, "an object");
    ingot_status status = ig_store_read(whole->store, whole->id, state, ig_buf_bytes(buf), err);
    if (status == INGOT_OK)
        whole->buf = buf;
    else
        ingot_buf_release(buf);
    return status;
}

ingot_status ig_store_get_buf(ingot_store *store, const ingot_id *id, bool cache,
                              ingot_buf **ret_buf, ingot_error *err) {
    ingot_buf *buf = ig_l1_find(store->l1, id);
    if (buf != NULL) {
        ig_count(&store->counters.gets_l1, 1);
    } else {
        uint64_t removals = ig_pend_removals(store->pending, id);
        struct whole whole = {.store = store, .id = id};
        ingot_status status = look_and_read(store, id, read_whole, &whole, err);
        if (status != INGOT_OK)
            return status;
        buf = whole.buf;
        if (cache)
            ig_store_admit(store, id, buf, removals);
    }
    ig_count(&store->counters.gets, 1);
    ig_count(&store->counters.get_bytes, ingot_buf_size(buf));
    *ret_buf = buf;
    return INGOT_OK;
}

static ingot_status begin_get(ingot_store *store, const ingot_op *op, bool *ret_cache,
                              ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_NO_CACHE, &wait, err);
    *ret_cache = op == NULL || (op->flags & INGOT_NO_CACHE) == 0;
    return status;
}

ingot_status ingot_store_get(ingot_store *store, const ingot_id *id, const ingot_op *op,
                             ingot_buf **ret_buf, ingot_error *err) {
    bool cache;
    ingot_status status = begin_get(store, op, &cache, err);
    return status != INGOT_OK ? status : ig_store_get_buf(store, id, cache, ret_buf, err);
}

ingot_status ingot_store_get_into(ingot_store *store, const ingot_id *id, void *buffer,
                                  size_t capacity, const ingot_op *op, size_t *ret_len,
                                  ingot_error *err) {
    bool cache;
    ingot_buf *buf;
    ingot_status status = begin_get(store, op, &cache, err);
    if (status == INGOT_OK)
        status = ig_store_get_buf(store, id, cache, &buf, err);
    if (status != INGOT_OK)
        return status;
    size_t len = ingot_buf_size(buf);
    if (len > capacity)
        status = ig_fail(err, INGOT_TOO_LARGE, "object of %zu bytes, room for %zu", len, capacity);
    else
        memcpy(buffer, ingot_buf_data(buf), len);
    ingot_buf_release(buf);
    if (status == INGOT_OK)
        *ret_len = len;
    return status;
}

ingot_status ingot_store_get_batch(ingot_store *store, ingot_get_item *items, size_t count,
                                   const ingot_op *op, ingot_error *err) {
    bool cache;
    ingot_status first = begin_get(store, op, &cache, err);
    bool usable = first == INGOT_OK;
    for (size_t i = 0; i < count; i++) {
        ingot_error error = INGOT_ERROR_INIT;
        items[i].buf = NULL;
        items[i].status =
            usable ? ig_store_get_buf(store, &items[i].id, cache, &items[i].buf, &error) : first;
        if (items[i].status != INGOT_OK && first == INGOT_OK)
            first = ig_fail(err, items[i].status, "item %zu: %s", i, error.message);
    }
    return first;
}

struct range {
    ingot_store *store;
    const ingot_id *id;
    uint64_t offset;
    void *buffer;
    size_t len; /* wanted */
    size_t got;
    bool cache;
};

static ingot_status read_range(void *context, const struct ig_state *state, ingot_error *err) {
    struct range *range = context;
    uint64_t left = range->offset < state->size ? state->size - range->offset : 0;
    size_t len = range->len < left ? range->len : (size_t)left;
    range->got = len;
    if (len == 0)
        return INGOT_OK;
    if (state->file) {
        struct ig_large_in *in;
        ingot_status status = ig_large_open(&range->store->large, range->id, state->size, &in, err);
        if (status == INGOT_OK) {
            status = ig_large_read(in, range->offset, range->buffer, len, err);
            ig_large_close(in);
        }
        ig_count(&range->store->counters.gets_file, 1);
        return status;
    }
    ingot_buf *buf;
    ingot_status status = ig_store_get_buf(range->store, range->id, range->cache, &buf, err);
    if (status != INGOT_OK)
        return status;
    memcpy(range->buffer, (const uint8_t *)ingot_buf_data(buf) + range->offset, len);
    ingot_buf_release(buf);
    return INGOT_OK;
}

ingot_status ingot_store_get_range(ingot_store *store, const ingot_id *id, uint64_t offset,
                                   void *buffer, size_t len, const ingot_op *op, size_t *ret_len,
                                   ingot_error *err) {
    struct range range = {.store = store, .id = id, .offset = offset, .buffer = buffer, .len = len};
    ingot_status status = begin_get(store, op, &range.cache, err);
    if (status == INGOT_OK)
        status = look_and_read(store, id, read_range, &range, err);
    if (status != INGOT_OK)
        return status;
    *ret_len = range.got;
    return INGOT_OK;
}

ingot_status ingot_store_has(ingot_store *store, const ingot_id *id, ingot_error *err) {
    struct ig_state state;
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_store_look(store, id, false, &state, err);
    if (status != INGOT_OK)
        return status;
    return ig_state_live(&state) ? INGOT_OK : ig_fail_not_found(err, id);
}

struct check_read {
    ingot_store *store;
    const ingot_id *id;
};

static ingot_status read_and_drop(void *context, const struct ig_state *state, ingot_error *err) {
    const struct check_read *check = context;
    if (state->file)
        return ig_large_verify(&check->store->large, check->id, state->size, err);
    void *buffer = ig_alloc((size_t)state->size);
    if (buffer == NULL)
        return ig_fail_memory(err, "an object");
    ingot_status status = ig_store_read(check->store, check->id, state, buffer, err);
    ig_free(buffer);
    return status;
}

ingot_status ingot_store_verify(ingot_store *store, const ingot_id *id, const ingot_op *op,
                                ingot_error *err) {
    bool cache;
    ingot_status status = begin_get(store, op, &cache, err);
    struct check_read check = {.store = store, .id = id};
    return status != INGOT_OK ? status : look_and_read(store, id, read_and_drop, &check, err);
}

/* ---- The memory cache, by hand ---- */

void ingot_cache_stats(const ingot_store *store, ingot_cache_info *ret_info) {
    *ret_info = (ingot_cache_info){.entries = 0};
    if (ig_store_enter(store, NULL) == INGOT_OK)
        ig_l1_info(store->l1, ret_info);
}

ingot_status ingot_cache_get(ingot_store *store, const ingot_id *id, ingot_buf **ret_buf) {
    if (ig_store_enter(store, NULL) != INGOT_OK)
        return INGOT_FORKED;
    ingot_buf *buf = ig_l1_find(store->l1, id);
    if (buf == NULL)
        return INGOT_NOT_FOUND;
    *ret_buf = buf;
    return INGOT_OK;
}

ingot_status ingot_cache_set(ingot_store *store, const ingot_id *id, ingot_error *err) {
    ingot_buf *buf;
    ingot_status status = ingot_store_get(store, id, NULL, &buf, err);
    if (status == INGOT_OK)
        ingot_buf_release(buf);
    return status;
}

uint64_t ingot_cache_evict(ingot_store *store, const ingot_id *id) {
    if (ig_store_enter(store, NULL) != INGOT_OK)
        return 0;
    if (id == NULL)
        return ig_l1_clear(store->l1);
    return ig_l1_remove(store->l1, id) ? 1 : 0;
}

ingot_status ingot_cache_resize(ingot_store *store, uint64_t budget_bytes, ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        ig_l1_resize(store->l1, budget_bytes);
    return status;
}
