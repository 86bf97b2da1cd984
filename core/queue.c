/* Asynchronous requests: worker threads take them in batches and wait for one commit a batch. */
#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKERS_MAX 64
#define DEPTH_MAX 65536
#define TAKE_MAX 128 /* requests a worker carries out at a time */

struct ingot_queue {
    ingot_store *store;
    uint32_t depth;
    uint32_t worker_count;
    int event_fd; /* readable while there are results */
    pthread_t workers[WORKERS_MAX];
    ig_mutex lock;
    ig_cond work;
    ig_cond done;
    bool closing;            /* sync: lock, like what follows */
    uint32_t outstanding;    /* submitted and not reaped */
    ingot_request *requests; /* ring of depth */
    uint32_t request_first, request_count;
    ingot_result *results; /* ring of depth */
    uint32_t result_first, result_count;
};

struct started {
    ingot_request request;
    ingot_result result;
    struct ig_slot slot;
};

static void start(ingot_store *store, struct started *started) {
    static const struct ig_wait forever = {.deadline_ns = UINT64_MAX};
    const ingot_request *request = &started->request;
    ingot_result *result = &started->result;
    bool relaxed = (request->flags & INGOT_RELAXED) != 0;
    *result = (ingot_result){.token = request->token, .kind = request->kind, .id = request->id};
    started->slot.group = NULL;
    if (request->kind == INGOT_QUEUE_PUT) {
        struct ig_put put = {.data = request->data, .len = request->len, .flags = request->flags};
        result->status = ig_store_put_bytes(store, &put, &forever, &started->slot, NULL);
        result->id = put.id;
    } else if (request->kind == INGOT_QUEUE_GET) {
        result->status = ig_store_get_buf(
            store, &request->id, (request->flags & INGOT_NO_CACHE) == 0, &result->buf, NULL);
    } else {
        result->status =
            ig_store_change_ref(store, &request->id, request->kind == INGOT_QUEUE_REF ? 1 : -1,
                                relaxed, &forever, &started->slot, &result->refs, NULL);
    }
    if (relaxed || result->status != INGOT_OK)
        started->slot.group = NULL;
}

/* The log is durable in order, so waiting for the last slot is waiting for all. */
static void carry_out(ingot_store *store, struct started *batch, uint32_t count) {
    static const struct ig_wait forever = {.deadline_ns = UINT64_MAX};
    const struct started *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        start(store, &batch[i]);
        if (batch[i].slot.group != NULL)
            last = &batch[i];
    }
    ingot_status committed =
        last == NULL ? INGOT_OK : ig_store_commit(store, &last->slot, false, &forever, NULL);
    for (uint32_t i = 0; committed != INGOT_OK && i < count; i++)
        if (batch[i].slot.group != NULL)
            batch[i].result.status = committed;
}

static void post_results_locked(ingot_queue *queue, const struct started *batch, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        queue->results[(queue->result_first + queue->result_count++) % queue->depth] =
            batch[i].result;
    uint64_t one = 1;
    ssize_t written = write(queue->event_fd, &one, sizeof one);
    (void)written; /* fails only when the counter is full, and then it is readable */
    ig_cond_wake_all(&queue->done);
}

static void *work(void *arg) {
    ingot_queue *queue = arg;
    struct started *batch = ig_alloc_array(TAKE_MAX, sizeof *batch);
    struct started fallback;
    uint32_t capacity = batch == NULL ? 1 : TAKE_MAX;
    struct started *room = batch == NULL ? &fallback : batch;
    ig_lock(&queue->lock);
    for (;;) {
        while (queue->request_count == 0 && !queue->closing)
            ig_cond_wait(&queue->work, &queue->lock);
        if (queue->request_count == 0)
            break;
        /* Half of what waits, at least: the other workers find some too. */
        uint32_t share = (queue->request_count + 1) / 2;
        uint32_t count = share < capacity ? share : capacity;
        for (uint32_t i = 0; i < count; i++) {
            room[i].request = queue->requests[queue->request_first];
            queue->request_first = (queue->request_first + 1) % queue->depth;
        }
        queue->request_count -= count;
        ig_unlock(&queue->lock);
        carry_out(queue->store, room, count);
        ig_lock(&queue->lock);
        post_results_locked(queue, room, count);
    }
    ig_unlock(&queue->lock);
    ig_free(batch);
    return NULL;
}

static ingot_status start_workers(ingot_queue *queue, uint32_t workers, ingot_error *err) {
    for (; queue->worker_count < workers; queue->worker_count++) {
        int errnum = ig_os->thread(&queue->workers[queue->worker_count], work, queue);
        if (errnum != 0)
            return ig_fail_errno(err, errnum, "cannot start a queue worker");
    }
    return INGOT_OK;
}

