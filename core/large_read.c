/* Verified reading of large objects. */
#include "large.h"

#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define SCAN_CHUNK (16 * IG_B3_GROUP)

struct ig_large_in {
    const struct ig_large *large;
    ingot_id id;
    uint64_t size;
    int fd;
    char *path;
    uint64_t groups;
    uint8_t *cvs;            /* trusted; of `leaves` */
    struct ig_digest leaves; /* the store's digest, plain BLAKE3 in a SHA-256 store */
    uint8_t *group;          /* IG_B3_GROUP bytes: the group read last */
    uint64_t group_number;   /* of it; UINT64_MAX: none */
};

static size_t group_len(const struct ig_large_in *in, uint64_t group) {
    uint64_t left = in->size - group * IG_B3_GROUP;
    return left < IG_B3_GROUP ? (size_t)left : IG_B3_GROUP;
}

static ingot_status damaged(const struct ig_large_in *in, const char *what, ingot_error *err) {
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&in->id, hex);
    return ig_fail(err, INGOT_CORRUPT, "object %s is damaged: %s", hex, what);
}

/* Reads the whole file once: its id, and the chaining values on the way if `cvs` is not NULL. */
static ingot_status hash_file(const struct ig_large_in *in, uint8_t *cvs, ingot_id *ret_id,
                              ingot_error *err) {
    uint8_t *chunk = ig_alloc_aligned(4096, SCAN_CHUNK);
    if (chunk == NULL)
        return ig_fail_memory(err, "reading a large object");
    struct ig_hasher hasher;
    ig_hasher_init(&hasher, in->large->digest);
    ingot_status status = INGOT_OK;
    for (uint64_t at = 0; at < in->size && status == INGOT_OK; at += SCAN_CHUNK) {
        size_t len = in->size - at < SCAN_CHUNK ? (size_t)(in->size - at) : SCAN_CHUNK;
        status = ig_read_all(in->fd, chunk, len, at, in->path, err);
        if (status != INGOT_OK)
            break;
        ig_hasher_update(&hasher, chunk, len);
        for (size_t g = 0; cvs != NULL && g < len; g += IG_B3_GROUP) {
            uint64_t number = (at + g) / IG_B3_GROUP;
            ig_b3_group_cv(&in->leaves, chunk + g, group_len(in, number), number,
                           cvs + number * IG_B3_CV);
        }
    }
    ig_free(chunk);
    if (status == INGOT_OK)
        ig_hasher_finish(&hasher, ret_id);
    return status;
}

