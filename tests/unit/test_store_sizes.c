/* Objects around every size that matters, in every kind of store, whole, by range and as streams.
 */
#include "test_store.h"

#define GROUP (64 * KIB) /* what a range of a large object is verified by */

static const uint8_t key[INGOT_KEY_BYTES] = {7, 7, 7, 1};

static const uint64_t sizes[] = {
    1,
    95,
    96,
    97,
    4000,
    4096,
    GROUP - 1,
    GROUP,
    GROUP + 1,
    LARGE_MIN - 1,
    LARGE_MIN,
    LARGE_MIN + 1,
    5 * GROUP + 1000,
    MIB,
    MIB + 1,
};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void open_kind(struct fixture *f, uint32_t digest) {
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    options.key = digest == INGOT_DIGEST_BLAKE3_KEYED ? key : NULL;
    open_with(f, &options);
}

static void expect_range(struct fixture *f, const ingot_id *id, const uint8_t *bytes, uint64_t size,
                         uint64_t offset, uint64_t len) {
    uint8_t *buffer = malloc(len + 1);
    uint64_t want = offset >= size ? 0 : size - offset < len ? size - offset : len;
    size_t got = 0;
    buffer[len] = 0xa5;
    expect_ok(ingot_store_get_range(f->store, id, offset, buffer, len, NULL, &got, &err));
    assert_int_equal(got, want);
    if (want > 0)
        assert_memory_equal(buffer, bytes + offset, want);
    assert_int_equal(buffer[len], 0xa5);
    free(buffer);
}

static void expect_all_ranges(struct fixture *f, const ingot_id *id, const uint8_t *bytes,
                              uint64_t size) {
    const uint64_t offsets[] = {0,         1,        GROUP - 1, GROUP, GROUP + 1,
                                2 * GROUP, size / 2, size - 1,  size,  size + 5};
    const uint64_t lens[] = {0, 1, 2, 5000, GROUP, GROUP + 1, 2 * GROUP + 2};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
        for (size_t j = 0; j < sizeof lens / sizeof lens[0]; j++)
            expect_range(f, id, bytes, size, offsets[i], lens[j]);
    expect_range(f, id, bytes, size, 0, size);
    expect_range(f, id, bytes, size, 0, size + 100);
}

static void expect_everything(struct fixture *f, const ingot_id *id, uint64_t seed, uint64_t size) {
    uint8_t *bytes = bytes_of(seed, size);
    uint8_t *buffer = malloc(size);
    ingot_stat stat;
    size_t len = 0;
    expect_ok(ingot_store_stat(f->store, id, &stat, &err));
    assert_int_equal(stat.size, size);
    assert_int_equal(stat.place, size < LARGE_MIN ? INGOT_PLACE_LOG : INGOT_PLACE_FILE);
    expect_bytes(f, id, bytes, size);
    expect_ok(ingot_store_get_into(f->store, id, buffer, size, NULL, &len, &err));
    assert_int_equal(len, size);
    assert_memory_equal(buffer, bytes, size);
    expect_all_ranges(f, id, bytes, size);
    ingot_cache_evict(f->store, NULL);
    expect_all_ranges(f, id, bytes, size);
    expect_ok(ingot_store_verify(f->store, id, NULL, &err));
    free(buffer);
    free(bytes);
}

static void every_size(struct fixture *f, uint32_t digest) {
    ingot_id ids[SIZES];
    create_with(f, digest, digest == INGOT_DIGEST_BLAKE3_KEYED ? key : NULL);
    open_kind(f, digest);
    for (size_t i = 0; i < SIZES; i++) {
        ids[i] = put_seed(f, i, sizes[i]);
        expect_everything(f, &ids[i], i, sizes[i]);
    }
    close_store(f);
    open_kind(f, digest);
    for (size_t i = 0; i < SIZES; i++)
        expect_everything(f, &ids[i], i, sizes[i]);
    assert_int_equal(stats_of(f).large_objects, 5);
    expect_clean(f);
}

static void test_sizes__every_size_in_a_blake3_store(void **state) {
    every_size(*state, INGOT_DIGEST_BLAKE3);
}

static void test_sizes__every_size_in_a_sha256_store(void **state) {
    every_size(*state, INGOT_DIGEST_SHA256);
}

