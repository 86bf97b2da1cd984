/* What the writers of a killed process had asked for and been told: memory shared with the parent,
 * which outlives them.
 *
 * Each content has a tally. A writer counts an operation as started before the call and as acked
 * after it, so whatever instant the process dies at, with A acked additions, R acked removals, a
 * and r in flight, the count in the store is at least A - R - r and at most A + a - R.
 */
#ifndef STRESS_LEDGER_H
#define STRESS_LEDGER_H

#include "support.h"

#include <stdatomic.h>

#define SHARED_CONTENTS 64 /* written by every writer */
#define OWN_CONTENTS 12    /* of one writer in one round */
#define KEEP_ROUNDS 4      /* rounds whose objects are kept and verified again */
#define LARGE_MIN (UINT64_C(256) << 10)
#define CONTENT_MAX (UINT32_C(300) << 10)

struct tally { /* sync: atomic, seq_cst: read by others only after the writer's death */
    atomic_uint add_started;
    atomic_uint add_acked;
    atomic_uint sub_started;
    atomic_uint sub_acked;
};

/* A batch that references two of the writer's own contents; nothing else of that writer runs. */
struct pair_in_flight { /* sync: as struct tally */
    atomic_uint open;
    atomic_uint first;
    atomic_uint second;
};

struct ledger {
    uint64_t seed;
    uint32_t writers;
    uint32_t round;
    bool collects;      /* the child collects and cleans all the time */
    char path[512];     /* of the store */
    atomic_uint opened; /* the child's store is open and its writers run */
    atomic_uint acked;  /* operations, for the report */
    atomic_flag complained;
    char complaint[1024];
    struct pair_in_flight *pairs; /* one a writer */
    struct tally shared[SHARED_CONTENTS];
    struct tally *own; /* [KEEP_ROUNDS][writers][OWN_CONTENTS] */
};

/* In memory that forked children share. Lives as long as the program. */
struct ledger *ledger_new(uint32_t writers);
struct tally *ledger_own(const struct ledger *ledger, uint32_t round, uint32_t writer, uint32_t n);

uint64_t key_shared(const struct ledger *ledger, uint32_t n);
uint64_t key_own(const struct ledger *ledger, uint32_t round, uint32_t writer, uint32_t n);
/* Fills `bytes` (CONTENT_MAX) with the content of `key` and returns its length. */
size_t content_of(uint64_t key, uint8_t *bytes);

/* Ends this process with status 3 and leaves the text for the parent. */
void complain(struct ledger *ledger, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* The life of a child that works until it is killed. */
void victim(struct ledger *ledger) __attribute__((noreturn));
/* Opens, asserts everything the ledger says, settles unknown outcomes; returns when all is well. */
void verify(struct ledger *ledger);

#endif
