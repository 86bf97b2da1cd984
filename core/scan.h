/* Walking the groups and records of one segment, as docs/format.md says. */
#ifndef IG_SCAN_H
#define IG_SCAN_H

#include "segments.h"

/* Where a walk begins: a group boundary, what its chain field and first sequence number must be. */
struct ig_scan_start {
    uint64_t offset; /* 0: the segment's first group */
    uint64_t chain;  /* ignored with offset 0 */
    uint64_t seq;    /* 0: any */
    bool salvage;    /* go on behind damage where later groups prove it to be damage */
    bool bodies;     /* check the bodies' checksums */
    uint64_t until;  /* go no further than the group of this sequence number; 0: to the end. What
                        is behind it may be in the middle of being written */
};

struct ig_scanned {
    const struct ig_record *record;
    uint64_t offset; /* of the record in the segment */
    int64_t time_ms; /* of its group */
    const uint8_t *body;
    bool body_damaged; /* salvage only */
};
typedef ingot_status (*ig_scan_visit)(void *context, const struct ig_scanned *scanned,
                                      ingot_error *err);

struct ig_scan_end {
    bool sealed;
    uint64_t offset;       /* behind the last valid group */
    uint64_t chain;        /* of that group's header */
    uint64_t group_offset; /* of that group; 0 if none was seen */
    uint64_t next_seq;     /* 0 if nothing was seen and none was given */
    int64_t time_ms;       /* of that group */
    uint64_t groups;
    uint64_t records;
    uint64_t damages; /* broken groups that were not the end of the log */
    uint64_t strays;  /* valid groups with bytes other than zero where padding is */
    char damage[160]; /* the first damage or stray: where and what */
};

/* Called behind the last record of each valid group, with `end` as of there. */
typedef ingot_status (*ig_scan_group_done)(void *context, const struct ig_scan_end *end,
                                           ingot_error *err);

struct ig_scan_visitor {
    ig_scan_visit record;          /* NULL: none */
    ig_scan_group_done group_done; /* NULL: none */
    void *context;
};

/* Visits every record of every valid group. A group is checked whole before its first record is
 * visited (without salvage). The walk ends at a seal, at the end of the segment or at a broken
 * group; if that one is damage by the rule of the format, damages is not 0. Fails only when reading
 * or the visitor fails. */
ingot_status ig_scan_segment(const struct ig_segment *segment, const struct ig_scan_start *start,
                             const struct ig_scan_visitor *visitor, struct ig_scan_end *ret_end,
                             ingot_error *err);

#endif
