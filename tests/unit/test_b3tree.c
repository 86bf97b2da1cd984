/* The hash tree: its root is the official BLAKE3, its nodes are those of the specification, on
 * every kernel. */
#include "b3tree.h"

#include "blake3_impl.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MIB (1024 * 1024)

static uint64_t seed;
static uint64_t random_state;

/* SplitMix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(void) {
    uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
static size_t random_below(size_t bound) { return (size_t)(next_random() % bound); }

static int restart_random(void **state) {
    (void)state;
    random_state = seed;
    return 0;
}

static void random_bytes(uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)next_random();
}

static uint8_t *random_data(size_t len) {
    uint8_t *data = malloc(len);
    assert_non_null(data);
    random_bytes(data, len);
    return data;
}

static const uint8_t a_key[INGOT_KEY_BYTES + 1] = "whats the Elvish word for friend";

static void init(struct ig_digest *digest, bool keyed) {
    uint32_t kind = keyed ? INGOT_DIGEST_BLAKE3_KEYED : INGOT_DIGEST_BLAKE3;
    assert_int_equal(ig_digest_init(digest, kind, keyed ? a_key : NULL, NULL), INGOT_OK);
}

static size_t group_len(size_t size, uint64_t group) {
    size_t left = size - (size_t)group * IG_B3_GROUP;
    return left < IG_B3_GROUP ? left : IG_B3_GROUP;
}

/* All groups' chaining values, in memory to be freed. */
static uint8_t *all_cvs(const struct ig_digest *digest, const uint8_t *data, size_t size) {
    uint64_t groups = ig_b3_groups(size);
    uint8_t *cvs = malloc(groups * IG_B3_CV);
    assert_non_null(cvs);
    for (uint64_t g = 0; g < groups; g++)
        ig_b3_group_cv(digest, data + g * IG_B3_GROUP, group_len(size, g), g, cvs + g * IG_B3_CV);
    return cvs;
}

static void check_root(const uint8_t *data, size_t size) {
    for (int keyed = 0; keyed < 2; keyed++) {
        struct ig_digest digest;
        init(&digest, keyed);
        blake3_hasher official;
        if (keyed)
            blake3_hasher_init_keyed(&official, a_key);
        else
            blake3_hasher_init(&official);
        uint8_t expected[BLAKE3_OUT_LEN];
        blake3_hasher_update(&official, data, size);
        blake3_hasher_finalize(&official, expected, sizeof expected);
        uint8_t *cvs = all_cvs(&digest, data, size);
        ingot_id root;
        ig_b3_root(&digest, cvs, ig_b3_groups(size), &root);
        if (memcmp(root.bytes, expected, sizeof expected) != 0)
            fail_msg("%zu bytes, %s", size, ig_digest_name(digest.kind));
        free(cvs);
    }
}

/* ---- The specification, literally: recursive, one node at a time, portable ---- */

struct reference {
    uint32_t key[8];
    unsigned flags;
};

static struct reference reference_of(bool keyed) {
    struct reference ref = {.flags = keyed ? KEYED_HASH : 0};
    if (keyed)
        load_key_words(a_key, ref.key);
    else
        memcpy(ref.key, IV, sizeof ref.key);
    return ref;
}

static void reference_parent(const struct reference *ref, const uint8_t *pair, unsigned root,
                             uint8_t *ret_cv) {
    uint32_t cv[8];
    memcpy(cv, ref->key, sizeof cv);
    blake3_compress_in_place_portable(cv, pair, 64, 0, (uint8_t)(ref->flags | PARENT | root));
    store_cv_words(ret_cv, cv);
}

static void reference_chunk(const struct reference *ref, const uint8_t *data, size_t len,
                            uint64_t counter, uint8_t *ret_cv) {
    uint32_t cv[8];
    memcpy(cv, ref->key, sizeof cv);
    for (size_t at = 0; at < len; at += 64) {
        uint8_t block[64] = {0};
        size_t take = len - at < 64 ? len - at : 64;
        memcpy(block, data + at, take);
        unsigned flags =
            ref->flags | (at == 0 ? CHUNK_START : 0u) | (at + take == len ? CHUNK_END : 0u);
        blake3_compress_in_place_portable(cv, block, (uint8_t)take, counter, (uint8_t)flags);
    }
    store_cv_words(ret_cv, cv);
}

