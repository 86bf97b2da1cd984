/* ingot: a concurrent, content-addressed object store in a library.
 *
 * GUARANTEES
 *   - A put that returned INGOT_OK is durable: a power cut takes neither the object nor its
 *     reference. (INGOT_RELAXED trades this for speed; ingot_store_sync is then the barrier.)
 *   - Bytes handed out hash to the id that was asked for. Damage is an error, never wrong bytes
 *     and never "not found".
 *   - What has a reference, or is leased by an open session or reader, is never collected,
 *     whatever runs beside the collector.
 *   - An id is the plain digest of the object's bytes: b3sum (or sha256sum) agrees with it.
 *
 * LIMITS
 *   - One process opens a store for writing, any number of threads use it. While nobody writes,
 *     any number of processes may open it with INGOT_OPEN_READ_ONLY.
 *   - One object: 0 to INGOT_OBJECT_MAX bytes. ingot_store_get hands out at most INGOT_VIEW_MAX
 *     bytes; larger objects are read by range or with an ingot_reader.
 *   - A handle does not survive fork(): the child's calls are refused with INGOT_FORKED.
 *
 * CAVEATS
 *   - A durable call that fails with INGOT_TIMEOUT or INGOT_CANCELLED after its record was queued
 *     has an unknown outcome: the change is there entirely or not at all, and stays so.
 *   - After a failed write or sync of the log the store is read-only until reopened: what the
 *     kernel says after a failed sync cannot be trusted.
 *   - Network file systems are not supported: the lock and the sync are only as good as theirs.
 *
 * THREADS. Every call on ingot_store may be made from any thread at any time, except close.
 * ingot_writer, ingot_reader and ingot_batch belong to one thread at a time. ingot_queue may be
 * submitted to and waited on from any thread. Library threads never call user code; no signal
 * handler is installed; calls are EINTR-safe.
 *
 * OWNERSHIP. "borrowed" pointers are used until the call returns and no longer, unless the text
 * says until when. "owned" results are released with the call that is named. Every free, close and
 * release accepts NULL. Outputs are written only on success, except the error object.
 *
 * STATUS. Every fallible call returns ingot_status: 0 or a positive answer on success, negative on
 * failure. The last parameter, where there is one, is an optional ingot_error that receives the
 * text: what failed, on which file or id.
 *
 * OPTIONS. Structures that start with `size` are initialised with their _INIT macro; a zero field
 * means the documented default; NULL means all defaults.
 */
#ifndef INGOT_H
#define INGOT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_VERSION_MAJOR 0
#define INGOT_VERSION_MINOR 1
#define INGOT_VERSION_PATCH 0
#define INGOT_VERSION_STRING "0.1.0"

/* The version of the on-disk format this library writes and the only one it opens. */
#define INGOT_FORMAT_VERSION 1

#if defined(__GNUC__)
#define INGOT_API __attribute__((visibility("default")))
#define INGOT_MUST_CHECK __attribute__((warn_unused_result))
#else
#define INGOT_API
#define INGOT_MUST_CHECK
#endif

/* ---- Status ------------------------------------------------------------------------------- */

/* X(name, value, text). Values are frozen: they are never reused or renumbered. */
#define INGOT_STATUS_LIST(X)                                                                       \
    X(INGOT_OK, 0, "done")                                                                         \
    X(INGOT_FAILED, -1, "failed")                                                                  \
    X(INGOT_USAGE, -2, "invalid argument")                                                         \
    X(INGOT_NOT_FOUND, -3, "not found")                                                            \
    X(INGOT_CORRUPT, -4, "corruption found")                                                       \
    X(INGOT_IO, -5, "input/output error")                                                          \
    X(INGOT_NO_SPACE, -6, "no space left")                                                         \
    X(INGOT_NO_MEMORY, -7, "out of memory")                                                        \
    X(INGOT_NO_STORE, -8, "no store here")                                                         \
    X(INGOT_EXISTS, -9, "already exists")                                                          \
    X(INGOT_LOCKED, -10, "locked by another process")                                              \
    X(INGOT_WRONG_KEY, -11, "wrong key")                                                           \
    X(INGOT_UNSUPPORTED, -12, "unsupported format or feature")                                     \
    X(INGOT_READ_ONLY, -13, "store is read-only")                                                  \
    X(INGOT_DENIED, -14, "permission denied")                                                      \
    X(INGOT_TIMEOUT, -15, "deadline passed")                                                       \
    X(INGOT_CANCELLED, -16, "cancelled")                                                           \
    X(INGOT_TOO_LARGE, -17, "too large")                                                           \
    X(INGOT_AMBIGUOUS, -18, "more than one id matches")                                            \
    X(INGOT_IN_USE, -19, "object is in use")                                                       \
    X(INGOT_NO_REFERENCE, -20, "object has no reference to take")                                  \
    X(INGOT_FORKED, -21, "handle was opened before fork")                                          \
    X(INGOT_BUSY, -22, "limit of outstanding work reached")                                        \
    X(INGOT_NO_INDEX, -23, "index missing or damaged; repair rebuilds it from the log")            \
    X(INGOT_CHANGED, -24, "source changed while it was read")

