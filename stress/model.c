/* Threads do random operations on a store; what they saw is checked against what a store is.
 *
 *   model [--threads=8] [--seconds=20 | --phases=N] [--seed=N] [--plant=LIE]
 *
 * A run is a row of phases. In a phase all threads work at once. Between phases the store is quiet:
 * every object is looked at once more, each id's history is searched for an order that explains it
 * (history.h), and often the store is closed, sometimes its index is made anew, and it is reopened,
 * which may change nothing. With one thread a seed replays exactly; with more it replays the same
 * operations in another interleaving.
 *
 * --plant makes the harness, not the library, write lies into the history. The run then succeeds
 * if and only if the checker catches one.
 */
#include "actor.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 56 /* with room for a collection, fewer than RUNNING_MAX */
#define STEPS_A_PHASE 120
#define LARGE_MIN (UINT64_C(256) << 10)
#define SEGMENT_SIZE (UINT64_C(1) << 20)
#define DAY_MS INT64_C(86400000)
#define SMALL_MAX 9000

static const uint32_t lengths[] = {
    /* small */ 0,
    1,
    2,
    31,
    100,
    512,
    1000,
    2000,
    4000,
    4095,
    4096,
    4097,
    8192,
    8193,
    /* others */ 16384,
    65535,
    65536,
    65537,
    200000,
    262143,
    262144,
    262145,
    1 << 20,
    3 << 20};
#define OBJECTS (sizeof lengths / sizeof lengths[0])

static const char *const plants[] = {"none",      "stale-read",  "lost-count",
                                     "early-ack", "resurrected", "wrong-value"};

struct run {
    struct world world;
    struct belief beliefs[OBJECTS_MAX];
    struct actor actors[THREADS_MAX];
    uint32_t threads;
    struct rng rng;
    char *scratch;
    char *path;
    uint32_t descriptors;
    uint64_t phases;
    uint64_t events;
    uint64_t reopened;
    uint64_t rebuilt;
};

static enum plant plant_of(const char *name) {
    for (size_t i = 0; name != NULL && i < sizeof plants / sizeof plants[0]; i++)
        if (strcmp(name, plants[i]) == 0)
            return (enum plant)i;
    if (name == NULL)
        return PLANT_NONE;
    fprintf(stderr, "unknown --plant=%s\n", name);
    exit(2);
}

static void open_store(struct run *run) {
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    run->world.limbo_none = rng_chance(&run->rng, 40);
    options.grace_ms = DAY_MS;
    options.limbo_ms = run->world.limbo_none ? -1 : DAY_MS;
    options.l1_budget_bytes = UINT64_C(1) << (20 + rng_below(&run->rng, 6));
    options.flags = rng_chance(&run->rng, 30) ? INGOT_OPEN_NO_DIRECT : 0;
    if (ingot_store_open(run->path, &options, &run->world.store, &err) != INGOT_OK)
        failed("open: %s", err.message);
    for (uint32_t i = 0; i < run->world.objects; i++)
        run->beliefs[i].limbo_none = run->world.limbo_none;
}

static void close_store(struct run *run) {
    ingot_error err = INGOT_ERROR_INIT;
    if (ingot_store_close(run->world.store, &err) != INGOT_OK)
        failed("close: %s", err.message);
    run->world.store = NULL;
}

static void make_contents(struct world *world) {
    world->objects = OBJECTS;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct content *content = &world->contents[i];
        content->len = lengths[i];
        content->bytes = must_alloc(content->len);
        content_fill(i, content->bytes, content->len);
        content->sum = content_sum(content->bytes, content->len);
        world->small += content->len < SMALL_MAX ? 1 : 0;
        ingot_store_hash(world->store, content->bytes, content->len, &content->id);
    }
}

static void begin(struct run *run, uint64_t seed) {
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    options.large_min = LARGE_MIN;
    options.segment_size = SEGMENT_SIZE;
    run->rng = rng_fork(seed, 0, 0);
    run->scratch = scratch_make("ingot-model");
    run->path = path_join(run->scratch, "store");
    if (ingot_store_create(run->path, &options, &err) != INGOT_OK)
        failed("create: %s", err.message);
    open_store(run); /* once, so that what a process keeps for good is there before the count */
    close_store(run);
    run->descriptors = open_descriptors();
    open_store(run);
    history_init(&run->world.history);
    make_contents(&run->world);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        belief_init(&run->beliefs[i], run->world.contents[i].sum);
        run->beliefs[i].limbo_none = run->world.limbo_none;
    }
    for (uint32_t t = 0; t < run->threads; t++) {
        run->actors[t] = (struct actor){.world = &run->world,
                                        .rng = rng_fork(seed, 1, t),
                                        .thread = (uint16_t)t,
                                        .steps = STEPS_A_PHASE};
        run->actors[t].buffer = must_alloc((3 << 20) + 4096);
    }
}

