/* Digests: known answers, misuse, threads, and that hashing allocates nothing. */
#include "digest.h"

#include "blake3_impl.h"
#include "bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- Counting allocations ---- */

static atomic_ulong allocations; /* sync: atomic, relaxed: read by the thread that allocates */

static void count_allocation(void) {
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
/* Both compilers' runtimes have it, only clang brings the header. */
extern int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *,
                                                                       size_t),
                                                     void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *memory, size_t size) {
    (void)memory;
    (void)size;
    count_allocation();
}
static void on_free(const volatile void *memory) { (void)memory; }
static void start_counting(void) { __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free); }
#else
/* Interposed for the whole program, shared libraries included. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    count_allocation();
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    count_allocation();
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    count_allocation();
    return __libc_realloc(memory, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    count_allocation();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **ret_memory, size_t alignment, size_t size) {
    count_allocation();
    *ret_memory = __libc_memalign(alignment, size);
    return *ret_memory == NULL ? ENOMEM : 0;
}
static void start_counting(void) {}
#endif

/* ---- Common ---- */

static uint64_t seed;
static uint64_t random_state;

/* SplitMix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(void) {
    uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
static size_t random_below(size_t bound) { return (size_t)(next_random() % bound); }
static void random_bytes(uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)next_random();
}

static int restart_random(void **state) {
    (void)state;
    random_state = seed;
    return 0;
}

static const uint32_t kinds[] = {INGOT_DIGEST_BLAKE3, INGOT_DIGEST_SHA256,
                                 INGOT_DIGEST_BLAKE3_KEYED};
#define KINDS (sizeof kinds / sizeof kinds[0])

static const uint8_t a_key[INGOT_KEY_BYTES + 1] = "whats the Elvish word for friend";

static void init(struct ig_digest *digest, uint32_t kind) {
    const uint8_t *key = kind == INGOT_DIGEST_BLAKE3_KEYED ? a_key : NULL;
    assert_int_equal(ig_digest_init(digest, kind, key, NULL), INGOT_OK);
}

static void from_hex(const char *hex, uint8_t *ret_bytes, size_t len) {
    assert_true(strlen(hex) >= 2 * len);
    for (size_t i = 0; i < len; i++)
        ret_bytes[i] = (uint8_t)(ig_hex_digit(hex[2 * i]) << 4 | ig_hex_digit(hex[2 * i + 1]));
}

static void assert_id(const ingot_id *id, const char *hex) {
    char actual[INGOT_ID_HEX + 1];
    ingot_id_format(id, actual);
    assert_string_equal(actual, hex);
}

/* Feeds the bytes in pieces of random size, empty ones included. */
static void hash_in_pieces(const struct ig_digest *digest, const uint8_t *data, size_t len,
                           ingot_id *ret_id) {
    struct ig_hasher hasher;
    ig_hasher_init(&hasher, digest);
    size_t most = (size_t)1 << random_below(18);
    for (size_t at = 0; at < len;) {
        size_t piece = random_below(most + 1);
        piece = piece < len - at ? piece : len - at;
        ig_hasher_update(&hasher, data + at, piece);
        at += piece;
    }
    ig_hasher_finish(&hasher, ret_id);
}

/* ---- Threads. First in the program, so that the first use of BLAKE3 is a concurrent one. ---- */

#define THREADS 64
#define THREAD_INPUT_MAX 70000
#define THREAD_ROUNDS 6

struct hash_thread {
    pthread_t thread;
    pthread_barrier_t *start;
    const uint8_t *data;
    size_t len[THREAD_ROUNDS];
    ingot_id whole[THREAD_ROUNDS][KINDS];
    ingot_id halves[THREAD_ROUNDS][KINDS];
    bool ok;
};

