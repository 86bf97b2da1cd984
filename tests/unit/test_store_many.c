/* Many objects at once: batches, listing, short ids, statistics and the memory cache. */
#include "test_store.h"

#include <pthread.h>

#define MANY 200

static const ingot_id unknown = {{9, 9, 9}};

/* ---- Batches ------------------------------------------------------------------------------- */

static void test_many__a_put_batch_is_many_puts(void **state) {
    struct fixture *f = *state;
    ingot_put_item items[MANY];
    uint8_t *bytes[MANY];
    for (size_t i = 0; i < MANY; i++) { /* every tenth is the same as the one before */
        size_t seed = i % 10 == 9 ? i - 1 : i;
        size_t len = seed * 40;
        bytes[i] = bytes_of(seed, len);
        items[i] = (ingot_put_item){.data = bytes[i], .len = len, .status = 99};
    }
    expect_ok(ingot_store_put_batch(f->store, items, MANY, NULL, &err));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(items[i].status, INGOT_OK);
        expect_bytes(f, &items[i].id, bytes[i], items[i].len);
        expect_refs(f, &items[i].id, i % 10 >= 8 ? 2 : 1);
        free(bytes[i]);
    }
    assert_int_equal(stats_of(f).objects, MANY - MANY / 10);
    expect_ok(ingot_store_put_batch(f->store, NULL, 0, NULL, &err));
    expect_clean(f);
}

static void test_many__a_put_batch_takes_large_and_small(void **state) {
    struct fixture *f = *state;
    uint8_t *large = bytes_of(1, MIB);
    ingot_put_item items[3] = {{.data = "s", .len = 1}, {.data = large, .len = MIB}, {.len = 0}};
    expect_ok(ingot_store_put_batch(f->store, items, 3, NULL, &err));
    reopen(f);
    expect_bytes(f, &items[0].id, "s", 1);
    expect_bytes(f, &items[1].id, large, MIB);
    expect_bytes(f, &items[2].id, NULL, 0);
    free(large);
}

static void test_many__one_bad_item_of_a_put_batch_fails_alone(void **state) {
    struct fixture *f = *state;
    ingot_put_item items[3] = {
        {.data = "one", .len = 3},
        {.data = "two", .len = (size_t)INGOT_OBJECT_MAX + 1},
        {.data = "three", .len = 5},
    };
    expect(INGOT_TOO_LARGE, ingot_store_put_batch(f->store, items, 3, NULL, &err));
    assert_non_null(strstr(err.message, "item 1"));
    assert_int_equal(items[0].status, INGOT_OK);
    assert_int_equal(items[1].status, INGOT_TOO_LARGE);
    assert_int_equal(items[2].status, INGOT_OK);
    reopen(f);
    expect_bytes(f, &items[0].id, "one", 3);
    expect_bytes(f, &items[2].id, "three", 5);
    assert_int_equal(stats_of(f).objects, 2);
    expect_clean(f);
}

#define WRITERS 64

struct equal_put {
    struct fixture *f;
    pthread_barrier_t *start;
    ingot_id id;
    ingot_status status;
};

static void *put_equal(void *arg) {
    struct equal_put *put = arg;
    pthread_barrier_wait(put->start);
    put->status = ingot_store_put(put->f->store, "the same bytes", 14, NULL, &put->id, NULL);
    return NULL;
}

