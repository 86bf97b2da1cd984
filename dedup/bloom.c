/* A block is one cache line of eight words; an id has one bit in each word of one block. Eight
 * independent bits anywhere in the block would cost the same and save 3 % of the false positives,
 * but need 72 hash bits where this takes 48.
 *
 * No false negative: bits are only ever set, and ig_bloom_add has set all eight when it returns.
 * The orders are relaxed because the filter publishes nothing by itself: whoever makes an id
 * findable after adding it does so with a lock or a release store, and that carries the bits too.
 */
#include "bloom.h"

#include "mem.h"
#include "status.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#define CACHE_LINE 64
#define BLOCK_WORDS 8
#define BLOCK_BITS (BLOCK_WORDS * 64)
/* Expected 0.66 % false positives at capacity: blocks are filled unevenly (Poisson), which costs a
 * bit an id over a filter without blocks. */
#define BITS_PER_ID 11
#define CAPACITY_MAX (UINT64_C(1) << 40)
#define KEYS 5

__extension__ typedef unsigned __int128 wide;

struct ig_bloom {
    _Atomic uint64_t *words; /* fixed after init; the words: sync: atomic, relaxed: see above */
    uint64_t blocks;         /* fixed after init, as all down to `memory` */
    uint64_t capacity;
    uint64_t keys[KEYS];
    void *memory;
    /* On a line of its own: adds must not slow the probes that read the fields above. */
    alignas(CACHE_LINE) atomic_uint_fast64_t count; /* sync: atomic, relaxed: a statistic */
};

/* SplitMix64 and its finaliser (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
 * Generators", 2014). */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t next_key(uint64_t *state) { return mix(*state += UINT64_C(0x9e3779b97f4a7c15)); }

static uint64_t fold(uint64_t a, uint64_t b) {
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Where an id's bits are: the first word of its block, and six bits of `probes` for each word. */
struct place {
    _Atomic uint64_t *block;
    uint64_t probes;
};

/* All four words of the id meet a secret key before they are multiplied: ids that agree in many
 * bytes, by chance or by choice, still fall on unrelated blocks. The products alone would leave
 * runs of such ids evenly spaced, and so clumped. */
static struct place locate(const struct ig_bloom *bloom, const ingot_id *id) {
    uint64_t w[INGOT_ID_BYTES / 8];
    memcpy(w, id->bytes, sizeof w);
    const uint64_t *k = bloom->keys;
    uint64_t hash = mix(fold(w[0] ^ k[0], w[1] ^ k[1]) ^ fold(w[2] ^ k[2], w[3] ^ k[3]));
    uint64_t block = (uint64_t)(((wide)hash * bloom->blocks) >> 64);
    return (struct place){
        .block = bloom->words + block * BLOCK_WORDS,
        .probes = mix(hash ^ k[4]),
    };
}

static uint64_t probe_bit(uint64_t probes, unsigned word) {
    return UINT64_C(1) << ((probes >> (word * 6)) & 63);
}

ingot_status ig_bloom_new(uint64_t capacity, uint64_t seed, struct ig_bloom **ret_bloom,
                          ingot_error *err) {
    if (capacity > CAPACITY_MAX)
        return ig_fail(err, INGOT_TOO_LARGE, "filter for %llu ids, more than %llu",
                       (unsigned long long)capacity, (unsigned long long)CAPACITY_MAX);
    struct ig_bloom *bloom = ig_alloc_aligned(CACHE_LINE, sizeof *bloom);
    if (bloom == NULL)
        return ig_fail_memory(err, "filter");
    memset(bloom, 0, sizeof *bloom);
    bloom->capacity = capacity;
    bloom->blocks = capacity * BITS_PER_ID / BLOCK_BITS + 1;
    for (unsigned i = 0; i < KEYS; i++)
        bloom->keys[i] = next_key(&seed);
    atomic_init(&bloom->count, 0);
    /* Zeroed pages straight from the system: a filter made for more ids than ever come does not
     * become resident. Hence the alignment by hand. */
    bloom->memory = ig_alloc_array((size_t)bloom->blocks + 1, CACHE_LINE);
    if (bloom->memory == NULL) {
        ig_free(bloom);
        return ig_fail_memory(err, "filter");
    }
    size_t pad = (0 - (uintptr_t)bloom->memory) % CACHE_LINE;
    bloom->words = (void *)((char *)bloom->memory + pad);
    *ret_bloom = bloom;
    return INGOT_OK;
}

void ig_bloom_free(struct ig_bloom *bloom) {
    if (bloom == NULL)
        return;
    ig_free(bloom->memory);
    ig_free(bloom);
}

void ig_bloom_add(struct ig_bloom *bloom, const ingot_id *id) {
    struct place place = locate(bloom, id);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        uint64_t bit = probe_bit(place.probes, i);
        /* Looking first spares the line from changing owner when the id is there already. */
        if ((atomic_load_explicit(&place.block[i], memory_order_relaxed) & bit) == 0)
            atomic_fetch_or_explicit(&place.block[i], bit, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&bloom->count, 1, memory_order_relaxed);
}

bool ig_bloom_maybe(const struct ig_bloom *bloom, const ingot_id *id) {
    struct place place = locate(bloom, id);
    uint64_t missing = 0;
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        missing |= ~atomic_load_explicit(&place.block[i], memory_order_relaxed) &
                   probe_bit(place.probes, i);
    return missing == 0;
}

uint64_t ig_bloom_count(const struct ig_bloom *bloom) {
    return atomic_load_explicit(&bloom->count, memory_order_relaxed);
}

uint64_t ig_bloom_capacity(const struct ig_bloom *bloom) { return bloom->capacity; }

uint64_t ig_bloom_bytes(const struct ig_bloom *bloom) {
    return sizeof *bloom + (bloom->blocks + 1) * CACHE_LINE;
}
