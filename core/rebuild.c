/* Making the index anew from log and object files. */
#include "replay.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st;
    (void)where;
    return ig_os->unlinkat(AT_FDCWD, path, kind == FTW_DP ? AT_REMOVEDIR : 0);
}

static ingot_status remove_tree(const char *path, ingot_error *err) {
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        return ig_fail_errno(err, errno, "cannot remove %s", path);
    return INGOT_OK;
}

struct rebuild {
    const char *path;
    struct ig_format format;
    struct ig_digest digest;
    struct ig_segments *segments;
    struct ig_index *index;
    struct ig_wait wait;
    ingot_rebuild_report *report;
};

/* Limbo entries of large objects whose file a purge has already taken: the purge was all but done.
 */
static ingot_status drop_lost_limbo(struct rebuild *rebuild, const struct ig_large *large,
                                    ingot_error *err) {
    struct ig_watermark mark;
    struct ig_index_iter *iter;
    struct ig_index_batch *batch = ig_index_batch_new(rebuild->index);
    if (batch == NULL)
        return ig_fail_memory(err, "a rebuild");
    ingot_status status = ig_index_watermark(rebuild->index, &mark, err);
    if (status == INGOT_OK)
        status = ig_index_iter_open(rebuild->index, NULL, &iter, err);
    if (status != INGOT_OK) {
        ig_index_batch_free(batch);
        return status == INGOT_NOT_FOUND ? INGOT_OK : status;
    }
    struct ig_sums sums = {.segment_count = 0};
    for (;;) {
        struct ig_change change = {.kind = IG_PURGE};
        struct ig_content content;
        struct ig_refs refs;
        status = ig_index_iter_next(iter, &change.id, &content, &refs, err);
        if (status != INGOT_OK)
            break;
        ig_state_from_index(&content, &refs, &change.before);
        rebuild->report->objects += ig_state_live(&change.before);
        rebuild->report->references += change.before.refs > 0 ? (uint64_t)change.before.refs : 0;
        IG_CLEANUP_FREE char *path = ig_large_path(large, &change.id, "");
        struct stat st;
        if (change.before.limbo && change.before.file && path != NULL && stat(path, &st) < 0)
            ig_change_to_batch(&change, &sums, batch);
    }
    ig_sums_to_batch(&sums, batch);
    ig_index_iter_close(iter);
    if (status == INGOT_NOT_FOUND)
        status = ig_index_batch_count(batch) == 0
                     ? INGOT_OK
                     : ig_index_write(rebuild->index, batch, &mark, err);
    ig_index_batch_free(batch);
    return status;
}

static ingot_status fill(struct rebuild *rebuild, const char *log_path, const char *objects_path,
                         const char *new_path, ingot_error *err) {
    IG_CLEANUP_FREE char *quarantine = ig_path(rebuild->path, "integrity/quarantine");
    if (quarantine == NULL)
        return ig_fail_memory(err, "a path");
    struct ig_segments_options segments = {
        .directory = log_path,
        .uuid = rebuild->format.uuid,
        .size_max = rebuild->format.segment_size,
        .record_max = ig_record_footprint(rebuild->format.large_min),
        .direct = true,
        .tolerant = true,
        .quarantine = quarantine,
    };
    uint64_t damaged_segments = 0;
    ingot_status status = ig_segments_open(&segments, &rebuild->segments, &damaged_segments, err);
    if (status != INGOT_OK)
        return status;
    struct ig_index_options options = {
        .create = true, .cache_bytes = UINT64_C(32) << 20, .uuid = rebuild->format.uuid_text};
    status = ig_index_open(new_path, &options, &rebuild->index, err);
    if (status != INGOT_OK)
        return status;
    struct ig_replay_options replay = {
        .segments = rebuild->segments, .index = rebuild->index, .salvage = true};
    struct ig_replay_report replayed;
    status = ig_replay(&replay, &replayed, err);
    if (status != INGOT_OK)
        return status;
    rebuild->report->segments = replayed.segments;
    rebuild->report->records = replayed.records;
    rebuild->report->damaged_records = replayed.damages + damaged_segments;
    /* The log goes on behind a seal in a segment that must exist. */
    if (replayed.resume.segment > 1 && replayed.resume.offset == IG_SEGMENT_HEADER &&
        ig_segments_next(rebuild->segments, replayed.resume.segment) != replayed.resume.segment)
        status = ig_segment_make(rebuild->segments, replayed.resume.segment, ig_os->wall_ms(), err);
    struct ig_large large = {
        .directory = objects_path, .digest = &rebuild->digest, .read_only = true};
    if (status == INGOT_OK)
        status = drop_lost_limbo(rebuild, &large, err);
    return status;
}

