#include "ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_ALL_EVERY 5 /* rounds between checks that read all data, and between rebuilds */

struct verifier {
    struct ledger *ledger;
    ingot_store *store;
    bool settled; /* the ledger's counts are exact */
    uint8_t *bytes;
};

static void open_store(struct verifier *verifier) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status st = ingot_store_open(verifier->ledger->path, NULL, &verifier->store, &err);
    if (st != INGOT_OK)
        complain(verifier->ledger, "open after a kill: %s: %s", ingot_status_name(st), err.message);
}

static void close_store(struct verifier *verifier) {
    ingot_error err = INGOT_ERROR_INIT;
    if (ingot_store_close(verifier->store, &err) != INGOT_OK)
        complain(verifier->ledger, "close: %s", err.message);
}

/* The count of this content, its bytes compared; -1: not there. */
static int64_t look(struct verifier *verifier, uint64_t key, ingot_id *ret_id) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_buf *buf = NULL;
    size_t len = content_of(key, verifier->bytes);
    char hex[INGOT_ID_HEX + 1];
    int64_t refs = -1;
    ingot_store_hash(verifier->store, verifier->bytes, len, ret_id);
    ingot_id_format(ret_id, hex);
    ingot_status st = ingot_store_get(verifier->store, ret_id, NULL, &buf, &err);
    if (st == INGOT_NOT_FOUND)
        return -1;
    if (st != INGOT_OK)
        complain(verifier->ledger, "get %s: %s: %s", hex, ingot_status_name(st), err.message);
    if (ingot_buf_size(buf) != len || memcmp(ingot_buf_data(buf), verifier->bytes, len) != 0)
        complain(verifier->ledger, "get %s: wrong bytes", hex);
    ingot_buf_release(buf);
    st = ingot_store_refcount(verifier->store, ret_id, &refs, &err);
    if (st != INGOT_OK)
        complain(verifier->ledger, "refcount %s: %s: %s", hex, ingot_status_name(st), err.message);
    return refs;
}

/* Asserts that the store and the tally agree; makes the tally exact. Returns the count. */
static int64_t settle(struct verifier *verifier, struct tally *tally, uint64_t key) {
    int64_t added = atomic_load(&tally->add_acked);
    int64_t taken = atomic_load(&tally->sub_acked);
    int64_t adding = atomic_load(&tally->add_started) - added;
    int64_t taking = atomic_load(&tally->sub_started) - taken;
    int64_t low = added - taken - taking;
    int64_t high = added + adding - taken;
    ingot_id id;
    int64_t refs = look(verifier, key, &id);
    char hex[INGOT_ID_HEX + 1];
    ingot_id_format(&id, hex);
    if (refs < 0 && (low > 0 || (!verifier->ledger->collects && added > 0)))
        complain(verifier->ledger,
                 "round %" PRIu32 ": %s is lost: %" PRId64 " puts acked, %" PRId64
                 " removals acked, "
                 "%" PRId64 " in flight",
                 verifier->ledger->round, hex, added, taken, taking);
    refs = refs < 0 ? 0 : refs;
    if (refs < low || refs > high)
        complain(verifier->ledger,
                 "round %" PRIu32 ": %s has %" PRId64 " references; %" PRId64 " to %" PRId64
                 " are possible%s",
                 verifier->ledger->round, hex, refs, low, high,
                 verifier->settled ? ", and that is what it had when last opened" : "");
    atomic_store(&tally->add_acked, (unsigned)refs);
    atomic_store(&tally->add_started, (unsigned)refs);
    atomic_store(&tally->sub_acked, 0);
    atomic_store(&tally->sub_started, 0);
    return refs;
}

/* Before the tallies of this round are settled: a pair in flight is there entirely or not at all.
 */
static void settle_pair(struct verifier *verifier, uint32_t writer) {
    struct ledger *ledger = verifier->ledger;
    struct pair_in_flight *pair = &ledger->pairs[writer];
    if (atomic_exchange(&pair->open, 0) == 0)
        return;
    bool there[2];
    for (int i = 0; i < 2; i++) {
        uint32_t n = atomic_load(i == 0 ? &pair->first : &pair->second);
        const struct tally *tally = ledger_own(ledger, ledger->round, writer, n);
        ingot_id id;
        int64_t refs = look(verifier, key_own(ledger, ledger->round, writer, n), &id);
        there[i] = refs > (int64_t)atomic_load(&tally->add_acked) -
                              (int64_t)atomic_load(&tally->sub_acked);
    }
    if (there[0] != there[1])
        complain(ledger, "round %" PRIu32 ": half of a batch survived (writer %" PRIu32 ")",
                 ledger->round, writer);
}