typedef int32_t ingot_status;
#define INGOT_STATUS_CONSTANT(name, value, text) name = (value),
enum { INGOT_STATUS_LIST(INGOT_STATUS_CONSTANT) INGOT_STATUS_FROZEN = INT32_MIN };
#undef INGOT_STATUS_CONSTANT

/* "INGOT_CORRUPT", and "corruption found". Static text, never NULL. Thread-safe. */
INGOT_API const char *ingot_status_name(ingot_status status);
INGOT_API const char *ingot_status_text(ingot_status status);

/* The library's own version, "0.1.0". Static. */
INGOT_API const char *ingot_version(void);

/* Filled by a failing call: the status it returned, the errno behind it or 0, and one line that
 * says what failed and where. The caller owns the memory; one object serves any number of calls. */
#define INGOT_ERROR_TEXT_MAX 500
typedef struct ingot_error {
    uint32_t size;
    ingot_status status;
    int32_t sys_errno;
    char message[INGOT_ERROR_TEXT_MAX];
} ingot_error;
#define INGOT_ERROR_INIT {(uint32_t)sizeof(ingot_error), INGOT_OK, 0, {0}}

/* ---- Ids ---------------------------------------------------------------------------------- */

#define INGOT_ID_BYTES 32
#define INGOT_ID_HEX 64 /* characters, without the NUL */
#define INGOT_ID_PREFIX_MIN 4

typedef struct ingot_id {
    uint8_t bytes[INGOT_ID_BYTES];
} ingot_id;

/* Writes 64 lower-case hex digits and a NUL. */
INGOT_API void ingot_id_format(const ingot_id *id, char ret_hex[INGOT_ID_HEX + 1]);
/* Exactly 64 hex digits of either case, else INGOT_USAGE with the position in the message. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_id_parse(const char *hex, ingot_id *ret_id,
                                                       ingot_error *err);
INGOT_API int32_t ingot_id_compare(const ingot_id *a, const ingot_id *b);

/* ---- Waiting: deadlines and cancellation -------------------------------------------------- */

/* A flag that any thread may raise, once, to end the calls that carry it. Owned; it must outlive
 * those calls. A cancelled call returns within a few milliseconds. */
typedef struct ingot_cancel ingot_cancel;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_cancel_new(ingot_cancel **ret_cancel);
/* Async-signal-safe. */
INGOT_API void ingot_cancel_raise(ingot_cancel *cancel);
INGOT_API void ingot_cancel_free(ingot_cancel *cancel);

/* How one call is to be carried out. */
#define INGOT_RELAXED UINT32_C(1)  /* return once the change is visible; sync makes it durable */
#define INGOT_NO_REF UINT32_C(2)   /* put without adding a reference: kept for the grace period */
#define INGOT_NO_CACHE UINT32_C(4) /* do not admit to the memory cache */
typedef struct ingot_op {
    uint32_t size;
    uint32_t flags;
    int64_t timeout_ms; /* 0: no deadline */
    ingot_cancel *cancel; /* borrowed; NULL: not cancellable */
} ingot_op;
#define INGOT_OP_INIT {(uint32_t)sizeof(ingot_op), 0, 0, NULL}

/* ---- Store -------------------------------------------------------------------------------- */

#define INGOT_OBJECT_MAX (INT64_C(1) << 46)   /* 64 TiB */
#define INGOT_VIEW_MAX (INT64_C(1) << 30)     /* 1 GiB */
#define INGOT_KEY_BYTES 32