static void reference_bytes(const struct reference *ref, const uint8_t *data, size_t len,
                            uint64_t counter, uint8_t *ret_cv) {
    if (len <= 1024) {
        reference_chunk(ref, data, len, counter, ret_cv);
        return;
    }
    size_t left = 1024;
    while (2 * left < len)
        left *= 2;
    uint8_t pair[64];
    reference_bytes(ref, data, left, counter, pair);
    reference_bytes(ref, data + left, len - left, counter + left / 1024, pair + 32);
    reference_parent(ref, pair, 0, ret_cv);
}

static void reference_tree(const struct reference *ref, const uint8_t *cvs, size_t count,
                           unsigned root, uint8_t *ret_cv) {
    if (count == 1) {
        memcpy(ret_cv, cvs, 32);
        return;
    }
    size_t left = 1;
    while (2 * left < count)
        left *= 2;
    uint8_t pair[64];
    reference_tree(ref, cvs, left, 0, pair);
    reference_tree(ref, cvs + 32 * left, count - left, 0, pair + 32);
    reference_parent(ref, pair, root, ret_cv);
}

/* ---- The kernels, each against the portable one ---- */

typedef void hash_many_fn(const uint8_t *const *inputs, size_t count, size_t blocks,
                          const uint32_t key[8], uint64_t counter, bool increment, uint8_t flags,
                          uint8_t flags_start, uint8_t flags_end, uint8_t *out);
typedef void compress_fn(uint32_t cv[8], const uint8_t *block, uint8_t len, uint64_t counter,
                         uint8_t flags);

#define LANES_MAX 40

static void check_hash_many(hash_many_fn *hash_many, const char *name) {
    static uint8_t data[LANES_MAX * BLAKE3_CHUNK_LEN + LANES_MAX];
    static const uint64_t counters[] = {0,
                                        1,
                                        64,
                                        UINT64_C(0x7FFFFFF0),
                                        UINT64_C(0xFFFFFFF0),
                                        UINT64_C(0xFFFFFFFF),
                                        UINT64_C(0x3FFFFFFFFFF0)};
    uint8_t expected[LANES_MAX * BLAKE3_OUT_LEN], actual[LANES_MAX * BLAKE3_OUT_LEN];
    const uint8_t *inputs[LANES_MAX];
    uint32_t key[8];
    random_bytes(data, sizeof data);
    for (size_t count = 1; count <= LANES_MAX; count++) {
        size_t blocks = count % 3 == 0 ? 1 : BLAKE3_CHUNK_LEN / BLAKE3_BLOCK_LEN;
        for (size_t i = 0; i < count; i++)
            inputs[i] = data + i * BLAKE3_CHUNK_LEN + i % 3; /* unaligned too */
        for (size_t i = 0; i < 8; i++)
            key[i] = (uint32_t)next_random();
        for (int round = 0; round < 2; round++) {
            size_t c = random_below(sizeof counters / sizeof counters[0]);
            bool increment = next_random() % 4 != 0;
            blake3_hash_many_portable(inputs, count, blocks, key, counters[c], increment,
                                      KEYED_HASH, CHUNK_START, CHUNK_END, expected);
            hash_many(inputs, count, blocks, key, counters[c], increment, KEYED_HASH, CHUNK_START,
                      CHUNK_END, actual);
            if (memcmp(actual, expected, count * BLAKE3_OUT_LEN) != 0)
                fail_msg("%s: %zu inputs, counter %" PRIu64, name, count, counters[c]);
        }
    }
}

static void check_compress(compress_fn *compress, const char *name) {
    for (int round = 0; round < 200; round++) {
        uint32_t expected[8], actual[8];
        uint8_t block[BLAKE3_BLOCK_LEN];
        random_bytes((uint8_t *)expected, sizeof expected);
        random_bytes(block, sizeof block);
        memcpy(actual, expected, sizeof actual);
        uint8_t len = (uint8_t)random_below(BLAKE3_BLOCK_LEN + 1);
        uint8_t flags = (uint8_t)random_below(32);
        uint64_t counter = next_random();
        blake3_compress_in_place_portable(expected, block, len, counter, flags);
        compress(actual, block, len, counter, flags);
        if (memcmp(actual, expected, sizeof actual) != 0)
            fail_msg("%s: block of %u bytes, flags %u", name, len, flags);
    }
}

