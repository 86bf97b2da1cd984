/* FORMAT: any bytes give a status and a message, and what is accepted prints to the same text. */
#include "format.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size >= IG_FORMAT_MAX)
        return 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    struct ig_format format;
    ingot_error err = INGOT_ERROR_INIT;
    ingot_status status = ig_format_parse(text, size, "FORMAT", &format, &err);
    if (status == INGOT_OK) {
        char again[IG_FORMAT_MAX];
        if (ig_format_print(&format, again) != size || memcmp(again, text, size) != 0)
            abort();
    } else if (err.message[0] == '\0' || err.status != status) {
        abort();
    }
    free(text);
    return 0;
}
