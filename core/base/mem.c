#include "mem.h"

#include "os.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *ig_alloc(size_t size) { return ig_alloc_array(1, size); }

void *ig_alloc_array(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    if (ig_os->may_allocate != NULL && !ig_os->may_allocate())
        return NULL;
    return calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void *ig_alloc_aligned(size_t alignment, size_t size) {
    if (ig_os->may_allocate != NULL && !ig_os->may_allocate())
        return NULL;
    void *memory = NULL;
    return posix_memalign(&memory, alignment, size == 0 ? 1 : size) == 0 ? memory : NULL;
}

void *ig_realloc(void *memory, size_t size) {
    if (ig_os->may_allocate != NULL && !ig_os->may_allocate())
        return NULL;
    return realloc(memory, size == 0 ? 1 : size);
}

void ig_free(void *memory) { free(memory); }

char *ig_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = ig_alloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

char *ig_path(const char *directory, const char *name) {
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = ig_alloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

void ig_free_pointer(void *pointer_to_pointer) {
    void *memory;
    memcpy(&memory, pointer_to_pointer, sizeof memory);
    ig_free(memory);
}
