// As consumer.c, from C++17 and with handles that end themselves.
#include <ingot/ingot.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace {

struct release {
    void operator()(ingot_buf *buf) const { ingot_buf_release(buf); }
    void operator()(ingot_store *store) const { (void)ingot_store_close(store, nullptr); }
};

int failed(const char *what, const ingot_error &err) {
    std::fprintf(stderr, "%s: %s (%s)\n", what, err.message, ingot_status_name(err.status));
    return 1;
}

} // namespace

int main(int argc, char **argv) {
    const std::string text(100000, 'i');
    ingot_error err = INGOT_ERROR_INIT;
    ingot_open_options options = INGOT_OPEN_OPTIONS_INIT;
    ingot_store *store = nullptr;
    ingot_buf *buf = nullptr;
    ingot_id id{};

    if (argc != 2)
        return 2;
    if (ingot_store_create(argv[1], nullptr, &err) != INGOT_OK)
        return failed("create", err);
    if (ingot_store_open(argv[1], &options, &store, &err) != INGOT_OK)
        return failed("open", err);
    std::unique_ptr<ingot_store, release> store_owner(store);
    if (ingot_store_put(store, text.data(), text.size(), nullptr, &id, &err) != INGOT_OK)
        return failed("put", err);
    if (ingot_store_get(store, &id, nullptr, &buf, &err) != INGOT_OK)
        return failed("get", err);
    std::unique_ptr<ingot_buf, release> buf_owner(buf);
    std::string_view view(static_cast<const char *>(ingot_buf_data(buf)), ingot_buf_size(buf));
    std::puts(view == text ? "ok" : "the bytes differ");
    return view == text ? 0 : 1;
}
