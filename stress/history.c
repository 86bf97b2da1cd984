#include "history.h"

#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void history_init(struct history *history) {
    history->events = must_alloc(HISTORY_MAX * sizeof *history->events);
    atomic_store(&history->count, 0);
    atomic_store(&history->clock, 1);
}

void history_release(struct history *history) { free(history->events); }

uint64_t history_tick(struct history *history) { return atomic_fetch_add(&history->clock, 1); }

void history_add(struct history *history, const struct event *event) {
    uint32_t at = atomic_fetch_add_explicit(&history->count, 1, memory_order_relaxed);
    if (at >= HISTORY_MAX)
        failed("more than %" PRIu32 " events between two settlements", HISTORY_MAX);
    history->events[at] = *event;
}

void belief_init(struct belief *belief, uint64_t sum) {
    *belief = (struct belief){.states = must_alloc(sizeof *belief->states), .count = 1};
    belief->sum = sum; /* and one state: absent */
}

void belief_release(struct belief *belief) { free(belief->states); }

/* ---- One step: may `event` happen in `state`, and what is then? --------------------------- */

static bool step_put(const struct event *event, struct object_state *state) {
    if (event->status != INGOT_OK)
        return false;
    if (state->where != STATE_PRESENT) {
        state->where = STATE_PRESENT;
        state->count = 0;
    }
    state->count += (int64_t)event->value;
    state->leases += event->leases;
    return true;
}

static bool step_ref(const struct event *event, const struct belief *belief,
                     struct object_state *state) {
    if (event->status == INGOT_NOT_FOUND) {
        if (state->where == STATE_LIMBO && belief->limbo_none)
            state->where = STATE_ABSENT;
        return state->where == STATE_ABSENT;
    }
    if (event->status != INGOT_OK || state->where == STATE_ABSENT)
        return false;
    if (state->where == STATE_LIMBO)
        state->count = 0;
    state->where = STATE_PRESENT;
    state->count++;
    return event->value == UINT64_MAX || state->count == (int64_t)event->value;
}

static bool step_unref(const struct event *event, struct object_state *state) {
    if (state->where != STATE_PRESENT)
        return event->status == INGOT_NOT_FOUND;
    if (state->count == 0)
        return event->status == INGOT_NO_REFERENCE;
    if (event->status != INGOT_OK)
        return false;
    state->count--;
    return event->value == UINT64_MAX || state->count == (int64_t)event->value;
}

static bool step_delete(const struct event *event, struct object_state *state) {
    if (state->where != STATE_PRESENT)
        return event->status == INGOT_NOT_FOUND;
    if (state->count > 0 || state->leases > 0)
        return event->status == INGOT_IN_USE;
    state->where = STATE_LIMBO;
    return event->status == INGOT_OK;
}

static bool step_lease(const struct event *event, struct object_state *state) {
    if (state->where != STATE_PRESENT)
        return event->status == INGOT_NOT_FOUND;
    state->leases += event->leases;
    return event->status == INGOT_OK;
}

static bool step_sweep(struct object_state *state) {
    bool may = state->where == STATE_PRESENT && state->count == 0 && state->leases == 0;
    state->where = STATE_LIMBO;
    return may;
}

static bool step(const struct event *event, const struct belief *belief,
                 struct object_state *state) {
    bool present = state->where == STATE_PRESENT;
    switch ((enum action)event->action) {
    case ACT_PUT:
        return step_put(event, state);
    case ACT_READ:
        return event->status == (present ? INGOT_OK : INGOT_NOT_FOUND) &&
               (!present || event->value == belief->sum);
    case ACT_HAS:
        return event->status == (present ? INGOT_OK : INGOT_NOT_FOUND);
    case ACT_COUNT:
        return event->status == (present ? INGOT_OK : INGOT_NOT_FOUND) &&
               (!present || state->count == (int64_t)event->value);
    case ACT_REF:
        return step_ref(event, belief, state);
    case ACT_UNREF:
        return step_unref(event, state);
    case ACT_DELETE:
        return step_delete(event, state);
    case ACT_LEASE:
        return step_lease(event, state);
    case ACT_UNLEASE:
        if (state->leases < event->leases)
            return false;
        state->leases -= event->leases;
        return true;
    case ACT_SWEEP:
        return step_sweep(state);
    case ACT_PURGE:
        if (state->where == STATE_LIMBO)
            state->where = STATE_ABSENT;
        return true;
    }
    return false;
}

#define EXPLAINED_MAX 100 /* moments that are printed when no order is left */

/* ---- Sets of configurations ---------------------------------------------------------------- */

struct config {
    struct object_state state;
    uint64_t done; /* running operations that have taken effect, one bit each */
};

struct config_set {
    struct config *items;
    uint32_t count;
    uint32_t *table; /* item + 1; 2 * CONFIGS_MAX places */
};

