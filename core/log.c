/* Reservation: the open group, the tail of the log, the keeper that makes segments ahead. */
#include "log.h"

#include "bytes.h"
#include "log_internal.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <string.h>

/* Records that nobody waits for are committed after this time. */
#define UNWAITED_WINDOW_NS UINT64_C(20000000)

uint64_t ig_log_durable_seq(const struct ig_log *log) {
    return atomic_load_explicit(&log->durable_seq, memory_order_acquire);
}

int64_t ig_log_now_ms(const struct ig_log *log) {
    return log->clock_base_ms + (int64_t)((ig_os->monotonic_ns() - log->clock_base_ns) / 1000000);
}

uint32_t ig_log_segment(struct ig_log *log) {
    ig_lock(&log->lock);
    uint32_t number = log->tail_segment;
    ig_unlock(&log->lock);
    return number;
}

ingot_status ig_log_failed(struct ig_log *log, ingot_error *err) {
    ig_lock(&log->lock);
    ingot_status status = log->failed.status;
    if (status != INGOT_OK)
        ig_fail(err, INGOT_READ_ONLY, "the store is read-only since a failure: %s",
                log->failed.message);
    ig_unlock(&log->lock);
    return status == INGOT_OK ? INGOT_OK : INGOT_READ_ONLY;
}

void ig_log_info(struct ig_log *log, struct ig_log_info *ret_info) {
    ig_lock(&log->lock);
    *ret_info = log->info;
    ig_unlock(&log->lock);
}

/* ---- The open group ---- */

void ig_log_close_group_locked(struct ig_log *log) {
    struct ig_group *group = ig_group_of(log, log->current);
    group->state = IG_GROUP_CLOSED;
    log->tail_offset = group->offset + ig_align_up(group->used, IG_LOG_ALIGN);
    log->tail_first_chain = 0;
    log->current++;
}

static void start_group_locked(struct ig_log *log, bool seal) {
    struct ig_group *group = ig_group_of(log, log->current);
    group->state = IG_GROUP_OPEN;
    group->seal = seal;
    group->serial = log->current;
    group->segment = log->tail_segment;
    group->offset = log->tail_offset;
    uint64_t room = log->tail_size - log->tail_offset - (seal ? 0 : IG_LOG_ALIGN);
    group->limit = room < log->group_size ? room : log->group_size;
    group->salt = log->tail_salt;
    group->first_chain = log->tail_first_chain;
    group->fd = log->tail_fd;
    group->time_ms = ig_log_now_ms(log);
    group->first_seq = log->next_seq;
    group->used = IG_GROUP_HEADER;
    group->waiters = 0;
    group->set = NULL;
    atomic_store(&group->leader_waits, false);
    if (seal)
        return;
    group->set = log->free_sets;
    log->free_sets = group->set->next;
    group->set->next = NULL;
    group->set->count = 0;
}

/* Room at the tail for a group with `bytes` of records, and for the seal behind it. */
static bool tail_has_room_locked(const struct ig_log *log, uint64_t bytes) {
    return log->tail_segment != 0 &&
           log->tail_offset + ig_align_up(IG_GROUP_HEADER + bytes, IG_LOG_ALIGN) + IG_LOG_ALIGN <=
               log->tail_size;
}

/* Where the log goes on in a segment, opened for writing. */
struct tail {
    struct ig_segment segment;
    int fd;
};

static ingot_status open_tail(struct ig_log *log, uint32_t number, struct tail *ret_tail,
                              ingot_error *err) {
    ingot_status status =
        ig_segment_acquire(log->options.segments, number, &ret_tail->segment, err);
    if (status != INGOT_OK)
        return status;
    status = ig_segment_open_write(log->options.segments, number, &ret_tail->fd, err);
    ig_segment_release(log->options.segments, &ret_tail->segment);
    return status;
}

static void enter_tail_locked(struct ig_log *log, const struct tail *tail, uint64_t offset) {
    log->tail_segment = tail->segment.number;
    log->tail_offset = offset;
    log->tail_size = tail->segment.size;
    log->tail_salt = tail->segment.salt;
    log->tail_first_chain = offset == IG_SEGMENT_HEADER ? tail->segment.header_sum : 0;
    log->tail_fd = tail->fd;
}

