/* Creating, opening and closing a store. */
#include "replay.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

/* ---- Create ---- */

static ingot_status make_uuid(struct ig_format *format, ingot_error *err) {
    uint8_t *u = format->uuid;
    if (ig_os->random(u, sizeof format->uuid) < 0)
        return ig_fail_errno(err, errno, "cannot draw a uuid");
    u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
    u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
    snprintf(format->uuid_text, sizeof format->uuid_text,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
    return INGOT_OK;
}

static ingot_status format_of_options(const ingot_create_options *options,
                                      struct ig_format *ret_format, ingot_error *err) {
    static const ingot_create_options defaults = INGOT_CREATE_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    if (options->size != sizeof *options)
        return ig_fail(err, INGOT_USAGE, "ingot_create_options.size is %u, not %zu", options->size,
                       sizeof *options);
    struct ig_format format = {
        .digest = options->digest == 0 ? INGOT_DIGEST_BLAKE3 : options->digest,
        .large_min = options->large_min == 0 ? MIB : options->large_min,
        .segment_size = options->segment_size == 0 ? 64 * MIB : options->segment_size,
        .created_ms = ig_os->wall_ms(),
    };
    if (ig_digest_name(format.digest) == NULL)
        return ig_fail(err, INGOT_USAGE, "unknown digest %u", format.digest);
    const char *out_of_range = ig_format_check(&format);
    if (out_of_range != NULL)
        return ig_fail(err, INGOT_USAGE, "%s: %" PRIu64 " and %" PRIu64, out_of_range,
                       format.large_min, format.segment_size);
    if ((options->key != NULL) != (format.digest == INGOT_DIGEST_BLAKE3_KEYED))
        return ig_fail(err, INGOT_WRONG_KEY,
                       options->key == NULL ? "digest blake3-keyed needs a key"
                                            : "a key needs digest blake3-keyed");
    if (options->key != NULL)
        ig_digest_key_check(options->key, format.key_check);
    *ret_format = format;
    return make_uuid(ret_format, err);
}

static ingot_status refuse_entry(void *context, const char *name, ingot_error *err) {
    const char *path = context;
    return ig_fail(err, INGOT_EXISTS, "%s is not empty: it has '%s'", path, name);
}

/* FORMAT comes last, durably: before it there is no store. */
static ingot_status write_format(const char *path, const struct ig_format *format,
                                 ingot_error *err) {
    char text[IG_FORMAT_MAX];
    size_t len = ig_format_print(format, text);
    IG_CLEANUP_FREE char *temporary = ig_path(path, "FORMAT.tmp");
    IG_CLEANUP_FREE char *final = ig_path(path, "FORMAT");
    if (temporary == NULL || final == NULL)
        return ig_fail_memory(err, "a path");
    int fd = ig_os->open(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot make %s", temporary);
    ingot_status status = ig_write_all(fd, text, len, 0, temporary, err);
    if (status == INGOT_OK && ig_os->fsync(fd) < 0)
        status = ig_fail_errno(err, errno, "cannot sync %s", temporary);
    ig_os->close(fd);
    if (status == INGOT_OK && ig_os->renameat(AT_FDCWD, temporary, AT_FDCWD, final) < 0)
        status = ig_fail_errno(err, errno, "cannot rename %s", temporary);
    return status != INGOT_OK ? status : ig_sync_dir(path, err);
}

static ingot_status create_inside(const char *path, const struct ig_format *format,
                                  ingot_error *err) {
    static const char *const directories[] = {"log", "objects", "cache", "integrity"};
    for (unsigned i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        IG_CLEANUP_FREE char *directory = ig_path(path, directories[i]);
        if (directory == NULL)
            return ig_fail_memory(err, "a path");
        if (ig_os->mkdir(AT_FDCWD, directory, 0700) < 0)
            return ig_fail_errno(err, errno, "cannot make directory %s", directory);
    }
    IG_CLEANUP_FREE char *objects = ig_path(path, "objects");
    IG_CLEANUP_FREE char *index_path = ig_path(path, "index");
    if (objects == NULL || index_path == NULL)
        return ig_fail_memory(err, "a path");
    ingot_status status = ig_large_create(objects, err);
    if (status != INGOT_OK)
        return status;
    struct ig_index_options options = {
        .create = true, .cache_bytes = MIB, .uuid = format->uuid_text};
    struct ig_index *index;
    status = ig_index_open(index_path, &options, &index, err);
    if (status == INGOT_OK)
        status = ig_index_close(index, err);
    return status != INGOT_OK ? status : write_format(path, format, err);
}

/* The new directory's own entry. */
static ingot_status sync_parent(const char *path, ingot_error *err) {
    IG_CLEANUP_FREE char *up = ig_path(path, "..");
    return up == NULL ? ig_fail_memory(err, "a path") : ig_sync_dir(up, err);
}

ingot_status ingot_store_create(const char *path, const ingot_create_options *options,
                                ingot_error *err) {
    struct ig_format format;
    ingot_status status = format_of_options(options, &format, err);
    if (status != INGOT_OK)
        return status;
    bool made = ig_os->mkdir(AT_FDCWD, path, 0700) == 0;
    if (!made) {
        if (errno != EEXIST)
            return ig_fail_errno(err, errno, "cannot make directory %s", path);
        struct stat st;
        IG_CLEANUP_FREE char *name = ig_strdup(path);
        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
            return ig_fail(err, INGOT_EXISTS, "%s exists and is not a directory", path);
        status = ig_each_entry(path, refuse_entry, name, err);
        if (status != INGOT_OK)
            return status;
    }
    if (chmod(path, 0700) < 0)
        return ig_fail_errno(err, errno, "cannot set the mode of %s", path);
    if (made) {
        status = sync_parent(path, err);
        if (status != INGOT_OK)
            return status;
    }
    return create_inside(path, &format, err);
}

/* ---- Parts of opening ---- */

ingot_status ig_store_load_format(const char *path, struct ig_format *ret_format,
                                  ingot_error *err) {
    IG_CLEANUP_FREE char *name = ig_path(path, "FORMAT");
    if (name == NULL)
        return ig_fail_memory(err, "a path");
    struct stat st;
    if (stat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? ig_fail(err, INGOT_NO_STORE, "no store at %s: %s", path, strerror(errno))
                   : ig_fail_errno(err, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return ig_fail(err, INGOT_NO_STORE, "no store at %s: not a directory", path);
    if ((st.st_mode & 022) != 0)
        return ig_fail(err, INGOT_DENIED, "%s may be written by other users (mode %04o)", path,
                       (unsigned)(st.st_mode & 07777));
    if (access(name, F_OK) < 0 && errno == ENOENT)
        return ig_fail(err, INGOT_NO_STORE, "no store at %s: it has no FORMAT file", path);
    char *text;
    size_t len;
    ingot_status status = ig_read_file(name, IG_FORMAT_MAX, &text, &len, err);
    if (status == INGOT_TOO_LARGE)
        return ig_fail(err, INGOT_CORRUPT, "%s is damaged: longer than %d bytes", name,
                       IG_FORMAT_MAX);
    if (status != INGOT_OK)
        return status;
    status = ig_format_parse(text, len, name, ret_format, err);
    ig_free(text);
    return status;
}

static ingot_status fail_locked(int fd, const char *path, bool shared, ingot_error *err) {
    char holder[128] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n < 0 ? 0 : n] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return ig_fail(err, INGOT_LOCKED, "%s is %s (latest writer: process %s)", path,
                   shared ? "open for writing in another process" : "open in another process",
                   holder[0] == '\0' ? "unknown" : holder);
}

static void write_holder(int fd) {
    char host[64] = "", text[128];
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), host);
    if (n > 0 && ig_os->ftruncate(fd, 0) == 0)
        ig_write_all(fd, text, (size_t)n, 0, "LOCK", NULL);
}

ingot_status ig_store_lock(const char *path, bool shared, int64_t wait_ms, int *ret_fd,
                           ingot_error *err) {
    IG_CLEANUP_FREE char *name = ig_path(path, "LOCK");
    if (name == NULL)
        return ig_fail_memory(err, "a path");
    int fd = ig_os->open(AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 && shared && (errno == EACCES || errno == EROFS))
        fd = ig_os->open(AT_FDCWD, name, O_RDONLY, 0);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", name);
    struct flock lock = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    uint64_t until = ig_os->monotonic_ns() + (uint64_t)(wait_ms > 0 ? wait_ms : 0) * 1000000;
    while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        bool busy = errno == EAGAIN || errno == EACCES;
        if (busy && ig_os->monotonic_ns() < until) {
            usleep(5000);
            continue;
        }
        ingot_status status = busy ? fail_locked(fd, path, shared, err)
                                   : ig_fail_errno(err, errno, "cannot lock %s", name);
        ig_os->close(fd);
        return status;
    }
    if (!shared)
        write_holder(fd);
    *ret_fd = fd;
    return INGOT_OK;
}

