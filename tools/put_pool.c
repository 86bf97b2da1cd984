/* A window of jobs in the order of their names. The main thread adds at one end and reports at the
 * other; workers take from the middle. Small files gather in a worker's batch until it is full or
 * nothing is queued, so one wait for the device serves many; a large file streams by itself. */
#include "put.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW 1024 /* jobs added and not reported */
#define BATCH_FILES 256
#define BATCH_BYTES ((size_t)4 << 20)
#define WORKERS_MAX 256
#define TICK_NS 200000000L
#define SECOND_NS 1000000000L

struct put_pool {
    struct cli *cli;
    void (*report)(void *context, const struct put_job *job);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t queued;   /* a job, or the end */
    pthread_cond_t finished; /* a job left PUT_TAKEN */
    uint64_t added;          /* sync: lock; jobs[n % WINDOW] is the n-th */
    uint64_t taken;          /* sync: lock */
    uint64_t reported;       /* sync: main thread only */
    bool closed;             /* sync: lock; nothing more will be added */
    bool stopped;            /* sync: lock; what is queued is not to be tried */
    size_t workers;
    pthread_t threads[WORKERS_MAX];
    struct put_job jobs[WINDOW];
};

struct batch {
    struct put_pool *pool;
    size_t count;
    size_t used;
    struct put_job *jobs[BATCH_FILES];
    ingot_put_item items[BATCH_FILES];
    uint8_t bytes[BATCH_BYTES];
};

static void finish(struct put_pool *pool, struct put_job *job, enum put_state state) {
    pthread_mutex_lock(&pool->lock);
    job->state = state;
    /* After one refusal by the store the rest would be refused for the same reason. */
    if (state == PUT_FAILED)
        pool->stopped = true;
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
    if (state == PUT_FAILED)
        cli_stop();
}

static enum put_state state_of(ingot_status status) {
    if (status >= 0)
        return PUT_STORED;
    return status == INGOT_CANCELLED ? PUT_NOT_TRIED : PUT_FAILED;
}

/* NULL when there is nothing to take now, or with `wait` when nothing will come. */
static struct put_job *take(struct put_pool *pool, bool wait) {
    struct put_job *job = NULL;
    pthread_mutex_lock(&pool->lock);
    while (wait && pool->taken == pool->added && !pool->closed)
        pthread_cond_wait(&pool->queued, &pool->lock);
    while (job == NULL && pool->taken < pool->added) {
        struct put_job *next = &pool->jobs[pool->taken++ % WINDOW];
        bool stop = pool->stopped || cli_stopping();
        next->state = stop ? PUT_NOT_TRIED : PUT_TAKEN;
        if (stop)
            pthread_cond_signal(&pool->finished);
        else
            job = next;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void flush_batch(struct batch *batch) {
    ingot_op op = cli_op();
    ingot_error err = INGOT_ERROR_INIT;
    if (batch->count == 0)
        return;
    ingot_status all =
        ingot_store_put_batch(batch->pool->cli->store, batch->items, batch->count, &op, &err);
    for (size_t i = 0; i < batch->count; i++) {
        struct put_job *job = batch->jobs[i];
        ingot_status status = batch->items[i].status;
        job->id = batch->items[i].id;
        if (status == all && status < 0)
            job->err = err;
        else if (status < 0)
            cli_fail(&job->err, status, "%s", ingot_status_text(status));
        finish(batch->pool, job, state_of(status));
    }
    batch->count = 0;
    batch->used = 0;
}

/* The file is stored now, or waits in the batch with *ret_state PUT_TAKEN. */
static void read_source(struct batch *batch, struct put_job *job, struct source *source,
                        enum put_state *ret_state) {
    uint8_t *place = batch->bytes + batch->used;
    size_t len;
    *ret_state = PUT_BAD_SOURCE;
    ingot_status status = source_read(source, place, SOURCE_BUFFER_MIN, &len, &job->err);
    if (status >= 0 && len < SOURCE_BUFFER_MIN)
        status = source_verify(source, &job->err);
    if (status < 0) {
        if (status == INGOT_CANCELLED)
            *ret_state = PUT_NOT_TRIED;
        return;
    }
    if (len < SOURCE_BUFFER_MIN) {
        job->size = len;
        batch->items[batch->count] = (ingot_put_item){.data = place, .len = len};
        batch->jobs[batch->count++] = job;
        batch->used += len;
        *ret_state = PUT_TAKEN;
        return;
    }
    bool source_failed;
    size_t head = batch->used;
    /* What gathered goes first: its results are waited for, and streaming takes long. */
    if (head > 0) {
        uint8_t *tail = malloc(len);
        if (tail == NULL) {
            cli_fail(&job->err, INGOT_NO_MEMORY, "%s", ingot_status_text(INGOT_NO_MEMORY));
            *ret_state = PUT_FAILED;
            return;
        }
        memcpy(tail, place, len);
        flush_batch(batch);
        memcpy(batch->bytes, tail, len);
        free(tail);
    }
    status = source_stream(batch->pool->cli, source, batch->bytes, sizeof batch->bytes, len,
                           &job->id, &job->size, &source_failed, &job->err);
    *ret_state = state_of(status);
    if (*ret_state == PUT_FAILED && source_failed)
        *ret_state = PUT_BAD_SOURCE;
}

static void do_job(struct batch *batch, struct put_job *job) {
    struct source source;
    if (batch->count == BATCH_FILES || sizeof batch->bytes - batch->used < SOURCE_BUFFER_MIN)
        flush_batch(batch);
    if (source_open(job->name, job->is_stdin, &source, &job->err) < 0) {
        finish(batch->pool, job, PUT_BAD_SOURCE);
        return;
    }
    /* A pipe may wait for whoever reads the results of what gathered. */
    if (source.waits)
        flush_batch(batch);
    enum put_state state;
    read_source(batch, job, &source, &state);
    source_close(&source, job->is_stdin);
    if (state != PUT_TAKEN)
        finish(batch->pool, job, state);
}

static void *work(void *arg) {
    struct put_pool *pool = arg;
    struct batch *batch = malloc(sizeof *batch);
    if (batch != NULL) {
        batch->pool = pool;
        batch->count = 0;
        batch->used = 0;
    }
    for (;;) {
        struct put_job *job = take(pool, batch == NULL || batch->count == 0);
        if (job == NULL && (batch == NULL || batch->count == 0))
            break;
        if (job == NULL) {
            flush_batch(batch);
        } else if (batch == NULL) {
            cli_fail(&job->err, INGOT_NO_MEMORY, "%s", ingot_status_text(INGOT_NO_MEMORY));
            finish(pool, job, PUT_FAILED);
        } else {
            do_job(batch, job);
        }
    }
    free(batch);
    return NULL;
}

struct put_pool *put_pool_new(struct cli *cli, size_t workers,
                              void (*report)(void *context, const struct put_job *job),
                              void *context) {
    struct put_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->cli = cli;
    pool->report = report;
    pool->context = context;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->queued, NULL);
    pthread_cond_init(&pool->finished, NULL);
    cli_signals_block(true);
    while (pool->workers < workers && pool->workers < WORKERS_MAX &&
           pthread_create(&pool->threads[pool->workers], NULL, work, pool) == 0)
        pool->workers++;
    cli_signals_block(false);
    if (pool->workers > 0)
        return pool;
    free(pool);
    return NULL;
}

/* For a job to finish; a large file takes long enough for a sign of life. */
static void wait_a_little(struct put_pool *pool) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    until.tv_sec += until.tv_nsec / SECOND_NS;
    until.tv_nsec %= SECOND_NS;
    if (pthread_cond_clockwait(&pool->finished, &pool->lock, CLOCK_MONOTONIC, &until) == 0)
        return;
    pthread_mutex_unlock(&pool->lock);
    pool->report(pool->context, NULL);
    pthread_mutex_lock(&pool->lock);
}