static void *hash_thread(void *arg) {
    struct hash_thread *self = arg;
    struct ig_digest digests[KINDS];
    self->ok = true;
    pthread_barrier_wait(self->start);
    for (size_t k = 0; k < KINDS; k++) {
        const uint8_t *key = kinds[k] == INGOT_DIGEST_BLAKE3_KEYED ? a_key : NULL;
        self->ok &= ig_digest_init(&digests[k], kinds[k], key, NULL) == INGOT_OK;
    }
    for (size_t round = 0; self->ok && round < THREAD_ROUNDS; round++) {
        for (size_t k = 0; k < KINDS; k++) {
            size_t len = self->len[round];
            ig_digest_hash(&digests[k], self->data, len, &self->whole[round][k]);
            struct ig_hasher hasher;
            ig_hasher_init(&hasher, &digests[k]);
            ig_hasher_update(&hasher, self->data, len / 2);
            ig_hasher_update(&hasher, self->data + len / 2, len - len / 2);
            ig_hasher_finish(&hasher, &self->halves[round][k]);
        }
    }
    return NULL;
}

static void test_digest__threads_hash_at_the_same_time(void **state) {
    (void)state;
    struct hash_thread *threads = calloc(THREADS, sizeof *threads);
    uint8_t *data = malloc(THREAD_INPUT_MAX);
    assert_true(threads != NULL && data != NULL);
    random_bytes(data, THREAD_INPUT_MAX);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (size_t t = 0; t < THREADS; t++) {
        threads[t].start = &start;
        threads[t].data = data;
        for (size_t round = 0; round < THREAD_ROUNDS; round++)
            threads[t].len[round] = random_below(THREAD_INPUT_MAX + 1);
        assert_int_equal(pthread_create(&threads[t].thread, NULL, hash_thread, &threads[t]), 0);
    }
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(threads[t].thread, NULL);
    for (size_t k = 0; k < KINDS; k++) {
        struct ig_digest digest;
        init(&digest, kinds[k]);
        for (size_t t = 0; t < THREADS; t++) {
            assert_true(threads[t].ok);
            for (size_t round = 0; round < THREAD_ROUNDS; round++) {
                size_t len = threads[t].len[round];
                assert_true(ig_digest_matches(&digest, data, len, &threads[t].whole[round][k]));
                assert_true(ig_digest_matches(&digest, data, len, &threads[t].halves[round][k]));
            }
        }
    }
    pthread_barrier_destroy(&start);
    free(data);
    free(threads);
}

/* ---- BLAKE3's official vectors ---- */

#define VECTOR_INPUT_MAX 102400
#define VECTOR_OUT_MAX 131

struct vectors {
    json_t *root;
    const uint8_t *key;
    const char *context;
    uint8_t input[VECTOR_INPUT_MAX];
};

static int load_vectors(void **state) {
    restart_random(state);
    struct vectors *vectors = calloc(1, sizeof *vectors);
    assert_non_null(vectors);
    vectors->root = json_load_file(INGOT_TEST_DATA "/blake3_test_vectors.json", 0, NULL);
    assert_non_null(vectors->root);
    vectors->key = (const uint8_t *)json_string_value(json_object_get(vectors->root, "key"));
    vectors->context = json_string_value(json_object_get(vectors->root, "context_string"));
    assert_true(json_array_size(json_object_get(vectors->root, "cases")) == 35);
    for (size_t i = 0; i < VECTOR_INPUT_MAX; i++)
        vectors->input[i] = (uint8_t)(i % 251);
    *state = vectors;
    return 0;
}

static int free_vectors(void **state) {
    struct vectors *vectors = *state;
    json_decref(vectors->root);
    free(vectors);
    return 0;
}

static size_t case_len(const json_t *vector) {
    size_t len = (size_t)json_integer_value(json_object_get(vector, "input_len"));
    assert_true(len <= VECTOR_INPUT_MAX);
    return len;
}

/* Every case of one mode: at once, in pieces and by comparison. */
static void check_vectors(struct vectors *vectors, const char *mode, uint32_t kind) {
    struct ig_digest digest;
    const uint8_t *key = kind == INGOT_DIGEST_BLAKE3_KEYED ? vectors->key : NULL;
    assert_int_equal(ig_digest_init(&digest, kind, key, NULL), INGOT_OK);
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(vectors->root, "cases"), i, vector) {
        size_t len = case_len(vector);
        ingot_id expected, actual;
        from_hex(json_string_value(json_object_get(vector, mode)), expected.bytes, INGOT_ID_BYTES);
        ig_digest_hash(&digest, vectors->input, len, &actual);
        assert_memory_equal(actual.bytes, expected.bytes, INGOT_ID_BYTES);
        assert_true(ig_digest_matches(&digest, vectors->input, len, &expected));
        for (int round = 0; round < 8; round++) {
            hash_in_pieces(&digest, vectors->input, len, &actual);
            assert_memory_equal(actual.bytes, expected.bytes, INGOT_ID_BYTES);
        }
    }
    ig_digest_release(&digest);
}

