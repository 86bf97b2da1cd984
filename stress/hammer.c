/* Many threads, every operation, everything verified, nothing lost, nothing leaked.
 *
 *   hammer [--threads=850] [--seconds=10] [--seed=N]
 *
 * Every thread works on contents that all share and on contents of its own. The program holds one
 * reference to each shared content and a thread takes back only references that it added, so a
 * shared content must always be there, whatever the collector does; a thread's own contents are in
 * the state that it brought them to. Beside the threads run a collector that cleans, and somebody
 * who resizes and empties the cache. At the end counts are exactly the sum of the acks, before and
 * after a reopen, the check is clean, and descriptors and memory are back where they were.
 */
#include "support.h"

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED 256
#define OWN_LEN_MAX 6000
#define MANY 8
#define LARGE_MIN (UINT64_C(256) << 10)
#define CONTENT_MAX (UINT32_C(400) << 10)
#define STACK_BYTES (512 << 10)
#define LEAK_MAX (UINT64_C(96) << 20) /* what allocators and the index may keep for reuse */

struct shared {
    uint8_t *bytes;
    size_t len;
    ingot_id id;
    atomic_int_fast64_t refs; /* sync: atomic, relaxed: a sum, read after the threads have ended */
};

struct hammer {
    ingot_store *store;
    char *path;
    uint64_t seed;
    uint32_t threads;
    struct shared shared[SHARED];
    atomic_bool stop;                /* sync: atomic, relaxed: only a flag */
    atomic_uint_fast64_t operations; /* sync: atomic, relaxed: a sum */
};

struct worker {
    struct hammer *hammer;
    struct rng rng;
    uint32_t number;
    uint32_t balance[SHARED]; /* references that this thread added and has not taken back */
    uint64_t own_made;
    uint8_t *bytes; /* CONTENT_MAX */
};

static void must(ingot_status st, const ingot_error *err, const char *what) {
    if (st != INGOT_OK)
        failed("%s: %s: %s", what, ingot_status_name(st), err->message);
}

static void must_be(const struct shared *shared, const void *bytes, size_t len, const char *what) {
    if (len != shared->len || memcmp(bytes, shared->bytes, len) != 0)
        failed("%s: wrong bytes", what);
}

static void added(struct worker *worker, uint32_t n) {
    worker->balance[n]++;
    atomic_fetch_add_explicit(&worker->hammer->shared[n].refs, 1, memory_order_relaxed);
}

/* ---- On shared contents -------------------------------------------------------------------- */

static uint32_t pick(struct worker *worker) { return rng_below(&worker->rng, SHARED); }

static void put_shared(struct worker *worker) {
    uint32_t n = pick(worker);
    struct shared *shared = &worker->hammer->shared[n];
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_id id;
    op.flags = rng_chance(&worker->rng, 50) ? INGOT_RELAXED : 0;
    must(ingot_store_put(worker->hammer->store, shared->bytes, shared->len, &op, &id, &err), &err,
         "put");
    if (ingot_id_compare(&id, &shared->id) != 0)
        failed("put: wrong id");
    added(worker, n);
}

static void put_many(struct worker *worker) {
    ingot_put_item items[MANY];
    uint32_t first = pick(worker);
    ingot_error err = INGOT_ERROR_INIT;
    for (uint32_t i = 0; i < MANY; i++) {
        const struct shared *shared = &worker->hammer->shared[(first + i) % SHARED];
        items[i] = (ingot_put_item){.data = shared->bytes, .len = shared->len};
    }
    must(ingot_store_put_batch(worker->hammer->store, items, MANY, NULL, &err), &err, "put_batch");
    for (uint32_t i = 0; i < MANY; i++)
        added(worker, (first + i) % SHARED);
}

static void get_shared(struct worker *worker) {
    const struct shared *shared = &worker->hammer->shared[pick(worker)];
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_buf *buf = NULL;
    op.flags = rng_chance(&worker->rng, 20) ? INGOT_NO_CACHE : 0;
    must(ingot_store_get(worker->hammer->store, &shared->id, &op, &buf, &err), &err, "get");
    must_be(shared, ingot_buf_data(buf), ingot_buf_size(buf), "get");
    ingot_buf_release(buf);
}

static void get_into_shared(struct worker *worker) {
    const struct shared *shared = &worker->hammer->shared[pick(worker)];
    ingot_error err = INGOT_ERROR_INIT;
    size_t len = 0;
    must(ingot_store_get_into(worker->hammer->store, &shared->id, worker->bytes, CONTENT_MAX, NULL,
                              &len, &err),
         &err, "get_into");
    must_be(shared, worker->bytes, len, "get_into");
}

