/* The memory cache: budget, pins, eviction, threads. */
#include "l1.h"

#include "buf.h"
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

/* ---- Random numbers and objects ----------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t *state, uint64_t bound) { return next_random(state) % bound; }

static ingot_id id_of(uint64_t number) {
    ingot_id id;
    uint64_t state = number;
    for (size_t i = 0; i < INGOT_ID_BYTES; i += 8) {
        uint64_t word = next_random(&state);
        memcpy(id.bytes + i, &word, 8);
    }
    return id;
}

static ingot_buf *object_new(uint64_t number, size_t len) {
    ingot_buf *buf = ig_buf_new(len);
    assert_non_null(buf);
    memset(ig_buf_bytes(buf), (int)(number % 251), len);
    return buf;
}

static bool is_object(const ingot_buf *buf, uint64_t number) {
    const uint8_t *bytes = ingot_buf_data(buf);
    size_t i = 0;
    while (i < ingot_buf_size(buf) && bytes[i] == number % 251)
        i++;
    return i == ingot_buf_size(buf);
}

static void insert(struct ig_l1 *l1, uint64_t number, size_t len) {
    ingot_id id = id_of(number);
    ingot_buf *buf = object_new(number, len);
    ig_l1_insert(l1, &id, buf);
    ingot_buf_release(buf);
}

/* The size of the object, or -1 when it is not there. */
static int64_t find(struct ig_l1 *l1, uint64_t number) {
    ingot_id id = id_of(number);
    ingot_buf *buf = ig_l1_find(l1, &id);
    assert_true(buf == NULL || is_object(buf, number));
    int64_t len = buf == NULL ? -1 : (int64_t)ingot_buf_size(buf);
    ingot_buf_release(buf);
    return len;
}

static struct ig_l1 *l1_new(uint64_t budget) {
    struct ig_l1 *l1 = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    assert_int_equal(ig_l1_new(budget, &l1, &err), INGOT_OK);
    return l1;
}

static ingot_cache_info info_of(const struct ig_l1 *l1) {
    ingot_cache_info info;
    ig_l1_info(l1, &info);
    return info;
}

/* ---- Contract ----------------------------------------------------------------------------- */

static void test_l1__finds_what_was_inserted_and_nothing_else(void **state) {
    (void)state;
    struct ig_l1 *l1 = l1_new(1 << 20);
    insert(l1, 1, 100);
    insert(l1, 2, 0);
    assert_int_equal(find(l1, 1), 100);
    assert_int_equal(find(l1, 2), 0);
    assert_int_equal(find(l1, 3), -1);
    ingot_cache_info info = info_of(l1);
    assert_int_equal(info.entries, 2);
    assert_int_equal(info.insertions, 2);
    assert_int_equal(info.hits, 2);
    assert_int_equal(info.misses, 1);
    assert_int_equal(info.evictions, 0);
    assert_int_equal(info.budget_bytes, 1 << 20);
    ig_l1_free(l1);
}

static int zero_random(void *buffer, size_t len) {
    memset(buffer, 0, len);
    return 0;
}

/* Keys of zero make half the flips below collide in the whole hash: the id alone tells. */
static void test_l1__an_id_that_differs_in_one_bit_misses(void **state) {
    (void)state;
    struct ig_os os = ig_os_real;
    os.random = zero_random;
    ig_os = &os;
    struct ig_l1 *l1 = l1_new(1 << 20);
    ig_os = &ig_os_real;
    ingot_id id = id_of(7);
    memset(id.bytes, 0, 8);
    memset(id.bytes + 16, 0, 8);
    ingot_buf *buf = object_new(7, 10);
    ig_l1_insert(l1, &id, buf);
    for (unsigned bit = 0; bit < 8 * INGOT_ID_BYTES; bit++) {
        ingot_id other = id;
        other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_null(ig_l1_find(l1, &other));
        assert_false(ig_l1_remove(l1, &other));
    }
    assert_true(ig_l1_remove(l1, &id));
    ingot_buf_release(buf);
    ig_l1_free(l1);
}

