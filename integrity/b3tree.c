#include "b3tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "blake3_impl.h"

#define GROUP_CHUNKS (IG_B3_GROUP / BLAKE3_CHUNK_LEN)
#define CHUNK_BLOCKS (BLAKE3_CHUNK_LEN / BLAKE3_BLOCK_LEN)

/* Chaining values that one walk over the levels makes into one: bounds the stack, fills the
 * lanes. */
#define WIDE 64

static_assert(IG_B3_CV == BLAKE3_OUT_LEN && 2 * IG_B3_CV == BLAKE3_BLOCK_LEN, "node");
static_assert(GROUP_CHUNKS <= WIDE, "a group is one walk");

/* What tells the modes of BLAKE3 apart. */
struct mode {
    uint32_t key[8];
    uint8_t flags;
};

static void mode_init(struct mode *mode, const struct ig_digest *digest) {
    switch (digest->kind) {
    case INGOT_DIGEST_BLAKE3:
        memcpy(mode->key, IV, sizeof mode->key);
        mode->flags = 0;
        break;
    case INGOT_DIGEST_BLAKE3_KEYED:
        load_key_words(digest->key, mode->key);
        mode->flags = KEYED_HASH;
        break;
    default:
        abort();
    }
}

static void mode_release(struct mode *mode) { explicit_bzero(mode, sizeof *mode); }

/* The node over two chaining values side by side. */
static void parent(const struct mode *mode, const uint8_t pair[2 * IG_B3_CV], uint8_t more_flags,
                   uint8_t ret_cv[IG_B3_CV]) {
    uint32_t cv[8];
    memcpy(cv, mode->key, sizeof cv);
    blake3_compress_in_place(cv, pair, BLAKE3_BLOCK_LEN, 0,
                             (uint8_t)(mode->flags | PARENT | more_flags));
    store_cv_words(ret_cv, cv);
}

/* One level up: the parents of neighbours, and an odd last value as it is. Pairing level by level
 * gives the left-balanced tree of the specification. `ret_cvs` must not overlap `cvs`. */
static size_t parents(const struct mode *mode, const uint8_t *cvs, size_t count, uint8_t *ret_cvs) {
    const uint8_t *inputs[WIDE / 2];
    size_t pairs = count / 2;
    for (size_t i = 0; i < pairs; i++)
        inputs[i] = cvs + 2 * i * IG_B3_CV;
    blake3_hash_many(inputs, pairs, 1, mode->key, 0, false, (uint8_t)(mode->flags | PARENT), 0, 0,
                     ret_cvs);
    if (count % 2 != 0)
        memcpy(ret_cvs + pairs * IG_B3_CV, cvs + (count - 1) * IG_B3_CV, IG_B3_CV);
    return count - pairs;
}

/* 1 to WIDE chaining values to that of their subtree. */
static void reduce(const struct mode *mode, const uint8_t *cvs, size_t count,
                   uint8_t ret_cv[IG_B3_CV]) {
    uint8_t levels[2][WIDE / 2 * IG_B3_CV];
    for (unsigned level = 0; count > 1; level ^= 1) {
        count = parents(mode, cvs, count, levels[level]);
        cvs = levels[level];
    }
    memcpy(ret_cv, cvs, IG_B3_CV);
}

/* A last chunk shorter than the kernels for many chunks take. */
static void short_chunk(const struct mode *mode, const uint8_t *data, size_t len, uint64_t counter,
                        uint8_t ret_cv[IG_B3_CV]) {
    uint32_t cv[8];
    memcpy(cv, mode->key, sizeof cv);
    unsigned flags = mode->flags | CHUNK_START;
    for (; len > BLAKE3_BLOCK_LEN; data += BLAKE3_BLOCK_LEN, len -= BLAKE3_BLOCK_LEN) {
        blake3_compress_in_place(cv, data, BLAKE3_BLOCK_LEN, counter, (uint8_t)flags);
        flags = mode->flags;
    }
    uint8_t block[BLAKE3_BLOCK_LEN] = {0};
    memcpy(block, data, len);
    blake3_compress_in_place(cv, block, (uint8_t)len, counter, (uint8_t)(flags | CHUNK_END));
    store_cv_words(ret_cv, cv);
}

uint64_t ig_b3_groups(uint64_t size) { return size / IG_B3_GROUP + (size % IG_B3_GROUP != 0); }

void ig_b3_group_cv(const struct ig_digest *digest, const void *data, size_t len, uint64_t group,
                    uint8_t ret_cv[IG_B3_CV]) {
    if (len == 0 || len > IG_B3_GROUP)
        abort();
    struct mode mode;
    mode_init(&mode, digest);
    const uint8_t *bytes = data;
    const uint8_t *inputs[GROUP_CHUNKS];
    uint8_t cvs[GROUP_CHUNKS * IG_B3_CV];
    size_t chunks = len / BLAKE3_CHUNK_LEN;
    size_t rest = len % BLAKE3_CHUNK_LEN;
    uint64_t counter = group * GROUP_CHUNKS;
    for (size_t i = 0; i < chunks; i++)
        inputs[i] = bytes + i * BLAKE3_CHUNK_LEN;
    blake3_hash_many(inputs, chunks, CHUNK_BLOCKS, mode.key, counter, true, mode.flags, CHUNK_START,
                     CHUNK_END, cvs);
    if (rest > 0) {
        short_chunk(&mode, bytes + len - rest, rest, counter + chunks, cvs + chunks * IG_B3_CV);
        chunks++;
    }
    reduce(&mode, cvs, chunks, ret_cv);
    mode_release(&mode);
}

/* How many of `count` > 1 leaves go left: the largest power of two below it. */
static uint64_t left_count(uint64_t count) {
    return UINT64_C(1) << (63 - __builtin_clzll(count - 1));
}

/* Recursion is as deep as the tree is high above WIDE: at most 58 frames of a few words. */
static void subtree(const struct mode *mode, const uint8_t *cvs, uint64_t count,
                    uint8_t ret_cv[IG_B3_CV]) {
    if (count <= WIDE) {
        reduce(mode, cvs, (size_t)count, ret_cv);
        return;
    }
    uint64_t left = left_count(count);
    uint8_t pair[2 * IG_B3_CV];
    subtree(mode, cvs, left, pair);
    subtree(mode, cvs + left * IG_B3_CV, count - left, pair + IG_B3_CV);
    parent(mode, pair, 0, ret_cv);
}

void ig_b3_root(const struct ig_digest *digest, const uint8_t *cvs, uint64_t groups,
                ingot_id *ret_id) {
    if (groups < 2)
        abort();
    struct mode mode;
    mode_init(&mode, digest);
    uint64_t left = left_count(groups);
    uint8_t pair[2 * IG_B3_CV];
    subtree(&mode, cvs, left, pair);
    subtree(&mode, cvs + left * IG_B3_CV, groups - left, pair + IG_B3_CV);
    parent(&mode, pair, ROOT, ret_id->bytes);
    mode_release(&mode);
}