#define INGOT_DIGEST_BLAKE3 UINT32_C(1)
#define INGOT_DIGEST_SHA256 UINT32_C(2)
#define INGOT_DIGEST_BLAKE3_KEYED UINT32_C(3)

typedef struct ingot_store ingot_store;

/* Fixed for the life of a store, and recorded in its FORMAT file. */
typedef struct ingot_create_options {
    uint32_t size;
    uint32_t digest;       /* default INGOT_DIGEST_BLAKE3 */
    const uint8_t *key;    /* INGOT_KEY_BYTES, borrowed; only with INGOT_DIGEST_BLAKE3_KEYED.
                              Never stored: every open needs it again */
    uint64_t large_min;    /* bytes from which an object has its own file; 4 KiB to 16 MiB,
                              default 1 MiB */
    uint64_t segment_size; /* log segment; 1 MiB to 1 GiB, multiple of 1 MiB, at least four times
                              large_min; default 64 MiB */
} ingot_create_options;
#define INGOT_CREATE_OPTIONS_INIT {(uint32_t)sizeof(ingot_create_options), 0, NULL, 0, 0}

/* Makes an empty store in directory `path`, which must not exist or be empty. The directory gets
 * mode 0700, so nobody else reaches what is in it. INGOT_EXISTS where a store or anything else is
 * already; nothing that exists is ever changed. INGOT_WRONG_KEY for a key without the keyed digest,
 * or the digest without a key. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_create(const char *path,
                                                           const ingot_create_options *options,
                                                           ingot_error *err);

#define INGOT_OPEN_READ_ONLY UINT32_C(1)
#define INGOT_OPEN_NO_DIRECT UINT32_C(2) /* page-cache writes instead of O_DIRECT */

typedef struct ingot_open_options {
    uint32_t size;
    uint32_t flags;
    const uint8_t *key;       /* INGOT_KEY_BYTES, borrowed; keyed stores only */
    uint64_t l1_budget_bytes; /* memory cache of objects; default 64 MiB */
    uint64_t index_cache_bytes; /* memory of the index's block cache; default 32 MiB */
    uint64_t dirty_max_bytes; /* staging memory of the log: the bound on accepted but unwritten
                                 bytes; 1 MiB to 1 GiB, default 16 MiB */
    int64_t grace_ms;         /* an object without references is kept this long; default 10
                                 minutes, -1: none */
    int64_t limbo_ms;         /* swept bytes stay recoverable this long; default 1 hour, -1: none */
    int64_t lock_wait_ms;     /* how long to wait for another process; default 0: not at all */
} ingot_open_options;
#define INGOT_OPEN_OPTIONS_INIT                                                                    \
    {(uint32_t)sizeof(ingot_open_options), 0, NULL, 0, 0, 0, 0, 0, 0}

/* Opens a store and replays what its index has not taken yet. Owned; ends with ingot_store_close.
 *   INGOT_NO_STORE     no FORMAT file at `path`
 *   INGOT_UNSUPPORTED  a newer format; the message names both versions
 *   INGOT_LOCKED       the message names the process that holds it
 *   INGOT_WRONG_KEY    the key is missing, unneeded or not this store's
 *   INGOT_NO_INDEX     see ingot_store_rebuild_index
 *   INGOT_CORRUPT      FORMAT or a segment is damaged where only damage explains it
 *   INGOT_DENIED       also for a store that other users may write to */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_open(const char *path,
                                                         const ingot_open_options *options,
                                                         ingot_store **ret_store, ingot_error *err);

/* Makes everything durable, flushes the index and frees the handle, also when it fails. No other
 * call may be running; writers, readers and queues must be closed first. Views outlive it. */
INGOT_API ingot_status ingot_store_close(ingot_store *store, ingot_error *err);

/* Returns when everything accepted before the call is durable. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_sync(ingot_store *store, const ingot_op *op,
                                                         ingot_error *err);

/* What FORMAT says. */
typedef struct ingot_store_info {
    uint32_t format_version;
    uint32_t digest;
    uint64_t large_min;
    uint64_t segment_size;
    char uuid[37];
    char digest_name[15]; /* "blake3", "sha256", "blake3-keyed" */
} ingot_store_info;
INGOT_API void ingot_store_describe(const ingot_store *store, ingot_store_info *ret_info);

