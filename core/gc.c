/* Sweeping: objects without references go to limbo, from limbo they are purged.
 *
 * A victim is chosen from the index but judged again while its entry is owned, so a put, a
 * reference or a lease that came first wins, and one that comes later finds the object gone and
 * writes it anew.
 */
#include "collect.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Large objects purged before their files are removed in one go. */
#define PURGE_MAX 256
#define CHECK_EVERY 64 /* ids between two looks at the deadline */

struct sweep {
    struct ig_collection *run;
    ingot_id purged[PURGE_MAX]; /* large objects whose PURGE record is not yet durable */
    uint32_t purged_count;
    uint64_t listed;
};

enum ig_verdict ig_collection_verdict(const struct ig_collection *run, const struct ig_state *state,
                                      uint32_t leases) {
    int64_t since_ms = ig_state_quiet_since(state); /* a hostile log may say anything */
    int64_t quiet_ms = since_ms < 0 ? run->now_ms : run->now_ms - since_ms;
    if (state->limbo)
        return quiet_ms >= run->limbo_ms ? IG_DROP : IG_KEEP_LIMBO;
    if (state->refs > 0)
        return IG_KEEP_LIVE;
    if (leases > 0)
        return IG_KEEP_LEASED;
    if (quiet_ms < run->grace_ms)
        return IG_KEEP_GRACE;
    return run->limbo_ms <= 0 ? IG_SWEEP_AND_PURGE : IG_SWEEP;
}

static ingot_status append_purge(struct sweep *sweep, struct ig_pend *pend, ingot_error *err) {
    ingot_store *store = sweep->run->store;
    bool file = pend->state.file;
    struct ig_append append = {
        .record = {.kind = IG_PURGE, .id = pend->id, .aux = pend->state.segment},
        .pend = pend,
    };
    struct ig_slot slot;
    ingot_status status = ig_store_append(store, &append, 1, true, &sweep->run->wait, &slot, err);
    if (status == INGOT_OK && file)
        sweep->purged[sweep->purged_count++] = pend->id;
    return status;
}

static void foresee(struct ig_collection *run, const struct ig_state *state) {
    if (state->segment < run->foreseen_count)
        run->foreseen[state->segment] += (int64_t)ig_state_log_bytes(state);
}

static ingot_status carry_out(struct sweep *sweep, struct ig_pend *pend, enum ig_verdict verdict,
                              ingot_error *err) {
    struct ig_collection *run = sweep->run;
    if (run->dry_run) {
        if (verdict != IG_SWEEP)
            foresee(run, &pend->state);
        return INGOT_OK;
    }
    ingot_status status = INGOT_OK;
    if (verdict != IG_DROP) {
        struct ig_slot slot;
        status = ig_store_bury(run->store, pend, true, &run->wait, &slot, err);
        ig_count(&run->store->counters.collected_objects, 1);
    }
    if (status == INGOT_OK && verdict != IG_SWEEP)
        status = append_purge(sweep, pend, err);
    return status;
}

static void report_verdict(struct sweep *sweep, const ingot_id *id, const struct ig_state *state,
                           enum ig_verdict verdict) {
    ingot_gc_report *report = sweep->run->report;
    const ingot_gc_options *options = sweep->run->options;
    report->live += verdict == IG_KEEP_LIVE;
    report->in_grace += verdict == IG_KEEP_GRACE;
    report->leased += verdict == IG_KEEP_LEASED;
    if (verdict == IG_DROP || verdict == IG_SWEEP_AND_PURGE) {
        report->purged++;
        report->freed_bytes += state->file ? state->size : 0;
    }
    if (verdict != IG_SWEEP && verdict != IG_SWEEP_AND_PURGE)
        return;
    report->swept++;
    report->swept_bytes += state->size;
    if (sweep->listed < options->victims_max)
        options->victims[sweep->listed++] = *id;
}