/* The new index takes the old one's place; a crash between leaves it to the next rebuild. */
static ingot_status swap(const char *path, const char *index_path, const char *new_path,
                         const char *old_path, ingot_error *err) {
    struct stat st;
    ingot_status status = INGOT_OK;
    if (stat(index_path, &st) == 0) {
        status = remove_tree(old_path, err);
        if (status == INGOT_OK && ig_os->renameat(AT_FDCWD, index_path, AT_FDCWD, old_path) < 0)
            status = ig_fail_errno(err, errno, "cannot rename %s", index_path);
    }
    if (status == INGOT_OK && ig_os->renameat(AT_FDCWD, new_path, AT_FDCWD, index_path) < 0)
        status = ig_fail_errno(err, errno, "cannot rename %s", new_path);
    if (status == INGOT_OK)
        status = ig_sync_dir(path, err);
    return status != INGOT_OK ? status : remove_tree(old_path, err);
}

static ingot_status rebuild_locked(struct rebuild *rebuild, ingot_error *err) {
    IG_CLEANUP_FREE char *log_path = ig_path(rebuild->path, "log");
    IG_CLEANUP_FREE char *objects_path = ig_path(rebuild->path, "objects");
    IG_CLEANUP_FREE char *index_path = ig_path(rebuild->path, "index");
    IG_CLEANUP_FREE char *new_path = ig_path(rebuild->path, "index.new");
    IG_CLEANUP_FREE char *old_path = ig_path(rebuild->path, "index.old");
    if (log_path == NULL || objects_path == NULL || index_path == NULL || new_path == NULL ||
        old_path == NULL)
        return ig_fail_memory(err, "a path");
    ingot_status status = remove_tree(new_path, err);
    if (status == INGOT_OK)
        status = fill(rebuild, log_path, objects_path, new_path, err);
    ingot_status closed = ig_index_close(rebuild->index, status == INGOT_OK ? err : NULL);
    ig_segments_close(rebuild->segments);
    if (status == INGOT_OK)
        status = closed;
    if (status == INGOT_OK)
        status = ig_wait_check(&rebuild->wait, err);
    if (status != INGOT_OK) {
        remove_tree(new_path, NULL);
        return status;
    }
    return swap(rebuild->path, index_path, new_path, old_path, err);
}

ingot_status ingot_store_rebuild_index(const char *path, const ingot_open_options *options,
                                       const ingot_op *op, ingot_rebuild_report *ret_report,
                                       ingot_error *err) {
    static const ingot_open_options defaults = INGOT_OPEN_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    struct rebuild rebuild = {.path = path, .report = ret_report};
    int lock_fd = -1;
    ingot_status status = ig_wait_begin(op, 0, &rebuild.wait, err);
    if (status == INGOT_OK)
        status = ig_store_load_format(path, &rebuild.format, err);
    if (status == INGOT_OK)
        status = ig_store_check_key(&rebuild.format, options->key, &rebuild.digest, err);
    if (status == INGOT_OK)
        status = ig_store_lock(path, false, options->lock_wait_ms, &lock_fd, err);
    if (status != INGOT_OK)
        return status;
    memset(ret_report, 0, sizeof *ret_report);
    status = rebuild_locked(&rebuild, err);
    ig_os->close(lock_fd);
    ig_digest_release(&rebuild.digest);
    return status;
}