static void get_range_shared(struct worker *worker) {
    const struct shared *shared = &worker->hammer->shared[pick(worker)];
    ingot_error err = INGOT_ERROR_INIT;
    size_t offset = rng_below(&worker->rng, (uint32_t)shared->len + 1);
    size_t want = rng_below(&worker->rng, (uint32_t)(shared->len - offset) + 1);
    size_t len = 0;
    must(ingot_store_get_range(worker->hammer->store, &shared->id, offset, worker->bytes, want,
                               NULL, &len, &err),
         &err, "get_range");
    if (len != want || memcmp(worker->bytes, shared->bytes + offset, len) != 0)
        failed("get_range: wrong bytes");
}

static void get_many(struct worker *worker) {
    ingot_get_item items[MANY];
    uint32_t first = pick(worker);
    ingot_error err = INGOT_ERROR_INIT;
    for (uint32_t i = 0; i < MANY; i++)
        items[i] = (ingot_get_item){.id = worker->hammer->shared[(first + i) % SHARED].id};
    must(ingot_store_get_batch(worker->hammer->store, items, MANY, NULL, &err), &err, "get_batch");
    for (uint32_t i = 0; i < MANY; i++) {
        must_be(&worker->hammer->shared[(first + i) % SHARED], ingot_buf_data(items[i].buf),
                ingot_buf_size(items[i].buf), "get_batch");
        ingot_buf_release(items[i].buf);
    }
}

static void count_shared(struct worker *worker) {
    uint32_t n = pick(worker);
    struct shared *shared = &worker->hammer->shared[n];
    ingot_error err = INGOT_ERROR_INIT;
    int64_t refs = 0;
    if (worker->balance[n] == 0) {
        must(ingot_store_ref(worker->hammer->store, &shared->id, NULL, &refs, &err), &err, "ref");
        added(worker, n);
        return;
    }
    must(ingot_store_unref(worker->hammer->store, &shared->id, NULL, &refs, &err), &err, "unref");
    worker->balance[n]--;
    atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_relaxed);
    if (refs < 1)
        failed("unref: %" PRId64 " references left, but the program holds one", refs);
}

static void ask_shared(struct worker *worker) {
    const struct shared *shared = &worker->hammer->shared[pick(worker)];
    ingot_error err = INGOT_ERROR_INIT;
    ingot_stat stat = {0};
    must(ingot_store_has(worker->hammer->store, &shared->id, &err), &err, "has");
    must(ingot_store_stat(worker->hammer->store, &shared->id, &stat, &err), &err, "stat");
    if (stat.size != shared->len || stat.refs < 1)
        failed("stat: size %" PRIu64 ", %" PRId64 " references", stat.size, stat.refs);
}

/* ---- On contents of its own ---------------------------------------------------------------- */

/* A whole life: put, read, counted, deleted or left to the collector. */
static void live_and_die(struct worker *worker) {
    struct hammer *hammer = worker->hammer;
    uint8_t bytes[OWN_LEN_MAX];
    struct rng key = rng_fork(hammer->seed, worker->number + 1, worker->own_made++);
    size_t len = 32 + rng_below(&worker->rng, OWN_LEN_MAX - 32);
    content_fill(rng_next(&key), bytes, len);
    ingot_store *store = hammer->store;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_buf *buf = NULL;
    ingot_id id;
    int64_t refs = -1;
    if (ingot_store_check_duplicate(store, bytes, len, &id, &err) != INGOT_NOT_FOUND)
        failed("check_duplicate: new bytes are there already, or %s", err.message);
    must(ingot_store_put(store, bytes, len, NULL, &id, &err), &err, "put of own");
    must(ingot_store_get(store, &id, NULL, &buf, &err), &err, "get of own");
    if (ingot_buf_size(buf) != len || memcmp(ingot_buf_data(buf), bytes, len) != 0)
        failed("get of own: wrong bytes");
    ingot_buf_release(buf);
    if (ingot_store_delete(store, &id, NULL, &err) != INGOT_IN_USE)
        failed("delete of a referenced object was not refused");
    must(ingot_store_ref(store, &id, NULL, &refs, &err), &err, "ref of own");
    if (refs != 2)
        failed("ref of own: %" PRId64 " references, not 2", refs);
    if (rng_chance(&worker->rng, 25))
        return; /* stays */
    must(ingot_store_unref(store, &id, NULL, NULL, &err), &err, "unref of own");
    must(ingot_store_unref(store, &id, NULL, &refs, &err), &err, "last unref of own");
    if (refs != 0)
        failed("last unref of own: %" PRId64 " references", refs);
    if (rng_chance(&worker->rng, 50))
        return; /* the collector's */
    ingot_status st = ingot_store_delete(store, &id, NULL, &err);
    if (st != INGOT_OK && st != INGOT_NOT_FOUND)
        failed("delete of own: %s: %s", ingot_status_name(st), err.message);
    if (ingot_store_get(store, &id, NULL, &buf, &err) != INGOT_NOT_FOUND)
        failed("a deleted object can be read");
}

