/* A blocked Bloom filter over ids: "surely absent" without asking the index.
 *
 * One cache line a probe (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom
 * Filters", 2007). Ids are uniform digests, so their bytes serve as the hash values; a random seed
 * guards against ids chosen to collide. Lock-free: adds are relaxed atomic ors. The caller orders
 * an add before the id becomes findable elsewhere (invariant I11: no false negative).
 */
#ifndef IG_BLOOM_H
#define IG_BLOOM_H

#include <ingot/ingot.h>

#include <stdbool.h>

struct ig_bloom;

/* For `capacity` ids at about 1 % false positives (about 10 to 12 bits an id). */
ingot_status ig_bloom_new(uint64_t capacity, uint64_t seed, struct ig_bloom **ret_bloom,
                          ingot_error *err);
void ig_bloom_free(struct ig_bloom *bloom);
void ig_bloom_add(struct ig_bloom *bloom, const ingot_id *id);
/* False: never added. True: probably added. */
bool ig_bloom_maybe(const struct ig_bloom *bloom, const ingot_id *id);
/* Adds so far (counted, not distinct), capacity it was made for, bytes of memory. */
uint64_t ig_bloom_count(const struct ig_bloom *bloom);
uint64_t ig_bloom_capacity(const struct ig_bloom *bloom);
uint64_t ig_bloom_bytes(const struct ig_bloom *bloom);

#endif
