/* Checking: the state of every id is computed anew from the log and compared with the index.
 *
 * Both are taken as of one watermark, so writers may go on meanwhile; collection and cleaning wait.
 * Memory is bounded: ids are gone through in ranges, one walk over the log for each.
 */
#include "bytes.h"
#include "scan.h"
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define IDS_A_PASS (UINT64_C(1) << 21)
#define PASSES_MAX 4096 /* a range is told by the first 12 bits of the id */

struct known {
    ingot_id id;
    bool used;
    bool seen;         /* the index has it too */
    bool body_damaged; /* its record's body has another checksum */
    struct ig_state state;
};

struct check {
    ingot_store *store;
    const ingot_check_options *options;
    ingot_check_report *report;
    const struct ig_wait *wait;
    uint64_t limit_seq;  /* records after it are not looked at */
    uint64_t draw;       /* decides which objects a sample takes */
    struct known *known; /* open addressing; at most half full, never NULL after the first grow */
    uint64_t capacity;
    uint64_t count;
    uint32_t passes;
    uint32_t pass;
    uint32_t segment;
    char first_damage[200];
};

static bool in_pass(const struct check *check, const ingot_id *id) {
    uint32_t prefix = (uint32_t)id->bytes[0] << 4 | id->bytes[1] >> 4;
    return prefix * check->passes / PASSES_MAX == check->pass;
}

static struct known *find(const struct check *check, const ingot_id *id) {
    uint64_t at = ig_get64(id->bytes + 24) & (check->capacity - 1);
    while (check->known[at].used && ingot_id_compare(&check->known[at].id, id) != 0)
        at = (at + 1) & (check->capacity - 1);
    return &check->known[at];
}

static ingot_status grow(struct check *check, ingot_error *err) {
    uint64_t old_capacity = check->capacity;
    struct known *old = check->known;
    check->capacity = old_capacity == 0 ? 4096 : 2 * old_capacity;
    check->known = ig_alloc_array(check->capacity, sizeof *check->known);
    if (check->known == NULL) {
        check->known = old;
        check->capacity = old_capacity;
        return ig_fail_memory(err, "a check");
    }
    for (uint64_t i = 0; i < old_capacity; i++)
        if (old[i].used)
            *find(check, &old[i].id) = old[i];
    ig_free(old);
    return INGOT_OK;
}

static void note_damage(struct check *check, const char *what) {
    if (check->first_damage[0] == '\0')
        snprintf(check->first_damage, sizeof check->first_damage, "%s", what);
}

static void note_damaged_object(struct check *check, const ingot_id *id, const char *what) {
    if (check->report->damaged_objects < check->options->damaged_max)
        check->options->damaged[check->report->damaged_objects] = *id;
    check->report->damaged_objects++;
    note_damage(check, what);
}

static ingot_status take_record(void *context, const struct ig_scanned *scanned, ingot_error *err) {
    struct check *check = context;
    const struct ig_record *record = scanned->record;
    if (record->seq > check->limit_seq)
        return INGOT_OK;
    if (check->pass == 0)
        check->report->records++;
    if (!in_pass(check, &record->id))
        return INGOT_OK;
    if (2 * check->count >= check->capacity) {
        ingot_status status = grow(check, err);
        if (status != INGOT_OK)
            return status;
    }
    struct known *known = find(check, &record->id);
    if (!known->used) {
        known->used = true;
        known->id = record->id;
        check->count++;
    }
    ig_state_apply(&known->state, record, check->segment, scanned->offset, scanned->time_ms);
    if (record->kind == IG_OBJECT || record->kind == IG_LINK)
        known->body_damaged = scanned->body_damaged;
    return INGOT_OK;
}

static ingot_status scan_segment(struct check *check, uint32_t number, struct ig_scan_end *ret_end,
                                 ingot_error *err) {
    struct ig_segment segment;
    ingot_status status = ig_wait_check(check->wait, err);
    if (status == INGOT_OK)
        status = ig_segment_acquire(check->store->segments, number, &segment, err);
    if (status != INGOT_OK)
        return status;
    check->segment = number;
    struct ig_scan_visitor visitor = {.record = take_record, .context = check};
    struct ig_scan_start start = {.salvage = true, .bodies = true, .until = check->limit_seq};
    status = ig_scan_segment(&segment, &start, &visitor, ret_end, err);
    ig_segment_release(check->store->segments, &segment);
    return status;
}

