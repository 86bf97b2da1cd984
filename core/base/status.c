#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
    ingot_status value;
    const char *name;
    const char *text;
};

static struct row row_of(ingot_status status) {
#define ROW(name, value, text) {value, #name, text},
    static const struct row rows[] = {INGOT_STATUS_LIST(ROW)};
#undef ROW
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value == status)
            return rows[i];
    }
    return (struct row){status, "INGOT_UNKNOWN", "unknown status"};
}

const char *ingot_status_name(ingot_status status) { return row_of(status).name; }
const char *ingot_status_text(ingot_status status) { return row_of(status).text; }
const char *ingot_version(void) { return INGOT_VERSION_STRING; }

__attribute__((format(printf, 4, 0))) static ingot_status
fail_v(ingot_error *err, ingot_status status, int errnum, const char *format, va_list args) {
    if (err == NULL)
        return status;
    err->status = status;
    err->sys_errno = errnum;
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    if (errnum != 0 && n >= 0 && (size_t)n < sizeof err->message)
        snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", strerror(errnum));
    return status;
}

ingot_status ig_fail(ingot_error *err, ingot_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail_v(err, status, 0, format, args);
    va_end(args);
    return status;
}

ingot_status ig_fail_errno(ingot_error *err, int errnum, const char *format, ...) {
    va_list args;
    va_start(args, format);
    /* A failure stays one where the cause forgot to set errno. */
    ingot_status status = errnum == 0 ? INGOT_FAILED : ig_status_of_errno(errnum);
    fail_v(err, status, errnum, format, args);
    va_end(args);
    return status;
}

ingot_status ig_fail_memory(ingot_error *err, const char *what) {
    return ig_fail(err, INGOT_NO_MEMORY, "out of memory for %s", what);
}

ingot_status ig_status_of_errno(int errnum) {
    switch (errnum) {
    case 0:
        return INGOT_OK;
    case ENOSPC:
    case EDQUOT:
        return INGOT_NO_SPACE;
    case ENOMEM:
        return INGOT_NO_MEMORY;
    case EACCES:
    case EPERM:
        return INGOT_DENIED;
    case EROFS:
        return INGOT_READ_ONLY;
    case EEXIST:
    case ENOTEMPTY:
        return INGOT_EXISTS;
    case EINVAL:
    case ENAMETOOLONG:
        return INGOT_USAGE;
    case ENOTDIR:
    case EISDIR:
        return INGOT_FAILED;
    default:
        return INGOT_IO;
    }
}
