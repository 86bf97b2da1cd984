#include "segments.h"

#include "bytes.h"
#include "lock.h"
#include "mem.h"
#include "os.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Descriptors kept open for reading. */
#define OPEN_MAX_SEGMENTS 256
/* The first segments are small, so that a small store is; each is twice the one before. */
#define FIRST_SIZE (UINT64_C(4) << 20)
#define ZERO_CHUNK (UINT64_C(1) << 20)

struct ig_segment_entry {
    struct ig_segment segment;
    uint32_t users;
    bool removed; /* unlinked; freed when the last user goes */
    int64_t live_bytes;
};

struct ig_segments {
    struct ig_segments_options options; /* sync: fixed after init */
    ig_mutex lock;
    struct ig_segment_entry **entries; /* sync: lock; by rising number, removed ones not in it */
    size_t count;                      /* sync: lock */
    size_t capacity;                   /* sync: lock */
    size_t open_count;                 /* sync: lock */
    size_t hand;      /* sync: lock; where the search for a descriptor to close goes on */
    uint64_t damaged; /* sync: fixed after init */
};

static void segment_name(uint32_t number, char ret_name[24]) {
    snprintf(ret_name, 24, "%08" PRIu32 ".seg", number);
}

static char *segment_path(const struct ig_segments *segments, uint32_t number) {
    char name[24];
    segment_name(number, name);
    return ig_path(segments->options.directory, name);
}