/* Seals the tail segment, if there is one, and enters the next. The slot for the seal is free. */
static ingot_status rotate_locked(struct ig_log *log, ingot_error *err) {
    struct tail tail;
    ingot_status status = open_tail(log, log->tail_segment + 1, &tail, err);
    if (status != INGOT_OK)
        return status;
    if (log->tail_segment != 0) {
        start_group_locked(log, true);
        ig_log_close_group_locked(log);
    }
    enter_tail_locked(log, &tail, IG_SEGMENT_HEADER);
    log->next_ready = false;
    ig_cond_wake(&log->keeper_work);
    return INGOT_OK;
}

enum next_step { STEP_READY, STEP_AGAIN, STEP_WAIT_SEGMENT, STEP_WAIT_COMMIT, STEP_FAILED };

/* While no segment can be made, the second half of the last one is for giving space back. */
static bool reserve_reached_locked(const struct ig_log *log) {
    return log->tail_segment != 0 && !log->next_ready && log->next_error.status != INGOT_OK &&
           log->tail_size - log->tail_offset < log->tail_size / 2;
}

/* One step towards an open group with room for `bytes` in `count` records. */
static enum next_step step_locked(struct ig_log *log, uint64_t bytes, uint32_t count, bool reclaims,
                                  ingot_error *err) {
    if (!reclaims && reserve_reached_locked(log))
        return STEP_WAIT_SEGMENT;
    if (ig_log_has_open_locked(log)) {
        const struct ig_group *group = ig_group_of(log, log->current);
        if (group->used + bytes <= group->limit && group->set->count + count <= IG_GROUP_RECORDS)
            return STEP_READY;
        ig_log_close_group_locked(log);
        ig_cond_wake(&log->keeper_work);
        return STEP_AGAIN;
    }
    if (ig_group_of(log, log->current)->state != IG_GROUP_FREE)
        return STEP_WAIT_COMMIT;
    if (!tail_has_room_locked(log, bytes)) {
        if (!log->next_ready)
            return STEP_WAIT_SEGMENT;
        return rotate_locked(log, err) == INGOT_OK ? STEP_AGAIN : STEP_FAILED;
    }
    if (log->free_sets == NULL)
        return STEP_WAIT_COMMIT;
    start_group_locked(log, false);
    return STEP_READY;
}

/* Waits until the keeper has made, or failed to make, the next segment. */
static ingot_status wait_segment_locked(struct ig_log *log, uint64_t attempts_before,
                                        const struct ig_wait *wait, ingot_error *err) {
    if (log->next_attempts > attempts_before && log->next_error.status != INGOT_OK)
        return ig_fail(err, log->next_error.status, "cannot extend the log: %s",
                       log->next_error.message);
    log->next_wanted = true;
    ig_cond_wake(&log->keeper_work);
    ig_cond_wait_ns(&log->space, &log->lock, ig_wait_slice_ns(wait));
    return ig_wait_check(wait, err);
}

static ingot_status wait_commit_locked(struct ig_log *log, const struct ig_wait *wait,
                                       ingot_error *err) {
    if (!log->leading && log->oldest < log->current)
        ig_log_lead_locked(log);
    else
        ig_cond_wait_ns(&log->space, &log->lock, ig_wait_slice_ns(wait));
    return ig_wait_check(wait, err);
}

static void take_room_locked(struct ig_log *log, uint64_t bytes, uint32_t count,
                             struct ig_slot *ret_slot) {
    struct ig_group *group = ig_group_of(log, log->current);
    *ret_slot = (struct ig_slot){
        .group = group,
        .serial = group->serial,
        .seq = log->next_seq,
        .segment = group->segment,
        .offset = group->offset + group->used,
        .record_seed = group->salt ^ log->nonce,
        .time_ms = group->time_ms,
        .memory = group->buffer + group->used,
        .changes = group->set->changes + group->set->count,
    };
    group->used += bytes;
    group->set->count += count;
    log->next_seq += count;
    atomic_fetch_add_explicit(&group->filling, 1, memory_order_relaxed);
}

