/* Inside `ingot put`: names in, results out in the same order, files read by many threads. */
#ifndef CLI_PUT_H
#define CLI_PUT_H

#include "files.h"

/* ---- Names (names.c) ---- */

struct names {
    struct cli *cli;
    bool recursive;
    uint64_t skipped;  /* found in directories and no regular files */
    uint64_t failed;   /* could not be examined; the message was printed */
    struct stat store; /* its directory is never stored in itself */
    /* Takes a copy of the name. False ends the listing. */
    bool (*add)(void *context, const char *name, bool is_stdin);
    void *context;
};
/* The arguments, directories opened up with -r. */
void names_of_args(struct names *names, const char *const *args);
/* NUL-separated names from a file, or from standard input for "-". CLI_CONTINUE or an exit code. */
int names_of_list(struct names *names, const char *list);

/* ---- Workers (put_pool.c) ---- */

enum put_state {
    PUT_FREE,
    PUT_QUEUED,
    PUT_TAKEN,
    PUT_STORED,
    PUT_BAD_SOURCE, /* unreadable or changed: `err` says why */
    PUT_FAILED,     /* the store refused: `err` says why */
    PUT_NOT_TRIED   /* the run ended first */
};

struct put_job {
    char *name; /* owned */
    bool is_stdin;
    enum put_state state; /* sync: the pool's lock */
    /* The rest belongs to the worker while PUT_TAKEN and to the main thread afterwards. */
    ingot_id id;
    uint64_t size;
    ingot_error err;
};

struct put_pool;
/* `report` is called by the thread that adds and drains, in the order of adding,
 * and with NULL now and then while it waits. */
struct put_pool *put_pool_new(struct cli *cli, size_t workers,
                              void (*report)(void *context, const struct put_job *job),
                              void *context);
/* Waits while the window of unreported jobs is full. False when the run is to stop. */
bool put_pool_add(struct put_pool *pool, const char *name, bool is_stdin);
/* Waits for all that was added, reports it and frees the pool. */
void put_pool_drain(struct put_pool *pool);

#endif
