#include "bytes.h"
#include "codec.h"
#include "index.h"
#include "mem.h"
#include "os.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define UUID "0d9f4a2c-5b1e-4c7a-9e3f-6a8b7c5d4e3f"
#define PATH_MAX_HERE 512

static uint64_t seed;

/* ---- Helpers ------------------------------------------------------------------------------ */

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014). */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t random_state;
static uint64_t random_below(uint64_t bound) { return mix(random_state++) % bound; }

static ingot_id make_id(uint64_t n) {
    ingot_id id;
    for (size_t i = 0; i < 4; i++)
        ig_put64(id.bytes + 8 * i, mix(n * 4 + i));
    return id;
}

static struct ig_content make_content(uint64_t n) {
    return (struct ig_content){
        .segment = (uint32_t)mix(n),
        .flags = (uint8_t)(n % 4),
        .offset = mix(n + 1),
        .size = mix(n + 2) % (uint64_t)INGOT_OBJECT_MAX,
        .seq = mix(n + 3),
        .base_refs = (int64_t)(n % 7),
        .time_ms = (int64_t)mix(n + 4),
    };
}

static void assert_content(const struct ig_content *a, const struct ig_content *b) {
    assert_int_equal(a->segment, b->segment);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->base_refs, b->base_refs);
    assert_int_equal(a->time_ms, b->time_ms);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_tree(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct place {
    char base[PATH_MAX_HERE];
    char index[PATH_MAX_HERE + 16];
};

static int setup(void **state) {
    struct place *place = calloc(1, sizeof *place);
    const char *tmp = getenv("TMPDIR");
    snprintf(place->base, sizeof place->base, "%s/ingot-index-XXXXXX", tmp ? tmp : P_tmpdir);
    if (mkdtemp(place->base) == NULL)
        return -1;
    snprintf(place->index, sizeof place->index, "%s/index", place->base);
    random_state = seed;
    *state = place;
    return 0;
}

static int teardown(void **state) {
    struct place *place = *state;
    remove_tree(place->base);
    free(place);
    return 0;
}

static ingot_error error = INGOT_ERROR_INIT;

static void assert_ok(ingot_status status) {
    if (status != INGOT_OK)
        fail_msg("%s: %s", ingot_status_name(status), error.message);
}

static struct ig_index *open_with(const char *path, struct ig_index_options options) {
    struct ig_index *index = NULL;
    options.cache_bytes = 1 << 20;
    assert_ok(ig_index_open(path, &options, &index, &error));
    return index;
}

static struct ig_index *create(const char *path) {
    return open_with(path, (struct ig_index_options){.create = true, .uuid = UUID});
}

static struct ig_index *reopen(const char *path) {
    return open_with(path, (struct ig_index_options){.uuid = UUID});
}

static void write_at(struct ig_index *index, struct ig_index_batch *batch, uint64_t seq) {
    struct ig_watermark mark = {.seq = seq, .segment = (uint32_t)seq + 7, .offset = seq * 512};
    assert_ok(ig_index_write(index, batch, &mark, &error));
}

static void assert_no_index(const char *path, const char *uuid) {
    struct ig_index *index = NULL;
    struct ig_index_options options = {.uuid = uuid};
    error.message[0] = '\0';
    ingot_status status = ig_index_open(path, &options, &index, &error);
    assert_int_equal(status, INGOT_NO_INDEX);
    assert_int_equal(error.status, INGOT_NO_INDEX);
    assert_non_null(strstr(error.message, path));
    options.read_only = true;
    assert_int_equal(ig_index_open(path, &options, &index, &error), INGOT_NO_INDEX);
    assert_null(index);
}

/* The first entry of a directory whose name starts (or ends) with `part`, in `ret_path`. */
static bool find_file(const char *dir, const char *part, char *ret_path, size_t size) {
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name), n = strlen(part);
        found = len >= n &&
                (memcmp(e->d_name, part, n) == 0 || memcmp(e->d_name + len - n, part, n) == 0);
        if (found)
            snprintf(ret_path, size, "%s/%s", dir, e->d_name);
    }
    closedir(d);
    return found;
}

static size_t count_entries(const char *dir) {
    DIR *d = opendir(dir);
    size_t n = 0;
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

static void write_file(const char *path, const char *data, size_t len) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void copy_tree(const char *from, const char *to) {
    char a[2 * PATH_MAX_HERE], b[2 * PATH_MAX_HERE];
    assert_int_equal(mkdir(to, 0700), 0);
    DIR *d = opendir(from);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_type != DT_REG)
            continue;
        char *data;
        size_t len;
        snprintf(a, sizeof a, "%s/%s", from, e->d_name);
        snprintf(b, sizeof b, "%s/%s", to, e->d_name);
        assert_ok(ig_read_file(a, 64 << 20, &data, &len, &error));
        write_file(b, data, len);
        ig_free(data);
    }
    closedir(d);
}

/* ---- A history that can be recomputed up to any watermark ---------------------------------- */

enum { MODEL_IDS = 64, MODEL_OPS = 12 };

struct model {
    bool present[MODEL_IDS];
    uint64_t content[MODEL_IDS]; /* argument of make_content */
    struct ig_refs refs[MODEL_IDS];
    int64_t counter;
    uint64_t cursor;
};

/* Applies batch `n` to the model and, if given, to a real batch. Most batches have one operation,
 * and so leave some families alone: that is when a flush can come to miss a family. */