/* Index of the first entry with a number >= `number`. */
static size_t position_locked(const struct ig_segments *segments, uint32_t number) {
    size_t low = 0, high = segments->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (segments->entries[middle]->segment.number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct ig_segment_entry *find_locked(const struct ig_segments *segments, uint32_t number) {
    size_t at = position_locked(segments, number);
    if (at == segments->count || segments->entries[at]->segment.number != number)
        return NULL;
    return segments->entries[at];
}

static ingot_status insert(struct ig_segments *segments, const struct ig_segment *segment,
                           ingot_error *err) {
    struct ig_segment_entry *entry = ig_alloc(sizeof *entry);
    if (entry == NULL)
        return ig_fail_memory(err, "a segment");
    entry->segment = *segment;
    ig_lock(&segments->lock);
    if (segments->count == segments->capacity) {
        size_t capacity = segments->capacity == 0 ? 64 : 2 * segments->capacity;
        struct ig_segment_entry **grown =
            ig_realloc(segments->entries, capacity * sizeof(struct ig_segment_entry *));
        if (grown == NULL) {
            ig_unlock(&segments->lock);
            ig_free(entry);
            return ig_fail_memory(err, "the segment list");
        }
        segments->entries = grown;
        segments->capacity = capacity;
    }
    size_t at = position_locked(segments, segment->number);
    memmove(segments->entries + at + 1, segments->entries + at,
            (segments->count - at) * sizeof(struct ig_segment_entry *));
    segments->entries[at] = entry;
    segments->count++;
    ig_unlock(&segments->lock);
    return INGOT_OK;
}

/* Reads and checks the header of an existing file. */
static ingot_status read_header(struct ig_segments *segments, uint32_t number,
                                struct ig_segment *ret_segment, ingot_error *err) {
    IG_CLEANUP_FREE char *path = segment_path(segments, number);
    if (path == NULL)
        return ig_fail_memory(err, "a path");
    int fd = ig_os->open(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s", path);
    uint8_t block[IG_SEGMENT_HEADER];
    ingot_status status = ig_read_all(fd, block, sizeof block, 0, path, err);
    ig_os->close(fd);
    if (status != INGOT_OK)
        return status;
    struct ig_segment_header header;
    const char *wrong = ig_segment_header_decode(block, &header);
    if (wrong == NULL && header.number != number)
        wrong = "the header has another segment's number";
    if (wrong == NULL && (header.size > segments->options.size_max ||
                          header.size % IG_LOG_ALIGN != 0 || header.size < 3 * IG_LOG_ALIGN))
        wrong = "the header has a size that no segment has";
    if (wrong == NULL && memcmp(header.uuid, segments->options.uuid, 16) != 0)
        wrong = "the segment belongs to another store";
    if (wrong != NULL)
        return ig_fail(err, INGOT_CORRUPT, "%s: %s", path, wrong);
    *ret_segment = (struct ig_segment){.number = number,
                                       .fd = -1,
                                       .size = header.size,
                                       .salt = header.salt,
                                       .header_sum = ig_sum(block, IG_GROUP_HEADER, 0)};
    return INGOT_OK;
}

/* A segment is written to its full size before it gets its name: a shorter one was damaged. */
static ingot_status check_length(const struct ig_segments *segments,
                                 const struct ig_segment *segment, ingot_error *err) {
    IG_CLEANUP_FREE char *path = segment_path(segments, segment->number);
    struct stat st;
    if (path == NULL)
        return ig_fail_memory(err, "a path");
    if (stat(path, &st) < 0)
        return ig_fail_errno(err, errno, "cannot stat %s", path);
    if ((uint64_t)st.st_size != segment->size)
        return ig_fail(err, INGOT_CORRUPT, "%s has %lld bytes, its header says %" PRIu64, path,
                       (long long)st.st_size, segment->size);
    return INGOT_OK;
}

/* Kept for study: its number may be given to a new segment. */
static ingot_status move_away(const struct ig_segments *segments, const char *name,
                              ingot_error *err) {
    const char *quarantine = segments->options.quarantine;
    IG_CLEANUP_FREE char *from = ig_path(segments->options.directory, name);
    IG_CLEANUP_FREE char *to = ig_path(quarantine, name);
    if (from == NULL || to == NULL)
        return ig_fail_memory(err, "a path");
    if (ig_os->mkdir(AT_FDCWD, quarantine, 0700) < 0 && errno != EEXIST)
        return ig_fail_errno(err, errno, "cannot make directory %s", quarantine);
    if (ig_os->renameat(AT_FDCWD, from, AT_FDCWD, to) < 0)
        return ig_fail_errno(err, errno, "cannot move %s to %s", from, to);
    ingot_status status = ig_sync_dir(quarantine, err);
    return status != INGOT_OK ? status : ig_sync_dir(segments->options.directory, err);
}

static ingot_status load_entry(void *context, const char *name, ingot_error *err) {
    struct ig_segments *segments = context;
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    if (strspn(name, "0123456789") != 8 || end != name + 8 || strcmp(end, ".seg") != 0 ||
        number == 0)
        return INGOT_OK;
    struct ig_segment segment;
    ingot_status status = read_header(segments, (uint32_t)number, &segment, err);
    bool readable = status == INGOT_OK;
    if (status == INGOT_OK)
        status = check_length(segments, &segment, err);
    if (status == INGOT_CORRUPT && segments->options.tolerant) {
        segments->damaged++;
        status = readable ? INGOT_OK : move_away(segments, name, err);
    }
    return status == INGOT_OK && readable ? insert(segments, &segment, err) : status;
}

ingot_status ig_segments_open(const struct ig_segments_options *options,
                              struct ig_segments **ret_segments, uint64_t *ret_damaged,
                              ingot_error *err) {
    struct ig_segments *segments = ig_alloc(sizeof *segments);
    if (segments == NULL)
        return ig_fail_memory(err, "the segment list");
    segments->options = *options;
    ig_mutex_init(&segments->lock, IG_RANK_LEAF);
    ingot_status status = ig_each_entry(options->directory, load_entry, segments, err);
    if (status != INGOT_OK) {
        ig_segments_close(segments);
        return status;
    }
    if (ret_damaged != NULL)
        *ret_damaged = segments->damaged;
    *ret_segments = segments;
    return INGOT_OK;
}

static void entry_free(struct ig_segment_entry *entry) {
    if (entry->segment.fd >= 0)
        ig_os->close(entry->segment.fd);
    ig_free(entry);
}

void ig_segments_close(struct ig_segments *segments) {
    if (segments == NULL)
        return;
    for (size_t i = 0; i < segments->count; i++)
        entry_free(segments->entries[i]);
    ig_free(segments->entries);
    ig_mutex_release(&segments->lock);
    ig_free(segments);
}

/* Closes one unused descriptor when too many are open. */
static void trim_locked(struct ig_segments *segments) {
    for (size_t i = 0; i < segments->count && segments->open_count > OPEN_MAX_SEGMENTS; i++) {
        segments->hand = (segments->hand + 1) % segments->count;
        struct ig_segment_entry *entry = segments->entries[segments->hand];
        if (entry->users > 0 || entry->segment.fd < 0)
            continue;
        ig_os->close(entry->segment.fd);
        entry->segment.fd = -1;
        segments->open_count--;
    }
}

ingot_status ig_segment_acquire(struct ig_segments *segments, uint32_t number,
                                struct ig_segment *ret_segment, ingot_error *err) {
    ig_lock(&segments->lock);
    struct ig_segment_entry *entry = find_locked(segments, number);
    if (entry == NULL) {
        ig_unlock(&segments->lock);
        return ig_fail(err, INGOT_NOT_FOUND, "segment %" PRIu32 " is not there", number);
    }
    if (entry->segment.fd < 0) {
        trim_locked(segments);
        char *path = segment_path(segments, number);
        int fd = path == NULL ? -1 : ig_os->open(AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0) {
            int errnum = path == NULL ? ENOMEM : errno;
            ig_unlock(&segments->lock);
            ingot_status status =
                ig_fail_errno(err, errnum, "cannot open %s", path == NULL ? "a segment" : path);
            ig_free(path);
            return status;
        }
        ig_free(path);
        entry->segment.fd = fd;
        segments->open_count++;
    }
    entry->users++;
    *ret_segment = entry->segment;
    ret_segment->entry = entry;
    ig_unlock(&segments->lock);
    return INGOT_OK;
}

void ig_segment_release(struct ig_segments *segments, const struct ig_segment *segment) {
    struct ig_segment_entry *entry = segment->entry;
    ig_lock(&segments->lock);
    bool last = --entry->users == 0 && entry->removed;
    ig_unlock(&segments->lock);
    if (last)
        entry_free(entry);
}

static uint64_t size_of(const struct ig_segments *segments, uint32_t number) {
    uint64_t least = 2 * IG_LOG_ALIGN + IG_SEGMENT_HEADER + 2 * segments->options.record_max;
    uint64_t size = FIRST_SIZE << (number > 11 ? 10 : number - 1);
    size = size < least ? ig_align_up(least, ZERO_CHUNK) : size;
    return size < segments->options.size_max ? size : segments->options.size_max;
}

static ingot_status create_file(const char *path, ingot_error *err) {
    int fd = ig_os->open(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot make %s", path);
    ig_os->close(fd);
    return INGOT_OK;
}

static ingot_status open_write(const struct ig_segments *segments, const char *path, int *ret_fd,
                               ingot_error *err) {
    int fd = -1;
    if (segments->options.direct)
        fd = ig_os->open(AT_FDCWD, path, O_RDWR | O_DIRECT, 0);
    if (fd < 0)
        fd = ig_os->open(AT_FDCWD, path, O_RDWR, 0);
    if (fd < 0)
        return ig_fail_errno(err, errno, "cannot open %s for writing", path);
    *ret_fd = fd;
    return INGOT_OK;
}

static ingot_status fill(int fd, const uint8_t *header, uint64_t size, uint8_t *zeros,
                         const char *path, ingot_error *err) {
    ingot_status status = INGOT_OK;
    memcpy(zeros, header, IG_SEGMENT_HEADER);
    for (uint64_t at = 0; at < size && status == INGOT_OK; at += ZERO_CHUNK) {
        uint64_t len = size - at < ZERO_CHUNK ? size - at : ZERO_CHUNK;
        status = ig_write_all(fd, zeros, (size_t)len, at, path, err);
        memset(zeros, 0, IG_SEGMENT_HEADER);
    }
    if (status == INGOT_OK && ig_os->fdatasync(fd) < 0)
        status = ig_fail_errno(err, errno, "cannot sync %s", path);
    return status;
}

static ingot_status write_new(struct ig_segments *segments, const struct ig_segment_header *header,
                              const char *temporary, ingot_error *err) {
    uint8_t block[IG_SEGMENT_HEADER];
    ig_segment_header_encode(header, block);
    uint8_t *zeros = ig_alloc_aligned(IG_LOG_ALIGN, ZERO_CHUNK);
    if (zeros == NULL)
        return ig_fail_memory(err, "a segment");
    memset(zeros, 0, ZERO_CHUNK);
    /* A leftover may have become a segment under its other name: never written to, only removed. */
    int fd;
    ingot_status status = INGOT_OK;
    if (ig_os->unlinkat(AT_FDCWD, temporary, 0) < 0 && errno != ENOENT)
        status = ig_fail_errno(err, errno, "cannot remove %s", temporary);
    if (status == INGOT_OK)
        status = create_file(temporary, err);
    if (status == INGOT_OK)
        status = open_write(segments, temporary, &fd, err);
    if (status == INGOT_OK) {
        status = fill(fd, block, header->size, zeros, temporary, err);
        ig_os->close(fd);
    }
    ig_free(zeros);
    return status;
}

ingot_status ig_segment_make(struct ig_segments *segments, uint32_t number, int64_t time_ms,
                             ingot_error *err) {
    struct ig_segment_header header = {
        .number = number, .size = size_of(segments, number), .time_ms = time_ms};
    memcpy(header.uuid, segments->options.uuid, 16);
    if (ig_os->random(&header.salt, sizeof header.salt) < 0)
        return ig_fail_errno(err, errno, "cannot draw a salt");
    IG_CLEANUP_FREE char *path = segment_path(segments, number);
    IG_CLEANUP_FREE char *temporary = ig_path(segments->options.directory, "next.tmp");
    if (path == NULL || temporary == NULL)
        return ig_fail_memory(err, "a path");
    ingot_status status = write_new(segments, &header, temporary, err);
    /* A link, not a rename: it never takes the place of a file that is there. One that is there was
     * made by an attempt that failed later on, and is taken over if it is whole. */
    if (status == INGOT_OK && ig_os->linkat(AT_FDCWD, temporary, AT_FDCWD, path, 0) < 0 &&
        errno != EEXIST)
        status = ig_fail_errno(err, errno, "cannot name %s", path);
    ig_os->unlinkat(AT_FDCWD, temporary, 0);
    if (status != INGOT_OK)
        return status;
    status = ig_sync_dir(segments->options.directory, err);
    if (status != INGOT_OK)
        return status;
    struct ig_segment segment;
    status = read_header(segments, number, &segment, err);
    if (status == INGOT_OK)
        status = check_length(segments, &segment, err);
    return status != INGOT_OK ? status : insert(segments, &segment, err);
}

ingot_status ig_segment_open_write(struct ig_segments *segments, uint32_t number, int *ret_fd,
                                   ingot_error *err) {
    IG_CLEANUP_FREE char *path = segment_path(segments, number);
    if (path == NULL)
        return ig_fail_memory(err, "a path");
    return open_write(segments, path, ret_fd, err);
}

ingot_status ig_segment_remove(struct ig_segments *segments, uint32_t number, ingot_error *err) {
    IG_CLEANUP_FREE char *path = segment_path(segments, number);
    if (path == NULL)
        return ig_fail_memory(err, "a path");
    if (ig_os->unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
        return ig_fail_errno(err, errno, "cannot remove %s", path);
    ingot_status status = ig_sync_dir(segments->options.directory, err);
    if (status != INGOT_OK)
        return status;
    ig_lock(&segments->lock);
    size_t at = position_locked(segments, number);
    struct ig_segment_entry *entry = find_locked(segments, number);
    bool unused = false;
    if (entry != NULL) {
        segments->count--;
        segments->open_count -= entry->segment.fd >= 0 ? 1 : 0;
        memmove(segments->entries + at, segments->entries + at + 1,
                (segments->count - at) * sizeof(struct ig_segment_entry *));
        entry->removed = true;
        unused = entry->users == 0;
    }
    ig_unlock(&segments->lock);
    if (unused)
        entry_free(entry);
    return INGOT_OK;
}

ingot_status ig_segments_list(struct ig_segments *segments, uint32_t **ret_numbers,
                              size_t *ret_count, ingot_error *err) {
    ig_lock(&segments->lock);
    uint32_t *numbers = ig_alloc_array(segments->count, sizeof *numbers);
    for (size_t i = 0; numbers != NULL && i < segments->count; i++)
        numbers[i] = segments->entries[i]->segment.number;
    size_t count = segments->count;
    ig_unlock(&segments->lock);
    if (numbers == NULL)
        return ig_fail_memory(err, "a list of segments");
    *ret_numbers = numbers;
    *ret_count = count;
    return INGOT_OK;
}

uint32_t ig_segments_next(struct ig_segments *segments, uint32_t from) {
    ig_lock(&segments->lock);
    size_t at = position_locked(segments, from);
    uint32_t number = at < segments->count ? segments->entries[at]->segment.number : 0;
    ig_unlock(&segments->lock);
    return number;
}

void ig_segment_add_live(struct ig_segments *segments, uint32_t number, int64_t bytes) {
    ig_lock(&segments->lock);
    struct ig_segment_entry *entry = find_locked(segments, number);
    if (entry != NULL)
        entry->live_bytes += bytes;
    ig_unlock(&segments->lock);
}

uint64_t ig_segment_live(struct ig_segments *segments, uint32_t number) {
    ig_lock(&segments->lock);
    const struct ig_segment_entry *entry = find_locked(segments, number);
    int64_t live = entry == NULL || entry->live_bytes < 0 ? 0 : entry->live_bytes;
    ig_unlock(&segments->lock);
    return (uint64_t)live;
}

void ig_segments_info(struct ig_segments *segments, struct ig_segments_info *ret_info) {
    *ret_info = (struct ig_segments_info){.count = 0};
    ig_lock(&segments->lock);
    for (size_t i = 0; i < segments->count; i++) {
        ret_info->count++;
        ret_info->bytes += segments->entries[i]->segment.size;
        ret_info->live_bytes += (uint64_t)segments->entries[i]->live_bytes;
    }
    ig_unlock(&segments->lock);
}
