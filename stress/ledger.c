#include "ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void *shared_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        failed("cannot map %zu bytes", size);
    return memory;
}

struct ledger *ledger_new(uint32_t writers) {
    struct ledger *ledger = shared_memory(sizeof *ledger);
    ledger->writers = writers;
    ledger->pairs = shared_memory(writers * sizeof *ledger->pairs);
    ledger->own = shared_memory((size_t)KEEP_ROUNDS * writers * OWN_CONTENTS * sizeof *ledger->own);
    return ledger;
}

struct tally *ledger_own(const struct ledger *ledger, uint32_t round, uint32_t writer, uint32_t n) {
    size_t row = (size_t)(round % KEEP_ROUNDS) * ledger->writers + writer;
    return &ledger->own[row * OWN_CONTENTS + n];
}

uint64_t key_shared(const struct ledger *ledger, uint32_t n) {
    struct rng rng = rng_fork(ledger->seed, UINT64_MAX, n);
    return rng_next(&rng);
}

uint64_t key_own(const struct ledger *ledger, uint32_t round, uint32_t writer, uint32_t n) {
    struct rng rng = rng_fork(ledger->seed, round, (uint64_t)writer * OWN_CONTENTS + n);
    return rng_next(&rng);
}

size_t content_of(uint64_t key, uint8_t *bytes) {
    struct rng rng = {key};
    uint32_t class = rng_below(&rng, 1000);
    size_t len = class < 700   ? 16 + rng_below(&rng, 2000)
                 : class < 950 ? 2000 + rng_below(&rng, 6000)
                 : class < 997 ? 8000 + rng_below(&rng, 32000)
                               : LARGE_MIN + rng_below(&rng, CONTENT_MAX - LARGE_MIN);
    content_fill(key, bytes, len);
    return len;
}

void complain(struct ledger *ledger, const char *format, ...) {
    if (!atomic_flag_test_and_set(&ledger->complained)) {
        va_list args;
        va_start(args, format);
        vsnprintf(ledger->complaint, sizeof ledger->complaint, format, args);
        va_end(args);
        _exit(3);
    }
    for (;;) /* another thread is about to end the process */
        pause();
}
