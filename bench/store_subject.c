#include "store_subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_DIR_MAX (PATH_MAX + 16)
#define BIG_CACHE_BYTES (UINT64_C(1) << 30)

void store_must(const char *what, ingot_status status, const ingot_error *err) {
    if (status != INGOT_OK)
        bench_die("ingot %s: %s: %s", what, ingot_status_name(status), err->message);
}

ingot_stats store_stats_of(ingot_store *store) {
    ingot_stats stats = INGOT_STATS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    store_must("stats", ingot_store_stats(store, &stats, &err), &err);
    return stats;
}

static void *db_open(const char *dir, const struct wl_subject *subject) {
    struct store_db *db = bench_alloc(sizeof *db);
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    char path[STORE_DIR_MAX];
    snprintf(path, sizeof path, "%s/store", dir);
    db->variant = subject->variant;
    if ((subject->variant & STORE_BIG_CACHE) != 0)
        options.l1_budget_bytes = BIG_CACHE_BYTES;
    store_must("create", ingot_store_create(path, NULL, &err), &err);
    store_must("open", ingot_store_open(path, &options, &db->store, &err), &err);
    if ((subject->variant & STORE_NO_CACHE) != 0)
        store_must("cache_resize", ingot_cache_resize(db->store, 0, &err), &err);
    return db;
}

static void db_close(void *handle) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    store_must("close", ingot_store_close(db->store, &err), &err);
    free(db);
}

static ingot_op op_of(const struct store_db *db) {
    ingot_op op = INGOT_OP_INIT;
    op.flags = ((db->variant & STORE_RELAXED) != 0 ? INGOT_RELAXED : 0) |
               ((db->variant & STORE_NO_CACHE) != 0 ? INGOT_NO_CACHE : 0);
    return op;
}

static void db_hash(void *handle, const void *data, size_t len, uint8_t ret_id[WL_ID]) {
    struct store_db *db = handle;
    ingot_id id;
    ingot_store_hash(db->store, data, len, &id);
    memcpy(ret_id, id.bytes, WL_ID);
}

static void db_put(void *handle, const void *data, size_t len) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = op_of(db);
    ingot_id id;
    store_must("put", ingot_store_put(db->store, data, len, &op, &id, &err), &err);
}

static void db_put_many(void *handle, const uint8_t *pages, unsigned count) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = op_of(db);
    ingot_put_item items[WL_BATCH_MAX];
    if (count > WL_BATCH_MAX)
        bench_die("batch of %u", count);
    for (unsigned i = 0; i < count; i++)
        items[i] = (ingot_put_item){.data = pages + (size_t)i * WL_PAGE, .len = WL_PAGE};
    store_must("put_batch", ingot_store_put_batch(db->store, items, count, &op, &err), &err);
}

static void db_read(void *handle, const uint8_t id[WL_ID], void *ret_data, size_t len) {
    struct store_db *db = handle;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_id wanted;
    size_t got = 0;
    memcpy(wanted.bytes, id, WL_ID);
    store_must("get_into",
               ingot_store_get_into(db->store, &wanted, ret_data, len, NULL, &got, &err), &err);
    if (got != len)
        bench_die("ingot: an object of %zu bytes has %zu", len, got);
}

static uint64_t db_count(void *handle) {
    struct store_db *db = handle;
    return store_stats_of(db->store).objects;
}

#define SUBJECT(subject_variant)                                                                   \
    {                                                                                              \
        .name = "ingot", .variant = (subject_variant), .open = db_open, .close = db_close,         \
        .hash = db_hash, .put = db_put, .put_many = db_put_many, .read = db_read,                  \
        .count = db_count                                                                          \
    }

const struct wl_subject store_durable = SUBJECT(0);
const struct wl_subject store_relaxed = SUBJECT(STORE_RELAXED);
const struct wl_subject store_cached = SUBJECT(STORE_RELAXED | STORE_BIG_CACHE);
const struct wl_subject store_uncached = SUBJECT(STORE_RELAXED | STORE_NO_CACHE);
