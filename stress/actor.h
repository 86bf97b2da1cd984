/* One thread of the model test: does one random operation at a time and writes down what it saw. */
#ifndef STRESS_ACTOR_H
#define STRESS_ACTOR_H

#include "history.h"
#include "support.h"

/* Lies that the harness can write into the history, to prove that the checker finds them. */
enum plant {
    PLANT_NONE,
    PLANT_STALE_READ,  /* a read that found nothing is written down as one that did */
    PLANT_LOST_COUNT,  /* a put that never was is written down as acked */
    PLANT_EARLY_ACK,   /* a put is written down as acked before it is made */
    PLANT_RESURRECTED, /* a delete is written down as done and is not made */
    PLANT_WRONG_VALUE, /* a read is written down with other bytes */
};

struct content {
    uint8_t *bytes;
    size_t len;
    ingot_id id;
    uint64_t sum;
};

struct world {
    ingot_store *store;
    struct history history;
    struct content contents[OBJECTS_MAX];
    uint32_t objects;
    uint32_t small; /* the first so many contents are small and drawn more often */
    enum plant plant;
    bool limbo_none; /* how the store is open now */
};

struct actor {
    struct world *world;
    struct rng rng;
    uint16_t thread;
    uint32_t steps;  /* how many operations to do */
    uint8_t *buffer; /* as large as the largest content */
    ingot_session *session;
    uint8_t leased[OBJECTS_MAX]; /* through `session` */
    ingot_buf *held;             /* a view kept over other operations */
    uint32_t held_object;
    uint64_t done;
};

/* Does actor->steps operations, then gives back the session and the view. For pthread_create. */
void *actor_run(void *actor);

/* What a quiet store says about one object, as operations of `thread`. */
void observe(struct world *world, uint32_t object, uint16_t thread);

#endif
