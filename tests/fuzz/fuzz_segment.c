/* A segment of any bytes: walking it ends, reads inside it only, and gives nothing that its
 * checksums do not cover. The harness makes the checksums right where the bytes ask for it (first
 * byte odd), so that the fuzzer gets behind them. */
#include "bytes.h"
#include "scan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SALT UINT64_C(0x5a17)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t end; /* of the segment */
    uint64_t records;
};

static ingot_status visit(void *context, const struct ig_scanned *scanned, ingot_error *err) {
    struct seen *seen = context;
    (void)err;
    if (scanned->offset + IG_RECORD_HEADER + scanned->record->body_len > seen->end)
        abort();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < scanned->record->body_len; i++)
        sum += scanned->body[i]; /* touches every byte: the sanitizer sees one that is not there */
    seen->records += 1 + (sum & 0);
    return INGOT_OK;
}

static void mend(uint8_t *bytes, size_t size) {
    for (size_t at = IG_SEGMENT_HEADER; at + IG_LOG_ALIGN <= size; at += IG_LOG_ALIGN) {
        if (memcmp(bytes + at, "IGGR", 4) != 0)
            continue;
        uint64_t nonce = ig_get64(bytes + at + 32);
        ig_put64(bytes + at + 56, ig_sum(bytes + at, 56, SALT));
        size_t record = at + IG_GROUP_HEADER;
        for (unsigned i = 0; i < 64 && record + IG_RECORD_HEADER <= size; i++) {
            if (memcmp(bytes + record, "IGRC", 4) != 0)
                break;
            uint64_t body = ig_get64(bytes + record + 24);
            if (body > 0 && body <= size - record - IG_RECORD_HEADER)
                ig_put64(bytes + record + 80, ig_sum(bytes + record + IG_RECORD_HEADER, body, 0));
            ig_put64(bytes + record + 88, ig_sum(bytes + record, 88, SALT ^ nonce));
            if (body > size)
                break;
            record += ig_record_footprint(body);
        }
    }
}

static void scan(int fd, size_t size, bool salvage) {
    struct ig_segment segment = {
        .number = 1, .fd = fd, .size = ig_align_up(size, IG_LOG_ALIGN), .salt = SALT};
    struct seen seen = {.end = segment.size};
    struct ig_scan_visitor visitor = {.record = visit, .context = &seen};
    struct ig_scan_start start = {.salvage = salvage, .bodies = true};
    struct ig_scan_end end;
    ingot_error err = INGOT_ERROR_INIT;
    if (ig_scan_segment(&segment, &start, &visitor, &end, &err) == INGOT_OK &&
        (end.offset > segment.size || end.records != seen.records))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    size_t total = IG_SEGMENT_HEADER + size - 1;
    uint8_t *bytes = calloc(1, total);
    int fd = memfd_create("segment", 0);
    if (bytes == NULL || fd < 0)
        abort();
    memcpy(bytes + IG_SEGMENT_HEADER, data + 1, size - 1);
    if (data[0] % 2 == 1)
        mend(bytes, total);
    if (write(fd, bytes, total) != (ssize_t)total)
        abort();
    scan(fd, total, false);
    scan(fd, total, true);
    close(fd);
    free(bytes);
    return 0;
}
