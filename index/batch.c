#include "internal.h"
#include "mem.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ig_index_batch {
    struct ig_index *index; /* borrowed */
    rocksdb_writebatch_t *batch;
};

struct ig_index_batch *ig_index_batch_new(struct ig_index *index) {
    struct ig_index_batch *batch = ig_alloc(sizeof *batch);
    if (batch == NULL)
        return NULL;
    batch->index = index;
    batch->batch = rocksdb_writebatch_create();
    return batch;
}

void ig_index_batch_free(struct ig_index_batch *batch) {
    if (batch == NULL)
        return;
    rocksdb_writebatch_destroy(batch->batch);
    ig_free(batch);
}

void ig_index_batch_clear(struct ig_index_batch *batch) { rocksdb_writebatch_clear(batch->batch); }

uint64_t ig_index_batch_count(const struct ig_index_batch *batch) {
    return (uint64_t)rocksdb_writebatch_count(batch->batch);
}

void ig_index_put_raw(struct ig_index_batch *batch, enum ig_family family, const void *key,
                      size_t key_len, const void *value, size_t value_len) {
    rocksdb_writebatch_put_cf(batch->batch, batch->index->families[family], key, key_len, value,
                              value_len);
}

static void merge(struct ig_index_batch *batch, enum ig_family family, const void *key,
                  size_t key_len, const void *value, size_t value_len) {
    rocksdb_writebatch_merge_cf(batch->batch, batch->index->families[family], key, key_len, value,
                                value_len);
}

static void erase(struct ig_index_batch *batch, enum ig_family family, const void *key,
                  size_t key_len) {
    rocksdb_writebatch_delete_cf(batch->batch, batch->index->families[family], key, key_len);
}

void ig_index_put_content(struct ig_index_batch *batch, const ingot_id *id,
                          const struct ig_content *content) {
    uint8_t value[IG_CONTENT_BYTES];
    ig_content_encode(content, value);
    ig_index_put_raw(batch, IG_FAMILY_CONTENT, id->bytes, INGOT_ID_BYTES, value, sizeof value);
}

void ig_index_delete_content(struct ig_index_batch *batch, const ingot_id *id) {
    erase(batch, IG_FAMILY_CONTENT, id->bytes, INGOT_ID_BYTES);
}

void ig_index_add_refs(struct ig_index_batch *batch, const ingot_id *id, int64_t delta,
                       int64_t time_ms) {
    uint8_t value[IG_REFS_BYTES];
    ig_refs_encode(&(struct ig_refs){.delta = delta, .time_ms = time_ms}, value);
    merge(batch, IG_FAMILY_REFS, id->bytes, INGOT_ID_BYTES, value, sizeof value);
}

void ig_index_put_refs(struct ig_index_batch *batch, const ingot_id *id,
                       const struct ig_refs *refs) {
    uint8_t value[IG_REFS_BYTES];
    ig_refs_encode(refs, value);
    ig_index_put_raw(batch, IG_FAMILY_REFS, id->bytes, INGOT_ID_BYTES, value, sizeof value);
}

void ig_index_delete_refs(struct ig_index_batch *batch, const ingot_id *id) {
    erase(batch, IG_FAMILY_REFS, id->bytes, INGOT_ID_BYTES);
}

static struct ig_meta_key meta_key(char kind, const char *key) {
    struct ig_meta_key name;
    if (!ig_meta_key_make(kind, key, &name)) {
        fprintf(stderr, "ingot: meta key of more than %d bytes: %s\n", IG_META_KEY_MAX, key);
        abort();
    }
    return name;
}

void ig_index_put_meta(struct ig_index_batch *batch, const char *key, const void *value,
                       size_t len) {
    struct ig_meta_key name = meta_key(IG_META_VALUE, key);
    ig_index_put_raw(batch, IG_FAMILY_META, name.text, name.len, value, len);
}

void ig_index_delete_meta(struct ig_index_batch *batch, const char *key) {
    struct ig_meta_key name = meta_key(IG_META_VALUE, key);
    erase(batch, IG_FAMILY_META, name.text, name.len);
}

void ig_index_add_counter(struct ig_index_batch *batch, const char *key, int64_t delta) {
    struct ig_meta_key name = meta_key(IG_META_COUNTER, key);
    uint8_t value[IG_COUNTER_BYTES];
    ig_counter_encode(delta, value);
    merge(batch, IG_FAMILY_META, name.text, name.len, value, sizeof value);
}

void ig_index_delete_counter(struct ig_index_batch *batch, const char *key) {
    struct ig_meta_key name = meta_key(IG_META_COUNTER, key);
    erase(batch, IG_FAMILY_META, name.text, name.len);
}

/* NULL, or RocksDB's error. */
static char *write_locked(struct ig_index *index, rocksdb_writebatch_t *batch,
                          const struct ig_mark *mark) {
    char *error = NULL, *ignored = NULL;
    uint8_t value[IG_MARK_BYTES];
    ig_mark_encode(mark, value);
    rocksdb_writebatch_set_save_point(batch);
    rocksdb_writebatch_put_cf(batch, index->families[IG_FAMILY_META], IG_META_MARK,
                              strlen(IG_META_MARK), (const char *)value, sizeof value);
    rocksdb_write(index->db, index->write, batch, &error);
    if (error == NULL) {
        index->mark = *mark;
        rocksdb_writebatch_clear(batch);
        return NULL;
    }
    rocksdb_writebatch_rollback_to_save_point(batch, &ignored);
    if (ignored != NULL)
        rocksdb_free(ignored);
    return error;
}

ingot_status ig_index_write(struct ig_index *index, struct ig_index_batch *batch,
                            const struct ig_watermark *watermark, ingot_error *err) {
    if (index->read_only)
        return ig_fail(err, INGOT_READ_ONLY, "index %s is open read-only", index->path);
    ig_lock(&index->gate);
    ig_index_pass_gate_locked(index);
    struct ig_mark mark = {.watermark = *watermark, .generation = index->mark.generation + 1};
    char *error = write_locked(index, batch->batch, &mark);
    ig_unlock(&index->gate);
    return error == NULL ? INGOT_OK : ig_index_fail(index, err, error, "write failed");
}

ingot_status ig_index_touch_locked(struct ig_index *index, ingot_error *err) {
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    struct ig_mark mark = index->mark;
    mark.generation++;
    char *error = write_locked(index, batch, &mark);
    rocksdb_writebatch_destroy(batch);
    return error == NULL ? INGOT_OK : ig_index_fail(index, err, error, "write failed");
}