static void test_l1__an_entry_stays_until_it_is_removed(void **state) {
    (void)state;
    struct ig_l1 *l1 = l1_new(1 << 20);
    insert(l1, 1, 100);
    uint64_t used = info_of(l1).used_bytes;
    insert(l1, 1, 200);
    assert_int_equal(find(l1, 1), 100);
    assert_int_equal(info_of(l1).used_bytes, used);
    assert_int_equal(info_of(l1).insertions, 1);
    ingot_id id = id_of(1);
    assert_true(ig_l1_remove(l1, &id));
    assert_false(ig_l1_remove(l1, &id));
    assert_int_equal(find(l1, 1), -1);
    assert_int_equal(info_of(l1).used_bytes, 0);
    assert_int_equal(info_of(l1).evictions, 0);
    ig_l1_free(l1);
}

static void test_l1__a_budget_of_0_holds_nothing(void **state) {
    (void)state;
    struct ig_l1 *l1 = l1_new(0);
    insert(l1, 1, 0);
    assert_int_equal(find(l1, 1), -1);
    assert_int_equal(info_of(l1).entries, 0);
    assert_int_equal(info_of(l1).used_bytes, 0);
    ig_l1_resize(l1, 1 << 20);
    insert(l1, 1, 10);
    assert_int_equal(find(l1, 1), 10);
    ig_l1_resize(l1, 0);
    assert_int_equal(find(l1, 1), -1);
    assert_int_equal(info_of(l1).used_bytes, 0);
    ig_l1_free(l1);
}

static void test_l1__an_object_over_an_eighth_of_the_budget_is_not_admitted(void **state) {
    (void)state;
    enum { BUDGET = 1 << 20 };
    struct ig_l1 *l1 = l1_new(BUDGET);
    for (uint64_t i = 0; i < 100; i++)
        insert(l1, i, 1000);
    insert(l1, 1000, BUDGET / 8);
    assert_int_equal(find(l1, 1000), -1);
    assert_int_equal(info_of(l1).entries, 100);
    insert(l1, 1001, BUDGET / 8 - 1024);
    assert_int_equal(find(l1, 1001), BUDGET / 8 - 1024);
    ig_l1_free(l1);
}

static void test_l1__a_large_object_takes_room_from_all_stripes(void **state) {
    (void)state;
    enum { BUDGET = 4 << 20, SMALL = 1000, LARGE = BUDGET / 8 - 1024 };
    struct ig_l1 *l1 = l1_new(BUDGET);
    for (uint64_t i = 0; i < 2 * BUDGET / SMALL; i++)
        insert(l1, i, SMALL);
    uint64_t full = info_of(l1).entries;
    insert(l1, 1 << 20, LARGE);
    assert_int_equal(find(l1, 1 << 20), LARGE);
    assert_in_range(info_of(l1).used_bytes, 0, BUDGET);
    assert_in_range(info_of(l1).entries, full * 3 / 4, full);
    ig_l1_free(l1);
}

static void test_l1__the_budget_is_used(void **state) {
    (void)state;
    enum { BUDGET = 1 << 20 };
    const size_t sizes[] = {0, 100, 4096, 40000};
    for (size_t s = 0; s < 4; s++) {
        struct ig_l1 *l1 = l1_new(BUDGET);
        for (uint64_t i = 0; i < 20000; i++)
            insert(l1, i, sizes[s]);
        assert_in_range(info_of(l1).used_bytes, BUDGET - 2 * (sizes[s] + 4096), BUDGET);
        ig_l1_free(l1);
    }
}

