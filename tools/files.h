/* Bytes in and out of the store: sources of puts, targets of gets, lists of names. */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "cli.h"

#include <sys/stat.h>

/* ---- Sources (source.c) ---- */

#define SOURCE_SMALL_MAX ((size_t)1 << 20)       /* read whole, and stored in batches */
#define SOURCE_BUFFER_MIN (SOURCE_SMALL_MAX + 1) /* one more tells that a file is larger */

struct source {
    int fd;
    bool waits; /* a pipe, a terminal or a device: reading may take any time */
    struct stat before;
};

/* A directory is refused. Standard input with `is_stdin`, whatever the name. */
ingot_status source_open(const char *name, bool is_stdin, struct source *ret_source,
                         ingot_error *err);
/* Fills `buffer`; less only at the end. */
ingot_status source_read(struct source *source, void *buffer, size_t len, size_t *ret_len,
                         ingot_error *err);
/* INGOT_CHANGED if size or times are not those of the opening. */
ingot_status source_verify(const struct source *source, ingot_error *err);
/* By all threads so far. */
uint64_t source_bytes_read(void);
void source_close(struct source *source, bool is_stdin);

/* Stores a source of any length, of which `head_len` bytes are at the start of `buffer` already.
 * *ret_source_failed says whose failure it was. */
ingot_status source_stream(struct cli *cli, struct source *source, uint8_t *buffer, size_t capacity,
                           size_t head_len, ingot_id *ret_id, uint64_t *ret_size,
                           bool *ret_source_failed, ingot_error *err);

/* ---- Targets (target.c) ---- */

struct range {
    uint64_t offset;
    uint64_t len; /* UINT64_MAX: to the end */
};
#define RANGE_ALL                                                                                  \
    { 0, UINT64_MAX }

/* Writes an object, or a part of it, to a file that appears, or replaces another, when it is
 * complete. Runs of zeros become holes. What is no regular file is written to as it is. */
ingot_status target_write_file(struct cli *cli, const ingot_id *id, const struct range *range,
                               const char *path, uint64_t *ret_bytes, ingot_error *err);
/* To standard output, whose failures are remembered in `cli`. INGOT_USAGE for binary on a
 * terminal. */
ingot_status target_write_stdout(struct cli *cli, const ingot_id *id, const struct range *range,
                                 bool force, ingot_error *err);

uint64_t target_bytes_written(void);

/* ---- Records (records.c) ---- */

/* Standard input or a list, cut at a delimiter. */
struct records {
    struct cli *cli;
    int fd;
    char delimiter;
    uint64_t number; /* of the record last read, from 1 */
    size_t at;
    size_t len;
    char buffer[1 << 16];
};
enum record { RECORD_OK, RECORD_END, RECORD_TOO_LONG, RECORD_HAS_NUL, RECORD_FAILED };
/* The next record, NUL-terminated in `ret_text` of `size` bytes. One that does not fit is skipped
 * whole. RECORD_FAILED leaves the reason in errno, EINTR when the run is to stop. */
enum record records_next(struct records *records, char *ret_text, size_t size);

#endif
