#include "actor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_LEASES_MAX 200
#define MANY_MAX 8 /* items of a batch */

/* An operation that is being written down. */
struct note {
    struct world *world;
    ingot_error err;
    struct event event;
};

static struct note note_begin(struct world *world, uint16_t thread, uint32_t object,
                              enum action action) {
    struct note note = {.world = world, .err = INGOT_ERROR_INIT};
    note.event = (struct event){.object = object, .thread = thread, .action = (uint8_t)action};
    note.event.call = history_tick(&world->history);
    return note;
}

static struct note actor_begin(const struct actor *actor, uint32_t object, enum action action) {
    return note_begin(actor->world, actor->thread, object, action);
}

/* Only the answers that the checker understands may come back; anything else is a finding. */
static void must_answer(const struct world *world, uint32_t object, ingot_status status,
                        const ingot_error *err) {
    bool answer = status == INGOT_OK || status == INGOT_NOT_FOUND || status == INGOT_NO_REFERENCE ||
                  status == INGOT_IN_USE;
    if (answer)
        return;
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&world->contents[object].id, hex);
    failed("object %" PRIu32 " %s: %s: %s", object, hex, ingot_status_name(status), err->message);
}

static void note_end(struct note *note, ingot_status status, uint64_t value) {
    note->event.ret = history_tick(&note->world->history);
    note->event.status = status;
    note->event.value = value;
    must_answer(note->world, note->event.object, status, &note->err);
    history_add(&note->world->history, &note->event);
}

static bool lies(struct actor *actor, enum plant plant, uint32_t percent) {
    return actor->world->plant == plant && rng_chance(&actor->rng, percent);
}

static uint32_t pick(struct actor *actor) {
    const struct world *world = actor->world;
    return rng_below(&actor->rng, rng_chance(&actor->rng, 12) ? world->objects : world->small);
}

static ingot_op random_op(struct actor *actor) {
    ingot_op op = INGOT_OP_INIT;
    if (rng_chance(&actor->rng, 40))
        op.flags |= INGOT_RELAXED;
    return op;
}

static void must_be_id(const struct world *world, uint32_t object, const ingot_id *id) {
    if (ingot_id_compare(id, &world->contents[object].id) != 0)
        failed("a put of object %" PRIu32 " returned another id", object);
}

/* ---- Putting ------------------------------------------------------------------------------- */

static void do_put(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    ingot_op op = random_op(actor);
    bool add = !rng_chance(&actor->rng, 30);
    op.flags |= add ? 0 : INGOT_NO_REF;
    if (rng_chance(&actor->rng, 20))
        op.flags |= INGOT_NO_CACHE;
    if (lies(actor, PLANT_EARLY_ACK, 25)) {
        struct note early = actor_begin(actor, object, ACT_PUT);
        note_end(&early, INGOT_OK, add);
        observe(world, object, actor->thread);
        ingot_id id;
        if (ingot_store_put(world->store, content->bytes, content->len, &op, &id, NULL) != 0)
            failed("a put failed");
        return;
    }
    struct note note = actor_begin(actor, object, ACT_PUT);
    ingot_id id;
    ingot_status st =
        ingot_store_put(world->store, content->bytes, content->len, &op, &id, &note.err);
    note_end(&note, st, add);
    must_be_id(world, object, &id);
    if (add && lies(actor, PLANT_LOST_COUNT, 5))
        history_add(&world->history, &note.event);
}

static void do_put_batch(struct actor *actor) {
    struct world *world = actor->world;
    ingot_put_item items[MANY_MAX];
    struct note notes[MANY_MAX];
    uint32_t first = pick(actor);
    uint32_t count = 1 + rng_below(&actor->rng, MANY_MAX);
    ingot_op op = random_op(actor);
    ingot_error err = INGOT_ERROR_INIT;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t object = (first + i) % world->small;
        const struct content *content = &world->contents[object];
        items[i] = (ingot_put_item){.data = content->bytes, .len = content->len};
        notes[i] = actor_begin(actor, object, ACT_PUT);
    }
    ingot_status st = ingot_store_put_batch(world->store, items, count, &op, &err);
    if (st != INGOT_OK)
        failed("put_batch: %s: %s", ingot_status_name(st), err.message);
    for (uint32_t i = 0; i < count; i++) {
        note_end(&notes[i], items[i].status, 1);
        must_be_id(world, notes[i].event.object, &items[i].id);
    }
}

