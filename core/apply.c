#include "apply.h"

#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <string.h>

#define TAKE_WAIT_NS UINT64_C(100000000)

struct ig_apply {
    struct ig_log *log; /* sync: fixed after init, like the next three */
    struct ig_index *index;
    struct ig_pending *pending;
    struct ig_index_batch *batch; /* the thread's own */
    pthread_t thread;
    ig_mutex lock;
    ig_cond progress;
    uint64_t applied_seq; /* sync: lock */
    uint32_t pauses;      /* sync: lock */
    bool writing;         /* sync: lock */
    bool stopping;        /* sync: lock */
    bool broken;          /* sync: lock */
};

void ig_tail_put(struct ig_index_batch *batch, const struct ig_tail *tail) {
    uint8_t bytes[16];
    ig_put64(bytes, tail->chain);
    ig_put64(bytes + 8, tail->group_offset);
    ig_index_put_meta(batch, IG_META_TAIL, bytes, sizeof bytes);
}

ingot_status ig_tail_get(struct ig_index *index, struct ig_tail *ret_tail, ingot_error *err) {
    uint8_t bytes[16];
    ingot_status status = ig_index_meta(index, IG_META_TAIL, bytes, sizeof bytes, err);
    if (status == INGOT_OK)
        *ret_tail = (struct ig_tail){.chain = ig_get64(bytes), .group_offset = ig_get64(bytes + 8)};
    return status;
}

static ingot_status write_sets(struct ig_apply *apply, const struct ig_changeset *sets,
                               ingot_error *err) {
    const struct ig_changeset *last = sets;
    struct ig_sums sums = {.segment_count = 0};
    for (const struct ig_changeset *set = sets; set != NULL; set = set->next) {
        for (uint32_t i = 0; i < set->count; i++)
            ig_change_to_batch(&set->changes[i], &sums, apply->batch);
        last = set;
    }
    ig_sums_to_batch(&sums, apply->batch);
    ig_tail_put(apply->batch,
                &(struct ig_tail){.chain = last->chain, .group_offset = last->group_offset});
    return ig_index_write(apply->index, apply->batch, &last->end, err);
}

static void finish_sets(struct ig_apply *apply, const struct ig_changeset *sets) {
    uint64_t seq = 0;
    for (const struct ig_changeset *set = sets; set != NULL; set = set->next) {
        for (uint32_t i = 0; i < set->count; i++)
            ig_pend_applied(apply->pending, &set->changes[i].id, 1);
        seq = set->end.seq;
    }
    ig_lock(&apply->lock);
    apply->applied_seq = seq;
    apply->writing = false;
    ig_cond_wake_all(&apply->progress);
    ig_unlock(&apply->lock);
}

/* Waits while paused; false when the thread is to end. */
static bool begin_write(struct ig_apply *apply) {
    ig_lock(&apply->lock);
    while (apply->pauses > 0)
        ig_cond_wait(&apply->progress, &apply->lock);
    apply->writing = true;
    bool broken = apply->broken;
    ig_unlock(&apply->lock);
    return !broken;
}

/* The log keeps what the index cannot take: nothing is lost, but nothing more is accepted. */
static void give_up(struct ig_apply *apply, const ingot_error *error) {
    ig_log_fail(apply->log, error->status, error->message);
    ig_lock(&apply->lock);
    apply->broken = true;
    apply->writing = false;
    ig_cond_wake_all(&apply->progress);
    ig_unlock(&apply->lock);
}

static void *apply_run(void *arg) {
    struct ig_apply *apply = arg;
    for (;;) {
        struct ig_changeset *sets = ig_log_take(apply->log, TAKE_WAIT_NS);
        if (sets == NULL) {
            ig_lock(&apply->lock);
            bool stopping = apply->stopping;
            ig_unlock(&apply->lock);
            if (stopping)
                return NULL;
            continue;
        }
        ingot_error error = INGOT_ERROR_INIT;
        if (!begin_write(apply)) {
            ig_lock(&apply->lock);
            apply->writing = false;
            ig_unlock(&apply->lock);
        } else if (write_sets(apply, sets, &error) == INGOT_OK) {
            finish_sets(apply, sets);
        } else {
            give_up(apply, &error);
        }
        ig_log_recycle(apply->log, sets);
    }
}

ingot_status ig_apply_start(struct ig_log *log, struct ig_index *index, struct ig_pending *pending,
                            struct ig_apply **ret_apply, ingot_error *err) {
    struct ig_apply *apply = ig_alloc(sizeof *apply);
    if (apply == NULL)
        return ig_fail_memory(err, "the applier");
    apply->log = log;
    apply->index = index;
    apply->pending = pending;
    apply->applied_seq = ig_log_durable_seq(log);
    ig_mutex_init(&apply->lock, IG_RANK_APPLY);
    ig_cond_init(&apply->progress);
    apply->batch = ig_index_batch_new(index);
    int errnum = apply->batch == NULL ? 0 : ig_os->thread(&apply->thread, apply_run, apply);
    if (apply->batch == NULL || errnum != 0) {
        ig_index_batch_free(apply->batch);
        ig_free(apply);
        return errnum == 0 ? ig_fail_memory(err, "the applier")
                           : ig_fail_errno(err, errnum, "cannot start the applier");
    }
    *ret_apply = apply;
    return INGOT_OK;
}

void ig_apply_stop(struct ig_apply *apply) {
    if (apply == NULL)
        return;
    ig_lock(&apply->lock);
    apply->stopping = true;
    ig_unlock(&apply->lock);
    ig_log_nudge(apply->log);
    pthread_join(apply->thread, NULL);
    ig_index_batch_free(apply->batch);
    ig_cond_release(&apply->progress);
    ig_mutex_release(&apply->lock);
    ig_free(apply);
}

ingot_status ig_apply_drain(struct ig_apply *apply, const struct ig_wait *wait, ingot_error *err) {
    uint64_t seq = ig_log_durable_seq(apply->log);
    ingot_status status = INGOT_OK;
    ig_lock(&apply->lock);
    while (apply->applied_seq < seq && !apply->broken && status == INGOT_OK) {
        ig_cond_wait_ns(&apply->progress, &apply->lock, ig_wait_slice_ns(wait));
        status = ig_wait_check(wait, err);
    }
    bool broken = apply->broken;
    ig_unlock(&apply->lock);
    return broken ? ig_log_failed(apply->log, err) : status;
}

uint64_t ig_apply_behind(struct ig_apply *apply) {
    uint64_t durable = ig_log_durable_seq(apply->log);
    ig_lock(&apply->lock);
    uint64_t applied = apply->applied_seq;
    ig_unlock(&apply->lock);
    return durable > applied ? durable - applied : 0;
}

void ig_apply_pause(struct ig_apply *apply) {
    ig_lock(&apply->lock);
    apply->pauses++;
    while (apply->writing)
        ig_cond_wait(&apply->progress, &apply->lock);
    ig_unlock(&apply->lock);
}

void ig_apply_resume(struct ig_apply *apply) {
    ig_lock(&apply->lock);
    apply->pauses--;
    ig_cond_wake_all(&apply->progress);
    ig_unlock(&apply->lock);
}