static void set_init(struct config_set *set) {
    set->items = must_alloc(CONFIGS_MAX * sizeof *set->items);
    set->table = must_alloc(2 * CONFIGS_MAX * sizeof *set->table);
    set->count = 0;
}

static void set_release(struct config_set *set) {
    free(set->items);
    free(set->table);
}

static uint32_t *set_place(struct config_set *set, const struct config *config) {
    uint64_t sum = content_sum(config, sizeof *config);
    for (uint32_t at = (uint32_t)(sum % (2 * CONFIGS_MAX));; at = (at + 1) % (2 * CONFIGS_MAX)) {
        uint32_t item = set->table[at];
        if (item == 0 || memcmp(&set->items[item - 1], config, sizeof *config) == 0)
            return &set->table[at];
    }
}

/* False when the set is full. */
static bool set_add(struct config_set *set, const struct config *config) {
    uint32_t *place = set_place(set, config);
    if (*place != 0)
        return true;
    if (set->count == CONFIGS_MAX)
        return false;
    set->items[set->count++] = *config;
    *place = set->count;
    return true;
}

static void set_clear(struct config_set *set) {
    while (set->count > 0) { /* last in, first out: no probe chain is cut before its end */
        *set_place(set, &set->items[set->count - 1]) = 0;
        set->count--;
    }
}

/* ---- The search ---------------------------------------------------------------------------- */

struct moment {
    uint64_t time;
    uint32_t event;
    bool is_return;
};

struct search {
    const struct belief *belief;
    const struct event *running[RUNNING_MAX];
    uint64_t running_mask;
    struct config_set now;
    struct config_set next;
};

static int compare_moments(const void *a, const void *b) {
    uint64_t left = ((const struct moment *)a)->time;
    uint64_t right = ((const struct moment *)b)->time;
    if (left == right) /* events that share one call: all calls come before all returns */
        return (int)((const struct moment *)a)->is_return - ((const struct moment *)b)->is_return;
    return left < right ? -1 : 1;
}

static bool alike(const struct event *a, const struct event *b) {
    return a->action == b->action && a->status == b->status && a->value == b->value &&
           a->leases == b->leases;
}

/* Of running operations that are alike the one that returns first goes first: if any order explains
 * the history, one does in which they are swapped so. */
static bool has_precedence(const struct search *search, uint64_t done, int slot) {
    const struct event *event = search->running[slot];
    for (uint64_t left = search->running_mask & ~done; left != 0; left &= left - 1) {
        const struct event *other = search->running[__builtin_ctzll(left)];
        if (other != event && alike(other, event) && other->ret < event->ret)
            return false;
    }
    return true;
}

/* An operation that changes no state whatever it is. */
static bool only_looks(const struct event *event) {
    switch ((enum action)event->action) {
    case ACT_READ:
    case ACT_HAS:
    case ACT_COUNT:
        return true;
    case ACT_UNREF:
    case ACT_DELETE:
    case ACT_LEASE:
        return event->status != INGOT_OK;
    case ACT_PUT:
    case ACT_REF:
    case ACT_UNLEASE:
    case ACT_SWEEP:
    case ACT_PURGE:
        return false;
    }
    return false;
}

/* What only looks, and may see now what it saw, takes effect at once: to wait could only make it
 * impossible. */
static struct config without_delay(const struct search *search, const struct config *config) {
    struct config now = *config;
    for (uint64_t left = search->running_mask & ~now.done; left != 0; left &= left - 1) {
        int slot = __builtin_ctzll(left);
        struct object_state state = now.state;
        if (only_looks(search->running[slot]) &&
            step(search->running[slot], search->belief, &state))
            now.done |= UINT64_C(1) << slot;
    }
    return now;
}

static bool add_without_delay(struct search *search, const struct config *config) {
    struct config now = without_delay(search, config);
    return set_add(&search->now, &now);
}

/* Lets one operation take effect in a configuration; false when the set is full. */
static bool let_happen(struct search *search, struct config config, int slot) {
    const struct event *event = search->running[slot];
    config.done |= UINT64_C(1) << slot;
    if (event->action == ACT_PURGE && !add_without_delay(search, &config))
        return false; /* it may also have passed this id over */
    return !step(event, search->belief, &config.state) || add_without_delay(search, &config);
}

/* Adds to `now` all that can be reached by letting running operations take effect. */
static bool expand(struct search *search) {
    for (uint32_t i = 0; i < search->now.count; i++) {
        struct config config = search->now.items[i];
        struct config undelayed = without_delay(search, &config);
        if (undelayed.done != config.done) { /* stands for the other from now on */
            if (!set_add(&search->now, &undelayed))
                return false;
            continue;
        }
        for (uint64_t left = search->running_mask & ~config.done; left != 0; left &= left - 1) {
            int slot = __builtin_ctzll(left);
            if (has_precedence(search, config.done, slot) && !let_happen(search, config, slot))
                return false;
        }
    }
    return true;
}

