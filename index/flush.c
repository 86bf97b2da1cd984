/* Making everything durable at once.
 *
 * rocksdb_flush_cf flushes one family even with atomic_flush, and the call that takes several
 * families is not in the C API before RocksDB 8. Compacting a whole range does what is needed: it
 * first flushes all families atomically, and of the default family, which is empty, there is
 * nothing left to compact. Two things are missing, and made up for here.
 *
 * It reports no error. So the proof of success is taken from the table files: the watermark in them
 * must be the one before the flush or a later one.
 *
 * Before RocksDB 8 it chooses the families that are not empty before it shuts writers out
 * (facebook/rocksdb pull request 11148). A batch that comes in between puts entries into families
 * that were not chosen, and the flush then tears it apart. So writers wait at a gate from before
 * the choice until the memtables have been switched. That moment shows from outside: the watermark
 * keeps the memtable of meta from being empty, and the switch empties it. The switch happens with
 * writers shut out by RocksDB, so a batch that passes the gate then goes wholly into the new
 * memtables. Flushes that RocksDB starts by itself choose with writers shut out. */
#include "internal.h"
#include "status.h"

#define GATE_POLL_NS UINT64_C(100000)

static bool meta_memtable_is_empty(struct ig_index *index) {
    uint64_t entries = 0;
    return rocksdb_property_int_cf(index->db, index->families[IG_FAMILY_META],
                                   "rocksdb.num-entries-active-mem-table", &entries) == 0 &&
           entries == 0;
}

void ig_index_pass_gate_locked(struct ig_index *index) {
    while (index->flushing && !meta_memtable_is_empty(index))
        (void)ig_cond_wait_ns(&index->moved, &index->gate, GATE_POLL_NS);
}

/* Whether what has been written is in table files, up to `generation`. */
static bool is_durable(struct ig_index *index, uint64_t generation) {
    struct ig_mark mark;
    return ig_index_mark(index, index->read_durable, &mark, NULL) == INGOT_OK &&
           mark.generation >= generation;
}

/* Takes the turn to flush. *ret_generation is what the flush must reach; 0: nothing to do. */
static ingot_status begin_locked(struct ig_index *index, uint64_t *ret_generation,
                                 ingot_error *err) {
    while (index->flushing)
        ig_cond_wait(&index->moved, &index->gate);
    *ret_generation = 0;
    if (index->sealed >= index->mark.generation)
        return INGOT_OK;
    if (meta_memtable_is_empty(index)) {
        ingot_status status = ig_index_touch_locked(index, err);
        if (status != INGOT_OK)
            return status;
    }
    *ret_generation = index->mark.generation;
    index->flushing = true;
    return INGOT_OK;
}

/* Why the tables lack what was to be flushed. Flushing the empty family moves nothing and returns
 * the error that stopped the database. */
static ingot_status fail_flush(struct ig_index *index, ingot_error *err) {
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush_cf(index->db, options, index->families[IG_FAMILY_DEFAULT], &error);
    rocksdb_flushoptions_destroy(options);
    if (error != NULL)
        return ig_index_fail(index, err, error, "flush failed");
    return ig_fail(err, INGOT_IO, "index %s: flush failed", index->path);
}

ingot_status ig_index_flush(struct ig_index *index, ingot_error *err) {
    if (index->read_only)
        return INGOT_OK;
    uint64_t generation;
    ig_lock(&index->gate);
    ingot_status status = begin_locked(index, &generation, err);
    ig_unlock(&index->gate);
    if (status != INGOT_OK || generation == 0)
        return status;
    rocksdb_compact_range_cf_opt(index->db, index->families[IG_FAMILY_DEFAULT], index->flush, NULL,
                                 0, NULL, 0);
    status = is_durable(index, generation) ? ig_seal_write(index, generation, err)
                                           : fail_flush(index, err);
    ig_lock(&index->gate);
    if (status == INGOT_OK)
        index->sealed = generation;
    index->flushing = false;
    ig_cond_wake_all(&index->moved);
    ig_unlock(&index->gate);
    return status;
}
