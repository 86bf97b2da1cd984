/* What the files of this module share. */
#ifndef IG_INDEX_INTERNAL_H
#define IG_INDEX_INTERNAL_H

#include "codec.h"
#include "lock.h"

#include <rocksdb/c.h>

/* sync: fixed after open but for what `gate` guards; RocksDB guards itself. */
struct ig_index {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[IG_FAMILIES];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *read_durable; /* sees only what is in table files */
    rocksdb_writeoptions_t *write;
    rocksdb_compactoptions_t *flush;
    char *path;
    bool read_only;

    ig_mutex gate; /* IG_RANK_LEAF, though held across a RocksDB write: that calls nobody back */
    ig_cond moved; /* `flushing` was cleared */
    struct ig_mark mark; /* of the last batch. sync: gate */
    bool flushing;       /* sync: gate */
    uint64_t sealed;     /* the generation in the seal. sync: gate */
    int seal_fd;         /* -1: not open. Written by whoever set `flushing` */
};

struct ig_family_set {
    rocksdb_options_t *options[IG_FAMILIES]; /* [IG_FAMILY_DEFAULT] also has the database's */
};

extern const char *const ig_family_names[IG_FAMILIES];

void ig_family_set_init(struct ig_family_set *set, rocksdb_cache_t *cache, bool create);
void ig_family_set_release(struct ig_family_set *set);

/* For "refs" and "meta"; taken by the options they are given to. */
rocksdb_mergeoperator_t *ig_refs_merge(void);
rocksdb_mergeoperator_t *ig_counter_merge(void);

/* The status behind a RocksDB error text. */
ingot_status ig_index_status_of(const char *error);
/* Fails with "<index path>: <what>: <error>" and frees `error`. */
ingot_status ig_index_fail(const struct ig_index *index, ingot_error *err, char *error,
                           const char *what);
/* The same for one entry, which the message names. `error` NULL: its value does not decode. */
ingot_status ig_index_fail_entry(const struct ig_index *index, ingot_error *err, char *error,
                                 enum ig_family family, const void *key, size_t key_len);

/* The value at `key`, borrowed until rocksdb_pinnableslice_destroy. */
ingot_status ig_index_find(struct ig_index *index, const rocksdb_readoptions_t *read,
                           enum ig_family family, const void *key, size_t key_len,
                           rocksdb_pinnableslice_t **ret_value, ingot_error *err);
/* The watermark. */
ingot_status ig_index_mark(struct ig_index *index, const rocksdb_readoptions_t *read,
                           struct ig_mark *ret_mark, ingot_error *err);

ingot_status ig_seal_open(struct ig_index *index, bool create, ingot_error *err);
ingot_status ig_seal_read(const struct ig_index *index, uint64_t *ret_generation, ingot_error *err);
ingot_status ig_seal_write(struct ig_index *index, uint64_t generation, ingot_error *err);

/* Writes the current watermark again. */
ingot_status ig_index_touch_locked(struct ig_index *index, ingot_error *err);
/* Waits until a batch may be written; see flush.c. */
void ig_index_pass_gate_locked(struct ig_index *index);

#endif