static void do_stream(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    ingot_writer *writer = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = random_op(actor);
    if (ingot_writer_open(world->store, &writer, &err) != INGOT_OK)
        failed("writer_open: %s", err.message);
    for (size_t at = 0; at < content->len;) {
        size_t piece = 1 + rng_below(&actor->rng, (uint32_t)content->len);
        if (piece > content->len - at)
            piece = content->len - at;
        if (ingot_writer_write(writer, content->bytes + at, piece, &err) != INGOT_OK)
            failed("writer_write: %s", err.message);
        at += piece;
    }
    if (!rng_chance(&actor->rng, 10)) { /* otherwise given up, and nothing may be seen of it */
        struct note note = actor_begin(actor, object, ACT_PUT);
        ingot_id id;
        ingot_status st = ingot_writer_finish(writer, &op, &id, &note.err);
        note_end(&note, st, 1);
        must_be_id(world, object, &id);
    }
    ingot_writer_free(writer);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static void end_read(struct actor *actor, struct note *note, ingot_status st, uint64_t sum) {
    const struct content *content = &actor->world->contents[note->event.object];
    if (st == INGOT_NOT_FOUND && lies(actor, PLANT_STALE_READ, 25)) {
        st = INGOT_OK;
        sum = content->sum;
    }
    if (st == INGOT_OK && lies(actor, PLANT_WRONG_VALUE, 5))
        sum ^= 1;
    note_end(note, st, sum);
}

static void check_held(struct actor *actor) {
    if (actor->held == NULL)
        return;
    const struct content *content = &actor->world->contents[actor->held_object];
    if (ingot_buf_size(actor->held) != content->len ||
        memcmp(ingot_buf_data(actor->held), content->bytes, content->len) != 0)
        failed("a view of object %" PRIu32 " changed while it was held", actor->held_object);
    ingot_buf_release(actor->held);
    actor->held = NULL;
}

static void do_get(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    ingot_op op = INGOT_OP_INIT;
    op.flags = rng_chance(&actor->rng, 30) ? INGOT_NO_CACHE : 0;
    ingot_buf *buf = NULL;
    struct note note = actor_begin(actor, object, ACT_READ);
    ingot_status st =
        ingot_store_get(world->store, &world->contents[object].id, &op, &buf, &note.err);
    uint64_t sum = st == INGOT_OK ? content_sum(ingot_buf_data(buf), ingot_buf_size(buf)) : 0;
    end_read(actor, &note, st, sum);
    if (st == INGOT_OK && rng_chance(&actor->rng, 20)) {
        check_held(actor);
        actor->held = ingot_buf_ref(buf);
        actor->held_object = object;
    }
    ingot_buf_release(buf);
}

static void do_get_into(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    size_t capacity = content->len;
    bool small = content->len > 0 && rng_chance(&actor->rng, 15);
    struct note note = actor_begin(actor, object, small ? ACT_HAS : ACT_READ);
    size_t len = 0;
    ingot_status st = ingot_store_get_into(world->store, &content->id, actor->buffer,
                                           small ? capacity - 1 : capacity, NULL, &len, &note.err);
    if (small) {
        if (st == INGOT_OK)
            failed("get_into wrote %zu bytes into less", capacity);
        note_end(&note, st == INGOT_TOO_LARGE ? INGOT_OK : st, 0);
        return;
    }
    end_read(actor, &note, st, st == INGOT_OK ? content_sum(actor->buffer, len) : 0);
}

static void do_range(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    size_t offset = rng_below(&actor->rng, (uint32_t)content->len + 10);
    size_t want = rng_below(&actor->rng, (uint32_t)content->len + 10);
    size_t there = offset >= content->len ? 0 : content->len - offset;
    if (want > there && there + 10 < want)
        want = there;
    struct note note = actor_begin(actor, object, ACT_HAS);
    size_t len = 0;
    ingot_status st = ingot_store_get_range(world->store, &content->id, offset, actor->buffer, want,
                                            NULL, &len, &note.err);
    note_end(&note, st, 0);
    if (st != INGOT_OK)
        return;
    if (len != (want < there ? want : there) ||
        (len > 0 && memcmp(actor->buffer, content->bytes + offset, len) != 0))
        failed("range [%zu, +%zu) of object %" PRIu32 ": %zu bytes, or wrong ones", offset, want,
               object, len);
}

static void do_reader(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    ingot_reader *reader = NULL;
    struct note note = actor_begin(actor, object, ACT_LEASE);
    note.event.leases = 1;
    ingot_status st = ingot_reader_open(world->store, &content->id, &reader, &note.err);
    note_end(&note, st, 0);
    if (st != INGOT_OK)
        return;
    note = actor_begin(actor, object, ACT_READ);
    size_t at = 0;
    size_t piece = 1;
    while (st == INGOT_OK && piece > 0) {
        st =
            ingot_reader_read(reader, actor->buffer + at, content->len + 1 - at, &piece, &note.err);
        at += st == INGOT_OK ? piece : 0;
    }
    end_read(actor, &note, st, content_sum(actor->buffer, at));
    note = actor_begin(actor, object, ACT_UNLEASE);
    note.event.leases = 1;
    ingot_reader_close(reader);
    note_end(&note, INGOT_OK, 0);
}

static void do_ask(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    uint32_t which = rng_below(&actor->rng, 4);
    struct note note = actor_begin(actor, object, which < 2 ? ACT_COUNT : ACT_HAS);
    ingot_status st = INGOT_OK;
    int64_t refs = 0;
    ingot_stat stat = {0};
    ingot_id id;
    if (which == 0)
        st = ingot_store_refcount(world->store, &content->id, &refs, &note.err);
    else if (which == 1)
        st = ingot_store_stat(world->store, &content->id, &stat, &note.err);
    else if (which == 2)
        st = ingot_store_has(world->store, &content->id, &note.err);
    else
        st =
            ingot_store_check_duplicate(world->store, content->bytes, content->len, &id, &note.err);
    note_end(&note, st, (uint64_t)(which == 1 ? stat.refs : refs));
    if (which == 1 && st == INGOT_OK && stat.size != content->len)
        failed("object %" PRIu32 " has size %" PRIu64 ", not %zu", object, stat.size, content->len);
}

/* ---- Counting ------------------------------------------------------------------------------ */

static void do_delete(struct actor *actor, uint32_t object) {
    struct world *world = actor->world;
    ingot_op op = random_op(actor);
    struct note note = actor_begin(actor, object, ACT_DELETE);
    if (lies(actor, PLANT_RESURRECTED, 100)) {
        note_end(&note, INGOT_OK, 0);
        observe(world, object, actor->thread);
        return;
    }
    ingot_status st = ingot_store_delete(world->store, &world->contents[object].id, &op, &note.err);
    note_end(&note, st, 0);
}

static void do_ref(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    bool add = rng_chance(&actor->rng, 40);
    ingot_op op = random_op(actor);
    struct note note = actor_begin(actor, object, add ? ACT_REF : ACT_UNREF);
    int64_t refs = 0;
    const ingot_id *id = &world->contents[object].id;
    ingot_status st = add ? ingot_store_ref(world->store, id, &op, &refs, &note.err)
                          : ingot_store_unref(world->store, id, &op, &refs, &note.err);
    note_end(&note, st, (uint64_t)refs);
    if (!add && st == INGOT_OK && refs == 0 && rng_chance(&actor->rng, 30))
        do_delete(actor, object);
}

static void do_batch(struct actor *actor) {
    struct world *world = actor->world;
    ingot_batch *batch = NULL;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = random_op(actor);
    struct note notes[MANY_MAX];
    if (ingot_batch_new(world->store, &batch, &err) != INGOT_OK)
        failed("batch_new: %s", err.message);
    uint32_t first = pick(actor);
    uint32_t count = 1 + rng_below(&actor->rng, MANY_MAX / 2);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t object = (first + i) % world->small;
        bool add = rng_chance(&actor->rng, 60);
        const ingot_id *id = &world->contents[object].id;
        notes[i] = actor_begin(actor, object, add ? ACT_REF : ACT_UNREF);
        ingot_status st =
            add ? ingot_batch_ref(batch, id, &err) : ingot_batch_unref(batch, id, &err);
        if (st != INGOT_OK)
            failed("batch_ref or _unref: %s", err.message);
    }
    ingot_status st = ingot_batch_commit(batch, &op, &err);
    must_answer(world, notes[0].event.object, st, &err);
    for (uint32_t i = 0; st == INGOT_OK && i < count; i++) /* refused: says nothing of any one */
        note_end(&notes[i], INGOT_OK, UINT64_MAX);
    ingot_batch_free(batch);
}