static void test_b3tree__kernels_of_this_processor_agree(void **state) {
    (void)state;
    check_hash_many(blake3_hash_many, "chosen");
    check_compress(blake3_compress_in_place, "chosen");
#if defined(__x86_64__)
    check_hash_many(blake3_hash_many_sse2, "sse2");
    check_compress(blake3_compress_in_place_sse2, "sse2");
    if (__builtin_cpu_supports("sse4.1")) {
        check_hash_many(blake3_hash_many_sse41, "sse4.1");
        check_compress(blake3_compress_in_place_sse41, "sse4.1");
    }
    if (__builtin_cpu_supports("avx2"))
        check_hash_many(blake3_hash_many_avx2, "avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        check_hash_many(blake3_hash_many_avx512, "avx512");
        check_compress(blake3_compress_in_place_avx512, "avx512");
    }
#endif
}

/* ---- Cases ---- */

static void test_b3tree__groups_are_counted_up(void **state) {
    (void)state;
    assert_true(ig_b3_groups(0) == 0);
    assert_true(ig_b3_groups(1) == 1);
    assert_true(ig_b3_groups(65535) == 1);
    assert_true(ig_b3_groups(65536) == 1);
    assert_true(ig_b3_groups(65537) == 2);
    assert_true(ig_b3_groups(131072) == 2);
    assert_true(ig_b3_groups(131073) == 3);
    assert_true(ig_b3_groups(INGOT_OBJECT_MAX) == UINT64_C(1) << 30);
    assert_true(ig_b3_groups(UINT64_MAX) == UINT64_C(1) << 48);
}

static void test_b3tree__root_is_the_official_hash_around_every_group_boundary(void **state) {
    (void)state;
    static const int offsets[] = {-1024, -1, 0, 1, 1024};
    size_t groups = 67; /* one walk over the levels takes 64 */
    uint8_t *data = random_data((groups + 1) * IG_B3_GROUP);
    check_root(data, IG_B3_GROUP + 1);
    check_root(data, IG_B3_GROUP + 1024);
    for (size_t g = 2; g <= groups; g++)
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
            check_root(data, g * IG_B3_GROUP + (size_t)(ptrdiff_t)offsets[i]);
    free(data);
}

static void test_b3tree__root_is_the_official_hash_for_every_last_chunk(void **state) {
    (void)state;
    uint8_t *data = random_data(3 * IG_B3_GROUP);
    for (size_t chunks = 0; chunks <= 64; chunks++) {
        size_t size = 2 * IG_B3_GROUP + chunks * 1024;
        check_root(data, size);
        if (chunks < 64)
            check_root(data, size + 1 + random_below(1023));
    }
    for (size_t rest = 1; rest <= 1024; rest += 1 + random_below(7))
        check_root(data, IG_B3_GROUP + rest);
    for (size_t rest = 0; rest <= 1024; rest += 64)
        check_root(data, IG_B3_GROUP + 1024 + rest);
    free(data);
}

static void test_b3tree__root_is_the_official_hash_for_random_sizes(void **state) {
    (void)state;
    uint8_t *data = random_data(24 * MIB + 64);
    for (int round = 0; round < 60; round++) {
        size_t most = round < 50 ? 4 * MIB : 24 * MIB;
        check_root(data + random_below(64), IG_B3_GROUP + 1 + random_below(most - IG_B3_GROUP));
    }
    free(data);
}

