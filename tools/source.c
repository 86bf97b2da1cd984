#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* sync: atomic, relaxed: a number to look at. */
static atomic_uint_fast64_t bytes_read;

uint64_t source_bytes_read(void) { return atomic_load_explicit(&bytes_read, memory_order_relaxed); }

ingot_status source_open(const char *name, bool is_stdin, struct source *ret_source,
                         ingot_error *err) {
    struct source source = {.fd = STDIN_FILENO};
    /* O_NONBLOCK: a FIFO without a writer is waited for where a signal is noticed. */
    if (!is_stdin)
        source.fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (source.fd < 0)
        return cli_fail_errno(err, errno, "%s", "cannot open");
    ingot_status status = INGOT_OK;
    if (fstat(source.fd, &source.before) != 0)
        status = cli_fail_errno(err, errno, "%s", "cannot examine");
    else if (S_ISDIR(source.before.st_mode))
        status = cli_fail(err, INGOT_IO, "is a directory (-r stores what is in it)");
    if (status < 0) {
        source_close(&source, is_stdin);
        return status;
    }
    source.waits = !S_ISREG(source.before.st_mode) && !S_ISBLK(source.before.st_mode);
    *ret_source = source;
    return INGOT_OK;
}

void source_close(struct source *source, bool is_stdin) {
    if (!is_stdin)
        close(source->fd);
    source->fd = -1;
}

ingot_status source_read(struct source *source, void *buffer, size_t len, size_t *ret_len,
                         ingot_error *err) {
    size_t done = 0;
    while (done < len) {
        if (source->waits && !cli_wait_fd(source->fd, false))
            return cli_fail(err, INGOT_CANCELLED, "stopped while reading");
        ssize_t n = read(source->fd, (uint8_t *)buffer + done, len - done);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return cli_fail_errno(err, errno, "cannot read");
        done += n > 0 ? (size_t)n : 0;
        atomic_fetch_add_explicit(&bytes_read, n > 0 ? (uint64_t)n : 0, memory_order_relaxed);
    }
    *ret_len = done;
    return INGOT_OK;
}

ingot_status source_verify(const struct source *source, ingot_error *err) {
    struct stat after;
    if (!S_ISREG(source->before.st_mode))
        return INGOT_OK;
    if (fstat(source->fd, &after) != 0)
        return cli_fail_errno(err, errno, "cannot examine");
    const struct stat *before = &source->before;
    if (after.st_size == before->st_size && after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
        after.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
        return INGOT_OK;
    return cli_fail(err, INGOT_CHANGED, "changed while it was read; not stored");
}

static ingot_status pump(struct source *source, ingot_writer *writer, uint8_t *buffer,
                         size_t capacity, size_t head_len, uint64_t *ret_size,
                         bool *ret_source_failed, ingot_error *err) {
    uint64_t total = 0;
    size_t len = head_len;
    *ret_source_failed = false;
    for (;;) {
        ingot_status status = ingot_writer_write(writer, buffer, len, err);
        if (status < 0)
            return status;
        total += len;
        if (cli_stopping())
            return cli_fail(err, INGOT_CANCELLED, "stopped while reading");
        status = source_read(source, buffer, capacity, &len, err);
        if (status >= 0 && len == 0)
            status = source_verify(source, err);
        if (status < 0) {
            *ret_source_failed = true;
            return status;
        }
        if (len == 0)
            break;
    }
    *ret_size = total;
    return INGOT_OK;
}

ingot_status source_stream(struct cli *cli, struct source *source, uint8_t *buffer, size_t capacity,
                           size_t head_len, ingot_id *ret_id, uint64_t *ret_size,
                           bool *ret_source_failed, ingot_error *err) {
    ingot_writer *writer;
    *ret_source_failed = false;
    ingot_status status = ingot_writer_open(cli->store, &writer, err);
    if (status < 0)
        return status;
    status = pump(source, writer, buffer, capacity, head_len, ret_size, ret_source_failed, err);
    /* A source that changed is found before the end: nothing of it is stored, so there is no
     * reference to take back. */
    if (status >= 0) {
        ingot_op op = cli_op();
        status = ingot_writer_finish(writer, &op, ret_id, err);
    }
    ingot_writer_free(writer);
    return status;
}
