#include "format.h"

#include "bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

uint64_t ig_sum(const void *data, size_t len, uint64_t seed) {
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t ig_record_footprint(uint64_t body_len) {
    return IG_RECORD_HEADER + ig_align_up(body_len, IG_RECORD_ALIGN);
}

void ig_segment_header_encode(const struct ig_segment_header *header,
                              uint8_t ret_block[IG_SEGMENT_HEADER]) {
    memset(ret_block, 0, IG_SEGMENT_HEADER);
    memcpy(ret_block, "INGOTSEG", 8);
    ig_put32(ret_block + 8, INGOT_FORMAT_VERSION);
    ig_put32(ret_block + 12, header->number);
    memcpy(ret_block + 16, header->uuid, 16);
    ig_put64(ret_block + 32, header->salt);
    ig_put64(ret_block + 40, header->size);
    ig_put64(ret_block + 48, (uint64_t)header->time_ms);
    ig_put64(ret_block + 56, ig_sum(ret_block, 56, 0));
}

const char *ig_segment_header_decode(const uint8_t block[IG_SEGMENT_HEADER],
                                     struct ig_segment_header *ret_header) {
    if (memcmp(block, "INGOTSEG", 8) != 0)
        return "no segment magic";
    if (ig_get64(block + 56) != ig_sum(block, 56, 0))
        return "segment header checksum differs";
    if (ig_get32(block + 8) != INGOT_FORMAT_VERSION)
        return "unknown segment version";
    struct ig_segment_header header = {
        .number = ig_get32(block + 12),
        .salt = ig_get64(block + 32),
        .size = ig_get64(block + 40),
        .time_ms = (int64_t)ig_get64(block + 48),
    };
    memcpy(header.uuid, block + 16, 16);
    *ret_header = header;
    return NULL;
}

void ig_group_header_encode(const struct ig_group_header *header, uint64_t salt,
                            uint8_t ret_bytes[IG_GROUP_HEADER]) {
    memcpy(ret_bytes, "IGGR", 4);
    ig_put32(ret_bytes + 4, header->count);
    ig_put64(ret_bytes + 8, header->length);
    ig_put64(ret_bytes + 16, header->first_seq);
    ig_put64(ret_bytes + 24, header->durable_seq);
    ig_put64(ret_bytes + 32, header->nonce);
    ig_put64(ret_bytes + 40, header->chain);
    ig_put64(ret_bytes + 48, (uint64_t)header->time_ms);
    ig_put64(ret_bytes + 56, ig_sum(ret_bytes, 56, salt));
}

const char *ig_group_header_decode(const uint8_t bytes[IG_GROUP_HEADER], uint64_t salt,
                                   struct ig_group_header *ret_header) {
    if (memcmp(bytes, "IGGR", 4) != 0)
        return "no group magic";
    if (ig_get64(bytes + 56) != ig_sum(bytes, 56, salt))
        return "group header checksum differs";
    struct ig_group_header header = {
        .count = ig_get32(bytes + 4),
        .length = ig_get64(bytes + 8),
        .first_seq = ig_get64(bytes + 16),
        .durable_seq = ig_get64(bytes + 24),
        .nonce = ig_get64(bytes + 32),
        .chain = ig_get64(bytes + 40),
        .time_ms = (int64_t)ig_get64(bytes + 48),
    };
    if (header.length < IG_LOG_ALIGN || header.length % IG_LOG_ALIGN != 0 ||
        header.count > header.length / IG_RECORD_HEADER)
        return "group header is nonsense";
    *ret_header = header;
    return NULL;
}

void ig_record_encode(const struct ig_record *record, uint64_t seed,
                      uint8_t ret_bytes[IG_RECORD_HEADER]) {
    memcpy(ret_bytes, "IGRC", 4);
    ret_bytes[4] = record->kind;
    ret_bytes[5] = record->flags;
    ret_bytes[6] = 0;
    ret_bytes[7] = 0;
    ig_put64(ret_bytes + 8, record->seq);
    ig_put64(ret_bytes + 16, record->size);
    ig_put64(ret_bytes + 24, record->body_len);
    memcpy(ret_bytes + 32, record->id.bytes, INGOT_ID_BYTES);
    ig_put64(ret_bytes + 64, (uint64_t)record->refs);
    ig_put64(ret_bytes + 72, (uint64_t)record->aux);
    ig_put64(ret_bytes + 80, record->body_sum);
    ig_put64(ret_bytes + 88, ig_sum(ret_bytes, 88, seed));
}

const char *ig_record_decode(const uint8_t bytes[IG_RECORD_HEADER], uint64_t seed,
                             struct ig_record *ret_record) {
    if (memcmp(bytes, "IGRC", 4) != 0)
        return "no record magic";
    if (ig_get64(bytes + 88) != ig_sum(bytes, 88, seed))
        return "record header checksum differs";
    struct ig_record record = {
        .kind = bytes[4],
        .flags = bytes[5],
        .seq = ig_get64(bytes + 8),
        .size = ig_get64(bytes + 16),
        .body_len = ig_get64(bytes + 24),
        .refs = (int64_t)ig_get64(bytes + 64),
        .aux = (int64_t)ig_get64(bytes + 72),
        .body_sum = ig_get64(bytes + 80),
    };
    memcpy(record.id.bytes, bytes + 32, INGOT_ID_BYTES);
    bool has_body = record.kind == IG_OBJECT;
    if (record.kind < IG_OBJECT || record.kind > IG_PURGE)
        return "unknown record kind";
    if (bytes[6] != 0 || bytes[7] != 0)
        return "unknown encoding";
    bool is_object = record.kind == IG_OBJECT || record.kind == IG_LINK;
    bool is_removal = record.kind == IG_TOMBSTONE || record.kind == IG_PURGE;
    if ((!is_object && record.size != 0) || (is_removal && record.refs != 0) ||
        (record.kind != IG_REF && record.refs < 0) || (record.kind == IG_REF && record.aux != 0))
        return "a field that this kind does not have";
    if ((record.flags & ~IG_RECORD_LIMBO) != 0 || (record.flags != 0 && record.kind > IG_LINK))
        return "unknown record flags";
    if (record.body_len != (has_body ? record.size : 0) || record.size > INGOT_OBJECT_MAX)
        return "record length is nonsense";
    *ret_record = record;
    return NULL;
}
