/* The command line: Google Benchmark's flags, and --dir and --objects. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "harness.h"

/* Ends the program with status 0 after --help and with 2 on a usage error. */
void options_parse(int argc, char **argv, struct bench_options *ret_options);

#endif