ingot_status ig_store_check_key(const struct ig_format *format, const uint8_t *key,
                                struct ig_digest *ret_digest, ingot_error *err) {
    if (format->digest == INGOT_DIGEST_BLAKE3_KEYED && key != NULL) {
        uint8_t check[32];
        ig_digest_key_check(key, check);
        if (memcmp(check, format->key_check, sizeof check) != 0)
            return ig_fail(err, INGOT_WRONG_KEY, "the key is not this store's");
    }
    return ig_digest_init(ret_digest, format->digest, key, err);
}

/* ---- Open ---- */

static ingot_status check_options(const ingot_open_options *options, ingot_error *err) {
    if (options->size != sizeof *options)
        return ig_fail(err, INGOT_USAGE, "ingot_open_options.size is %u, not %zu", options->size,
                       sizeof *options);
    if ((options->flags & ~(INGOT_OPEN_READ_ONLY | INGOT_OPEN_NO_DIRECT)) != 0)
        return ig_fail(err, INGOT_USAGE, "unknown ingot_open_options.flags 0x%x", options->flags);
    if (options->dirty_max_bytes != 0 &&
        (options->dirty_max_bytes < MIB || options->dirty_max_bytes > 1024 * MIB))
        return ig_fail(err, INGOT_USAGE, "dirty_max_bytes %" PRIu64 " is not from 1 MiB to 1 GiB",
                       options->dirty_max_bytes);
    if (options->grace_ms < -1 || options->limbo_ms < -1 || options->lock_wait_ms < 0)
        return ig_fail(err, INGOT_USAGE, "a time in ingot_open_options is negative");
    return INGOT_OK;
}

