/* Opening is where damage must be told from absence, and where RocksDB must be kept from making
 * an empty database in place of a damaged one: it does so even for a missing directory. */
#include "internal.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CACHE_BYTES_DEFAULT (UINT64_C(32) << 20)

static ingot_status refuse_entry(void *context, const char *name, ingot_error *err) {
    return ig_fail(err, INGOT_EXISTS, "%s is not empty: it contains %s", (const char *)context,
                   name);
}

static ingot_status make_directory(char *path, ingot_error *err) {
    if (ig_os->mkdir(AT_FDCWD, path, 0700) == 0)
        return INGOT_OK;
    if (errno != EEXIST)
        return ig_fail_errno(err, errno, "cannot make %s", path);
    int fd = ig_os->open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return errno == ENOTDIR ? ig_fail(err, INGOT_EXISTS, "%s is not a directory", path)
                                : ig_fail_errno(err, errno, "cannot open %s", path);
    (void)ig_os->close(fd);
    return ig_each_entry(path, refuse_entry, path, err);
}

/* INGOT_NO_INDEX, with `reason`, when there is no such file or directory. */
static ingot_status require(const char *path, int flags, const char *reason, ingot_error *err) {
    int fd = ig_os->open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | flags, 0);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return ig_fail(err, INGOT_NO_INDEX, "%s: %s", path, reason);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", path);
    (void)ig_os->close(fd);
    return INGOT_OK;
}

static ingot_status require_files(const char *path, ingot_error *err) {
    ingot_status status = require(path, O_DIRECTORY, "there is no index here", err);
    if (status != INGOT_OK)
        return status;
    IG_CLEANUP_FREE char *current = ig_path(path, "CURRENT");
    if (current == NULL)
        return ig_fail_memory(err, "a path");
    return require(current, 0, "the index has lost this file", err);
}

/* What of RocksDB's complaints about opening a rebuild would not cure is passed on; the rest means
 * that there is no usable index. */
static ingot_status fail_open(const struct ig_index *index, char *error, ingot_error *err) {
    ingot_status status = ig_index_status_of(error);
    if (status == INGOT_CORRUPT || status == INGOT_FAILED ||
        (status == INGOT_IO && strstr(error, "Too many open files") == NULL))
        status = INGOT_NO_INDEX;
    ig_fail(err, status, "index %s cannot be opened: %s", index->path, error);
    rocksdb_free(error);
    return status;
}

static ingot_status check_families(const struct ig_index *index, char *const *names, size_t count,
                                   ingot_error *err) {
    for (int i = 0; i < IG_FAMILIES; i++) {
        size_t at = 0;
        while (at < count && strcmp(names[at], ig_family_names[i]) != 0)
            at++;
        if (at == count)
            return ig_fail(err, INGOT_NO_INDEX, "index %s has lost its column family %s",
                           index->path, ig_family_names[i]);
    }
    if (count != IG_FAMILIES)
        return ig_fail(err, INGOT_NO_INDEX, "%s has foreign column families: not an ingot index",
                       index->path);
    return INGOT_OK;
}

static ingot_status require_families(const struct ig_index *index, const struct ig_family_set *set,
                                     ingot_error *err) {
    char *error = NULL;
    size_t count = 0;
    char **names =
        rocksdb_list_column_families(set->options[IG_FAMILY_DEFAULT], index->path, &count, &error);
    ingot_status status =
        error != NULL ? fail_open(index, error, err) : check_families(index, names, count, err);
    if (names != NULL) /* also after an error */
        rocksdb_list_column_families_destroy(names, count);
    return status;
}

static ingot_status open_database(struct ig_index *index, bool create, ingot_error *err) {
    struct ig_family_set set;
    ig_family_set_init(&set, index->cache, create);
    ingot_status status = create ? INGOT_OK : require_families(index, &set, err);
    if (status == INGOT_OK) {
        const rocksdb_options_t *options[IG_FAMILIES];
        memcpy(options, set.options, sizeof options);
        char *error = NULL;
        if (index->read_only)
            index->db = rocksdb_open_for_read_only_column_families(
                options[0], index->path, IG_FAMILIES, ig_family_names, options, index->families, 0,
                &error);
        else
            index->db =
                rocksdb_open_column_families(options[0], index->path, IG_FAMILIES, ig_family_names,
                                             options, index->families, &error);
        if (error != NULL)
            status = fail_open(index, error, err);
    }
    ig_family_set_release(&set);
    return status;
}

static ingot_status write_identity(struct ig_index *index, const char *uuid, ingot_error *err) {
    struct ig_index_batch *batch = ig_index_batch_new(index);
    if (batch == NULL)
        return ig_fail_memory(err, "an index batch");
    uint8_t value[IG_IDENTITY_BYTES];
    ig_identity_encode(uuid, value);
    ig_index_put_raw(batch, IG_FAMILY_META, IG_META_IDENTITY, strlen(IG_META_IDENTITY), value,
                     sizeof value);
    ingot_status status = ig_index_write(index, batch, &(struct ig_watermark){0}, err);
    ig_index_batch_free(batch);
    return status != INGOT_OK ? status : ig_index_flush(index, err);
}