static ingot_status scan_log(struct check *check, ingot_error *err) {
    uint32_t *numbers = NULL;
    size_t count = 0;
    bool broke_off = false; /* an earlier segment ended without a seal */
    bool done = check->limit_seq == 0;
    ingot_status status = ig_segments_list(check->store->segments, &numbers, &count, err);
    for (size_t i = 0; i < count && status == INGOT_OK && !done; i++) {
        struct ig_scan_end end;
        status = scan_segment(check, numbers[i], &end, err);
        done = status == INGOT_OK && end.next_seq > check->limit_seq;
        if (status != INGOT_OK || check->pass > 0)
            continue;
        check->report->segments++;
        check->report->groups += end.groups;
        bool damaged = end.damages + end.strays > 0 || (broke_off && end.groups > 0);
        check->report->damaged_segments += damaged;
        if (damaged)
            note_damage(check, end.damage[0] != '\0' ? end.damage : "a log segment breaks off");
        broke_off = !end.sealed;
    }
    ig_free(numbers);
    return status;
}

/* INGOT_CORRUPT if the object's bytes are not there or not its own. */
static ingot_status read_object(struct check *check, const ingot_id *id,
                                const struct ig_state *state, ingot_error *err) {
    check->report->objects_read++;
    check->report->bytes_read += state->size;
    if (state->file)
        return ig_large_verify(&check->store->large, id, state->size, err);
    void *buffer = ig_alloc((size_t)state->size);
    if (buffer == NULL)
        return ig_fail_memory(err, "an object");
    ingot_status status = ig_store_read(check->store, id, state, buffer, err);
    ig_free(buffer);
    return status;
}

static bool file_looks_right(const struct check *check, const ingot_id *id,
                             const struct ig_state *state) {
    IG_CLEANUP_FREE char *path = ig_large_path(&check->store->large, id, "");
    struct stat st;
    return path != NULL && stat(path, &st) == 0 && (uint64_t)st.st_size == state->size;
}

static bool sampled(const struct check *check, const ingot_id *id) {
    uint32_t percent = check->options->data_percent == 0 ? 100 : check->options->data_percent;
    return (check->options->flags & INGOT_CHECK_READ_DATA) != 0 &&
           (ig_get64(id->bytes + 8) ^ check->draw) % 100 < percent;
}

static ingot_status check_object(struct check *check, const struct known *known, ingot_error *err) {
    const struct ig_state *state = &known->state;
    char what[200], hex[INGOT_ID_HEX + 1];
    ingot_id_format(&known->id, hex);
    if (known->body_damaged || (state->file && !file_looks_right(check, &known->id, state))) {
        snprintf(what, sizeof what, "object %s is damaged%s", hex,
                 state->file ? ": its file is missing or has another length" : "");
        note_damaged_object(check, &known->id, what);
        return INGOT_OK;
    }
    if (!sampled(check, &known->id))
        return INGOT_OK;
    ingot_error error = INGOT_ERROR_INIT;
    ingot_status status = read_object(check, &known->id, state, &error);
    if (status == INGOT_CORRUPT || status == INGOT_IO) {
        note_damaged_object(check, &known->id, error.message);
        return INGOT_OK;
    }
    return status != INGOT_OK ? ig_fail(err, status, "%s", error.message) : INGOT_OK;
}

static void note_mismatch(struct check *check, const ingot_id *id, const char *how) {
    char what[200], hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    snprintf(what, sizeof what, "object %s: %s", hex, how);
    check->report->index_mismatches++;
    note_damage(check, what);
}

/* Index entries of this pass's range against what the log says. */
static ingot_status compare_index(struct check *check, struct ig_index_iter *iter, ingot_id *held,
                                  bool *has_held, struct ig_state *held_state, ingot_error *err) {
    for (;;) {
        if (!*has_held) {
            struct ig_content content;
            struct ig_refs refs;
            ingot_status status = ig_index_iter_next(iter, held, &content, &refs, err);
            if (status != INGOT_OK)
                return status == INGOT_NOT_FOUND ? INGOT_OK : status;
            ig_state_from_index(&content, &refs, held_state);
            *has_held = true;
        }
        if (!in_pass(check, held))
            return INGOT_OK;
        *has_held = false;
        ingot_status status = ig_wait_check(check->wait, err);
        if (status != INGOT_OK)
            return status;
        struct known *known = find(check, held);
        if (!known->used || !known->state.present) {
            note_mismatch(check, held, "in the index but not in the log");
            continue;
        }
        known->seen = true;
        if (!ig_state_equal(&known->state, held_state))
            note_mismatch(check, held, "the index and the log differ");
        if (ig_state_live(&known->state)) {
            check->report->objects++;
            status = check_object(check, known, err);
        }
        if (status != INGOT_OK)
            return status;
    }
}

