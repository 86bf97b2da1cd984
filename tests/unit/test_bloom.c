/* The filter before the index: never a false "no", few false "yes". */
#include "bloom.h"

#include "os.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t seed;

static uint64_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The id of a number: uniform bytes, different for each seed of the test. */
static ingot_id id_of(uint64_t number) {
    ingot_id id;
    uint64_t state = seed + number * UINT64_C(0xd1342543de82ef95);
    for (size_t i = 0; i < INGOT_ID_BYTES; i += 8) {
        uint64_t word = next_random(&state);
        memcpy(id.bytes + i, &word, 8);
    }
    return id;
}

/* An id that differs from the others of its kind in four bytes only. */
static ingot_id id_alike(uint32_t number, size_t offset) {
    ingot_id id;
    memset(&id, 0x5a, sizeof id);
    memcpy(id.bytes + offset, &number, sizeof number);
    return id;
}

static struct ig_bloom *bloom_new(uint64_t capacity, uint64_t filter_seed) {
    struct ig_bloom *bloom = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ig_bloom_new(capacity, filter_seed, &bloom, &err), INGOT_OK);
    return bloom;
}

static void test_bloom__an_empty_filter_knows_nothing(void **state) {
    (void)state;
    const uint64_t capacities[] = {0, 1, 1000, 1000000};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct ig_bloom *bloom = bloom_new(capacities[c], seed);
        for (uint64_t i = 0; i < 1000; i++) {
            ingot_id id = id_of(i);
            assert_false(ig_bloom_maybe(bloom, &id));
        }
        assert_int_equal(ig_bloom_count(bloom), 0);
        assert_int_equal(ig_bloom_capacity(bloom), capacities[c]);
        ig_bloom_free(bloom);
    }
    ig_bloom_free(NULL);
}

/* Each id is known from the moment it was added, at any filling, beyond the capacity too. */
static void test_bloom__no_false_negative(void **state) {
    (void)state;
    const uint64_t capacities[] = {0, 1, 63, 5000, 100000};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct ig_bloom *bloom = bloom_new(capacities[c], seed + c);
        uint64_t count = capacities[c] * 2 + 100;
        for (uint64_t i = 0; i < count; i++) {
            ingot_id id = id_of(i);
            ig_bloom_add(bloom, &id);
            assert_true(ig_bloom_maybe(bloom, &id));
        }
        for (uint64_t i = 0; i < count; i++) {
            ingot_id id = id_of(i);
            assert_true(ig_bloom_maybe(bloom, &id));
        }
        assert_int_equal(ig_bloom_count(bloom), count);
        ig_bloom_free(bloom);
    }
}

static double false_positives(uint64_t capacity, uint64_t filter_seed) {
    enum { ASKED = 200000 };
    struct ig_bloom *bloom = bloom_new(capacity, filter_seed);
    for (uint64_t i = 0; i < capacity; i++) {
        ingot_id id = id_of(i);
        ig_bloom_add(bloom, &id);
    }
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < ASKED; i++) {
        ingot_id id = id_of((UINT64_C(1) << 40) + i);
        wrong += ig_bloom_maybe(bloom, &id);
    }
    ig_bloom_free(bloom);
    return (double)wrong / ASKED;
}

/* Expected 0.66 %; a small filter varies more, hence the lower capacities are averaged. */
static void test_bloom__at_capacity_at_most_one_percent_false_positives(void **state) {
    (void)state;
    const uint64_t capacities[] = {2000, 50000, 1000000};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        double sum = 0;
        int rounds = capacities[c] < 100000 ? 5 : 1;
        for (int round = 0; round < rounds; round++)
            sum += false_positives(capacities[c], seed + (uint64_t)round);
        print_message("capacity %" PRIu64 ": %.2f %% false positives\n", capacities[c],
                      100 * sum / rounds);
        assert_true(sum / rounds <= 0.01);
        assert_true(sum / rounds >= 0.003); /* below that the measurement itself is broken */
    }
}

static void test_bloom__ids_alike_in_most_bytes_are_told_apart(void **state) {
    (void)state;
    enum { COUNT = 50000 };
    for (size_t offset = 0; offset < INGOT_ID_BYTES; offset += 4) {
        struct ig_bloom *bloom = bloom_new(COUNT, seed);
        for (uint32_t i = 0; i < COUNT; i++) {
            ingot_id id = id_alike(i, offset);
            ig_bloom_add(bloom, &id);
        }
        uint64_t wrong = 0;
        for (uint32_t i = COUNT; i < 3 * COUNT; i++) {
            ingot_id id = id_alike(i, offset);
            wrong += ig_bloom_maybe(bloom, &id);
        }
        assert_true(wrong <= 2 * COUNT / 100);
        ig_bloom_free(bloom);
    }
}