static void leased_work(struct worker *worker) {
    uint8_t bytes[256];
    struct rng key = rng_fork(worker->hammer->seed, worker->number + 1, worker->own_made++);
    content_fill(rng_next(&key), bytes, sizeof bytes);
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_session *session = NULL;
    ingot_id id;
    op.flags = INGOT_NO_REF;
    must(ingot_session_open(worker->hammer->store, &session, &err), &err, "session_open");
    must(ingot_session_put(session, bytes, sizeof bytes, &op, &id, &err), &err, "session_put");
    must(ingot_store_has(worker->hammer->store, &id, &err), &err, "has of a leased object");
    must(ingot_store_ref(worker->hammer->store, &id, NULL, NULL, &err), &err,
         "ref of a leased object");
    ingot_session_close(session);
    must(ingot_store_has(worker->hammer->store, &id, &err), &err, "has after the lease");
    must(ingot_store_unref(worker->hammer->store, &id, NULL, NULL, &err), &err, "unref after it");
}

static const struct {
    void (*run)(struct worker *worker);
    uint32_t weight;
} menu[] = {
    {put_shared, 20},      {put_many, 3},    {get_shared, 25},   {get_into_shared, 5},
    {get_range_shared, 5}, {get_many, 3},    {count_shared, 20}, {ask_shared, 5},
    {live_and_die, 10},    {leased_work, 4},
};