ingot_status ingot_queue_open(ingot_store *store, const ingot_queue_options *options,
                              ingot_queue **ret_queue, ingot_error *err) {
    static const ingot_queue_options defaults = INGOT_QUEUE_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    uint32_t workers = options->workers == 0 ? 2 : options->workers;
    uint32_t depth = options->depth == 0 ? 4096 : options->depth;
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    if (options->size != sizeof *options || workers > WORKERS_MAX || depth > DEPTH_MAX)
        return ig_fail(err, INGOT_USAGE,
                       "ingot_queue_options: size %u, workers %u (at most %d), depth %u (at most "
                       "%d)",
                       options->size, workers, WORKERS_MAX, depth, DEPTH_MAX);
    ingot_queue *queue = ig_alloc(sizeof *queue);
    if (queue == NULL)
        return ig_fail_memory(err, "a queue");
    queue->store = store;
    queue->depth = depth;
    ig_mutex_init(&queue->lock, IG_RANK_QUEUE);
    ig_cond_init(&queue->work);
    ig_cond_init(&queue->done);
    queue->requests = ig_alloc_array(depth, sizeof *queue->requests);
    queue->results = ig_alloc_array(depth, sizeof *queue->results);
    queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->requests == NULL || queue->results == NULL)
        status = ig_fail_memory(err, "a queue");
    else if (queue->event_fd < 0)
        status = ig_fail_errno(err, errno, "cannot make an eventfd");
    else
        status = start_workers(queue, workers, err);
    if (status != INGOT_OK) {
        ingot_queue_close(queue);
        return status;
    }
    *ret_queue = queue;
    return INGOT_OK;
}

static ingot_status check_request(const ingot_queue *queue, const ingot_request *request,
                                  ingot_error *err) {
    uint32_t allowed = request->kind == INGOT_QUEUE_PUT
                           ? INGOT_RELAXED | INGOT_NO_REF | INGOT_NO_CACHE
                       : request->kind == INGOT_QUEUE_GET ? INGOT_NO_CACHE
                                                          : INGOT_RELAXED;
    if (request->kind < INGOT_QUEUE_PUT || request->kind > INGOT_QUEUE_UNREF)
        return ig_fail(err, INGOT_USAGE, "unknown request kind %u", request->kind);
    if ((request->flags & ~allowed) != 0)
        return ig_fail(err, INGOT_USAGE, "request flags 0x%x not allowed here", request->flags);
    if (request->kind != INGOT_QUEUE_GET && queue->store->read_only)
        return ig_fail(err, INGOT_READ_ONLY, "the store was opened read-only");
    return INGOT_OK;
}

ingot_status ingot_queue_submit(ingot_queue *queue, const ingot_request *requests, size_t count,
                                ingot_error *err) {
    ingot_status status = ig_store_enter(queue->store, err);
    for (size_t i = 0; i < count && status == INGOT_OK; i++)
        status = check_request(queue, &requests[i], err);
    if (status != INGOT_OK)
        return status;
    ig_lock(&queue->lock);
    if (count > queue->depth - queue->outstanding) {
        status = ig_fail(err, INGOT_BUSY, "%zu requests do not fit: %u of %u outstanding", count,
                         queue->outstanding, queue->depth);
    } else {
        for (size_t i = 0; i < count; i++)
            queue->requests[(queue->request_first + queue->request_count++) % queue->depth] =
                requests[i];
        queue->outstanding += (uint32_t)count;
        ig_cond_wake_all(&queue->work);
    }
    ig_unlock(&queue->lock);
    return status;
}

static size_t reap_locked(ingot_queue *queue, ingot_result *results, size_t max) {
    size_t count = 0;
    while (count < max && queue->result_count > 0) {
        results[count++] = queue->results[queue->result_first];
        queue->result_first = (queue->result_first + 1) % queue->depth;
        queue->result_count--;
        queue->outstanding--;
    }
    uint64_t drained;
    if (queue->result_count == 0) {
        ssize_t got = read(queue->event_fd, &drained, sizeof drained);
        (void)got; /* nothing to drain is fine */
    }
    return count;
}

ingot_status ingot_queue_wait(ingot_queue *queue, ingot_result *results, size_t max,
                              const ingot_op *op, size_t *ret_count, ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter(queue->store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, 0, &wait, err);
    if (status == INGOT_OK && max == 0)
        status = ig_fail(err, INGOT_USAGE, "room for no result");
    if (status != INGOT_OK)
        return status;
    ig_lock(&queue->lock);
    while (queue->result_count == 0 && queue->outstanding > 0 && status == INGOT_OK) {
        ig_cond_wait_ns(&queue->done, &queue->lock, ig_wait_slice_ns(&wait));
        if (queue->result_count == 0)
            status = ig_wait_check(&wait, err);
    }
    if (queue->result_count > 0)
        *ret_count = reap_locked(queue, results, max);
    else if (status == INGOT_OK)
        status = ig_fail(err, INGOT_NOT_FOUND, "nothing is outstanding");
    ig_unlock(&queue->lock);
    return status;
}

int32_t ingot_queue_fd(const ingot_queue *queue) { return queue->event_fd; }

void ingot_queue_close(ingot_queue *queue) {
    if (queue == NULL || ig_store_enter(queue->store, NULL) != INGOT_OK)
        return;
    ig_lock(&queue->lock);
    queue->closing = true;
    ig_cond_wake_all(&queue->work);
    ig_unlock(&queue->lock);
    for (uint32_t i = 0; i < queue->worker_count; i++)
        pthread_join(queue->workers[i], NULL);
    for (uint32_t i = 0; i < queue->result_count; i++)
        ingot_buf_release(queue->results[(queue->result_first + i) % queue->depth].buf);
    if (queue->event_fd >= 0)
        close(queue->event_fd);
    ig_cond_release(&queue->work);
    ig_cond_release(&queue->done);
    ig_mutex_release(&queue->lock);
    ig_free(queue->requests);
    ig_free(queue->results);
    ig_free(queue);
}