/* The id these bytes have in this store. No I/O; allocates nothing. */
INGOT_API void ingot_store_hash(const ingot_store *store, const void *data, size_t len,
                                ingot_id *ret_id);

/* ---- Views -------------------------------------------------------------------------------- */

/* Immutable bytes, pinned in memory until released; valid after eviction, collection and close. */
typedef struct ingot_buf ingot_buf;
INGOT_API const void *ingot_buf_data(const ingot_buf *buf);
INGOT_API size_t ingot_buf_size(const ingot_buf *buf);
/* Takes another pin. */
INGOT_API ingot_buf *ingot_buf_ref(ingot_buf *buf);
INGOT_API void ingot_buf_release(ingot_buf *buf);

/* ---- One object --------------------------------------------------------------------------- */

/* Stores `len` bytes and adds one reference. `data` is borrowed. Bytes that are already there cost
 * a reference record only; concurrent puts of the same bytes write them once. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_put(ingot_store *store, const void *data,
                                                        size_t len, const ingot_op *op,
                                                        ingot_id *ret_id, ingot_error *err);

/* The whole object as an owned view. INGOT_TOO_LARGE over INGOT_VIEW_MAX. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_get(ingot_store *store, const ingot_id *id,
                                                        const ingot_op *op, ingot_buf **ret_buf,
                                                        ingot_error *err);

/* The whole object into the caller's memory; *ret_len is its length. If `capacity` is too small:
 * INGOT_TOO_LARGE with the needed length in the message, nothing written. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_get_into(ingot_store *store,
                                                             const ingot_id *id, void *buffer,
                                                             size_t capacity, const ingot_op *op,
                                                             size_t *ret_len, ingot_error *err);

/* Bytes [offset, offset + len) into the caller's memory, verified. Short only at the object's end;
 * an offset at or past the end reads 0 bytes. In a BLAKE3 store a range of a large object is
 * verified against the id through the hash tree (BLAKE3 specification, section 2.1) and costs the
 * 64 KiB groups it touches; in a SHA-256 store the whole object is read. On failure the contents of
 * `buffer` are undefined. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_get_range(ingot_store *store,
                                                              const ingot_id *id, uint64_t offset,
                                                              void *buffer, size_t len,
                                                              const ingot_op *op, size_t *ret_len,
                                                              ingot_error *err);

/* INGOT_OK or INGOT_NOT_FOUND. Reads no object data. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_has(ingot_store *store, const ingot_id *id,
                                                        ingot_error *err);

#define INGOT_PLACE_LOG UINT32_C(1)  /* in a log segment */
#define INGOT_PLACE_FILE UINT32_C(2) /* a file of its own under objects/ */
typedef struct ingot_stat {
    uint64_t size;        /* bytes of the object */
    uint64_t stored_size; /* bytes it takes on the device, headers included */
    int64_t refs;
    int64_t stored_ms;    /* when it was stored: milliseconds since 1970, UTC */
    uint32_t place;
    uint32_t segment;     /* of the log; 0 with INGOT_PLACE_FILE */
    uint64_t offset;      /* of the bytes in that segment */
} ingot_stat;
/* What is known of one object. Reads no object data. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_stat(ingot_store *store, const ingot_id *id,
                                                         ingot_stat *ret_stat, ingot_error *err);

/* Adds one reference. An object that was collected but is still in limbo comes back with it. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_ref(ingot_store *store, const ingot_id *id,
                                                        const ingot_op *op, int64_t *ret_refs,
                                                        ingot_error *err);
/* Takes one. INGOT_NO_REFERENCE at zero: a count is never negative. `ret_refs` may be NULL. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_unref(ingot_store *store, const ingot_id *id,
                                                          const ingot_op *op, int64_t *ret_refs,
                                                          ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_refcount(ingot_store *store,
                                                             const ingot_id *id, int64_t *ret_refs,
                                                             ingot_error *err);
/* Removes an object at once, without waiting for its grace period; limbo still applies.
 * INGOT_IN_USE while it has a reference or a lease. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_delete(ingot_store *store, const ingot_id *id,
                                                           const ingot_op *op, ingot_error *err);

/* The id of these bytes, and whether the store has them: INGOT_OK or INGOT_NOT_FOUND, the id is
 * written in both cases. Changes nothing. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_check_duplicate(ingot_store *store,
                                                                    const void *data, size_t len,
                                                                    ingot_id *ret_id,
                                                                    ingot_error *err);

/* Reads the object from its device, past every cache, and compares. INGOT_CORRUPT names it. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_verify(ingot_store *store, const ingot_id *id,
                                                           const ingot_op *op, ingot_error *err);

/* The one id that starts with these 4 to 64 hex digits. INGOT_AMBIGUOUS or INGOT_NOT_FOUND. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_resolve(ingot_store *store, const char *prefix,
                                                            ingot_id *ret_id, ingot_error *err);

/* ---- Listing ------------------------------------------------------------------------------ */

