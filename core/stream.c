/* Writing an object of unknown length, reading one piece by piece. */
#include "store.h"

#include <string.h>

struct ingot_writer {
    ingot_store *store;
    uint8_t *small; /* until large_min bytes are reached */
    size_t len;
    size_t capacity;
    struct ig_large_out *out; /* after that */
    bool finished;
    bool broken; /* a write failed: what would be finished is not what was given */
};

ingot_status ingot_writer_open(ingot_store *store, ingot_writer **ret_writer, ingot_error *err) {
    ingot_status status = ig_store_enter_write(store, err);
    if (status != INGOT_OK)
        return status;
    ingot_writer *writer = ig_alloc(sizeof *writer);
    if (writer == NULL)
        return ig_fail_memory(err, "a writer");
    writer->store = store;
    *ret_writer = writer;
    return INGOT_OK;
}

static ingot_status spill(ingot_writer *writer, ingot_error *err) {
    ingot_status status = ig_large_begin(&writer->store->large, &writer->out, err);
    if (status == INGOT_OK)
        status = ig_large_append(writer->out, writer->small, writer->len, err);
    ig_free(writer->small);
    writer->small = NULL;
    return status;
}

static ingot_status keep_small(ingot_writer *writer, const void *data, size_t len,
                               ingot_error *err) {
    size_t need = writer->len + len;
    if (need > writer->capacity) {
        size_t capacity = need < 4096 ? 4096 : 2 * need;
        uint8_t *grown = ig_realloc(writer->small, capacity);
        if (grown == NULL)
            return ig_fail_memory(err, "a writer");
        writer->small = grown;
        writer->capacity = capacity;
    }
    memcpy(writer->small + writer->len, data, len);
    writer->len = need;
    return INGOT_OK;
}

ingot_status ingot_writer_write(ingot_writer *writer, const void *data, size_t len,
                                ingot_error *err) {
    ingot_status status = ig_store_enter_write(writer->store, err);
    if (status == INGOT_OK && (writer->finished || writer->broken))
        status = ig_fail(err, INGOT_USAGE, "the writer has %s",
                         writer->finished ? "finished" : "failed");
    if (status != INGOT_OK || len == 0)
        return status;
    if (writer->out == NULL && writer->len + len < writer->store->format.large_min) {
        status = keep_small(writer, data, len, err);
    } else {
        if (writer->out == NULL)
            status = spill(writer, err);
        if (status == INGOT_OK)
            status = ig_large_append(writer->out, data, len, err);
    }
    writer->broken = status != INGOT_OK;
    return status;
}

ingot_status ingot_writer_finish(ingot_writer *writer, const ingot_op *op, ingot_id *ret_id,
                                 ingot_error *err) {
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(writer->store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_RELAXED | INGOT_NO_REF | INGOT_NO_CACHE, &wait, err);
    if (status == INGOT_OK && (writer->finished || writer->broken))
        status = ig_fail(err, INGOT_USAGE, "the writer has %s",
                         writer->finished ? "finished" : "failed");
    if (status != INGOT_OK)
        return status;
    writer->finished = true;
    if (writer->out == NULL)
        return ingot_store_put(writer->store, writer->small, writer->len, op, ret_id, err);
    struct ig_put put = {.out = writer->out, .flags = op == NULL ? 0 : op->flags};
    struct ig_slot slot;
    status = ig_large_seal(writer->out, &put.id, &put.len, err);
    if (status == INGOT_OK)
        status = ig_store_put_one(writer->store, &put, &wait, &slot, err);
    if (status == INGOT_OK)
        status =
            ig_store_commit(writer->store, &slot, (put.flags & INGOT_RELAXED) != 0, &wait, err);
    if (status == INGOT_OK)
        *ret_id = put.id;
    return status;
}

void ingot_writer_free(ingot_writer *writer) {
    if (writer == NULL)
        return;
    ig_large_end(writer->out);
    ig_free(writer->small);
    ig_free(writer);
}

/* ---- Reader ---- */

struct ingot_reader {
    ingot_store *store;
    struct ig_pend *lease;
    uint64_t size;
    uint64_t position;
    ingot_buf *whole;       /* of a small object */
    struct ig_large_in *in; /* of a large one */
};

static ingot_status lease_object(ingot_reader *reader, const ingot_id *id,
                                 struct ig_state *ret_state, ingot_error *err) {
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    struct ig_pend *pend;
    ingot_status status = ig_store_own(reader->store, id, &wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    if (ig_state_live(&pend->state)) {
        ig_pend_lease(reader->store->pending, pend);
        reader->lease = pend;
        *ret_state = pend->state;
    } else {
        status = ig_fail_not_found(err, id);
    }
    ig_pend_disown(reader->store->pending, pend);
    return status;
}

ingot_status ingot_reader_open(ingot_store *store, const ingot_id *id, ingot_reader **ret_reader,
                               ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ingot_store_has(store, id, err);
    if (status != INGOT_OK)
        return status;
    ingot_reader *reader = ig_alloc(sizeof *reader);
    if (reader == NULL)
        return ig_fail_memory(err, "a reader");
    reader->store = store;
    struct ig_state state = {.present = false};
    status = lease_object(reader, id, &state, err);
    if (status == INGOT_OK && state.file)
        status = ig_large_open(&store->large, id, state.size, &reader->in, err);
    else if (status == INGOT_OK)
        status = ig_store_get_buf(store, id, true, &reader->whole, err);
    if (status != INGOT_OK) {
        ingot_reader_close(reader);
        return status;
    }
    reader->size = state.size;
    *ret_reader = reader;
    return INGOT_OK;
}

uint64_t ingot_reader_size(const ingot_reader *reader) { return reader->size; }

ingot_status ingot_reader_read(ingot_reader *reader, void *buffer, size_t len, size_t *ret_len,
                               ingot_error *err) {
    ingot_status status = ig_store_enter(reader->store, err);
    if (status != INGOT_OK)
        return status;
    uint64_t left = reader->position < reader->size ? reader->size - reader->position : 0;
    len = len < left ? len : (size_t)left;
    if (len > 0 && reader->in != NULL)
        status = ig_large_read(reader->in, reader->position, buffer, len, err);
    else if (len > 0)
        memcpy(buffer, (const uint8_t *)ingot_buf_data(reader->whole) + reader->position, len);
    if (status != INGOT_OK)
        return status;
    reader->position += len;
    *ret_len = len;
    return INGOT_OK;
}

ingot_status ingot_reader_seek(ingot_reader *reader, uint64_t offset, ingot_error *err) {
    ingot_status status = ig_store_enter(reader->store, err);
    if (status == INGOT_OK && offset > reader->size)
        status = ig_fail(err, INGOT_USAGE, "seek to %llu in an object of %llu bytes",
                         (unsigned long long)offset, (unsigned long long)reader->size);
    if (status == INGOT_OK)
        reader->position = offset;
    return status;
}

void ingot_reader_close(ingot_reader *reader) {
    if (reader == NULL || ig_store_enter(reader->store, NULL) != INGOT_OK)
        return;
    ig_large_close(reader->in);
    ingot_buf_release(reader->whole);
    if (reader->lease != NULL)
        ig_pend_unlease(reader->store->pending, reader->lease);
    ig_free(reader);
}
