/* Group commit.
 *
 * Invariant: at most one thread leads (log->leading). The leader takes every closed group and the
 * open one, in serial order, and none of them is reused before it has finished. Groups reach the
 * device in order, and durable_seq moves only after the sync that covers them.
 *
 * Hand-over: a writer that finds nobody leading leads; otherwise it sleeps on its own group's word.
 * A finishing leader first wakes one sleeper of the next group, so that the device does not idle,
 * then all sleepers of its own groups: they are exactly those that are done, so nobody wakes in
 * vain. A sleeper that gives up (deadline, cancel) passes a wake-up on, for it may have been the
 * one.
 */
#include "bytes.h"
#include "log_internal.h"
#include "status.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

/* Looks that often before the leader sleeps on the fillers. */
#define FILL_SPINS 64

static void wait_filled(struct ig_group *group) {
    for (unsigned i = 0; i < FILL_SPINS; i++) {
        if (atomic_load_explicit(&group->filling, memory_order_acquire) == 0)
            return;
        sched_yield();
    }
    atomic_store(&group->leader_waits, true);
    unsigned left;
    while ((left = atomic_load(&group->filling)) != 0)
        ig_futex_wait(&group->filling, left, UINT64_C(1000000000));
}

static void finish_header(struct ig_log *log, struct ig_group *group, uint64_t length) {
    struct ig_group_header header = {
        .count = group->seal ? 0 : group->set->count,
        .length = length,
        .first_seq = group->first_seq,
        .durable_seq = ig_log_durable_seq(log),
        .nonce = log->nonce,
        .chain = group->first_chain != 0 ? group->first_chain : log->chain,
        .time_ms = group->time_ms,
    };
    ig_group_header_encode(&header, group->salt, group->buffer);
    log->chain = ig_sum(group->buffer, IG_GROUP_HEADER, 0);
}

static ingot_status sync_segment(const struct ig_group *group, ingot_error *err) {
    if (ig_os->fdatasync(group->fd) < 0)
        return ig_fail_errno(err, errno, "cannot sync log segment %u", group->segment);
    return INGOT_OK;
}

static ingot_status write_group(struct ig_log *log, struct ig_group *group, ingot_error *err) {
    if (!group->seal)
        wait_filled(group);
    uint64_t length = ig_align_up(group->used, IG_LOG_ALIGN);
    memset(group->buffer + group->used, 0, length - group->used);
    finish_header(log, group, length);
    char name[40];
    snprintf(name, sizeof name, "log segment %u", group->segment);
    ingot_status status = ig_write_all(group->fd, group->buffer, length, group->offset, name, err);
    if (status != INGOT_OK || group->seal)
        return status;
    group->set->end = (struct ig_watermark){.seq = group->first_seq + group->set->count - 1,
                                            .segment = group->segment,
                                            .offset = group->offset + length};
    group->set->chain = log->chain;
    group->set->group_offset = group->offset;
    group->set->bytes = length;
    return INGOT_OK;
}

/* A sealed segment is synced before the next one is written to. */
static ingot_status write_groups(struct ig_log *log, uint64_t first, uint64_t end,
                                 ingot_error *err) {
    ingot_status status = INGOT_OK;
    for (uint64_t serial = first; serial < end && status == INGOT_OK; serial++) {
        struct ig_group *group = ig_group_of(log, serial);
        /* A seal proves to a reader that what is before it was durable. */
        if (group->seal && serial > first)
            status = sync_segment(group, err);
        if (status == INGOT_OK)
            status = write_group(log, group, err);
        if (status == INGOT_OK && (group->seal || serial + 1 == end))
            status = sync_segment(group, err);
    }
    return status;
}

static void finish_groups_locked(struct ig_log *log, uint64_t first, uint64_t end) {
    /* Waiting drops the lock, so no group is free before the last pin of all is gone. */
    for (uint64_t serial = first; serial < end; serial++)
        while (ig_group_of(log, serial)->pins > 0)
            ig_cond_wait(&log->space, &log->lock);
    for (uint64_t serial = first; serial < end; serial++) {
        struct ig_group *group = ig_group_of(log, serial);
        group->state = IG_GROUP_FREE;
        log->info.syncs += group->seal || serial + 1 == end ? 1 : 0;
        if (group->seal) {
            ig_os->close(group->fd);
            continue;
        }
        log->info.groups++;
        log->info.records += group->set->count;
        log->info.bytes += group->set->bytes;
        *log->committed_end = group->set;
        log->committed_end = &group->set->next;
        atomic_store_explicit(&log->durable_seq, group->set->end.seq, memory_order_release);
    }
    log->oldest = end;
}

/* Wakes one sleeper of the next group to lead it, then those of [first, end), unlocked. */
static void wake_groups_locked(struct ig_log *log, uint64_t first, uint64_t end) {
    atomic_uint *words[IG_GROUPS];
    unsigned count = 0;
    for (uint64_t serial = first; serial < end; serial++) {
        struct ig_group *group = ig_group_of(log, serial);
        atomic_fetch_add_explicit(&group->word, 1, memory_order_release);
        if (group->waiters > 0)
            words[count++] = &group->word;
    }
    atomic_uint *heir = NULL;
    for (uint64_t serial = log->oldest; serial <= log->current && heir == NULL; serial++) {
        struct ig_group *next = ig_group_of(log, serial);
        if (next->state == IG_GROUP_FREE || next->serial != serial || next->waiters == 0)
            continue;
        atomic_fetch_add_explicit(&next->word, 1, memory_order_release);
        heir = &next->word;
    }
    ig_cond_wake_all(&log->space);
    ig_cond_wake(&log->committed_some);
    ig_cond_wake(&log->keeper_work);
    ig_unlock(&log->lock);
    if (heir != NULL)
        ig_futex_wake(heir, 1);
    for (unsigned i = 0; i < count; i++)
        ig_futex_wake(words[i], INT32_MAX);
    ig_lock(&log->lock);
}

