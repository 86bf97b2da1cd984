/* Cleaning: what is still needed of a sparse segment is copied to the end of the log, then the file
 * goes.
 *
 * Needed are: the objects that live there; the counts that its REF and CHECKPOINT records tell, as
 * CHECKPOINT; its tombstones, while a segment that may hold a record of the dead object exists. All
 * is copied under ownership of the id and from its present state, so copies never undo a later
 * change. The segment is removed only when everything is durable and nothing live is left in it; a
 * segment that cannot be read whole is never removed.
 */
#include "collect.h"

#include "scan.h"

#include <stdlib.h>
#include <string.h>

struct cleaning {
    struct ig_collection *run;
    uint32_t segment;
    bool unreadable;   /* an object in it is damaged */
    ingot_id *counted; /* ids of its REF and CHECKPOINT records */
    size_t counted_count;
    size_t counted_capacity;
    struct ig_slot last;
};

static ingot_status append(struct cleaning *cleaning, struct ig_pend *pend,
                           const struct ig_record *record, const void *body, ingot_error *err) {
    struct ig_append one = {.record = *record, .body = body, .pend = pend, .copied = true};
    return ig_store_append(cleaning->run->store, &one, 1, true, &cleaning->run->wait,
                           &cleaning->last, err);
}

static ingot_status append_count(struct cleaning *cleaning, struct ig_pend *pend, int64_t refs,
                                 int64_t changed_ms, ingot_error *err) {
    struct ig_record record = {
        .kind = IG_CHECKPOINT, .id = pend->id, .refs = refs, .aux = changed_ms};
    return append(cleaning, pend, &record, NULL, err);
}

static ingot_status move_object(struct cleaning *cleaning, struct ig_pend *pend,
                                const struct ig_scanned *scanned, ingot_error *err) {
    struct ig_collection *run = cleaning->run;
    const struct ig_state state = pend->state;
    if (!state.present || state.seq != scanned->record->seq)
        return INGOT_OK;
    if (!state.file && !ig_digest_matches(&run->store->digest, scanned->body,
                                          scanned->record->body_len, &pend->id)) {
        cleaning->unreadable = true;
        return INGOT_OK;
    }
    if (run->dry_run) {
        uint32_t leases = ig_pend_leases(run->store->pending, pend);
        enum ig_verdict verdict = ig_collection_verdict(run, &state, leases);
        if (verdict == IG_DROP || verdict == IG_SWEEP_AND_PURGE)
            return INGOT_OK;
    }
    run->report->moved_objects++;
    run->report->moved_bytes += state.file ? 0 : state.size;
    if (run->dry_run)
        return INGOT_OK;
    struct ig_record record = {
        .kind = scanned->record->kind,
        .flags = state.limbo ? IG_RECORD_LIMBO : 0,
        .size = state.size,
        .body_len = scanned->record->body_len,
        .id = pend->id,
        .refs = state.refs,
        .aux = state.time_ms,
    };
    ingot_status status = append(cleaning, pend, &record, scanned->body, err);
    /* The grace period of an object without references counts from its last one. */
    if (status == INGOT_OK && !state.limbo && state.refs == 0 && state.changed_ms != 0)
        status = append_count(cleaning, pend, 0, state.changed_ms, err);
    return status;
}

static bool segment_up_to(const struct cleaning *cleaning, int64_t number) {
    struct ig_segments *segments = cleaning->run->store->segments;
    uint32_t oldest = ig_segments_next(segments, 1);
    if (oldest == cleaning->segment)
        oldest = ig_segments_next(segments, oldest + 1);
    return oldest != 0 && oldest <= number;
}

/* A tombstone is needed while it is what keeps an older record of the object from counting. */
static ingot_status move_tombstone(struct cleaning *cleaning, struct ig_pend *pend,
                                   const struct ig_record *record, ingot_error *err) {
    const struct ig_state *state = &pend->state;
    bool in_limbo_by_it = state->present && state->limbo && state->seq < record->seq;
    bool absent = !state->present && segment_up_to(cleaning, record->aux);
    if (cleaning->run->dry_run || !(in_limbo_by_it || absent))
        return INGOT_OK;
    struct ig_record copy = {.kind = record->kind, .id = record->id, .aux = record->aux};
    return append(cleaning, pend, &copy, NULL, err);
}

static ingot_status remember_count(struct cleaning *cleaning, const ingot_id *id,
                                   ingot_error *err) {
    if (cleaning->counted_count == cleaning->counted_capacity) {
        size_t capacity = cleaning->counted_capacity == 0 ? 1024 : 2 * cleaning->counted_capacity;
        ingot_id *grown = ig_realloc(cleaning->counted, capacity * sizeof *grown);
        if (grown == NULL)
            return ig_fail_memory(err, "cleaning a segment");
        cleaning->counted = grown;
        cleaning->counted_capacity = capacity;
    }
    cleaning->counted[cleaning->counted_count++] = *id;
    return INGOT_OK;
}

