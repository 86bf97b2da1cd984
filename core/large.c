/* Writing, naming and removing large objects. */
#include "large.h"

#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Bytes gathered before they are hashed and written. */
#define STAGE (UINT64_C(1) << 20)
#define DIRECT_ALIGN 4096

struct ig_large_out {
    const struct ig_large *large;
    int fd;
    uint8_t *stage; /* STAGE bytes */
    size_t staged;
    uint64_t size; /* appended so far */
    uint8_t *cvs;  /* one per complete group written */
    uint64_t groups;
    uint64_t groups_capacity;
    struct ig_hasher hasher; /* SHA-256 stores, and objects of a single group */
    bool tree;
};

char *ig_large_path(const struct ig_large *large, const ingot_id *id, const char *suffix) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(id, hex);
    size_t size = strlen(large->directory) + INGOT_ID_HEX + strlen(suffix) + 8;
    char *path = ig_alloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%.2s/%s%s", large->directory, hex, hex, suffix);
    return path;
}

static char *shard_path(const struct ig_large *large, const ingot_id *id) {
    char *path = ig_large_path(large, id, "");
    if (path != NULL)
        *strrchr(path, '/') = '\0';
    return path;
}

ingot_status ig_large_create(const char *directory, ingot_error *err) {
    for (unsigned i = 0; i < 256; i++) {
        char name[4];
        snprintf(name, sizeof name, "%02x", i);
        IG_CLEANUP_FREE char *path = ig_path(directory, name);
        if (path == NULL)
            return ig_fail_memory(err, "a path");
        if (ig_os->mkdir(AT_FDCWD, path, 0700) < 0)
            return ig_fail_errno(err, errno, "cannot make directory %s", path);
    }
    return ig_sync_dir(directory, err);
}

ingot_status ig_large_begin(const struct ig_large *large, struct ig_large_out **ret_out,
                            ingot_error *err) {
    struct ig_large_out *out = ig_alloc(sizeof *out);
    uint8_t *stage = ig_alloc_aligned(DIRECT_ALIGN, STAGE);
    if (out == NULL || stage == NULL) {
        ig_free(out);
        ig_free(stage);
        return ig_fail_memory(err, "a large object");
    }
    out->large = large;
    out->stage = stage;
    out->tree = large->digest->kind != INGOT_DIGEST_SHA256;
    ig_hasher_init(&out->hasher, large->digest);
    out->fd = -1;
    if (large->direct)
        out->fd = ig_os->open(AT_FDCWD, large->directory, O_TMPFILE | O_RDWR | O_DIRECT, 0600);
    if (out->fd < 0)
        out->fd = ig_os->open(AT_FDCWD, large->directory, O_TMPFILE | O_RDWR, 0600);
    if (out->fd < 0) {
        ingot_status status =
            ig_fail_errno(err, errno, "cannot make an unnamed file in %s", large->directory);
        ig_large_end(out);
        return status;
    }
    *ret_out = out;
    return INGOT_OK;
}

static ingot_status add_cvs(struct ig_large_out *out, ingot_error *err) {
    uint64_t need = out->groups + STAGE / IG_B3_GROUP;
    if (need > out->groups_capacity) {
        uint64_t capacity = 2 * need;
        uint8_t *grown = ig_realloc(out->cvs, capacity * IG_B3_CV);
        if (grown == NULL)
            return ig_fail_memory(err, "a hash tree");
        out->cvs = grown;
        out->groups_capacity = capacity;
    }
    for (size_t at = 0; at < out->staged; at += IG_B3_GROUP) {
        size_t len = out->staged - at < IG_B3_GROUP ? out->staged - at : IG_B3_GROUP;
        ig_b3_group_cv(out->large->digest, out->stage + at, len, out->groups,
                       out->cvs + out->groups * IG_B3_CV);
        out->groups++;
    }
    return INGOT_OK;
}

/* Hashes and writes what is staged. */
static ingot_status flush(struct ig_large_out *out, ingot_error *err) {
    if (out->staged == 0)
        return INGOT_OK;
    if (!out->tree || out->size <= IG_B3_GROUP)
        ig_hasher_update(&out->hasher, out->stage, out->staged);
    if (out->tree && out->size > IG_B3_GROUP) {
        ingot_status status = add_cvs(out, err);
        if (status != INGOT_OK)
            return status;
    }
    size_t padded = (size_t)ig_align_up(out->staged, DIRECT_ALIGN);
    memset(out->stage + out->staged, 0, padded - out->staged);
    ingot_status status = ig_write_all(out->fd, out->stage, padded, out->size - out->staged,
                                       "a new large object", err);
    out->staged = 0;
    return status;
}

ingot_status ig_large_append(struct ig_large_out *out, const void *data, size_t len,
                             ingot_error *err) {
    const uint8_t *from = data;
    while (len > 0) {
        size_t room = STAGE - out->staged, take = len < room ? len : room;
        memcpy(out->stage + out->staged, from, take);
        out->staged += take;
        out->size += take;
        from += take;
        len -= take;
        if (out->staged == STAGE) {
            ingot_status status = flush(out, err);
            if (status != INGOT_OK)
                return status;
        }
    }
    return out->size > (uint64_t)INGOT_OBJECT_MAX
               ? ig_fail(err, INGOT_TOO_LARGE, "object is longer than %lld bytes",
                         (long long)INGOT_OBJECT_MAX)
               : INGOT_OK;
}

