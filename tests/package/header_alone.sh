#!/usr/bin/env bash
# header_alone.sh INCLUDE_DIR COMPILER STANDARD: the installed header compiles as the first and only
# include, and so do the initialisers in it, without a warning.
set -euo pipefail
include=$1 compiler=$2 standard=$3

flags=(-I "$include" -std="$standard" -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
case $standard in
    c++*) language=c++ ;;
    *) language=c; flags+=(-Wstrict-prototypes) ;;
esac

"$compiler" -x "$language" "${flags[@]}" -fsyntax-only - <<'SOURCE'
#include <ingot/ingot.h>
#include <ingot/ingot.h>

ingot_status use(void);
ingot_status use(void) {
    ingot_error err = INGOT_ERROR_INIT;
    ingot_op op = INGOT_OP_INIT;
    ingot_create_options create = INGOT_CREATE_OPTIONS_INIT;
    ingot_open_options open = INGOT_OPEN_OPTIONS_INIT;
    ingot_queue_options queue = INGOT_QUEUE_OPTIONS_INIT;
    ingot_stats stats = INGOT_STATS_INIT;
    ingot_gc_options gc = INGOT_GC_OPTIONS_INIT;
    ingot_check_options check = INGOT_CHECK_OPTIONS_INIT;
    uint32_t sizes[] = {err.size, op.size, create.size, open.size, queue.size, stats.size,
                        gc.size, check.size};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i] == 0)
            return INGOT_FAILED;
    return INGOT_OK;
}
SOURCE
