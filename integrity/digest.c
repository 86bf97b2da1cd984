#include "digest.h"

#include "status.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Only the low-level calls hash in the caller's memory: EVP, and SHA256() which stands on it,
 * allocate a context for every digest. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "blake3_impl.h"

static_assert(sizeof(blake3_hasher) <= sizeof(((struct ig_hasher *)0)->state), "BLAKE3 state");
static_assert(sizeof(SHA256_CTX) <= sizeof(((struct ig_hasher *)0)->state), "SHA-256 state");
static_assert(_Alignof(blake3_hasher) <= 64 && _Alignof(SHA256_CTX) <= 64, "alignment");
static_assert(BLAKE3_OUT_LEN == INGOT_ID_BYTES && SHA256_DIGEST_LENGTH == INGOT_ID_BYTES, "id");
static_assert(BLAKE3_KEY_LEN == INGOT_KEY_BYTES, "key");

static const char key_check_text[] = "ingot key check 1";

static const char *const names[] = {
    [INGOT_DIGEST_BLAKE3] = "blake3",
    [INGOT_DIGEST_SHA256] = "sha256",
    [INGOT_DIGEST_BLAKE3_KEYED] = "blake3-keyed",
};
#define KINDS (sizeof names / sizeof names[0])

static void detect_processor(void) { (void)blake3_simd_degree(); }

/* BLAKE3 caches the processor's features in a plain variable on first use. Every way to a hash
 * leads through here first, so that the write happens before all the reads. */
static void prepare_kernels(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, detect_processor);
}

ingot_status ig_digest_init(struct ig_digest *digest, uint32_t kind, const uint8_t *key,
                            ingot_error *err) {
    const char *name = ig_digest_name(kind);
    if (name == NULL)
        return ig_fail(err, INGOT_USAGE, "unknown digest kind %u", kind);
    bool keyed = kind == INGOT_DIGEST_BLAKE3_KEYED;
    if (keyed && key == NULL)
        return ig_fail(err, INGOT_WRONG_KEY, "digest %s needs a key", name);
    if (!keyed && key != NULL)
        return ig_fail(err, INGOT_WRONG_KEY, "digest %s takes no key", name);
    prepare_kernels();
    memset(digest, 0, sizeof *digest);
    digest->kind = kind;
    if (keyed)
        memcpy(digest->key, key, INGOT_KEY_BYTES);
    return INGOT_OK;
}

void ig_digest_release(struct ig_digest *digest) {
    if (digest != NULL)
        explicit_bzero(digest, sizeof *digest);
}

const char *ig_digest_name(uint32_t kind) { return kind < KINDS ? names[kind] : NULL; }

uint32_t ig_digest_by_name(const char *name) {
    for (uint32_t kind = 0; kind < KINDS; kind++)
        if (names[kind] != NULL && strcmp(name, names[kind]) == 0)
            return kind;
    return 0;
}

static blake3_hasher *blake3_of(struct ig_hasher *hasher) { return (void *)hasher->state; }
static SHA256_CTX *sha256_of(struct ig_hasher *hasher) { return (void *)hasher->state; }

void ig_hasher_init(struct ig_hasher *hasher, const struct ig_digest *digest) {
    hasher->kind = digest->kind;
    switch (digest->kind) {
    case INGOT_DIGEST_BLAKE3:
        blake3_hasher_init(blake3_of(hasher));
        break;
    case INGOT_DIGEST_BLAKE3_KEYED:
        blake3_hasher_init_keyed(blake3_of(hasher), digest->key);
        break;
    case INGOT_DIGEST_SHA256:
        SHA256_Init(sha256_of(hasher));
        break;
    default: /* never initialised, or released */
        abort();
    }
}

void ig_hasher_update(struct ig_hasher *hasher, const void *data, size_t len) {
    if (len == 0)
        return;
    if (hasher->kind == INGOT_DIGEST_SHA256)
        SHA256_Update(sha256_of(hasher), data, len);
    else
        blake3_hasher_update(blake3_of(hasher), data, len);
}

void ig_hasher_finish(struct ig_hasher *hasher, ingot_id *ret_id) {
    if (hasher->kind == INGOT_DIGEST_SHA256)
        SHA256_Final(ret_id->bytes, sha256_of(hasher));
    else
        blake3_hasher_finalize(blake3_of(hasher), ret_id->bytes, INGOT_ID_BYTES);
}

void ig_digest_hash(const struct ig_digest *digest, const void *data, size_t len,
                    ingot_id *ret_id) {
    struct ig_hasher hasher;
    ig_hasher_init(&hasher, digest);
    ig_hasher_update(&hasher, data, len);
    ig_hasher_finish(&hasher, ret_id);
    if (digest->kind == INGOT_DIGEST_BLAKE3_KEYED)
        explicit_bzero(hasher.state, sizeof(blake3_hasher));
}

bool ig_digest_matches(const struct ig_digest *digest, const void *data, size_t len,
                       const ingot_id *id) {
    ingot_id actual;
    ig_digest_hash(digest, data, len, &actual);
    return memcmp(actual.bytes, id->bytes, INGOT_ID_BYTES) == 0;
}

void ig_digest_key_check(const uint8_t key[INGOT_KEY_BYTES], uint8_t ret_check[32]) {
    prepare_kernels();
    blake3_hasher hasher;
    blake3_hasher_init_keyed(&hasher, key);
    blake3_hasher_update(&hasher, key_check_text, sizeof key_check_text - 1);
    blake3_hasher_finalize(&hasher, ret_check, 32);
    explicit_bzero(&hasher, sizeof hasher);
}
