#include "internal.h"

#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

const char *const ig_family_names[IG_FAMILIES] = {"default", "content", "refs", "names", "meta"};

/* A full memtable of any family flushes all of them, so no small family may be the first to fill
 * under ordinary traffic. Memory is taken as a buffer fills. */
static const size_t write_buffer_bytes[IG_FAMILIES] = {
    [IG_FAMILY_DEFAULT] = 1 * MIB, [IG_FAMILY_CONTENT] = 32 * MIB, [IG_FAMILY_REFS] = 8 * MIB,
    [IG_FAMILY_NAMES] = 1 * MIB,   [IG_FAMILY_META] = 8 * MIB,
};

enum {
    BACKGROUND_JOBS = 2,
    OPEN_FILES_MAX = 256,
    FILTER_BITS_PER_KEY = 10,
    LOG_FILES_KEPT = 1,
    /* A hot id or counter is folded in the memtable after this many operands. It makes a merge two
     * to three times dearer (85,000/s against 260,000/s measured), but without it a read walks all
     * the operands since the last flush: 570 us instead of 3 after 40,000. */
    SUCCESSIVE_MERGES_MAX = 32,
};

static void set_table(rocksdb_options_t *options, rocksdb_cache_t *cache, enum ig_family family) {
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_block_size(table, 4 * KIB);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    /* In one piece, index and filter of a table are megabytes: larger than a shard of the cache,
     * which then reads them again for every lookup. */
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_block_based_options_set_metadata_block_size(table, 4 * KIB);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    /* Most ids have no refs entry, so both are asked for absent keys all the time. */
    if (family == IG_FAMILY_CONTENT || family == IG_FAMILY_REFS)
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS_PER_KEY));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static rocksdb_options_t *family_options(rocksdb_cache_t *cache, enum ig_family family) {
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_write_buffer_size(options, write_buffer_bytes[family]);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_compaction_style(options, rocksdb_level_compaction);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    if (family == IG_FAMILY_REFS)
        rocksdb_options_set_merge_operator(options, ig_refs_merge());
    if (family == IG_FAMILY_META)
        rocksdb_options_set_merge_operator(options, ig_counter_merge());
    if (family == IG_FAMILY_REFS || family == IG_FAMILY_META)
        rocksdb_options_set_max_successive_merges(options, SUCCESSIVE_MERGES_MAX);
    set_table(options, cache, family);
    return options;
}

static void set_database(rocksdb_options_t *options, bool create) {
    rocksdb_options_set_create_if_missing(options, create);
    rocksdb_options_set_create_missing_column_families(options, create);
    rocksdb_options_set_error_if_exists(options, create);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_atomic_flush(options, 1);
    /* Builds with assertions abort when a line does not fit on a full disk. */
    rocksdb_options_set_info_log_level(options, 4 /* InfoLogLevel::FATAL_LEVEL */);
    rocksdb_options_set_keep_log_file_num(options, LOG_FILES_KEPT);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_max_file_opening_threads(options, 1);
    rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS);
    rocksdb_options_set_max_manifest_file_size(options, 16 * MIB);
    rocksdb_options_set_bytes_per_sync(options, 1 * MIB);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
}

void ig_family_set_init(struct ig_family_set *set, rocksdb_cache_t *cache, bool create) {
    for (int i = 0; i < IG_FAMILIES; i++)
        set->options[i] = family_options(cache, (enum ig_family)i);
    set_database(set->options[IG_FAMILY_DEFAULT], create);
}

void ig_family_set_release(struct ig_family_set *set) {
    for (int i = 0; i < IG_FAMILIES; i++)
        rocksdb_options_destroy(set->options[i]);
    memset(set, 0, sizeof *set);
}
