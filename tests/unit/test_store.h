/* What the tests of the store share: a scratch store and statuses that explain themselves. */
#ifndef TEST_STORE_H
#define TEST_STORE_H

#include <ingot/ingot.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define HOUR_MS INT64_C(3600000)
#define LARGE_MIN (256 * KIB)

struct fixture {
    char scratch[512];
    char path[520]; /* of the store */
    ingot_store *store;
};

static ingot_error err = INGOT_ERROR_INIT;

static inline void expect_status(ingot_status want, ingot_status got, const char *call,
                                 const char *file, int line) {
    if (got != want)
        fail_msg("%s:%d: %s is %s, not %s (%s)", file, line, call, ingot_status_name(got),
                 ingot_status_name(want), err.message);
}
#define expect(want, call) expect_status((want), (call), #call, __FILE__, __LINE__)
#define expect_ok(call) expect(INGOT_OK, call)

static inline int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    snprintf(f->scratch, sizeof f->scratch, "%s/ingot-test-XXXXXX",
             base == NULL || *base == '\0' ? "/tmp" : base);
    assert_non_null(mkdtemp(f->scratch));
    snprintf(f->path, sizeof f->path, "%s/store", f->scratch);
    *state = f;
    return 0;
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int fixture_teardown(void **state) {
    struct fixture *f = *state;
    ingot_store_close(f->store, NULL);
    nftw(f->scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Small segments and a small limit for large objects, so that little data exercises much. */
static inline void create_with(struct fixture *f, uint32_t digest, const uint8_t *key) {
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    options.digest = digest;
    options.key = key;
    options.large_min = LARGE_MIN;
    options.segment_size = MIB;
    expect_ok(ingot_store_create(f->path, &options, &err));
}

static inline void open_with(struct fixture *f, const ingot_open_options *options) {
    expect_ok(ingot_store_open(f->path, options, &f->store, &err));
}

static inline void close_store(struct fixture *f) {
    ingot_store *store = f->store;
    f->store = NULL;
    expect_ok(ingot_store_close(store, &err));
}

static inline void reopen(struct fixture *f) {
    close_store(f);
    open_with(f, NULL);
}

/* Setup of tests that want an open store with everything at its default. */
static inline int store_setup(void **state) {
    fixture_setup(state);
    create_with(*state, 0, NULL);
    open_with(*state, NULL);
    return 0;
}

/* Bytes that depend on `seed` alone. */
static inline uint8_t *bytes_of(uint64_t seed, size_t len) {
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)(x >> 32);
    }
    return bytes;
}

static inline ingot_id put_flags(struct fixture *f, const void *data, size_t len, uint32_t flags) {
    ingot_op op = INGOT_OP_INIT;
    ingot_id id;
    op.flags = flags;
    expect_ok(ingot_store_put(f->store, data, len, &op, &id, &err));
    return id;
}

static inline ingot_id put_seed(struct fixture *f, uint64_t seed, size_t len) {
    uint8_t *bytes = bytes_of(seed, len);
    ingot_id id = put_flags(f, bytes, len, 0);
    free(bytes);
    return id;
}

static inline ingot_id put_text(struct fixture *f, const char *text) {
    return put_flags(f, text, strlen(text), 0);
}

/* Without a reference. */
static inline ingot_id put_loose(struct fixture *f, const char *text) {
    return put_flags(f, text, strlen(text), INGOT_NO_REF);
}

static inline void expect_bytes(struct fixture *f, const ingot_id *id, const void *data,
                                size_t len) {
    ingot_buf *buf = NULL;
    expect_ok(ingot_store_get(f->store, id, NULL, &buf, &err));
    assert_int_equal(ingot_buf_size(buf), len);
    if (len > 0)
        assert_memory_equal(ingot_buf_data(buf), data, len);
    ingot_buf_release(buf);
}

static inline void expect_seed(struct fixture *f, const ingot_id *id, uint64_t seed, size_t len) {
    uint8_t *bytes = bytes_of(seed, len);
    expect_bytes(f, id, bytes, len);
    free(bytes);
}

static inline void expect_refs(struct fixture *f, const ingot_id *id, int64_t want) {
    int64_t refs = -1;
    expect_ok(ingot_store_refcount(f->store, id, &refs, &err));
    assert_int_equal(refs, want);
}

static inline void unref(struct fixture *f, const ingot_id *id) {
    expect_ok(ingot_store_unref(f->store, id, NULL, NULL, &err));
}

static inline void expect_same_id(const ingot_id *a, const ingot_id *b) {
    assert_memory_equal(a->bytes, b->bytes, INGOT_ID_BYTES);
}

static inline ingot_stats stats_of(struct fixture *f) {
    ingot_stats stats = INGOT_STATS_INIT;
    expect_ok(ingot_store_stats(f->store, &stats, &err));
    return stats;
}

static inline void expect_clean(struct fixture *f) {
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report;
    options.flags = INGOT_CHECK_READ_DATA;
    expect_ok(ingot_store_check(f->store, &options, NULL, &report, &err));
    assert_int_equal(report.damaged_objects, 0);
    assert_int_equal(report.damaged_segments, 0);
    assert_int_equal(report.index_mismatches, 0);
}

static inline ingot_gc_report collect(struct fixture *f, uint32_t flags, int64_t grace_ms,
                                      int64_t limbo_ms) {
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report;
    options.flags = flags;
    options.grace_ms = grace_ms;
    options.limbo_ms = limbo_ms;
    expect_ok(ingot_store_gc(f->store, &options, NULL, &report, &err));
    return report;
}

/* Path of the object file of `id`. */
static inline void file_of(const struct fixture *f, const ingot_id *id, char *ret_path,
                           size_t capacity) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    snprintf(ret_path, capacity, "%s/objects/%.2s/%s", f->path, hex, hex);
}

/* Inverts one byte of a file. */
static inline void flip(const char *path, uint64_t offset) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_not_equal(c, EOF);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_not_equal(fputc(c ^ 0xff, file), EOF);
    assert_int_equal(fclose(file), 0);
}

#endif