/* Counters past 32 bits, as in an object of more than 4 TiB. */
static void test_b3tree__group_cv_is_the_specification_at_any_position(void **state) {
    (void)state;
    static const uint64_t positions[] = {0,
                                         1,
                                         63,
                                         UINT64_C(0x1FFFFFF),
                                         UINT64_C(0x2000000),
                                         UINT64_C(0x3FFFFFF),
                                         UINT64_C(0x4000000),
                                         UINT64_C(0x3FFFFFFF)};
    uint8_t *data = random_data(IG_B3_GROUP);
    for (size_t i = 0; i < 8 * sizeof positions / sizeof positions[0]; i++) {
        bool keyed = i % 2 != 0;
        uint64_t group = positions[i / 8];
        size_t len = i % 8 < 2 ? IG_B3_GROUP : 1 + random_below(i % 8 < 4 ? 2048 : IG_B3_GROUP);
        struct ig_digest digest;
        init(&digest, keyed);
        struct reference ref = reference_of(keyed);
        uint8_t expected[IG_B3_CV], actual[IG_B3_CV];
        reference_bytes(&ref, data, len, group * 64, expected);
        ig_b3_group_cv(&digest, data, len, group, actual);
        if (memcmp(actual, expected, IG_B3_CV) != 0)
            fail_msg("group %" PRIu64 ", %zu bytes", group, len);
    }
    free(data);
}

static void test_b3tree__root_of_any_number_of_groups_is_the_specification(void **state) {
    (void)state;
    size_t most = 20000;
    uint8_t *cvs = random_data(most * IG_B3_CV);
    for (size_t groups = 2; groups <= most; groups += groups < 300 ? 1 : 1 + random_below(groups)) {
        bool keyed = groups % 2 != 0;
        struct ig_digest digest;
        init(&digest, keyed);
        struct reference ref = reference_of(keyed);
        ingot_id expected, actual;
        reference_tree(&ref, cvs, groups, ROOT, expected.bytes);
        ig_b3_root(&digest, cvs, groups, &actual);
        if (memcmp(actual.bytes, expected.bytes, INGOT_ID_BYTES) != 0)
            fail_msg("%zu groups", groups);
    }
    free(cvs);
}

static void test_b3tree__a_changed_bit_changes_its_group_alone(void **state) {
    (void)state;
    size_t size = 5 * IG_B3_GROUP + 1 + random_below(IG_B3_GROUP - 1);
    uint64_t groups = ig_b3_groups(size);
    uint8_t *data = random_data(size);
    for (int keyed = 0; keyed < 2; keyed++) {
        struct ig_digest digest;
        init(&digest, keyed);
        ingot_id id;
        ig_digest_hash(&digest, data, size, &id);
        uint8_t *before = all_cvs(&digest, data, size);
        for (uint64_t g = 0; g < groups; g++) {
            for (int round = 0; round < 10; round++) {
                size_t at = (size_t)g * IG_B3_GROUP + random_below(group_len(size, g));
                uint8_t bit = (uint8_t)(1u << random_below(8));
                data[at] ^= bit;
                uint8_t *after = all_cvs(&digest, data, size);
                for (uint64_t i = 0; i < groups; i++)
                    assert_true((memcmp(before + i * IG_B3_CV, after + i * IG_B3_CV, IG_B3_CV) ==
                                 0) == (i != g));
                ingot_id root;
                ig_b3_root(&digest, after, groups, &root);
                assert_memory_not_equal(root.bytes, id.bytes, INGOT_ID_BYTES);
                data[at] ^= bit;
                free(after);
            }
        }
        free(before);
    }
    free(data);
}

static void test_b3tree__a_changed_bit_of_a_chaining_value_changes_the_root(void **state) {
    (void)state;
    size_t groups = 2 + random_below(200);
    uint8_t *cvs = random_data(groups * IG_B3_CV);
    struct ig_digest digest;
    init(&digest, false);
    ingot_id before, after;
    ig_b3_root(&digest, cvs, groups, &before);
    for (size_t g = 0; g < groups; g++) {
        uint8_t bit = (uint8_t)(1u << random_below(8));
        size_t at = g * IG_B3_CV + random_below(IG_B3_CV);
        cvs[at] ^= bit;
        ig_b3_root(&digest, cvs, groups, &after);
        assert_memory_not_equal(after.bytes, before.bytes, INGOT_ID_BYTES);
        cvs[at] ^= bit;
    }
    ig_b3_root(&digest, cvs, groups - (groups > 2), &after);
    assert_true((memcmp(after.bytes, before.bytes, INGOT_ID_BYTES) == 0) == (groups == 2));
    free(cvs);
}

