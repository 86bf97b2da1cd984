#include "lock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef NDEBUG
enum { HELD_MAX = 16 };
static _Thread_local enum ig_rank held[HELD_MAX];
static _Thread_local unsigned held_count;

static const char *rank_name(enum ig_rank rank) {
    static const char *const names[] = {
        [IG_RANK_QUEUE] = "QUEUE",   [IG_RANK_GC] = "GC",     [IG_RANK_SESSION] = "SESSION",
        [IG_RANK_STRIPE] = "STRIPE", [IG_RANK_LOG] = "LOG",   [IG_RANK_APPLY] = "APPLY",
        [IG_RANK_CACHE] = "CACHE",   [IG_RANK_LEAF] = "LEAF",
    };
    size_t at = (size_t)rank;
    return at < sizeof names / sizeof *names && names[at] != NULL ? names[at] : "unknown";
}

static void rank_take(enum ig_rank rank) {
    if (held_count > 0 && held[held_count - 1] >= rank) {
        fprintf(stderr, "lock order: rank %s wanted while %s is held\n", rank_name(rank),
                rank_name(held[held_count - 1]));
        abort();
    }
    if (held_count == HELD_MAX) {
        fprintf(stderr, "lock order: more than %d locks held\n", HELD_MAX);
        abort();
    }
    held[held_count++] = rank;
}

static void rank_drop(enum ig_rank rank) {
    for (unsigned i = held_count; i-- > 0;) {
        if (held[i] != rank)
            continue;
        for (; i + 1 < held_count; i++)
            held[i] = held[i + 1];
        held_count--;
        return;
    }
    fprintf(stderr, "lock order: rank %s released but not held\n", rank_name(rank));
    abort();
}
#else
static void rank_take(enum ig_rank rank) { (void)rank; }
static void rank_drop(enum ig_rank rank) { (void)rank; }
#endif

void ig_mutex_init(ig_mutex *mutex, enum ig_rank rank) {
    pthread_mutex_init(&mutex->mutex, NULL);
    mutex->rank = rank;
}

void ig_mutex_release(ig_mutex *mutex) { pthread_mutex_destroy(&mutex->mutex); }

void ig_lock(ig_mutex *mutex) {
    rank_take(mutex->rank);
    if (pthread_mutex_lock(&mutex->mutex) != 0)
        abort();
}

bool ig_trylock(ig_mutex *mutex) {
    if (pthread_mutex_trylock(&mutex->mutex) != 0)
        return false;
    rank_take(mutex->rank);
    return true;
}

void ig_unlock(ig_mutex *mutex) {
    rank_drop(mutex->rank);
    if (pthread_mutex_unlock(&mutex->mutex) != 0)
        abort();
}

void ig_cond_init(ig_cond *cond) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&cond->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void ig_cond_release(ig_cond *cond) { pthread_cond_destroy(&cond->cond); }

void ig_cond_wait(ig_cond *cond, ig_mutex *mutex) { pthread_cond_wait(&cond->cond, &mutex->mutex); }

bool ig_cond_wait_ns(ig_cond *cond, ig_mutex *mutex, uint64_t ns) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t total = (uint64_t)until.tv_nsec + ns % UINT64_C(1000000000);
    until.tv_sec += (time_t)(ns / UINT64_C(1000000000) + total / UINT64_C(1000000000));
    until.tv_nsec = (long)(total % UINT64_C(1000000000));
    return pthread_cond_timedwait(&cond->cond, &mutex->mutex, &until) != ETIMEDOUT;
}

void ig_cond_wake(ig_cond *cond) { pthread_cond_signal(&cond->cond); }
void ig_cond_wake_all(ig_cond *cond) { pthread_cond_broadcast(&cond->cond); }