static void appeared(void *context, const ingot_id *id) {
    ingot_store *store = context;
    ig_front_add(store->front, id);
}

static ingot_status open_files(ingot_store *store, const ingot_open_options *options,
                               ingot_error *err) {
    store->log_path = ig_path(store->path, "log");
    store->objects_path = ig_path(store->path, "objects");
    store->index_path = ig_path(store->path, "index");
    if (store->log_path == NULL || store->objects_path == NULL || store->index_path == NULL)
        return ig_fail_memory(err, "a path");
    bool direct = (options->flags & INGOT_OPEN_NO_DIRECT) == 0;
    store->large = (struct ig_large){.directory = store->objects_path,
                                     .digest = &store->digest,
                                     .direct = direct,
                                     .read_only = store->read_only};
    struct ig_segments_options segments = {
        .directory = store->log_path,
        .uuid = store->format.uuid,
        .size_max = store->format.segment_size,
        .record_max = ig_record_footprint(store->format.large_min),
        .direct = direct,
    };
    ingot_status status = ig_segments_open(&segments, &store->segments, NULL, err);
    if (status != INGOT_OK)
        return status;
    struct ig_index_options index = {
        .read_only = store->read_only,
        .uuid = store->format.uuid_text,
        .cache_bytes = options->index_cache_bytes == 0 ? 32 * MIB : options->index_cache_bytes,
    };
    return ig_index_open(store->index_path, &index, &store->index, err);
}