static void model_step(struct model *m, uint64_t n, struct ig_index_batch *batch) {
    uint64_t ops = mix(~n) % 3 == 0 ? MODEL_OPS : 1;
    for (uint64_t k = 0; k < ops; k++) {
        uint64_t r = mix(mix(seed ^ n) + k);
        size_t i = r % MODEL_IDS;
        ingot_id id = make_id(i);
        struct ig_content content = make_content(n * MODEL_OPS + k);
        int64_t delta = (int64_t)(r >> 32) % 100, time_ms = (int64_t)(n * MODEL_OPS + k);
        switch (r >> 8 & 7) {
        case 0:
        case 1:
            m->present[i] = true;
            m->content[i] = n * MODEL_OPS + k;
            if (batch != NULL)
                ig_index_put_content(batch, &id, &content);
            break;
        case 2:
            m->present[i] = false;
            m->refs[i] = (struct ig_refs){0, 0};
            if (batch != NULL) {
                ig_index_delete_content(batch, &id);
                ig_index_delete_refs(batch, &id);
            }
            break;
        case 3:
            m->refs[i] = (struct ig_refs){delta, time_ms};
            if (batch != NULL)
                ig_index_put_refs(batch, &id, &m->refs[i]);
            break;
        default:
            delta = r >> 20 & 1 ? delta : -delta;
            m->refs[i].delta += delta;
            m->refs[i].time_ms = time_ms;
            if (batch != NULL)
                ig_index_add_refs(batch, &id, delta, time_ms);
        }
    }
    m->counter += (int64_t)(n % 5) - 1;
    m->cursor = n;
    if (batch != NULL) {
        ig_index_add_counter(batch, "steps", (int64_t)(n % 5) - 1);
        ig_index_put_meta(batch, "cursor", &n, sizeof n);
    }
}

static void assert_model(struct ig_index *index, const struct model *m) {
    size_t present = 0, seen = 0;
    for (size_t i = 0; i < MODEL_IDS; i++) {
        ingot_id id = make_id(i);
        struct ig_content content, expected = make_content(m->content[i]);
        struct ig_refs refs;
        ingot_status status = ig_index_content(index, &id, &content, &error);
        assert_int_equal(status, m->present[i] ? INGOT_OK : INGOT_NOT_FOUND);
        if (m->present[i])
            assert_content(&content, &expected);
        present += m->present[i];
        assert_ok(ig_index_refs(index, &id, &refs, &error));
        assert_int_equal(refs.delta, m->refs[i].delta);
        assert_int_equal(refs.time_ms, m->refs[i].time_ms);
    }
    struct ig_index_iter *iter;
    ingot_id id;
    struct ig_content content;
    struct ig_refs refs;
    assert_ok(ig_index_iter_open(index, NULL, &iter, &error));
    while (ig_index_iter_next(iter, &id, &content, &refs, &error) == INGOT_OK)
        seen++;
    ig_index_iter_close(iter);
    assert_int_equal(seen, present);
    int64_t counter;
    assert_ok(ig_index_counter(index, "steps", &counter, &error));
    assert_int_equal(counter, m->counter);
    uint64_t cursor = 0;
    ingot_status status = ig_index_meta(index, "cursor", &cursor, sizeof cursor, &error);
    assert_int_equal(status, m->cursor == 0 ? INGOT_NOT_FOUND : INGOT_OK);
    assert_int_equal(cursor, m->cursor);
}

/* The index is what the history makes up to the index's own watermark, which is returned. */
static uint64_t assert_some_watermark(struct ig_index *index) {
    struct ig_watermark mark;
    struct model m = {0};
    assert_ok(ig_index_watermark(index, &mark, &error));
    for (uint64_t n = 1; n <= mark.seq; n++)
        model_step(&m, n, NULL);
    assert_model(index, &m);
    return mark.seq;
}

static void write_history(struct ig_index *index, uint64_t first, uint64_t last) {
    struct ig_index_batch *batch = ig_index_batch_new(index);
    struct model scratch = {0};
    for (uint64_t n = first; n <= last; n++) {
        model_step(&scratch, n, batch);
        write_at(index, batch, n);
    }
    ig_index_batch_free(batch);
}

/* ---- Values ------------------------------------------------------------------------------- */

static void test_index__content_and_refs_round_trip(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    for (uint64_t n = 0; n < 500; n++) {
        ingot_id id = make_id(n);
        struct ig_content content = make_content(n);
        ig_index_put_content(batch, &id, &content);
    }
    assert_int_equal(ig_index_batch_count(batch), 500);
    write_at(index, batch, 41);
    assert_int_equal(ig_index_batch_count(batch), 0);
    ig_index_batch_free(batch);
    for (int round = 0; round < 2; round++) {
        for (uint64_t n = 0; n < 500; n++) {
            ingot_id id = make_id(n);
            struct ig_content content, expected = make_content(n);
            assert_ok(ig_index_content(index, &id, &content, &error));
            assert_content(&content, &expected);
        }
        ingot_id absent = make_id(1000);
        struct ig_content content = {.seq = 77};
        struct ig_refs refs = {1, 2};
        assert_int_equal(ig_index_content(index, &absent, &content, &error), INGOT_NOT_FOUND);
        assert_int_equal(content.seq, 77);
        assert_ok(ig_index_refs(index, &absent, &refs, &error));
        assert_int_equal(refs.delta, 0);
        assert_int_equal(refs.time_ms, 0);
        struct ig_watermark mark;
        assert_ok(ig_index_watermark(index, &mark, &error));
        assert_int_equal(mark.seq, 41);
        assert_int_equal(mark.segment, 48);
        assert_int_equal(mark.offset, 41 * 512);
        assert_true(ig_index_memory(index) > 0);
        assert_ok(ig_index_close(index, &error));
        index = reopen(place->index);
    }
    assert_ok(ig_index_close(index, &error));
    assert_ok(ig_index_close(NULL, &error));
}

