#include "bytes.h"
#include "status.h"

#include <string.h>

void ingot_id_format(const ingot_id *id, char ret_hex[INGOT_ID_HEX + 1]) {
    ig_hex(id->bytes, INGOT_ID_BYTES, ret_hex);
}

ingot_status ingot_id_parse(const char *hex, ingot_id *ret_id, ingot_error *err) {
    size_t len = strnlen(hex, INGOT_ID_HEX + 1);
    ingot_id id;
    for (size_t i = 0; i < len && i < INGOT_ID_HEX; i++) {
        int digit = ig_hex_digit(hex[i]);
        if (digit < 0)
            return ig_fail(err, INGOT_USAGE, "malformed id '%.72s': character %zu is no hex digit",
                           hex, i + 1);
        uint8_t *byte = &id.bytes[i / 2];
        *byte = (uint8_t)(i % 2 == 0 ? digit << 4 : *byte | digit);
    }
    if (len != INGOT_ID_HEX)
        return ig_fail(err, INGOT_USAGE, "malformed id '%.72s': %s than %d hex digits", hex,
                       len < INGOT_ID_HEX ? "fewer" : "more", INGOT_ID_HEX);
    *ret_id = id;
    return INGOT_OK;
}

int32_t ingot_id_compare(const ingot_id *a, const ingot_id *b) {
    return memcmp(a->bytes, b->bytes, INGOT_ID_BYTES);
}