static ingot_status load_live(void *context, const char *key, int64_t value, ingot_error *err) {
    ingot_store *store = context;
    (void)err;
    unsigned long number = strtoul(key + strlen(IG_COUNTER_LIVE), NULL, 10);
    ig_segment_add_live(store->segments, (uint32_t)number, value);
    return INGOT_OK;
}

static ingot_status load_totals(ingot_store *store, ingot_error *err) {
    struct {
        const char *key;
        int64_t *value;
    } const all[] = {
        {IG_COUNTER_OBJECTS, &store->totals.objects},
        {IG_COUNTER_BYTES, &store->totals.bytes},
        {IG_COUNTER_LIMBO, &store->totals.limbo},
        {IG_COUNTER_LARGE, &store->totals.large},
        {IG_COUNTER_LARGE_BYTES, &store->totals.large_bytes},
    };
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        ingot_status status = ig_index_counter(store->index, all[i].key, all[i].value, err);
        if (status != INGOT_OK)
            return status;
    }
    return ig_index_each_counter(store->index, IG_COUNTER_LIVE, load_live, store, err);
}

static ingot_status replay(ingot_store *store, struct ig_replay_report *ret_report,
                           ingot_error *err) {
    struct ig_replay_options options = {.segments = store->segments,
                                        .index = store->index,
                                        .pending = store->read_only ? store->pending : NULL};
    ingot_status status = ig_replay(&options, ret_report, err);
    if (status != INGOT_OK)
        return status;
    status = load_totals(store, err);
    if (!store->read_only || status != INGOT_OK)
        return status;
    status = ig_pending_ids(store->pending, &store->tail_ids, &store->tail_count, err);
    if (status != INGOT_OK)
        return status;
    store->totals.objects += ret_report->change.objects;
    store->totals.bytes += ret_report->change.bytes;
    store->totals.limbo += ret_report->change.limbo;
    store->totals.large += ret_report->change.large;
    store->totals.large_bytes += ret_report->change.large_bytes;
    return INGOT_OK;
}

static ingot_status start_writing(ingot_store *store, const ingot_open_options *options,
                                  const struct ig_replay_report *replayed, ingot_error *err) {
    struct ig_log_options log = {
        .segments = store->segments,
        .dirty_max = options->dirty_max_bytes == 0 ? 16 * MIB : options->dirty_max_bytes,
        .body_max = store->format.large_min,
        .start = replayed->resume,
        .chain = replayed->resume_chain,
        .clock_floor_ms = replayed->time_ms > store->format.created_ms ? replayed->time_ms
                                                                       : store->format.created_ms,
    };
    ingot_status status = ig_log_open(&log, &store->log, err);
    if (status != INGOT_OK)
        return status;
    return ig_apply_start(store->log, store->index, store->pending, &store->apply, err);
}

