/* Allocation, through the platform seam so that a test can make call N fail. */
#ifndef IG_MEM_H
#define IG_MEM_H

#include <stddef.h>

/* Zeroed memory, or NULL. */
void *ig_alloc(size_t size);
void *ig_alloc_array(size_t count, size_t size);
/* Not zeroed, aligned to `alignment` (a power of two, at least sizeof(void *)). */
void *ig_alloc_aligned(size_t alignment, size_t size);
/* Not zeroed. */
void *ig_realloc(void *memory, size_t size);
void ig_free(void *memory);
char *ig_strdup(const char *text);
/* "a/b" in new memory. */
char *ig_path(const char *directory, const char *name);

/* `IG_CLEANUP_FREE char *p = NULL;` frees p at the end of its scope. */
void ig_free_pointer(void *pointer_to_pointer);
#define IG_CLEANUP_FREE __attribute__((cleanup(ig_free_pointer)))

#endif