static void test_many__equal_puts_at_once_write_the_bytes_once(void **state) {
    struct fixture *f = *state;
    pthread_t threads[WRITERS];
    struct equal_put puts[WRITERS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, WRITERS);
    for (size_t i = 0; i < WRITERS; i++) {
        puts[i] = (struct equal_put){.f = f, .start = &start};
        assert_int_equal(pthread_create(&threads[i], NULL, put_equal, &puts[i]), 0);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(puts[i].status, INGOT_OK);
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(stats_of(f).puts_new, 1);
    assert_int_equal(stats_of(f).puts_duplicate, WRITERS - 1);
    expect_refs(f, &puts[0].id, WRITERS);
    expect_clean(f);
}

static void test_many__one_bad_item_of_a_get_batch_fails_alone(void **state) {
    struct fixture *f = *state;
    ingot_get_item items[3] = {{.id = put_text(f, "one")}, {.id = unknown}, {.id = unknown}};
    items[1].buf = (ingot_buf *)(uintptr_t)7;
    items[2].id = put_text(f, "three");
    expect(INGOT_NOT_FOUND, ingot_store_get_batch(f->store, items, 3, NULL, &err));
    assert_int_equal(items[0].status, INGOT_OK);
    assert_int_equal(items[1].status, INGOT_NOT_FOUND);
    assert_int_equal(items[2].status, INGOT_OK);
    assert_null(items[1].buf);
    assert_memory_equal(ingot_buf_data(items[0].buf), "one", 3);
    assert_memory_equal(ingot_buf_data(items[2].buf), "three", 5);
    ingot_buf_release(items[0].buf);
    ingot_buf_release(items[2].buf);
}

static void test_many__reference_changes_take_effect_together(void **state) {
    struct fixture *f = *state;
    ingot_batch *batch = NULL;
    ingot_id a = put_text(f, "a");
    ingot_id b = put_text(f, "b");
    expect_ok(ingot_batch_new(f->store, &batch, &err));
    expect_ok(ingot_batch_ref(batch, &a, &err));
    expect_ok(ingot_batch_ref(batch, &a, &err));
    expect_ok(ingot_batch_unref(batch, &b, &err));
    expect_refs(f, &a, 1);
    expect_ok(ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 3);
    expect_refs(f, &b, 0);
    expect_ok(ingot_batch_commit(batch, NULL, &err)); /* it is empty now */
    expect_refs(f, &a, 3);
    ingot_batch_free(batch);
    reopen(f);
    expect_refs(f, &a, 3);
    expect_refs(f, &b, 0);
}

static void test_many__a_refused_batch_changes_nothing_and_can_be_tried_again(void **state) {
    struct fixture *f = *state;
    ingot_batch *batch = NULL;
    ingot_id a = put_text(f, "a");
    ingot_id zero = put_loose(f, "zero");
    expect_ok(ingot_batch_new(f->store, &batch, &err));
    expect_ok(ingot_batch_ref(batch, &a, &err));
    expect_ok(ingot_batch_unref(batch, &zero, &err));
    expect(INGOT_NO_REFERENCE, ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 1);
    expect_refs(f, &zero, 0);
    expect_ok(ingot_store_ref(f->store, &zero, NULL, NULL, &err));
    expect_ok(ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 2);
    expect_refs(f, &zero, 0);
    expect_ok(ingot_batch_ref(batch, &a, &err));
    expect_ok(ingot_batch_ref(batch, &unknown, &err));
    expect(INGOT_NOT_FOUND, ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 2);
    ingot_batch_free(batch);
}

static void test_many__a_batch_sees_its_own_changes(void **state) {
    struct fixture *f = *state;
    ingot_batch *batch = NULL;
    ingot_id a = put_text(f, "a");
    expect_ok(ingot_batch_new(f->store, &batch, &err));
    expect_ok(ingot_batch_unref(batch, &a, &err));
    expect_ok(ingot_batch_unref(batch, &a, &err));
    expect(INGOT_NO_REFERENCE, ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 1);
    ingot_batch_free(batch);
}

static void test_many__a_batch_is_bounded(void **state) {
    struct fixture *f = *state;
    ingot_batch *batch = NULL;
    ingot_id a = put_text(f, "a");
    expect_ok(ingot_batch_new(f->store, &batch, &err));
    for (int i = 0; i < INGOT_BATCH_MAX; i++)
        expect_ok(ingot_batch_ref(batch, &a, &err));
    expect(INGOT_BUSY, ingot_batch_ref(batch, &a, &err));
    expect_ok(ingot_batch_commit(batch, NULL, &err));
    expect_refs(f, &a, 1 + INGOT_BATCH_MAX);
    ingot_batch_free(batch);
}

/* ---- Listing and short ids ----------------------------------------------------------------- */

static void test_many__an_iterator_lists_in_order_what_was_there(void **state) {
    struct fixture *f = *state;
    for (uint64_t i = 0; i < MANY; i++)
        put_seed(f, i, 100 + i);
    ingot_id loose = put_loose(f, "deleted");
    expect_ok(ingot_store_delete(f->store, &loose, NULL, &err));
    ingot_iter *iter = NULL;
    expect_ok(ingot_iter_open(f->store, &iter, &err));
    put_text(f, "too late");
    ingot_id last = {{0}};
    ingot_id id;
    ingot_stat stat;
    uint64_t count = 0;
    ingot_status st;
    while ((st = ingot_iter_next(iter, &id, &stat, &err)) == INGOT_OK) {
        if (count > 0)
            assert_true(ingot_id_compare(&last, &id) < 0);
        ingot_stat direct;
        expect_ok(ingot_store_stat(f->store, &id, &direct, &err));
        assert_int_equal(stat.size, direct.size);
        assert_int_equal(stat.refs, 1);
        assert_int_equal(direct.refs, 1);
        assert_int_not_equal(stat.size, 8); /* "too late" */
        last = id;
        count++;
    }
    expect(INGOT_NOT_FOUND, st);
    assert_int_equal(count, MANY);
    ingot_iter_close(iter);
}

static void test_many__a_short_id_finds_the_one_it_starts(void **state) {
    struct fixture *f = *state;
    char hex[INGOT_ID_HEX + 1];
    ingot_id id = put_text(f, "short");
    ingot_id found;
    ingot_id_format(&id, hex);
    for (size_t len = INGOT_ID_PREFIX_MIN; len <= INGOT_ID_HEX; len++) {
        char prefix[INGOT_ID_HEX + 1];
        snprintf(prefix, sizeof prefix, "%.*s", (int)len, hex);
        memset(&found, 0, sizeof found);
        expect_ok(ingot_store_resolve(f->store, prefix, &found, &err));
        expect_same_id(&found, &id);
    }
    char wrong[6];
    snprintf(wrong, sizeof wrong, "%.5s", hex);
    wrong[4] = wrong[4] == '0' ? '1' : '0';
    expect(INGOT_NOT_FOUND, ingot_store_resolve(f->store, wrong, &found, &err));
    expect(INGOT_USAGE, ingot_store_resolve(f->store, "abc", &found, &err));
    expect(INGOT_USAGE, ingot_store_resolve(f->store, "xyzw", &found, &err));
    expect(INGOT_USAGE, ingot_store_resolve(f->store, "", &found, &err));
    unref(f, &id);
    expect_ok(ingot_store_delete(f->store, &id, NULL, &err));
    expect(INGOT_NOT_FOUND, ingot_store_resolve(f->store, hex, &found, &err));
}

static void test_many__a_short_id_that_starts_two_is_ambiguous(void **state) {
    struct fixture *f = *state;
    static uint32_t number_of[1 << 16]; /* + 1 */
    uint32_t first = 0;
    uint32_t second = 0;
    for (uint32_t n = 0; first == 0; n++) {
        ingot_id id;
        ingot_store_hash(f->store, &n, sizeof n, &id);
        uint32_t prefix = (uint32_t)id.bytes[0] << 8 | id.bytes[1];
        if (number_of[prefix] != 0) {
            first = number_of[prefix];
            second = n + 1;
        }
        number_of[prefix] = n + 1;
    }
    char hex[INGOT_ID_HEX + 1];
    char prefix[5];
    ingot_id found;
    first--;
    second--;
    ingot_id id = put_flags(f, &first, sizeof first, 0);
    put_flags(f, &second, sizeof second, 0);
    ingot_id_format(&id, hex);
    snprintf(prefix, sizeof prefix, "%.4s", hex);
    expect(INGOT_AMBIGUOUS, ingot_store_resolve(f->store, prefix, &found, &err));
    expect_ok(ingot_store_resolve(f->store, hex, &found, &err));
    expect_same_id(&found, &id);
}

/* ---- Numbers and memory -------------------------------------------------------------------- */

static void test_many__the_numbers_add_up(void **state) {
    struct fixture *f = *state;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        put_seed(f, i, i * 10);
        bytes += i * 10;
    }
    ingot_id large = put_seed(f, 1000, MIB);
    put_seed(f, 1000, MIB);
    expect_seed(f, &large, 1000, MIB);
    ingot_stats stats = stats_of(f);
    assert_int_equal(stats.objects, MANY + 1);
    assert_int_equal(stats.logical_bytes, bytes + MIB);
    assert_int_equal(stats.large_objects, 1);
    assert_int_equal(stats.large_bytes, MIB);
    assert_int_equal(stats.puts, MANY + 2);
    assert_int_equal(stats.puts_new, MANY + 1);
    assert_int_equal(stats.puts_new + stats.puts_duplicate, stats.puts);
    assert_int_equal(stats.put_bytes, bytes + 2 * MIB);
    assert_int_equal(stats.put_new_bytes, bytes + MIB);
    assert_int_equal(stats.gets, 1);
    assert_int_equal(stats.get_bytes, MIB);
    assert_int_equal(stats.gets_l1 + stats.gets_log + stats.gets_file, stats.gets);
    assert_true(stats.segments >= 1 && stats.log_bytes >= stats.log_live_bytes);
    assert_true(stats.log_live_bytes >= bytes);
    assert_true(stats.commit_records >= MANY + 2 && stats.commit_groups >= 1);
    assert_true(stats.syncs >= stats.commit_groups);
    assert_int_equal(stats.corruptions, 0);
    reopen(f);
    ingot_stats again = stats_of(f);
    assert_int_equal(again.objects, stats.objects);
    assert_int_equal(again.logical_bytes, stats.logical_bytes);
    assert_int_equal(again.large_bytes, stats.large_bytes);
    assert_int_equal(again.log_live_bytes, stats.log_live_bytes);
    assert_int_equal(again.puts, 0);
}

