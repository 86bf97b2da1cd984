/* Creating, opening and closing; who else may; and what a damaged FORMAT or index does. */
#include "test_store.h"

#include <sys/wait.h>
#include <time.h>

static const uint8_t key[INGOT_KEY_BYTES] = {1, 2, 3};
static const uint8_t other_key[INGOT_KEY_BYTES] = {1, 2, 4};

static ingot_status try_open(struct fixture *f, uint32_t flags, const uint8_t *with_key,
                             ingot_store **ret_store) {
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    options.flags = flags;
    options.key = with_key;
    return ingot_store_open(f->path, &options, ret_store, &err);
}

static void path_in(const struct fixture *f, const char *name, char *ret_path, size_t capacity) {
    snprintf(ret_path, capacity, "%s/%s", f->path, name);
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void read_text(const char *path, char *ret_text, size_t capacity) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    ret_text[fread(ret_text, 1, capacity - 1, file)] = '\0';
    fclose(file);
}

/* ---- Creating ------------------------------------------------------------------------------ */

static void test_open__create_makes_private_files_under_any_umask(void **state) {
    struct fixture *f = *state;
    const mode_t masks[] = {0, 002, 022, 027, 077};
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        char scratch[540];
        struct stat st;
        snprintf(scratch, sizeof scratch, "%s/m%zu", f->scratch, i);
        mode_t old = umask(masks[i]);
        ingot_status status = ingot_store_create(scratch, NULL, &err);
        umask(old);
        expect_ok(status);
        assert_int_equal(stat(scratch, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        strcat(scratch, "/FORMAT");
        assert_int_equal(stat(scratch, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

static void test_open__create_never_touches_what_exists(void **state) {
    struct fixture *f = *state;
    char path[600];
    char text[100];
    create_with(f, 0, NULL);
    expect(INGOT_EXISTS, ingot_store_create(f->path, NULL, &err));
    open_with(f, NULL); /* is unharmed */
    snprintf(path, sizeof path, "%s/file", f->scratch);
    write_file(path, "precious");
    expect(INGOT_EXISTS, ingot_store_create(path, NULL, &err));
    expect(INGOT_EXISTS, ingot_store_create(f->scratch, NULL, &err));
    read_text(path, text, sizeof text);
    assert_string_equal(text, "precious");
}

static void test_open__create_takes_an_empty_directory(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0755), 0);
    create_with(f, 0, NULL);
    open_with(f, NULL);
    put_text(f, "works");
}

static void test_open__create_refuses_options_that_cannot_be(void **state) {
    struct fixture *f = *state;
    const struct {
        uint32_t digest;
        const uint8_t *key;
        uint64_t large_min;
        uint64_t segment_size;
        ingot_status want;
    } bad[] = {
        {9, NULL, 0, 0, INGOT_USAGE},
        {INGOT_DIGEST_BLAKE3_KEYED, NULL, 0, 0, INGOT_WRONG_KEY},
        {INGOT_DIGEST_BLAKE3, key, 0, 0, INGOT_WRONG_KEY},
        {0, NULL, 4 * KIB - 1, 0, INGOT_USAGE},
        {0, NULL, 16 * MIB + 1, 0, INGOT_USAGE},
        {0, NULL, 0, MIB - 1, INGOT_USAGE},
        {0, NULL, 4 * KIB, MIB + 4096, INGOT_USAGE},
        {0, NULL, MIB, 3 * MIB, INGOT_USAGE},
        {0, NULL, 0, 2048 * MIB, INGOT_USAGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
        options.digest = bad[i].digest;
        options.key = bad[i].key;
        options.large_min = bad[i].large_min;
        options.segment_size = bad[i].segment_size;
        expect(bad[i].want, ingot_store_create(f->path, &options, &err));
        assert_int_not_equal(access(f->path, F_OK), 0);
    }
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    options.size = 5;
    expect(INGOT_USAGE, ingot_store_create(f->path, &options, &err));
}

static void test_open__create_needs_its_parent(void **state) {
    struct fixture *f = *state;
    char path[600];
    snprintf(path, sizeof path, "%s/no/such", f->scratch);
    assert_true(ingot_store_create(path, NULL, &err) < 0);
    assert_true(err.message[0] != '\0');
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void test_open__what_is_no_store_is_said_to_be_none(void **state) {
    struct fixture *f = *state;
    ingot_store *store = NULL;
    expect(INGOT_NO_STORE, try_open(f, 0, NULL, &store));
    assert_int_equal(mkdir(f->path, 0700), 0);
    expect(INGOT_NO_STORE, try_open(f, 0, NULL, &store));
    expect(INGOT_NO_STORE, try_open(f, INGOT_OPEN_READ_ONLY, NULL, &store));
    assert_null(store);
    assert_int_equal(rmdir(f->path), 0); /* and nothing was made there */
}

static void test_open__a_second_writer_is_told_who_has_it(void **state) {
    struct fixture *f = *state;
    ingot_store *store = NULL;
    char pid[32];
    create_with(f, 0, NULL);
    open_with(f, NULL);
    expect(INGOT_LOCKED, try_open(f, 0, NULL, &store));
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_non_null(strstr(err.message, pid));
    expect(INGOT_LOCKED, try_open(f, INGOT_OPEN_READ_ONLY, NULL, &store));
    close_store(f);
    open_with(f, NULL);
}

static void test_open__waits_for_the_lock_as_long_as_it_is_told(void **state) {
    struct fixture *f = *state;
    ingot_store *store = NULL;
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    struct timespec before;
    struct timespec after;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    options.lock_wait_ms = 200;
    clock_gettime(CLOCK_MONOTONIC, &before);
    expect(INGOT_LOCKED, ingot_store_open(f->path, &options, &store, &err));
    clock_gettime(CLOCK_MONOTONIC, &after);
    int64_t ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(ms >= 190 && ms < 5000);
}

static void test_open__readers_share_and_keep_writers_out(void **state) {
    struct fixture *f = *state;
    ingot_store *first = NULL;
    ingot_store *second = NULL;
    ingot_store *writer = NULL;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_text(f, "read me");
    ingot_id large = put_seed(f, 1, MIB);
    close_store(f);
    expect_ok(try_open(f, INGOT_OPEN_READ_ONLY, NULL, &first));
    expect_ok(try_open(f, INGOT_OPEN_READ_ONLY, NULL, &second));
    expect(INGOT_LOCKED, try_open(f, 0, NULL, &writer));
    f->store = second;
    expect_bytes(f, &id, "read me", 7);
    expect_seed(f, &large, 1, MIB);
    expect_refs(f, &id, 1);
    f->store = NULL;
    expect_ok(ingot_store_close(first, &err));
    expect_ok(ingot_store_close(second, &err));
    expect_ok(try_open(f, 0, NULL, &f->store));
}

static void test_open__a_read_only_store_refuses_every_change(void **state) {
    struct fixture *f = *state;
    ingot_id id;
    ingot_gc_report report;
    ingot_batch *batch = NULL;
    ingot_writer *writer = NULL;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id there = put_text(f, "there");
    close_store(f);
    expect_ok(try_open(f, INGOT_OPEN_READ_ONLY, NULL, &f->store));
    ingot_put_item item = {.data = "x", .len = 1};
    expect(INGOT_READ_ONLY, ingot_store_put(f->store, "x", 1, NULL, &id, &err));
    expect(INGOT_READ_ONLY, ingot_store_put_batch(f->store, &item, 1, NULL, &err));
    expect(INGOT_READ_ONLY, ingot_store_ref(f->store, &there, NULL, NULL, &err));
    expect(INGOT_READ_ONLY, ingot_store_unref(f->store, &there, NULL, NULL, &err));
    expect(INGOT_READ_ONLY, ingot_store_delete(f->store, &there, NULL, &err));
    expect(INGOT_READ_ONLY, ingot_store_gc(f->store, NULL, NULL, &report, &err));
    ingot_status st = ingot_writer_open(f->store, &writer, &err);
    if (st == INGOT_OK)
        st = ingot_writer_finish(writer, NULL, &id, &err);
    expect(INGOT_READ_ONLY, st);
    ingot_writer_free(writer);
    st = ingot_batch_new(f->store, &batch, &err);
    if (st == INGOT_OK && (st = ingot_batch_ref(batch, &there, &err)) == INGOT_OK)
        st = ingot_batch_commit(batch, NULL, &err);
    expect(INGOT_READ_ONLY, st);
    ingot_batch_free(batch);
    expect_bytes(f, &there, "there", 5);
    expect_clean(f);
}

static void test_open__a_forked_child_is_refused(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_text(f, "parent's");
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        ingot_buf *buf;
        ingot_stats stats = INGOT_STATS_INIT;
        ingot_id put;
        bool refused = ingot_store_get(f->store, &id, NULL, &buf, NULL) == INGOT_FORKED &&
                       ingot_store_has(f->store, &id, NULL) == INGOT_FORKED &&
                       ingot_store_put(f->store, "x", 1, NULL, &put, NULL) == INGOT_FORKED &&
                       ingot_store_ref(f->store, &id, NULL, NULL, NULL) == INGOT_FORKED &&
                       ingot_store_unref(f->store, &id, NULL, NULL, NULL) == INGOT_FORKED &&
                       ingot_store_sync(f->store, NULL, NULL) == INGOT_FORKED &&
                       ingot_store_stats(f->store, &stats, NULL) == INGOT_FORKED &&
                       ingot_cache_get(f->store, &id, &buf) == INGOT_FORKED &&
                       ingot_store_close(f->store, NULL) == INGOT_FORKED;
        _exit(refused ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ingot_store *second = NULL;
    expect(INGOT_LOCKED, try_open(f, 0, NULL, &second)); /* the child has not let go of it */
    put_text(f, "goes on");
    expect_bytes(f, &id, "parent's", 8);
    reopen(f);
    expect_refs(f, &id, 1);
}

static void test_open__the_key_must_be_the_one(void **state) {
    struct fixture *f = *state;
    ingot_store *store = NULL;
    create_with(f, INGOT_DIGEST_BLAKE3_KEYED, key);
    expect(INGOT_WRONG_KEY, try_open(f, 0, NULL, &store));
    expect(INGOT_WRONG_KEY, try_open(f, 0, other_key, &store));
    expect_ok(try_open(f, 0, key, &f->store));
    ingot_id id = put_text(f, "secret");
    ingot_id plain;
    ingot_store_info info;
    ingot_store_describe(f->store, &info);
    assert_string_equal(info.digest_name, "blake3-keyed");
    expect_bytes(f, &id, "secret", 6);
    char path[600];
    snprintf(path, sizeof path, "%s/plain", f->scratch);
    expect_ok(ingot_store_create(path, NULL, &err));
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    options.key = key;
    expect(INGOT_WRONG_KEY, ingot_store_open(path, &options, &store, &err));
    expect_ok(ingot_store_open(path, NULL, &store, &err));
    ingot_store_hash(store, "secret", 6, &plain);
    assert_int_not_equal(ingot_id_compare(&plain, &id), 0);
    expect_ok(ingot_store_close(store, &err));
}

static void test_open__a_store_others_may_write_to_is_refused(void **state) {
    struct fixture *f = *state;
    ingot_store *store = NULL;
    create_with(f, 0, NULL);
    assert_int_equal(chmod(f->path, 0770), 0);
    expect(INGOT_DENIED, try_open(f, 0, NULL, &store));
    assert_int_equal(chmod(f->path, 0702), 0);
    expect(INGOT_DENIED, try_open(f, 0, NULL, &store));
    assert_int_equal(chmod(f->path, 0700), 0);
    expect_ok(try_open(f, 0, NULL, &f->store));
}

static void test_open__without_direct_writes_all_is_the_same(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    expect_ok(try_open(f, INGOT_OPEN_NO_DIRECT, NULL, &f->store));
    ingot_id small = put_seed(f, 1, 5000);
    ingot_id large = put_seed(f, 2, MIB + 1);
    reopen(f);
    expect_seed(f, &small, 1, 5000);
    expect_seed(f, &large, 2, MIB + 1);
    expect_clean(f);
}

/* ---- Damage -------------------------------------------------------------------------------- */

static void test_open__every_damaged_byte_of_format_is_found(void **state) {
    struct fixture *f = *state;
    char path[600];
    struct stat st;
    ingot_store *store = NULL;
    create_with(f, 0, NULL);
    path_in(f, "FORMAT", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t i = 0; i < st.st_size; i++) {
        flip(path, (uint64_t)i);
        ingot_status status = try_open(f, 0, NULL, &store);
        if (status != INGOT_CORRUPT && status != INGOT_UNSUPPORTED)
            fail_msg("byte %d: %s", (int)i, ingot_status_name(status));
        flip(path, (uint64_t)i);
    }
    for (off_t size = 0; size < st.st_size; size += 7) {
        char text[4096];
        read_text(path, text, sizeof text);
        assert_int_equal(truncate(path, size), 0);
        expect(INGOT_CORRUPT, try_open(f, 0, NULL, &store));
        write_file(path, text);
    }
    expect_ok(try_open(f, 0, NULL, &f->store));
}

static void test_open__a_newer_format_is_named(void **state) {
    struct fixture *f = *state;
    char path[600];
    char text[4096];
    ingot_store *store = NULL;
    create_with(f, 0, NULL);
    path_in(f, "FORMAT", path, sizeof path);
    write_file(path, "ingot store\nformat 73\nanything else\n");
    expect(INGOT_UNSUPPORTED, try_open(f, 0, NULL, &store));
    assert_non_null(strstr(err.message, "73"));
    assert_non_null(strstr(err.message, "1"));
    read_text(path, text, sizeof text);
    assert_string_equal(text, "ingot store\nformat 73\nanything else\n");
}

static void test_open__a_missing_index_is_said_and_rebuilt(void **state) {
    struct fixture *f = *state;
    char path[600];
    ingot_store *store = NULL;
    ingot_rebuild_report report;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    ingot_id id = put_text(f, "kept");
    expect_ok(ingot_store_ref(f->store, &id, NULL, NULL, &err));
    ingot_id large = put_seed(f, 3, MIB);
    expect(INGOT_LOCKED, ingot_store_rebuild_index(f->path, NULL, NULL, &report, &err));
    close_store(f);
    path_in(f, "index", path, sizeof path);
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    expect(INGOT_NO_INDEX, try_open(f, 0, NULL, &store));
    expect_ok(ingot_store_rebuild_index(f->path, NULL, NULL, &report, &err));
    assert_int_equal(report.objects, 2);
    assert_int_equal(report.references, 3);
    assert_int_equal(report.damaged_records, 0);
    open_with(f, NULL);
    expect_refs(f, &id, 2);
    expect_bytes(f, &id, "kept", 4);
    expect_seed(f, &large, 3, MIB);
    expect_clean(f);
}

/* A line for each object: what an iterator says of it. */
static char *listing(struct fixture *f) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    ingot_iter *iter = NULL;
    ingot_id id;
    ingot_stat stat;
    expect_ok(ingot_iter_open(f->store, &iter, &err));
    while (ingot_iter_next(iter, &id, &stat, &err) == INGOT_OK) {
        char hex[INGOT_ID_HEX + 1];
        ingot_id_format(&id, hex);
        fprintf(out, "%s %ju %ju %jd %jd %u %u %ju\n", hex, (uintmax_t)stat.size,
                (uintmax_t)stat.stored_size, (intmax_t)stat.refs, (intmax_t)stat.stored_ms,
                stat.place, stat.segment, (uintmax_t)stat.offset);
    }
    ingot_iter_close(iter);
    fclose(out);
    return text;
}

static void test_open__a_rebuilt_index_says_the_same(void **state) {
    struct fixture *f = *state;
    ingot_rebuild_report report;
    create_with(f, 0, NULL);
    open_with(f, NULL);
    for (uint64_t i = 0; i < 300; i++) {
        ingot_id id = put_seed(f, i, i % 50 == 0 ? 300 * KIB : 30 * i);
        for (uint64_t n = 0; n < i % 4; n++)
            expect_ok(ingot_store_ref(f->store, &id, NULL, NULL, &err));
        if (i % 5 == 0)
            for (uint64_t n = 0; n <= i % 4; n++)
                unref(f, &id);
        if (i == 200)
            collect(f, 0, -1, -1);
    }
    collect(f, INGOT_GC_NO_CLEAN, -1, HOUR_MS);
    ingot_stats before = stats_of(f);
    char *live = listing(f);
    close_store(f);
    expect_ok(ingot_store_rebuild_index(f->path, NULL, NULL, &report, &err));
    open_with(f, NULL);
    char *rebuilt = listing(f);
    assert_string_equal(live, rebuilt);
    ingot_stats after = stats_of(f);
    assert_int_equal(after.objects, before.objects);
    assert_int_equal(after.logical_bytes, before.logical_bytes);
    assert_int_equal(after.limbo_objects, before.limbo_objects);
    assert_int_equal(after.large_objects, before.large_objects);
    assert_int_equal(after.large_bytes, before.large_bytes);
    assert_int_equal(after.log_live_bytes, before.log_live_bytes);
    expect_clean(f);
    free(live);
    free(rebuilt);
}

#define T(name) cmocka_unit_test_setup_teardown(test_open__##name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(create_makes_private_files_under_any_umask),
        T(create_never_touches_what_exists),
        T(create_takes_an_empty_directory),
        T(create_refuses_options_that_cannot_be),
        T(create_needs_its_parent),
        T(what_is_no_store_is_said_to_be_none),
        T(a_second_writer_is_told_who_has_it),
        T(waits_for_the_lock_as_long_as_it_is_told),
        T(readers_share_and_keep_writers_out),
        T(a_read_only_store_refuses_every_change),
        T(a_forked_child_is_refused),
        T(the_key_must_be_the_one),
        T(a_store_others_may_write_to_is_refused),
        T(without_direct_writes_all_is_the_same),
        T(every_damaged_byte_of_format_is_found),
        T(a_newer_format_is_named),
        T(a_missing_index_is_said_and_rebuilt),
        T(a_rebuilt_index_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