static void test_l1__resize_evicts_before_it_returns(void **state) {
    (void)state;
    struct ig_l1 *l1 = l1_new(4 << 20);
    for (uint64_t i = 0; i < 500; i++)
        insert(l1, i, 4096);
    ingot_cache_info before = info_of(l1);
    assert_int_equal(before.entries, 500);
    ig_l1_resize(l1, 64 << 20);
    assert_int_equal(info_of(l1).entries, 500);
    ig_l1_resize(l1, before.used_bytes);
    assert_int_equal(info_of(l1).entries, 500);
    for (uint64_t budget = before.used_bytes; budget > 0; budget /= 2) {
        ig_l1_resize(l1, budget);
        assert_in_range(info_of(l1).used_bytes, 0, budget);
        assert_int_equal(info_of(l1).budget_bytes, budget);
    }
    ig_l1_resize(l1, 0);
    assert_int_equal(info_of(l1).used_bytes, 0);
    assert_int_equal(info_of(l1).evictions, 500);
    ig_l1_free(l1);
}

static void test_l1__a_view_outlives_eviction_clear_and_the_cache(void **state) {
    (void)state;
    enum { VIEWS = 4 };
    ingot_buf *views[VIEWS];
    struct ig_l1 *l1 = l1_new(1 << 20);
    for (uint64_t i = 0; i < VIEWS; i++) {
        insert(l1, i, 5000);
        ingot_id id = id_of(i);
        views[i] = ig_l1_find(l1, &id);
        assert_non_null(views[i]);
    }
    ingot_id first = id_of(0);
    assert_true(ig_l1_remove(l1, &first));
    assert_true(is_object(views[0], 0));
    for (uint64_t i = 100; i < 1000; i++)
        insert(l1, i, 5000);
    assert_true(is_object(views[1], 1));
    assert_in_range(ig_l1_clear(l1), 1, 1000);
    assert_int_equal(ig_l1_clear(l1), 0);
    assert_int_equal(info_of(l1).used_bytes, 0);
    assert_true(is_object(views[2], 2));
    ig_l1_free(l1);
    for (uint64_t i = 0; i < VIEWS; i++) {
        assert_true(is_object(views[i], i));
        ingot_buf_release(views[i]);
    }
    ig_l1_free(NULL);
}

/* ---- Against a model ---------------------------------------------------------------------- */

enum { MODEL_IDS = 600 };
struct model {
    int64_t len[MODEL_IDS]; /* -1: surely not in the cache */
    uint64_t removed;
};

static void model_step(struct ig_l1 *l1, struct model *model, uint64_t *random, bool resizes) {
    uint64_t number = below(random, MODEL_IDS);
    uint64_t action = below(random, 1000);
    ingot_id id = id_of(number);
    if (action < 500) {
        size_t len = (size_t)below(random, below(random, 10) == 0 ? 20000 : 300);
        insert(l1, number, len);
        if (model->len[number] < 0)
            model->len[number] = (int64_t)len;
        else if (find(l1, number) >= 0 && find(l1, number) != model->len[number])
            model->len[number] = (int64_t)len; /* was evicted and came back */
    } else if (action < 800) {
        int64_t len = find(l1, number);
        assert_true(len < 0 || len == model->len[number]);
    } else if (action < 990) {
        bool was = ig_l1_remove(l1, &id);
        assert_true(!was || model->len[number] >= 0);
        model->removed += was;
        model->len[number] = -1;
    } else if (action < 995 || !resizes) {
        model->removed += ig_l1_clear(l1);
        memset(model->len, 0xff, sizeof model->len);
    } else {
        ig_l1_resize(l1, below(random, 1 << below(random, 22)));
    }
}

static void check_model(struct ig_l1 *l1, const struct model *model, bool exact) {
    ingot_cache_info info = info_of(l1);
    assert_true(info.used_bytes <= info.budget_bytes);
    assert_int_equal(info.entries, info.insertions - info.evictions - model->removed);
    uint64_t found = 0, bytes = 0;
    for (uint64_t i = 0; i < MODEL_IDS; i++) {
        int64_t len = find(l1, i);
        assert_true(len < 0 || len == model->len[i]);
        assert_true(!exact || len == model->len[i]);
        found += len >= 0;
        bytes += len >= 0 ? (uint64_t)len : 0;
    }
    assert_int_equal(found, info.entries);
    assert_true(info.used_bytes >= bytes);
    /* Entry, buffer header, at most eight buckets each, and a smallest table a stripe. */
    assert_true(info.used_bytes <= bytes + found * 256 + 64 * 128);
    assert_true(found > 0 || info.used_bytes == 0);
}

