/* Iterating over objects and resolving shortened ids. */
#include "bytes.h"
#include "store.h"

#include <string.h>

struct ingot_iter {
    ingot_store *store;
    struct ig_index_iter *index;
};

ingot_status ingot_iter_open(ingot_store *store, ingot_iter **ret_iter, ingot_error *err) {
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_store_drain(store, &wait, err);
    if (status != INGOT_OK)
        return status;
    ingot_iter *iter = ig_alloc(sizeof *iter);
    if (iter == NULL)
        return ig_fail_memory(err, "an iterator");
    iter->store = store;
    status = ig_index_iter_open(store->index, NULL, &iter->index, err);
    if (status != INGOT_OK) {
        ig_free(iter);
        return status;
    }
    *ret_iter = iter;
    return INGOT_OK;
}

/* Read-only stores may hold changes that their index has not taken: those come from pending. */
static ingot_status next_state(ingot_store *store, struct ig_index_iter *iter, ingot_id *ret_id,
                               struct ig_state *ret_state, ingot_error *err) {
    struct ig_content content;
    struct ig_refs refs;
    ingot_status status = ig_index_iter_next(iter, ret_id, &content, &refs, err);
    if (status != INGOT_OK)
        return status;
    if (!store->read_only || !ig_pend_peek(store->pending, ret_id, UINT64_MAX, ret_state))
        ig_state_from_index(&content, &refs, ret_state);
    return INGOT_OK;
}

ingot_status ingot_iter_next(ingot_iter *iter, ingot_id *ret_id, ingot_stat *ret_stat,
                             ingot_error *err) {
    struct ig_state state;
    ingot_id id;
    do {
        ingot_status status = next_state(iter->store, iter->index, &id, &state, err);
        if (status != INGOT_OK)
            return status;
    } while (!ig_state_live(&state));
    *ret_id = id;
    if (ret_stat != NULL)
        ig_store_stat_of(&state, ret_stat);
    return INGOT_OK;
}

void ingot_iter_close(ingot_iter *iter) {
    if (iter == NULL)
        return;
    ig_index_iter_close(iter->index);
    ig_free(iter);
}

static ingot_status parse_prefix(const char *prefix, ingot_id *ret_first, size_t *ret_len,
                                 ingot_error *err) {
    size_t len = strnlen(prefix, INGOT_ID_HEX + 1);
    char hex[INGOT_ID_HEX + 1];
    memset(hex, '0', INGOT_ID_HEX);
    hex[INGOT_ID_HEX] = '\0';
    if (len < INGOT_ID_PREFIX_MIN || len > INGOT_ID_HEX)
        return ig_fail(err, INGOT_USAGE, "malformed id '%.72s': %d to %d hex digits", prefix,
                       INGOT_ID_PREFIX_MIN, INGOT_ID_HEX);
    memcpy(hex, prefix, len);
    for (size_t i = 0; i < len; i++)
        if (ig_hex_digit(prefix[i]) < 0)
            return ig_fail(err, INGOT_USAGE, "malformed id '%.72s': character %zu is no hex digit",
                           prefix, i + 1);
    *ret_len = len;
    return ingot_id_parse(hex, ret_first, err);
}

static bool has_prefix(const ingot_id *id, const ingot_id *first, size_t digits) {
    if (memcmp(id->bytes, first->bytes, digits / 2) != 0)
        return false;
    return digits % 2 == 0 || id->bytes[digits / 2] >> 4 == first->bytes[digits / 2] >> 4;
}

ingot_status ingot_store_resolve(ingot_store *store, const char *prefix, ingot_id *ret_id,
                                 ingot_error *err) {
    ingot_id first, found, id;
    size_t digits = 0;
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = parse_prefix(prefix, &first, &digits, err);
    if (status != INGOT_OK)
        return status;
    if (digits == INGOT_ID_HEX) {
        status = ingot_store_has(store, &first, err);
        if (status == INGOT_OK)
            *ret_id = first;
        return status;
    }
    struct ig_index_iter *iter;
    status = ig_store_drain(store, &wait, err);
    if (status == INGOT_OK)
        status = ig_index_iter_open(store->index, &first, &iter, err);
    if (status != INGOT_OK)
        return status;
    unsigned matches = 0;
    while (matches < 2) {
        struct ig_state state;
        status = next_state(store, iter, &id, &state, err);
        if (status != INGOT_OK || !has_prefix(&id, &first, digits))
            break;
        if (ig_state_live(&state) && matches++ == 0)
            found = id;
    }
    ig_index_iter_close(iter);
    if (status != INGOT_OK && status != INGOT_NOT_FOUND)
        return status;
    if (matches == 0)
        return ig_fail(err, INGOT_NOT_FOUND, "no object %s...", prefix);
    if (matches == 2)
        return ig_fail(err, INGOT_AMBIGUOUS, "more than one object starts with %s", prefix);
    *ret_id = found;
    return INGOT_OK;
}
