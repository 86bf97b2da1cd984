/* What the digests cost on their own: BLAKE3, which names objects, SHA-256, which names them in
 * most other stores, and XXH3-128, which only suspects duplicates. Data in cache, one thread. */
#include "harness.h"

#include <blake3.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define DIGEST_MAX 32

struct digest {
    const char *name;
    size_t len;
    void (*hash)(const void *data, size_t len, uint8_t out[DIGEST_MAX]);
    const char *of_abc; /* published digest of "abc", in hex */
};

struct digest_case {
    const struct digest *digest;
    size_t size;
};

struct input {
    uint8_t *data;
    uint8_t first[DIGEST_MAX];
    uint8_t last[DIGEST_MAX];
};

static void hash_blake3(const void *data, size_t len, uint8_t out[DIGEST_MAX]) {
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, data, len);
    blake3_hasher_finalize(&hasher, out, DIGEST_MAX);
}

/* Fetched once: EVP_sha256() is looked up anew by each digest, which costs more than 1 KiB. */
static EVP_MD *sha256;
static EVP_MD_CTX *sha256_context;

static void hash_sha256(const void *data, size_t len, uint8_t out[DIGEST_MAX]) {
    if (EVP_DigestInit_ex2(sha256_context, sha256, NULL) != 1 ||
        EVP_DigestUpdate(sha256_context, data, len) != 1 ||
        EVP_DigestFinal_ex(sha256_context, out, NULL) != 1)
        bench_die("SHA-256 failed");
}

static void hash_xxh3(const void *data, size_t len, uint8_t out[DIGEST_MAX]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, len));
    memcpy(out, canonical.digest, sizeof canonical.digest);
}

static const struct digest digests[] = {
    {"blake3", 32, hash_blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"},
    {"sha256", 32, hash_sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"xxh3_128", 16, hash_xxh3, "06b05ab6733a618578af5f94892f3950"}};
static const size_t sizes[] = {1024, 8192, 65536, 1048576};

#define DIGESTS (sizeof digests / sizeof *digests)
#define SIZES (sizeof sizes / sizeof *sizes)

static void check_abc(const struct digest *digest) {
    uint8_t out[DIGEST_MAX];
    char hex[2 * DIGEST_MAX + 1] = "";
    digest->hash("abc", 3, out);
    for (size_t i = 0; i < digest->len; i++)
        snprintf(hex + 2 * i, 3, "%02x", out[i]);
    if (strcmp(hex, digest->of_abc) != 0)
        bench_die("%s of \"abc\" is %s", digest->name, hex);
}

static void digest_setup(struct bench_run *run) {
    const struct digest_case *dc = run->c->arg;
    struct input *input = bench_alloc(sizeof *input);
    uint64_t seed = dc->size;
    check_abc(dc->digest);
    input->data = bench_alloc(dc->size);
    for (size_t i = 0; i + 8 <= dc->size; i += 8) {
        uint64_t word = bench_random(&seed);
        memcpy(input->data + i, &word, sizeof word);
    }
    dc->digest->hash(input->data, dc->size, input->first);
    run->state = input;
}

static uint64_t digest_op(struct bench_worker *worker) {
    const struct digest_case *dc = worker->run->c->arg;
    struct input *input = worker->run->state;
    bench_keep(input->data);
    dc->digest->hash(input->data, dc->size, input->last);
    bench_keep(input->last);
    return 1;
}

static void digest_check(struct bench_run *run) {
    const struct digest_case *dc = run->c->arg;
    struct input *input = run->state;
    if (memcmp(input->first, input->last, dc->digest->len) != 0)
        bench_die("%s: the digest changed", run->c->name);
    input->data[dc->size - 1] ^= 1;
    dc->digest->hash(input->data, dc->size, input->last);
    if (memcmp(input->first, input->last, dc->digest->len) == 0)
        bench_die("%s: the last byte does not count", run->c->name);
}

static void digest_teardown(struct bench_run *run) {
    struct input *input = run->state;
    free(input->data);
    free(input);
}

static void digest_list(struct bench_list *list, const struct bench_options *options) {
    static struct digest_case cases[DIGESTS][SIZES];
    (void)options;
    for (size_t d = 0; d < DIGESTS; d++) {
        for (size_t s = 0; s < SIZES; s++) {
            cases[d][s] = (struct digest_case){&digests[d], sizes[s]};
            struct bench_case c = {.stride = sizes[s] < 65536 ? 64 : 1,
                                   .bytes = (double)sizes[s],
                                   .arg = &cases[d][s],
                                   .setup = digest_setup,
                                   .op = digest_op,
                                   .check = digest_check,
                                   .teardown = digest_teardown};
            bench_add(list, &c, "digest/%s/%zu", digests[d].name, sizes[s]);
        }
    }
}

static const char *digest_version(void) {
    static char text[128];
    snprintf(text, sizeof text, "BLAKE3 %s, %s, xxHash %u", blake3_version(),
             OpenSSL_version(OPENSSL_VERSION), XXH_versionNumber());
    return text;
}

int main(int argc, char **argv) {
    static const struct bench_suite suite = {digest_list, "digest", digest_version};
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha256_context = EVP_MD_CTX_new();
    if (sha256 == NULL || sha256_context == NULL)
        bench_die("OpenSSL has no SHA-256");
    int status = bench_main(argc, argv, &suite);
    EVP_MD_CTX_free(sha256_context);
    EVP_MD_free(sha256);
    return status;
}
