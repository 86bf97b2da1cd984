/* The bytes of the index's keys and values; docs/format.md has the tables. Knows nothing of
 * RocksDB. */
#ifndef IG_INDEX_CODEC_H
#define IG_INDEX_CODEC_H

#include "index.h"

enum ig_family { /* in the order in which the families are opened */
                 IG_FAMILY_DEFAULT,
                 IG_FAMILY_CONTENT,
                 IG_FAMILY_REFS,
                 IG_FAMILY_NAMES,
                 IG_FAMILY_META,
                 IG_FAMILIES,
};

#define IG_CONTENT_BYTES 48
#define IG_REFS_BYTES 16
#define IG_COUNTER_BYTES 8
#define IG_MARK_BYTES 32
#define IG_IDENTITY_BYTES 40

/* Meta keys start with what they are: the merge operator must tell counters from values. */
#define IG_META_COUNTER 'n'
#define IG_META_VALUE 'v'
#define IG_META_MARK "w"
#define IG_META_IDENTITY "i"
#define IG_META_PREFIX_LEN 2 /* "n/" */

struct ig_meta_key {
    size_t len;
    char text[IG_META_PREFIX_LEN + IG_META_KEY_MAX + 1];
};

/* The watermark as stored. */
struct ig_mark {
    struct ig_watermark watermark;
    uint64_t generation; /* batches written so far: tells whether a flush took this one along */
};

void ig_content_encode(const struct ig_content *content, uint8_t value[IG_CONTENT_BYTES]);
/* False for a wrong length, an unknown version or a field out of its range. */
bool ig_content_decode(const void *value, size_t len, struct ig_content *ret_content);

void ig_refs_encode(const struct ig_refs *refs, uint8_t value[IG_REFS_BYTES]);
bool ig_refs_decode(const void *value, size_t len, struct ig_refs *ret_refs);

void ig_counter_encode(int64_t counter, uint8_t value[IG_COUNTER_BYTES]);
bool ig_counter_decode(const void *value, size_t len, int64_t *ret_counter);

void ig_mark_encode(const struct ig_mark *mark, uint8_t value[IG_MARK_BYTES]);
bool ig_mark_decode(const void *value, size_t len, struct ig_mark *ret_mark);

/* `uuid` of at most IG_UUID_LEN characters; NULL is stored as none. */
void ig_identity_encode(const char *uuid, uint8_t value[IG_IDENTITY_BYTES]);
bool ig_identity_decode(const void *value, size_t len, char ret_uuid[IG_UUID_LEN + 1]);

/* False when `key` is longer than IG_META_KEY_MAX. */
bool ig_meta_key_make(char kind, const char *key, struct ig_meta_key *ret_key);

/* Any bytes into any family: what the calls of index.h are made of, and how tests plant damage. */
void ig_index_put_raw(struct ig_index_batch *batch, enum ig_family family, const void *key,
                      size_t key_len, const void *value, size_t value_len);

#endif