static void test_b3tree__position_length_and_key_are_part_of_a_group(void **state) {
    (void)state;
    uint8_t *data = calloc(1, IG_B3_GROUP);
    assert_non_null(data);
    struct ig_digest plain, keyed;
    init(&plain, false);
    init(&keyed, true);
    uint8_t cv[IG_B3_CV], other[IG_B3_CV];
    ig_b3_group_cv(&plain, data, IG_B3_GROUP, 0, cv);
    ig_b3_group_cv(&plain, data, IG_B3_GROUP, 1, other);
    assert_memory_not_equal(cv, other, IG_B3_CV);
    ig_b3_group_cv(&plain, data, IG_B3_GROUP - 1, 0, other);
    assert_memory_not_equal(cv, other, IG_B3_CV);
    ig_b3_group_cv(&keyed, data, IG_B3_GROUP, 0, other);
    assert_memory_not_equal(cv, other, IG_B3_CV);
    free(data);
}

#define THREADS 64
#define THREAD_SIZE (3 * IG_B3_GROUP + 1500)

struct tree_thread {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct ig_digest *digest;
    const uint8_t *data;
    size_t size;
    ingot_id root;
};

static void *tree_thread(void *arg) {
    struct tree_thread *self = arg;
    uint8_t cvs[4 * IG_B3_CV];
    pthread_barrier_wait(self->start);
    for (int round = 0; round < 4; round++) {
        for (uint64_t g = 0; g < ig_b3_groups(self->size); g++)
            ig_b3_group_cv(self->digest, self->data + g * IG_B3_GROUP, group_len(self->size, g), g,
                           cvs + g * IG_B3_CV);
        ig_b3_root(self->digest, cvs, ig_b3_groups(self->size), &self->root);
    }
    return NULL;
}

static void test_b3tree__threads_share_a_digest(void **state) {
    (void)state;
    struct tree_thread *threads = calloc(THREADS, sizeof *threads);
    assert_non_null(threads);
    uint8_t *data = random_data(THREAD_SIZE);
    struct ig_digest digests[2];
    init(&digests[0], false);
    init(&digests[1], true);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (size_t t = 0; t < THREADS; t++) {
        threads[t].start = &start;
        threads[t].digest = &digests[t % 2];
        threads[t].data = data;
        threads[t].size = IG_B3_GROUP + 1 + random_below(THREAD_SIZE - IG_B3_GROUP);
        assert_int_equal(pthread_create(&threads[t].thread, NULL, tree_thread, &threads[t]), 0);
    }
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(threads[t].thread, NULL);
    for (size_t t = 0; t < THREADS; t++)
        assert_true(ig_digest_matches(threads[t].digest, data, threads[t].size, &threads[t].root));
    pthread_barrier_destroy(&start);
    free(data);
    free(threads);
}

int main(int argc, char **argv) {
    seed = (uint64_t)time(NULL);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        seed = strtoull(argv[2], NULL, 0);
    print_message("seed %" PRIu64 "\n", seed);
#define CASE(name) cmocka_unit_test_setup(name, restart_random)
    const struct CMUnitTest tests[] = {
        CASE(test_b3tree__threads_share_a_digest),
        CASE(test_b3tree__kernels_of_this_processor_agree),
        CASE(test_b3tree__groups_are_counted_up),
        CASE(test_b3tree__root_is_the_official_hash_around_every_group_boundary),
        CASE(test_b3tree__root_is_the_official_hash_for_every_last_chunk),
        CASE(test_b3tree__root_is_the_official_hash_for_random_sizes),
        CASE(test_b3tree__group_cv_is_the_specification_at_any_position),
        CASE(test_b3tree__root_of_any_number_of_groups_is_the_specification),
        CASE(test_b3tree__a_changed_bit_changes_its_group_alone),
        CASE(test_b3tree__a_changed_bit_of_a_chaining_value_changes_the_root),
        CASE(test_b3tree__position_length_and_key_are_part_of_a_group),
    };
    return cmocka_run_group_tests_name("b3tree", tests, NULL, NULL);
}
