#include "scan.h"

#include "bytes.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct scan {
    const struct ig_segment *segment;
    const struct ig_scan_start *start;
    const struct ig_scan_visitor *visitor;
    struct ig_scan_end *end;
    char name[32];
    uint8_t *buffer;
    uint64_t capacity;
};

/* INGOT_CORRUPT if the file ends before. */
static ingot_status read_bytes(const struct scan *scan, void *buffer, uint64_t len, uint64_t offset,
                               ingot_error *err) {
    return ig_read_all(scan->segment->fd, buffer, len, offset, scan->name, err);
}

static ingot_status read_at(struct scan *scan, uint64_t offset, uint64_t len, ingot_error *err) {
    if (len > scan->capacity) {
        ig_free(scan->buffer);
        scan->capacity = 0;
        scan->buffer = ig_alloc_aligned(IG_LOG_ALIGN, len);
        if (scan->buffer == NULL)
            return ig_fail_memory(err, "a commit group");
        scan->capacity = len;
    }
    return read_bytes(scan, scan->buffer, len, offset, err);
}

/* The group header at `offset`; what is wrong with it, or NULL. */
static const char *header_at(struct scan *scan, uint64_t offset, struct ig_group_header *ret_header,
                             ingot_status *ret_status, ingot_error *err) {
    uint8_t bytes[IG_GROUP_HEADER];
    *ret_status = INGOT_OK;
    if (offset + IG_LOG_ALIGN > scan->segment->size)
        return "end of segment";
    *ret_status = read_bytes(scan, bytes, sizeof bytes, offset, err);
    if (*ret_status == INGOT_CORRUPT) {
        *ret_status = INGOT_OK;
        return "the file ends early";
    }
    if (*ret_status != INGOT_OK)
        return "unreadable";
    const char *wrong = ig_group_header_decode(bytes, scan->segment->salt, ret_header);
    if (wrong == NULL && ret_header->length > scan->segment->size - offset)
        wrong = "group is longer than its segment";
    return wrong;
}

/* Checks record number `i` at `at` in the buffer; NULL or what is wrong. */
static const char *record_at(const struct scan *scan, const struct ig_group_header *header,
                             uint32_t i, uint64_t at, struct ig_record *ret_record) {
    if (at + IG_RECORD_HEADER > header->length)
        return "record runs over its group";
    const char *wrong =
        ig_record_decode(scan->buffer + at, scan->segment->salt ^ header->nonce, ret_record);
    if (wrong == NULL && ret_record->seq != header->first_seq + i)
        wrong = "record out of sequence";
    if (wrong == NULL && ret_record->body_len > header->length - at - IG_RECORD_HEADER)
        wrong = "body runs over its group";
    return wrong;
}

static bool body_fits(const struct scan *scan, const struct ig_record *record, uint64_t at) {
    uint64_t sum = record->body_len == 0
                       ? 0
                       : ig_sum(scan->buffer + at + IG_RECORD_HEADER, record->body_len, 0);
    return sum == record->body_sum;
}

static const char *check_group(const struct scan *scan, const struct ig_group_header *header) {
    uint64_t at = IG_GROUP_HEADER;
    for (uint32_t i = 0; i < header->count; i++) {
        struct ig_record record;
        const char *wrong = record_at(scan, header, i, at, &record);
        if (wrong == NULL && scan->start->bodies && !body_fits(scan, &record, at))
            wrong = "body checksum differs";
        if (wrong != NULL)
            return wrong;
        at += ig_record_footprint(record.body_len);
    }
    return NULL;
}

/* Visits the records of the group in the buffer, up to the first whose header is broken. */
static ingot_status visit_group(struct scan *scan, const struct ig_group_header *header,
                                uint64_t offset, bool broken, ingot_error *err) {
    uint64_t at = IG_GROUP_HEADER;
    for (uint32_t i = 0; i < header->count; i++) {
        struct ig_record record;
        if (record_at(scan, header, i, at, &record) != NULL)
            break;
        struct ig_scanned scanned = {
            .record = &record,
            .offset = offset + at,
            .time_ms = header->time_ms,
            .body = scan->buffer + at + IG_RECORD_HEADER,
            .body_damaged = broken && !body_fits(scan, &record, at),
        };
        ingot_status status = scan->visitor->record == NULL
                                  ? INGOT_OK
                                  : scan->visitor->record(scan->visitor->context, &scanned, err);
        if (status != INGOT_OK)
            return status;
        scan->end->records++;
        at += ig_record_footprint(record.body_len);
    }
    return INGOT_OK;
}

static void note(struct scan *scan, uint64_t offset, const char *wrong) {
    if (scan->end->damage[0] == '\0')
        snprintf(scan->end->damage, sizeof scan->end->damage, "%s at %" PRIu64 ": %s", scan->name,
                 offset, wrong);
}

