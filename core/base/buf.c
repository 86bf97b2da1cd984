#include "buf.h"

#include "mem.h"

#include <stdatomic.h>

struct ingot_buf {
    atomic_uint_fast64_t pins; /* sync: atomic; release on drop, acquire before free */
    size_t len;
    uint8_t bytes[];
};

ingot_buf *ig_buf_new(size_t len) {
    if (len > SIZE_MAX - sizeof(struct ingot_buf))
        return NULL;
    ingot_buf *buf = ig_alloc_aligned(64, sizeof *buf + len);
    if (buf == NULL)
        return NULL;
    atomic_init(&buf->pins, 1);
    buf->len = len;
    return buf;
}

uint8_t *ig_buf_bytes(ingot_buf *buf) { return buf->bytes; }
size_t ig_buf_footprint(const ingot_buf *buf) { return sizeof *buf + buf->len; }
const void *ingot_buf_data(const ingot_buf *buf) { return buf->bytes; }
size_t ingot_buf_size(const ingot_buf *buf) { return buf->len; }

ingot_buf *ingot_buf_ref(ingot_buf *buf) {
    atomic_fetch_add_explicit(&buf->pins, 1, memory_order_relaxed);
    return buf;
}

void ingot_buf_release(ingot_buf *buf) {
    if (buf == NULL)
        return;
    /* The last drop must see every use made under the other pins before the memory goes. */
    if (atomic_fetch_sub_explicit(&buf->pins, 1, memory_order_acq_rel) == 1)
        ig_free(buf);
}
