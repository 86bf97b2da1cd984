/* The index: where each object is and how many references it has. RocksDB behind its C API, and
 * the only code that includes rocksdb/c.h.
 *
 * It is written without RocksDB's own log. The sequence number of the last log record that it has
 * taken (the watermark) rides in the same atomic batch, and column families are flushed together
 * (atomic_flush), so after any crash the index is exactly the state at some watermark, and replay
 * of the log from there makes it whole. Thread-safe, but one thread writes at a time.
 *
 * Column families: "content" id -> place (struct ig_content), "refs" id -> change of the count
 * since the content record, "names", "meta".
 */
#ifndef IG_INDEX_H
#define IG_INDEX_H

#include <ingot/ingot.h>

#include <stdbool.h>

struct ig_index;
struct ig_index_batch;
struct ig_index_iter;

/* Where an object is. Encoded little-endian in 48 bytes; see docs/format.md. */
#define IG_CONTENT_LIMBO UINT8_C(1) /* collected, bytes not yet purged */
#define IG_CONTENT_FILE UINT8_C(2)  /* bytes in a file under objects/; the place is its link's */
struct ig_content {
    uint32_t segment;
    uint8_t flags;
    uint64_t offset;   /* of the record in the segment */
    uint64_t size;     /* of the object */
    uint64_t seq;      /* of the record */
    int64_t base_refs; /* the count when the record was written */
    int64_t time_ms;   /* limbo: when it was swept, else when it was stored */
};

/* What the refs family adds to a content record. */
struct ig_refs {
    int64_t delta;   /* count = base_refs + delta */
    int64_t time_ms; /* of the latest change; 0 if there was none */
};

/* The place in the log up to which the index has taken everything. */
struct ig_watermark {
    uint64_t seq;     /* of the last record taken */
    uint32_t segment; /* where the next group starts */
    uint64_t offset;
};

#define IG_UUID_LEN 36
struct ig_index_options {
    bool create; /* make it; INGOT_EXISTS if anything but an empty directory is at `path` */
    bool read_only;
    uint64_t cache_bytes; /* of the block cache all families share; default 32 MiB */
    const char *uuid; /* of the store, borrowed: recorded by create, and an open index of another
                         store is INGOT_NO_INDEX. NULL: none recorded, none compared */
};

/* INGOT_NO_INDEX if it is missing, damaged or not one of ours; the message says which. Never makes
 * anything but with `create`; what a failed create left behind stays. INGOT_LOCKED: this or
 * another process has it open for writing. */
ingot_status ig_index_open(const char *path, const struct ig_index_options *options,
                           struct ig_index **ret_index, ingot_error *err);
/* Flushes (unless read-only) and frees, also when the flush fails. Batches and iterators must be
 * gone. Accepts NULL. */
ingot_status ig_index_close(struct ig_index *index, ingot_error *err);

/* INGOT_OK or INGOT_NOT_FOUND. Limbo entries are found too. Here and in every read: INGOT_CORRUPT
 * for an entry that does not decode or whose block is damaged, and it is named. */
ingot_status ig_index_content(struct ig_index *index, const ingot_id *id,
                              struct ig_content *ret_content, ingot_error *err);
/* Zero for an id without an entry. */
ingot_status ig_index_refs(struct ig_index *index, const ingot_id *id, struct ig_refs *ret_refs,
                           ingot_error *err);
ingot_status ig_index_watermark(struct ig_index *index, struct ig_watermark *ret_watermark,
                                ingot_error *err);

/* Small named values in meta: cursors, the clock. `key` at most IG_META_KEY_MAX bytes.
 * INGOT_NOT_FOUND; INGOT_CORRUPT unless the value is exactly `len` bytes. Values and counters have
 * separate name spaces. */
#define IG_META_KEY_MAX 64
ingot_status ig_index_meta(struct ig_index *index, const char *key, void *value, size_t len,
                           ingot_error *err);
/* The sum of the additions made to a meta counter; 0 if none. */
ingot_status ig_index_counter(struct ig_index *index, const char *key, int64_t *ret_value,
                              ingot_error *err);

/* Batches: collected by one thread, then written atomically. batch_new returns NULL without
 * memory; where RocksDB itself finds none, it ends the process. A key that is too long does too. */
struct ig_index_batch *ig_index_batch_new(struct ig_index *index);
void ig_index_batch_free(struct ig_index_batch *batch);
void ig_index_batch_clear(struct ig_index_batch *batch);
uint64_t ig_index_batch_count(const struct ig_index_batch *batch);
void ig_index_put_content(struct ig_index_batch *batch, const ingot_id *id,
                          const struct ig_content *content);
void ig_index_delete_content(struct ig_index_batch *batch, const ingot_id *id);
/* Merge: adds to the count's change and sets its time. Reads nothing. */
void ig_index_add_refs(struct ig_index_batch *batch, const ingot_id *id, int64_t delta,
                       int64_t time_ms);
void ig_index_put_refs(struct ig_index_batch *batch, const ingot_id *id,
                       const struct ig_refs *refs);
void ig_index_delete_refs(struct ig_index_batch *batch, const ingot_id *id);
void ig_index_put_meta(struct ig_index_batch *batch, const char *key, const void *value,
                       size_t len);
void ig_index_delete_meta(struct ig_index_batch *batch, const char *key);
void ig_index_add_counter(struct ig_index_batch *batch, const char *key, int64_t delta);
void ig_index_delete_counter(struct ig_index_batch *batch, const char *key);
/* Writes the batch with its watermark and empties it. After a failure nothing was written and the
 * batch is as it was. An empty batch moves the watermark. */
ingot_status ig_index_write(struct ig_index *index, struct ig_index_batch *batch,
                            const struct ig_watermark *watermark, ingot_error *err);
/* Makes everything written before the call durable: on return the watermark survives a power cut.
 * Writes go on beside it, but for a moment at its start. After INGOT_NO_SPACE or INGOT_IO from here
 * or from write, the index refuses both until it is closed and opened again; reads go on. */
ingot_status ig_index_flush(struct ig_index *index, ingot_error *err);

/* Content and refs side by side in id order, from `from` (NULL: the first), as of now. */
ingot_status ig_index_iter_open(struct ig_index *index, const ingot_id *from,
                                struct ig_index_iter **ret_iter, ingot_error *err);
/* INGOT_OK, or INGOT_NOT_FOUND at the end. INGOT_CORRUPT for an undecodable entry: it is named, and
 * the next call goes on behind it. */
ingot_status ig_index_iter_next(struct ig_index_iter *iter, ingot_id *ret_id,
                                struct ig_content *ret_content, struct ig_refs *ret_refs,
                                ingot_error *err);
void ig_index_iter_close(struct ig_index_iter *iter);

/* Meta counters whose key starts with `prefix`, in key order, until `visit` returns non-OK. */
ingot_status ig_index_each_counter(struct ig_index *index, const char *prefix,
                                   ingot_status (*visit)(void *context, const char *key,
                                                         int64_t value, ingot_error *err),
                                   void *context, ingot_error *err);

/* Memtables, block cache and table readers. */
uint64_t ig_index_memory(struct ig_index *index);

#endif
