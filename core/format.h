/* The bytes of docs/format.md: sizes, magics, and the codec of segment, group and record headers.
 */
#ifndef IG_FORMAT_H
#define IG_FORMAT_H

#include <ingot/ingot.h>

#include <stdbool.h>
#include <stddef.h>

#define IG_LOG_ALIGN UINT64_C(4096)
#define IG_SEGMENT_HEADER 4096
#define IG_GROUP_HEADER 64
#define IG_RECORD_HEADER 96
#define IG_RECORD_ALIGN 8

enum ig_kind {
    IG_OBJECT = 1,
    IG_LINK = 2,
    IG_REF = 3,
    IG_CHECKPOINT = 4,
    IG_TOMBSTONE = 5,
    IG_PURGE = 6,
};
#define IG_RECORD_LIMBO UINT8_C(1)

struct ig_segment_header {
    uint32_t number;
    uint8_t uuid[16];
    uint64_t salt;
    uint64_t size;
    int64_t time_ms;
};

struct ig_group_header {
    uint32_t count; /* 0: a seal */
    uint64_t length;
    uint64_t first_seq;
    uint64_t durable_seq;
    uint64_t nonce;
    uint64_t chain;
    int64_t time_ms;
};

struct ig_record {
    uint8_t kind; /* enum ig_kind */
    uint8_t flags;
    uint64_t seq;
    uint64_t size;
    uint64_t body_len;
    ingot_id id;
    int64_t refs;
    int64_t aux;
    uint64_t body_sum;
};

/* XXH3-64. */
uint64_t ig_sum(const void *data, size_t len, uint64_t seed);

/* Bytes a record takes in the log. */
uint64_t ig_record_footprint(uint64_t body_len);

void ig_segment_header_encode(const struct ig_segment_header *header,
                              uint8_t ret_block[IG_SEGMENT_HEADER]);
/* NULL on success, else what is wrong with it. */
const char *ig_segment_header_decode(const uint8_t block[IG_SEGMENT_HEADER],
                                     struct ig_segment_header *ret_header);

void ig_group_header_encode(const struct ig_group_header *header, uint64_t salt,
                            uint8_t ret_bytes[IG_GROUP_HEADER]);
const char *ig_group_header_decode(const uint8_t bytes[IG_GROUP_HEADER], uint64_t salt,
                                   struct ig_group_header *ret_header);

/* `seed`: the segment's salt XOR the group's nonce. */
void ig_record_encode(const struct ig_record *record, uint64_t seed,
                      uint8_t ret_bytes[IG_RECORD_HEADER]);
const char *ig_record_decode(const uint8_t bytes[IG_RECORD_HEADER], uint64_t seed,
                             struct ig_record *ret_record);

/* What the FORMAT file says. */
struct ig_format {
    char uuid_text[37];
    uint8_t uuid[16];
    uint32_t digest;
    uint8_t key_check[32];
    uint64_t large_min;
    uint64_t segment_size;
    int64_t created_ms;
};
#define IG_FORMAT_MAX 4096

/* What is out of range in it: a text for a message, or NULL. */
const char *ig_format_check(const struct ig_format *format);
/* Writes the text of FORMAT, NUL-terminated; returns its length. */
size_t ig_format_print(const struct ig_format *format, char ret_text[IG_FORMAT_MAX]);
/* `path` is for messages. INGOT_UNSUPPORTED for another version, INGOT_CORRUPT for the rest. */
ingot_status ig_format_parse(const char *text, size_t len, const char *path,
                             struct ig_format *ret_format, ingot_error *err);

#endif