static ingot_status judge(struct sweep *sweep, const ingot_id *id, ingot_error *err) {
    struct ig_collection *run = sweep->run;
    struct ig_pend *pend;
    ingot_status status = ig_store_own(run->store, id, &run->wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    if (pend->state.present) {
        const struct ig_state state = pend->state;
        uint32_t leases = ig_pend_leases(run->store->pending, pend);
        enum ig_verdict verdict = ig_collection_verdict(run, &state, leases);
        if (verdict >= IG_SWEEP)
            status = carry_out(sweep, pend, verdict, err);
        if (status == INGOT_OK)
            report_verdict(sweep, id, &state, verdict);
    }
    ig_pend_disown(run->store->pending, pend);
    return status;
}

/* The files of purged objects go when the purge is durable, and only if no put brought them back.
 */
static ingot_status remove_purged(struct sweep *sweep, ingot_error *err) {
    ingot_store *store = sweep->run->store;
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    if (sweep->purged_count == 0)
        return INGOT_OK;
    ingot_status status = ig_log_sync(store->log, &wait, err);
    for (uint32_t i = 0; i < sweep->purged_count && status == INGOT_OK; i++) {
        struct ig_pend *pend;
        status = ig_store_own(store, &sweep->purged[i], &wait, &pend, err);
        if (status != INGOT_OK)
            break;
        if (!pend->state.present)
            status = ig_large_remove(&store->large, &pend->id, err);
        ig_pend_disown(store->pending, pend);
    }
    sweep->purged_count = 0;
    return status;
}

/* ---- The place where the next run goes on: a hint, kept in integrity/gc-cursor ---- */

static char *cursor_path(const ingot_store *store) {
    return ig_path(store->path, "integrity/gc-cursor");
}

static bool load_cursor(const ingot_store *store, ingot_id *ret_id) {
    IG_CLEANUP_FREE char *path = cursor_path(store);
    char *text;
    size_t len;
    if (path == NULL || ig_read_file(path, 2 * INGOT_ID_HEX, &text, &len, NULL) != INGOT_OK)
        return false;
    bool good = ingot_id_parse(text, ret_id, NULL) == INGOT_OK;
    ig_free(text);
    return good;
}

static void save_cursor(const ingot_store *store, const ingot_id *id) {
    IG_CLEANUP_FREE char *path = cursor_path(store);
    if (path == NULL)
        return;
    if (id == NULL) {
        ig_os->unlinkat(AT_FDCWD, path, 0);
        return;
    }
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    int fd = ig_os->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return;
    ig_write_all(fd, hex, INGOT_ID_HEX, 0, path, NULL);
    ig_os->close(fd);
}

static bool worth_judging(const struct ig_collection *run, const struct ig_state *state) {
    return state->limbo ? ig_collection_verdict(run, state, 0) == IG_DROP : state->refs <= 0;
}

/* One walk over the index from the cursor. *ret_next: where a run that ended early goes on. */
static ingot_status walk(struct sweep *sweep, struct ig_index_iter *iter, bool *ret_ended_early,
                         ingot_id *ret_next, ingot_error *err) {
    struct ig_collection *run = sweep->run;
    for (;;) {
        struct ig_content content;
        struct ig_refs refs;
        ingot_status status = ig_index_iter_next(iter, ret_next, &content, &refs, err);
        if (status == INGOT_NOT_FOUND)
            return INGOT_OK;
        *ret_ended_early = true;
        if (status == INGOT_OK && run->options->max_objects > 0 &&
            run->report->examined >= run->options->max_objects)
            return INGOT_OK;
        if (status == INGOT_OK && run->report->examined % CHECK_EVERY == 0)
            status = ig_wait_check(&run->wait, err);
        if (status != INGOT_OK)
            return status;
        struct ig_state state;
        ig_state_from_index(&content, &refs, &state);
        if (worth_judging(run, &state))
            status = judge(sweep, ret_next, err);
        else if (!state.limbo)
            run->report->live++;
        if (status == INGOT_OK && sweep->purged_count == PURGE_MAX)
            status = remove_purged(sweep, err);
        if (status != INGOT_OK)
            return status;
        run->report->examined++;
        *ret_ended_early = false;
    }
}

static ingot_status sweep_ids(struct sweep *sweep, bool *ret_finished, ingot_error *err) {
    struct ig_collection *run = sweep->run;
    ingot_id cursor, next;
    bool resumed = load_cursor(run->store, &cursor), ended_early = false;
    struct ig_index_iter *iter;
    ingot_status status =
        ig_index_iter_open(run->store->index, resumed ? &cursor : NULL, &iter, err);
    if (status != INGOT_OK)
        return status;
    status = walk(sweep, iter, &ended_early, &next, err);
    ig_index_iter_close(iter);
    ingot_status removed = remove_purged(sweep, status == INGOT_OK ? err : NULL);
    if (!run->dry_run)
        save_cursor(run->store, ended_early ? &next : NULL);
    *ret_finished = !ended_early && status == INGOT_OK;
    return status != INGOT_OK ? status : removed;
}

/* An object file that no record names was left by a crash between its link and its record. */
static ingot_status remove_orphan(void *context, const ingot_id *id, ingot_error *err) {
    struct ig_collection *run = context;
    struct ig_pend *pend;
    ingot_status status = ig_wait_check(&run->wait, err);
    if (status == INGOT_OK)
        status = ig_store_own(run->store, id, &run->wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    if (!pend->state.present) {
        run->report->orphans++;
        if (!run->dry_run)
            status = ig_large_remove(&run->store->large, id, err);
    }
    ig_pend_disown(run->store->pending, pend);
    return status;
}

static ingot_status collect(struct ig_collection *run, ingot_error *err) {
    struct sweep *sweep = ig_alloc(sizeof *sweep);
    if (sweep == NULL)
        return ig_fail_memory(err, "a collection");
    sweep->run = run;
    bool finished = false;
    ingot_status status = ig_store_drain(run->store, &run->wait, err);
    if (status == INGOT_OK)
        status = sweep_ids(sweep, &finished, err);
    ig_free(sweep);
    if (status == INGOT_OK && finished)
        status = ig_large_each(&run->store->large, remove_orphan, run, err);
    if (status == INGOT_OK && finished && (run->options->flags & INGOT_GC_NO_CLEAN) == 0)
        status = ig_clean(run, err);
    run->report->finished = finished && status == INGOT_OK;
    /* What was decided is made durable even when the run ends early. */
    struct ig_wait forever = {.deadline_ns = UINT64_MAX};
    ingot_status synced = ig_log_sync(run->store->log, &forever, status == INGOT_OK ? err : NULL);
    return status != INGOT_OK ? status : synced;
}

static ingot_status check_options(const ingot_gc_options *options, ingot_error *err) {
    if (options->size != sizeof *options)
        return ig_fail(err, INGOT_USAGE, "ingot_gc_options.size is %u, not %zu", options->size,
                       sizeof *options);
    if ((options->flags & ~(INGOT_GC_DRY_RUN | INGOT_GC_NO_CLEAN)) != 0)
        return ig_fail(err, INGOT_USAGE, "unknown ingot_gc_options.flags 0x%x", options->flags);
    if (options->clean_below_percent > 99)
        return ig_fail(err, INGOT_USAGE, "clean_below_percent %u is not from 1 to 99",
                       options->clean_below_percent);
    if (options->victims_max > 0 && options->victims == NULL)
        return ig_fail(err, INGOT_USAGE, "victims_max %zu without memory for them",
                       options->victims_max);
    if (options->grace_ms < -1 || options->limbo_ms < -1)
        return ig_fail(err, INGOT_USAGE, "a time in ingot_gc_options is negative");
    return INGOT_OK;
}

static int64_t time_of(int64_t option, int64_t of_store) {
    return option == 0 ? of_store : option < 0 ? 0 : option;
}

static ingot_status prepare_dry_run(struct ig_collection *run, ingot_error *err) {
    run->foreseen_count = ig_log_segment(run->store->log) + 1;
    run->foreseen = ig_alloc_array(run->foreseen_count, sizeof *run->foreseen);
    return run->foreseen == NULL ? ig_fail_memory(err, "a dry run") : INGOT_OK;
}

ingot_status ingot_store_gc(ingot_store *store, const ingot_gc_options *options, const ingot_op *op,
                            ingot_gc_report *ret_report, ingot_error *err) {
    static const ingot_gc_options defaults = INGOT_GC_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = check_options(options, err);
    if (status != INGOT_OK)
        return status;
    memset(ret_report, 0, sizeof *ret_report);
    status = ig_wait_begin(op, 0, &wait, err);
    if (status != INGOT_OK)
        return status;
    if (!ig_trylock(&store->gc_lock))
        return ig_fail(err, INGOT_BUSY, "a collection or a check is running");
    struct ig_collection run = {
        .store = store,
        .options = options,
        .report = ret_report,
        .wait = wait,
        .dry_run = (options->flags & INGOT_GC_DRY_RUN) != 0,
        .now_ms = ig_store_now_ms(store),
        .grace_ms = time_of(options->grace_ms, store->grace_ms),
        .limbo_ms = time_of(options->limbo_ms, store->limbo_ms),
    };
    if (run.dry_run)
        status = prepare_dry_run(&run, err);
    if (status == INGOT_OK)
        status = collect(&run, err);
    ig_free(run.foreseen);
    ig_unlock(&store->gc_lock);
    return status;
}