static void run_model(bool resizes, uint64_t budget) {
    uint64_t random = seed;
    struct model model = {.removed = 0};
    memset(model.len, 0xff, sizeof model.len);
    struct ig_l1 *l1 = l1_new(budget);
    for (int i = 0; i < 20000; i++) {
        model_step(l1, &model, &random, resizes);
        ingot_cache_info info = info_of(l1);
        assert_true(info.used_bytes <= info.budget_bytes);
        if (i % 100 == 0)
            check_model(l1, &model, !resizes);
    }
    ig_l1_free(l1);
}

static void test_l1__with_room_for_all_it_equals_a_map(void **state) {
    (void)state;
    run_model(false, 64 << 20);
}

static void test_l1__random_work_never_exceeds_the_budget(void **state) {
    (void)state;
    run_model(true, 200000);
}

/* ---- Eviction policy ---------------------------------------------------------------------- */

enum { ZIPF_IDS = 20000, ZIPF_REQUESTS = 300000, FIFO_MAX = 4096 };

struct fifo {
    uint64_t ring[FIFO_MAX];
    bool in[ZIPF_IDS * 2 + ZIPF_REQUESTS];
    size_t size;
    size_t at;
};

static bool fifo_request(struct fifo *fifo, uint64_t number) {
    if (fifo->in[number])
        return true;
    if (fifo->size == FIFO_MAX)
        fifo->in[fifo->ring[fifo->at]] = false;
    else
        fifo->size++;
    fifo->ring[fifo->at] = number;
    fifo->at = (fifo->at + 1) % FIFO_MAX;
    fifo->in[number] = true;
    return false;
}

