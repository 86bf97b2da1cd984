/* The platform seam: everything the store asks of the operating system about files, clocks,
 * randomness and threads goes through this table, so a test can fail call N for every N, record a
 * device, or cut its power. RocksDB's own files do not pass here.
 *
 * Calls behave as their namesakes in POSIX: -1 and errno on failure. EINTR is retried here.
 */
#ifndef IG_OS_H
#define IG_OS_H

#include <ingot/ingot.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct ig_os {
    int (*open)(int dirfd, const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *buffer, size_t len, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t len, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*ftruncate)(int fd, off_t size);
    int (*fallocate)(int fd, int mode, off_t offset, off_t len);
    int (*mkdir)(int dirfd, const char *path, mode_t mode);
    int (*linkat)(int olddir, const char *oldpath, int newdir, const char *newpath, int flags);
    int (*renameat)(int olddir, const char *oldpath, int newdir, const char *newpath);
    int (*unlinkat)(int dirfd, const char *path, int flags);
    int (*thread)(pthread_t *ret_thread, void *(*run)(void *), void *arg); /* 0 or an errno */
    uint64_t (*monotonic_ns)(void); /* counts time asleep too (CLOCK_BOOTTIME) */
    int64_t (*wall_ms)(void);
    int (*random)(void *buffer, size_t len); /* 0 or -1 */
    bool (*may_allocate)(void);              /* NULL in production */
};

/* The table in force. sync: written only by tests while no store is open. */
extern const struct ig_os *ig_os;
extern const struct ig_os ig_os_real;

/* All of it or an error: loops over short transfers. `what` and `name` are for the message. */
ingot_status ig_read_all(int fd, void *buffer, size_t len, uint64_t offset, const char *name,
                         ingot_error *err);
ingot_status ig_write_all(int fd, const void *buffer, size_t len, uint64_t offset, const char *name,
                          ingot_error *err);

/* Opens and syncs a directory, so that the entries in it are durable. */
ingot_status ig_sync_dir(const char *path, ingot_error *err);

/* A whole small file. `max` bounds it; a larger one is INGOT_TOO_LARGE. Adds a NUL after the data.
 * Owned. */
ingot_status ig_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                          ingot_error *err);

/* Calls `visit` for each name in a directory but "." and "..", until it returns non-OK. */
ingot_status ig_each_entry(const char *path,
                           ingot_status (*visit)(void *context, const char *name, ingot_error *err),
                           void *context, ingot_error *err);

#endif
