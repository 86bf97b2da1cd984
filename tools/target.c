#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define HOLE ((size_t)1 << 16) /* zeros from this many bytes on, aligned, become a hole */
#define TEMP_TRIES 16

/* Only the main thread gets. */
static uint64_t written;

uint64_t target_bytes_written(void) { return written; }

/* Where the bytes go. */
struct target {
    int fd;
    bool sparse;
    bool is_stdout;
    bool refuse_binary;
    char temp[PATH_MAX]; /* name of the unfinished file; empty: it has none */
};

static bool is_zero(const uint8_t *data, size_t len) {
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static int write_all(const struct target *target, const uint8_t *data, size_t len) {
    while (len > 0) {
        if (target->is_stdout && !cli_wait_fd(target->fd, true))
            return EINTR;
        ssize_t n = write(target->fd, data, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return errno;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_sparse(const struct target *target, const uint8_t *data, size_t len) {
    while (len > 0) {
        size_t step = len < HOLE ? len : HOLE;
        if (step == HOLE && is_zero(data, step)) {
            if (lseek(target->fd, (off_t)step, SEEK_CUR) < 0)
                return errno;
        } else {
            int failed = write_all(target, data, step);
            if (failed != 0)
                return failed;
        }
        data += step;
        len -= step;
    }
    return 0;
}

static bool is_text(const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((data[i] < 0x20 && data[i] != '\n' && data[i] != '\t' && data[i] != '\r') ||
            data[i] == 0x7f)
            return false;
    return true;
}

static ingot_status copy(struct target *target, ingot_reader *reader, uint64_t wanted,
                         uint8_t *buffer, uint64_t *ret_bytes, ingot_error *err) {
    uint64_t done = 0;
    while (done < wanted) {
        size_t len = wanted - done < CHUNK ? (size_t)(wanted - done) : CHUNK;
        if (cli_stopping())
            return cli_fail(err, INGOT_CANCELLED, "stopped");
        ingot_status status = ingot_reader_read(reader, buffer, len, &len, err);
        if (status < 0)
            return status;
        if (len == 0)
            break;
        if (target->refuse_binary && !is_text(buffer, len))
            return cli_fail(err, INGOT_USAGE,
                            "binary data is not written to a terminal; -o names a file, --force "
                            "writes it anyway");
        int failed =
            target->sparse ? write_sparse(target, buffer, len) : write_all(target, buffer, len);
        if (failed != 0)
            return cli_fail_errno(err, failed, "cannot write");
        done += len;
        written += len;
    }
    if (target->sparse && ftruncate(target->fd, (off_t)done) != 0)
        return cli_fail_errno(err, errno, "cannot write");
    *ret_bytes = done;
    return INGOT_OK;
}

static ingot_status copy_object(struct cli *cli, const ingot_id *id, const struct range *range,
                                struct target *target, uint64_t *ret_bytes, ingot_error *err) {
    ingot_reader *reader;
    ingot_status status = ingot_reader_open(cli->store, id, &reader, err);
    if (status < 0)
        return status;
    uint64_t size = ingot_reader_size(reader);
    uint64_t offset = range->offset < size ? range->offset : size;
    uint64_t wanted = range->len < size - offset ? range->len : size - offset;
    if (offset > 0)
        status = ingot_reader_seek(reader, offset, err);
    uint8_t *buffer = status >= 0 ? malloc(CHUNK) : NULL;
    if (buffer != NULL)
        status = copy(target, reader, wanted, buffer, ret_bytes, err);
    else if (status >= 0)
        status = cli_fail_errno(err, ENOMEM, "cannot read");
    free(buffer);
    ingot_reader_close(reader);
    return status;
}

ingot_status target_write_stdout(struct cli *cli, const ingot_id *id, const struct range *range,
                                 bool force, ingot_error *err) {
    struct target target = {.fd = STDOUT_FILENO, .is_stdout = true};
    target.refuse_binary = !force && isatty(STDOUT_FILENO) == 1;
    uint64_t bytes;
    cli_flush(cli);
    ingot_status status = copy_object(cli, id, range, &target, &bytes, err);
    if (status < 0 && err->sys_errno == EPIPE)
        cli->output_errno = EPIPE;
    return status;
}

/* A name beside `path` that nobody guesses. */
static ingot_status temp_name(const char *path, char ret_name[PATH_MAX], ingot_error *err) {
    uint64_t salt;
    if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt)
        return cli_fail_errno(err, errno, "cannot name a temporary file");
    const char *slash = strrchr(path, '/');
    int dir = slash == NULL ? 0 : (int)(slash - path + 1);
    int n = snprintf(ret_name, PATH_MAX, "%.*s.ingot-%016llx", dir, path, (unsigned long long)salt);
    if (n < 0 || n >= PATH_MAX)
        return cli_fail_errno(err, ENAMETOOLONG, "cannot name a temporary file");
    return INGOT_OK;
}

/* An unnamed file where the file system has them: nothing is left behind by any end. */
static ingot_status make_temp(const char *path, struct target *target, ingot_error *err) {
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path);
    snprintf(dir, sizeof dir, "%.*s", len == 0 ? 1 : len, len == 0 ? "." : path);
    target->fd = open(dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    if (target->fd >= 0)
        return INGOT_OK;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
        return cli_fail_errno(err, errno, "cannot create");
    for (int i = 0; i < TEMP_TRIES; i++) {
        ingot_status status = temp_name(path, target->temp, err);
        if (status < 0)
            return status;
        target->fd = open(target->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (target->fd >= 0)
            return INGOT_OK;
        if (errno != EEXIST)
            break;
    }
    int failed = errno;
    target->temp[0] = '\0';
    return cli_fail_errno(err, failed, "cannot create");
}

/* Gives the finished file its name. What had it before is replaced whole, and only by bytes that
 * are on the device. */
static ingot_status publish(const char *path, struct target *target, ingot_error *err) {
    if (target->temp[0] == '\0') {
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", target->fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
            return INGOT_OK;
        if (errno != EEXIST)
            return cli_fail_errno(err, errno, "cannot create");
        ingot_status status = temp_name(path, target->temp, err);
        if (status < 0)
            return status;
        if (linkat(AT_FDCWD, self, AT_FDCWD, target->temp, AT_SYMLINK_FOLLOW) != 0) {
            int failed = errno;
            target->temp[0] = '\0';
            return cli_fail_errno(err, failed, "cannot create");
        }
    }
    if (fdatasync(target->fd) != 0 || rename(target->temp, path) != 0)
        return cli_fail_errno(err, errno, "cannot replace");
    target->temp[0] = '\0';
    return INGOT_OK;
}

static ingot_status write_regular(struct cli *cli, const ingot_id *id, const struct range *range,
                                  const char *path, uint64_t *ret_bytes, ingot_error *err) {
    struct target target = {.fd = -1, .sparse = true};
    ingot_status status = make_temp(path, &target, err);
    if (status >= 0)
        status = copy_object(cli, id, range, &target, ret_bytes, err);
    if (status >= 0)
        status = publish(path, &target, err);
    if (target.fd >= 0)
        close(target.fd);
    if (target.temp[0] != '\0')
        unlink(target.temp);
    return status;
}

static ingot_status write_special(struct cli *cli, const ingot_id *id, const struct range *range,
                                  const char *path, uint64_t *ret_bytes, ingot_error *err) {
    struct target target = {.fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY)};
    if (target.fd < 0)
        return cli_fail_errno(err, errno, "cannot open");
    ingot_status status = copy_object(cli, id, range, &target, ret_bytes, err);
    if (close(target.fd) != 0 && status >= 0)
        status = cli_fail_errno(err, errno, "cannot write");
    return status;
}

ingot_status target_write_file(struct cli *cli, const ingot_id *id, const struct range *range,
                               const char *path, uint64_t *ret_bytes, ingot_error *err) {
    struct stat info;
    if (stat(path, &info) != 0)
        return write_regular(cli, id, range, path, ret_bytes, err);
    if (S_ISDIR(info.st_mode))
        return cli_fail_errno(err, EISDIR, "cannot write");
    if (!S_ISREG(info.st_mode))
        return write_special(cli, id, range, path, ret_bytes, err);
    /* Through a symbolic link the file is replaced, not the link. */
    char *real = realpath(path, NULL);
    if (real == NULL)
        return cli_fail_errno(err, errno, "cannot examine");
    ingot_status status = write_regular(cli, id, range, real, ret_bytes, err);
    free(real);
    return status;
}
