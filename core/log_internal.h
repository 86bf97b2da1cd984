/* Shared by log.c (reservation), commit.c (leading and waiting) and nobody else. */
#ifndef IG_LOG_INTERNAL_H
#define IG_LOG_INTERNAL_H

#include "lock.h"
#include "log.h"
#include "os.h"

#define IG_GROUPS 4
#define IG_CHANGESETS 16

enum ig_group_state { IG_GROUP_FREE, IG_GROUP_OPEN, IG_GROUP_CLOSED };

struct ig_group {
    uint8_t *buffer;           /* sync: fixed after init; disjoint ranges belong to the fillers */
    enum ig_group_state state; /* sync: log->lock */
    bool seal;                 /* sync: as offset */
    uint64_t serial;           /* sync: log->lock */
    uint32_t segment;          /* sync: log->lock while open, then fixed until free */
    uint64_t offset;           /* sync: as segment; where it goes */
    uint64_t limit;            /* sync: as segment; how long it may become */
    uint64_t salt;             /* sync: as segment */
    uint64_t first_chain;      /* sync: as segment; for the first group of a segment, else 0 */
    int fd;                    /* sync: as segment */
    int64_t time_ms;           /* sync: as segment */
    uint64_t first_seq;        /* sync: as segment */
    uint64_t used;             /* sync: as segment; header included */
    struct ig_changeset *set;  /* sync: as segment; NULL in a seal */
    uint32_t pins;             /* sync: log->lock; readers of staged bytes */
    uint32_t waiters;          /* sync: log->lock; a hint, never too low */
    atomic_uint filling;       /* sync: atomic; the last filler's release pairs with the leader's
                                  acquire */
    atomic_bool leader_waits;  /* sync: atomic, seq_cst with `filling` (Dekker) */
    atomic_uint word;          /* sync: atomic; futex, changes when waiters must look again */
};

struct ig_log {
    struct ig_log_options options; /* sync: fixed after init */
    uint64_t nonce;                /* sync: fixed after init */
    uint64_t group_size;           /* sync: fixed after init; bytes of a group's buffer */
    uint64_t clock_base_ns;        /* sync: fixed after init */
    int64_t clock_base_ms;         /* sync: fixed after init */

    ig_mutex lock;
    ig_cond space; /* a group, a change set or a segment became free; or the log failed */
    ig_cond keeper_work;
    ig_cond committed_some;
    struct ig_group groups[IG_GROUPS]; /* a ring by serial */
    uint64_t oldest;                   /* sync: lock; oldest serial that is not free */
    uint64_t current;                  /* sync: lock; serial of the open group, or the next */
    uint64_t next_seq;                 /* sync: lock */
    bool leading;                      /* sync: lock */
    uint64_t chain;                    /* sync: the leader's */

    uint32_t tail_segment; /* sync: lock, like all tail_ */
    uint64_t tail_offset;
    uint64_t tail_size;
    uint64_t tail_salt;
    uint64_t tail_first_chain;
    int tail_fd;

    bool next_ready;        /* sync: lock; segment tail_segment + 1 exists */
    bool next_wanted;       /* sync: lock; somebody waits for it */
    uint64_t next_attempts; /* sync: lock; finished attempts to make it */
    ingot_error next_error; /* sync: lock; of the latest attempt */

    atomic_bool unwaited; /* sync: atomic; there may be records that nobody waits for */
    bool stopping;        /* sync: lock */
    pthread_t keeper;

    struct ig_changeset sets[IG_CHANGESETS];
    struct ig_changeset *free_sets;      /* sync: lock */
    struct ig_changeset *committed;      /* sync: lock; in order */
    struct ig_changeset **committed_end; /* sync: lock */

    ingot_error failed;               /* sync: lock; status OK while healthy */
    atomic_uint_fast64_t durable_seq; /* sync: atomic; written under lock by the leader with
                                         release, read anywhere with acquire */
    struct ig_log_info info;          /* sync: lock */
};

static inline struct ig_group *ig_group_of(struct ig_log *log, uint64_t serial) {
    return &log->groups[serial % IG_GROUPS];
}

static inline bool ig_log_has_open_locked(const struct ig_log *log) {
    return log->groups[log->current % IG_GROUPS].state == IG_GROUP_OPEN &&
           log->groups[log->current % IG_GROUPS].serial == log->current;
}

/* Ends reservation in the open group and moves the tail behind it. */
void ig_log_close_group_locked(struct ig_log *log);
/* Commits everything reserved so far. Called and returns with the lock held, drops it between. */
void ig_log_lead_locked(struct ig_log *log);
/* Poisons the log, if it is not yet, and wakes everybody. */
void ig_log_fail_locked(struct ig_log *log, ingot_status status, const char *message);

#endif
