/* Stripes by keyed hash; each has a lock, a chained table and a SIEVE queue (Zhang, Yang, Yue,
 * Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024): entries stand in order of arrival, a
 * hit sets a mark and moves nothing, and a hand walks from the oldest to the newest, clearing
 * marks, until it meets an entry without one.
 *
 * Invariant: `used` is the sum of the stripes' `used`, and a stripe's `used` is exactly its entries
 * (entry and buffer) and its table. Room is reserved in `used` under the stripe's lock and filled
 * before that lock is dropped, so `used` holds no claim that nobody can evict, and it never passes
 * the budget of the moment. The budget is one for all stripes: a stripe beyond its 64th part gives
 * way first, when it wants more itself or when a stripe below its part does. No thread holds two
 * stripe locks.
 */
#include "l1.h"

#include "buf.h"
#include "lock.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#define CACHE_LINE 64
#define STRIPES 64
/* One object may take this part of the budget, so that it cannot sweep out all others. */
#define OBJECT_PART 8
#define BUCKETS_MIN 16
/* How often one insert takes room from other stripes before it gives up. */
#define ROUNDS_MAX (4 * STRIPES)

__extension__ typedef unsigned __int128 wide;

struct entry {
    struct entry *chain; /* sync: stripe lock, as all that is not fixed */
    struct entry *newer;
    struct entry *older;
    ingot_buf *buf; /* fixed after init: owned pin */
    uint64_t hash;  /* fixed after init */
    ingot_id id;    /* fixed after init */
    bool mark;
};

struct stripe {
    alignas(CACHE_LINE) ig_mutex lock;
    struct entry **buckets; /* sync: lock, down to `evictions` */
    size_t bucket_count;    /* 0 or a power of two */
    uint64_t hits;
    uint64_t misses;
    struct entry *newest;
    struct entry *oldest;
    struct entry *hand; /* where the search for a victim goes on; NULL: at the oldest */
    uint64_t entries;
    uint64_t insertions;
    uint64_t evictions;
    atomic_uint_fast64_t used; /* sync: written under lock; atomic, relaxed: peeked at as a hint */
};

struct ig_l1 {
    struct stripe *stripes; /* fixed after init */
    uint64_t keys[4];       /* fixed after init */
    /* Apart from the fields that every hit reads. */
    alignas(CACHE_LINE) atomic_uint_fast64_t used; /* sync: atomic, relaxed: a count of bytes, the
                                                      stripe locks order what it stands for */
    atomic_uint_fast64_t budget;                   /* sync: atomic, relaxed: see ig_l1_resize */
    atomic_uint next_victim;                       /* sync: atomic, relaxed: only spreads load */
};

/* ---- Hash --------------------------------------------------------------------------------- */

