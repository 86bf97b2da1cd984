#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* sync: atomic, relaxed: a flag that carries no other data; lock-free, so the handler may. */
static atomic_int caught;
/* sync: as caught. The run is to stop, by a signal or because its output is gone. */
static atomic_int stopping;
static ingot_cancel *cancel; /* sync: fixed before the handler is installed */
static int wake_fd = -1;     /* sync: as cancel */
static bool pipe_ignored;    /* sync: as cancel */

static void wake(void) {
    uint64_t one = 1;
    ssize_t n = write(wake_fd, &one, sizeof one);
    (void)n; /* a full counter is readable already */
}

static void on_signal(int signum) {
    int saved = errno;
    atomic_store_explicit(&caught, signum, memory_order_relaxed);
    atomic_store_explicit(&stopping, 1, memory_order_relaxed);
    ingot_cancel_raise(cancel);
    wake();
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    errno = saved;
}

/* A run started in the background by a shell ignores SIGINT, and goes on doing so. */
static void install(int signum) {
    struct sigaction now;
    if (sigaction(signum, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
        return;
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(signum, &action, NULL);
}

int cli_signals_start(struct cli *cli) {
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0 || ingot_cancel_new(&cancel) < 0) {
        cli_signals_end();
        return cli_error(cli, CLI_FAILED, "cannot prepare for signals");
    }
    struct sigaction now;
    pipe_ignored = sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
    signal(SIGPIPE, SIG_IGN);
    install(SIGINT);
    install(SIGTERM);
    return CLI_CONTINUE;
}

void cli_signals_end(void) {
    if (wake_fd >= 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        close(wake_fd);
        wake_fd = -1;
    }
    ingot_cancel_free(cancel);
    cancel = NULL;
}

void cli_signals_block(bool block) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

int cli_stopped(void) { return atomic_load_explicit(&caught, memory_order_relaxed); }

bool cli_stopping(void) { return atomic_load_explicit(&stopping, memory_order_relaxed) != 0; }

void cli_stop(void) {
    if (atomic_exchange_explicit(&stopping, 1, memory_order_relaxed) != 0)
        return;
    ingot_cancel_raise(cancel);
    wake();
}

ingot_cancel *cli_cancel(void) { return cancel; }

bool cli_wait_fd(int fd, bool for_write) {
    struct pollfd fds[2] = {{.fd = fd, .events = for_write ? POLLOUT : POLLIN},
                            {.fd = wake_fd, .events = POLLIN}};
    while (atomic_load_explicit(&stopping, memory_order_relaxed) == 0) {
        int n = poll(fds, 2, -1);
        if (n > 0 && fds[1].revents == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return true; /* the transfer itself will tell */
    }
    return false;
}

bool cli_pipe_ignored(void) { return pipe_ignored; }

void cli_die_of_pipe(void) {
    if (pipe_ignored)
        return;
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}
