#include "replay.h"

#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "scan.h"
#include "status.h"

#include <inttypes.h>
#include <string.h>

/* Ids gathered before the index is written. */
#define GATHER_MAX 16384
#define SLOTS (2 * GATHER_MAX) /* of the table; a power of two */

struct replay {
    const struct ig_replay_options *options;
    struct ig_replay_report *report;
    struct ig_index_batch *batch;
    struct ig_change *changes; /* grows when one group touches more ids than GATHER_MAX */
    uint32_t count;
    uint32_t capacity;
    uint32_t *slots; /* index into changes plus 1; 0: empty */
    uint32_t slot_count;
    uint32_t segment;
};

static uint32_t *slot_of(const struct replay *replay, const ingot_id *id) {
    uint32_t mask = replay->slot_count - 1;
    uint32_t at = (uint32_t)ig_get64(id->bytes + 16) & mask;
    while (replay->slots[at] != 0 &&
           ingot_id_compare(&replay->changes[replay->slots[at] - 1].id, id) != 0)
        at = (at + 1) & mask;
    return &replay->slots[at];
}

static ingot_status grow(struct replay *replay, ingot_error *err) {
    uint32_t capacity = 2 * replay->capacity;
    struct ig_change *changes =
        ig_realloc(replay->changes, (size_t)capacity * sizeof *replay->changes);
    if (changes == NULL)
        return ig_fail_memory(err, "replay");
    replay->changes = changes;
    replay->capacity = capacity;
    uint32_t *slots = ig_alloc_array(2 * (size_t)capacity, sizeof *slots);
    if (slots == NULL)
        return ig_fail_memory(err, "replay");
    ig_free(replay->slots);
    replay->slots = slots;
    replay->slot_count = 2 * capacity;
    for (uint32_t i = 0; i < replay->count; i++)
        *slot_of(replay, &replay->changes[i].id) = i + 1;
    return INGOT_OK;
}

static ingot_status index_state(struct ig_index *index, const ingot_id *id,
                                struct ig_state *ret_state, ingot_error *err) {
    struct ig_content content;
    struct ig_refs refs;
    memset(ret_state, 0, sizeof *ret_state);
    ingot_status status = ig_index_content(index, id, &content, err);
    if (status == INGOT_NOT_FOUND)
        return INGOT_OK;
    if (status == INGOT_OK)
        status = ig_index_refs(index, id, &refs, err);
    if (status == INGOT_OK)
        ig_state_from_index(&content, &refs, ret_state);
    return status;
}

static ingot_status find_change(struct replay *replay, const ingot_id *id,
                                struct ig_change **ret_change, ingot_error *err) {
    uint32_t *slot = slot_of(replay, id);
    if (*slot == 0) {
        if (replay->count == replay->capacity) {
            ingot_status status = grow(replay, err);
            if (status != INGOT_OK)
                return status;
            slot = slot_of(replay, id);
        }
        struct ig_change *change = &replay->changes[replay->count];
        memset(change, 0, sizeof *change);
        change->id = *id;
        change->kind = IG_REF;
        ingot_status status = index_state(replay->options->index, id, &change->before, err);
        if (status != INGOT_OK)
            return status;
        change->after = change->before;
        *slot = ++replay->count;
    }
    *ret_change = &replay->changes[*slot - 1];
    return INGOT_OK;
}

static ingot_status take_record(void *context, const struct ig_scanned *scanned, ingot_error *err) {
    struct replay *replay = context;
    struct ig_change *change;
    ingot_status status = find_change(replay, &scanned->record->id, &change, err);
    if (status != INGOT_OK)
        return status;
    if (scanned->record->kind != IG_REF)
        change->kind = scanned->record->kind;
    ig_state_apply(&change->after, scanned->record, replay->segment, scanned->offset,
                   scanned->time_ms);
    change->seq = scanned->record->seq;
    replay->report->damages += scanned->body_damaged ? 1 : 0;
    return INGOT_OK;
}