/* Reports what is finished, in order; with `wait` at least one. */
static void report_finished(struct put_pool *pool, bool wait) {
    for (;;) {
        struct put_job *job = &pool->jobs[pool->reported % WINDOW];
        pthread_mutex_lock(&pool->lock);
        bool some = pool->reported < pool->added;
        while (some && wait && (job->state == PUT_QUEUED || job->state == PUT_TAKEN))
            wait_a_little(pool);
        bool ready = some && job->state != PUT_QUEUED && job->state != PUT_TAKEN;
        pthread_mutex_unlock(&pool->lock);
        if (!ready)
            return;
        pool->report(pool->context, job);
        free(job->name);
        memset(job, 0, sizeof *job);
        pool->reported++;
        wait = false;
    }
}

bool put_pool_add(struct put_pool *pool, const char *name, bool is_stdin) {
    char *copy = strdup(name);
    if (copy == NULL) {
        struct put_job failed = {.state = PUT_FAILED, .err = INGOT_ERROR_INIT};
        cli_fail(&failed.err, INGOT_NO_MEMORY, "%s", ingot_status_text(INGOT_NO_MEMORY));
        pool->report(pool->context, &failed);
        return false;
    }
    report_finished(pool, false);
    if (pool->added - pool->reported == WINDOW)
        report_finished(pool, true);
    pthread_mutex_lock(&pool->lock);
    struct put_job *job = &pool->jobs[pool->added % WINDOW];
    *job = (struct put_job){
        .name = copy, .is_stdin = is_stdin, .state = PUT_QUEUED, .err = INGOT_ERROR_INIT};
    pool->added++;
    bool go_on = !pool->stopped;
    pthread_cond_signal(&pool->queued);
    pthread_mutex_unlock(&pool->lock);
    return go_on && !cli_stopping();
}

void put_pool_drain(struct put_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    pthread_cond_broadcast(&pool->queued);
    pthread_mutex_unlock(&pool->lock);
    while (pool->reported < pool->added)
        report_finished(pool, true);
    for (size_t i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->queued);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
