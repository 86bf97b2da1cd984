/* ingot_buf: immutable, reference-counted bytes. Shared by the caches and the callers. */
#ifndef IG_BUF_H
#define IG_BUF_H

#include <ingot/ingot.h>

/* A buffer of `len` bytes with one pin, to be filled through ig_buf_bytes before it is shared.
 * NULL without memory. */
ingot_buf *ig_buf_new(size_t len);
uint8_t *ig_buf_bytes(ingot_buf *buf);
/* Memory it occupies, bookkeeping included. */
size_t ig_buf_footprint(const ingot_buf *buf);

#endif