/* Numbers 0 to ZIPF_IDS - 1, the lower the more often (exponent 1). */
static uint64_t zipf(uint64_t *random, const double *cumulative) {
    double total = cumulative[ZIPF_IDS - 1];
    double want = total * (double)(next_random(random) >> 11) / 9007199254740992.0;
    size_t low = 0, high = ZIPF_IDS - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (cumulative[middle] < want)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A skewed load with a scan of ids that never come again running through it. The FIFO beside it
 * has room for as many entries as the cache ever held. */
static void test_l1__resists_a_scan_better_than_fifo(void **state) {
    (void)state;
    static double cumulative[ZIPF_IDS];
    static struct fifo fifo;
    for (int i = 0; i < ZIPF_IDS; i++)
        cumulative[i] = (i > 0 ? cumulative[i - 1] : 0) + 1.0 / (i + 1);
    struct ig_l1 *l1 = l1_new((uint64_t)FIFO_MAX * 160);
    uint64_t random = seed;
    uint64_t fifo_hits = 0, entries_max = 0;
    for (uint64_t i = 0; i < ZIPF_REQUESTS; i++) {
        uint64_t number = i % 3 == 0 ? ZIPF_IDS + i : zipf(&random, cumulative);
        fifo_hits += fifo_request(&fifo, number);
        if (find(l1, number) < 0)
            insert(l1, number, 64);
        if (i % 1000 == 0 && info_of(l1).entries > entries_max)
            entries_max = info_of(l1).entries;
    }
    uint64_t hits = info_of(l1).hits;
    print_message("%" PRIu64 " hits with %" PRIu64 " entries, FIFO %" PRIu64 " with %d\n", hits,
                  entries_max, fifo_hits, FIFO_MAX);
    assert_in_range(entries_max, FIFO_MAX / 2, FIFO_MAX);
    assert_true(hits > fifo_hits + fifo_hits / 20);
    ig_l1_free(l1);
}

/* Time to look up `count` ids ten times each: random ids, or ids equal but for bytes 12 to 15. */
static uint64_t lookup_ns(bool chosen, uint32_t count) {
    struct ig_l1 *l1 = l1_new(64 << 20);
    ingot_buf *buf = object_new(0, 8);
    uint64_t start = 0;
    for (int pass = 0; pass < 11; pass++) {
        for (uint32_t i = 0; i < count; i++) {
            ingot_id id = id_of(chosen ? 0 : i);
            if (chosen)
                memcpy(id.bytes + 12, &i, sizeof i);
            if (pass == 0)
                ig_l1_insert(l1, &id, buf);
            else
                ingot_buf_release(ig_l1_find(l1, &id));
        }
        if (pass == 0)
            start = ig_os->monotonic_ns();
    }
    uint64_t took = ig_os->monotonic_ns() - start;
    assert_int_equal(info_of(l1).hits, 10 * (uint64_t)count);
    ingot_buf_release(buf);
    ig_l1_free(l1);
    return took;
}

/* Chains of thousands would take hundreds of times as long; 10 leaves room for a busy machine. */
static void test_l1__ids_alike_in_most_bytes_are_found_as_fast(void **state) {
    (void)state;
    bool fast = false;
    for (int i = 0; i < 3 && !fast; i++)
        fast = lookup_ns(true, 50000) < 10 * lookup_ns(false, 50000);
    assert_true(fast);
}

/* ---- Failing systems ---------------------------------------------------------------------- */

static long allocations_left;
static bool allocate_few(void) { return allocations_left-- > 0; }

static int no_random(void *buffer, size_t len) {
    (void)buffer, (void)len;
    return -1;
}

static void test_l1__survives_each_failing_allocation(void **state) {
    (void)state;
    struct ig_os os = ig_os_real;
    os.may_allocate = allocate_few;
    bool complete = false;
    for (long n = 0; !complete; n++) {
        assert_true(n < 1000);
        struct ig_l1 *l1 = NULL;
        ingot_error err = INGOT_ERROR_INIT;
        ingot_buf *buf = object_new(1, 10);
        allocations_left = n;
        ig_os = &os;
        ingot_status status = ig_l1_new(1 << 20, &l1, &err);
        for (uint64_t i = 0; status == INGOT_OK && i < 200; i++) {
            ingot_id id = id_of(i);
            ig_l1_insert(l1, &id, buf);
        }
        ig_os = &ig_os_real;
        ingot_buf_release(buf);
        if (status != INGOT_OK) {
            assert_int_equal(status, INGOT_NO_MEMORY);
            assert_true(err.status == INGOT_NO_MEMORY && l1 == NULL);
            continue;
        }
        complete = info_of(l1).entries == 200;
        ig_l1_clear(l1);
        assert_int_equal(info_of(l1).used_bytes, 0);
        ig_l1_free(l1);
    }
}

static void test_l1__is_not_made_without_randomness(void **state) {
    (void)state;
    struct ig_os os = ig_os_real;
    os.random = no_random;
    ig_os = &os;
    struct ig_l1 *l1 = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status status = ig_l1_new(1 << 20, &l1, &err);
    ig_os = &ig_os_real;
    assert_int_equal(status, INGOT_IO);
    assert_null(l1);
}

/* ---- Threads ------------------------------------------------------------------------------ */

enum { THREADS = 16, THREAD_STEPS = 15000, THREAD_IDS = 2000, VIEWS_HELD = 8 };
#define BUDGET_MAX (UINT64_C(1) << 20)

struct shared {
    struct ig_l1 *l1;
    atomic_bool done;  /* sync: atomic: ends the resizing thread */
    atomic_ulong bad;  /* sync: atomic: what cmocka may not be told from here */
    atomic_ulong next; /* sync: atomic: a number for each thread */
};

static void *hammer(void *arg) {
    struct shared *shared = arg;
    uint64_t random = seed + atomic_fetch_add(&shared->next, 1);
    ingot_buf *held[VIEWS_HELD] = {0};
    uint64_t held_number[VIEWS_HELD] = {0};
    unsigned long bad = 0;
    for (int i = 0; i < THREAD_STEPS; i++) {
        uint64_t number = below(&random, THREAD_IDS);
        ingot_id id = id_of(number);
        uint64_t action = below(&random, 1000);
        if (action < 500) {
            size_t slot = (size_t)below(&random, VIEWS_HELD);
            bad += held[slot] != NULL && !is_object(held[slot], held_number[slot]);
            ingot_buf_release(held[slot]);
            held[slot] = ig_l1_find(shared->l1, &id);
            held_number[slot] = number;
        } else if (action < 900) {
            insert(shared->l1, number, (size_t)below(&random, i % 50 == 0 ? 100000 : 2000));
        } else if (action < 998) {
            ig_l1_remove(shared->l1, &id);
        } else if (action == 998) {
            ig_l1_clear(shared->l1);
        }
        if (i % 8 == 0)
            bad += info_of(shared->l1).used_bytes > BUDGET_MAX;
    }
    for (size_t i = 0; i < VIEWS_HELD; i++) {
        bad += held[i] != NULL && !is_object(held[i], held_number[i]);
        ingot_buf_release(held[i]);
    }
    atomic_fetch_add(&shared->bad, bad);
    return NULL;
}

/* The only one to resize, so it may hold the cache to its word between two calls. */
static void *resize_on_and_on(void *arg) {
    struct shared *shared = arg;
    uint64_t random = ~seed;
    unsigned long bad = 0;
    while (!atomic_load(&shared->done)) {
        uint64_t budget = below(&random, 8) == 0 ? 0 : below(&random, BUDGET_MAX);
        ig_l1_resize(shared->l1, budget);
        for (int i = 0; i < 20; i++)
            bad += info_of(shared->l1).used_bytes > budget;
    }
    atomic_fetch_add(&shared->bad, bad);
    return NULL;
}

static void test_l1__threads_hammer_it_while_it_is_resized(void **state) {
    (void)state;
    struct shared shared = {.l1 = l1_new(BUDGET_MAX)};
    pthread_t threads[THREADS], resizer;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &shared), 0);
    assert_int_equal(pthread_create(&resizer, NULL, resize_on_and_on, &shared), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&shared.done, true);
    pthread_join(resizer, NULL);
    assert_int_equal(atomic_load(&shared.bad), 0);
    ingot_cache_info info = info_of(shared.l1);
    assert_true(info.hits > 0 && info.evictions > 0);
    assert_int_equal(ig_l1_clear(shared.l1), info.entries);
    assert_int_equal(info_of(shared.l1).used_bytes, 0);
    ig_l1_free(shared.l1);
}

