/* How long a store of --objects objects (default a million) of 64 bytes to 4 KiB takes to open, how
 * much memory the process has then, and when the first get is answered.
 *
 *   closed  the store was closed; its files are in the page cache
 *   cold    the same, after its files were dropped from the page cache
 *   killed  the process that filled it ended without close: the open replays
 *
 * Each fill and each open is a process of its own, so memory figures are those of the open. */
#include "harness.h"

#include <ingot/ingot.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECTS_DEFAULT UINT64_C(1000000)
#define OBJECT_MIN 64u
#define OBJECT_MAX 4096u
#define BATCH 256u
#define SAMPLE 1000u
#define STORE_DIR_MAX (PATH_MAX + 16)
#define WALK_DESCRIPTORS 32

/* What the opening process tells its parent through a pipe. */
struct opening {
    uint64_t open_ns;
    uint64_t cpu_ns;
    uint64_t first_get_ns;
    uint64_t rss_opened; /* bytes, right after open */
    uint64_t rss_read;   /* after the first get and SAMPLE random ones */
    uint64_t hwm_read;
    uint64_t objects;
    uint64_t log_bytes;
};

enum ending { ENDING_CLOSE, ENDING_EXIT };
struct restart_case {
    enum ending ending;
    bool drop_cache;
};

static void must(const char *what, ingot_status status, const ingot_error *err) {
    if (status != INGOT_OK)
        bench_die("%s: %s: %s", what, ingot_status_name(status), err->message);
}

/* Object n: its length is log-uniform, its bytes are random and begin with n. */
static size_t make_object(uint64_t n, uint8_t bytes[OBJECT_MAX]) {
    uint64_t seed = n;
    uint64_t choice = bench_random(&seed);
    size_t low = (size_t)OBJECT_MIN << choice % 6;
    size_t len = low + (size_t)((choice >> 8) % (low + 1));
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = i == 0 ? n : bench_random(&seed);
        memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
    }
    return len;
}

static uint64_t status_bytes(const char *key) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    uint64_t kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            kib = strtoull(line + strlen(key) + 1, NULL, 10);
    if (file == NULL || kib == 0)
        bench_die("no %s in /proc/self/status", key);
    fclose(file);
    return kib * 1024;
}

/* ---- In the children ---------------------------------------------------------------------- */

static _Noreturn void fill(const char *path, uint64_t objects, enum ending ending) {
    ingot_store *store = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_put_item items[BATCH];
    uint8_t *bytes = bench_alloc((size_t)BATCH * OBJECT_MAX);
    op.flags = INGOT_RELAXED | INGOT_NO_CACHE;
    must("create", ingot_store_create(path, NULL, &err), &err);
    must("open", ingot_store_open(path, NULL, &store, &err), &err);
    for (uint64_t done = 0; done < objects;) {
        size_t count = 0;
        for (; count < BATCH && done + count < objects; count++) {
            uint8_t *data = bytes + count * OBJECT_MAX;
            size_t len = make_object(done + count, data);
            items[count] = (ingot_put_item){.data = data, .len = len};
        }
        must("put_batch", ingot_store_put_batch(store, items, count, &op, &err), &err);
        done += count;
    }
    must("sync", ingot_store_sync(store, NULL, &err), &err);
    if (ending == ENDING_CLOSE)
        must("close", ingot_store_close(store, &err), &err);
    _exit(0);
}

static void get_and_compare(ingot_store *store, uint64_t n, uint64_t *ret_ns) {
    ingot_error err = INGOT_ERROR_INIT;
    uint8_t wanted[OBJECT_MAX];
    ingot_buf *buf = NULL;
    ingot_id id;
    size_t len = make_object(n, wanted);
    ingot_store_hash(store, wanted, len, &id);
    uint64_t begin = bench_now_ns();
    must("get", ingot_store_get(store, &id, NULL, &buf, &err), &err);
    *ret_ns = bench_now_ns() - begin;
    if (ingot_buf_size(buf) != len || memcmp(ingot_buf_data(buf), wanted, len) != 0)
        bench_die("object %llu came back differently", (unsigned long long)n);
    ingot_buf_release(buf);
}

