/* Histories of one store, and the checker that says whether any order of the operations explains
 * what they returned.
 *
 * An object's state is a small thing: absent, in limbo, or present with a count and leases. Ids do
 * not influence each other, so each id's history is searched alone. The search walks the calls and
 * returns in time order and keeps every configuration that is still possible: a state, and which of
 * the operations now running have already taken effect (Lowe, "Testing for linearizability", 2017:
 * the just-in-time variant). When an operation returns, configurations in which it cannot have
 * taken effect with that result are dropped; when none is left, the store was wrong.
 */
#ifndef STRESS_HISTORY_H
#define STRESS_HISTORY_H

#include <ingot/ingot.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum action {
    ACT_PUT,  /* value: references added, 0 or 1; leases: leases added */
    ACT_READ, /* any call that returned the whole object; value: content_sum of the bytes */
    ACT_HAS,
    ACT_COUNT, /* value: the count it said */
    ACT_REF,   /* value: the new count; -1: the call did not say */
    ACT_UNREF, /* as ACT_REF */
    ACT_DELETE,
    ACT_LEASE,
    ACT_UNLEASE, /* leases: how many end */
    ACT_SWEEP,   /* the collector named it as a victim */
    ACT_PURGE,   /* the collector may have ended its limbo */
};

struct event {
    uint64_t call; /* positions in one total order of all calls and returns */
    uint64_t ret;
    uint64_t value;
    ingot_status status;
    uint32_t object;
    uint16_t thread;
    uint8_t action; /* enum action */
    uint8_t leases;
};

#define HISTORY_MAX (UINT32_C(1) << 20) /* events between two settlements */
#define CONFIGS_MAX (UINT32_C(1) << 19)
#define RUNNING_MAX 64 /* operations on one id at one time */
#define OBJECTS_MAX 256

struct history {
    struct event *events;
    _Atomic uint32_t count; /* sync: atomic, relaxed: hands out places; read after a barrier */
    _Atomic uint64_t clock; /* sync: atomic, seq_cst: its order is the real-time order */
};

void history_init(struct history *history);
void history_release(struct history *history);
uint64_t history_tick(struct history *history);
void history_add(struct history *history, const struct event *event);

struct object_state {
    uint8_t where; /* STATE_... */
    uint8_t padding[3];
    uint32_t leases;
    int64_t count;
};
#define STATE_ABSENT 0
#define STATE_LIMBO 1
#define STATE_PRESENT 2

/* The states in which each id may be after what was checked so far. */
struct belief {
    struct object_state *states;
    uint32_t count;
    uint64_t sum;    /* of the right bytes */
    bool limbo_none; /* limbo may end at any time */
};

void belief_init(struct belief *belief, uint64_t sum);
void belief_release(struct belief *belief);

/* Searches the history of one id, starting from its belief, and leaves the states it may end in
 * there. False: no order explains it, and the reason is in `ret_reason`. */
bool belief_advance(struct belief *belief, const struct history *history, uint32_t object,
                    char *ret_reason, size_t capacity);

#endif
