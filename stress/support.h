/* What the stress programs share: seeds, arguments, contents, scratch stores, counts of resources.
 */
#ifndef STRESS_SUPPORT_H
#define STRESS_SUPPORT_H

#include <ingot/ingot.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
/* 0 to bound - 1. */
uint32_t rng_below(struct rng *rng, uint32_t bound);
bool rng_chance(struct rng *rng, uint32_t percent);
/* An independent stream for part `a`, `b` of a run. */
struct rng rng_fork(uint64_t seed, uint64_t a, uint64_t b);
uint64_t seed_from_clock(void);

uint64_t now_ms(void);
void sleep_ms(uint64_t ms);

/* `--name=value`; NULL where the argument is not there. */
const char *arg_text(int argc, char **argv, const char *name);
uint64_t arg_number(int argc, char **argv, const char *name, uint64_t fallback);
bool arg_flag(int argc, char **argv, const char *name);
/* Ends the program with status 2 if an argument is none of `names` (NULL-terminated). */
void args_only(int argc, char **argv, const char *const *names);

/* The bytes of content `key`; the same key gives the same bytes at any time. */
void content_fill(uint64_t key, uint8_t *bytes, size_t len);
/* An opinion on bytes that owes nothing to the library's digests. */
uint64_t content_sum(const void *bytes, size_t len);

/* A new directory under TMPDIR (or /tmp); owned text. */
char *scratch_make(const char *name);
/* Removes it with all that is in it. */
void scratch_remove(const char *path);
char *path_join(const char *directory, const char *name);

uint32_t open_descriptors(void);
uint64_t resident_bytes(void);
/* True when an address sanitizer holds freed memory back, so that resident_bytes means nothing. */
bool memory_is_padded(void);

void *must_alloc(size_t size);

/* Prints "FAILED: ..." with the line that replays the run, and exits with status 1. Thread-safe. */
void replay_is(const char *program, const char *format, ...) __attribute__((format(printf, 2, 3)));
void failed(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