static void test_many__stats_of_an_older_caller_leave_its_memory_alone(void **state) {
    struct fixture *f = *state;
    ingot_stats stats;
    memset(&stats, 0x5a, sizeof stats);
    stats.size = (uint32_t)(offsetof(ingot_stats, logical_bytes));
    put_text(f, "one");
    expect_ok(ingot_store_stats(f->store, &stats, &err));
    assert_int_equal(stats.objects, 1);
    assert_int_equal(stats.logical_bytes, UINT64_C(0x5a5a5a5a5a5a5a5a));
}

static void test_many__the_cache_can_be_asked_filled_and_emptied(void **state) {
    struct fixture *f = *state;
    ingot_buf *buf = NULL;
    ingot_cache_info info;
    ingot_id id = put_text(f, "cached");
    ingot_cache_evict(f->store, NULL);
    expect(INGOT_NOT_FOUND, ingot_cache_get(f->store, &id, &buf));
    expect_ok(ingot_cache_set(f->store, &id, &err));
    expect_ok(ingot_cache_get(f->store, &id, &buf));
    ingot_cache_stats(f->store, &info);
    assert_int_equal(info.entries, 1);
    assert_true(info.used_bytes >= 6 && info.used_bytes <= info.budget_bytes);
    assert_int_equal(ingot_cache_evict(f->store, &id), 1);
    assert_int_equal(ingot_cache_evict(f->store, &id), 0);
    ingot_cache_stats(f->store, &info);
    assert_int_equal(info.entries, 0);
    assert_memory_equal(ingot_buf_data(buf), "cached", 6); /* a view stays */
    ingot_buf_release(buf);
    uint64_t from_log = stats_of(f).gets_log;
    expect_bytes(f, &id, "cached", 6);
    assert_int_equal(stats_of(f).gets_log, from_log + 1);
}

