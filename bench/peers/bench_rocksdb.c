/* RocksDB as an object store: the BLAKE3 of a page is its key, the page its value. Plain, and with
 * values in blob files; compression off, because the pages do not compress; everything else as
 * RocksDB comes. Unlike ingot it does not check whether a key is there before it writes. */
#include "workload.h"

#include <blake3.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#define BLOB UINT32_C(1)    /* values in blob files */
#define NO_SYNC UINT32_C(2) /* a put does not wait for the device */
#define BIG_CACHE                                                                                  \
    UINT32_C(4) /* the block cache holds the data set; else it holds nearly nothing                \
                 */

#define BLOB_MIN 1024
#define BLOOM_BITS 10
#define BIG_CACHE_BYTES ((size_t)1 << 30)
#define SMALL_CACHE_BYTES ((size_t)64 << 10)

struct db {
    rocksdb_t *rocksdb;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
};

static void check(const char *what, char *error) {
    if (error != NULL)
        bench_die("RocksDB %s: %s", what, error);
}

static void *db_open(const char *dir, const struct wl_subject *subject) {
    struct db *db = bench_alloc(sizeof *db);
    char *error = NULL;
    db->cache = rocksdb_cache_create_lru((subject->variant & BIG_CACHE) != 0 ? BIG_CACHE_BYTES
                                                                             : SMALL_CACHE_BYTES);
    db->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(db->table, db->cache);
    rocksdb_block_based_options_set_filter_policy(
        db->table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    db->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_error_if_exists(db->options, 1);
    rocksdb_options_set_compression(db->options, rocksdb_no_compression);
    rocksdb_options_set_block_based_table_factory(db->options, db->table);
    if ((subject->variant & BLOB) != 0) {
        rocksdb_options_set_enable_blob_files(db->options, 1);
        rocksdb_options_set_min_blob_size(db->options, BLOB_MIN);
    }
    db->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(db->write, (subject->variant & NO_SYNC) == 0);
    db->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(db->read, 1);
    db->rocksdb = rocksdb_open(db->options, dir, &error);
    check("open", error);
    return db;
}

static void db_close(void *handle) {
    struct db *db = handle;
    rocksdb_close(db->rocksdb);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void db_hash(void *handle, const void *data, size_t len, uint8_t ret_id[WL_ID]) {
    blake3_hasher hasher;
    (void)handle;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, ret_id, WL_ID);
}

static void db_put(void *handle, const void *data, size_t len) {
    struct db *db = handle;
    uint8_t id[WL_ID];
    char *error = NULL;
    db_hash(db, data, len, id);
    rocksdb_put(db->rocksdb, db->write, (const char *)id, WL_ID, data, len, &error);
    check("put", error);
}

static void db_put_many(void *handle, const uint8_t *pages, unsigned count) {
    struct db *db = handle;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    char *error = NULL;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *page = pages + (size_t)i * WL_PAGE;
        uint8_t id[WL_ID];
        db_hash(db, page, WL_PAGE, id);
        rocksdb_writebatch_put(batch, (const char *)id, WL_ID, (const char *)page, WL_PAGE);
    }
    rocksdb_write(db->rocksdb, db->write, batch, &error);
    check("write", error);
    rocksdb_writebatch_destroy(batch);
}

/* Owned; NULL if there is none. */
static rocksdb_pinnableslice_t *find(struct db *db, const uint8_t id[WL_ID], const char **ret_data,
                                     size_t *ret_len) {
    char *error = NULL;
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned(db->rocksdb, db->read, (const char *)id, WL_ID, &error);
    check("get", error);
    if (slice != NULL)
        *ret_data = rocksdb_pinnableslice_value(slice, ret_len);
    return slice;
}

static void db_read(void *handle, const uint8_t id[WL_ID], void *ret_data, size_t len) {
    const char *data = NULL;
    size_t got = 0;
    rocksdb_pinnableslice_t *slice = find(handle, id, &data, &got);
    if (slice == NULL || got != len)
        bench_die("RocksDB lost an object");
    memcpy(ret_data, data, len);
    rocksdb_pinnableslice_destroy(slice);
}

static uint64_t db_get(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    const char *data = NULL;
    size_t len = 0;
    (void)reader;
    (void)scratch;
    rocksdb_pinnableslice_t *slice = find(handle, id, &data, &len);
    if (slice == NULL || len != WL_PAGE)
        return WL_ABSENT;
    uint64_t serial = wl_serial_of(data);
    rocksdb_pinnableslice_destroy(slice);
    return serial;
}

static uint64_t db_count(void *handle) {
    struct db *db = handle;
    rocksdb_iterator_t *it = rocksdb_create_iterator(db->rocksdb, db->read);
    uint64_t count = 0;
    char *error = NULL;
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it))
        count++;
    rocksdb_iter_get_error(it, &error);
    check("iterate", error);
    rocksdb_iter_destroy(it);
    return count;
}

/* Reads come from tables then, as they do in a store that was not just written. */
static void flush(void *handle) {
    struct db *db = handle;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *error = NULL;
    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush(db->rocksdb, options, &error);
    check("flush", error);
    rocksdb_flushoptions_destroy(options);
}

#define SUBJECT(subject_name, subject_variant)                                                     \
    {                                                                                              \
        .name = (subject_name), .variant = (subject_variant), .open = db_open, .close = db_close,  \
        .hash = db_hash, .put = db_put, .put_many = db_put_many, .read = db_read,                  \
        .count = db_count                                                                          \
    }

static const struct wl_subject plain = SUBJECT("rocksdb", 0);
static const struct wl_subject plain_relaxed = SUBJECT("rocksdb", NO_SYNC);
static const struct wl_subject plain_cached = SUBJECT("rocksdb", NO_SYNC | BIG_CACHE);
static const struct wl_subject blob = SUBJECT("rocksdb_blob", BLOB);
static const struct wl_subject blob_relaxed = SUBJECT("rocksdb_blob", BLOB | NO_SYNC);

static void list_cases(struct bench_list *list, const struct bench_options *options) {
    static const unsigned writers[] = {1, 850};
    static const unsigned readers[] = {1, 2};
    static const unsigned batches[] = {64, 256};
    static const struct wl_get cached = {.name = "get_cached", .get = db_get, .prepare = flush};
    static const struct wl_get verified = {.name = "get_verified", .get = db_get, .prepare = flush};
    static const struct wl_get miss = {
        .name = "get_miss", .get = db_get, .expect = WL_ABSENT, .prepare = flush};
    (void)options;
    wl_add_puts(list, &plain, "put_durable", writers, 2);
    wl_add_puts(list, &plain_relaxed, "put_relaxed", writers, 2);
    wl_add_batches(list, &plain, batches, 2);
    wl_add_gets(list, &plain_cached, &cached, readers, 2);
    wl_add_gets(list, &plain_relaxed, &verified, readers, 2);
    wl_add_gets(list, &plain_cached, &miss, readers, 2);
    wl_add_puts(list, &blob, "put_durable", writers, 2);
    wl_add_batches(list, &blob, batches, 2);
    wl_add_gets(list, &blob_relaxed, &verified, readers, 2);
}

/* Comes from the build: the header that has it is C++. */
static const char *version(void) { return BENCH_ROCKSDB_VERSION; }

int main(int argc, char **argv) {
    static const struct bench_suite suite = {list_cases, "RocksDB", version};
    return bench_main(argc, argv, &suite);
}