static void settle_all(struct verifier *verifier) {
    struct ledger *ledger = verifier->ledger;
    for (uint32_t writer = 0; writer < ledger->writers; writer++)
        settle_pair(verifier, writer);
    for (uint32_t n = 0; n < SHARED_CONTENTS; n++)
        settle(verifier, &ledger->shared[n], key_shared(ledger, n));
    uint32_t first = ledger->round < KEEP_ROUNDS ? 0 : ledger->round - KEEP_ROUNDS + 1;
    for (uint32_t round = first; round <= ledger->round; round++)
        for (uint32_t writer = 0; writer < ledger->writers; writer++)
            for (uint32_t n = 0; n < OWN_CONTENTS; n++) {
                struct tally *tally = ledger_own(ledger, round, writer, n);
                if (atomic_load(&tally->add_started) > 0)
                    settle(verifier, tally, key_own(ledger, round, writer, n));
            }
    verifier->settled = true;
}

static void check(struct verifier *verifier, bool read_data) {
    ingot_check_options options = INGOT_CHECK_OPTIONS_INIT;
    ingot_check_report report = {0};
    ingot_error err = INGOT_ERROR_INIT;
    options.flags = read_data ? INGOT_CHECK_READ_DATA : 0;
    ingot_status st = ingot_store_check(verifier->store, &options, NULL, &report, &err);
    if (st != INGOT_OK)
        complain(verifier->ledger,
                 "check: %s: %s (%" PRIu64 " damaged objects, %" PRIu64 " segments, %" PRIu64
                 " mismatches)",
                 ingot_status_name(st), err.message, report.damaged_objects,
                 report.damaged_segments, report.index_mismatches);
}

/* Takes all references from the oldest round, whose place in the ledger the next one needs. */
static void retire_oldest(struct verifier *verifier) {
    struct ledger *ledger = verifier->ledger;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op relaxed = INGOT_OP_INIT;
    relaxed.flags = INGOT_RELAXED;
    for (uint32_t writer = 0; writer < ledger->writers; writer++)
        for (uint32_t n = 0; n < OWN_CONTENTS; n++) {
            uint32_t round = ledger->round + 1 - KEEP_ROUNDS;
            struct tally *tally = ledger_own(ledger, round, writer, n);
            size_t len = content_of(key_own(ledger, round, writer, n), verifier->bytes);
            ingot_id id;
            ingot_store_hash(verifier->store, verifier->bytes, len, &id);
            for (uint32_t left = atomic_load(&tally->add_acked); left > 0; left--)
                if (ingot_store_unref(verifier->store, &id, &relaxed, NULL, &err) != INGOT_OK)
                    complain(ledger, "unref: %s", err.message);
            memset(tally, 0, sizeof *tally);
        }
    ingot_gc_options options = INGOT_GC_OPTIONS_INIT;
    ingot_gc_report report;
    options.grace_ms = -1;
    options.limbo_ms = -1;
    if (ingot_store_gc(verifier->store, &options, NULL, &report, &err) != INGOT_OK)
        complain(ledger, "gc: %s", err.message);
}

static void rebuild(struct verifier *verifier) {
    ingot_rebuild_report report;
    ingot_error err = INGOT_ERROR_INIT;
    if (ingot_store_rebuild_index(verifier->ledger->path, NULL, NULL, &report, &err) != INGOT_OK)
        complain(verifier->ledger, "rebuild_index: %s", err.message);
}

void verify(struct ledger *ledger) {
    struct verifier verifier = {.ledger = ledger, .bytes = must_alloc(CONTENT_MAX)};
    bool thorough = ledger->round % READ_ALL_EVERY == 0;
    open_store(&verifier);
    settle_all(&verifier);
    check(&verifier, thorough);
    close_store(&verifier);
    if (thorough)
        rebuild(&verifier);
    open_store(&verifier);
    settle_all(&verifier); /* unknown outcomes stay what they were first seen to be */
    if (ledger->round + 1 >= KEEP_ROUNDS) {
        retire_oldest(&verifier);
        check(&verifier, false);
    }
    close_store(&verifier);
    free(verifier.bytes);
}