static void work(struct run *run) {
    pthread_t threads[THREADS_MAX];
    for (uint32_t t = 0; t < run->threads; t++)
        if (pthread_create(&threads[t], NULL, actor_run, &run->actors[t]) != 0)
            failed("cannot start a thread");
    for (uint32_t t = 0; t < run->threads; t++)
        pthread_join(threads[t], NULL);
    run->phases++;
}

/* Looks at every object of the quiet store and checks all histories. False: a plant was caught. */
static bool settle(struct run *run) {
    static char reason[32768];
    for (uint32_t i = 0; i < OBJECTS; i++)
        observe(&run->world, i, (uint16_t)run->threads);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (belief_advance(&run->beliefs[i], &run->world.history, i, reason, sizeof reason))
            continue;
        if (run->world.plant == PLANT_NONE)
            failed("phase %" PRIu64 ", object %" PRIu32 " of %zu bytes: %s", run->phases, i,
                   run->world.contents[i].len, reason);
        printf("caught in phase %" PRIu64 ", object %" PRIu32 ": %s", run->phases, i, reason);
        return false;
    }
    run->events += atomic_load(&run->world.history.count);
    atomic_store(&run->world.history.count, 0);
    return true;
}

static void reopen(struct run *run) {
    ingot_error err = INGOT_ERROR_INIT;
    close_store(run);
    run->reopened++;
    if (rng_chance(&run->rng, 25)) {
        ingot_rebuild_report report;
        if (ingot_store_rebuild_index(run->path, NULL, NULL, &report, &err) != INGOT_OK)
            failed("rebuild_index: %s", err.message);
        run->rebuilt++;
    }
    open_store(run);
}

static bool phase(struct run *run) {
    work(run);
    if (!settle(run))
        return false;
    if (!rng_chance(&run->rng, 40))
        return true;
    reopen(run);
    return settle(run);
}

static void final_check(struct run *run) {
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report;
    ingot_error err = INGOT_ERROR_INIT;
    options.flags = INGOT_CHECK_READ_DATA;
    if (ingot_store_check(run->world.store, &options, NULL, &report, &err) != INGOT_OK)
        failed("check at the end: %s", err.message);
}

static void end(struct run *run) {
    for (uint32_t t = 0; t < run->threads; t++) {
        ingot_buf_release(run->actors[t].held);
        free(run->actors[t].buffer);
    }
    close_store(run);
    uint32_t descriptors = open_descriptors();
    if (descriptors > run->descriptors)
        failed("%" PRIu32 " descriptors left open", descriptors - run->descriptors);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        belief_release(&run->beliefs[i]);
        free(run->world.contents[i].bytes);
    }
    history_release(&run->world.history);
    scratch_remove(run->scratch);
    free(run->path);
    free(run->scratch);
}

int main(int argc, char **argv) {
    static const char *const known[] = {"threads", "seconds", "phases", "seed", "plant", NULL};
    static struct run run;
    args_only(argc, argv, known);
    run.threads = (uint32_t)arg_number(argc, argv, "threads", 8);
    run.world.plant = plant_of(arg_text(argc, argv, "plant"));
    uint64_t seconds = arg_number(argc, argv, "seconds", 20);
    uint64_t phases = arg_number(argc, argv, "phases", UINT64_MAX);
    uint64_t seed = arg_number(argc, argv, "seed", seed_from_clock());
    if (run.threads < 1 || run.threads > THREADS_MAX) {
        fprintf(stderr, "--threads: 1 to %d\n", THREADS_MAX);
        return 2;
    }
    replay_is(argv[0], "--seed=%" PRIu64 " --threads=%" PRIu32 " --seconds=%" PRIu64 " --plant=%s",
              seed, run.threads, seconds, plants[run.world.plant]);
    begin(&run, seed);
    uint64_t until = now_ms() + seconds * 1000;
    bool caught = false;
    while (!caught && run.phases < phases && now_ms() < until)
        caught = !phase(&run);
    if (!caught && run.world.plant != PLANT_NONE)
        failed("the checker did not see a planted %s", plants[run.world.plant]);
    final_check(&run);
    printf("%" PRIu64 " phases, %" PRIu64 " events, reopened %" PRIu64
           " times, index rebuilt %" PRIu64 " times: %s\n",
           run.phases, run.events, run.reopened, run.rebuilt,
           caught ? "the planted lie was caught" : "every history is explained");
    end(&run);
    return 0;
}
