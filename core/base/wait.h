/* Deadlines and cancellation of one call, and sleeping on a word (futex). */
#ifndef IG_WAIT_H
#define IG_WAIT_H

#include <ingot/ingot.h>

#include <stdatomic.h>
#include <stdbool.h>

struct ingot_cancel {
    atomic_bool raised; /* sync: atomic, relaxed: only a flag, nothing is published by it */
};

/* An ingot_op with its deadline made absolute. */
struct ig_wait {
    uint64_t deadline_ns; /* ig_os->monotonic_ns; UINT64_MAX: none */
    const ingot_cancel *cancel;
};

/* INGOT_USAGE for an op of another size, unknown flags or a negative timeout. */
ingot_status ig_wait_begin(const ingot_op *op, uint32_t flags_allowed, struct ig_wait *ret_wait,
                           ingot_error *err);
/* INGOT_OK, INGOT_TIMEOUT or INGOT_CANCELLED. */
ingot_status ig_wait_check(const struct ig_wait *wait, ingot_error *err);
/* How long to sleep at most before looking again: short while a cancel token must be polled. */
uint64_t ig_wait_slice_ns(const struct ig_wait *wait);

/* Sleeps while *word == value, at most `ns`. Returns early for any reason. */
void ig_futex_wait(atomic_uint *word, unsigned value, uint64_t ns);
void ig_futex_wake(atomic_uint *word, int count);

#endif