/* Keeps the configurations in which the operation in `slot` has taken effect. */
static void retire(struct search *search, int slot) {
    uint64_t bit = UINT64_C(1) << slot;
    set_clear(&search->next);
    for (uint32_t i = 0; i < search->now.count; i++) {
        struct config config = search->now.items[i];
        if ((config.done & bit) == 0)
            continue;
        config.done &= ~bit;
        if (!set_add(&search->next, &config))
            failed("checker: more configurations after than before a return");
    }
    struct config_set swap = search->now;
    search->now = search->next;
    search->next = swap;
    search->running_mask &= ~bit;
}

static const char *action_name(uint8_t action) {
    static const char *const names[] = {"put",    "read",  "has",     "count", "ref",  "unref",
                                        "delete", "lease", "unlease", "sweep", "purge"};
    return names[action];
}

/* The last events up to moment `at`, those still running included. */
static void explain(const struct event *events, const struct moment *moments, size_t at,
                    char *ret_reason, size_t capacity) {
    size_t used = (size_t)snprintf(ret_reason, capacity, "no order explains the last of these:\n");
    for (size_t i = at > EXPLAINED_MAX ? at - EXPLAINED_MAX : 0; i <= at && used < capacity; i++) {
        const struct event *event = &events[moments[i].event];
        bool running = !moments[i].is_return && event->ret > moments[at].time;
        if ((!moments[i].is_return && !running) || event->action == ACT_PURGE)
            continue;
        int n =
            snprintf(ret_reason + used, capacity - used,
                     "  [%" PRIu64 ", %" PRIu64 "]%s thread %u %s %s value %" PRId64 " leases %u\n",
                     event->call, event->ret, running ? " still running:" : "", event->thread,
                     action_name(event->action), ingot_status_name(event->status),
                     (int64_t)event->value, event->leases);
        used += (size_t)n;
    }
}

static struct moment *moments_of(const struct history *history, uint32_t object,
                                 size_t *ret_count) {
    uint32_t total = atomic_load(&history->count);
    size_t count = 0;
    for (uint32_t i = 0; i < total; i++)
        count += history->events[i].object == object ? 2 : 0;
    struct moment *moments = must_alloc(count * sizeof *moments);
    size_t n = 0;
    for (uint32_t i = 0; i < total; i++) {
        const struct event *event = &history->events[i];
        if (event->object != object)
            continue;
        moments[n++] = (struct moment){event->call, i, false};
        moments[n++] = (struct moment){event->ret, i, true};
    }
    qsort(moments, count, sizeof *moments, compare_moments);
    *ret_count = count;
    return moments;
}

static bool begin_running(struct search *search, const struct event *event) {
    if (search->running_mask == UINT64_MAX)
        return false;
    int slot = __builtin_ctzll(~search->running_mask);
    search->running[slot] = event;
    search->running_mask |= UINT64_C(1) << slot;
    return true;
}

static int slot_of(const struct search *search, const struct event *event) {
    int slot = 0;
    while ((search->running_mask & (UINT64_C(1) << slot)) == 0 || search->running[slot] != event)
        slot++;
    return slot;
}

static bool search_run(struct search *search, const struct history *history,
                       const struct moment *moments, size_t count, char *ret_reason,
                       size_t capacity) {
    for (size_t i = 0; i < count; i++) {
        const struct event *event = &history->events[moments[i].event];
        if (!moments[i].is_return) {
            if (begin_running(search, event))
                continue;
            snprintf(ret_reason, capacity, "checker: over %d operations at one time", RUNNING_MAX);
            return false;
        }
        if (!expand(search)) {
            snprintf(ret_reason, capacity, "checker: over %u configurations", CONFIGS_MAX);
            return false;
        }
        retire(search, slot_of(search, event));
        if (search->now.count == 0) {
            explain(history->events, moments, i, ret_reason, capacity);
            return false;
        }
    }
    return true;
}

bool belief_advance(struct belief *belief, const struct history *history, uint32_t object,
                    char *ret_reason, size_t capacity) {
    struct search search = {.belief = belief};
    set_init(&search.now);
    set_init(&search.next);
    for (uint32_t i = 0; i < belief->count; i++) {
        struct config config = {.state = belief->states[i]};
        if (!set_add(&search.now, &config))
            failed("checker: too many states to start from");
    }
    size_t count = 0;
    struct moment *moments = moments_of(history, object, &count);
    bool ok = search_run(&search, history, moments, count, ret_reason, capacity);
    if (ok) {
        free(belief->states);
        belief->count = search.now.count;
        belief->states = must_alloc(belief->count * sizeof *belief->states);
        for (uint32_t i = 0; i < belief->count; i++)
            belief->states[i] = search.now.items[i].state;
    }
    free(moments);
    set_release(&search.now);
    set_release(&search.next);
    return ok;
}
