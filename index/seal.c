/* The seal: a small file of our own that says how far the index had come at its last flush.
 *
 * RocksDB takes a manifest that was cut short for an older one and opens at what it said then. The
 * index would be consistent but behind, and the log may meanwhile have given up the segments that
 * would bring it up again. An index behind its seal is therefore damaged. */
#include "bytes.h"
#include "internal.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>

enum { SEAL_BYTES = 16 }; /* the generation and its complement; within a sector, so never torn */

ingot_status ig_seal_open(struct ig_index *index, bool create, ingot_error *err) {
    IG_CLEANUP_FREE char *path = ig_path(index->path, "SEAL");
    if (path == NULL)
        return ig_fail_memory(err, "a path");
    int flags = index->read_only ? O_RDONLY : O_RDWR;
    int fd = ig_os->open(AT_FDCWD, path, flags | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0 && errno == ENOENT)
        return ig_fail(err, INGOT_NO_INDEX, "%s: the index has lost this file", path);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", path);
    index->seal_fd = fd;
    if (!create)
        return INGOT_OK;
    ingot_status status = ig_seal_write(index, 0, err);
    return status != INGOT_OK ? status : ig_sync_dir(index->path, err);
}

ingot_status ig_seal_read(const struct ig_index *index, uint64_t *ret_generation,
                          ingot_error *err) {
    struct stat st;
    uint8_t bytes[SEAL_BYTES];
    if (fstat(index->seal_fd, &st) != 0)
        return ig_fail_errno(err, errno, "cannot stat the seal of index %s", index->path);
    if (st.st_size != SEAL_BYTES)
        return ig_fail(err, INGOT_NO_INDEX, "index %s: its seal is damaged", index->path);
    ingot_status status = ig_read_all(index->seal_fd, bytes, sizeof bytes, 0, index->path, err);
    if (status != INGOT_OK)
        return status;
    if (ig_get64(bytes) != ~ig_get64(bytes + 8))
        return ig_fail(err, INGOT_NO_INDEX, "index %s: its seal is damaged", index->path);
    *ret_generation = ig_get64(bytes);
    return INGOT_OK;
}

ingot_status ig_seal_write(struct ig_index *index, uint64_t generation, ingot_error *err) {
    uint8_t bytes[SEAL_BYTES];
    ig_put64(bytes, generation);
    ig_put64(bytes + 8, ~generation);
    ingot_status status = ig_write_all(index->seal_fd, bytes, sizeof bytes, 0, index->path, err);
    if (status != INGOT_OK)
        return status;
    if (ig_os->fdatasync(index->seal_fd) != 0)
        return ig_fail_errno(err, errno, "cannot sync the seal of index %s", index->path);
    return INGOT_OK;
}