static void find_unindexed(struct check *check) {
    for (uint64_t i = 0; i < check->capacity; i++)
        if (check->known[i].used && check->known[i].state.present && !check->known[i].seen)
            note_mismatch(check, &check->known[i].id, "in the log but not in the index");
}

static ingot_status count_orphan(void *context, const ingot_id *id, ingot_error *err) {
    struct check *check = context;
    struct ig_state state;
    ingot_status status = ig_store_look(check->store, id, false, &state, err);
    if (status == INGOT_OK && !state.present)
        check->report->orphan_files++;
    return status;
}

static ingot_status run_passes(struct check *check, struct ig_index_iter *iter, ingot_error *err) {
    ingot_id held;
    struct ig_state held_state;
    bool has_held = false;
    ingot_status status = INGOT_OK;
    for (check->pass = 0; check->pass < check->passes && status == INGOT_OK; check->pass++) {
        memset(check->known, 0, check->capacity * sizeof *check->known);
        check->count = 0;
        status = scan_log(check, err);
        if (status == INGOT_OK)
            status = compare_index(check, iter, &held, &has_held, &held_state, err);
        if (status == INGOT_OK)
            find_unindexed(check);
    }
    return status;
}

/* The index and the watermark that belongs to it. */
static ingot_status freeze(struct check *check, struct ig_index_iter **ret_iter, ingot_error *err) {
    ingot_store *store = check->store;
    struct ig_watermark mark = {.seq = 0};
    ingot_status status = ig_store_drain(store, check->wait, err);
    if (status != INGOT_OK)
        return status;
    if (store->apply != NULL)
        ig_apply_pause(store->apply);
    status = ig_index_iter_open(store->index, NULL, ret_iter, err);
    if (status == INGOT_OK) {
        status = ig_index_watermark(store->index, &mark, err);
        status = status == INGOT_NOT_FOUND ? INGOT_OK : status;
        if (status != INGOT_OK)
            ig_index_iter_close(*ret_iter);
    }
    if (store->apply != NULL)
        ig_apply_resume(store->apply);
    check->limit_seq = mark.seq;
    return status;
}

static ingot_status run_check(struct check *check, ingot_error *err) {
    struct ig_index_iter *iter;
    int64_t objects = 0, limbo = 0;
    ingot_status status = freeze(check, &iter, err);
    if (status != INGOT_OK)
        return status;
    status = ig_index_counter(check->store->index, IG_COUNTER_OBJECTS, &objects, err);
    if (status == INGOT_OK)
        status = ig_index_counter(check->store->index, IG_COUNTER_LIMBO, &limbo, err);
    uint64_t passes = (uint64_t)(objects + limbo) / IDS_A_PASS + 1;
    check->passes = passes < PASSES_MAX ? (uint32_t)passes : PASSES_MAX;
    if (status == INGOT_OK)
        status = grow(check, err);
    if (status == INGOT_OK)
        status = run_passes(check, iter, err);
    ig_index_iter_close(iter);
    ig_free(check->known);
    if (status == INGOT_OK)
        status = ig_large_each(&check->store->large, count_orphan, check, err);
    if (status != INGOT_OK)
        return status;
    const ingot_check_report *report = check->report;
    if (report->damaged_objects + report->damaged_segments + report->index_mismatches > 0)
        return ig_fail(err, INGOT_CORRUPT, "%s", check->first_damage);
    return INGOT_OK;
}

ingot_status ingot_store_check(ingot_store *store, const ingot_check_options *options,
                               const ingot_op *op, ingot_check_report *ret_report,
                               ingot_error *err) {
    static const ingot_check_options defaults = INGOT_CHECK_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    struct ig_wait wait;
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    if (options->size != sizeof *options || (options->flags & ~INGOT_CHECK_READ_DATA) != 0 ||
        options->data_percent > 100 || (options->damaged_max > 0 && options->damaged == NULL))
        return ig_fail(err, INGOT_USAGE,
                       "ingot_check_options: size %u, flags 0x%x, data_percent %u, damaged_max %zu",
                       options->size, options->flags, options->data_percent, options->damaged_max);
    memset(ret_report, 0, sizeof *ret_report);
    status = ig_wait_begin(op, 0, &wait, err);
    if (status != INGOT_OK)
        return status;
    struct check check = {.store = store, .options = options, .report = ret_report, .wait = &wait};
    if (ig_os->random(&check.draw, sizeof check.draw) < 0)
        return ig_fail_errno(err, errno, "cannot draw a sample");
    if (!ig_trylock(&store->gc_lock))
        return ig_fail(err, INGOT_BUSY, "a collection or a check is running");
    status = run_check(&check, err);
    ig_unlock(&store->gc_lock);
    return status;
}
