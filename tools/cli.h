/* What the commands share: options, the store, messages, output, signals.
 *
 * Exit codes are part of the interface (docs/ingot.1). A command returns one; main returns it.
 */
#ifndef CLI_H
#define CLI_H

#include <ingot/ingot.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum cli_exit {
    CLI_CONTINUE = -1, /* not an exit code: the command goes on */
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_SOURCES = 3, /* done, but some sources could not be read */
    CLI_NO_STORE = 10,
    CLI_LOCKED = 11,
    CLI_WRONG_KEY = 12,
    CLI_NOT_FOUND = 13,
    CLI_CORRUPT = 14,
    CLI_NO_SPACE = 15,
    CLI_SIGNAL = 128 /* plus its number */
};

#define CLI_NAME_MAX 4096 /* bytes of one file name */

struct held;

struct cli {
    const char *command; /* for messages; NULL before it is known */
    const char *store_path;
    const char *key_path;
    const char *progress_mode;
    bool json;
    bool quiet;
    bool verbose;
    int64_t lock_wait_ms;
    ingot_store *store;
    uint32_t digest; /* of the open store */
    uint8_t key[INGOT_KEY_BYTES];
    bool has_key;
    int output_errno;  /* why standard output failed, 0 while it has not */
    struct held *held; /* of the option parser: arguments point into it */
};

struct cli_command {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;
    int (*run)(struct cli *cli, const struct cli_command *self, int argc, const char *const *argv);
};

/* ---- Options (options.c) ---- */

enum cli_kind {
    CLI_END,
    CLI_FLAG,     /* bool */
    CLI_STRING,   /* const char * */
    CLI_COUNT,    /* uint64_t */
    CLI_SIZE,     /* uint64_t: bytes, with K, M, G or T */
    CLI_DURATION, /* int64_t: milliseconds */
    CLI_PERCENT   /* uint32_t: the argument may be left out and is 100 then */
};

struct cli_option {
    enum cli_kind kind;
    char letter; /* 0: none */
    const char *name;
    const char *argument;
    const char *help;
    void *target;
    uint64_t min; /* counts and sizes */
    uint64_t max;
};

/* Reads the command's own options and the common ones. CLI_CONTINUE with the arguments left over
 * (borrowed until cli_finish; NULL-terminated), or the exit code to end with. */
int cli_parse(struct cli *cli, const struct cli_command *self, const struct cli_option *own,
              int argc, const char *const *argv, const char *const **ret_args);
/* As cli_parse for the words before the command; stops at the first that is no option. */
int cli_parse_common(struct cli *cli, int argc, const char *const *argv, bool *ret_help,
                     bool *ret_version, const char *const **ret_args);
void cli_options_free(struct cli *cli);
size_t cli_count(const char *const *args);

/* ---- Messages and exit codes (message.c) ---- */

