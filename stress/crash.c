/* A process full of writers is killed at a random instant, again and again, on one store.
 *
 *   crash [--writers=850] [--rounds=5] [--seed=N] [--collect]
 *
 * Each round: a child opens the store and its threads put, reference and unreference until they are
 * killed with SIGKILL, some of them while they still recover from the round before. A second child
 * may be killed while it opens. Then a third opens the store and asserts what the ledger
 * (ledger.h) says: every acked object is there byte for byte, counts are within their bounds,
 * batches are whole, what was unknown stays what it was first seen to be, and the check is clean.
 * The program itself never opens the store, so it has nothing that a fork could break.
 *
 * With --collect the writers share the store with a collector that sweeps and cleans all the time.
 */
#include "ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 120000 /* longer than any step takes; beyond it the step hangs */

static void only_open(struct ledger *ledger) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_store *store = NULL;
    ingot_status st = ingot_store_open(ledger->path, NULL, &store, &err);
    if (st != INGOT_OK)
        complain(ledger, "open: %s: %s", ingot_status_name(st), err.message);
    if (ingot_store_close(store, &err) != INGOT_OK)
        complain(ledger, "close: %s", err.message);
}

static void only_verify(struct ledger *ledger) { verify(ledger); }

static pid_t start(struct ledger *ledger, void (*run)(struct ledger *)) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        failed("fork: %s", strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(ledger);
        exit(0);
    }
    return child;
}

/* Waits until the child ends; false if it was still there after `ms`. */
static bool wait_for(pid_t child, uint64_t ms, int *ret_status) {
    for (uint64_t until = now_ms() + ms; now_ms() < until; sleep_ms(1))
        if (waitpid(child, ret_status, WNOHANG) == child)
            return true;
    return false;
}

static void must_end_well(struct ledger *ledger, const char *what, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        failed("%s in round %" PRIu32 ": %s", what, ledger->round, ledger->complaint);
    failed("%s in round %" PRIu32 " ended with wait status %#x", what, ledger->round,
           (unsigned)status);
}

/* Kills the child unless it has ended by itself, which is allowed only with `may_end`. */
static void kill_child(struct ledger *ledger, const char *what, pid_t child, bool may_end) {
    int status = 0;
    kill(child, SIGKILL);
    if (!wait_for(child, PATIENCE_MS, &status))
        failed("%s in round %" PRIu32 " does not die", what, ledger->round);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return;
    must_end_well(ledger, what, status);
    if (!may_end)
        failed("%s in round %" PRIu32 " ended by itself", what, ledger->round);
}

static void crash_once(struct ledger *ledger, struct rng *rng) {
    atomic_store(&ledger->opened, 0);
    pid_t child = start(ledger, victim);
    if (rng_chance(rng, 15)) { /* while it opens, or soon after */
        sleep_ms(rng_below(rng, 60));
        kill_child(ledger, "the writers' process", child, false);
        return;
    }
    uint64_t until = now_ms() + PATIENCE_MS;
    int status = 0;
    while (atomic_load(&ledger->opened) == 0) {
        if (wait_for(child, 1, &status))
            must_end_well(ledger, "the writers' process", status == 0 ? -1 : status);
        if (now_ms() > until)
            failed("open takes over %d ms in round %" PRIu32, PATIENCE_MS, ledger->round);
    }
    sleep_ms(5 + rng_below(rng, rng_chance(rng, 30) ? 60 : 900));
    kill_child(ledger, "the writers' process", child, false);
}

static void round_of(struct ledger *ledger, struct rng *rng) {
    crash_once(ledger, rng);
    if (rng_chance(rng, 30)) {
        pid_t opener = start(ledger, only_open);
        sleep_ms(rng_below(rng, 80));
        kill_child(ledger, "the opening process", opener, true);
    }
    int status = 0;
    pid_t verifier = start(ledger, only_verify);
    if (!wait_for(verifier, PATIENCE_MS, &status)) {
        kill(verifier, SIGKILL);
        failed("verification hangs in round %" PRIu32, ledger->round);
    }
    must_end_well(ledger, "verification", status);
}

static void create(struct ledger *ledger) {
    ingot_create_options options = INGOT_CREATE_OPTIONS_INIT;
    ingot_error err = INGOT_ERROR_INIT;
    options.large_min = LARGE_MIN;
    options.segment_size = UINT64_C(4) << 20;
    if (ingot_store_create(ledger->path, &options, &err) != INGOT_OK)
        complain(ledger, "create: %s", err.message);
}

int main(int argc, char **argv) {
    static const char *const known[] = {"writers", "rounds", "seed", "collect", NULL};
    args_only(argc, argv, known);
    uint32_t writers = (uint32_t)arg_number(argc, argv, "writers", 850);
    uint64_t rounds = arg_number(argc, argv, "rounds", 5);
    uint64_t seed = arg_number(argc, argv, "seed", seed_from_clock());
    bool collects = arg_flag(argc, argv, "collect");
    if (writers < 1 || writers > 10000 || rounds > UINT32_MAX) {
        fprintf(stderr, "--writers: 1 to 10000\n");
        return 2;
    }
    replay_is(argv[0], "--seed=%" PRIu64 " --writers=%" PRIu32 " --rounds=%" PRIu64 "%s", seed,
              writers, rounds, collects ? " --collect" : "");
    struct ledger *ledger = ledger_new(writers);
    struct rng rng = rng_fork(seed, 2, 0);
    char *scratch = scratch_make("ingot-crash");
    ledger->seed = seed;
    ledger->collects = collects;
    snprintf(ledger->path, sizeof ledger->path, "%s/store", scratch);
    int status = 0;
    if (!wait_for(start(ledger, create), PATIENCE_MS, &status))
        failed("create hangs");
    must_end_well(ledger, "create", status);
    uint64_t began = now_ms();
    for (; ledger->round < rounds; ledger->round++)
        round_of(ledger, &rng);
    printf("%" PRIu64 " kills, %u acks kept, %.1f s\n", rounds, atomic_load(&ledger->acked),
           (double)(now_ms() - began) / 1000);
    scratch_remove(scratch);
    free(scratch);
    return 0;
}