static void test_sizes__every_size_in_a_keyed_store(void **state) {
    every_size(*state, INGOT_DIGEST_BLAKE3_KEYED);
}

static void test_sizes__the_digests_differ_as_they_should(void **state) {
    struct fixture *f = *state;
    ingot_id id;
    ingot_id want;
    create_with(f, INGOT_DIGEST_SHA256, NULL);
    open_kind(f, INGOT_DIGEST_SHA256);
    ingot_store_hash(f->store, "abc", 3, &id);
    expect_ok(ingot_id_parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                             &want, &err));
    expect_same_id(&id, &want);
}

static void test_sizes__a_large_object_loses_its_tree_and_is_still_read_by_range(void **state) {
    struct fixture *f = *state;
    char path[700];
    create_with(f, 0, NULL);
    open_kind(f, 0);
    ingot_id id = put_seed(f, 1, MIB + 77);
    uint8_t *bytes = bytes_of(1, MIB + 77);
    file_of(f, &id, path, sizeof path);
    strcat(path, ".tree");
    close_store(f);
    unlink(path);
    open_kind(f, 0);
    expect_all_ranges(f, &id, bytes, MIB + 77);
    if (access(path, F_OK) == 0) {
        close_store(f);
        flip(path, 40);
        open_kind(f, 0);
        ingot_cache_evict(f->store, NULL);
        expect_all_ranges(f, &id, bytes, MIB + 77);
    }
    free(bytes);
}

static void test_sizes__damage_in_a_large_object_spoils_only_what_touches_it(void **state) {
    struct fixture *f = *state;
    char path[700];
    uint8_t buffer[100];
    size_t len;
    ingot_buf *buf = NULL;
    create_with(f, 0, NULL);
    open_kind(f, 0);
    ingot_id id = put_seed(f, 1, MIB);
    ingot_id other = put_seed(f, 2, MIB);
    uint8_t *bytes = bytes_of(1, MIB);
    close_store(f);
    file_of(f, &id, path, sizeof path);
    flip(path, 3 * GROUP + 50);
    open_kind(f, 0);
    expect_range(f, &id, bytes, MIB, 0, 3 * GROUP);
    expect_range(f, &id, bytes, MIB, 4 * GROUP, MIB);
    expect(INGOT_CORRUPT,
           ingot_store_get_range(f->store, &id, 3 * GROUP, buffer, 100, NULL, &len, &err));
    expect(INGOT_CORRUPT, ingot_store_get(f->store, &id, NULL, &buf, &err));
    expect(INGOT_CORRUPT, ingot_store_verify(f->store, &id, NULL, &err));
    expect_ok(ingot_store_has(f->store, &id, &err));
    expect_seed(f, &other, 2, MIB);
    assert_true(stats_of(f).corruptions >= 1);
    free(bytes);
}

/* ---- Streams ------------------------------------------------------------------------------- */

static ingot_id stream(struct fixture *f, const uint8_t *bytes, size_t size, size_t piece) {
    ingot_writer *writer = NULL;
    ingot_id id;
    expect_ok(ingot_writer_open(f->store, &writer, &err));
    for (size_t at = 0; at < size; at += piece)
        expect_ok(
            ingot_writer_write(writer, bytes + at, size - at < piece ? size - at : piece, &err));
    expect_ok(ingot_writer_finish(writer, NULL, &id, &err));
    ingot_writer_free(writer);
    return id;
}

static void test_sizes__a_streamed_object_is_the_same_as_one_put_whole(void **state) {
    struct fixture *f = *state;
    const size_t pieces[] = {977, GROUP, LARGE_MIN + 1, 4 * MIB};
    create_with(f, 0, NULL);
    open_kind(f, 0);
    for (size_t i = 0; i < SIZES; i++) {
        uint8_t *bytes = bytes_of(i, sizes[i]);
        ingot_id hash;
        ingot_store_hash(f->store, bytes, sizes[i], &hash);
        for (size_t p = 0; p < 4; p++) {
            ingot_id id = stream(f, bytes, sizes[i], pieces[p]);
            expect_same_id(&id, &hash);
            expect_refs(f, &id, (int64_t)p + 1);
        }
        expect_everything(f, &hash, i, sizes[i]);
        free(bytes);
    }
    ingot_id empty = stream(f, NULL, 0, 1);
    expect_bytes(f, &empty, NULL, 0);
    reopen(f);
    expect_clean(f);
}