ingot_status ig_log_reserve(struct ig_log *log, uint64_t bytes, uint32_t count, bool reclaims,
                            const struct ig_wait *wait, struct ig_slot *ret_slot,
                            ingot_error *err) {
    if (bytes + IG_GROUP_HEADER > log->group_size || count > IG_GROUP_RECORDS)
        return ig_fail(err, INGOT_TOO_LARGE, "%u records of %llu bytes exceed a commit group",
                       count, (unsigned long long)bytes);
    ingot_error local = INGOT_ERROR_INIT;
    err = err == NULL ? &local : err;
    ingot_status status = INGOT_OK;
    ig_lock(&log->lock);
    uint64_t attempts = log->next_attempts;
    while (status == INGOT_OK) {
        if (log->failed.status != INGOT_OK) {
            status = ig_fail(err, INGOT_READ_ONLY, "the store is read-only since a failure: %s",
                             log->failed.message);
            break;
        }
        enum next_step step = step_locked(log, bytes, count, reclaims, err);
        if (step == STEP_READY) {
            take_room_locked(log, bytes, count, ret_slot);
            break;
        }
        if (step == STEP_WAIT_SEGMENT)
            status = wait_segment_locked(log, attempts, wait, err);
        else if (step == STEP_WAIT_COMMIT)
            status = wait_commit_locked(log, wait, err);
        else if (step == STEP_FAILED)
            status = err->status;
    }
    ig_unlock(&log->lock);
    return status;
}

void ig_log_filled(struct ig_log *log, const struct ig_slot *slot) {
    (void)log;
    /* seq_cst: either the leader sees zero, or this sees that the leader waits. */
    if (atomic_fetch_sub(&slot->group->filling, 1) == 1 && atomic_load(&slot->group->leader_waits))
        ig_futex_wake(&slot->group->filling, 1);
}

ingot_status ig_log_read_staged(struct ig_log *log, uint32_t segment, uint64_t offset, size_t len,
                                void *buffer) {
    struct ig_group *found = NULL;
    ig_lock(&log->lock);
    for (unsigned i = 0; i < IG_GROUPS; i++) {
        struct ig_group *group = &log->groups[i];
        if (group->state != IG_GROUP_FREE && group->segment == segment && offset > group->offset &&
            offset + len <= group->offset + group->used)
            found = group;
    }
    if (found != NULL)
        found->pins++;
    ig_unlock(&log->lock);
    if (found == NULL)
        return INGOT_NOT_FOUND;
    memcpy(buffer, found->buffer + (offset - found->offset), len);
    ig_lock(&log->lock);
    found->pins--;
    ig_cond_wake_all(&log->space);
    ig_unlock(&log->lock);
    return INGOT_OK;
}

/* ---- The keeper ---- */

static void make_next_locked(struct ig_log *log) {
    uint32_t number = log->tail_segment + 1;
    ingot_error error = INGOT_ERROR_INIT;
    ingot_status status = INGOT_OK;
    ig_unlock(&log->lock);
    /* It may have been made before the store was last closed. */
    if (ig_segments_next(log->options.segments, number) != number)
        status = ig_segment_make(log->options.segments, number, ig_log_now_ms(log), &error);
    ig_lock(&log->lock);
    log->next_attempts++;
    log->next_wanted = false;
    log->next_error = error;
    log->next_error.status = status;
    log->next_ready = status == INGOT_OK;
    ig_cond_wake_all(&log->space);
}

static void *keeper_run(void *arg) {
    struct ig_log *log = arg;
    ig_lock(&log->lock);
    while (!log->stopping) {
        bool broken = log->failed.status != INGOT_OK;
        if (!log->next_ready && !broken &&
            (log->next_wanted || log->next_error.status == INGOT_OK)) {
            make_next_locked(log);
        } else if (!broken && !log->leading && log->oldest < log->current) {
            ig_log_lead_locked(log); /* a full group that nobody waits for */
        } else if (!broken && atomic_exchange(&log->unwaited, false)) {
            ig_cond_wait_ns(&log->keeper_work, &log->lock, UNWAITED_WINDOW_NS);
            if (!log->leading && log->failed.status == INGOT_OK && !log->stopping)
                ig_log_lead_locked(log);
        } else {
            ig_cond_wait(&log->keeper_work, &log->lock);
        }
    }
    ig_unlock(&log->lock);
    return NULL;
}