static bool load_tree(struct ig_large_in *in) {
    if (in->leaves.kind != in->large->digest->kind)
        return false;
    IG_CLEANUP_FREE char *path = ig_large_path(in->large, &in->id, ".tree");
    int fd = path == NULL ? -1 : ig_os->open(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    ingot_status status = ig_read_all(fd, in->cvs, in->groups * IG_B3_CV, 0, path, NULL);
    ig_os->close(fd);
    ingot_id root;
    if (status == INGOT_OK)
        ig_b3_root(&in->leaves, in->cvs, in->groups, &root);
    return status == INGOT_OK && ingot_id_compare(&root, &in->id) == 0;
}

static void save_tree(const struct ig_large_in *in) {
    if (in->large->read_only || in->leaves.kind != in->large->digest->kind)
        return;
    IG_CLEANUP_FREE char *path = ig_large_path(in->large, &in->id, ".tree");
    int fd = path == NULL ? -1 : ig_os->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return;
    ig_write_all(fd, in->cvs, in->groups * IG_B3_CV, 0, path, NULL);
    ig_os->close(fd);
}

/* Chaining values that are proven to belong to the id. */
static ingot_status trust_tree(struct ig_large_in *in, ingot_error *err) {
    in->cvs = ig_alloc_array(in->groups, IG_B3_CV);
    if (in->cvs == NULL)
        return ig_fail_memory(err, "a hash tree");
    if (in->groups > 1 && load_tree(in))
        return INGOT_OK;
    ingot_id id;
    ingot_status status = hash_file(in, in->groups > 1 ? in->cvs : NULL, &id, err);
    if (status != INGOT_OK)
        return status;
    if (ingot_id_compare(&id, &in->id) != 0)
        return damaged(in, "its bytes have another hash", err);
    if (in->groups > 1)
        save_tree(in);
    return INGOT_OK;
}

static ingot_status open_file(const struct ig_large *large, const ingot_id *id, uint64_t size,
                              struct ig_large_in *in, ingot_error *err) {
    in->large = large;
    in->id = *id;
    in->size = size;
    in->fd = -1;
    in->groups = ig_b3_groups(size);
    in->group_number = UINT64_MAX;
    in->leaves = *large->digest;
    if (in->leaves.kind == INGOT_DIGEST_SHA256)
        in->leaves.kind = INGOT_DIGEST_BLAKE3;
    in->path = ig_large_path(large, id, "");
    if (in->path == NULL)
        return ig_fail_memory(err, "a path");
    in->fd = ig_os->open(AT_FDCWD, in->path, O_RDONLY, 0);
    if (in->fd < 0 && errno == ENOENT)
        return damaged(in, "its file is missing", err);
    if (in->fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", in->path);
    struct stat st;
    if (fstat(in->fd, &st) < 0)
        return ig_fail_errno(err, errno, "cannot stat %s", in->path);
    return (uint64_t)st.st_size == size ? INGOT_OK
                                        : damaged(in, "its file has another length", err);
}

ingot_status ig_large_open(const struct ig_large *large, const ingot_id *id, uint64_t size,
                           struct ig_large_in **ret_in, ingot_error *err) {
    struct ig_large_in *in = ig_alloc(sizeof *in);
    if (in == NULL)
        return ig_fail_memory(err, "a large object");
    ingot_status status = open_file(large, id, size, in, err);
    if (status == INGOT_OK) {
        in->group = ig_alloc_aligned(4096, IG_B3_GROUP);
        status = in->group == NULL ? ig_fail_memory(err, "a large object") : trust_tree(in, err);
    }
    if (status != INGOT_OK) {
        ig_large_close(in);
        return status;
    }
    *ret_in = in;
    return INGOT_OK;
}

/* Checks bytes that were just read against the trusted values; an object of one group against its
 * id. */
static ingot_status check_group(const struct ig_large_in *in, const uint8_t *bytes, uint64_t group,
                                ingot_error *err) {
    size_t len = group_len(in, group);
    uint8_t cv[IG_B3_CV];
    bool good;
    if (in->groups == 1) {
        good = ig_digest_matches(in->large->digest, bytes, len, &in->id);
    } else {
        ig_b3_group_cv(&in->leaves, bytes, len, group, cv);
        good = memcmp(cv, in->cvs + group * IG_B3_CV, IG_B3_CV) == 0;
    }
    return good ? INGOT_OK : damaged(in, "bytes changed since they were written", err);
}

static ingot_status load_group(struct ig_large_in *in, uint64_t group, ingot_error *err) {
    if (in->group_number == group)
        return INGOT_OK;
    in->group_number = UINT64_MAX;
    ingot_status status =
        ig_read_all(in->fd, in->group, group_len(in, group), group * IG_B3_GROUP, in->path, err);
    if (status == INGOT_OK)
        status = check_group(in, in->group, group, err);
    if (status == INGOT_OK)
        in->group_number = group;
    return status;
}

ingot_status ig_large_read(struct ig_large_in *in, uint64_t offset, void *buffer, size_t len,
                           ingot_error *err) {
    uint8_t *to = buffer;
    while (len > 0) {
        uint64_t group = offset / IG_B3_GROUP;
        size_t inside = (size_t)(offset % IG_B3_GROUP), whole = group_len(in, group);
        size_t take = whole - inside < len ? whole - inside : len;
        ingot_status status;
        if (take == whole) { /* straight into the caller's memory */
            status = ig_read_all(in->fd, to, whole, offset, in->path, err);
            if (status == INGOT_OK)
                status = check_group(in, to, group, err);
        } else {
            status = load_group(in, group, err);
            if (status == INGOT_OK)
                memcpy(to, in->group + inside, take);
        }
        if (status != INGOT_OK)
            return status;
        to += take;
        offset += take;
        len -= take;
    }
    return INGOT_OK;
}

void ig_large_close(struct ig_large_in *in) {
    if (in == NULL)
        return;
    if (in->fd >= 0)
        ig_os->close(in->fd);
    ig_digest_release(&in->leaves);
    ig_free(in->path);
    ig_free(in->cvs);
    ig_free(in->group);
    ig_free(in);
}

ingot_status ig_large_verify(const struct ig_large *large, const ingot_id *id, uint64_t size,
                             ingot_error *err) {
    struct ig_large_in in = {.fd = -1};
    ingot_id found;
    ingot_status status = open_file(large, id, size, &in, err);
    if (status == INGOT_OK)
        status = hash_file(&in, NULL, &found, err);
    if (status == INGOT_OK && ingot_id_compare(&found, id) != 0)
        status = damaged(&in, "its bytes have another hash", err);
    if (in.fd >= 0)
        ig_os->close(in.fd);
    ig_free(in.path);
    return status;
}
