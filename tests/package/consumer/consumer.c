/* What an outside project does first: make a store, put, get, compare, close. */
#include <ingot/ingot.h>

#include <stdio.h>
#include <string.h>

static int failed(const char *what, const ingot_error *err) {
    fprintf(stderr, "%s: %s (%s)\n", what, err->message, ingot_status_name(err->status));
    return 1;
}

int main(int argc, char **argv) {
    static const char text[] = "cast once, stamped, never changed";
    ingot_error err = INGOT_ERROR_INIT;
    ingot_store *store = NULL;
    ingot_buf *buf = NULL;
    ingot_id id;

    if (argc != 2)
        return 2;
    if (ingot_store_create(argv[1], NULL, &err) != INGOT_OK)
        return failed("create", &err);
    if (ingot_store_open(argv[1], NULL, &store, &err) != INGOT_OK)
        return failed("open", &err);
    if (ingot_store_put(store, text, sizeof(text), NULL, &id, &err) != INGOT_OK)
        return failed("put", &err);
    if (ingot_store_get(store, &id, NULL, &buf, &err) != INGOT_OK)
        return failed("get", &err);
    int same = ingot_buf_size(buf) == sizeof(text) &&
               memcmp(ingot_buf_data(buf), text, sizeof(text)) == 0;
    ingot_buf_release(buf);
    if (ingot_store_close(store, &err) != INGOT_OK)
        return failed("close", &err);
    puts(same ? "ok" : "the bytes differ");
    return same ? 0 : 1;
}