static void test_index__content_value_is_as_documented(void **state) {
    (void)state;
    struct ig_content content = {.segment = 0x01020304,
                                 .flags = IG_CONTENT_LIMBO,
                                 .offset = UINT64_C(0x1112131415161718),
                                 .size = UINT64_C(0x212223242526),
                                 .seq = UINT64_C(0x3132333435363738),
                                 .base_refs = -2,
                                 .time_ms = INT64_C(0x5152535455565758)};
    static const uint8_t expected[IG_CONTENT_BYTES] = {
        1,    1,    0,    0,    4,    3,    2,    1,    0x18, 0x17, 0x16, 0x15,
        0x14, 0x13, 0x12, 0x11, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0,    0,
        0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, 0xfe, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51};
    uint8_t value[IG_CONTENT_BYTES];
    ig_content_encode(&content, value);
    assert_memory_equal(value, expected, sizeof value);
    for (size_t i = 0; i < 4; i++) { /* version, flags and zeros have no free bit but the flag */
        for (int bit = i == 1 ? 2 : 0; bit < 8; bit++) {
            struct ig_content decoded;
            value[i] ^= (uint8_t)(1 << bit);
            assert_false(ig_content_decode(value, sizeof value, &decoded));
            value[i] ^= (uint8_t)(1 << bit);
        }
    }
}

static void test_index__undecodable_values_are_corrupt_and_named(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    uint8_t junk[IG_CONTENT_BYTES] = {99};
    ingot_id ids[4];
    char hex[INGOT_ID_HEX + 1];
    for (uint64_t n = 0; n < 4; n++) {
        ids[n] = make_id(n);
        struct ig_content content = make_content(n);
        ig_index_put_content(batch, &ids[n], &content);
    }
    ig_index_put_raw(batch, IG_FAMILY_CONTENT, ids[0].bytes, 32, junk, sizeof junk);
    ig_index_put_raw(batch, IG_FAMILY_CONTENT, ids[1].bytes, 32, junk, 3);
    ig_index_put_raw(batch, IG_FAMILY_CONTENT, ids[2].bytes, 31, junk, sizeof junk);
    ig_index_put_raw(batch, IG_FAMILY_REFS, ids[3].bytes, 32, junk, 5);
    ig_index_put_raw(batch, IG_FAMILY_META, "n/bad", 5, junk, 7);
    ig_index_put_meta(batch, "short", junk, 3);
    write_at(index, batch, 1);
    ig_index_batch_free(batch);
    struct ig_content content;
    struct ig_refs refs;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ig_index_content(index, &ids[i], &content, &error), INGOT_CORRUPT);
        ingot_id_format(&ids[i], hex);
        assert_non_null(strstr(error.message, hex));
    }
    assert_int_equal(ig_index_refs(index, &ids[3], &refs, &error), INGOT_CORRUPT);
    ingot_id_format(&ids[3], hex);
    assert_non_null(strstr(error.message, hex));
    int64_t counter;
    assert_int_equal(ig_index_counter(index, "bad", &counter, &error), INGOT_CORRUPT);
    assert_non_null(strstr(error.message, "n/bad"));
    assert_int_equal(ig_index_meta(index, "short", junk, 4, &error), INGOT_CORRUPT);
    struct ig_index_iter *iter;
    ingot_id id;
    int ok = 0, corrupt = 0;
    assert_ok(ig_index_iter_open(index, NULL, &iter, &error));
    for (ingot_status s;
         (s = ig_index_iter_next(iter, &id, &content, &refs, &error)) != INGOT_NOT_FOUND;) {
        ok += s == INGOT_OK;
        corrupt += s == INGOT_CORRUPT;
    }
    ig_index_iter_close(iter);
    assert_int_equal(ok, 1);
    assert_int_equal(corrupt, 4);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__merging_into_an_undecodable_value_is_corrupt(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    ingot_id id = make_id(1);
    struct ig_refs refs;
    ig_index_put_raw(batch, IG_FAMILY_REFS, id.bytes, 32, "junk", 4);
    ig_index_add_refs(batch, &id, 1, 1);
    write_at(index, batch, 1);
    ig_index_batch_free(batch);
    assert_int_equal(ig_index_refs(index, &id, &refs, &error), INGOT_CORRUPT);
    (void)ig_index_close(index, &error);
}

