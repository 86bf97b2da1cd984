/* The segment files of a log: making them ahead, opening them on demand, how much of each is still
 * needed. Thread-safe. At most a bounded number of descriptors is open.
 */
#ifndef IG_SEGMENTS_H
#define IG_SEGMENTS_H

#include "format.h"

#include <stdbool.h>

struct ig_segments;

/* A segment in use; its file stays readable until it is released, even if removed meanwhile. */
struct ig_segment {
    uint32_t number;
    int fd; /* buffered, read-only */
    uint64_t size;
    uint64_t salt;
    uint64_t header_sum; /* chain value before the first group */
    struct ig_segment_entry *entry;
};

struct ig_segments_options {
    const char *directory; /* STORE/log, borrowed until close */
    const uint8_t *uuid;   /* 16 bytes, borrowed until close */
    uint64_t size_max;
    uint64_t record_max; /* longest record: bounds the smallest segment */
    bool direct;
    bool tolerant;          /* do not fail on damaged segments */
    const char *quarantine; /* tolerant: where segments with a damaged header are moved to */
};

/* Reads the directory and every segment's header. *ret_damaged, if not NULL: how many were damaged
 * (tolerant only). */
ingot_status ig_segments_open(const struct ig_segments_options *options,
                              struct ig_segments **ret_segments, uint64_t *ret_damaged,
                              ingot_error *err);
void ig_segments_close(struct ig_segments *segments);

/* INGOT_NOT_FOUND if there is no such segment (any more). Release with ig_segment_release. */
ingot_status ig_segment_acquire(struct ig_segments *segments, uint32_t number,
                                struct ig_segment *ret_segment, ingot_error *err);
void ig_segment_release(struct ig_segments *segments, const struct ig_segment *segment);

/* Makes segment `number`: written with zeros to its full size, synced, then named. */
ingot_status ig_segment_make(struct ig_segments *segments, uint32_t number, int64_t time_ms,
                             ingot_error *err);
/* A descriptor for writing; the caller closes it. O_DIRECT where the file system takes it. */
ingot_status ig_segment_open_write(struct ig_segments *segments, uint32_t number, int *ret_fd,
                                   ingot_error *err);
/* Unlinks the file and syncs the directory. */
ingot_status ig_segment_remove(struct ig_segments *segments, uint32_t number, ingot_error *err);

/* The numbers there are, rising. Owned. */
ingot_status ig_segments_list(struct ig_segments *segments, uint32_t **ret_numbers,
                              size_t *ret_count, ingot_error *err);
/* The next number at or after `from`; 0 if there is none. */
uint32_t ig_segments_next(struct ig_segments *segments, uint32_t from);

void ig_segment_add_live(struct ig_segments *segments, uint32_t number, int64_t bytes);
uint64_t ig_segment_live(struct ig_segments *segments, uint32_t number);

struct ig_segments_info {
    uint64_t count;
    uint64_t bytes;
    uint64_t live_bytes;
};
void ig_segments_info(struct ig_segments *segments, struct ig_segments_info *ret_info);

#endif