static void test_digest__blake3_official_vectors(void **state) {
    check_vectors(*state, "hash", INGOT_DIGEST_BLAKE3);
}

static void test_digest__blake3_keyed_official_vectors(void **state) {
    check_vectors(*state, "keyed_hash", INGOT_DIGEST_BLAKE3_KEYED);
}

/* The compiled sources themselves, in all three modes and with extended output. */
static void test_digest__blake3_sources_official_vectors(void **state) {
    struct vectors *vectors = *state;
    static const char *const modes[] = {"hash", "keyed_hash", "derive_key"};
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(vectors->root, "cases"), i, vector) {
        for (size_t mode = 0; mode < 3; mode++) {
            const char *hex = json_string_value(json_object_get(vector, modes[mode]));
            uint8_t expected[VECTOR_OUT_MAX], actual[VECTOR_OUT_MAX];
            assert_true(strlen(hex) == 2 * sizeof expected);
            from_hex(hex, expected, sizeof expected);
            blake3_hasher hasher;
            if (mode == 0)
                blake3_hasher_init(&hasher);
            else if (mode == 1)
                blake3_hasher_init_keyed(&hasher, vectors->key);
            else
                blake3_hasher_init_derive_key(&hasher, vectors->context);
            blake3_hasher_update(&hasher, vectors->input, case_len(vector));
            blake3_hasher_finalize(&hasher, actual, sizeof actual);
            assert_memory_equal(actual, expected, sizeof expected);
            size_t seek = random_below(sizeof actual);
            blake3_hasher_finalize_seek(&hasher, seek, actual, sizeof actual - seek);
            assert_memory_equal(actual, expected + seek, sizeof actual - seek);
        }
    }
}

/* ---- SHA-256 ---- */

