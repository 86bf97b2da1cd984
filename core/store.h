/* The store behind its handle: what the files of this directory share. */
#ifndef IG_STORE_H
#define IG_STORE_H

#include "apply.h"
#include "buf.h"
#include "digest.h"
#include "front.h"
#include "index.h"
#include "l1.h"
#include "large.h"
#include "lock.h"
#include "log.h"
#include "mem.h"
#include "os.h"
#include "pending.h"
#include "segments.h"
#include "status.h"
#include "wait.h"

/* Counters of ingot_stats that the calls keep themselves. sync: atomic, relaxed. */
struct ig_counters {
    atomic_uint_fast64_t puts, puts_new, puts_duplicate, put_bytes, put_new_bytes;
    atomic_uint_fast64_t gets, get_bytes, gets_l1, gets_log, gets_file;
    atomic_uint_fast64_t index_lookups, index_hits, corruptions;
    atomic_uint_fast64_t collected_objects, cleaned_segments;
};

struct ingot_store {
    char *path; /* sync: fixed after open, like everything without a remark */
    char *log_path;
    char *objects_path;
    char *index_path;
    int lock_fd;
    pid_t pid;
    bool read_only;
    int64_t grace_ms; /* 0: none */
    int64_t limbo_ms; /* 0: none */
    struct ig_format format;
    struct ig_digest digest;
    struct ig_large large;
    struct ig_segments *segments;
    struct ig_index *index;
    struct ig_pending *pending;
    struct ig_log *log;     /* NULL when read-only */
    struct ig_apply *apply; /* NULL when read-only */
    struct ig_front *front;
    struct ig_l1 *l1;
    ingot_id *tail_ids; /* read-only: ids whose newest state is not in the index; sorted */
    size_t tail_count;
    ig_mutex gc_lock; /* held by a collection, a cleaning or a check */
    ig_mutex totals_lock;
    struct ig_totals totals; /* sync: totals_lock */
    struct ig_counters counters;
};

static inline void ig_count(atomic_uint_fast64_t *counter, uint64_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* The beginning of every call: INGOT_FORKED in a child. */
ingot_status ig_store_enter(const ingot_store *store, ingot_error *err);
/* As ig_store_enter, and INGOT_READ_ONLY where nothing can be written. */
ingot_status ig_store_enter_write(const ingot_store *store, ingot_error *err);

uint64_t ig_store_durable_seq(const ingot_store *store);
int64_t ig_store_now_ms(const ingot_store *store);

/* The state of an id as a reader may see it: pending entry, filter, index. `*ret_state` is absent
 * for an id that is not known. Without `counted` its count may be left out, which saves a lookup.
 */
ingot_status ig_store_look(ingot_store *store, const ingot_id *id, bool counted,
                           struct ig_state *ret_state, ingot_error *err);

/* Owns the entry of an id with its state resolved. */
ingot_status ig_store_own(ingot_store *store, const ingot_id *id, const struct ig_wait *wait,
                          struct ig_pend **ret_pend, ingot_error *err);

/* For a call that answers from an owned state without a record of its own to wait for: the answer
 * must not come before its state may be told. `told_seq` is the entry's; the caller owns it no
 * more. Returns `status`, or the failure of waiting. */
ingot_status ig_store_settled(ingot_store *store, uint64_t told_seq, ingot_status status,
                              const struct ig_wait *wait, ingot_error *err);

/* One record to be logged for an owned entry. */
struct ig_append {
    struct ig_record record; /* seq is filled in */
    const void *body;
    struct ig_pend *pend; /* owned by the caller */
    bool copied;          /* of what is in the log already: changes nothing that can be seen */
};
/* Reserves, writes the records and changes the entries, all in one commit group. */
ingot_status ig_store_append(ingot_store *store, struct ig_append *appends, uint32_t count,
                             bool relaxed, const struct ig_wait *wait, struct ig_slot *ret_slot,
                             ingot_error *err);
/* Waits for the slot unless relaxed. */
ingot_status ig_store_commit(ingot_store *store, const struct ig_slot *slot, bool relaxed,
                             const struct ig_wait *wait, ingot_error *err);

/* Puts one object; does not wait for the commit: *ret_slot.group is NULL if there is nothing to
 * wait for. */
struct ig_put {
    ingot_id id;
    const void *data;
    uint64_t len;
    struct ig_large_out *out; /* if not NULL: a sealed large object; data is not used */
    struct ig_pend **lease;   /* if not NULL: receives a leased entry */
    uint32_t flags;           /* INGOT_RELAXED, INGOT_NO_REF, INGOT_NO_CACHE */
    uint64_t removals;        /* out: ig_pend_removals while the object was surely there */
};
ingot_status ig_store_put_one(ingot_store *store, struct ig_put *put, const struct ig_wait *wait,
                              struct ig_slot *ret_slot, ingot_error *err);
/* Hashes, and for a large object that is new writes its file; then as ig_store_put_one. */
ingot_status ig_store_put_bytes(ingot_store *store, struct ig_put *put, const struct ig_wait *wait,
                                struct ig_slot *ret_slot, ingot_error *err);

/* Reads and verifies a whole object at a known place into `buffer` (state->size bytes), past L1. */
ingot_status ig_store_read(ingot_store *store, const ingot_id *id, const struct ig_state *state,
                           void *buffer, ingot_error *err);
ingot_status ig_store_get_buf(ingot_store *store, const ingot_id *id, bool cache,
                              ingot_buf **ret_buf, ingot_error *err);

/* Adds to the count of an object; does not wait for the commit. */
ingot_status ig_store_change_ref(ingot_store *store, const ingot_id *id, int64_t change,
                                 bool relaxed, const struct ig_wait *wait, struct ig_slot *ret_slot,
                                 int64_t *ret_refs, ingot_error *err);
void ig_store_stat_of(const struct ig_state *state, ingot_stat *ret_stat);
/* Moves the owned entry's object to limbo. */
ingot_status ig_store_bury(ingot_store *store, struct ig_pend *pend, bool relaxed,
                           const struct ig_wait *wait, struct ig_slot *ret_slot, ingot_error *err);

/* Admits to L1 unless an id of this stripe has left the store since `removals`. */
void ig_store_admit(ingot_store *store, const ingot_id *id, ingot_buf *buf, uint64_t removals);

ingot_status ig_fail_not_found(ingot_error *err, const ingot_id *id);

/* Everything accepted is durable and in the index. */
ingot_status ig_store_drain(ingot_store *store, const struct ig_wait *wait, ingot_error *err);

/* Opening in parts, for rebuild. */
ingot_status ig_store_load_format(const char *path, struct ig_format *ret_format, ingot_error *err);
ingot_status ig_store_lock(const char *path, bool shared, int64_t wait_ms, int *ret_fd,
                           ingot_error *err);
ingot_status ig_store_check_key(const struct ig_format *format, const uint8_t *key,
                                struct ig_digest *ret_digest, ingot_error *err);

#endif
