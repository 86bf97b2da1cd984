#include "front.h"

#include "bloom.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <stdatomic.h>

#define CAPACITY_MIN UINT64_C(65536)
#define LOOK_NS UINT64_C(200000000) /* how often the thread looks whether the filter is full */

struct ig_front {
    _Atomic(struct ig_bloom *) ready;    /* sync: atomic; release on publish, acquire on use */
    _Atomic(struct ig_bloom *) building; /* sync: as ready */
    atomic_uint_fast64_t absences;       /* sync: atomic, relaxed */
    struct ig_index *index;              /* sync: fixed before the thread starts */
    struct ig_pending *pending;
    struct ig_log *log;
    struct ig_apply *apply;
    pthread_t thread;
    bool started;
    ig_mutex lock;
    ig_cond stop;
    bool stopping; /* sync: lock */
    struct ingot_cancel cancel;
    /* Filters that probes may still use; each at most half of the next. sync: the thread's */
    struct ig_bloom *retired[64];
    unsigned retired_count;
};

ingot_status ig_front_new(struct ig_front **ret_front, ingot_error *err) {
    struct ig_front *front = ig_alloc(sizeof *front);
    if (front == NULL)
        return ig_fail_memory(err, "the dedup front");
    ig_mutex_init(&front->lock, IG_RANK_LEAF);
    ig_cond_init(&front->stop);
    *ret_front = front;
    return INGOT_OK;
}

void ig_front_add(struct ig_front *front, const ingot_id *id) {
    /* In this order: a filter that is no longer building is seen as ready. */
    struct ig_bloom *building = atomic_load_explicit(&front->building, memory_order_acquire);
    struct ig_bloom *ready = atomic_load_explicit(&front->ready, memory_order_acquire);
    if (ready != NULL)
        ig_bloom_add(ready, id);
    if (building != NULL)
        ig_bloom_add(building, id);
}

bool ig_front_absent(struct ig_front *front, const ingot_id *id) {
    const struct ig_bloom *ready = atomic_load_explicit(&front->ready, memory_order_acquire);
    if (ready == NULL || ig_bloom_maybe(ready, id))
        return false;
    atomic_fetch_add_explicit(&front->absences, 1, memory_order_relaxed);
    return true;
}

uint64_t ig_front_absences(struct ig_front *front) {
    return atomic_load_explicit(&front->absences, memory_order_relaxed);
}

uint64_t ig_front_bytes(struct ig_front *front) {
    const struct ig_bloom *ready = atomic_load_explicit(&front->ready, memory_order_acquire);
    return ready == NULL ? 0 : ig_bloom_bytes(ready);
}

static bool stopping(struct ig_front *front) {
    ig_lock(&front->lock);
    bool stop = front->stopping;
    ig_unlock(&front->lock);
    return stop;
}

/* Brings everything accepted so far into the index. */
static ingot_status settle(struct ig_front *front) {
    struct ig_wait wait = {.deadline_ns = UINT64_MAX, .cancel = &front->cancel};
    ig_pending_barrier(front->pending);
    if (front->log == NULL)
        return INGOT_OK;
    ingot_status status = ig_log_sync(front->log, &wait, NULL);
    return status != INGOT_OK ? status : ig_apply_drain(front->apply, &wait, NULL);
}

static ingot_status fill(struct ig_front *front, struct ig_bloom *bloom) {
    struct ig_index_iter *iter;
    ingot_status status = ig_index_iter_open(front->index, NULL, &iter, NULL);
    if (status != INGOT_OK)
        return status;
    for (uint64_t n = 0; status == INGOT_OK; n++) {
        ingot_id id;
        struct ig_content content;
        struct ig_refs refs;
        status = ig_index_iter_next(iter, &id, &content, &refs, NULL);
        if (status == INGOT_OK)
            ig_bloom_add(bloom, &id);
        if (n % 4096 == 0 && stopping(front))
            status = INGOT_CANCELLED;
    }
    ig_index_iter_close(iter);
    return status == INGOT_NOT_FOUND ? INGOT_OK : status;
}

/* A filter that cannot be built is done without: lookups ask the index. */
static void build(struct ig_front *front, uint64_t capacity) {
    struct ig_bloom *bloom;
    uint64_t seed;
    if (front->retired_count == 62 || ig_os->random(&seed, sizeof seed) < 0 ||
        ig_bloom_new(capacity < CAPACITY_MIN ? CAPACITY_MIN : capacity, seed, &bloom, NULL) !=
            INGOT_OK)
        return;
    atomic_store_explicit(&front->building, bloom, memory_order_release);
    ingot_status status = settle(front);
    if (status == INGOT_OK)
        status = fill(front, bloom);
    struct ig_bloom *old = bloom;
    if (status == INGOT_OK) {
        old = atomic_load_explicit(&front->ready, memory_order_relaxed);
        atomic_store_explicit(&front->ready, bloom, memory_order_release);
    }
    atomic_store_explicit(&front->building, NULL, memory_order_release);
    if (old != NULL)
        front->retired[front->retired_count++] = old;
}

/* With a failed log nothing new comes, and the index does not catch up. */
static bool healthy(const struct ig_front *front) {
    return front->log == NULL || ig_log_failed(front->log, NULL) == INGOT_OK;
}

static void *front_run(void *arg) {
    struct ig_front *front = arg;
    for (;;) {
        const struct ig_bloom *ready = atomic_load_explicit(&front->ready, memory_order_relaxed);
        if (ready != NULL && ig_bloom_count(ready) > ig_bloom_capacity(ready) && healthy(front))
            build(front, 4 * ig_bloom_capacity(ready));
        ig_lock(&front->lock);
        if (!front->stopping)
            ig_cond_wait_ns(&front->stop, &front->lock, LOOK_NS);
        bool stop = front->stopping;
        ig_unlock(&front->lock);
        if (stop)
            return NULL;
    }
}

static void *front_first(void *arg) {
    struct ig_front *front = arg;
    int64_t objects = 0;
    ig_index_counter(front->index, IG_COUNTER_OBJECTS, &objects, NULL);
    build(front, 2 * (uint64_t)objects);
    return front_run(front);
}

ingot_status ig_front_start(struct ig_front *front, struct ig_index *index,
                            struct ig_pending *pending, struct ig_log *log, struct ig_apply *apply,
                            ingot_error *err) {
    front->index = index;
    front->pending = pending;
    front->log = log;
    front->apply = apply;
    int errnum = ig_os->thread(&front->thread, front_first, front);
    if (errnum != 0)
        return ig_fail_errno(err, errnum, "cannot start the filter's thread");
    front->started = true;
    return INGOT_OK;
}

void ig_front_stop(struct ig_front *front) {
    if (front == NULL || !front->started)
        return;
    ingot_cancel_raise(&front->cancel);
    ig_lock(&front->lock);
    front->stopping = true;
    ig_cond_wake_all(&front->stop);
    ig_unlock(&front->lock);
    pthread_join(front->thread, NULL);
    front->started = false;
}

void ig_front_free(struct ig_front *front) {
    if (front == NULL)
        return;
    ig_front_stop(front);
    ig_bloom_free(atomic_load(&front->ready));
    for (unsigned i = 0; i < front->retired_count; i++)
        ig_bloom_free(front->retired[i]);
    ig_cond_release(&front->stop);
    ig_mutex_release(&front->lock);
    ig_free(front);
}
