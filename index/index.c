#include "internal.h"
#include "status.h"

#include <string.h>

ingot_status ig_index_status_of(const char *error) {
    static const struct {
        const char *text;
        ingot_status status;
    } known[] = {
        {"No space left on device", INGOT_NO_SPACE},
        {"Disk quota exceeded", INGOT_NO_SPACE},
        {"lock hold by current", INGOT_LOCKED},
        {"While lock file", INGOT_LOCKED},
        {"Permission denied", INGOT_DENIED},
        {"Read-only file system", INGOT_READ_ONLY},
        {"Cannot allocate memory", INGOT_NO_MEMORY},
        {"in read only mode", INGOT_READ_ONLY},
        {"IO error", INGOT_IO},
        {"Corruption", INGOT_CORRUPT},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strstr(error, known[i].text) != NULL)
            return known[i].status;
    return INGOT_FAILED;
}

ingot_status ig_index_fail(const struct ig_index *index, ingot_error *err, char *error,
                           const char *what) {
    ingot_status status = ig_index_status_of(error);
    ig_fail(err, status, "index %s: %s: %s", index->path, what, error);
    rocksdb_free(error);
    return status;
}

ingot_status ig_index_fail_entry(const struct ig_index *index, ingot_error *err, char *error,
                                 enum ig_family family, const void *key, size_t key_len) {
    char name[INGOT_ID_HEX + IG_META_KEY_MAX];
    if (key_len == INGOT_ID_BYTES && family != IG_FAMILY_META) {
        ingot_id id;
        memcpy(id.bytes, key, INGOT_ID_BYTES);
        ingot_id_format(&id, name);
    } else {
        size_t len = key_len < sizeof name ? key_len : sizeof name - 1;
        for (size_t i = 0; i < len; i++) {
            char c = ((const char *)key)[i];
            name[i] = c >= ' ' && c <= '~' ? c : '?';
        }
        name[len] = '\0';
    }
    ingot_status status = error == NULL ? INGOT_CORRUPT : ig_index_status_of(error);
    ig_fail(err, status, "index %s: %s of %s: %s", index->path, ig_family_names[family], name,
            error == NULL ? "malformed entry" : error);
    if (error != NULL)
        rocksdb_free(error);
    return status;
}

ingot_status ig_index_find(struct ig_index *index, const rocksdb_readoptions_t *read,
                           enum ig_family family, const void *key, size_t key_len,
                           rocksdb_pinnableslice_t **ret_value, ingot_error *err) {
    char *error = NULL;
    rocksdb_pinnableslice_t *value =
        rocksdb_get_pinned_cf(index->db, read, index->families[family], key, key_len, &error);
    if (error != NULL)
        return ig_index_fail_entry(index, err, error, family, key, key_len);
    if (value == NULL)
        return INGOT_NOT_FOUND;
    *ret_value = value;
    return INGOT_OK;
}

ingot_status ig_index_content(struct ig_index *index, const ingot_id *id,
                              struct ig_content *ret_content, ingot_error *err) {
    rocksdb_pinnableslice_t *value = NULL;
    ingot_status status = ig_index_find(index, index->read, IG_FAMILY_CONTENT, id->bytes,
                                        INGOT_ID_BYTES, &value, err);
    if (status != INGOT_OK)
        return status;
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(value, &len);
    if (!ig_content_decode(bytes, len, ret_content))
        status =
            ig_index_fail_entry(index, err, NULL, IG_FAMILY_CONTENT, id->bytes, INGOT_ID_BYTES);
    rocksdb_pinnableslice_destroy(value);
    return status;
}

ingot_status ig_index_refs(struct ig_index *index, const ingot_id *id, struct ig_refs *ret_refs,
                           ingot_error *err) {
    rocksdb_pinnableslice_t *value = NULL;
    ingot_status status =
        ig_index_find(index, index->read, IG_FAMILY_REFS, id->bytes, INGOT_ID_BYTES, &value, err);
    if (status == INGOT_NOT_FOUND) {
        *ret_refs = (struct ig_refs){0, 0};
        return INGOT_OK;
    }
    if (status != INGOT_OK)
        return status;
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(value, &len);
    if (!ig_refs_decode(bytes, len, ret_refs))
        status = ig_index_fail_entry(index, err, NULL, IG_FAMILY_REFS, id->bytes, INGOT_ID_BYTES);
    rocksdb_pinnableslice_destroy(value);
    return status;
}