/* ---- Sessions ------------------------------------------------------------------------------ */

static void close_session(struct actor *actor) {
    struct world *world = actor->world;
    if (actor->session == NULL)
        return;
    struct note notes[OBJECTS_MAX];
    for (uint32_t i = 0; i < world->objects; i++) {
        notes[i] = actor_begin(actor, i, ACT_UNLEASE);
        notes[i].event.leases = actor->leased[i];
    }
    ingot_session_close(actor->session);
    for (uint32_t i = 0; i < world->objects; i++)
        if (actor->leased[i] > 0)
            note_end(&notes[i], INGOT_OK, 0);
    actor->session = NULL;
    memset(actor->leased, 0, sizeof actor->leased);
}

static void do_session(struct actor *actor) {
    struct world *world = actor->world;
    uint32_t object = pick(actor);
    const struct content *content = &world->contents[object];
    ingot_error err = INGOT_ERROR_INIT;
    if (actor->session == NULL && ingot_session_open(world->store, &actor->session, &err) != 0)
        failed("session_open: %s", err.message);
    if (rng_chance(&actor->rng, 25) || actor->leased[object] == SESSION_LEASES_MAX) {
        close_session(actor);
        return;
    }
    bool put = rng_chance(&actor->rng, 50);
    struct note note = actor_begin(actor, object, put ? ACT_PUT : ACT_LEASE);
    note.event.leases = 1;
    ingot_status st;
    if (put) {
        ingot_op op = random_op(actor);
        ingot_id id;
        op.flags |= INGOT_NO_REF;
        st = ingot_session_put(actor->session, content->bytes, content->len, &op, &id, &note.err);
    } else {
        st = ingot_session_lease(actor->session, &content->id, &note.err);
    }
    if (st == INGOT_OK)
        actor->leased[object]++;
    note_end(&note, st, 0);
}

