// The end of a program by an error of the system.

#pragma once

#include <stdio.h>
#include <stdlib.h>

[[noreturn]] inline void fail(const char* what) {
    perror(what);
    exit(1);
}
