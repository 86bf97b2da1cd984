/* Ids: what is accepted prints to the same digits in lower case; the rest is named. */
#include "status.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    ingot_id id;
    ingot_error err = INGOT_ERROR_INIT;
    char hex[INGOT_ID_HEX + 1];
    if (ingot_id_parse(text, &id, &err) == INGOT_OK) {
        ingot_id_format(&id, hex);
        if (strcasecmp(hex, text) != 0)
            abort();
    } else if (err.message[0] == '\0') {
        abort();
    }
    free(text);
    return 0;
}