void ig_log_lead_locked(struct ig_log *log) {
    if (ig_log_has_open_locked(log))
        ig_log_close_group_locked(log);
    uint64_t first = log->oldest, end = log->current;
    if (first == end || log->failed.status != INGOT_OK)
        return;
    log->leading = true;
    ig_unlock(&log->lock);
    ingot_error error = INGOT_ERROR_INIT;
    ingot_status status = write_groups(log, first, end, &error);
    ig_lock(&log->lock);
    if (status == INGOT_OK) {
        finish_groups_locked(log, first, end);
        log->leading = false;
        wake_groups_locked(log, first, end);
    } else {
        log->leading = false;
        ig_log_fail_locked(log, status, error.message);
    }
}

/* Sleeps on the group's word until something changes or the slice is over. */
static void sleep_on_group(struct ig_log *log, struct ig_group *group, const struct ig_wait *wait) {
    group->waiters++;
    unsigned word = atomic_load_explicit(&group->word, memory_order_relaxed);
    ig_unlock(&log->lock);
    ig_futex_wait(&group->word, word, ig_wait_slice_ns(wait));
}

static void pass_on(struct ig_group *group) {
    atomic_fetch_add_explicit(&group->word, 1, memory_order_release);
    ig_futex_wake(&group->word, 1);
}

static ingot_status wait_for(struct ig_log *log, uint64_t seq, struct ig_group *group,
                             const struct ig_wait *wait, ingot_error *err) {
    while (ig_log_durable_seq(log) < seq) {
        ig_lock(&log->lock);
        if (ig_log_durable_seq(log) >= seq) {
            ig_unlock(&log->lock);
            break;
        }
        if (log->failed.status != INGOT_OK) {
            ingot_status status = ig_fail(err, log->failed.status, "%s", log->failed.message);
            ig_unlock(&log->lock);
            return status;
        }
        if (!log->leading) {
            ig_log_lead_locked(log);
            ig_unlock(&log->lock);
            continue;
        }
        sleep_on_group(log, group, wait);
        if (ig_log_durable_seq(log) >= seq)
            break;
        ingot_status status = ig_wait_check(wait, err);
        if (status != INGOT_OK) {
            pass_on(group);
            ig_log_unwaited(log);
            return status;
        }
    }
    return INGOT_OK;
}

ingot_status ig_log_wait(struct ig_log *log, const struct ig_slot *slot, const struct ig_wait *wait,
                         ingot_error *err) {
    return wait_for(log, slot->seq, slot->group, wait, err);
}

ingot_status ig_log_sync(struct ig_log *log, const struct ig_wait *wait, ingot_error *err) {
    ig_lock(&log->lock);
    uint64_t seq = log->next_seq - 1;
    struct ig_group *group =
        ig_group_of(log, ig_log_has_open_locked(log) ? log->current : log->current - 1);
    ig_unlock(&log->lock);
    return wait_for(log, seq, group, wait, err);
}

void ig_log_fail_locked(struct ig_log *log, ingot_status status, const char *message) {
    if (log->failed.status == INGOT_OK)
        ig_fail(&log->failed, status, "%s", message);
    for (unsigned i = 0; i < IG_GROUPS; i++) {
        atomic_fetch_add_explicit(&log->groups[i].word, 1, memory_order_release);
        ig_futex_wake(&log->groups[i].word, INT32_MAX);
    }
    ig_cond_wake_all(&log->space);
}

void ig_log_fail(struct ig_log *log, ingot_status status, const char *message) {
    ig_lock(&log->lock);
    ig_log_fail_locked(log, status, message);
    ig_unlock(&log->lock);
}

void ig_log_unwaited(struct ig_log *log) {
    if (atomic_exchange(&log->unwaited, true))
        return;
    ig_lock(&log->lock);
    ig_cond_wake(&log->keeper_work);
    ig_unlock(&log->lock);
}

struct ig_changeset *ig_log_take(struct ig_log *log, uint64_t ns) {
    ig_lock(&log->lock);
    if (log->committed == NULL)
        ig_cond_wait_ns(&log->committed_some, &log->lock, ns);
    struct ig_changeset *sets = log->committed;
    log->committed = NULL;
    log->committed_end = &log->committed;
    ig_unlock(&log->lock);
    return sets;
}

void ig_log_recycle(struct ig_log *log, struct ig_changeset *sets) {
    ig_lock(&log->lock);
    while (sets != NULL) {
        struct ig_changeset *set = sets;
        sets = set->next;
        set->next = log->free_sets;
        log->free_sets = set;
    }
    ig_cond_wake_all(&log->space);
    ig_unlock(&log->lock);
}

void ig_log_nudge(struct ig_log *log) {
    ig_lock(&log->lock);
    ig_cond_wake_all(&log->committed_some);
    ig_unlock(&log->lock);
}