/* ---- Open and close ---- */

static ingot_status allocate(struct ig_log *log, ingot_error *err) {
    for (unsigned i = 0; i < IG_GROUPS; i++) {
        log->groups[i].buffer = ig_alloc_aligned(IG_LOG_ALIGN, log->group_size);
        if (log->groups[i].buffer == NULL)
            return ig_fail_memory(err, "the log's staging memory");
    }
    for (unsigned i = 0; i < IG_CHANGESETS; i++) {
        struct ig_changeset *set = &log->sets[i];
        set->changes = ig_alloc_array(IG_GROUP_RECORDS, sizeof *set->changes);
        if (set->changes == NULL)
            return ig_fail_memory(err, "the log's change sets");
        set->next = log->free_sets;
        log->free_sets = set;
    }
    return INGOT_OK;
}

static void release(struct ig_log *log) {
    for (unsigned i = 0; i < IG_GROUPS; i++)
        ig_free(log->groups[i].buffer);
    for (unsigned i = 0; i < IG_CHANGESETS; i++)
        ig_free(log->sets[i].changes);
    if (log->tail_fd >= 0)
        ig_os->close(log->tail_fd);
    for (uint64_t serial = log->oldest; serial < log->current; serial++)
        if (ig_group_of(log, serial)->seal)
            ig_os->close(ig_group_of(log, serial)->fd);
    ig_cond_release(&log->space);
    ig_cond_release(&log->keeper_work);
    ig_cond_release(&log->committed_some);
    ig_mutex_release(&log->lock);
    ig_free(log);
}

static void init(struct ig_log *log, const struct ig_log_options *options) {
    log->options = *options;
    uint64_t least =
        ig_align_up(IG_GROUP_HEADER + ig_record_footprint(options->body_max), IG_LOG_ALIGN);
    uint64_t batch =
        ig_align_up(IG_GROUP_HEADER + INGOT_BATCH_MAX * ig_record_footprint(0), IG_LOG_ALIGN);
    least = least < batch ? batch : least;
    log->group_size = ig_align_up(options->dirty_max / IG_GROUPS, IG_LOG_ALIGN);
    log->group_size = log->group_size < least ? least : log->group_size;
    log->clock_base_ns = ig_os->monotonic_ns();
    int64_t wall = ig_os->wall_ms();
    log->clock_base_ms = wall > options->clock_floor_ms ? wall : options->clock_floor_ms;
    ig_mutex_init(&log->lock, IG_RANK_LOG);
    ig_cond_init(&log->space);
    ig_cond_init(&log->keeper_work);
    ig_cond_init(&log->committed_some);
    log->next_seq = options->start.seq + 1;
    log->chain = options->chain;
    log->tail_fd = -1;
    log->committed_end = &log->committed;
    atomic_init(&log->durable_seq, options->start.seq);
}

ingot_status ig_log_open(const struct ig_log_options *options, struct ig_log **ret_log,
                         ingot_error *err) {
    struct ig_log *log = ig_alloc(sizeof *log);
    if (log == NULL)
        return ig_fail_memory(err, "the log");
    init(log, options);
    ingot_status status = allocate(log, err);
    if (status == INGOT_OK && ig_os->random(&log->nonce, sizeof log->nonce) < 0)
        status = ig_fail_errno(err, errno, "cannot draw a nonce");
    if (status == INGOT_OK && options->start.segment != 0) {
        struct tail tail;
        status = open_tail(log, options->start.segment, &tail, err);
        if (status == INGOT_OK)
            enter_tail_locked(log, &tail, options->start.offset);
    }
    int errnum = status != INGOT_OK ? 0 : ig_os->thread(&log->keeper, keeper_run, log);
    if (errnum != 0)
        status = ig_fail_errno(err, errnum, "cannot start the log's thread");
    if (status != INGOT_OK) {
        release(log);
        return status;
    }
    *ret_log = log;
    return INGOT_OK;
}

void ig_log_close(struct ig_log *log) {
    if (log == NULL)
        return;
    ig_lock(&log->lock);
    log->stopping = true;
    ig_cond_wake_all(&log->keeper_work);
    ig_unlock(&log->lock);
    pthread_join(log->keeper, NULL);
    release(log);
}
