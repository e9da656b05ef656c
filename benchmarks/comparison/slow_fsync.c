/* Preloaded into a server: each fsync, fdatasync and msync takes SLOW_FSYNC_MS milliseconds longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

static void wait_first(void)
{
    const char *text = getenv("SLOW_FSYNC_MS");
    long ms = text ? atol(text) : 0;
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

int fsync(int descriptor)
{
    static int (*next)(int);
    if (!next)
        next = dlsym(RTLD_NEXT, "fsync");
    wait_first();
    return next(descriptor);
}

int fdatasync(int descriptor)
{
    static int (*next)(int);
    if (!next)
        next = dlsym(RTLD_NEXT, "fdatasync");
    wait_first();
    return next(descriptor);
}

int msync(void *address, size_t length, int flags)
{
    static int (*next)(void *, size_t, int);
    if (!next)
        next = dlsym(RTLD_NEXT, "msync");
    wait_first();
    return next(address, length, flags);
}