static ingot_status visit(void *context, const struct ig_scanned *scanned, ingot_error *err) {
    struct cleaning *cleaning = context;
    struct ig_collection *run = cleaning->run;
    const struct ig_record *record = scanned->record;
    if (record->kind == IG_REF || record->kind == IG_CHECKPOINT)
        return remember_count(cleaning, &record->id, err);
    struct ig_pend *pend;
    ingot_status status = ig_wait_check(&run->wait, err);
    if (status == INGOT_OK)
        status = ig_store_own(run->store, &record->id, &run->wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    if (record->kind == IG_OBJECT || record->kind == IG_LINK)
        status = move_object(cleaning, pend, scanned, err);
    else
        status = move_tombstone(cleaning, pend, record, err);
    ig_pend_disown(run->store->pending, pend);
    return status;
}

static int compare_ids(const void *a, const void *b) { return ingot_id_compare(a, b); }

static ingot_status move_counts(struct cleaning *cleaning, ingot_error *err) {
    struct ig_collection *run = cleaning->run;
    if (cleaning->counted_count == 0 || run->dry_run)
        return INGOT_OK;
    qsort(cleaning->counted, cleaning->counted_count, sizeof(ingot_id), compare_ids);
    ingot_status status = INGOT_OK;
    for (size_t i = 0; i < cleaning->counted_count && status == INGOT_OK; i++) {
        const ingot_id *id = &cleaning->counted[i];
        struct ig_pend *pend;
        if (i > 0 && ingot_id_compare(id, id - 1) == 0)
            continue;
        status = ig_store_own(run->store, id, &run->wait, &pend, err);
        if (status != INGOT_OK)
            break;
        if (ig_state_live(&pend->state))
            status = append_count(cleaning, pend, pend->state.refs,
                                  ig_state_quiet_since(&pend->state), err);
        ig_pend_disown(run->store->pending, pend);
    }
    return status;
}

/* Everything copied is durable and in the index, and the index needs no replay from this segment.
 */
static ingot_status settle(struct ig_collection *run, ingot_error *err) {
    struct ig_wait forever = {.deadline_ns = UINT64_MAX};
    ingot_status status = ig_store_drain(run->store, &forever, err);
    return status != INGOT_OK ? status : ig_index_flush(run->store->index, err);
}

static ingot_status remove_segment(struct cleaning *cleaning, uint64_t size, ingot_error *err) {
    struct ig_collection *run = cleaning->run;
    ingot_status status = run->dry_run ? INGOT_OK : settle(run, err);
    if (status != INGOT_OK)
        return status;
    if (!run->dry_run && ig_segment_live(run->store->segments, cleaning->segment) != 0) {
        run->report->segments_unreadable++;
        return INGOT_OK;
    }
    if (!run->dry_run)
        status = ig_segment_remove(run->store->segments, cleaning->segment, err);
    if (status != INGOT_OK)
        return status;
    run->report->segments_cleaned++;
    run->report->freed_bytes += size;
    if (!run->dry_run)
        ig_count(&run->store->counters.cleaned_segments, 1);
    return INGOT_OK;
}

static ingot_status clean_segment(struct ig_collection *run, const struct ig_segment *segment,
                                  ingot_error *err) {
    struct cleaning cleaning = {.run = run, .segment = segment->number};
    struct ig_scan_visitor visitor = {.record = visit, .context = &cleaning};
    struct ig_scan_start start = {.bodies = true};
    struct ig_scan_end end;
    ingot_status status = ig_scan_segment(segment, &start, &visitor, &end, err);
    if (status == INGOT_OK && (end.damages > 0 || !end.sealed || cleaning.unreadable)) {
        run->report->segments_unreadable++;
    } else if (status == INGOT_OK) {
        status = move_counts(&cleaning, err);
        if (status == INGOT_OK)
            status = remove_segment(&cleaning, segment->size, err);
    }
    ig_free(cleaning.counted);
    return status;
}

static bool sparse(const struct ig_collection *run, const struct ig_segment *segment) {
    uint64_t live = ig_segment_live(run->store->segments, segment->number);
    if (segment->number < run->foreseen_count)
        live -= (uint64_t)run->foreseen[segment->number];
    uint32_t percent =
        run->options->clean_below_percent == 0 ? 50 : run->options->clean_below_percent;
    return live * 100 < segment->size * percent;
}

ingot_status ig_clean(struct ig_collection *run, ingot_error *err) {
    struct ig_watermark mark;
    uint32_t *numbers = NULL;
    size_t count = 0;
    /* Replay after a crash starts in the segment of the watermark: older ones may go. */
    ingot_status status = settle(run, err);
    if (status == INGOT_OK)
        status = ig_index_watermark(run->store->index, &mark, err);
    if (status == INGOT_NOT_FOUND)
        return INGOT_OK;
    if (status == INGOT_OK)
        status = ig_segments_list(run->store->segments, &numbers, &count, err);
    for (size_t i = 0; i < count && status == INGOT_OK && numbers[i] < mark.segment; i++) {
        struct ig_segment segment;
        status = ig_segment_acquire(run->store->segments, numbers[i], &segment, err);
        if (status != INGOT_OK)
            break;
        if (sparse(run, &segment))
            status = clean_segment(run, &segment, err);
        ig_segment_release(run->store->segments, &segment);
    }
    ig_free(numbers);
    return status;
}