static void test_index__merges_sum_in_any_grouping(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    enum { IDS = 20, STEPS = 4000 };
    struct ig_refs expected[IDS] = {0};
    struct ig_index_batch *batch = ig_index_batch_new(index);
    for (int step = 1; step <= STEPS; step++) {
        size_t i = random_below(4) == 0 ? 0 : random_below(IDS);
        ingot_id id = make_id(i);
        int64_t delta = (int64_t)random_below(1000) - 500;
        if (random_below(200) == 0) {
            expected[i] = (struct ig_refs){0, 0};
            ig_index_delete_refs(batch, &id);
        }
        expected[i].delta += delta;
        expected[i].time_ms = step;
        ig_index_add_refs(batch, &id, delta, step);
        if (random_below(8) == 0)
            write_at(index, batch, (uint64_t)step);
        if (random_below(300) == 0)
            assert_ok(ig_index_flush(index, &error));
        if (random_below(900) == 0) {
            write_at(index, batch, (uint64_t)step);
            ig_index_batch_free(batch);
            assert_ok(ig_index_close(index, &error));
            index = reopen(place->index);
            batch = ig_index_batch_new(index);
        }
    }
    write_at(index, batch, STEPS);
    ig_index_batch_free(batch);
    for (size_t i = 0; i < IDS; i++) {
        ingot_id id = make_id(i);
        struct ig_refs refs;
        assert_ok(ig_index_refs(index, &id, &refs, &error));
        assert_int_equal(refs.delta, expected[i].delta);
        assert_int_equal(refs.time_ms, expected[i].time_ms);
    }
    assert_ok(ig_index_close(index, &error));
}

static ingot_status note_counter(void *context, const char *key, int64_t value, ingot_error *err) {
    (void)err;
    char *text = context;
    size_t len = strlen(text);
    snprintf(text + len, 200 - len, "%s=%lld ", key, (long long)value);
    return strcmp(key, "seg/3") == 0 ? INGOT_CANCELLED : INGOT_OK;
}