static bool zero(const uint8_t *bytes, uint64_t len) {
    for (uint64_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Padding carries nothing, so damage in it costs nothing, but a check should tell. */
static void note_strays(struct scan *scan, const struct ig_group_header *header, uint64_t offset) {
    uint64_t at = IG_GROUP_HEADER;
    bool clean = true;
    for (uint32_t i = 0; i < header->count && clean; i++) {
        struct ig_record record;
        if (record_at(scan, header, i, at, &record) != NULL)
            return;
        uint64_t used = IG_RECORD_HEADER + record.body_len;
        uint64_t footprint = ig_record_footprint(record.body_len);
        clean = zero(scan->buffer + at + used, footprint - used);
        at += footprint;
    }
    if (clean && zero(scan->buffer + at, header->length - at))
        return;
    scan->end->strays++;
    note(scan, offset, "padding is not zero");
}

/* Looks behind a broken group. *ret_proven: a later group says that this one was durable.
 * *ret_next: where the next readable group starts. */
static ingot_status look_behind(struct scan *scan, uint64_t offset, bool *ret_proven,
                                uint64_t *ret_next, ingot_error *err) {
    *ret_proven = false;
    *ret_next = 0;
    for (uint64_t at = offset + IG_LOG_ALIGN;
         !*ret_proven && at + IG_LOG_ALIGN <= scan->segment->size; at += IG_LOG_ALIGN) {
        struct ig_group_header header;
        ingot_status status;
        const char *wrong = header_at(scan, at, &header, &status, err);
        if (status != INGOT_OK)
            return status;
        if (wrong != NULL || header.first_seq <= scan->end->next_seq)
            continue;
        *ret_next = *ret_next == 0 ? at : *ret_next;
        *ret_proven = header.count == 0 || header.durable_seq >= scan->end->next_seq;
    }
    return INGOT_OK;
}

static void accept(struct scan *scan, const struct ig_group_header *header, uint64_t offset) {
    uint8_t bytes[IG_GROUP_HEADER];
    ig_group_header_encode(header, scan->segment->salt, bytes);
    scan->end->chain = ig_sum(bytes, sizeof bytes, 0);
    scan->end->group_offset = offset;
    scan->end->offset = offset + header->length;
    scan->end->next_seq = header->first_seq + header->count;
    scan->end->time_ms = header->time_ms;
    scan->end->sealed = header->count == 0;
    scan->end->groups++;
}

/* What is wrong with the group at `offset`; NULL if it is the next valid one and in the buffer. */
static const char *load_group(struct scan *scan, uint64_t offset, bool linked,
                              struct ig_group_header *ret_header, ingot_status *ret_status,
                              ingot_error *err) {
    const char *wrong = header_at(scan, offset, ret_header, ret_status, err);
    if (wrong != NULL)
        return wrong;
    if (linked && ret_header->chain != scan->end->chain)
        return "group does not follow the one before";
    if (linked && scan->end->next_seq != 0 && ret_header->first_seq != scan->end->next_seq)
        return "group out of sequence";
    if (ret_header->first_seq < scan->end->next_seq)
        return "group of an earlier life";
    *ret_status = read_at(scan, offset, ret_header->length, err);
    if (*ret_status == INGOT_CORRUPT) {
        *ret_status = INGOT_OK;
        return "the file ends early";
    }
    return *ret_status != INGOT_OK ? "unreadable" : check_group(scan, ret_header);
}

/* A sound header over a broken record: what is readable in the group still counts. */
static ingot_status salvage_group(struct scan *scan, uint64_t offset, uint64_t *next,
                                  ingot_error *err) {
    struct ig_group_header header;
    ingot_status status;
    if (header_at(scan, offset, &header, &status, err) != NULL ||
        header.first_seq < scan->end->next_seq || offset + header.length > *next)
        return status;
    status = read_at(scan, offset, header.length, err);
    if (status == INGOT_CORRUPT)
        return INGOT_OK;
    if (status == INGOT_OK)
        status = visit_group(scan, &header, offset, true, err);
    scan->end->next_seq = header.first_seq + header.count;
    *next = offset + header.length;
    return status;
}

static ingot_status walk(struct scan *scan, ingot_error *err) {
    bool linked = true; /* false just behind damage: the chain is cut there */
    while (!scan->end->sealed &&
           (scan->start->until == 0 || scan->end->next_seq <= scan->start->until)) {
        uint64_t offset = scan->end->offset;
        struct ig_group_header header;
        ingot_status status;
        const char *wrong = load_group(scan, offset, linked, &header, &status, err);
        if (status != INGOT_OK)
            return status;
        if (wrong == NULL) {
            note_strays(scan, &header, offset);
            status = visit_group(scan, &header, offset, false, err);
            if (status != INGOT_OK)
                return status;
            accept(scan, &header, offset);
            linked = true;
            if (scan->visitor->group_done != NULL)
                status = scan->visitor->group_done(scan->visitor->context, scan->end, err);
            if (status != INGOT_OK)
                return status;
            continue;
        }
        bool proven;
        uint64_t next;
        status = look_behind(scan, offset, &proven, &next, err);
        if (status != INGOT_OK || !proven)
            return status;
        scan->end->damages++;
        note(scan, offset, wrong);
        if (!scan->start->salvage)
            return INGOT_OK;
        status = salvage_group(scan, offset, &next, err);
        if (status != INGOT_OK)
            return status;
        scan->end->offset = next;
        linked = false;
    }
    return INGOT_OK;
}

ingot_status ig_scan_segment(const struct ig_segment *segment, const struct ig_scan_start *start,
                             const struct ig_scan_visitor *visitor, struct ig_scan_end *ret_end,
                             ingot_error *err) {
    *ret_end = (struct ig_scan_end){
        .offset = start->offset == 0 ? IG_SEGMENT_HEADER : start->offset,
        .chain = start->offset == 0 ? segment->header_sum : start->chain,
        .next_seq = start->seq,
    };
    struct scan scan = {.segment = segment, .start = start, .visitor = visitor, .end = ret_end};
    snprintf(scan.name, sizeof scan.name, "log/%08" PRIu32 ".seg", segment->number);
    ingot_status status = walk(&scan, err);
    ig_free(scan.buffer);
    return status;
}
