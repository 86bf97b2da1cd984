/* Large objects: one file each under objects/, and verified reading of any range of them.
 *
 * Writing goes to an unnamed file (O_TMPFILE), hashed on the way group by group; when all of it is
 * synced the file gets its name. Reading verifies every 64 KiB group before its bytes are handed
 * out, against the chaining values in ID.tree, which are themselves verified against the id.
 */
#ifndef IG_LARGE_H
#define IG_LARGE_H

#include "b3tree.h"
#include "digest.h"

#include <stdbool.h>

struct ig_large {
    const char *directory; /* STORE/objects; sync: fixed after init, like all here */
    const struct ig_digest *digest;
    bool direct;
    bool read_only;
};

/* Makes the 256 directories of a new store. */
ingot_status ig_large_create(const char *directory, ingot_error *err);

struct ig_large_out;
ingot_status ig_large_begin(const struct ig_large *large, struct ig_large_out **ret_out,
                            ingot_error *err);
ingot_status ig_large_append(struct ig_large_out *out, const void *data, size_t len,
                             ingot_error *err);
/* Writes the rest and syncs the file; the object's id and size. */
ingot_status ig_large_seal(struct ig_large_out *out, ingot_id *ret_id, uint64_t *ret_size,
                           ingot_error *err);
/* Gives the sealed file its name, durably. The caller owns the id's entry. A file of that name that
 * is there already is an orphan or in limbo, and is replaced. */
ingot_status ig_large_publish(struct ig_large_out *out, const ingot_id *id, ingot_error *err);
/* Frees; what was not published leaves nothing behind. */
void ig_large_end(struct ig_large_out *out);

struct ig_large_in;
/* INGOT_CORRUPT if the file is missing, has another size, or does not hash to the id. */
ingot_status ig_large_open(const struct ig_large *large, const ingot_id *id, uint64_t size,
                           struct ig_large_in **ret_in, ingot_error *err);
/* Exactly `len` verified bytes from `offset`, which must lie in the object. */
ingot_status ig_large_read(struct ig_large_in *in, uint64_t offset, void *buffer, size_t len,
                           ingot_error *err);
void ig_large_close(struct ig_large_in *in);

/* Hashes the whole file, past the tree. */
ingot_status ig_large_verify(const struct ig_large *large, const ingot_id *id, uint64_t size,
                             ingot_error *err);

/* Removes the object's files. The caller owns the id's entry and has made its PURGE durable. */
ingot_status ig_large_remove(const struct ig_large *large, const ingot_id *id, ingot_error *err);
/* Calls `visit` for the id of every object file. Other names are passed over. */
ingot_status ig_large_each(const struct ig_large *large,
                           ingot_status (*visit)(void *context, const ingot_id *id,
                                                 ingot_error *err),
                           void *context, ingot_error *err);

/* "DIRECTORY/ab/abcd…" + suffix, owned; NULL without memory. */
char *ig_large_path(const struct ig_large *large, const ingot_id *id, const char *suffix);

#endif