ingot_status ig_large_seal(struct ig_large_out *out, ingot_id *ret_id, uint64_t *ret_size,
                           ingot_error *err) {
    ingot_status status = flush(out, err);
    if (status == INGOT_OK && ig_os->ftruncate(out->fd, (off_t)out->size) < 0)
        status = ig_fail_errno(err, errno, "cannot set the length of a new large object");
    if (status == INGOT_OK && ig_os->fdatasync(out->fd) < 0)
        status = ig_fail_errno(err, errno, "cannot sync a new large object");
    if (status != INGOT_OK)
        return status;
    if (out->groups > 1)
        ig_b3_root(out->large->digest, out->cvs, out->groups, ret_id);
    else
        ig_hasher_finish(&out->hasher, ret_id);
    *ret_size = out->size;
    return INGOT_OK;
}

static char *with_suffix(const char *path, const char *suffix) {
    size_t size = strlen(path) + strlen(suffix) + 1;
    char *name = ig_alloc(size);
    if (name != NULL)
        snprintf(name, size, "%s%s", path, suffix);
    return name;
}

static ingot_status link_file(int fd, const char *path, ingot_error *err) {
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (ig_os->linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return INGOT_OK;
    /* The one that is there goes only when the new one takes its place. */
    IG_CLEANUP_FREE char *beside = errno != EEXIST ? NULL : with_suffix(path, ".new");
    if (beside != NULL) {
        ig_os->unlinkat(AT_FDCWD, beside, 0);
        if (ig_os->linkat(AT_FDCWD, self, AT_FDCWD, beside, AT_SYMLINK_FOLLOW) == 0 &&
            ig_os->renameat(AT_FDCWD, beside, AT_FDCWD, path) == 0)
            return INGOT_OK;
    }
    return ig_fail_errno(err, errno, "cannot name large object %s", path);
}

/* The tree is derived: it is written without a sync and verified when it is read. */
static void write_tree(const struct ig_large_out *out, const ingot_id *id) {
    IG_CLEANUP_FREE char *path = ig_large_path(out->large, id, ".tree");
    if (path == NULL || out->groups < 2)
        return;
    int fd = ig_os->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return;
    ig_write_all(fd, out->cvs, out->groups * IG_B3_CV, 0, path, NULL);
    ig_os->close(fd);
}

ingot_status ig_large_publish(struct ig_large_out *out, const ingot_id *id, ingot_error *err) {
    IG_CLEANUP_FREE char *path = ig_large_path(out->large, id, "");
    IG_CLEANUP_FREE char *shard = shard_path(out->large, id);
    if (path == NULL || shard == NULL)
        return ig_fail_memory(err, "a path");
    ingot_status status = INGOT_OK;
    if (ig_os->mkdir(AT_FDCWD, shard, 0700) == 0) /* somebody removed an empty one */
        status = ig_sync_dir(out->large->directory, err);
    if (status != INGOT_OK)
        return status;
    write_tree(out, id);
    status = link_file(out->fd, path, err);
    return status != INGOT_OK ? status : ig_sync_dir(shard, err);
}

void ig_large_end(struct ig_large_out *out) {
    if (out == NULL)
        return;
    if (out->fd >= 0)
        ig_os->close(out->fd);
    ig_free(out->stage);
    ig_free(out->cvs);
    ig_free(out);
}

ingot_status ig_large_remove(const struct ig_large *large, const ingot_id *id, ingot_error *err) {
    static const char *const suffixes[] = {"", ".tree"};
    for (unsigned i = 0; i < 2; i++) {
        IG_CLEANUP_FREE char *path = ig_large_path(large, id, suffixes[i]);
        if (path == NULL)
            return ig_fail_memory(err, "a path");
        if (ig_os->unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
            return ig_fail_errno(err, errno, "cannot remove %s", path);
    }
    return INGOT_OK;
}

struct each {
    ingot_status (*visit)(void *context, const ingot_id *id, ingot_error *err);
    void *context;
};

static ingot_status each_file(void *context, const char *name, ingot_error *err) {
    const struct each *each = context;
    ingot_id id;
    if (ingot_id_parse(name, &id, NULL) != INGOT_OK)
        return INGOT_OK;
    return each->visit(each->context, &id, err);
}

ingot_status ig_large_each(const struct ig_large *large,
                           ingot_status (*visit)(void *context, const ingot_id *id,
                                                 ingot_error *err),
                           void *context, ingot_error *err) {
    struct each each = {.visit = visit, .context = context};
    ingot_status status = INGOT_OK;
    for (unsigned i = 0; i < 256 && status == INGOT_OK; i++) {
        char name[4];
        snprintf(name, sizeof name, "%02x", i);
        IG_CLEANUP_FREE char *path = ig_path(large->directory, name);
        if (path == NULL)
            return ig_fail_memory(err, "a path");
        if (access(path, F_OK) == 0 || errno != ENOENT)
            status = ig_each_entry(path, each_file, &each, err);
    }
    return status;
}