/* ---- Collecting, caches, checks ------------------------------------------------------------ */

static uint32_t object_of(const struct world *world, const ingot_id *id) {
    for (uint32_t i = 0; i < world->objects; i++)
        if (ingot_id_compare(id, &world->contents[i].id) == 0)
            return i;
    failed("the collector names an id that was never put");
}

static void note_collected(struct actor *actor, const struct note *gc, const ingot_id *victims,
                           uint64_t swept, bool purges) {
    struct world *world = actor->world;
    struct event event = gc->event;
    event.ret = history_tick(&world->history);
    event.status = INGOT_OK;
    for (uint64_t i = 0; i < swept; i++) {
        if (i > 0 && ingot_id_compare(&victims[i - 1], &victims[i]) >= 0)
            failed("victims of a collection are not in id order");
        event.object = object_of(world, &victims[i]);
        event.action = ACT_SWEEP;
        history_add(&world->history, &event);
    }
    event.action = ACT_PURGE;
    for (event.object = 0; purges && event.object < world->objects; event.object++)
        history_add(&world->history, &event);
}

static void do_gc(struct actor *actor) {
    struct world *world = actor->world;
    ingot_id victims[OBJECTS_MAX];
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report = {0};
    bool now = rng_chance(&actor->rng, 70);
    options.grace_ms = now ? -1 : 0;
    options.limbo_ms = rng_chance(&actor->rng, 50) ? -1 : 0;
    options.flags = rng_chance(&actor->rng, 20) ? INGOT_GC_DRY_RUN : 0;
    options.max_objects = rng_chance(&actor->rng, 20) ? 5 : 0;
    options.clean_below_percent = rng_chance(&actor->rng, 50) ? 95 : 0;
    options.victims = victims;
    options.victims_max = OBJECTS_MAX;
    struct note note = actor_begin(actor, 0, ACT_SWEEP);
    ingot_status st = ingot_store_gc(world->store, &options, NULL, &report, &note.err);
    if (st == INGOT_BUSY)
        return;
    if (st != INGOT_OK)
        failed("gc: %s: %s", ingot_status_name(st), note.err.message);
    if (report.swept > world->objects || (!now && report.swept > 0))
        failed("gc swept %" PRIu64 " of %" PRIu32 " objects, grace %" PRId64, report.swept,
               world->objects, options.grace_ms);
    if (options.flags != INGOT_GC_DRY_RUN)
        note_collected(actor, &note, victims, report.swept,
                       options.limbo_ms == -1 || world->limbo_none);
}