/* FIPS 180-4 examples of the NIST Cryptographic Standards and Guidelines collection. */
static void test_digest__sha256_known_answers(void **state) {
    (void)state;
    static const char abc[] = "abc";
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    struct ig_digest digest;
    ingot_id id;
    init(&digest, INGOT_DIGEST_SHA256);
    ig_digest_hash(&digest, NULL, 0, &id);
    assert_id(&id, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ig_digest_hash(&digest, abc, strlen(abc), &id);
    assert_id(&id, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ig_digest_hash(&digest, two_blocks, strlen(two_blocks), &id);
    assert_id(&id, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    struct ig_hasher hasher;
    ig_hasher_init(&hasher, &digest);
    char piece[1000];
    memset(piece, 'a', sizeof piece);
    for (int i = 0; i < 1000; i++)
        ig_hasher_update(&hasher, piece, sizeof piece);
    ig_hasher_finish(&hasher, &id);
    assert_id(&id, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_digest__sha256_pieces_equal_the_whole(void **state) {
    (void)state;
    static uint8_t data[200000];
    struct ig_digest digest;
    init(&digest, INGOT_DIGEST_SHA256);
    random_bytes(data, sizeof data);
    for (int round = 0; round < 40; round++) {
        size_t len = random_below(sizeof data + 1);
        ingot_id whole, pieces;
        ig_digest_hash(&digest, data, len, &whole);
        hash_in_pieces(&digest, data, len, &pieces);
        assert_memory_equal(pieces.bytes, whole.bytes, INGOT_ID_BYTES);
    }
}

/* ---- The interface ---- */

static void test_digest__blake3_hasher_goes_on_after_finish(void **state) {
    (void)state;
    static uint8_t data[5000];
    random_bytes(data, sizeof data);
    struct ig_digest digest;
    init(&digest, INGOT_DIGEST_BLAKE3_KEYED);
    struct ig_hasher hasher;
    ig_hasher_init(&hasher, &digest);
    for (size_t at = 0; at < sizeof data; at += 500) {
        ingot_id so_far;
        ig_hasher_update(&hasher, data + at, 500);
        ig_hasher_finish(&hasher, &so_far);
        assert_true(ig_digest_matches(&digest, data, at + 500, &so_far));
    }
}

static void test_digest__one_changed_bit_does_not_match(void **state) {
    (void)state;
    static uint8_t data[3000];
    random_bytes(data, sizeof data);
    for (size_t k = 0; k < KINDS; k++) {
        struct ig_digest digest;
        init(&digest, kinds[k]);
        ingot_id id;
        ig_digest_hash(&digest, data, sizeof data, &id);
        assert_true(ig_digest_matches(&digest, data, sizeof data, &id));
        assert_false(ig_digest_matches(&digest, data, sizeof data - 1, &id));
        for (int round = 0; round < 50; round++) {
            size_t at = random_below(sizeof data);
            uint8_t bit = (uint8_t)(1u << random_below(8));
            data[at] ^= bit;
            assert_false(ig_digest_matches(&digest, data, sizeof data, &id));
            data[at] ^= bit;
            size_t id_at = random_below(INGOT_ID_BYTES);
            id.bytes[id_at] ^= bit;
            assert_false(ig_digest_matches(&digest, data, sizeof data, &id));
            id.bytes[id_at] ^= bit;
        }
    }
}

static void test_digest__ids_depend_on_the_key(void **state) {
    (void)state;
    uint8_t other_key[INGOT_KEY_BYTES];
    memcpy(other_key, a_key, sizeof other_key);
    other_key[31] ^= 1;
    struct ig_digest plain, one, other;
    init(&plain, INGOT_DIGEST_BLAKE3);
    init(&one, INGOT_DIGEST_BLAKE3_KEYED);
    assert_int_equal(ig_digest_init(&other, INGOT_DIGEST_BLAKE3_KEYED, other_key, NULL), INGOT_OK);
    ingot_id id;
    ig_digest_hash(&one, "x", 1, &id);
    assert_false(ig_digest_matches(&plain, "x", 1, &id));
    assert_false(ig_digest_matches(&other, "x", 1, &id));
}

static void test_digest__a_key_where_none_belongs_or_none_where_one_does(void **state) {
    (void)state;
    static const struct {
        uint32_t kind;
        const uint8_t *key;
        ingot_status status;
    } cases[] = {
        {INGOT_DIGEST_BLAKE3_KEYED, NULL, INGOT_WRONG_KEY},
        {INGOT_DIGEST_BLAKE3, a_key, INGOT_WRONG_KEY},
        {INGOT_DIGEST_SHA256, a_key, INGOT_WRONG_KEY},
        {0, NULL, INGOT_USAGE},
        {4, NULL, INGOT_USAGE},
        {UINT32_MAX, a_key, INGOT_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ig_digest digest, before;
        memset(&digest, 0x5A, sizeof digest);
        before = digest;
        ingot_error err = INGOT_ERROR_INIT;
        assert_int_equal(ig_digest_init(&digest, cases[i].kind, cases[i].key, &err),
                         cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        assert_true(err.message[0] != '\0');
        assert_null(strstr(err.message, (const char *)a_key));
        assert_memory_equal(&digest, &before, sizeof digest);
        assert_int_equal(ig_digest_init(&digest, cases[i].kind, cases[i].key, NULL),
                         cases[i].status);
    }
}

static void test_digest__release_wipes_the_key(void **state) {
    (void)state;
    static const uint8_t zeros[INGOT_KEY_BYTES];
    struct ig_digest digest;
    init(&digest, INGOT_DIGEST_BLAKE3_KEYED);
    assert_memory_equal(digest.key, a_key, INGOT_KEY_BYTES);
    ig_digest_release(&digest);
    assert_memory_equal(digest.key, zeros, INGOT_KEY_BYTES);
    ig_digest_release(&digest);
    ig_digest_release(NULL);
}

static void test_digest__names_and_back(void **state) {
    (void)state;
    assert_string_equal(ig_digest_name(INGOT_DIGEST_BLAKE3), "blake3");
    assert_string_equal(ig_digest_name(INGOT_DIGEST_SHA256), "sha256");
    assert_string_equal(ig_digest_name(INGOT_DIGEST_BLAKE3_KEYED), "blake3-keyed");
    assert_null(ig_digest_name(0));
    assert_null(ig_digest_name(4));
    assert_null(ig_digest_name(UINT32_MAX));
    for (size_t k = 0; k < KINDS; k++)
        assert_int_equal(ig_digest_by_name(ig_digest_name(kinds[k])), kinds[k]);
    static const char *const unknown[] = {"", "blake", "blake3 ", "BLAKE3", "blake3-keyedx", "md5"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_int_equal(ig_digest_by_name(unknown[i]), 0);
}

/* Recorded in stores: it may never change. */
static void test_digest__key_check_is_frozen(void **state) {
    (void)state;
    struct ig_digest digest;
    init(&digest, INGOT_DIGEST_BLAKE3_KEYED);
    ingot_id check;
    ig_digest_key_check(a_key, check.bytes);
    assert_id(&check, "75ce1a8702de5e50e74d5ba87bf7e3af87fab9b3dc2e3c485717b63271963a27");
    assert_true(ig_digest_matches(&digest, "ingot key check 1", 17, &check));
    uint8_t other_key[INGOT_KEY_BYTES] = {0};
    ingot_id other;
    ig_digest_key_check(other_key, other.bytes);
    assert_memory_not_equal(other.bytes, check.bytes, INGOT_ID_BYTES);
}

/* ---- Memory ---- */

static void test_digest__allocations_are_counted(void **state) {
    (void)state;
    unsigned long before = atomic_load(&allocations);
    void *volatile memory = malloc(10);
    free(memory);
    memory = calloc(1, 10);
    free(memory);
    assert_true(atomic_load(&allocations) == before + 2);
}

static void test_digest__hashing_allocates_nothing(void **state) {
    (void)state;
    static uint8_t data[65536];
    random_bytes(data, sizeof data);
    struct ig_digest digests[KINDS];
    ingot_id id;
    unsigned long before = atomic_load(&allocations);
    for (size_t k = 0; k < KINDS; k++)
        init(&digests[k], kinds[k]);
    for (size_t len = 1024; len <= sizeof data; len += 512) {
        for (size_t k = 0; k < KINDS; k++) {
            ig_digest_hash(&digests[k], data, len, &id);
            (void)ig_digest_matches(&digests[k], data + 1, len - 1, &id);
            struct ig_hasher hasher;
            ig_hasher_init(&hasher, &digests[k]);
            ig_hasher_update(&hasher, data, len / 3);
            ig_hasher_update(&hasher, data + len / 3, len - len / 3);
            ig_hasher_finish(&hasher, &id);
        }
    }
    ig_digest_key_check(a_key, id.bytes);
    assert_true(atomic_load(&allocations) == before);
}

int main(int argc, char **argv) {
    seed = (uint64_t)time(NULL);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        seed = strtoull(argv[2], NULL, 0);
    print_message("seed %" PRIu64 "\n", seed);
    start_counting();
#define CASE(name) cmocka_unit_test_setup(name, restart_random)
#define VECTORS(name) cmocka_unit_test_setup_teardown(name, load_vectors, free_vectors)
    const struct CMUnitTest tests[] = {
        CASE(test_digest__threads_hash_at_the_same_time),
        VECTORS(test_digest__blake3_official_vectors),
        VECTORS(test_digest__blake3_keyed_official_vectors),
        VECTORS(test_digest__blake3_sources_official_vectors),
        CASE(test_digest__sha256_known_answers),
        CASE(test_digest__sha256_pieces_equal_the_whole),
        CASE(test_digest__blake3_hasher_goes_on_after_finish),
        CASE(test_digest__one_changed_bit_does_not_match),
        CASE(test_digest__ids_depend_on_the_key),
        CASE(test_digest__a_key_where_none_belongs_or_none_where_one_does),
        CASE(test_digest__release_wipes_the_key),
        CASE(test_digest__names_and_back),
        CASE(test_digest__key_check_is_frozen),
        CASE(test_digest__allocations_are_counted),
        CASE(test_digest__hashing_allocates_nothing),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
