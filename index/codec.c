#include "codec.h"

#include "bytes.h"

#define VERSION 1

static const uint8_t known_flags = IG_CONTENT_LIMBO | IG_CONTENT_FILE;

void ig_content_encode(const struct ig_content *content, uint8_t value[IG_CONTENT_BYTES]) {
    value[0] = VERSION;
    value[1] = content->flags;
    ig_put16(value + 2, 0);
    ig_put32(value + 4, content->segment);
    ig_put64(value + 8, content->offset);
    ig_put64(value + 16, content->size);
    ig_put64(value + 24, content->seq);
    ig_put64(value + 32, (uint64_t)content->base_refs);
    ig_put64(value + 40, (uint64_t)content->time_ms);
}

bool ig_content_decode(const void *value, size_t len, struct ig_content *ret_content) {
    const uint8_t *p = value;
    if (len != IG_CONTENT_BYTES || p[0] != VERSION || (p[1] & ~known_flags) != 0 ||
        ig_get16(p + 2) != 0 || ig_get64(p + 16) > (uint64_t)INGOT_OBJECT_MAX)
        return false;
    *ret_content = (struct ig_content){
        .flags = p[1],
        .segment = ig_get32(p + 4),
        .offset = ig_get64(p + 8),
        .size = ig_get64(p + 16),
        .seq = ig_get64(p + 24),
        .base_refs = (int64_t)ig_get64(p + 32),
        .time_ms = (int64_t)ig_get64(p + 40),
    };
    return true;
}

void ig_refs_encode(const struct ig_refs *refs, uint8_t value[IG_REFS_BYTES]) {
    ig_put64(value, (uint64_t)refs->delta);
    ig_put64(value + 8, (uint64_t)refs->time_ms);
}

bool ig_refs_decode(const void *value, size_t len, struct ig_refs *ret_refs) {
    const uint8_t *p = value;
    if (len != IG_REFS_BYTES)
        return false;
    *ret_refs = (struct ig_refs){
        .delta = (int64_t)ig_get64(p),
        .time_ms = (int64_t)ig_get64(p + 8),
    };
    return true;
}

void ig_counter_encode(int64_t counter, uint8_t value[IG_COUNTER_BYTES]) {
    ig_put64(value, (uint64_t)counter);
}

bool ig_counter_decode(const void *value, size_t len, int64_t *ret_counter) {
    if (len != IG_COUNTER_BYTES)
        return false;
    *ret_counter = (int64_t)ig_get64(value);
    return true;
}

void ig_mark_encode(const struct ig_mark *mark, uint8_t value[IG_MARK_BYTES]) {
    memset(value, 0, IG_MARK_BYTES);
    value[0] = VERSION;
    ig_put32(value + 4, mark->watermark.segment);
    ig_put64(value + 8, mark->watermark.offset);
    ig_put64(value + 16, mark->watermark.seq);
    ig_put64(value + 24, mark->generation);
}

bool ig_mark_decode(const void *value, size_t len, struct ig_mark *ret_mark) {
    const uint8_t *p = value;
    if (len != IG_MARK_BYTES || p[0] != VERSION || p[1] != 0 || ig_get16(p + 2) != 0)
        return false;
    *ret_mark = (struct ig_mark){
        .watermark = {.segment = ig_get32(p + 4),
                      .offset = ig_get64(p + 8),
                      .seq = ig_get64(p + 16)},
        .generation = ig_get64(p + 24),
    };
    return true;
}

void ig_identity_encode(const char *uuid, uint8_t value[IG_IDENTITY_BYTES]) {
    memset(value, 0, IG_IDENTITY_BYTES);
    value[0] = VERSION;
    if (uuid != NULL)
        memcpy(value + 4, uuid, strnlen(uuid, IG_UUID_LEN));
}

bool ig_identity_decode(const void *value, size_t len, char ret_uuid[IG_UUID_LEN + 1]) {
    const uint8_t *p = value;
    if (len != IG_IDENTITY_BYTES || p[0] != VERSION || p[1] != 0 || ig_get16(p + 2) != 0)
        return false;
    memcpy(ret_uuid, p + 4, IG_UUID_LEN);
    ret_uuid[IG_UUID_LEN] = '\0';
    return true;
}

bool ig_meta_key_make(char kind, const char *key, struct ig_meta_key *ret_key) {
    size_t len = strnlen(key, IG_META_KEY_MAX + 1);
    if (len > IG_META_KEY_MAX)
        return false;
    ret_key->len = IG_META_PREFIX_LEN + len;
    ret_key->text[0] = kind;
    ret_key->text[1] = '/';
    memcpy(ret_key->text + IG_META_PREFIX_LEN, key, len);
    ret_key->text[ret_key->len] = '\0';
    return true;
}
