/* Failing: one line that names what and where, into the caller's error object. */
#ifndef IG_STATUS_H
#define IG_STATUS_H

#include <ingot/ingot.h>

/* Writes status and text to `err` (may be NULL) and returns `status`. */
ingot_status ig_fail(ingot_error *err, ingot_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As ig_fail, with the status that belongs to errno `errnum` and its text after a colon. */
ingot_status ig_fail_errno(ingot_error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

ingot_status ig_status_of_errno(int errnum);

/* "id 1234…": INGOT_NO_MEMORY for an allocation of `what`. */
ingot_status ig_fail_memory(ingot_error *err, const char *what);

#endif
