/* LMDB as an object store: the BLAKE3 of a page is its key, the page its value. One transaction a
 * put, and one a batch. Reads are zero-copy from the memory map and LMDB keeps no checksums, so
 * get_verified adds the BLAKE3 that ingot computes too. */
#include "workload.h"

#include <blake3.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#define NO_SYNC UINT32_C(1) /* a commit does not wait for the device */

#define MAP_BYTES ((size_t)64 << 30) /* address space, not disk */
#define READERS 1024

struct db {
    MDB_env *env;
    MDB_dbi dbi;
};

struct reader {
    MDB_txn *txn; /* reset between gets */
};

static void check(const char *what, int status) {
    if (status != 0)
        bench_die("LMDB %s: %s", what, mdb_strerror(status));
}

static void *db_open(const char *dir, const struct wl_subject *subject) {
    struct db *db = bench_alloc(sizeof *db);
    MDB_txn *txn = NULL;
    check("create", mdb_env_create(&db->env));
    check("map size", mdb_env_set_mapsize(db->env, MAP_BYTES));
    check("readers", mdb_env_set_maxreaders(db->env, READERS));
    check("open",
          mdb_env_open(db->env, dir, (subject->variant & NO_SYNC) != 0 ? MDB_NOSYNC : 0, 0600));
    check("begin", mdb_txn_begin(db->env, NULL, 0, &txn));
    check("open database", mdb_dbi_open(txn, NULL, 0, &db->dbi));
    check("commit", mdb_txn_commit(txn));
    return db;
}

static void db_close(void *handle) {
    struct db *db = handle;
    mdb_env_close(db->env);
    free(db);
}

static void db_hash(void *handle, const void *data, size_t len, uint8_t ret_id[WL_ID]) {
    blake3_hasher hasher;
    (void)handle;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, ret_id, WL_ID);
}

/* LMDB does not write through the pointers that it is given. */
static MDB_val value_of(const void *data, size_t len) {
    MDB_val value = {.mv_size = len};
    memcpy(&value.mv_data, &data, sizeof data);
    return value;
}

static void db_put_many(void *handle, const uint8_t *pages, unsigned count) {
    struct db *db = handle;
    uint8_t(*ids)[WL_ID] = bench_alloc(count * sizeof *ids);
    MDB_txn *txn = NULL;
    /* Outside the transaction: it holds the lock of all writers. */
    for (unsigned i = 0; i < count; i++)
        db_hash(db, pages + (size_t)i * WL_PAGE, WL_PAGE, ids[i]);
    check("begin", mdb_txn_begin(db->env, NULL, 0, &txn));
    for (unsigned i = 0; i < count; i++) {
        MDB_val key = value_of(ids[i], WL_ID);
        MDB_val value = value_of(pages + (size_t)i * WL_PAGE, WL_PAGE);
        check("put", mdb_put(txn, db->dbi, &key, &value, MDB_NOOVERWRITE));
    }
    check("commit", mdb_txn_commit(txn));
    free(ids);
}

static void db_put(void *handle, const void *data, size_t len) {
    (void)len;
    db_put_many(handle, data, 1);
}

static void *reader_new(void *handle) {
    struct db *db = handle;
    struct reader *reader = bench_alloc(sizeof *reader);
    check("begin", mdb_txn_begin(db->env, NULL, MDB_RDONLY, &reader->txn));
    mdb_txn_reset(reader->txn);
    return reader;
}

static void reader_free(void *handle) {
    struct reader *reader = handle;
    mdb_txn_abort(reader->txn);
    free(reader);
}

/* The value stays valid until the transaction is reset. */
static int find(struct db *db, struct reader *reader, const uint8_t id[WL_ID], MDB_val *ret_value) {
    MDB_val key = value_of(id, WL_ID);
    check("renew", mdb_txn_renew(reader->txn));
    int status = mdb_get(reader->txn, db->dbi, &key, ret_value);
    if (status != MDB_NOTFOUND)
        check("get", status);
    return status;
}

static void db_read(void *handle, const uint8_t id[WL_ID], void *ret_data, size_t len) {
    struct reader *reader = reader_new(handle);
    MDB_val value = {0, NULL};
    if (find(handle, reader, id, &value) != 0 || value.mv_size != len)
        bench_die("LMDB lost an object");
    memcpy(ret_data, value.mv_data, len);
    reader_free(reader);
}

static uint64_t get_view(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct reader *r = reader;
    MDB_val value = {0, NULL};
    uint64_t found = WL_ABSENT;
    (void)scratch;
    if (find(handle, r, id, &value) == 0 && value.mv_size == WL_PAGE)
        found = wl_serial_of(value.mv_data);
    mdb_txn_reset(r->txn);
    return found;
}

static uint64_t get_copy(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct reader *r = reader;
    MDB_val value = {0, NULL};
    uint64_t found = WL_ABSENT;
    if (find(handle, r, id, &value) == 0 && value.mv_size == WL_PAGE) {
        memcpy(scratch, value.mv_data, WL_PAGE);
        found = wl_serial_of(scratch);
    }
    mdb_txn_reset(r->txn);
    return found;
}

static uint64_t get_verified(void *handle, void *reader, const uint8_t id[WL_ID], void *scratch) {
    struct reader *r = reader;
    MDB_val value = {0, NULL};
    uint8_t digest[WL_ID];
    uint64_t found = WL_ABSENT;
    (void)scratch;
    if (find(handle, r, id, &value) == 0 && value.mv_size == WL_PAGE) {
        db_hash(handle, value.mv_data, WL_PAGE, digest);
        if (memcmp(digest, id, WL_ID) != 0)
            bench_die("LMDB returned other bytes");
        found = wl_serial_of(value.mv_data);
    }
    mdb_txn_reset(r->txn);
    return found;
}

static uint64_t db_count(void *handle) {
    struct db *db = handle;
    MDB_stat stat;
    check("stat", mdb_env_stat(db->env, &stat));
    return stat.ms_entries;
}

#define SUBJECT(subject_variant)                                                                   \
    {                                                                                              \
        .name = "lmdb", .variant = (subject_variant), .open = db_open, .close = db_close,          \
        .hash = db_hash, .put = db_put, .put_many = db_put_many, .read = db_read,                  \
        .count = db_count, .reader_new = reader_new, .reader_free = reader_free                    \
    }

static const struct wl_subject durable = SUBJECT(0);
static const struct wl_subject relaxed = SUBJECT(NO_SYNC);

static void list_cases(struct bench_list *list, const struct bench_options *options) {
    static const unsigned writers[] = {1, 850};
    static const unsigned readers[] = {1, 2};
    static const unsigned batches[] = {64, 256};
    static const struct wl_get gets[] = {
        {.name = "get_view", .get = get_view},
        {.name = "get_copy", .get = get_copy},
        {.name = "get_verified", .get = get_verified},
        {.name = "get_miss", .get = get_view, .expect = WL_ABSENT}};
    (void)options;
    wl_add_puts(list, &durable, "put_durable", writers, 2);
    wl_add_puts(list, &relaxed, "put_relaxed", writers, 2);
    wl_add_batches(list, &durable, batches, 2);
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++)
        wl_add_gets(list, &relaxed, &gets[i], readers, 2);
}

static const char *version(void) { return mdb_version(NULL, NULL, NULL); }

int main(int argc, char **argv) {
    static const struct bench_suite suite = {list_cases, "LMDB", version};
    return bench_main(argc, argv, &suite);
}
