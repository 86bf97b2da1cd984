#include "files.h"

#include <errno.h>
#include <unistd.h>

/* Results of earlier requests go out before the wait for the next: whoever drives this process
 * through pipes may be waiting for them. */
static ssize_t refill(struct records *records) {
    cli_flush(records->cli);
    records->at = 0;
    records->len = 0;
    for (;;) {
        if (!cli_wait_fd(records->fd, false)) {
            errno = EINTR;
            return -1;
        }
        ssize_t n = read(records->fd, records->buffer, sizeof records->buffer);
        if (n >= 0) {
            records->len = (size_t)n;
            return n;
        }
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
}

enum record records_next(struct records *records, char *ret_text, size_t size) {
    size_t len = 0;
    bool any = false;
    bool too_long = false;
    bool has_nul = false;
    for (;;) {
        if (records->at == records->len) {
            ssize_t n = refill(records);
            if (n < 0)
                return RECORD_FAILED;
            if (n == 0)
                break;
        }
        char c = records->buffer[records->at++];
        any = true;
        if (c == records->delimiter)
            break;
        has_nul = has_nul || c == '\0';
        if (len + 1 < size)
            ret_text[len++] = c;
        else
            too_long = true;
    }
    if (!any)
        return RECORD_END;
    ret_text[len] = '\0';
    records->number++;
    return too_long ? RECORD_TOO_LONG : has_nul ? RECORD_HAS_NUL : RECORD_OK;
}
