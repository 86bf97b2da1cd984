#include "state.h"

#include <stdio.h>
#include <string.h>

bool ig_state_live(const struct ig_state *state) { return state->present && !state->limbo; }

bool ig_state_equal(const struct ig_state *a, const struct ig_state *b) {
    return a->present == b->present && a->limbo == b->limbo && a->file == b->file &&
           a->segment == b->segment && a->offset == b->offset && a->seq == b->seq &&
           a->size == b->size && a->refs == b->refs;
}

uint64_t ig_state_log_bytes(const struct ig_state *state) {
    if (!state->present)
        return 0;
    return ig_record_footprint(state->file ? 0 : state->size);
}

int64_t ig_state_quiet_since(const struct ig_state *state) {
    return state->changed_ms > state->time_ms ? state->changed_ms : state->time_ms;
}

static void place(struct ig_state *state, const struct ig_record *record, uint32_t segment,
                  uint64_t offset) {
    *state = (struct ig_state){
        .present = true,
        .limbo = (record->flags & IG_RECORD_LIMBO) != 0,
        .file = record->kind == IG_LINK,
        .segment = segment,
        .offset = offset,
        .seq = record->seq,
        .size = record->size,
        .refs = record->refs,
        .time_ms = record->aux,
    };
}

void ig_state_apply(struct ig_state *state, const struct ig_record *record, uint32_t segment,
                    uint64_t offset, int64_t time_ms) {
    switch ((enum ig_kind)record->kind) {
    case IG_OBJECT:
    case IG_LINK:
        place(state, record, segment, offset);
        return;
    case IG_REF:
        if (ig_state_live(state)) {
            state->refs = (int64_t)((uint64_t)state->refs + (uint64_t)record->refs);
            state->changed_ms = time_ms;
        }
        return;
    case IG_CHECKPOINT:
        if (state->present) {
            state->time_ms = state->limbo ? record->aux : state->time_ms;
            state->limbo = false;
            state->refs = record->refs;
            state->changed_ms = record->aux;
        }
        return;
    case IG_TOMBSTONE:
        if (state->present) {
            state->limbo = true;
            state->refs = 0;
            state->time_ms = time_ms;
            state->changed_ms = 0;
        }
        return;
    case IG_PURGE:
        memset(state, 0, sizeof *state);
        return;
    }
}

void ig_state_from_index(const struct ig_content *content, const struct ig_refs *refs,
                         struct ig_state *ret_state) {
    *ret_state = (struct ig_state){
        .present = true,
        .limbo = (content->flags & IG_CONTENT_LIMBO) != 0,
        .file = (content->flags & IG_CONTENT_FILE) != 0,
        .segment = content->segment,
        .offset = content->offset,
        .seq = content->seq,
        .size = content->size,
        .refs = (int64_t)((uint64_t)content->base_refs + (uint64_t)refs->delta),
        .time_ms = content->time_ms,
        .changed_ms = refs->time_ms,
    };
}

static void put_content(const ingot_id *id, const struct ig_state *state,
                        struct ig_index_batch *batch) {
    struct ig_content content = {
        .segment = state->segment,
        .flags =
            (uint8_t)((state->limbo ? IG_CONTENT_LIMBO : 0) | (state->file ? IG_CONTENT_FILE : 0)),
        .offset = state->offset,
        .size = state->size,
        .seq = state->seq,
        .base_refs = state->refs,
        .time_ms = state->time_ms,
    };
    ig_index_put_content(batch, id, &content);
}

static void segment_to_batch(uint32_t number, int64_t bytes, struct ig_index_batch *batch) {
    char key[32];
    snprintf(key, sizeof key, IG_COUNTER_LIVE "%08u", number);
    ig_index_add_counter(batch, key, bytes);
}

static void add_live(struct ig_sums *sums, uint32_t number, int64_t bytes,
                     struct ig_index_batch *batch) {
    uint32_t i = 0;
    while (i < sums->segment_count && sums->segments[i].number != number)
        i++;
    if (i == IG_SUMS_SEGMENTS) {
        segment_to_batch(number, bytes, batch);
        return;
    }
    if (i == sums->segment_count) {
        sums->segments[i].number = number;
        sums->segments[i].live_bytes = 0;
        sums->segment_count++;
    }
    sums->segments[i].live_bytes += bytes;
}

void ig_sums_to_batch(struct ig_sums *sums, struct ig_index_batch *batch) {
    const struct {
        const char *key;
        int64_t value;
    } all[] = {
        {IG_COUNTER_OBJECTS, sums->totals.objects},
        {IG_COUNTER_BYTES, sums->totals.bytes},
        {IG_COUNTER_LIMBO, sums->totals.limbo},
        {IG_COUNTER_LARGE, sums->totals.large},
        {IG_COUNTER_LARGE_BYTES, sums->totals.large_bytes},
    };
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].value != 0)
            ig_index_add_counter(batch, all[i].key, all[i].value);
    for (uint32_t i = 0; i < sums->segment_count; i++)
        if (sums->segments[i].live_bytes != 0)
            segment_to_batch(sums->segments[i].number, sums->segments[i].live_bytes, batch);
    memset(sums, 0, sizeof *sums);
}

void ig_change_to_batch(const struct ig_change *change, struct ig_sums *sums,
                        struct ig_index_batch *batch) {
    const struct ig_state *before = &change->before;
    const struct ig_state *after = &change->after;
    if (ig_state_equal(before, after) && before->time_ms == after->time_ms &&
        before->changed_ms == after->changed_ms)
        return;
    if (!after->present) {
        ig_index_delete_content(batch, &change->id);
        ig_index_delete_refs(batch, &change->id);
    } else if (change->kind == IG_REF) {
        ig_index_add_refs(batch, &change->id,
                          (int64_t)((uint64_t)after->refs - (uint64_t)before->refs),
                          after->changed_ms);
    } else {
        put_content(&change->id, after, batch);
        if (after->changed_ms != 0)
            ig_index_put_refs(batch, &change->id,
                              &(struct ig_refs){.delta = 0, .time_ms = after->changed_ms});
        else if (before->present)
            ig_index_delete_refs(batch, &change->id);
    }
    ig_totals_add(&sums->totals, before, after);
    uint64_t was = ig_state_log_bytes(before), is = ig_state_log_bytes(after);
    if (was != is || before->segment != after->segment) {
        if (was != 0)
            add_live(sums, before->segment, -(int64_t)was, batch);
        if (is != 0)
            add_live(sums, after->segment, (int64_t)is, batch);
    }
}

static void count(struct ig_totals *totals, const struct ig_state *state, int64_t sign) {
    if (!state->present)
        return;
    if (state->file) {
        totals->large += sign;
        totals->large_bytes += sign * (int64_t)state->size;
    }
    if (state->limbo) {
        totals->limbo += sign;
        return;
    }
    totals->objects += sign;
    totals->bytes += sign * (int64_t)state->size;
}

void ig_totals_add(struct ig_totals *totals, const struct ig_state *before,
                   const struct ig_state *after) {
    count(totals, before, -1);
    count(totals, after, 1);
}