static uint32_t count_files(const char *path) {
    uint32_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char name[1000];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        count += entry->d_type == DT_DIR ? count_files(name) : 1;
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void test_sizes__a_writer_that_is_given_up_leaves_nothing(void **state) {
    struct fixture *f = *state;
    char objects[600];
    ingot_writer *writer = NULL;
    create_with(f, 0, NULL);
    open_kind(f, 0);
    uint8_t *bytes = bytes_of(5, MIB);
    snprintf(objects, sizeof objects, "%s/objects", f->path);
    for (uint64_t size = 0; size <= MIB; size += MIB / 4) {
        expect_ok(ingot_writer_open(f->store, &writer, &err));
        expect_ok(ingot_writer_write(writer, bytes, size, &err));
        ingot_writer_free(writer);
    }
    assert_int_equal(stats_of(f).objects, 0);
    assert_int_equal(count_files(objects), 0);
    free(bytes);
}

static void test_sizes__a_reader_goes_through_and_jumps(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    open_kind(f, 0);
    for (size_t i = 0; i < SIZES; i++) {
        ingot_id id = put_seed(f, i, sizes[i]);
        uint8_t *bytes = bytes_of(i, sizes[i]);
        uint8_t *buffer = malloc(sizes[i] + 1);
        ingot_reader *reader = NULL;
        size_t len = 1;
        size_t at = 0;
        ingot_cache_evict(f->store, NULL);
        expect_ok(ingot_reader_open(f->store, &id, &reader, &err));
        assert_int_equal(ingot_reader_size(reader), sizes[i]);
        for (; len > 0; at += len)
            expect_ok(ingot_reader_read(reader, buffer + at,
                                        sizes[i] - at < 10007 ? sizes[i] + 1 - at : 10007, &len,
                                        &err));
        assert_int_equal(at, sizes[i]);
        assert_memory_equal(buffer, bytes, at);
        expect_ok(ingot_reader_seek(reader, sizes[i] - 1, &err));
        expect_ok(ingot_reader_read(reader, buffer, 10, &len, &err));
        assert_int_equal(len, 1);
        assert_int_equal(buffer[0], bytes[sizes[i] - 1]);
        ingot_reader_close(reader);
        free(buffer);
        free(bytes);
    }
}

static void test_sizes__a_reader_keeps_its_object(void **state) {
    struct fixture *f = *state;
    create_with(f, 0, NULL);
    open_kind(f, 0);
    uint8_t *bytes = bytes_of(3, MIB);
    uint8_t *buffer = malloc(MIB);
    ingot_reader *reader = NULL;
    size_t len = 0;
    ingot_id id = put_flags(f, bytes, MIB, INGOT_NO_REF);
    expect_ok(ingot_reader_open(f->store, &id, &reader, &err));
    expect(INGOT_IN_USE, ingot_store_delete(f->store, &id, NULL, &err));
    assert_int_equal(collect(f, 0, -1, -1).swept, 0);
    for (size_t at = 0; at < MIB; at += len) {
        expect_ok(ingot_reader_read(reader, buffer + at, MIB - at, &len, &err));
        assert_true(len > 0);
    }
    assert_memory_equal(buffer, bytes, MIB);
    ingot_reader_close(reader);
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    free(buffer);
    free(bytes);
}

#define T(name) cmocka_unit_test_setup_teardown(test_sizes__##name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(every_size_in_a_blake3_store),
        T(every_size_in_a_sha256_store),
        T(every_size_in_a_keyed_store),
        T(the_digests_differ_as_they_should),
        T(a_large_object_loses_its_tree_and_is_still_read_by_range),
        T(damage_in_a_large_object_spoils_only_what_touches_it),
        T(a_streamed_object_is_the_same_as_one_put_whole),
        T(a_writer_that_is_given_up_leaves_nothing),
        T(a_reader_goes_through_and_jumps),
        T(a_reader_keeps_its_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