static void *work(void *arg) {
    struct worker *worker = arg;
    while (!atomic_load_explicit(&worker->hammer->stop, memory_order_relaxed)) {
        uint32_t at = rng_below(&worker->rng, 100);
        size_t i = 0;
        while (at >= menu[i].weight)
            at -= menu[i++].weight;
        menu[i].run(worker);
        atomic_fetch_add_explicit(&worker->hammer->operations, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *collect(void *arg) {
    struct hammer *hammer = arg;
    while (!atomic_load_explicit(&hammer->stop, memory_order_relaxed)) {
        ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
        ingot_gc_report report;
        ingot_error err = INGOT_ERROR_INIT;
        options.grace_ms = -1;
        options.limbo_ms = -1;
        options.clean_below_percent = 80;
        must(ingot_store_gc(hammer->store, &options, NULL, &report, &err), &err, "gc");
        sleep_ms(20);
    }
    return NULL;
}

static void *upset_cache(void *arg) {
    struct hammer *hammer = arg;
    struct rng rng = rng_fork(hammer->seed, 0, 1);
    while (!atomic_load_explicit(&hammer->stop, memory_order_relaxed)) {
        ingot_error err = INGOT_ERROR_INIT;
        if (rng_chance(&rng, 20))
            ingot_cache_evict(hammer->store, NULL);
        must(ingot_cache_resize(hammer->store, rng_below(&rng, 9) << 20, &err), &err, "resize");
        sleep_ms(30);
    }
    return NULL;
}

/* ---- The frame ----------------------------------------------------------------------------- */

static void open_store(struct hammer *hammer) {
    ingot_error err = INGOT_ERROR_INIT;
    must(ingot_store_open(hammer->path, NULL, &hammer->store, &err), &err, "open");
}

static void close_store(struct hammer *hammer) {
    ingot_error err = INGOT_ERROR_INIT;
    must(ingot_store_close(hammer->store, &err), &err, "close");
}

static void prepare(struct hammer *hammer) {
    ingot_error err = INGOT_ERROR_INIT;
    struct rng rng = rng_fork(hammer->seed, 0, 0);
    for (uint32_t n = 0; n < SHARED; n++) {
        struct shared *shared = &hammer->shared[n];
        shared->len = n < 4 ? LARGE_MIN + rng_below(&rng, CONTENT_MAX - LARGE_MIN)
                            : rng_below(&rng, n < 32 ? 60000 : 5000);
        shared->bytes = must_alloc(shared->len);
        content_fill(rng_next(&rng), shared->bytes, shared->len);
        must(ingot_store_put(hammer->store, shared->bytes, shared->len, NULL, &shared->id, &err),
             &err, "put");
        atomic_store(&shared->refs, 1);
    }
}

static pthread_t start(void *(*run)(void *), void *arg) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int e = pthread_create(&thread, &attr, run, arg);
    pthread_attr_destroy(&attr);
    if (e != 0)
        failed("cannot start a thread: %s", strerror(e));
    return thread;
}

static void run_all(struct hammer *hammer, uint64_t seconds) {
    struct worker *workers = must_alloc(hammer->threads * sizeof *workers);
    pthread_t *threads = must_alloc((hammer->threads + 2) * sizeof *threads);
    for (uint32_t t = 0; t < hammer->threads; t++) {
        workers[t] = (struct worker){.hammer = hammer, .number = t};
        workers[t].rng = rng_fork(hammer->seed, 1, t);
        workers[t].bytes = must_alloc(CONTENT_MAX);
        threads[t] = start(work, &workers[t]);
    }
    threads[hammer->threads] = start(collect, hammer);
    threads[hammer->threads + 1] = start(upset_cache, hammer);
    sleep_ms(seconds * 1000);
    atomic_store(&hammer->stop, true);
    for (uint32_t t = 0; t < hammer->threads + 2; t++)
        pthread_join(threads[t], NULL);
    for (uint32_t t = 0; t < hammer->threads; t++)
        free(workers[t].bytes);
    free(workers);
    free(threads);
}

static void must_be_exact(struct hammer *hammer, const char *when) {
    ingot_error err = INGOT_ERROR_INIT;
    for (uint32_t n = 0; n < SHARED; n++) {
        int64_t refs = -1;
        int64_t acked = atomic_load(&hammer->shared[n].refs);
        must(ingot_store_refcount(hammer->store, &hammer->shared[n].id, &refs, &err), &err,
             "refcount");
        if (refs != acked)
            failed("%s: %" PRId64 " references, %" PRId64 " acked", when, refs, acked);
    }
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report;
    options.flags = INGOT_CHECK_READ_DATA;
    must(ingot_store_check(hammer->store, &options, NULL, &report, &err), &err, when);
}

static void must_leave_nothing(uint32_t descriptors, uint64_t resident) {
    malloc_trim(0);
    uint32_t descriptors_now = open_descriptors();
    uint64_t resident_now = resident_bytes();
    printf("descriptors %" PRIu32 " before, %" PRIu32 " after; resident %" PRIu64
           " MiB before, %" PRIu64 " MiB after\n",
           descriptors, descriptors_now, resident >> 20, resident_now >> 20);
    if (descriptors_now > descriptors)
        failed("descriptors are left open");
    if (!memory_is_padded() && resident_now > resident + LEAK_MAX)
        failed("memory is left allocated");
}

int main(int argc, char **argv) {
    static const char *const known[] = {"threads", "seconds", "seed", NULL};
    static struct hammer hammer;
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    args_only(argc, argv, known);
    hammer.threads = (uint32_t)arg_number(argc, argv, "threads", 850);
    hammer.seed = arg_number(argc, argv, "seed", seed_from_clock());
    uint64_t seconds = arg_number(argc, argv, "seconds", 10);
    replay_is(argv[0], "--seed=%" PRIu64 " --threads=%" PRIu32 " --seconds=%" PRIu64, hammer.seed,
              hammer.threads, seconds);
    char *scratch = scratch_make("ingot-hammer");
    hammer.path = path_join(scratch, "store");
    options.large_min = LARGE_MIN;
    options.segment_size = UINT64_C(4) << 20;
    must(ingot_store_create(hammer.path, &options, &err), &err, "create");
    open_store(&hammer); /* once, so that what a process keeps for good is there before the count */
    close_store(&hammer);
    uint32_t descriptors = open_descriptors();
    uint64_t resident = resident_bytes();
    open_store(&hammer);
    prepare(&hammer);
    uint64_t began = now_ms();
    run_all(&hammer, seconds);
    uint64_t took = now_ms() - began;
    uint64_t operations = atomic_load(&hammer.operations);
    printf("%" PRIu64 " operations by %" PRIu32 " threads, %.0f a second\n", operations,
           hammer.threads, (double)operations * 1000 / (double)(took == 0 ? 1 : took));
    must_be_exact(&hammer, "at the end");
    close_store(&hammer);
    open_store(&hammer);
    must_be_exact(&hammer, "after a reopen");
    close_store(&hammer);
    for (uint32_t n = 0; n < SHARED; n++)
        free(hammer.shared[n].bytes);
    must_leave_nothing(descriptors, resident);
    scratch_remove(scratch);
    free(hammer.path);
    free(scratch);
    return 0;
}
