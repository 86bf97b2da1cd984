/* BLAKE3 as the Merkle tree that it is: chaining values of 64 KiB groups, from which any range of
 * an object can be verified against its id.
 *
 * A group is 64 chunks of 1 KiB, a complete subtree (BLAKE3 specification, section 2.1; the layout
 * is that of Bao with chunk groups). An object of n groups (n = ceil(size / 64 KiB), n >= 2) has n
 * chaining values; their left-balanced binary tree of parent nodes ends in the root, the id. Plain
 * and keyed BLAKE3; SHA-256 has no tree. Built on the official kernels (blake3_impl.h).
 *
 * Chaining values are trusted only after ig_b3_root has led from all of them to the id. All calls
 * are thread-safe and allocate nothing. A digest of another kind, or a count or length outside the
 * stated bounds, is a programmer's error and aborts: check what comes from a device first.
 */
#ifndef IG_B3TREE_H
#define IG_B3TREE_H

#include "digest.h"

#define IG_B3_GROUP 65536
#define IG_B3_CV 32

/* Groups of an object of `size` bytes; 0 for an empty one. */
uint64_t ig_b3_groups(uint64_t size);

/* The chaining value of group number `group`, counted from 0: `len` is IG_B3_GROUP, less only for
 * the last one, never 0. The object must have at least two groups. */
void ig_b3_group_cv(const struct ig_digest *digest, const void *data, size_t len, uint64_t group,
                    uint8_t ret_cv[IG_B3_CV]);

/* The id from all groups' chaining values, `groups` >= 2, one after another in `cvs`. */
void ig_b3_root(const struct ig_digest *digest, const uint8_t *cvs, uint64_t groups,
                ingot_id *ret_id);

#endif
