/* Addition inside RocksDB, so that a change of a count costs a write and no read.
 *
 * Sums wrap modulo 2^64: a merge must give the same result however RocksDB groups the operands,
 * and saturation would not.
 *
 * A result lives in the thread's own static memory because RocksDB copies it at once, and because
 * a failed allocation here could only be reported as corruption. */
#include "internal.h"

static _Thread_local uint8_t merged[IG_REFS_BYTES];

static void keep_state(void *state) { (void)state; }

static void keep_value(void *state, const char *value, size_t len) {
    (void)state;
    (void)value;
    (void)len;
}

/* The length too: RocksDB's C wrapper uses it even after a failure. */
static char *failed(unsigned char *success, size_t *ret_len) {
    *success = 0;
    *ret_len = 0;
    return NULL;
}

static char *done(size_t len, unsigned char *success, size_t *ret_len) {
    *success = 1;
    *ret_len = len;
    return (char *)merged;
}

static int64_t sum(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }

static char *refs_full(void *state, const char *key, size_t key_len, const char *existing,
                       size_t existing_len, const char *const *operands, const size_t *lens,
                       int count, unsigned char *success, size_t *ret_len) {
    (void)state;
    (void)key;
    (void)key_len;
    struct ig_refs total = {0, 0};
    if (existing != NULL && !ig_refs_decode(existing, existing_len, &total))
        return failed(success, ret_len);
    for (int i = 0; i < count; i++) {
        struct ig_refs operand;
        if (!ig_refs_decode(operands[i], lens[i], &operand))
            return failed(success, ret_len);
        total.delta = sum(total.delta, operand.delta);
        total.time_ms = operand.time_ms;
    }
    ig_refs_encode(&total, merged);
    return done(IG_REFS_BYTES, success, ret_len);
}

static char *refs_partial(void *state, const char *key, size_t key_len, const char *const *operands,
                          const size_t *lens, int count, unsigned char *success, size_t *ret_len) {
    return refs_full(state, key, key_len, NULL, 0, operands, lens, count, success, ret_len);
}

static char *counter_full(void *state, const char *key, size_t key_len, const char *existing,
                          size_t existing_len, const char *const *operands, const size_t *lens,
                          int count, unsigned char *success, size_t *ret_len) {
    (void)state;
    int64_t total = 0;
    if (key_len < IG_META_PREFIX_LEN || key[0] != IG_META_COUNTER)
        return failed(success, ret_len);
    if (existing != NULL && !ig_counter_decode(existing, existing_len, &total))
        return failed(success, ret_len);
    for (int i = 0; i < count; i++) {
        int64_t operand;
        if (!ig_counter_decode(operands[i], lens[i], &operand))
            return failed(success, ret_len);
        total = sum(total, operand);
    }
    ig_counter_encode(total, merged);
    return done(IG_COUNTER_BYTES, success, ret_len);
}

static char *counter_partial(void *state, const char *key, size_t key_len,
                             const char *const *operands, const size_t *lens, int count,
                             unsigned char *success, size_t *ret_len) {
    return counter_full(state, key, key_len, NULL, 0, operands, lens, count, success, ret_len);
}

static const char *refs_name(void *state) {
    (void)state;
    return "ingot.refs.1";
}

static const char *counter_name(void *state) {
    (void)state;
    return "ingot.counter.1";
}

rocksdb_mergeoperator_t *ig_refs_merge(void) {
    return rocksdb_mergeoperator_create(NULL, keep_state, refs_full, refs_partial, keep_value,
                                        refs_name);
}

rocksdb_mergeoperator_t *ig_counter_merge(void) {
    return rocksdb_mergeoperator_create(NULL, keep_state, counter_full, counter_partial, keep_value,
                                        counter_name);
}