/* Ids that are false positives under one seed are ordinary ids under another. */
static void test_bloom__the_seed_decides_what_collides(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    struct ig_bloom *one = bloom_new(COUNT, seed);
    struct ig_bloom *other = bloom_new(COUNT, seed + 1);
    for (uint64_t i = 0; i < COUNT; i++) {
        ingot_id id = id_of(i);
        ig_bloom_add(one, &id);
        ig_bloom_add(other, &id);
    }
    uint64_t in_one = 0;
    uint64_t in_both = 0;
    for (uint64_t i = COUNT; in_one < 500; i++) {
        assert_true(i < UINT64_C(1) << 24);
        ingot_id id = id_of(i);
        if (!ig_bloom_maybe(one, &id))
            continue;
        in_one++;
        in_both += ig_bloom_maybe(other, &id);
    }
    assert_true(in_both <= 25);
    ig_bloom_free(one);
    ig_bloom_free(other);
}

static void test_bloom__takes_10_to_12_bits_an_id(void **state) {
    (void)state;
    const uint64_t capacities[] = {100000, 3000000};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct ig_bloom *bloom = bloom_new(capacities[c], seed);
        assert_in_range(ig_bloom_bytes(bloom) * 8, capacities[c] * 10, capacities[c] * 12);
        ig_bloom_free(bloom);
    }
}

/* ---- Failing systems ---------------------------------------------------------------------- */

static long allocations_left;
static bool allocate_few(void) { return allocations_left-- > 0; }

static void test_bloom__each_failing_allocation_is_reported(void **state) {
    (void)state;
    struct ig_os os = ig_os_real;
    os.may_allocate = allocate_few;
    ingot_status status = INGOT_NO_MEMORY;
    for (long n = 0; status != INGOT_OK; n++) {
        assert_true(n < 10);
        struct ig_bloom *bloom = NULL;
        ingot_error err = INGOT_ERROR_INIT;
        allocations_left = n;
        ig_os = &os;
        status = ig_bloom_new(1000, seed, &bloom, &err);
        ig_os = &ig_os_real;
        assert_int_equal(status, err.status);
        assert_int_equal(status, bloom == NULL ? INGOT_NO_MEMORY : INGOT_OK);
        assert_true(n > 0 || status == INGOT_NO_MEMORY);
        ig_bloom_free(bloom);
    }
}

static void test_bloom__an_absurd_capacity_is_too_large(void **state) {
    (void)state;
    const uint64_t capacities[] = {(UINT64_C(1) << 40) + 1, UINT64_MAX / 11, UINT64_MAX};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct ig_bloom *bloom = NULL;
        ingot_error err = INGOT_ERROR_INIT;
        assert_int_equal(ig_bloom_new(capacities[c], seed, &bloom, &err), INGOT_TOO_LARGE);
        assert_non_null(strstr(err.message, "1099511627776"));
        assert_null(bloom);
    }
}

/* ---- Threads ------------------------------------------------------------------------------ */

enum { THREADS = 8, IDS_EACH = 5000, ROUNDS = 40 };

struct shared {
    struct ig_bloom *bloom;
    atomic_ulong next; /* sync: atomic: a number for each thread */
    atomic_ulong bad;  /* sync: atomic: what cmocka may not be told from a thread */
};

static void *add_many(void *arg) {
    struct shared *shared = arg;
    uint64_t first = atomic_fetch_add(&shared->next, 1) * IDS_EACH;
    unsigned long bad = 0;
    for (uint64_t i = 0; i < IDS_EACH; i++) {
        ingot_id id = id_of(first + i);
        ig_bloom_add(shared->bloom, &id);
        ingot_id earlier = id_of(first + i / 2);
        bad += !ig_bloom_maybe(shared->bloom, &id) || !ig_bloom_maybe(shared->bloom, &earlier);
    }
    atomic_fetch_add(&shared->bad, bad);
    return NULL;
}

/* Two threads have to change one word at the same time for a bit to be lost, so many rounds. */
static void test_bloom__eight_threads_add_and_nothing_is_lost(void **state) {
    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct shared shared = {.bloom = bloom_new(IDS_EACH * THREADS, seed + round)};
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, add_many, &shared), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&shared.bad), 0);
        for (uint64_t i = 0; i < IDS_EACH * THREADS; i++) {
            ingot_id id = id_of(i);
            assert_true(ig_bloom_maybe(shared.bloom, &id));
        }
        assert_int_equal(ig_bloom_count(shared.bloom), IDS_EACH * THREADS);
        ig_bloom_free(shared.bloom);
    }
}

int main(int argc, char **argv) {
    seed = (uint64_t)time(NULL);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        seed = strtoull(argv[2], NULL, 0);
    print_message("seed %" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bloom__an_empty_filter_knows_nothing),
        cmocka_unit_test(test_bloom__no_false_negative),
        cmocka_unit_test(test_bloom__at_capacity_at_most_one_percent_false_positives),
        cmocka_unit_test(test_bloom__ids_alike_in_most_bytes_are_told_apart),
        cmocka_unit_test(test_bloom__the_seed_decides_what_collides),
        cmocka_unit_test(test_bloom__takes_10_to_12_bits_an_id),
        cmocka_unit_test(test_bloom__each_failing_allocation_is_reported),
        cmocka_unit_test(test_bloom__an_absurd_capacity_is_too_large),
        cmocka_unit_test(test_bloom__eight_threads_add_and_nothing_is_lost),
    };
    return cmocka_run_group_tests_name("bloom", tests, NULL, NULL);
}
