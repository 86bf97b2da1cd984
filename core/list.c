/* Iterating over objects and resolving shortened ids. */
#include "bytes.h"
#include "store.h"

#include <string.h>

/* A read-only store may hold changes that its index has not taken: a sorted list of ids, walked
 * beside the index, the newer state winning. */
struct walk {
    ingot_store *store;
    struct ig_index_iter *index;
    size_t tail;   /* next of store->tail_ids */
    bool has_held; /* an entry of the index, read ahead */
    ingot_id held;
    struct ig_state held_state;
    bool index_done;
};

struct ingot_iter {
    struct walk walk;
};

static ingot_status walk_open(ingot_store *store, const ingot_id *from, struct walk *ret_walk,
                              ingot_error *err) {
    *ret_walk = (struct walk){.store = store};
    while (from != NULL && ret_walk->tail < store->tail_count &&
           ingot_id_compare(&store->tail_ids[ret_walk->tail], from) < 0)
        ret_walk->tail++;
    return ig_index_iter_open(store->index, from, &ret_walk->index, err);
}

static ingot_status read_ahead(struct walk *walk, ingot_error *err) {
    struct ig_content content;
    struct ig_refs refs;
    if (walk->has_held || walk->index_done)
        return INGOT_OK;
    ingot_status status = ig_index_iter_next(walk->index, &walk->held, &content, &refs, err);
    if (status == INGOT_NOT_FOUND) {
        walk->index_done = true;
        return INGOT_OK;
    }
    if (status == INGOT_OK) {
        ig_state_from_index(&content, &refs, &walk->held_state);
        walk->has_held = true;
    }
    return status;
}

/* The next id and its newest state, which may be that it is gone. */
static ingot_status walk_next(struct walk *walk, ingot_id *ret_id, struct ig_state *ret_state,
                              ingot_error *err) {
    ingot_store *store = walk->store;
    ingot_status status = read_ahead(walk, err);
    if (status != INGOT_OK)
        return status;
    bool in_tail = walk->tail < store->tail_count;
    int order = !in_tail          ? -1
                : !walk->has_held ? 1
                                  : ingot_id_compare(&walk->held, &store->tail_ids[walk->tail]);
    if (!in_tail && !walk->has_held)
        return INGOT_NOT_FOUND;
    if (order <= 0)
        walk->has_held = false;
    if (order < 0) {
        *ret_id = walk->held;
        *ret_state = walk->held_state;
        return INGOT_OK;
    }
    uint64_t removed_seq;
    *ret_id = store->tail_ids[walk->tail++];
    if (!ig_pend_peek(store->pending, ret_id, UINT64_MAX, ret_state, &removed_seq))
        *ret_state = (struct ig_state){.present = false};
    return INGOT_OK;
}

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
    status = walk_open(store, NULL, &iter->walk, err);
    if (status != INGOT_OK) {
        ig_free(iter);
        return status;
    }
    *ret_iter = iter;
    return INGOT_OK;
}

ingot_status ingot_iter_next(ingot_iter *iter, ingot_id *ret_id, ingot_stat *ret_stat,
                             ingot_error *err) {
    struct ig_state state;
    ingot_id id;
    ingot_status status = ig_store_enter(iter->walk.store, err);
    if (status != INGOT_OK)
        return status;
    do {
        status = walk_next(&iter->walk, &id, &state, err);
        if (status != INGOT_OK)
            return status;
    } while (!ig_state_live(&state));
    *ret_id = id;
    if (ret_stat != NULL)
        ig_store_stat_of(&state, ret_stat);
    return INGOT_OK;
}

void ingot_iter_close(ingot_iter *iter) {
    if (iter == NULL || ig_store_enter(iter->walk.store, NULL) != INGOT_OK)
        return;
    ig_index_iter_close(iter->walk.index);
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
    struct walk walk;
    status = ig_store_drain(store, &wait, err);
    if (status == INGOT_OK)
        status = walk_open(store, &first, &walk, err);
    if (status != INGOT_OK)
        return status;
    unsigned matches = 0;
    while (matches < 2) {
        struct ig_state state;
        status = walk_next(&walk, &id, &state, err);
        if (status != INGOT_OK || !has_prefix(&id, &first, digits))
            break;
        if (ig_state_live(&state) && matches++ == 0)
            found = id;
    }
    ig_index_iter_close(walk.index);
    if (status != INGOT_OK && status != INGOT_NOT_FOUND)
        return status;
    if (matches == 0)
        return ig_fail(err, INGOT_NOT_FOUND, "no object %s...", prefix);
    if (matches == 2)
        return ig_fail(err, INGOT_AMBIGUOUS, "more than one object starts with %s", prefix);
    *ret_id = found;
    return INGOT_OK;
}
