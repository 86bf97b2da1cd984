/* Leases: what a session has touched is not collected until it ends. */
#include "store.h"

struct ingot_session {
    ingot_store *store;
    ig_mutex lock;
    struct ig_pend **leases; /* sync: lock */
    uint32_t count;          /* sync: lock */
    uint32_t capacity;       /* sync: lock */
};

ingot_status ingot_session_open(ingot_store *store, ingot_session **ret_session, ingot_error *err) {
    ingot_status status = ig_store_enter(store, err);
    if (status != INGOT_OK)
        return status;
    ingot_session *session = ig_alloc(sizeof *session);
    if (session == NULL)
        return ig_fail_memory(err, "a session");
    session->store = store;
    ig_mutex_init(&session->lock, IG_RANK_SESSION);
    *ret_session = session;
    return INGOT_OK;
}

/* Room for one lease more: taken before the lease, so that keeping it cannot fail. */
static ingot_status reserve(ingot_session *session, ingot_error *err) {
    ingot_status status = INGOT_OK;
    ig_lock(&session->lock);
    if (session->count == INGOT_LEASE_MAX) {
        status = ig_fail(err, INGOT_BUSY, "a session holds %d leases", INGOT_LEASE_MAX);
    } else if (session->count == session->capacity) {
        uint32_t capacity = session->capacity == 0 ? 64 : 2 * session->capacity;
        struct ig_pend **grown = ig_realloc(session->leases, capacity * sizeof(struct ig_pend *));
        if (grown == NULL) {
            status = ig_fail_memory(err, "a session's leases");
        } else {
            session->leases = grown;
            session->capacity = capacity;
        }
    }
    ig_unlock(&session->lock);
    return status;
}

static ingot_status keep(ingot_session *session, struct ig_pend *pend, ingot_error *err) {
    ingot_status status = reserve(session, err);
    if (status != INGOT_OK) {
        ig_pend_unlease(session->store->pending, pend);
        return status;
    }
    ig_lock(&session->lock);
    if (session->count < session->capacity) {
        session->leases[session->count++] = pend;
        pend = NULL;
    }
    ig_unlock(&session->lock);
    return pend == NULL ? INGOT_OK : keep(session, pend, err);
}

ingot_status ingot_session_lease(ingot_session *session, const ingot_id *id, ingot_error *err) {
    ingot_store *store = session->store;
    struct ig_wait wait = {.deadline_ns = UINT64_MAX};
    struct ig_pend *pend;
    ingot_status status = ig_store_enter(store, err);
    if (status == INGOT_OK)
        status = ig_store_own(store, id, &wait, &pend, err);
    if (status != INGOT_OK)
        return status;
    bool live = ig_state_live(&pend->state);
    if (live)
        ig_pend_lease(store->pending, pend);
    uint64_t told_seq = ig_pend_told_seq(pend);
    ig_pend_disown(store->pending, pend);
    status = live ? keep(session, pend, err) : ig_fail_not_found(err, id);
    return ig_store_settled(store, told_seq, status, &wait, err);
}

ingot_status ingot_session_put(ingot_session *session, const void *data, size_t len,
                               const ingot_op *op, ingot_id *ret_id, ingot_error *err) {
    ingot_store *store = session->store;
    struct ig_wait wait;
    ingot_status status = ig_store_enter_write(store, err);
    if (status == INGOT_OK)
        status = ig_wait_begin(op, INGOT_RELAXED | INGOT_NO_REF | INGOT_NO_CACHE, &wait, err);
    if (status == INGOT_OK)
        status = reserve(session, err);
    if (status != INGOT_OK)
        return status;
    struct ig_pend *lease = NULL;
    struct ig_put put = {
        .data = data, .len = len, .lease = &lease, .flags = op == NULL ? 0 : op->flags};
    struct ig_slot slot;
    status = ig_store_put_bytes(store, &put, &wait, &slot, err);
    if (status == INGOT_OK)
        status = keep(session, lease, err);
    if (status == INGOT_OK)
        status = ig_store_commit(store, &slot, (put.flags & INGOT_RELAXED) != 0, &wait, err);
    if (status == INGOT_OK)
        *ret_id = put.id;
    return status;
}

void ingot_session_close(ingot_session *session) {
    if (session == NULL || ig_store_enter(session->store, NULL) != INGOT_OK)
        return;
    for (uint32_t i = 0; i < session->count; i++)
        ig_pend_unlease(session->store->pending, session->leases[i]);
    ig_mutex_release(&session->lock);
    ig_free(session->leases);
    ig_free(session);
}