/* Objects in id order, as they were when the iterator was made. One thread at a time; close before
 * the store. An open iterator holds back the reuse of index space, so do not keep it for hours. */
typedef struct ingot_iter ingot_iter;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_iter_open(ingot_store *store, ingot_iter **ret_iter,
                                                        ingot_error *err);
/* INGOT_OK with the next object, or INGOT_NOT_FOUND after the last. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_iter_next(ingot_iter *iter, ingot_id *ret_id,
                                                        ingot_stat *ret_stat, ingot_error *err);
INGOT_API void ingot_iter_close(ingot_iter *iter);

/* ---- Many objects in one call ------------------------------------------------------------- */

/* One item of a batch. `status` is written for every item: one bad item fails alone. */
typedef struct ingot_put_item {
    const void *data; /* borrowed */
    size_t len;
    ingot_id id;         /* out */
    ingot_status status; /* out */
} ingot_put_item;
typedef struct ingot_get_item {
    ingot_id id;
    ingot_buf *buf;      /* out: owned view, NULL unless status is INGOT_OK */
    ingot_status status; /* out */
} ingot_get_item;

/* Puts in order and waits for durability once. Not atomic: after a crash any subset of an
 * unfinished batch may be there. INGOT_OK when every item succeeded, else the first item's failure
 * with its position in the message. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_put_batch(ingot_store *store,
                                                              ingot_put_item *items, size_t count,
                                                              const ingot_op *op, ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_get_batch(ingot_store *store,
                                                              ingot_get_item *items, size_t count,
                                                              const ingot_op *op, ingot_error *err);

/* Reference changes that take effect together: after a crash all of them or none.
 * At most INGOT_BATCH_MAX, INGOT_BUSY beyond. */
