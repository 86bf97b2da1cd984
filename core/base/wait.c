#include "wait.h"

#include "mem.h"
#include "os.h"
#include "status.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A cancelled call notices within this time. */
#define CANCEL_POLL_NS UINT64_C(2000000)

ingot_status ingot_cancel_new(ingot_cancel **ret_cancel) {
    ingot_cancel *cancel = ig_alloc(sizeof *cancel);
    if (cancel == NULL)
        return INGOT_NO_MEMORY;
    *ret_cancel = cancel;
    return INGOT_OK;
}

void ingot_cancel_raise(ingot_cancel *cancel) {
    atomic_store_explicit(&cancel->raised, true, memory_order_relaxed);
}

void ingot_cancel_free(ingot_cancel *cancel) { ig_free(cancel); }

ingot_status ig_wait_begin(const ingot_op *op, uint32_t flags_allowed, struct ig_wait *ret_wait,
                           ingot_error *err) {
    struct ig_wait wait = {.deadline_ns = UINT64_MAX, .cancel = NULL};
    if (op != NULL) {
        if (op->size != sizeof *op)
            return ig_fail(err, INGOT_USAGE, "ingot_op.size is %u, not %zu", op->size, sizeof *op);
        if ((op->flags & ~flags_allowed) != 0)
            return ig_fail(err, INGOT_USAGE, "ingot_op.flags 0x%x not allowed here",
                           op->flags & ~flags_allowed);
        if (op->timeout_ms < 0)
            return ig_fail(err, INGOT_USAGE, "ingot_op.timeout_ms is negative");
        if (op->timeout_ms > 0 && op->timeout_ms < INT64_MAX / 1000000)
            wait.deadline_ns = ig_os->monotonic_ns() + (uint64_t)op->timeout_ms * 1000000;
        wait.cancel = op->cancel;
    }
    ingot_status status = ig_wait_check(&wait, err);
    if (status == INGOT_OK)
        *ret_wait = wait;
    return status;
}

ingot_status ig_wait_check(const struct ig_wait *wait, ingot_error *err) {
    if (wait->cancel != NULL && atomic_load_explicit(&wait->cancel->raised, memory_order_relaxed))
        return ig_fail(err, INGOT_CANCELLED, "cancelled");
    if (wait->deadline_ns != UINT64_MAX && ig_os->monotonic_ns() >= wait->deadline_ns)
        return ig_fail(err, INGOT_TIMEOUT, "deadline passed");
    return INGOT_OK;
}

uint64_t ig_wait_slice_ns(const struct ig_wait *wait) {
    uint64_t slice = wait->cancel != NULL ? CANCEL_POLL_NS : UINT64_C(60000000000);
    if (wait->deadline_ns != UINT64_MAX) {
        uint64_t now = ig_os->monotonic_ns();
        uint64_t left = now >= wait->deadline_ns ? 1 : wait->deadline_ns - now;
        slice = left < slice ? left : slice;
    }
    return slice;
}

void ig_futex_wait(atomic_uint *word, unsigned value, uint64_t ns) {
    struct timespec limit = {.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                             .tv_nsec = (long)(ns % UINT64_C(1000000000))};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &limit, NULL, 0);
}

void ig_futex_wake(atomic_uint *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}