static void test_many__no_cache_admits_nothing(void **state) {
    struct fixture *f = *state;
    ingot_cache_info info;
    ingot_op op = INGOT_OP_INIT;
    ingot_buf *buf = NULL;
    op.flags = INGOT_NO_CACHE;
    ingot_id id = put_flags(f, "cold", 4, INGOT_NO_CACHE);
    ingot_cache_stats(f->store, &info);
    assert_int_equal(info.entries, 0);
    expect_ok(ingot_store_get(f->store, &id, &op, &buf, &err));
    ingot_buf_release(buf);
    ingot_cache_stats(f->store, &info);
    assert_int_equal(info.entries, 0);
}

static void test_many__the_cache_obeys_a_new_budget_at_once(void **state) {
    struct fixture *f = *state;
    ingot_cache_info info;
    ingot_id ids[MANY];
    for (uint64_t i = 0; i < MANY; i++) {
        ids[i] = put_seed(f, i, 10000);
        expect_ok(ingot_cache_set(f->store, &ids[i], &err));
    }
    for (uint64_t budget = 2 * MIB; budget > 0; budget = budget > 4 * KIB ? budget / 4 : 0) {
        expect_ok(ingot_cache_resize(f->store, budget, &err));
        ingot_cache_stats(f->store, &info);
        assert_int_equal(info.budget_bytes, budget);
        assert_true(info.used_bytes <= budget);
    }
    expect_ok(ingot_cache_resize(f->store, 0, &err));
    ingot_cache_stats(f->store, &info);
    assert_int_equal(info.entries, 0);
    for (uint64_t i = 0; i < MANY; i++)
        expect_seed(f, &ids[i], i, 10000);
}

#define T(name) cmocka_unit_test_setup_teardown(test_many__##name, store_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_put_batch_is_many_puts),
        T(a_put_batch_takes_large_and_small),
        T(one_bad_item_of_a_put_batch_fails_alone),
        T(equal_puts_at_once_write_the_bytes_once),
        T(one_bad_item_of_a_get_batch_fails_alone),
        T(reference_changes_take_effect_together),
        T(a_refused_batch_changes_nothing_and_can_be_tried_again),
        T(a_batch_sees_its_own_changes),
        T(a_batch_is_bounded),
        T(an_iterator_lists_in_order_what_was_there),
        T(a_short_id_finds_the_one_it_starts),
        T(a_short_id_that_starts_two_is_ambiguous),
        T(the_numbers_add_up),
        T(stats_of_an_older_caller_leave_its_memory_alone),
        T(the_cache_can_be_asked_filled_and_emptied),
        T(no_cache_admits_nothing),
        T(the_cache_obeys_a_new_budget_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
