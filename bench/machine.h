/* Facts about the machine that a reader of numbers needs. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <jansson.h>

/* Google Benchmark's context: date, host, processors, caches, load. Owned by the caller. */
json_t *machine_context(const char *executable);
/* What it lacks and storage needs: processor model, memory, kernel, file system of `dir`. */
void machine_add_storage(json_t *context, const char *dir);

#endif