static _Noreturn void open_and_read(const char *path, uint64_t objects, int answer) {
    struct opening opening = {0};
    ingot_store *store = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_stats stats = INGOT_STATS_INIT;
    uint64_t random = objects;
    uint64_t ignored = 0;

    uint64_t begin = bench_now_ns();
    must("open", ingot_store_open(path, NULL, &store, &err), &err);
    opening.open_ns = bench_now_ns() - begin;
    opening.cpu_ns = bench_cpu_ns();
    opening.rss_opened = status_bytes("VmRSS");
    get_and_compare(store, objects / 2, &opening.first_get_ns);
    for (unsigned i = 0; i < SAMPLE; i++)
        get_and_compare(store, bench_random(&random) % objects, &ignored);
    opening.rss_read = status_bytes("VmRSS");
    opening.hwm_read = status_bytes("VmHWM");
    must("stats", ingot_store_stats(store, &stats, &err), &err);
    opening.objects = stats.objects;
    opening.log_bytes = stats.log_bytes;
    must("close", ingot_store_close(store, &err), &err);
    if (write(answer, &opening, sizeof opening) != (ssize_t)sizeof opening)
        bench_die("cannot answer: %s", strerror(errno));
    _exit(0);
}

/* ---- In the parent, which never opens a store ---------------------------------------------- */

static void wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            bench_die("waitpid: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("a child failed");
}

static void fill_in_child(const char *path, uint64_t objects, enum ending ending) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        bench_die("fork: %s", strerror(errno));
    if (child == 0)
        fill(path, objects, ending);
    wait_for(child);
}

static struct opening open_in_child(const char *path, uint64_t objects) {
    struct opening opening;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        bench_die("fork: %s", strerror(errno));
    if (child == 0)
        open_and_read(path, objects, ends[1]);
    close(ends[1]);
    ssize_t got = read(ends[0], &opening, sizeof opening);
    close(ends[0]);
    wait_for(child);
    if (got != (ssize_t)sizeof opening)
        bench_die("no answer from the child");
    return opening;
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type != FTW_F)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        bench_die("cannot drop %s from the page cache", path);
    close(fd);
    return 0;
}

static void restart_once(struct bench_run *run) {
    const struct restart_case *rc = run->c->arg;
    uint64_t objects = run->options->objects > 0 ? run->options->objects : OBJECTS_DEFAULT;
    char path[STORE_DIR_MAX];
    snprintf(path, sizeof path, "%s/store", run->dir);
    uint64_t begin = bench_now_ns();
    fill_in_child(path, objects, rc->ending);
    uint64_t filled = bench_now_ns() - begin;
    if (rc->drop_cache && nftw(path, drop_one, WALK_DESCRIPTORS, FTW_PHYS) != 0)
        bench_die("cannot walk %s", path);
    struct opening opening = open_in_child(path, objects);
    if (opening.objects != objects)
        bench_die("%llu objects were put, %llu are there", (unsigned long long)objects,
                  (unsigned long long)opening.objects);
    run->iterations = 1;
    run->real_ns = (double)opening.open_ns;
    run->cpu_ns = (double)opening.cpu_ns;
    bench_counter(run, "objects", (double)objects);
    bench_counter(run, "first_get_us", (double)opening.first_get_ns / 1e3);
    bench_counter(run, "rss_opened_bytes", (double)opening.rss_opened);
    bench_counter(run, "rss_read_bytes", (double)opening.rss_read);
    bench_counter(run, "hwm_bytes", (double)opening.hwm_read);
    bench_counter(run, "log_bytes", (double)opening.log_bytes);
    bench_counter(run, "fill_per_second", (double)objects / ((double)filled / 1e9));
}

static void list_cases(struct bench_list *list, const struct bench_options *options) {
    static const struct restart_case closed = {ENDING_CLOSE, false};
    static const struct restart_case cold = {ENDING_CLOSE, true};
    static const struct restart_case killed = {ENDING_EXIT, false};
    struct bench_case c = {.unit = "ms", .once = restart_once};
    (void)options;
    c.arg = &closed;
    bench_add(list, &c, "ingot/restart/closed");
    c.arg = &cold;
    bench_add(list, &c, "ingot/restart/cold");
    c.arg = &killed;
    bench_add(list, &c, "ingot/restart/killed");
}

int main(int argc, char **argv) {
    static const struct bench_suite suite = {list_cases, "ingot", ingot_version};
    return bench_main(argc, argv, &suite);
}