static void do_cache(struct actor *actor) {
    struct world *world = actor->world;
    const ingot_id *id = &world->contents[pick(actor)].id;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status st = INGOT_OK;
    switch (rng_below(&actor->rng, 4)) {
    case 0:
        ingot_cache_evict(world->store, NULL);
        break;
    case 1:
        ingot_cache_evict(world->store, id);
        break;
    case 2:
        st = ingot_cache_resize(world->store, rng_below(&actor->rng, 5) << 20, &err);
        break;
    default:
        st = ingot_cache_set(world->store, id, &err);
        st = st == INGOT_NOT_FOUND || st == INGOT_TOO_LARGE ? INGOT_OK : st;
        break;
    }
    if (st != INGOT_OK)
        failed("cache: %s: %s", ingot_status_name(st), err.message);
}

static void do_check(struct actor *actor) {
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report = {0};
    ingot_error err = INGOT_ERROR_INIT;
    ingot_iter *iter = NULL;
    ingot_id id;
    ingot_stat stat;
    options.flags = rng_chance(&actor->rng, 50) ? INGOT_CHECK_READ_DATA : 0;
    ingot_status st = ingot_store_check(actor->world->store, &options, NULL, &report, &err);
    if (st != INGOT_OK && st != INGOT_BUSY)
        failed("check: %s: %s (%" PRIu64 " damaged, %" PRIu64 " mismatches)", ingot_status_name(st),
               err.message, report.damaged_objects, report.index_mismatches);
    if (ingot_iter_open(actor->world->store, &iter, &err) != INGOT_OK)
        failed("iter_open: %s", err.message);
    while ((st = ingot_iter_next(iter, &id, &stat, &err)) == INGOT_OK)
        if (stat.refs < 0 || stat.size != actor->world->contents[object_of(actor->world, &id)].len)
            failed("an iterator tells a wrong size or count");
    if (st != INGOT_NOT_FOUND)
        failed("iter_next: %s", err.message);
    ingot_iter_close(iter);
}

static const struct {
    void (*run)(struct actor *actor);
    uint32_t weight;
} menu[] = {
    {do_put, 22},    {do_put_batch, 4}, {do_stream, 3}, {do_get, 18},  {do_get_into, 5},
    {do_range, 6},   {do_reader, 3},    {do_ask, 10},   {do_ref, 24},  {do_batch, 4},
    {do_session, 8}, {do_gc, 3},        {do_cache, 3},  {do_check, 1},
};

static void one_step(struct actor *actor) {
    uint32_t total = 0;
    for (size_t i = 0; i < sizeof menu / sizeof menu[0]; i++)
        total += menu[i].weight;
    uint32_t at = rng_below(&actor->rng, total);
    size_t i = 0;
    while (at >= menu[i].weight)
        at -= menu[i++].weight;
    menu[i].run(actor);
}

void *actor_run(void *arg) {
    struct actor *actor = arg;
    for (uint32_t i = 0; i < actor->steps; i++)
        one_step(actor);
    if (rng_chance(&actor->rng, 50))
        check_held(actor); /* the others live on over close and reopen */
    close_session(actor);
    actor->done += actor->steps;
    return NULL;
}

void observe(struct world *world, uint32_t object, uint16_t thread) {
    const struct content *content = &world->contents[object];
    ingot_buf *buf = NULL;
    struct note note = note_begin(world, thread, object, ACT_READ);
    ingot_status st = ingot_store_get(world->store, &content->id, NULL, &buf, &note.err);
    note_end(&note, st, st == INGOT_OK ? content_sum(ingot_buf_data(buf), ingot_buf_size(buf)) : 0);
    ingot_buf_release(buf);
    int64_t refs = 0;
    note = note_begin(world, thread, object, ACT_COUNT);
    st = ingot_store_refcount(world->store, &content->id, &refs, &note.err);
    note_end(&note, st, (uint64_t)refs);
}
