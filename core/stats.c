/* The numbers of a store. */
#include "store.h"

#include <string.h>

static uint64_t load(const atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t gauge(int64_t value) { return value < 0 ? 0 : (uint64_t)value; }

static void fill_counters(const struct ig_counters *counters, ingot_stats *stats) {
    stats->puts = load(&counters->puts);
    stats->puts_new = load(&counters->puts_new);
    stats->puts_duplicate = load(&counters->puts_duplicate);
    stats->put_bytes = load(&counters->put_bytes);
    stats->put_new_bytes = load(&counters->put_new_bytes);
    stats->gets = load(&counters->gets);
    stats->get_bytes = load(&counters->get_bytes);
    stats->gets_l1 = load(&counters->gets_l1);
    stats->gets_log = load(&counters->gets_log);
    stats->gets_file = load(&counters->gets_file);
    stats->index_lookups = load(&counters->index_lookups);
    stats->index_hits = load(&counters->index_hits);
    stats->corruptions = load(&counters->corruptions);
    stats->collected_objects = load(&counters->collected_objects);
    stats->cleaned_segments = load(&counters->cleaned_segments);
}

static void fill_log(ingot_store *store, ingot_stats *stats) {
    struct ig_segments_info segments;
    ig_segments_info(store->segments, &segments);
    stats->segments = segments.count;
    stats->log_bytes = segments.bytes;
    stats->log_live_bytes = segments.live_bytes;
    if (store->log == NULL)
        return;
    struct ig_log_info log;
    ig_log_info(store->log, &log);
    stats->commit_groups = log.groups;
    stats->commit_records = log.records;
    stats->syncs = log.syncs;
    stats->log_written_bytes = log.bytes;
    stats->pending_records = ig_apply_behind(store->apply);
}

ingot_status ingot_store_stats(ingot_store *store, ingot_stats *ret_stats, ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    size_t head = offsetof(ingot_stats, objects);
    if (ret_stats->size < head)
        return ig_fail(err, INGOT_USAGE, "ingot_stats.size is %u, less than %zu", ret_stats->size,
                       head);
    ingot_stats stats = INGOT_STATS_INIT;
    ig_lock(&store->totals_lock);
    struct ig_totals totals = store->totals;
    ig_unlock(&store->totals_lock);
    stats.objects = gauge(totals.objects);
    stats.logical_bytes = gauge(totals.bytes);
    stats.limbo_objects = gauge(totals.limbo);
    stats.large_objects = gauge(totals.large);
    stats.large_bytes = gauge(totals.large_bytes);
    fill_counters(&store->counters, &stats);
    fill_log(store, &stats);
    ingot_cache_info l1;
    ig_l1_info(store->l1, &l1);
    stats.l1_bytes = l1.used_bytes;
    stats.index_memory_bytes = ig_index_memory(store->index);
    stats.bloom_bytes = ig_front_bytes(store->front);
    stats.bloom_absent = ig_front_absences(store->front);
    size_t size = ret_stats->size < sizeof stats ? ret_stats->size : sizeof stats;
    memcpy((char *)ret_stats + head, (const char *)&stats + head, size - head);
    return INGOT_OK;
}