static ingot_status check_identity(struct ig_index *index, const char *uuid, ingot_error *err) {
    rocksdb_pinnableslice_t *value = NULL;
    ingot_status status = ig_index_find(index, index->read, IG_FAMILY_META, IG_META_IDENTITY,
                                        strlen(IG_META_IDENTITY), &value, err);
    if (status == INGOT_NOT_FOUND)
        return ig_fail(err, INGOT_NO_INDEX, "index %s has lost its identity", index->path);
    if (status != INGOT_OK)
        return status;
    char found[IG_UUID_LEN + 1];
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(value, &len);
    if (!ig_identity_decode(bytes, len, found))
        status = ig_fail(err, INGOT_NO_INDEX, "index %s is of an unknown version", index->path);
    else if (uuid != NULL && strcmp(uuid, found) != 0)
        status = ig_fail(err, INGOT_NO_INDEX, "index %s belongs to store %s, not to %s",
                         index->path, found[0] == '\0' ? "(none)" : found, uuid);
    rocksdb_pinnableslice_destroy(value);
    return status;
}

static ingot_status check_mark(struct ig_index *index, ingot_error *err) {
    struct ig_mark mark;
    uint64_t sealed;
    ingot_status status = ig_index_mark(index, index->read, &mark, err);
    if (status == INGOT_OK)
        status = ig_seal_read(index, &sealed, err);
    if (status != INGOT_OK)
        return status;
    if (mark.generation < sealed)
        return ig_fail(err, INGOT_NO_INDEX,
                       "index %s is behind its last flush: its manifest was cut", index->path);
    index->mark = mark;
    index->sealed = sealed;
    return INGOT_OK;
}

static ingot_status check_content(struct ig_index *index, const char *uuid, ingot_error *err) {
    ingot_status status = check_identity(index, uuid, err);
    if (status == INGOT_OK)
        status = check_mark(index, err);
    if (status != INGOT_CORRUPT)
        return status;
    if (err != NULL)
        err->status = INGOT_NO_INDEX;
    return INGOT_NO_INDEX;
}

static void release(struct ig_index *index) {
    for (int i = 0; i < IG_FAMILIES; i++)
        if (index->families[i] != NULL)
            rocksdb_column_family_handle_destroy(index->families[i]);
    if (index->db != NULL)
        rocksdb_close(index->db);
    if (index->cache != NULL)
        rocksdb_cache_destroy(index->cache);
    if (index->read != NULL)
        rocksdb_readoptions_destroy(index->read);
    if (index->read_durable != NULL)
        rocksdb_readoptions_destroy(index->read_durable);
    if (index->write != NULL)
        rocksdb_writeoptions_destroy(index->write);
    if (index->flush != NULL)
        rocksdb_compactoptions_destroy(index->flush);
    if (index->seal_fd >= 0)
        (void)ig_os->close(index->seal_fd);
    ig_cond_release(&index->moved);
    ig_mutex_release(&index->gate);
    ig_free(index->path);
    ig_free(index);
}

static struct ig_index *new_index(const char *path, const struct ig_index_options *options) {
    struct ig_index *index = ig_alloc(sizeof *index);
    if (index == NULL)
        return NULL;
    index->path = ig_strdup(path);
    if (index->path == NULL) {
        ig_free(index);
        return NULL;
    }
    index->read_only = options->read_only;
    index->seal_fd = -1;
    ig_mutex_init(&index->gate, IG_RANK_LEAF);
    ig_cond_init(&index->moved);
    index->cache = rocksdb_cache_create_lru(options->cache_bytes == 0 ? CACHE_BYTES_DEFAULT
                                                                      : options->cache_bytes);
    index->read = rocksdb_readoptions_create();
    index->read_durable = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(index->read_durable, 2 /* ReadTier::kPersistedTier */);
    index->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(index->write, 1);
    index->flush = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(index->flush, 0);
    return index;
}

ingot_status ig_index_open(const char *path, const struct ig_index_options *options,
                           struct ig_index **ret_index, ingot_error *err) {
    if (options->create && options->read_only)
        return ig_fail(err, INGOT_USAGE, "an index cannot be created read-only");
    if (options->uuid != NULL && strnlen(options->uuid, IG_UUID_LEN + 1) > IG_UUID_LEN)
        return ig_fail(err, INGOT_USAGE, "a store's uuid has at most %d characters", IG_UUID_LEN);
    struct ig_index *index = new_index(path, options);
    if (index == NULL)
        return ig_fail_memory(err, "the index");
    ingot_status status =
        options->create ? make_directory(index->path, err) : require_files(index->path, err);
    if (status == INGOT_OK)
        status = ig_seal_open(index, options->create, err);
    if (status == INGOT_OK)
        status = open_database(index, options->create, err);
    if (status == INGOT_OK)
        status = options->create ? write_identity(index, options->uuid, err)
                                 : check_content(index, options->uuid, err);
    if (status != INGOT_OK) {
        release(index);
        return status;
    }
    *ret_index = index;
    return INGOT_OK;
}

ingot_status ig_index_close(struct ig_index *index, ingot_error *err) {
    if (index == NULL)
        return INGOT_OK;
    ingot_status status = ig_index_flush(index, err);
    release(index);
    return status;
}