static void test_index__counters_add_and_are_listed_by_prefix(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    char text[200] = "";
    int64_t value = 5;
    assert_ok(ig_index_counter(index, "none", &value, &error));
    assert_int_equal(value, 0);
    ig_index_add_counter(batch, "seg/1", 100);
    ig_index_add_counter(batch, "seg/1", -30);
    ig_index_add_counter(batch, "seg/2", INT64_MAX);
    ig_index_add_counter(batch, "sega", 1);
    ig_index_add_counter(batch, "a", 1);
    ig_index_put_meta(batch, "seg/1", "value", 5);
    write_at(index, batch, 1);
    ig_index_add_counter(batch, "seg/2", INT64_MIN);
    write_at(index, batch, 2);
    assert_ok(ig_index_each_counter(index, "seg/", note_counter, text, &error));
    assert_string_equal(text, "seg/1=70 seg/2=-1 ");
    text[0] = '\0';
    ig_index_add_counter(batch, "seg/3", 3);
    ig_index_add_counter(batch, "seg/4", 4);
    ig_index_delete_counter(batch, "seg/1");
    write_at(index, batch, 3);
    assert_int_equal(ig_index_each_counter(index, "seg/", note_counter, text, &error),
                     INGOT_CANCELLED);
    assert_string_equal(text, "seg/2=-1 seg/3=3 ");
    ig_index_batch_free(batch);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__meta_values_are_put_read_and_deleted(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    char key[IG_META_KEY_MAX + 2], value[4] = "abc", read[4] = "";
    memset(key, 'k', sizeof key);
    key[IG_META_KEY_MAX + 1] = '\0';
    assert_int_equal(ig_index_meta(index, key, read, 4, &error), INGOT_USAGE);
    key[IG_META_KEY_MAX] = '\0';
    assert_int_equal(ig_index_meta(index, key, read, 4, &error), INGOT_NOT_FOUND);
    ig_index_put_meta(batch, key, value, 4);
    write_at(index, batch, 1);
    assert_ok(ig_index_meta(index, key, read, 4, &error));
    assert_string_equal(read, "abc");
    ig_index_put_meta(batch, key, "xyz", 4);
    ig_index_batch_clear(batch);
    ig_index_delete_meta(batch, key);
    write_at(index, batch, 2);
    assert_int_equal(ig_index_meta(index, key, read, 4, &error), INGOT_NOT_FOUND);
    ig_index_batch_free(batch);
    assert_ok(ig_index_close(index, &error));
}

/* ---- Walking ------------------------------------------------------------------------------ */

static void test_index__iterator_joins_content_and_refs_in_id_order(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    enum { IDS = 300 };
    for (uint64_t n = 0; n < IDS; n++) {
        ingot_id id = make_id(n);
        struct ig_content content = make_content(n);
        if (n % 5 != 0) /* else: refs without content */
            ig_index_put_content(batch, &id, &content);
        if (n % 2 == 0 || n % 5 == 0)
            ig_index_add_refs(batch, &id, (int64_t)n + 1, (int64_t)n);
        if (n == IDS / 2) {
            write_at(index, batch, 1);
            assert_ok(ig_index_flush(index, &error));
        }
    }
    write_at(index, batch, 2);
    ig_index_batch_free(batch);
    ingot_id from = make_id(11), last = {{0}}, id;
    for (int part = 0; part < 2; part++) {
        struct ig_index_iter *iter;
        struct ig_content content;
        struct ig_refs refs;
        size_t seen = 0, expected = 0;
        for (uint64_t n = 0; n < IDS; n++) {
            id = make_id(n);
            expected += n % 5 != 0 && (part == 0 || ingot_id_compare(&id, &from) >= 0);
        }
        memset(&last, 0, sizeof last);
        assert_ok(ig_index_iter_open(index, part == 0 ? NULL : &from, &iter, &error));
        while (ig_index_iter_next(iter, &id, &content, &refs, &error) == INGOT_OK) {
            assert_true(ingot_id_compare(&last, &id) < 0);
            if (part == 1 && seen == 0)
                assert_int_equal(ingot_id_compare(&id, &from), 0);
            uint64_t n = 0;
            for (ingot_id at = make_id(0); ingot_id_compare(&at, &id) != 0; at = make_id(++n))
                assert_true(n < IDS);
            struct ig_content wanted = make_content(n);
            assert_content(&content, &wanted);
            assert_int_equal(refs.delta, n % 2 == 0 ? n + 1 : 0);
            last = id;
            seen++;
        }
        assert_int_equal(seen, expected);
        ig_index_iter_close(iter);
    }
    assert_ok(ig_index_close(index, &error));
}

static void test_index__iterator_does_not_see_later_writes(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct model frozen = {0};
    for (uint64_t n = 1; n <= 50; n++)
        model_step(&frozen, n, NULL);
    write_history(index, 1, 50);
    struct ig_index_iter *iter;
    assert_ok(ig_index_iter_open(index, NULL, &iter, &error));
    size_t seen = 0, expected = 0;
    for (size_t i = 0; i < MODEL_IDS; i++)
        expected += frozen.present[i];
    ingot_id id;
    struct ig_content content;
    struct ig_refs refs;
    uint64_t next = 51;
    while (ig_index_iter_next(iter, &id, &content, &refs, &error) == INGOT_OK) {
        size_t i = 0;
        for (ingot_id at = make_id(0); ingot_id_compare(&at, &id) != 0; at = make_id(++i))
            assert_true(i < MODEL_IDS);
        struct ig_content wanted = make_content(frozen.content[i]);
        assert_true(frozen.present[i]);
        assert_content(&content, &wanted);
        assert_int_equal(refs.delta, frozen.refs[i].delta);
        write_history(index, next, next + 4);
        next += 5;
        if (++seen % 8 == 0)
            assert_ok(ig_index_flush(index, &error));
    }
    assert_int_equal(seen, expected);
    ig_index_iter_close(iter);
    ig_index_iter_close(NULL);
    assert_int_equal(assert_some_watermark(index), next - 1);
    assert_ok(ig_index_close(index, &error));
}

/* ---- Crashes ------------------------------------------------------------------------------ */

struct flusher {
    struct ig_index *index;
    int told; /* the write end of a pipe: watermarks that a flush has made durable */
};

static void *flush_and_tell(void *context) {
    struct flusher *f = context;
    ingot_error err = INGOT_ERROR_INIT;
    for (;;) {
        struct ig_watermark mark;
        if (ig_index_watermark(f->index, &mark, &err) != INGOT_OK ||
            ig_index_flush(f->index, &err) != INGOT_OK)
            _exit(3);
        if (write(f->told, &mark.seq, sizeof mark.seq) != sizeof mark.seq)
            _exit(4);
    }
}

/* Goes on with the history, a second thread flushing beside it, until it is killed. */
static void write_until_killed(struct ig_index *index, int told) {
    ingot_error err = INGOT_ERROR_INIT;
    struct ig_watermark mark;
    if (ig_index_watermark(index, &mark, &err) != INGOT_OK)
        _exit(1);
    struct flusher f = {index, told};
    pthread_t thread;
    if (pthread_create(&thread, NULL, flush_and_tell, &f) != 0)
        _exit(2);
    struct model scratch = {0};
    struct ig_index_batch *batch = ig_index_batch_new(index);
    for (uint64_t n = mark.seq + 1;; n++) {
        struct ig_watermark next = {.seq = n};
        model_step(&scratch, n, batch);
        if (ig_index_write(index, batch, &next, &err) != INGOT_OK)
            _exit(5);
    }
}

static void work_and_flush(struct ig_index *index, int told) {
    (void)told;
    write_history(index, 1, 300);
    if (ig_index_flush(index, &error) != INGOT_OK)
        _exit(2);
}

static void work_flush_and_more(struct ig_index *index, int told) {
    work_and_flush(index, told);
    write_history(index, 301, 400);
}

static const struct {
    const char *name;
    void (*work)(struct ig_index *index, int told);
} children[] = {
    {"write-until-killed", write_until_killed},
    {"work-and-flush", work_and_flush},
    {"work-flush-and-more", work_flush_and_more},
};

/* In the new process: works on the index and leaves without closing it. */
/* Exit code 0: every answer was right or said to be damaged. */
static int read_damaged(const char *path, bool read_only) {
    char said[2 * PATH_MAX_HERE];
    snprintf(said, sizeof said, "%s.stderr", path);
    if (freopen(said, "w", stderr) == NULL)
        return 7;
    struct model m = {0};
    for (uint64_t n = 1; n <= 40; n++)
        model_step(&m, n, NULL);
    struct ig_index *index = NULL;
    struct ig_index_options options = {.uuid = UUID, .read_only = read_only};
    ingot_status status = ig_index_open(path, &options, &index, &error);
    if (status != INGOT_OK)
        return status == INGOT_NO_INDEX ? 0 : 3;
    for (size_t i = 0; i < MODEL_IDS; i++) {
        ingot_id id = make_id(i);
        struct ig_content content, expected = make_content(m.content[i]);
        struct ig_refs refs;
        status = ig_index_content(index, &id, &content, &error);
        if (status != INGOT_CORRUPT && status != (m.present[i] ? INGOT_OK : INGOT_NOT_FOUND))
            return 4;
        if (status == INGOT_OK &&
            (content.segment != expected.segment || content.offset != expected.offset ||
             content.size != expected.size || content.seq != expected.seq))
            return 5;
        status = ig_index_refs(index, &id, &refs, &error);
        if (status != INGOT_CORRUPT && (status != INGOT_OK || refs.delta != m.refs[i].delta))
            return 6;
    }
    (void)ig_index_close(index, &error);
    return 0;
}

static int child_main(const char *name, const char *path, const char *told) {
    struct ig_index *index = NULL;
    if (strcmp(name, "read-damaged") == 0)
        _exit(read_damaged(path, atoi(told) != 0));
    struct ig_index_options options = {.uuid = UUID};
    if (ig_index_open(path, &options, &index, &error) != INGOT_OK)
        _exit(1);
    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++)
        if (strcmp(children[i].name, name) == 0)
            children[i].work(index, atoi(told));
    _exit(0);
}

