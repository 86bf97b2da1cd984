#include "os.h"

#include "mem.h"
#include "status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RETRY(call)                                                                                \
    __extension__({                                                                                \
        __typeof__(call) result_;                                                                  \
        do                                                                                         \
            result_ = (call);                                                                      \
        while (result_ < 0 && errno == EINTR);                                                     \
        result_;                                                                                   \
    })

static int real_open(int dirfd, const char *path, int flags, mode_t mode) {
    return RETRY(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

/* POSIX leaves the descriptor's state open after EINTR; Linux has closed it. */
static int real_close(int fd) {
    int result = close(fd);
    return result < 0 && errno == EINTR ? 0 : result;
}

static ssize_t real_pread(int fd, void *buffer, size_t len, off_t offset) {
    return RETRY(pread(fd, buffer, len, offset));
}

static ssize_t real_pwrite(int fd, const void *buffer, size_t len, off_t offset) {
    return RETRY(pwrite(fd, buffer, len, offset));
}

static int real_fdatasync(int fd) { return RETRY(fdatasync(fd)); }
static int real_fsync(int fd) { return RETRY(fsync(fd)); }
static int real_ftruncate(int fd, off_t size) { return RETRY(ftruncate(fd, size)); }

static int real_fallocate(int fd, int mode, off_t offset, off_t len) {
    return RETRY(fallocate(fd, mode, offset, len));
}

static int real_thread(pthread_t *ret_thread, void *(*run)(void *), void *arg) {
    return pthread_create(ret_thread, NULL, run, arg);
}

static uint64_t real_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int64_t real_wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int real_random(void *buffer, size_t len) {
    ssize_t got = RETRY(getrandom(buffer, len, 0));
    return got == (ssize_t)len ? 0 : -1;
}

const struct ig_os ig_os_real = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .fdatasync = real_fdatasync,
    .fsync = real_fsync,
    .ftruncate = real_ftruncate,
    .fallocate = real_fallocate,
    .mkdir = mkdirat,
    .linkat = linkat,
    .renameat = renameat,
    .unlinkat = unlinkat,
    .thread = real_thread,
    .monotonic_ns = real_monotonic_ns,
    .wall_ms = real_wall_ms,
    .random = real_random,
};

const struct ig_os *ig_os = &ig_os_real;

ingot_status ig_read_all(int fd, void *buffer, size_t len, uint64_t offset, const char *name,
                         ingot_error *err) {
    char *to = buffer;
    while (len > 0) {
        ssize_t n = ig_os->pread(fd, to, len, (off_t)offset);
        if (n < 0)
            return ig_fail_errno(err, errno, "cannot read %s at %llu", name,
                                 (unsigned long long)offset);
        if (n == 0)
            return ig_fail(err, INGOT_CORRUPT, "%s ends at %llu, %zu bytes early", name,
                           (unsigned long long)offset, len);
        to += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return INGOT_OK;
}

ingot_status ig_write_all(int fd, const void *buffer, size_t len, uint64_t offset, const char *name,
                          ingot_error *err) {
    const char *from = buffer;
    while (len > 0) {
        ssize_t n = ig_os->pwrite(fd, from, len, (off_t)offset);
        if (n < 0)
            return ig_fail_errno(err, errno, "cannot write %s at %llu", name,
                                 (unsigned long long)offset);
        if (n == 0)
            return ig_fail(err, INGOT_IO, "%s takes no bytes at %llu", name,
                           (unsigned long long)offset);
        from += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return INGOT_OK;
}

ingot_status ig_sync_dir(const char *path, ingot_error *err) {
    int fd = ig_os->open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open directory %s", path);
    ingot_status status = INGOT_OK;
    if (ig_os->fsync(fd) < 0)
        status = ig_fail_errno(err, errno, "cannot sync directory %s", path);
    ig_os->close(fd);
    return status;
}

ingot_status ig_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                          ingot_error *err) {
    /* O_NONBLOCK: a FIFO in the file's place must be refused below, not waited for. */
    int fd = ig_os->open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", path);
    ingot_status status = INGOT_OK;
    char *data = NULL;
    struct stat st;
    if (fstat(fd, &st) < 0)
        status = ig_fail_errno(err, errno, "cannot stat %s", path);
    else if (!S_ISREG(st.st_mode))
        status = ig_fail(err, INGOT_FAILED, "%s is not a regular file", path);
    else if ((uint64_t)st.st_size > max)
        status = ig_fail(err, INGOT_TOO_LARGE, "%s has %lld bytes, more than %zu", path,
                         (long long)st.st_size, max);
    else if ((data = ig_alloc((size_t)st.st_size + 1)) == NULL)
        status = ig_fail_memory(err, path);
    else
        status = ig_read_all(fd, data, (size_t)st.st_size, 0, path, err);
    ig_os->close(fd);
    if (status != INGOT_OK) {
        ig_free(data);
        return status;
    }
    *ret_data = data;
    *ret_len = (size_t)st.st_size;
    return INGOT_OK;
}

ingot_status ig_each_entry(const char *path,
                           ingot_status (*visit)(void *context, const char *name, ingot_error *err),
                           void *context, ingot_error *err) {
    DIR *dir = opendir(path);
    if (dir == NULL)
        return ig_fail_errno(err, errno, "cannot read directory %s", path);
    ingot_status status = INGOT_OK;
    while (status == INGOT_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                status = ig_fail_errno(err, errno, "cannot read directory %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = visit(context, entry->d_name, err);
    }
    closedir(dir);
    return status;
}
