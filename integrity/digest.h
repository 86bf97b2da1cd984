/* The digests an object store can be created with. One instance per store, immutable after init,
 * shared by all threads; hashing of any size allocates nothing.
 *
 * BLAKE3: the BLAKE3 specification (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), default
 * output length; keyed is its keyed_hash mode. SHA-256: FIPS 180-4. Wherever `len` is 0, `data` may
 * be NULL. */
#ifndef IG_DIGEST_H
#define IG_DIGEST_H

#include <ingot/ingot.h>

#include <stdbool.h>

struct ig_digest {
    uint32_t kind;                /* INGOT_DIGEST_...; fixed after init */
    uint8_t key[INGOT_KEY_BYTES]; /* only with INGOT_DIGEST_BLAKE3_KEYED; zeroed by release */
};

/* `key` is borrowed; required for the keyed kind and refused for the others (INGOT_WRONG_KEY). An
 * unknown kind is INGOT_USAGE: a default, or a kind read from a file, is the caller's to settle. */
INGOT_MUST_CHECK ingot_status ig_digest_init(struct ig_digest *digest, uint32_t kind,
                                             const uint8_t *key, ingot_error *err);
/* Wipes the key. NULL, zeroed and released digests are accepted. */
void ig_digest_release(struct ig_digest *digest);

/* "blake3", "sha256", "blake3-keyed"; NULL for an unknown kind. And back: 0 for an unknown name. */
const char *ig_digest_name(uint32_t kind);
uint32_t ig_digest_by_name(const char *name);

/* Thread-safe. */
void ig_digest_hash(const struct ig_digest *digest, const void *data, size_t len, ingot_id *ret_id);
/* Whether the bytes have this id. Thread-safe. */
bool ig_digest_matches(const struct ig_digest *digest, const void *data, size_t len,
                       const ingot_id *id);

/* Incremental, by one thread at a time. Fixed-size state, may live on the stack (about 2 KiB) and
 * be abandoned at any point; it keeps no pointer to the digest. With a keyed digest it holds the
 * key: wipe it where it outlives the store. */
struct ig_hasher {
    _Alignas(64) uint8_t state[2048];
    uint32_t kind;
};
void ig_hasher_init(struct ig_hasher *hasher, const struct ig_digest *digest);
void ig_hasher_update(struct ig_hasher *hasher, const void *data, size_t len);
/* The id of the bytes so far. A BLAKE3 hasher may go on afterwards; a SHA-256 hasher has ended and
 * may only be initialised again. */
void ig_hasher_finish(struct ig_hasher *hasher, ingot_id *ret_id);

/* 32 bytes by which a keyed store recognises its key without telling it: keyed BLAKE3 of the text
 * "ingot key check 1", without a NUL. */
void ig_digest_key_check(const uint8_t key[INGOT_KEY_BYTES], uint8_t ret_check[32]);

#endif