/* A new program image, because RocksDB's threads do not survive a fork. */
static pid_t start_child(const char *name, const char *path, int told) {
    char seed_text[24], told_text[16];
    snprintf(seed_text, sizeof seed_text, "%llu", (unsigned long long)seed);
    snprintf(told_text, sizeof told_text, "%d", told);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_index", "--seed", seed_text, "--child", name, path, told_text,
              (char *)NULL);
        _exit(127);
    }
    return child;
}

static void test_index__a_killed_writer_leaves_exactly_some_watermark(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    assert_ok(ig_index_close(index, &error));
    uint64_t reached = 0;
    for (int round = 0; round < 12; round++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = start_child("write-until-killed", place->index, told[1]);
        (void)close(told[1]);
        uint64_t durable = 0; /* the first word also says that the child is under way */
        assert_int_equal(read(told[0], &durable, sizeof durable), sizeof durable);
        struct timespec pause = {0, (long)random_below(60) * 1000000};
        (void)nanosleep(&pause, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
        while (read(told[0], &durable, sizeof durable) == sizeof durable)
            continue;
        (void)close(told[0]);
        index = reopen(place->index);
        uint64_t seq = assert_some_watermark(index);
        assert_true(seq >= durable);
        reached = seq;
        assert_ok(ig_index_close(index, &error));
    }
    assert_true(reached > 0);
}

static void in_child(struct place *place, const char *name) {
    struct ig_index *index = create(place->index);
    assert_ok(ig_index_close(index, &error));
    pid_t child = start_child(name, place->index, -1);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void test_index__flush_then_exit_loses_nothing(void **state) {
    struct place *place = *state;
    in_child(place, "work-and-flush");
    struct ig_index *index = reopen(place->index);
    assert_int_equal(assert_some_watermark(index), 300);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__exit_without_flush_falls_back_to_the_last_flush(void **state) {
    struct place *place = *state;
    in_child(place, "work-flush-and-more");
    struct ig_index *index = reopen(place->index);
    assert_int_equal(assert_some_watermark(index), 300);
    write_history(index, 301, 350);
    assert_int_equal(assert_some_watermark(index), 350);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__a_memtable_that_fills_takes_every_family_along(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    struct ig_index_batch *batch = ig_index_batch_new(index);
    char *value = calloc(1, 64 << 10);
    struct model m = {0};
    for (uint64_t n = 1; n <= 300; n++) {
        model_step(&m, n, batch);
        ig_index_put_meta(batch, "large", value, 64 << 10);
        write_at(index, batch, n);
    }
    struct ig_index_options options = {.read_only = true, .uuid = UUID};
    struct ig_index *durable = NULL;
    uint64_t seq = 0;
    for (int wait = 0; wait < 200 && seq == 0; wait++) {
        durable = open_with(place->index, options);
        seq = assert_some_watermark(durable);
        assert_ok(ig_index_close(durable, &error));
        (void)usleep(10000);
    }
    assert_true(seq > 0);
    free(value);
    ig_index_batch_free(batch);
    assert_ok(ig_index_close(index, &error));
}

/* ---- Opening ------------------------------------------------------------------------------ */

static void test_index__read_only_sees_what_is_flushed_and_refuses_writes(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    write_history(index, 1, 100);
    assert_ok(ig_index_flush(index, &error));
    write_history(index, 101, 120);
    struct ig_index *reader =
        open_with(place->index, (struct ig_index_options){.read_only = true, .uuid = UUID});
    assert_int_equal(assert_some_watermark(reader), 100);
    struct ig_index_batch *batch = ig_index_batch_new(reader);
    ig_index_add_counter(batch, "steps", 1);
    struct ig_watermark mark = {.seq = 101};
    assert_int_equal(ig_index_write(reader, batch, &mark, &error), INGOT_READ_ONLY);
    ig_index_batch_free(batch);
    assert_ok(ig_index_flush(reader, &error));
    assert_ok(ig_index_close(reader, &error));
    assert_ok(ig_index_close(index, &error));
}

static void test_index__create_never_touches_what_exists(void **state) {
    struct place *place = *state;
    struct ig_index *index = NULL;
    struct ig_index_options options = {.create = true, .uuid = UUID};
    char file[PATH_MAX_HERE + 64];
    snprintf(file, sizeof file, "%s/file", place->base);
    write_file(file, "x", 1);
    assert_int_equal(ig_index_open(file, &options, &index, &error), INGOT_EXISTS);
    assert_int_equal(ig_index_open(place->base, &options, &index, &error), INGOT_EXISTS);
    assert_int_equal(count_entries(place->base), 3);
    assert_int_equal(mkdir(place->index, 0700), 0);
    index = create(place->index);
    write_history(index, 1, 20);
    assert_ok(ig_index_close(index, &error));
    assert_int_equal(ig_index_open(place->index, &options, &index, &error), INGOT_EXISTS);
    index = reopen(place->index);
    assert_int_equal(assert_some_watermark(index), 20);
    assert_ok(ig_index_close(index, &error));
    options.read_only = true;
    assert_int_equal(ig_index_open(place->index, &options, &index, &error), INGOT_USAGE);
}

static void test_index__a_created_directory_is_private(void **state) {
    struct place *place = *state;
    mode_t old = umask(0);
    struct ig_index *index = create(place->index);
    (void)umask(old);
    struct stat st;
    assert_int_equal(stat(place->index, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__second_opening_for_writing_is_locked(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index), *second = NULL;
    struct ig_index_options options = {.uuid = UUID};
    assert_int_equal(ig_index_open(place->index, &options, &second, &error), INGOT_LOCKED);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__opening_nothing_makes_nothing(void **state) {
    struct place *place = *state;
    char file[PATH_MAX_HERE + 64];
    assert_no_index(place->index, UUID);
    assert_int_equal(access(place->index, F_OK), -1);
    assert_int_equal(mkdir(place->index, 0700), 0);
    assert_no_index(place->index, UUID);
    assert_int_equal(count_entries(place->index), 2);
    snprintf(file, sizeof file, "%s/CURRENT", place->index);
    write_file(file, "garbage", 7);
    assert_no_index(place->index, UUID);
    write_file(file, "MANIFEST-000009\n", 16);
    assert_no_index(place->index, UUID);
    write_file(file, "", 0);
    assert_no_index(place->index, UUID);
    assert_int_equal(count_entries(place->index), 3);
    snprintf(file, sizeof file, "%s/file", place->base);
    write_file(file, "x", 1);
    assert_no_index(file, UUID);
}

static void test_index__an_index_of_another_store_is_refused(void **state) {
    struct place *place = *state;
    struct ig_index *index = create(place->index);
    assert_ok(ig_index_close(index, &error));
    assert_no_index(place->index, "11111111-2222-3333-4444-555555555555");
    assert_non_null(strstr(error.message, UUID));
    index = open_with(place->index, (struct ig_index_options){0});
    assert_ok(ig_index_close(index, &error));
}

static void make_sample(struct place *place, uint64_t batches) {
    struct ig_index *index = create(place->index);
    write_history(index, 1, batches / 2);
    assert_ok(ig_index_flush(index, &error));
    write_history(index, batches / 2 + 1, batches);
    assert_ok(ig_index_close(index, &error));
}

static void test_index__missing_files_are_no_index(void **state) {
    struct place *place = *state;
    char copy[PATH_MAX_HERE + 64], file[2 * PATH_MAX_HERE];
    make_sample(place, 40);
    static const char *const lost[] = {"CURRENT", "MANIFEST", "SEAL", ".sst"};
    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++) {
        snprintf(copy, sizeof copy, "%s/copy%zu", place->base, i);
        copy_tree(place->index, copy);
        assert_true(find_file(copy, lost[i], file, sizeof file));
        assert_int_equal(unlink(file), 0);
        assert_no_index(copy, UUID);
        assert_int_equal(access(file, F_OK), -1);
    }
}

/* Opens a damaged copy. It must be refused, or be whole: some damage is in what nobody reads. */
static bool damaged_opens(const char *path) {
    struct ig_index *index = NULL;
    struct ig_index_options options = {.uuid = UUID, .read_only = random_below(2) == 0};
    ingot_status status = ig_index_open(path, &options, &index, &error);
    if (status == INGOT_OK) {
        assert_int_equal(assert_some_watermark(index), 40);
        assert_ok(ig_index_close(index, &error));
        return true;
    }
    assert_int_equal(status, INGOT_NO_INDEX);
    return false;
}

static void test_index__a_damaged_manifest_is_refused_or_harmless(void **state) {
    struct place *place = *state;
    char copy[PATH_MAX_HERE + 64], file[2 * PATH_MAX_HERE], manifest[2 * PATH_MAX_HERE];
    make_sample(place, 40);
    assert_true(find_file(place->index, "MANIFEST", manifest, sizeof manifest));
    char *data;
    size_t len, opened = 0, refused = 0, families = 0, behind = 0;
    assert_ok(ig_read_file(manifest, 1 << 20, &data, &len, &error));
    snprintf(copy, sizeof copy, "%s/copy", place->base);
    for (size_t i = 0; i < 240; i++) {
        size_t at = i * len / 120 % len;
        copy_tree(place->index, copy);
        assert_true(find_file(copy, "MANIFEST", file, sizeof file));
        char saved = data[at];
        data[at] = (char)(saved ^ 1 << random_below(8));
        write_file(file, data, i < 120 ? at : len);
        data[at] = saved;
        error.message[0] = '\0';
        bool ok = damaged_opens(copy);
        opened += ok;
        refused += !ok;
        behind += !ok && strstr(error.message, "behind its last flush") != NULL;
        families += !ok && strstr(error.message, "column family") != NULL;
        remove_tree(copy);
    }
    ig_free(data);
    assert_true(refused > 100);
    assert_true(families > 0);
    assert_true(behind > 0);
    print_message("%zu refused, %zu for a lost family, %zu for being behind; %zu harmless\n",
                  refused, families, behind, opened);
}

static void test_index__damaged_tables_never_give_wrong_answers(void **state) {
    struct place *place = *state;
    char copy[PATH_MAX_HERE + 64], file[2 * PATH_MAX_HERE];
    make_sample(place, 40);
    unsigned aborted = 0;
    snprintf(copy, sizeof copy, "%s/copy", place->base);
    for (int round = 0; round < 150; round++) {
        copy_tree(place->index, copy);
        DIR *d = opendir(copy);
        size_t tables = 0, chosen;
        for (struct dirent *e; (e = readdir(d)) != NULL;)
            tables += strstr(e->d_name, ".sst") != NULL;
        assert_true(tables > 0);
        chosen = random_below(tables);
        rewinddir(d);
        for (struct dirent *e; (e = readdir(d)) != NULL;)
            if (strstr(e->d_name, ".sst") != NULL && chosen-- == 0)
                snprintf(file, sizeof file, "%s/%s", copy, e->d_name);
        closedir(d);
        char *data;
        size_t len;
        assert_ok(ig_read_file(file, 64 << 20, &data, &len, &error));
        data[random_below(len)] ^= (char)(1 << random_below(8));
        write_file(file, data, random_below(4) == 0 ? random_below(len) : len);
        ig_free(data);
        /* In a child: what is damaged so that its checksums are switched off can run into the
         * assertions of a RocksDB that was built with them. That is no wrong answer. */
        int result;
        pid_t child = start_child("read-damaged", copy, (int)random_below(2));
        assert_int_equal(waitpid(child, &result, 0), child);
        char said[2 * PATH_MAX_HERE];
        char *text;
        snprintf(said, sizeof said, "%s.stderr", copy);
        assert_ok(ig_read_file(said, 1 << 20, &text, &len, &error));
        if (WIFSIGNALED(result)) { /* our own aborts are failures */
            assert_int_equal(WTERMSIG(result), SIGABRT);
            assert_non_null(strstr(text, "rocksdb::"));
            assert_non_null(strstr(text, "Assertion"));
        } else {
            assert_int_equal(WEXITSTATUS(result), 0);
        }
        ig_free(text);
        assert_int_equal(unlink(said), 0);
        aborted += WIFSIGNALED(result);
        remove_tree(copy);
    }
    print_message("%u of 150 stopped by RocksDB's own assertions\n", aborted);
    assert_true(aborted <= 5);
}

static void test_index__garbage_in_every_file_is_survived(void **state) {
    struct place *place = *state;
    char copy[PATH_MAX_HERE + 64], file[2 * PATH_MAX_HERE], garbage[3000];
    make_sample(place, 40);
    DIR *d = opendir(place->index);
    assert_non_null(d);
    snprintf(copy, sizeof copy, "%s/copy", place->base);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_type != DT_REG)
            continue;
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (char)random_below(256);
        copy_tree(place->index, copy);
        snprintf(file, sizeof file, "%s/%s", copy, e->d_name);
        write_file(file, garbage, sizeof garbage);
        bool ok = damaged_opens(copy);
        if (strcmp(e->d_name, "CURRENT") == 0 || strcmp(e->d_name, "SEAL") == 0 ||
            strncmp(e->d_name, "MANIFEST", 8) == 0 || strstr(e->d_name, ".sst") != NULL)
            assert_false(ok);
        remove_tree(copy);
    }
    closedir(d);
}

int main(int argc, char **argv) {
    seed = (uint64_t)time(NULL);
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
    for (int i = 1; i + 3 < argc; i++)
        if (strcmp(argv[i], "--child") == 0)
            return child_main(argv[i + 1], argv[i + 2], argv[i + 3]);
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_index__content_and_refs_round_trip),
        CASE(test_index__content_value_is_as_documented),
        CASE(test_index__undecodable_values_are_corrupt_and_named),
        CASE(test_index__merging_into_an_undecodable_value_is_corrupt),
        CASE(test_index__merges_sum_in_any_grouping),
        CASE(test_index__counters_add_and_are_listed_by_prefix),
        CASE(test_index__meta_values_are_put_read_and_deleted),
        CASE(test_index__iterator_joins_content_and_refs_in_id_order),
        CASE(test_index__iterator_does_not_see_later_writes),
        CASE(test_index__a_killed_writer_leaves_exactly_some_watermark),
        CASE(test_index__flush_then_exit_loses_nothing),
        CASE(test_index__exit_without_flush_falls_back_to_the_last_flush),
        CASE(test_index__a_memtable_that_fills_takes_every_family_along),
        CASE(test_index__read_only_sees_what_is_flushed_and_refuses_writes),
        CASE(test_index__create_never_touches_what_exists),
        CASE(test_index__a_created_directory_is_private),
        CASE(test_index__second_opening_for_writing_is_locked),
        CASE(test_index__opening_nothing_makes_nothing),
        CASE(test_index__an_index_of_another_store_is_refused),
        CASE(test_index__missing_files_are_no_index),
        CASE(test_index__a_damaged_manifest_is_refused_or_harmless),
        CASE(test_index__damaged_tables_never_give_wrong_answers),
        CASE(test_index__garbage_in_every_file_is_survived),
    };
#undef CASE
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