ingot_status ig_index_mark(struct ig_index *index, const rocksdb_readoptions_t *read,
                           struct ig_mark *ret_mark, ingot_error *err) {
    rocksdb_pinnableslice_t *value = NULL;
    ingot_status status =
        ig_index_find(index, read, IG_FAMILY_META, IG_META_MARK, strlen(IG_META_MARK), &value, err);
    if (status == INGOT_NOT_FOUND)
        return ig_fail(err, INGOT_CORRUPT, "index %s has lost its watermark", index->path);
    if (status != INGOT_OK)
        return status;
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(value, &len);
    if (!ig_mark_decode(bytes, len, ret_mark))
        status = ig_fail(err, INGOT_CORRUPT, "index %s has a malformed watermark", index->path);
    rocksdb_pinnableslice_destroy(value);
    return status;
}

ingot_status ig_index_watermark(struct ig_index *index, struct ig_watermark *ret_watermark,
                                ingot_error *err) {
    struct ig_mark mark;
    ingot_status status = ig_index_mark(index, index->read, &mark, err);
    if (status == INGOT_OK)
        *ret_watermark = mark.watermark;
    return status;
}

ingot_status ig_index_meta(struct ig_index *index, const char *key, void *value, size_t len,
                           ingot_error *err) {
    struct ig_meta_key name;
    if (!ig_meta_key_make(IG_META_VALUE, key, &name))
        return ig_fail(err, INGOT_USAGE, "meta key of more than %d bytes", IG_META_KEY_MAX);
    rocksdb_pinnableslice_t *found = NULL;
    ingot_status status =
        ig_index_find(index, index->read, IG_FAMILY_META, name.text, name.len, &found, err);
    if (status != INGOT_OK)
        return status;
    size_t found_len;
    const char *bytes = rocksdb_pinnableslice_value(found, &found_len);
    if (found_len != len)
        status = ig_index_fail_entry(index, err, NULL, IG_FAMILY_META, name.text, name.len);
    else if (len > 0)
        memcpy(value, bytes, len);
    rocksdb_pinnableslice_destroy(found);
    return status;
}

ingot_status ig_index_counter(struct ig_index *index, const char *key, int64_t *ret_value,
                              ingot_error *err) {
    struct ig_meta_key name;
    if (!ig_meta_key_make(IG_META_COUNTER, key, &name))
        return ig_fail(err, INGOT_USAGE, "meta key of more than %d bytes", IG_META_KEY_MAX);
    rocksdb_pinnableslice_t *found = NULL;
    ingot_status status =
        ig_index_find(index, index->read, IG_FAMILY_META, name.text, name.len, &found, err);
    if (status == INGOT_NOT_FOUND) {
        *ret_value = 0;
        return INGOT_OK;
    }
    if (status != INGOT_OK)
        return status;
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(found, &len);
    if (!ig_counter_decode(bytes, len, ret_value))
        status = ig_index_fail_entry(index, err, NULL, IG_FAMILY_META, name.text, name.len);
    rocksdb_pinnableslice_destroy(found);
    return status;
}

uint64_t ig_index_memory(struct ig_index *index) {
    uint64_t total = rocksdb_cache_get_usage(index->cache);
    for (int i = 0; i < IG_FAMILIES; i++) {
        uint64_t part = 0;
        if (rocksdb_property_int_cf(index->db, index->families[i], "rocksdb.size-all-mem-tables",
                                    &part) == 0)
            total += part;
        part = 0;
        if (rocksdb_property_int_cf(index->db, index->families[i],
                                    "rocksdb.estimate-table-readers-mem", &part) == 0)
            total += part;
    }
    return total;
}
