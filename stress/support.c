#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t rng_next(struct rng *rng) {
    uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t rng_below(struct rng *rng, uint32_t bound) {
    return (uint32_t)(((rng_next(rng) >> 32) * bound) >> 32);
}

bool rng_chance(struct rng *rng, uint32_t percent) { return rng_below(rng, 100) < percent; }

struct rng rng_fork(uint64_t seed, uint64_t a, uint64_t b) {
    struct rng rng = {seed};
    rng.state ^= rng_next(&rng) + a;
    rng.state ^= rng_next(&rng) + b;
    return rng;
}

uint64_t seed_from_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct rng rng = {(uint64_t)now.tv_nsec ^ ((uint64_t)now.tv_sec << 20) ^ (uint64_t)getpid()};
    return rng_next(&rng) >> 32;
}

uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_ms(uint64_t ms) {
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

const char *arg_text(int argc, char **argv, const char *name) {
    size_t len = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strncmp(argv[i] + 2, name, len) == 0 &&
            argv[i][2 + len] == '=')
            return argv[i] + 3 + len;
    return NULL;
}

uint64_t arg_number(int argc, char **argv, const char *name, uint64_t fallback) {
    const char *text = arg_text(argc, argv, name);
    if (text == NULL)
        return fallback;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text) {
        fprintf(stderr, "--%s=%s is not a number\n", name, text);
        exit(2);
    }
    return value;
}

bool arg_flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0)
            return true;
    return false;
}

void args_only(int argc, char **argv, const char *const *names) {
    for (int i = 1; i < argc; i++) {
        size_t len = strcspn(argv[i], "=");
        bool known = false;
        for (size_t n = 0; names[n] != NULL; n++)
            known = known || (len == strlen(names[n]) + 2 && strncmp(argv[i], "--", 2) == 0 &&
                              strncmp(argv[i] + 2, names[n], len - 2) == 0);
        if (known)
            continue;
        fprintf(stderr, "%s: unknown argument %s; known:", argv[0], argv[i]);
        for (size_t n = 0; names[n] != NULL; n++)
            fprintf(stderr, " --%s", names[n]);
        fputc('\n', stderr);
        exit(2);
    }
}

void content_fill(uint64_t key, uint8_t *bytes, size_t len) {
    struct rng rng = rng_fork(key, len, 0);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(bytes + at, &word, len - at < 8 ? len - at : 8);
    }
}

uint64_t content_sum(const void *bytes, size_t len) {
    uint64_t sum = len;
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = 0;
        memcpy(&word, (const uint8_t *)bytes + at, len - at < 8 ? len - at : 8);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum;
}

void *must_alloc(size_t size) {
    void *memory = calloc(1, size == 0 ? 1 : size);
    if (memory == NULL)
        failed("out of memory");
    return memory;
}

char *path_join(const char *directory, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        failed("out of memory");
    return path;
}

char *scratch_make(const char *name) {
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/%s-XXXXXX", base == NULL || *base == '\0' ? "/tmp" : base, name) < 0)
        failed("out of memory");
    if (mkdtemp(path) == NULL)
        failed("cannot make %s: %s", path, strerror(errno));
    return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void scratch_remove(const char *path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

uint32_t open_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    uint32_t count = 0;
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        closedir(dir);
    return count;
}

uint64_t resident_bytes(void) {
    unsigned long long size = 0;
    unsigned long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    if (file != NULL)
        fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool memory_is_padded(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#else
    return false;
#endif
#else
    return false;
#endif
}

static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;
static char replay_line[512]; /* sync: written once, before any thread */

void replay_is(const char *program, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = snprintf(replay_line, sizeof replay_line, "%s ", program);
    vsnprintf(replay_line + n, sizeof replay_line - (size_t)n, format, args);
    va_end(args);
    printf("%s\n", replay_line);
    fflush(stdout);
}

void failed(const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&report_lock);
    fflush(stdout);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nreplay: %s\n", replay_line);
    va_end(args);
    _exit(1);
}