static ingot_status open_parts(ingot_store *store, const ingot_open_options *options,
                               ingot_error *err) {
    struct ig_replay_report replayed;
    ingot_status status = ig_store_load_format(store->path, &store->format, err);
    if (status == INGOT_OK)
        status = ig_store_check_key(&store->format, options->key, &store->digest, err);
    if (status == INGOT_OK)
        status = ig_store_lock(store->path, store->read_only, options->lock_wait_ms,
                               &store->lock_fd, err);
    if (status == INGOT_OK)
        status = open_files(store, options, err);
    if (status == INGOT_OK)
        status = ig_front_new(&store->front, err);
    if (status == INGOT_OK)
        status = ig_pending_new(appeared, store, &store->pending, err);
    if (status == INGOT_OK)
        status = ig_l1_new(options->l1_budget_bytes == 0 ? 64 * MIB : options->l1_budget_bytes,
                           &store->l1, err);
    if (status == INGOT_OK)
        status = replay(store, &replayed, err);
    if (status == INGOT_OK && !store->read_only)
        status = start_writing(store, options, &replayed, err);
    if (status == INGOT_OK)
        status = ig_front_start(store->front, store->index, store->pending, store->log,
                                store->apply, err);
    return status;
}

static ingot_status release(ingot_store *store, ingot_error *err) {
    ig_front_stop(store->front);
    ig_apply_stop(store->apply);
    ig_log_close(store->log);
    ingot_status status = ig_index_close(store->index, err);
    ig_segments_close(store->segments);
    ig_l1_free(store->l1);
    ig_pending_free(store->pending);
    ig_front_free(store->front);
    ig_digest_release(&store->digest);
    if (store->lock_fd >= 0)
        ig_os->close(store->lock_fd);
    ig_mutex_release(&store->gc_lock);
    ig_mutex_release(&store->totals_lock);
    ig_free(store->tail_ids);
    ig_free(store->path);
    ig_free(store->log_path);
    ig_free(store->objects_path);
    ig_free(store->index_path);
    ig_free(store);
    return status;
}

ingot_status ingot_store_open(const char *path, const ingot_open_options *options,
                              ingot_store **ret_store, ingot_error *err) {
    static const ingot_open_options defaults = INGOT_OPEN_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    ingot_status status = check_options(options, err);
    if (status != INGOT_OK)
        return status;
    ingot_store *store = ig_alloc(sizeof *store);
    if (store == NULL)
        return ig_fail_memory(err, "a store");
    store->lock_fd = -1;
    store->pid = getpid();
    store->read_only = (options->flags & INGOT_OPEN_READ_ONLY) != 0;
    store->grace_ms = options->grace_ms == 0  ? 600000
                      : options->grace_ms < 0 ? 0
                                              : options->grace_ms;
    store->limbo_ms = options->limbo_ms == 0  ? 3600000
                      : options->limbo_ms < 0 ? 0
                                              : options->limbo_ms;
    ig_mutex_init(&store->gc_lock, IG_RANK_GC);
    ig_mutex_init(&store->totals_lock, IG_RANK_LEAF);
    store->path = ig_strdup(path);
    status = store->path == NULL ? ig_fail_memory(err, "a path") : open_parts(store, options, err);
    if (status != INGOT_OK) {
        release(store, NULL);
        return status;
    }
    *ret_store = store;
    return INGOT_OK;
}

ingot_status ingot_store_close(ingot_store *store, ingot_error *err) {
    if (store == NULL)
        return INGOT_OK;
    /* A forked child has none of the threads: its copy cannot be taken down in order. */
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    if (store->log != NULL) {
        struct ig_wait wait = {.deadline_ns = UINT64_MAX};
        status = ig_log_sync(store->log, &wait, err);
    }
    ingot_status released = release(store, status == INGOT_OK ? err : NULL);
    return status != INGOT_OK ? status : released;
}

void ingot_store_describe(const ingot_store *store, ingot_store_info *ret_info) {
    *ret_info = (ingot_store_info){.format_version = INGOT_FORMAT_VERSION,
                                   .digest = store->format.digest,
                                   .large_min = store->format.large_min,
                                   .segment_size = store->format.segment_size};
    memcpy(ret_info->uuid, store->format.uuid_text, sizeof ret_info->uuid);
    snprintf(ret_info->digest_name, sizeof ret_info->digest_name, "%s",
             ig_digest_name(store->format.digest));
}