/* "ingot: put: ..." on standard error; control characters become '?'. Returns `exit_code`. */
int cli_error(const struct cli *cli, int exit_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As cli_error, unless -q. */
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As cli_error, only with -v. */
void cli_detail(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A wrong command line: the message, a pointer to --help, and CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One item, or the whole command, failed: the message on standard error, and with --json a line
 * with message_type "error" on standard output too. Returns the exit code of the failure. */
int cli_failed(struct cli *cli, const char *item, const ingot_error *err);
/* The same with an exit code of the caller's choice. */
int cli_failed_as(struct cli *cli, int exit_code, const char *item, const ingot_error *err);
int cli_exit_of(ingot_status status);
/* The exit code of a run in which `now` happened after `before`: the first failure, but damage
 * outranks every other, and anything outranks unreadable sources. */
int cli_worse(int before, int now);
/* Fill an error object as the library does. */
ingot_status cli_fail(ingot_error *err, ingot_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
ingot_status cli_fail_errno(ingot_error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- Store and ids (store.c) ---- */

/* CLI_CONTINUE with cli->store open, or the exit code, the message printed. */
int cli_open_store(struct cli *cli, uint32_t open_flags);
/* The same without message: cli->store_path and the key are there already. */
ingot_status cli_try_open(struct cli *cli, uint32_t open_flags, ingot_error *err);
/* The path in use, or NULL after a usage message. */
const char *cli_store_path(struct cli *cli);
/* Reads the key file, if one is named. CLI_CONTINUE or an exit code. */
int cli_load_key(struct cli *cli);
/* Closes the store, ends standard output, wipes the key. Returns the final exit code. */
int cli_finish(struct cli *cli, int exit_code);
/* Whether each argument can be an id or the start of one. CLI_CONTINUE or CLI_USAGE. */
int cli_check_ids(struct cli *cli, const char *const *args);
/* An id, or the start of one that is unambiguous in the store. */
ingot_status cli_find_id(struct cli *cli, const char *text, ingot_id *ret_id, ingot_error *err);
/* The operation of a call that Ctrl-C ends. */
ingot_op cli_op(void);

/* ---- Signals (signals.c) ---- */

/* The first SIGINT or SIGTERM raises the token and makes the descriptor readable; the second one
 * ends the process. A closed pipe on standard output is a failed write instead of a signal. */
int cli_signals_start(struct cli *cli);
void cli_signals_end(void);
/* While threads are created: they inherit the block, so the main thread gets the signal. */
void cli_signals_block(bool block);
/* The signal that asked to stop, or 0. */
int cli_stopped(void);
/* The run is to stop, by a signal or by cli_stop. */
bool cli_stopping(void);
/* Stops the run as a signal would; the exit code is the caller's. */
void cli_stop(void);
ingot_cancel *cli_cancel(void);
/* Waits until `fd` can be read (or written). False when the run is to stop. */
bool cli_wait_fd(int fd, bool for_write);
/* Ends the process as a closed pipe does by default, unless whoever started it asked otherwise. */
void cli_die_of_pipe(void);
/* Whether the process was started with SIGPIPE ignored. */
bool cli_pipe_ignored(void);

/* ---- Output (output.c) ---- */

/* printf to standard output. A failure is remembered and ends the run (cli_output_failed). */
void cli_print(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One JSON document on one line. Takes `object`; NULL is reported as lack of memory. */
void cli_print_json(struct cli *cli, json_t *object);
/* A new object with its message_type. */
json_t *cli_json(const char *message_type);
/* Sets `key` to a name that may be any bytes: not valid UTF-8, it is shown with U+FFFD and given
 * in hex as "<key>_hex". */
void cli_json_name(json_t *object, const char *key, const char *name);
void cli_json_id(json_t *object, const char *key, const ingot_id *id);
void cli_json_number(json_t *object, const char *key, uint64_t value);
void cli_flush(struct cli *cli);
bool cli_output_failed(const struct cli *cli);
/* "ID  NAME" as b3sum (sha256sum in a SHA-256 store) prints it, escapes included. */
void cli_print_sum(struct cli *cli, const ingot_id *id, const char *name);
/* "12.3 MiB". */
#define CLI_SIZE_TEXT 24
const char *cli_size_text(uint64_t bytes, char ret_text[CLI_SIZE_TEXT]);
/* "2024-05-01T12:00:00.000Z". */
#define CLI_TIME_TEXT 40
const char *cli_time_text(int64_t ms, char ret_text[CLI_TIME_TEXT]);
bool cli_color(void);

/* ---- Progress (progress.c) ---- */

struct cli_progress {
    bool shown;
    int64_t started_ms;
    int64_t drawn_ms;
};
void cli_progress_start(const struct cli *cli, struct cli_progress *progress);
/* Draws at most a few times a second. */
void cli_progress_update(const struct cli *cli, struct cli_progress *progress, uint64_t items,
                         uint64_t bytes);
/* Draws the last state and leaves it. */
void cli_progress_end(const struct cli *cli, struct cli_progress *progress, uint64_t items,
                      uint64_t bytes);
/* Takes the line away, so that a message can be printed. */
void cli_progress_clear(void);
int64_t cli_now_ms(void);

/* ---- Commands ---- */

#define CLI_COMMANDS(X)                                                                            \
    X(init, "[DIR]", "make an empty store")                                                        \
    X(put, "FILE...|-", "store files and print their ids")                                         \
    X(get, "ID...", "write objects to standard output or to files")                                \
    X(has, "ID...", "say whether objects are in the store")                                        \
    X(stat, "ID...", "show size, references and place of objects")                                 \
    X(ls, "", "list the objects of the store")                                                     \
    X(ref, "ID...", "add a reference to objects")                                                  \
    X(unref, "ID...", "take a reference from objects")                                             \
    X(batch, "", "carry out many requests from standard input")                                    \
    X(gc, "", "collect objects without references and reclaim space")                              \
    X(check, "", "check the store and name what is damaged")                                       \
    X(repair, "", "make the index again from log and objects")                                     \
    X(stats, "", "show the numbers of the store")                                                  \
    X(doctor, "", "examine the store and what it stands on")

#define CLI_DECLARE(name, arguments, summary)                                                      \
    int cmd_##name(struct cli *cli, const struct cli_command *self, int argc,                      \
                   const char *const *argv);
CLI_COMMANDS(CLI_DECLARE)
#undef CLI_DECLARE

#endif
