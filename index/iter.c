/* Walks over families. They read past the block cache: one pass over everything would push out
 * what lookups need. */
#include "internal.h"
#include "mem.h"
#include "status.h"

#include <string.h>

#define READAHEAD_BYTES ((size_t)256 << 10)

struct ig_index_iter {
    struct ig_index *index;             /* borrowed */
    const rocksdb_snapshot_t *snapshot; /* keeps both iterators at one moment */
    rocksdb_readoptions_t *read;
    rocksdb_iterator_t *content;
    rocksdb_iterator_t *refs;
};

static rocksdb_readoptions_t *scan_options(void) {
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(read, 0);
    rocksdb_readoptions_set_readahead_size(read, READAHEAD_BYTES);
    return read;
}

static void seek(rocksdb_iterator_t *at, const ingot_id *from) {
    if (from == NULL)
        rocksdb_iter_seek_to_first(at);
    else
        rocksdb_iter_seek(at, (const char *)from->bytes, INGOT_ID_BYTES);
}

ingot_status ig_index_iter_open(struct ig_index *index, const ingot_id *from,
                                struct ig_index_iter **ret_iter, ingot_error *err) {
    struct ig_index_iter *iter = ig_alloc(sizeof *iter);
    if (iter == NULL)
        return ig_fail_memory(err, "an index iterator");
    iter->index = index;
    iter->snapshot = rocksdb_create_snapshot(index->db);
    iter->read = scan_options();
    rocksdb_readoptions_set_snapshot(iter->read, iter->snapshot);
    iter->content =
        rocksdb_create_iterator_cf(index->db, iter->read, index->families[IG_FAMILY_CONTENT]);
    iter->refs = rocksdb_create_iterator_cf(index->db, iter->read, index->families[IG_FAMILY_REFS]);
    seek(iter->content, from);
    seek(iter->refs, from);
    *ret_iter = iter;
    return INGOT_OK;
}

/* Whether there is a current entry; INGOT_NOT_FOUND at the end. */
static ingot_status current(const struct ig_index *index, const rocksdb_iterator_t *at,
                            enum ig_family family, ingot_error *err) {
    if (rocksdb_iter_valid(at))
        return INGOT_OK;
    char *error = NULL;
    rocksdb_iter_get_error(at, &error);
    if (error == NULL)
        return INGOT_NOT_FOUND;
    return ig_index_fail(index, err, error, ig_family_names[family]);
}

/* The refs entry of `id`, zero if there is none. Entries before it have no content and are passed
 * over. */
static ingot_status refs_of(struct ig_index_iter *iter, const ingot_id *id,
                            struct ig_refs *ret_refs, ingot_error *err) {
    *ret_refs = (struct ig_refs){0, 0};
    for (;; rocksdb_iter_next(iter->refs)) {
        ingot_status status = current(iter->index, iter->refs, IG_FAMILY_REFS, err);
        if (status != INGOT_OK)
            return status == INGOT_NOT_FOUND ? INGOT_OK : status;
        size_t len;
        const char *key = rocksdb_iter_key(iter->refs, &len);
        if (len != INGOT_ID_BYTES) {
            status = ig_index_fail_entry(iter->index, err, NULL, IG_FAMILY_REFS, key, len);
            rocksdb_iter_next(iter->refs);
            return status;
        }
        int order = memcmp(key, id->bytes, INGOT_ID_BYTES);
        if (order > 0)
            return INGOT_OK;
        if (order == 0)
            break;
    }
    size_t len;
    const char *value = rocksdb_iter_value(iter->refs, &len);
    if (!ig_refs_decode(value, len, ret_refs))
        return ig_index_fail_entry(iter->index, err, NULL, IG_FAMILY_REFS, id->bytes,
                                   INGOT_ID_BYTES);
    return INGOT_OK;
}

ingot_status ig_index_iter_next(struct ig_index_iter *iter, ingot_id *ret_id,
                                struct ig_content *ret_content, struct ig_refs *ret_refs,
                                ingot_error *err) {
    ingot_status status = current(iter->index, iter->content, IG_FAMILY_CONTENT, err);
    if (status != INGOT_OK)
        return status;
    size_t len;
    const char *key = rocksdb_iter_key(iter->content, &len);
    ingot_id id;
    struct ig_content content;
    struct ig_refs refs;
    size_t value_len;
    const char *value = rocksdb_iter_value(iter->content, &value_len);
    if (len != INGOT_ID_BYTES || !ig_content_decode(value, value_len, &content)) {
        status = ig_index_fail_entry(iter->index, err, NULL, IG_FAMILY_CONTENT, key, len);
    } else {
        memcpy(id.bytes, key, INGOT_ID_BYTES);
        status = refs_of(iter, &id, &refs, err);
    }
    rocksdb_iter_next(iter->content);
    if (status != INGOT_OK)
        return status;
    *ret_id = id;
    *ret_content = content;
    *ret_refs = refs;
    return INGOT_OK;
}

void ig_index_iter_close(struct ig_index_iter *iter) {
    if (iter == NULL)
        return;
    rocksdb_iter_destroy(iter->content);
    rocksdb_iter_destroy(iter->refs);
    rocksdb_release_snapshot(iter->index->db, iter->snapshot);
    rocksdb_readoptions_destroy(iter->read);
    ig_free(iter);
}

/* Copies the name of the counter at `at`; INGOT_NOT_FOUND when it no longer has the prefix. */
static ingot_status counter_at(const struct ig_index *index, const rocksdb_iterator_t *at,
                               const struct ig_meta_key *prefix, struct ig_meta_key *ret_key,
                               int64_t *ret_value, ingot_error *err) {
    ingot_status status = current(index, at, IG_FAMILY_META, err);
    if (status != INGOT_OK)
        return status;
    size_t len, value_len;
    const char *key = rocksdb_iter_key(at, &len);
    if (len < prefix->len || memcmp(key, prefix->text, prefix->len) != 0)
        return INGOT_NOT_FOUND;
    const char *value = rocksdb_iter_value(at, &value_len);
    if (len >= sizeof ret_key->text || !ig_counter_decode(value, value_len, ret_value))
        return ig_index_fail_entry(index, err, NULL, IG_FAMILY_META, key, len);
    memcpy(ret_key->text, key, len);
    ret_key->text[len] = '\0';
    ret_key->len = len;
    return INGOT_OK;
}

ingot_status ig_index_each_counter(struct ig_index *index, const char *prefix,
                                   ingot_status (*visit)(void *context, const char *key,
                                                         int64_t value, ingot_error *err),
                                   void *context, ingot_error *err) {
    struct ig_meta_key start, key;
    if (!ig_meta_key_make(IG_META_COUNTER, prefix, &start))
        return ig_fail(err, INGOT_USAGE, "meta key of more than %d bytes", IG_META_KEY_MAX);
    rocksdb_readoptions_t *read = scan_options();
    rocksdb_iterator_t *at =
        rocksdb_create_iterator_cf(index->db, read, index->families[IG_FAMILY_META]);
    ingot_status status = INGOT_OK;
    rocksdb_iter_seek(at, start.text, start.len);
    while (status == INGOT_OK) {
        int64_t value;
        status = counter_at(index, at, &start, &key, &value, err);
        if (status == INGOT_NOT_FOUND) {
            status = INGOT_OK;
            break;
        }
        if (status == INGOT_OK)
            status = visit(context, key.text + IG_META_PREFIX_LEN, value, err);
        rocksdb_iter_next(at);
    }
    rocksdb_iter_destroy(at);
    rocksdb_readoptions_destroy(read);
    return status;
}
