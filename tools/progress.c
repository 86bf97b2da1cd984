#include "cli.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_MS 200

int64_t cli_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A line is on the terminal. Only the main thread draws. */
static bool drawn;

void cli_progress_start(const struct cli *cli, struct cli_progress *progress) {
    bool always = cli->progress_mode != NULL && strcmp(cli->progress_mode, "always") == 0;
    bool never = cli->progress_mode != NULL && strcmp(cli->progress_mode, "never") == 0;
    *progress = (struct cli_progress){.started_ms = cli_now_ms()};
    progress->shown = always || (!never && !cli->quiet && isatty(STDERR_FILENO) == 1);
}

void cli_progress_update(const struct cli *cli, struct cli_progress *progress, uint64_t items,
                         uint64_t bytes) {
    if (!progress->shown)
        return;
    int64_t now = cli_now_ms();
    if (progress->drawn_ms != 0 && now - progress->drawn_ms < DRAW_EVERY_MS)
        return;
    drawn = true;
    progress->drawn_ms = now;
    char size[CLI_SIZE_TEXT];
    fprintf(stderr, "\r\033[K%s: %llu done, %s, %lld s", cli->command, (unsigned long long)items,
            cli_size_text(bytes, size), (long long)((now - progress->started_ms) / 1000));
    fflush(stderr);
}

void cli_progress_clear(void) {
    if (drawn)
        fputs("\r\033[K", stderr);
    drawn = false;
}

void cli_progress_end(const struct cli *cli, struct cli_progress *progress, uint64_t items,
                      uint64_t bytes) {
    progress->drawn_ms = 0;
    cli_progress_update(cli, progress, items, bytes);
    if (drawn)
        fputc('\n', stderr);
    drawn = false;
}