int main(int argc, char **argv) {
    seed = (uint64_t)time(NULL);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        seed = strtoull(argv[2], NULL, 0);
    print_message("seed %" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_l1__finds_what_was_inserted_and_nothing_else),
        cmocka_unit_test(test_l1__an_id_that_differs_in_one_bit_misses),
        cmocka_unit_test(test_l1__an_entry_stays_until_it_is_removed),
        cmocka_unit_test(test_l1__a_budget_of_0_holds_nothing),
        cmocka_unit_test(test_l1__an_object_over_an_eighth_of_the_budget_is_not_admitted),
        cmocka_unit_test(test_l1__a_large_object_takes_room_from_all_stripes),
        cmocka_unit_test(test_l1__the_budget_is_used),
        cmocka_unit_test(test_l1__resize_evicts_before_it_returns),
        cmocka_unit_test(test_l1__a_view_outlives_eviction_clear_and_the_cache),
        cmocka_unit_test(test_l1__with_room_for_all_it_equals_a_map),
        cmocka_unit_test(test_l1__random_work_never_exceeds_the_budget),
        cmocka_unit_test(test_l1__resists_a_scan_better_than_fifo),
        cmocka_unit_test(test_l1__ids_alike_in_most_bytes_are_found_as_fast),
        cmocka_unit_test(test_l1__survives_each_failing_allocation),
        cmocka_unit_test(test_l1__is_not_made_without_randomness),
        cmocka_unit_test(test_l1__threads_hammer_it_while_it_is_resized),
    };
    return cmocka_run_group_tests_name("l1", tests, NULL, NULL);
}