static uint64_t fold(uint64_t a, uint64_t b) {
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Every word of the id meets a secret key before it is multiplied, so whoever chooses objects
 * cannot choose stripes or buckets. The end is the finaliser of SplitMix64 (Steele, Lea, Flood,
 * 2014): the products alone leave runs of similar ids evenly spaced, and so clumped. */
static uint64_t hash_of(const struct ig_l1 *l1, const ingot_id *id) {
    uint64_t w[INGOT_ID_BYTES / 8];
    memcpy(w, id->bytes, sizeof w);
    const uint64_t *k = l1->keys;
    uint64_t z = fold(w[0] ^ k[0], w[1] ^ k[1]) ^ fold(w[2] ^ k[2], w[3] ^ k[3]);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The top bits choose the stripe, the low ones the bucket. */
static struct stripe *stripe_of(const struct ig_l1 *l1, uint64_t hash) {
    return &l1->stripes[hash / (UINT64_MAX / STRIPES + 1)];
}

static struct entry **bucket_of(const struct stripe *stripe, uint64_t hash) {
    return &stripe->buckets[hash & (stripe->bucket_count - 1)];
}

/* ---- Budget ------------------------------------------------------------------------------- */

static uint64_t budget_of(const struct ig_l1 *l1) {
    return atomic_load_explicit(&l1->budget, memory_order_relaxed);
}

static uint64_t used_of(const struct ig_l1 *l1) {
    return atomic_load_explicit(&l1->used, memory_order_relaxed);
}

static uint64_t stripe_used(const struct stripe *stripe) {
    return atomic_load_explicit(&stripe->used, memory_order_relaxed);
}

static void stripe_used_add_locked(struct stripe *stripe, uint64_t bytes) {
    atomic_store_explicit(&stripe->used, stripe_used(stripe) + bytes, memory_order_relaxed);
}

static bool reserve_locked(struct ig_l1 *l1, struct stripe *stripe, uint64_t bytes) {
    uint64_t budget = budget_of(l1);
    uint64_t used = used_of(l1);
    do {
        if (used > budget || bytes > budget - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&l1->used, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    stripe_used_add_locked(stripe, bytes);
    return true;
}

static void give_back_locked(struct ig_l1 *l1, struct stripe *stripe, uint64_t bytes) {
    atomic_fetch_sub_explicit(&l1->used, bytes, memory_order_relaxed);
    stripe_used_add_locked(stripe, 0 - bytes);
}

static uint64_t entry_cost(const ingot_buf *buf) {
    return sizeof(struct entry) + ig_buf_footprint(buf);
}

/* ---- Table -------------------------------------------------------------------------------- */

static size_t bucket_bytes(size_t count) { return count * sizeof(struct entry *); }

static size_t buckets_wanted(const struct stripe *stripe) {
    if (stripe->entries < stripe->bucket_count)
        return stripe->bucket_count;
    return stripe->bucket_count == 0 ? BUCKETS_MIN : stripe->bucket_count * 2;
}

/* Doubles the table, or makes the first; the room for it is reserved already. */
static bool table_grow_locked(struct stripe *stripe) {
    size_t old = stripe->bucket_count;
    size_t count = buckets_wanted(stripe);
    struct entry **buckets = ig_realloc(stripe->buckets, bucket_bytes(count));
    if (buckets == NULL)
        return false;
    memset(buckets + old, 0, bucket_bytes(count - old));
    stripe->buckets = buckets;
    stripe->bucket_count = count;
    for (size_t i = 0; i < old; i++) {
        struct entry **from = &buckets[i];
        struct entry **to = &buckets[i + old];
        while (*from != NULL) {
            struct entry *entry = *from;
            if ((entry->hash & old) == 0) {
                from = &entry->chain;
                continue;
            }
            *from = entry->chain;
            entry->chain = NULL;
            *to = entry;
            to = &entry->chain;
        }
    }
    return true;
}

/* Gives memory back when few entries are left. */
static void table_shrink_locked(struct ig_l1 *l1, struct stripe *stripe) {
    size_t old = stripe->bucket_count;
    if (stripe->entries == 0) {
        ig_free(stripe->buckets);
        stripe->buckets = NULL;
        stripe->bucket_count = 0;
        give_back_locked(l1, stripe, bucket_bytes(old));
        return;
    }
    if (old == BUCKETS_MIN || stripe->entries >= old / 8)
        return;
    size_t count = old / 2;
    for (size_t i = 0; i < count; i++) {
        struct entry **tail = &stripe->buckets[i];
        while (*tail != NULL)
            tail = &(*tail)->chain;
        *tail = stripe->buckets[i + count];
        stripe->buckets[i + count] = NULL;
    }
    stripe->bucket_count = count;
    struct entry **buckets = ig_realloc(stripe->buckets, bucket_bytes(count));
    if (buckets != NULL)
        stripe->buckets = buckets;
    give_back_locked(l1, stripe, bucket_bytes(old - count));
}

static struct entry *find_locked(const struct stripe *stripe, uint64_t hash, const ingot_id *id) {
    if (stripe->bucket_count == 0)
        return NULL;
    struct entry *entry = *bucket_of(stripe, hash);
    while (entry != NULL && (entry->hash != hash || ingot_id_compare(&entry->id, id) != 0))
        entry = entry->chain;
    return entry;
}

static void link_locked(struct stripe *stripe, struct entry *entry) {
    struct entry **bucket = bucket_of(stripe, entry->hash);
    entry->chain = *bucket;
    *bucket = entry;
    entry->older = stripe->newest;
    if (stripe->newest != NULL)
        stripe->newest->newer = entry;
    else
        stripe->oldest = entry;
    stripe->newest = entry;
    stripe->entries++;
}

/* Takes an entry out and puts it on the list `*dead`, linked by `chain`. */
static void unlink_locked(struct ig_l1 *l1, struct stripe *stripe, struct entry *entry,
                          struct entry **dead) {
    struct entry **at = bucket_of(stripe, entry->hash);
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    *(entry->newer != NULL ? &entry->newer->older : &stripe->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &stripe->oldest) = entry->newer;
    if (stripe->hand == entry)
        stripe->hand = entry->newer;
    stripe->entries--;
    give_back_locked(l1, stripe, entry_cost(entry->buf));
    table_shrink_locked(l1, stripe);
    entry->chain = *dead;
    *dead = entry;
}

/* Outside the locks: returning a large buffer to the system takes long. */
static void free_dead(struct entry *dead) {
    while (dead != NULL) {
        struct entry *next = dead->chain;
        ingot_buf_release(dead->buf);
        ig_free(dead);
        dead = next;
    }
}

/* ---- Eviction ----------------------------------------------------------------------------- */

/* Ends within two laps: the first clears every mark. */
static void evict_one_locked(struct ig_l1 *l1, struct stripe *stripe, struct entry **dead) {
    struct entry *victim = stripe->hand != NULL ? stripe->hand : stripe->oldest;
    while (victim->mark) {
        victim->mark = false;
        victim = victim->newer != NULL ? victim->newer : stripe->oldest;
    }
    stripe->hand = victim->newer;
    unlink_locked(l1, stripe, victim, dead);
    stripe->evictions++;
}

/* Until the stripe uses no more than `stripe_target`, or all of them no more than `target`. */
static void evict_down_to(struct ig_l1 *l1, struct stripe *stripe, uint64_t stripe_target,
                          uint64_t target) {
    struct entry *dead = NULL;
    ig_lock(&stripe->lock);
    while (stripe->entries > 0 && stripe_used(stripe) > stripe_target && used_of(l1) > target)
        evict_one_locked(l1, stripe, &dead);
    ig_unlock(&stripe->lock);
    free_dead(dead);
}

/* The next stripe in turn that uses more than `floor`, or NULL. */
static struct stripe *next_victim(struct ig_l1 *l1, uint64_t floor) {
    unsigned start = atomic_fetch_add_explicit(&l1->next_victim, 1, memory_order_relaxed);
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &l1->stripes[(start + i) % STRIPES];
        if (stripe_used(stripe) > floor)
            return stripe;
    }
    return NULL;
}

/* One step towards `wanted` free bytes, outside all locks: from a stripe beyond its part, else a
 * little from whoever is next, so that a large object does not empty a single stripe. */
static void make_room(struct ig_l1 *l1, uint64_t wanted) {
    uint64_t budget = budget_of(l1);
    uint64_t bite = wanted / STRIPES + 1;
    struct stripe *victim = next_victim(l1, budget / STRIPES);
    if (victim == NULL)
        victim = next_victim(l1, 0);
    if (victim == NULL)
        return;
    uint64_t used = stripe_used(victim);
    evict_down_to(l1, victim, used > bite ? used - bite : 0, budget > wanted ? budget - wanted : 0);
}

/* ---- Contract ----------------------------------------------------------------------------- */

ingot_status ig_l1_new(uint64_t budget_bytes, struct ig_l1 **ret_l1, ingot_error *err) {
    struct ig_l1 *l1 = ig_alloc_aligned(CACHE_LINE, sizeof *l1);
    struct stripe *stripes = ig_alloc_aligned(CACHE_LINE, STRIPES * sizeof *stripes);
    if (l1 == NULL || stripes == NULL) {
        ig_free(l1);
        ig_free(stripes);
        return ig_fail_memory(err, "cache");
    }
    memset(l1, 0, sizeof *l1);
    memset(stripes, 0, STRIPES * sizeof *stripes);
    if (ig_os->random(l1->keys, sizeof l1->keys) < 0) {
        ig_free(l1);
        ig_free(stripes);
        return ig_fail(err, INGOT_IO, "no randomness for the cache");
    }
    l1->stripes = stripes;
    atomic_init(&l1->used, 0);
    atomic_init(&l1->budget, budget_bytes);
    atomic_init(&l1->next_victim, 0);
    for (unsigned i = 0; i < STRIPES; i++) {
        ig_mutex_init(&stripes[i].lock, IG_RANK_CACHE);
        atomic_init(&stripes[i].used, 0);
    }
    *ret_l1 = l1;
    return INGOT_OK;
}

void ig_l1_free(struct ig_l1 *l1) {
    if (l1 == NULL)
        return;
    ig_l1_clear(l1);
    for (unsigned i = 0; i < STRIPES; i++)
        ig_mutex_release(&l1->stripes[i].lock);
    ig_free(l1->stripes);
    ig_free(l1);
}

ingot_buf *ig_l1_find(struct ig_l1 *l1, const ingot_id *id) {
    uint64_t hash = hash_of(l1, id);
    struct stripe *stripe = stripe_of(l1, hash);
    ingot_buf *buf = NULL;
    ig_lock(&stripe->lock);
    struct entry *entry = find_locked(stripe, hash, id);
    if (entry != NULL) {
        entry->mark = true;
        buf = ingot_buf_ref(entry->buf);
        stripe->hits++;
    } else {
        stripe->misses++;
    }
    ig_unlock(&stripe->lock);
    return buf;
}

enum admission { ADMITTED, REFUSED, NO_ROOM };

/* NO_ROOM: the stripe is within its part of the budget, so others have to give way; `*ret_wanted`
 * bytes are needed. */
static enum admission admit_locked(struct ig_l1 *l1, struct stripe *stripe, struct entry *entry,
                                   struct entry **dead, uint64_t *ret_wanted) {
    uint64_t cost = entry_cost(entry->buf);
    if (find_locked(stripe, entry->hash, &entry->id) != NULL)
        return REFUSED;
    for (;;) {
        uint64_t growth = bucket_bytes(buckets_wanted(stripe) - stripe->bucket_count);
        if (reserve_locked(l1, stripe, cost + growth)) {
            if (growth > 0 && !table_grow_locked(stripe)) {
                give_back_locked(l1, stripe, cost + growth);
                return REFUSED;
            }
            link_locked(stripe, entry);
            stripe->insertions++;
            return ADMITTED;
        }
        uint64_t share = budget_of(l1) / STRIPES;
        uint64_t used = stripe_used(stripe);
        bool beyond = used > share || (cost <= share && used + cost > share);
        if (stripe->entries == 0 || !beyond) {
            *ret_wanted = cost + growth;
            return NO_ROOM;
        }
        evict_one_locked(l1, stripe, dead);
    }
}

void ig_l1_insert(struct ig_l1 *l1, const ingot_id *id, ingot_buf *buf) {
    if (entry_cost(buf) > budget_of(l1) / OBJECT_PART)
        return;
    struct entry *entry = ig_alloc(sizeof *entry);
    if (entry == NULL)
        return;
    entry->id = *id;
    entry->hash = hash_of(l1, id);
    entry->buf = ingot_buf_ref(buf);
    struct stripe *stripe = stripe_of(l1, entry->hash);
    enum admission admission = NO_ROOM;
    for (unsigned round = 0; admission == NO_ROOM && round < ROUNDS_MAX; round++) {
        uint64_t wanted = 0;
        struct entry *dead = NULL;
        ig_lock(&stripe->lock);
        admission = admit_locked(l1, stripe, entry, &dead, &wanted);
        ig_unlock(&stripe->lock);
        free_dead(dead);
        if (admission == NO_ROOM)
            make_room(l1, wanted);
    }
    if (admission != ADMITTED)
        free_dead(entry);
}

bool ig_l1_remove(struct ig_l1 *l1, const ingot_id *id) {
    uint64_t hash = hash_of(l1, id);
    struct stripe *stripe = stripe_of(l1, hash);
    struct entry *dead = NULL;
    ig_lock(&stripe->lock);
    struct entry *entry = find_locked(stripe, hash, id);
    if (entry != NULL)
        unlink_locked(l1, stripe, entry, &dead);
    ig_unlock(&stripe->lock);
    free_dead(dead);
    return entry != NULL;
}

uint64_t ig_l1_clear(struct ig_l1 *l1) {
    uint64_t dropped = 0;
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &l1->stripes[i];
        struct entry *dead = NULL;
        ig_lock(&stripe->lock);
        dropped += stripe->entries;
        while (stripe->oldest != NULL)
            unlink_locked(l1, stripe, stripe->oldest, &dead);
        ig_unlock(&stripe->lock);
        free_dead(dead);
    }
    return dropped;
}

/* Ends after two laps: an insert that read the old budget did so under a stripe lock that the first
 * lap has waited for. From then on nothing raises `used` beyond the new budget, so in the second
 * lap either it falls below and stays there, or no insert succeeds and every stripe is left within
 * its part. */
void ig_l1_resize(struct ig_l1 *l1, uint64_t budget_bytes) {
    atomic_store_explicit(&l1->budget, budget_bytes, memory_order_relaxed);
    uint64_t budget = budget_bytes;
    do {
        for (unsigned i = 0; i < STRIPES; i++)
            evict_down_to(l1, &l1->stripes[i], budget / STRIPES, budget);
        budget = budget_of(l1); /* a concurrent resize has the last word */
    } while (used_of(l1) > budget);
}

void ig_l1_info(const struct ig_l1 *l1, ingot_cache_info *ret_info) {
    ingot_cache_info info = {.budget_bytes = budget_of(l1), .used_bytes = used_of(l1)};
    for (unsigned i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &l1->stripes[i];
        ig_lock(&stripe->lock);
        info.entries += stripe->entries;
        info.hits += stripe->hits;
        info.misses += stripe->misses;
        info.insertions += stripe->insertions;
        info.evictions += stripe->evictions;
        ig_unlock(&stripe->lock);
    }
    *ret_info = info;
}