#define INGOT_BATCH_MAX 4096
typedef struct ingot_batch ingot_batch;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_batch_new(ingot_store *store, ingot_batch **ret_batch,
                                                        ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_batch_ref(ingot_batch *batch, const ingot_id *id,
                                                        ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_batch_unref(ingot_batch *batch, const ingot_id *id,
                                                          ingot_error *err);
/* Applies the changes and empties the batch. When any of them is refused (not found, no reference)
 * none is made and the batch is unchanged. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_batch_commit(ingot_batch *batch, const ingot_op *op,
                                                           ingot_error *err);
INGOT_API void ingot_batch_free(ingot_batch *batch);

/* ---- Streams ------------------------------------------------------------------------------ */

/* An object of unknown length, written in pieces. Memory stays bounded: from large_min on, the
 * bytes go to an unnamed file. Nothing is visible before finish; free without finish leaves
 * nothing behind. */
typedef struct ingot_writer ingot_writer;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_writer_open(ingot_store *store,
                                                          ingot_writer **ret_writer,
                                                          ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_writer_write(ingot_writer *writer, const void *data,
                                                           size_t len, ingot_error *err);
/* As ingot_store_put of all that was written. Afterwards only free is allowed. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_writer_finish(ingot_writer *writer,
                                                            const ingot_op *op, ingot_id *ret_id,
                                                            ingot_error *err);
INGOT_API void ingot_writer_free(ingot_writer *writer);

/* Reads an object front to back or by position, verified piece by piece (see get_range). Holds a
 * lease: the object stays until the reader is closed. */
typedef struct ingot_reader ingot_reader;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_reader_open(ingot_store *store, const ingot_id *id,
                                                          ingot_reader **ret_reader,
                                                          ingot_error *err);
INGOT_API uint64_t ingot_reader_size(const ingot_reader *reader);
/* Up to `len` bytes from the current position; *ret_len is 0 at the end only. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_reader_read(ingot_reader *reader, void *buffer,
                                                          size_t len, size_t *ret_len,
                                                          ingot_error *err);
INGOT_API INGOT_MUST_CHECK ingot_status ingot_reader_seek(ingot_reader *reader, uint64_t offset,
                                                          ingot_error *err);
INGOT_API void ingot_reader_close(ingot_reader *reader);

/* ---- Sessions ----------------------------------------------------------------------------- */

/* A lease on everything that is put, referred to or read through it: until the session is closed
 * none of it is collected, even with no reference. For multi-step work: put with INGOT_NO_REF, then
 * decide. Ends with the process at the latest. At most INGOT_LEASE_MAX ids, INGOT_BUSY beyond. */
#define INGOT_LEASE_MAX (1 << 20)
typedef struct ingot_session ingot_session;
INGOT_API INGOT_MUST_CHECK ingot_status ingot_session_open(ingot_store *store,
                                                           ingot_session **ret_session,
                                                           ingot_error *err);
/* Leases an object that is in the store; INGOT_NOT_FOUND if it is not. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_session_lease(ingot_session *session,
                                                            const ingot_id *id, ingot_error *err);
/* As ingot_store_put, leased before it can be seen by a collector. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_session_put(ingot_session *session, const void *data,
                                                          size_t len, const ingot_op *op,
                                                          ingot_id *ret_id, ingot_error *err);
INGOT_API void ingot_session_close(ingot_session *session);

/* ---- Queue -------------------------------------------------------------------------------- */

/* Asynchronous puts and gets. Worker threads take requests in batches, so many small requests cost
 * far less than as many calls. Results arrive in any order. */
typedef struct ingot_queue ingot_queue;

typedef struct ingot_queue_options {
    uint32_t size;
    uint32_t workers; /* 1 to 64, default 2 */
    uint32_t depth;   /* requests not yet reaped; 1 to 65,536, default 4,096 */
} ingot_queue_options;
#define INGOT_QUEUE_OPTIONS_INIT {(uint32_t)sizeof(ingot_queue_options), 0, 0}

#define INGOT_QUEUE_PUT UINT32_C(1)
#define INGOT_QUEUE_GET UINT32_C(2)
#define INGOT_QUEUE_REF UINT32_C(3)
#define INGOT_QUEUE_UNREF UINT32_C(4)
typedef struct ingot_request {
    uint64_t token;   /* the caller's; comes back with the result */
    uint32_t kind;    /* INGOT_QUEUE_... */
    uint32_t flags;   /* INGOT_RELAXED, INGOT_NO_REF, INGOT_NO_CACHE */
    const void *data; /* put: borrowed until the result is reaped */
    size_t len;
    ingot_id id; /* get, ref, unref */
} ingot_request;
typedef struct ingot_result {
    uint64_t token;
    uint32_t kind;
    ingot_status status;
    ingot_id id;
    ingot_buf *buf; /* get: owned view */
    int64_t refs;   /* ref, unref: the new count */
} ingot_result;

/* Owned; ends with ingot_queue_close, before the store is closed. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_queue_open(ingot_store *store,
                                                         const ingot_queue_options *options,
                                                         ingot_queue **ret_queue, ingot_error *err);
/* Accepts all `count` requests or none: INGOT_BUSY when they do not fit the free depth. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_queue_submit(ingot_queue *queue,
                                                           const ingot_request *requests,
                                                           size_t count, ingot_error *err);
/* Reaps up to `max` results, waiting until there is at least one: op->timeout_ms > 0 bounds the
 * wait (INGOT_TIMEOUT), a raised op->cancel ends it. INGOT_NOT_FOUND when nothing is outstanding.
 */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_queue_wait(ingot_queue *queue, ingot_result *results,
                                                         size_t max, const ingot_op *op,
                                                         size_t *ret_count, ingot_error *err);
/* An eventfd that is readable while results wait; borrowed until close. Poll it, do not read it. */
INGOT_API int32_t ingot_queue_fd(const ingot_queue *queue);
/* Finishes what was submitted, then frees the queue and results that were not reaped. */
INGOT_API void ingot_queue_close(ingot_queue *queue);

/* ---- Cache -------------------------------------------------------------------------------- */

typedef struct ingot_cache_info {
    uint64_t budget_bytes;
    uint64_t used_bytes; /* data and bookkeeping */
    uint64_t entries;
    uint64_t hits;
    uint64_t misses;
    uint64_t insertions;
    uint64_t evictions;
} ingot_cache_info;
/* Since the store was opened. */
INGOT_API void ingot_cache_stats(const ingot_store *store, ingot_cache_info *ret_info);
/* A view if the object is in memory, INGOT_NOT_FOUND if not. No I/O. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_cache_get(ingot_store *store, const ingot_id *id,
                                                        ingot_buf **ret_buf);
/* Brings an object of the store into memory. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_cache_set(ingot_store *store, const ingot_id *id,
                                                        ingot_error *err);
/* Drops one object (NULL: all) from memory. Views stay valid. Returns how many were dropped. */
INGOT_API uint64_t ingot_cache_evict(ingot_store *store, const ingot_id *id);
/* A new budget, reached before the call returns. 0 turns the cache off. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_cache_resize(ingot_store *store,
                                                           uint64_t budget_bytes, ingot_error *err);

/* ---- Numbers ------------------------------------------------------------------------------ */

/* X(field, kind, help): kind is counter (since open) or gauge. */
#define INGOT_STATS_LIST(X)                                                                        \
    X(objects, gauge, "objects in the store")                                                      \
    X(logical_bytes, gauge, "bytes of all objects")                                                \
    X(limbo_objects, gauge, "collected objects still recoverable")                                 \
    X(large_objects, gauge, "objects with a file of their own")                                    \
    X(segments, gauge, "log segments")                                                             \
    X(log_bytes, gauge, "bytes of all log segments on the device")                                 \
    X(log_live_bytes, gauge, "bytes of log records that are still needed")                         \
    X(large_bytes, gauge, "bytes of objects with a file of their own")                             \
    X(puts, counter, "puts that returned done")                                                    \
    X(puts_new, counter, "puts that stored new bytes")                                             \
    X(puts_duplicate, counter, "puts of bytes already there")                                      \
    X(put_bytes, counter, "bytes given to puts")                                                   \
    X(put_new_bytes, counter, "bytes stored by puts")                                              \
    X(gets, counter, "gets that returned bytes")                                                   \
    X(get_bytes, counter, "bytes handed out by gets")                                              \
    X(gets_l1, counter, "gets served from memory")                                                 \
    X(gets_log, counter, "gets served from the log")                                               \
    X(gets_file, counter, "gets served from object files")                                         \
    X(bloom_absent, counter, "lookups that the filter answered without the index")                 \
    X(index_lookups, counter, "lookups in the index")                                              \
    X(index_hits, counter, "lookups that found an object")                                         \
    X(commit_groups, counter, "commit groups written")                                             \
    X(commit_records, counter, "records in those groups")                                          \
    X(syncs, counter, "device syncs of the log")                                                   \
    X(log_written_bytes, counter, "bytes written to the log, padding included")                    \
    X(pending_records, gauge, "durable records that the index has not taken")                      \
    X(corruptions, counter, "damaged objects met by reads")                                        \
    X(collected_objects, counter, "objects swept by the collector")                                \
    X(cleaned_segments, counter, "segments cleaned and removed")                                   \
    X(l1_bytes, gauge, "bytes used by the memory cache")                                           \
    X(index_memory_bytes, gauge, "memory used by the index")                                       \
    X(bloom_bytes, gauge, "memory used by the filter")

#define INGOT_STATS_FIELD(field, kind, help) uint64_t field;
typedef struct ingot_stats {
    uint32_t size;
    uint32_t reserved;
    INGOT_STATS_LIST(INGOT_STATS_FIELD)
} ingot_stats;
#undef INGOT_STATS_FIELD
#define INGOT_STATS_ZERO(field, kind, help) 0,
#define INGOT_STATS_INIT {(uint32_t)sizeof(ingot_stats), 0, INGOT_STATS_LIST(INGOT_STATS_ZERO)}

/* Set ret_stats->size first; fields the library does not know stay as they are. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_stats(ingot_store *store,
                                                          ingot_stats *ret_stats, ingot_error *err);

/* ---- Collection --------------------------------------------------------------------------- */

#define INGOT_GC_DRY_RUN UINT32_C(1)  /* count and list, change nothing */
#define INGOT_GC_NO_CLEAN UINT32_C(2) /* sweep only; leave segments as they are */
typedef struct ingot_gc_options {
    uint32_t size;
    uint32_t flags;
    uint64_t max_objects; /* examine at most this many and remember the place; 0: all */
    uint32_t clean_below_percent; /* clean segments with less live than this; 1 to 99, default 50 */
    uint32_t reserved;
    int64_t grace_ms; /* 0: as opened; -1: none */
    int64_t limbo_ms; /* 0: as opened; -1: none */
    /* Ids that were (dry run: would be) swept, in id order, up to victims_max; caller's memory. */
    ingot_id *victims;
    size_t victims_max;
} ingot_gc_options;
#define INGOT_GC_OPTIONS_INIT {(uint32_t)sizeof(ingot_gc_options), 0, 0, 0, 0, 0, 0, NULL, 0}

typedef struct ingot_gc_report {
    uint64_t examined;
    uint64_t live;
    uint64_t in_grace;       /* no reference, but too young */
    uint64_t leased;         /* no reference, but leased by a session or a reader */
    uint64_t swept;          /* moved to limbo */
    uint64_t swept_bytes;
    uint64_t purged;         /* left limbo: no longer recoverable */
    uint64_t orphans;        /* unfinished object files removed */
    uint64_t segments_cleaned;
    uint64_t moved_objects;
    uint64_t moved_bytes;
    uint64_t freed_bytes;    /* of removed segments and object files */
    uint64_t segments_unreadable; /* left alone because of damage */
    uint32_t finished;       /* 0: max_objects or cancel ended it early; call again to go on */
    uint32_t reserved;
} ingot_gc_report;

/* Sweeps objects without references, purges limbo, cleans sparse segments. Runs beside everything
 * else; one at a time (INGOT_BUSY). A cancelled run is whole up to where it came and the report is
 * written; the next continues there. A dry run on a quiet store reports what the real run does,
 * but for a segment more that the real run's own records may fill. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_gc(ingot_store *store,
                                                       const ingot_gc_options *options,
                                                       const ingot_op *op,
                                                       ingot_gc_report *ret_report,
                                                       ingot_error *err);

/* ---- Checking and repair ------------------------------------------------------------------ */

#define INGOT_CHECK_READ_DATA UINT32_C(1) /* read and hash every object, not only the structure */
typedef struct ingot_check_options {
    uint32_t size;
    uint32_t flags;
    uint32_t data_percent; /* with INGOT_CHECK_READ_DATA: share of objects, 1 to 100; default 100 */
    uint32_t reserved;
    /* Ids found damaged, up to damaged_max; caller's memory. */
    ingot_id *damaged;
    size_t damaged_max;
} ingot_check_options;
#define INGOT_CHECK_OPTIONS_INIT {(uint32_t)sizeof(ingot_check_options), 0, 0, 0, NULL, 0}

typedef struct ingot_check_report {
    uint64_t segments;
    uint64_t groups;
    uint64_t records;
    uint64_t objects;          /* in the index */
    uint64_t objects_read;
    uint64_t bytes_read;
    uint64_t damaged_objects;  /* bytes do not match the id, or are unreadable or missing */
    uint64_t damaged_segments; /* with unreadable headers or records */
    uint64_t index_mismatches; /* id, place, size or count that log and index tell differently */
    uint64_t orphan_files;     /* files under objects/ that nothing refers to: harmless */
} ingot_check_report;

/* Recomputes ids, places and counts from log and object files, without believing the index, and
 * compares. Changes nothing. INGOT_OK when clean, INGOT_CORRUPT when not (the report is written in
 * both cases). Runs beside writers; what changes meanwhile is not counted as a mismatch. INGOT_BUSY
 * while a collection or another check runs. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_check(ingot_store *store,
                                                          const ingot_check_options *options,
                                                          const ingot_op *op,
                                                          ingot_check_report *ret_report,
                                                          ingot_error *err);

typedef struct ingot_rebuild_report {
    uint64_t segments;
    uint64_t records;
    uint64_t objects;
    uint64_t references;
    uint64_t damaged_records; /* skipped: unreadable */
} ingot_rebuild_report;

/* Makes the index anew from log and object files. The store must not be open. The old index, if
 * there is one, is kept as index.old until the new one is complete and is removed then. */
INGOT_API INGOT_MUST_CHECK ingot_status ingot_store_rebuild_index(const char *path,
                                                                  const ingot_open_options *options,
                                                                  const ingot_op *op,
                                                                  ingot_rebuild_report *ret_report,
                                                                  ingot_error *err);

#ifdef __cplusplus
}
#endif
#endif
