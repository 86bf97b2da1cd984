/* The work that ingot and its peers are compared on. It is written once, over a table of functions
 * that each subject fills in, so all of them get the same pages, the same keys, the same threads
 * and the same checks:
 *
 *   put_*  unique pages of WL_PAGE bytes. The subject names each page by a digest, which is part of
 *          the timed work, and stores it. Afterwards the subject's count must equal the number of
 *          puts, and pages of every thread are read back and compared byte for byte.
 *   get_*  a filled data set, read once over and then in random order. Every answer is checked: the
 * first eight bytes of a page are its serial number. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "harness.h"

#define WL_PAGE 4096u
#define WL_ID 32
#define WL_BATCH_MAX 1024u
#define WL_OBJECTS_DEFAULT 16384u

/* All but open and close are called by many threads at once. They end the program on failure. */
struct wl_subject {
    const char *name;
    uint32_t variant; /* the subject's own */
    /* In an empty directory. */
    void *(*open)(const char *dir, const struct wl_subject *subject);
    void (*close)(void *db);
    void (*hash)(void *db, const void *data, size_t len, uint8_t ret_id[WL_ID]);
    void (*put)(void *db, const void *data, size_t len);
    /* `count` pages, one after another in memory, made durable together. May be NULL. */
    void (*put_many)(void *db, const uint8_t *pages, unsigned count);
    /* Copies a whole object, which has `len` bytes. */
    void (*read)(void *db, const uint8_t id[WL_ID], void *ret_data, size_t len);
    uint64_t (*count)(void *db);
    /* What a reading thread keeps; may be NULL. */
    void *(*reader_new)(void *db);
    void (*reader_free)(void *reader);
};

/* What a get found: the first eight bytes of the object, or one of these, which are no serial. */
#define WL_PRESENT (UINT64_MAX - 1)
#define WL_ABSENT UINT64_MAX

/* `scratch` has WL_PAGE bytes. */
typedef uint64_t (*wl_get_fn)(void *db, void *reader, const uint8_t id[WL_ID], void *scratch);

struct wl_get {
    const char *name;
    wl_get_fn get;
    uint64_t expect; /* 0: the object's serial; else WL_PRESENT, or WL_ABSENT for unknown ids */
    void (*prepare)(void *db);              /* after the fill; may be NULL */
    void (*check)(void *db, uint64_t gets); /* after the window; may be NULL */
};

/* The page that this thread writes as its `serial`th. Pages are random bytes, a thread's differing
 * in every 512 of them, so no page has another's digest and compression finds little in one. */
void wl_page_base(uint8_t page[WL_PAGE], unsigned thread);
void wl_page_stamp(uint8_t page[WL_PAGE], uint64_t serial);

/* Adds SUBJECT/NAME/4096/threads:N for each N. The subject and the threads stay as they are. */
void wl_add_puts(struct bench_list *list, const struct wl_subject *subject, const char *name,
                 const unsigned *threads, size_t count);
/* Adds SUBJECT/put_batch/4096/N for each batch size, at most WL_BATCH_MAX. One thread. */
void wl_add_batches(struct bench_list *list, const struct wl_subject *subject,
                    const unsigned *batches, size_t count);
/* Adds SUBJECT/get.name/4096/threads:N for each N. */
void wl_add_gets(struct bench_list *list, const struct wl_subject *subject,
                 const struct wl_get *get, const unsigned *threads, size_t count);

/* For the subjects: the first eight bytes of an object. */
uint64_t wl_serial_of(const void *page);

#endif
