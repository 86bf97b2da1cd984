/* Mutexes with a rank. A thread takes them in rising rank only; debug builds check it and abort
 * with both names. The enum below is the lock hierarchy of the project. */
#ifndef IG_LOCK_H
#define IG_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum ig_rank {
    IG_RANK_QUEUE = 1, /* one ingot_queue: its rings */
    IG_RANK_GC,        /* one collection or cleaning at a time */
    IG_RANK_SESSION,   /* one session's list of leases */
    IG_RANK_STRIPE,    /* the pending entries of one id prefix */
    IG_RANK_LOG,       /* reservation, commit groups, segment list */
    IG_RANK_APPLY,     /* records on their way to the index */
    IG_RANK_CACHE,     /* one stripe of L1 */
    IG_RANK_LEAF,      /* takes no other lock */
};

typedef struct ig_mutex {
    pthread_mutex_t mutex;
    enum ig_rank rank;
} ig_mutex;

typedef struct ig_cond {
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
} ig_cond;

void ig_mutex_init(ig_mutex *mutex, enum ig_rank rank);
void ig_mutex_release(ig_mutex *mutex);
void ig_lock(ig_mutex *mutex);
void ig_unlock(ig_mutex *mutex);
/* True if it was free and is now the caller's. */
bool ig_trylock(ig_mutex *mutex);

void ig_cond_init(ig_cond *cond);
void ig_cond_release(ig_cond *cond);
void ig_cond_wait(ig_cond *cond, ig_mutex *mutex);
/* False when `ns` nanoseconds passed first. */
bool ig_cond_wait_ns(ig_cond *cond, ig_mutex *mutex, uint64_t ns);
void ig_cond_wake(ig_cond *cond);
void ig_cond_wake_all(ig_cond *cond);

#endif