static ingot_status to_pending(struct replay *replay, const struct ig_change *change,
                               ingot_error *err) {
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    struct ig_pend *pend;
    ingot_status status = ig_pend_own(replay->options->pending, &change->id, &wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    ig_pend_change(replay->options->pending, pend, &change->after, 0, 1);
    ig_pend_disown(replay->options->pending, pend);
    return INGOT_OK;
}

static ingot_status write_gathered(struct replay *replay, const struct ig_watermark *end,
                                   const struct ig_tail *tail, ingot_error *err) {
    struct ig_sums sums = {.segment_count = 0};
    for (uint32_t i = 0; i < replay->count; i++) {
        const struct ig_change *change = &replay->changes[i];
        ig_totals_add(&replay->report->change, &change->before, &change->after);
        if (replay->options->pending == NULL)
            ig_change_to_batch(change, &sums, replay->batch);
        else if (to_pending(replay, change, err) != INGOT_OK)
            return INGOT_NO_MEMORY;
    }
    replay->count = 0;
    memset(replay->slots, 0, replay->slot_count * sizeof *replay->slots);
    if (replay->options->pending != NULL)
        return INGOT_OK;
    ig_sums_to_batch(&sums, replay->batch);
    ig_tail_put(replay->batch, tail);
    return ig_index_write(replay->options->index, replay->batch, end, err);
}

/* The index's place is never behind a seal: from there nothing could be read on. */
static void note_end(struct replay *replay, const struct ig_scan_end *end) {
    if (end->sealed)
        return;
    replay->report->end = (struct ig_watermark){
        .seq = end->next_seq - 1, .segment = replay->segment, .offset = end->offset};
    replay->report->chain = end->chain;
    replay->report->group_offset = end->group_offset;
    replay->report->time_ms = end->time_ms;
}

static ingot_status group_done(void *context, const struct ig_scan_end *end, ingot_error *err) {
    struct replay *replay = context;
    note_end(replay, end);
    /* Into the pending table everything goes at once: there the state must be the newest. */
    if (replay->count < GATHER_MAX || replay->options->pending != NULL)
        return INGOT_OK;
    struct ig_tail tail = {.chain = end->chain, .group_offset = end->group_offset};
    return write_gathered(replay, &replay->report->end, &tail, err);
}

static ingot_status scan_one(struct replay *replay, uint32_t number,
                             const struct ig_scan_start *start, struct ig_scan_end *ret_end,
                             ingot_error *err) {
    struct ig_segment segment;
    ingot_status status = ig_segment_acquire(replay->options->segments, number, &segment, err);
    if (status != INGOT_OK)
        return status;
    replay->segment = number;
    struct ig_scan_visitor visitor = {
        .record = take_record, .group_done = group_done, .context = replay};
    status = ig_scan_segment(&segment, start, &visitor, ret_end, err);
    ig_segment_release(replay->options->segments, &segment);
    if (status != INGOT_OK)
        return status;
    replay->report->segments++;
    replay->report->records += ret_end->records;
    replay->report->damages += ret_end->damages;
    if (ret_end->damages > 0 && !replay->options->salvage)
        return ig_fail(err, INGOT_CORRUPT, "the log is damaged: %s", ret_end->damage);
    return INGOT_OK;
}

/* Groups behind a segment that was never sealed: its end is damage, not the end of the log. */
static ingot_status check_nothing_follows(struct replay *replay, uint32_t number,
                                          const struct ig_scan_end *end, ingot_error *err) {
    uint32_t next = ig_segments_next(replay->options->segments, number + 1);
    struct ig_segment segment;
    if (next == 0)
        return INGOT_OK;
    ingot_status status = ig_segment_acquire(replay->options->segments, next, &segment, err);
    if (status != INGOT_OK)
        return status;
    struct ig_scan_visitor none = {.record = NULL};
    struct ig_scan_start start = {.offset = 0};
    struct ig_scan_end follows;
    status = ig_scan_segment(&segment, &start, &none, &follows, err);
    ig_segment_release(replay->options->segments, &segment);
    if (status == INGOT_OK && follows.groups > 0)
        return ig_fail(err, INGOT_CORRUPT,
                       "the log is damaged: segment %" PRIu32 " breaks off at %" PRIu64
                       " but segment %" PRIu32 " goes on",
                       number, end->offset, next);
    return status;
}

/* The group that the index took last must still be there, unchanged. */
static ingot_status check_tail(const struct ig_replay_options *options,
                               const struct ig_watermark *mark, const struct ig_tail *tail,
                               int64_t *ret_time_ms, ingot_error *err) {
    struct ig_segment segment;
    ingot_status status = ig_segment_acquire(options->segments, mark->segment, &segment, err);
    if (status == INGOT_NOT_FOUND)
        return ig_fail(err, INGOT_CORRUPT,
                       "log segment %" PRIu32 " is missing: the index has taken records from it",
                       mark->segment);
    if (status != INGOT_OK)
        return status;
    uint8_t header[IG_GROUP_HEADER];
    status = ig_read_all(segment.fd, header, sizeof header, tail->group_offset, "log segment", err);
    ig_segment_release(options->segments, &segment);
    struct ig_group_header group;
    if (status == INGOT_OK && (ig_sum(header, sizeof header, 0) != tail->chain ||
                               ig_group_header_decode(header, segment.salt, &group) != NULL))
        status = INGOT_CORRUPT;
    if (status == INGOT_OK)
        *ret_time_ms = group.time_ms;
    if (status == INGOT_CORRUPT)
        ig_fail(err, INGOT_CORRUPT,
                "the log is damaged: segment %" PRIu32 " has no group at %" PRIu64
                ", which the index has taken",
                mark->segment, tail->group_offset);
    return status;
}

static void note_resume(struct replay *replay, uint32_t number, const struct ig_scan_end *end) {
    /* Segments made ahead have no groups: the log goes on before them. */
    if (end->groups == 0 && replay->report->resume.segment != 0)
        return;
    replay->report->resume =
        (struct ig_watermark){.seq = end->next_seq == 0 ? 0 : end->next_seq - 1,
                              .segment = end->sealed ? number + 1 : number,
                              .offset = end->sealed ? IG_SEGMENT_HEADER : end->offset};
    replay->report->resume_chain = end->chain;
}

/* Walks from `number` on. In a salvage a missing or unsealed segment does not stop the walk. */
static ingot_status walk(struct replay *replay, uint32_t number, struct ig_scan_start start,
                         ingot_error *err) {
    struct ig_segments *segments = replay->options->segments;
    ingot_status status = INGOT_OK;
    while (number != 0 && status == INGOT_OK) {
        struct ig_scan_end end;
        status = scan_one(replay, number, &start, &end, err);
        if (status != INGOT_OK)
            return status;
        note_resume(replay, number, &end);
        uint32_t next = ig_segments_next(segments, number + 1);
        if (!end.sealed && !replay->options->salvage)
            return check_nothing_follows(replay, number, &end, err);
        if (end.sealed && next != number + 1 && !replay->options->salvage)
            return ig_fail(err, INGOT_CORRUPT, "log segment %" PRIu32 " is missing", number + 1);
        start = (struct ig_scan_start){
            .seq = next == number + 1 && !replay->options->salvage ? end.next_seq : 0,
            .salvage = start.salvage,
            .bodies = start.bodies};
        number = next;
    }
    return status;
}

static ingot_status run(struct replay *replay, ingot_error *err) {
    const struct ig_replay_options *options = replay->options;
    struct ig_watermark mark = {.seq = 0};
    struct ig_tail tail = {.chain = 0};
    ingot_status status = ig_index_watermark(options->index, &mark, err);
    if (status == INGOT_NOT_FOUND)
        status = INGOT_OK;
    /* A rebuild may leave the place at the start of a segment: no group is before it there. */
    bool inside = mark.segment != 0 && mark.offset != IG_SEGMENT_HEADER;
    if (status == INGOT_OK && inside)
        status = ig_tail_get(options->index, &tail, err);
    if (status == INGOT_OK && inside)
        status = check_tail(options, &mark, &tail, &replay->report->time_ms, err);
    if (status != INGOT_OK)
        return status;
    replay->report->end = mark;
    replay->report->chain = tail.chain;
    replay->report->group_offset = tail.group_offset;
    struct ig_scan_start start = {.offset = inside ? mark.offset : 0,
                                  .chain = tail.chain,
                                  .seq = options->salvage ? 0 : mark.seq + 1,
                                  .salvage = options->salvage,
                                  .bodies = true};
    uint32_t first = mark.segment == 0 ? ig_segments_next(options->segments, 1) : mark.segment;
    if (mark.segment == 0 && first > 1 && !options->salvage)
        return ig_fail(err, INGOT_CORRUPT,
                       "log segments before %" PRIu32 " are missing: the index has taken nothing",
                       first);
    status = walk(replay, first, start, err);
    if (status != INGOT_OK || (replay->count == 0 && !options->salvage))
        return status;
    /* Behind a salvage the log is read on from where it will be written on: damage stays behind. */
    struct ig_watermark end = options->salvage ? replay->report->resume : replay->report->end;
    tail = (struct ig_tail){.chain = replay->report->chain,
                            .group_offset = replay->report->group_offset};
    return write_gathered(replay, &end, &tail, err);
}

ingot_status ig_replay(const struct ig_replay_options *options, struct ig_replay_report *ret_report,
                       ingot_error *err) {
    *ret_report = (struct ig_replay_report){.records = 0};
    struct replay replay = {.options = options,
                            .report = ret_report,
                            .capacity = GATHER_MAX + IG_GROUP_RECORDS,
                            .slot_count = SLOTS * 2};
    replay.changes = ig_alloc_array(replay.capacity, sizeof *replay.changes);
    replay.slots = ig_alloc_array(replay.slot_count, sizeof *replay.slots);
    replay.batch = options->pending == NULL ? ig_index_batch_new(options->index) : NULL;
    ingot_status status = INGOT_OK;
    if (replay.changes == NULL || replay.slots == NULL ||
        (options->pending == NULL && replay.batch == NULL))
        status = ig_fail_memory(err, "replay");
    if (status == INGOT_OK)
        status = run(&replay, err);
    ig_index_batch_free(replay.batch);
    ig_free(replay.changes);
    ig_free(replay.slots);
    return status;
}
