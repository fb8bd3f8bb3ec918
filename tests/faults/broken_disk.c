/* A disk that breaks on command, put between a process and its C library (LD_PRELOAD).

   Every call that changes what lies below one folder is counted: files made, written, cut or
   synced, names moved, folders made. The N-th, or all from the N-th on, fails with an error of
   choice, or kills the process; a write that kills has put half of its bytes down. Calls on other
   paths, and all calls until the disk is armed, pass through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OFF, ONCE, EVER_SINCE, KILL };

static char folder[4096];
static int mode = OFF, code;
static long target;
static atomic_long count;
static long clock_shift;

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

void disk_arm(const char *below, int how, long at, int error) {
    snprintf(folder, sizeof folder, "%s/", below);
    code = error;
    target = at;
    atomic_store(&count, 0);
    mode = how;
}

/* How many calls were counted; from here on the disk is whole again. */
long disk_disarm(void) {
    mode = OFF;
    return atomic_load(&count);
}

/* Wall clock of this process, in seconds off the true one. */
void clock_set_back(long seconds) { clock_shift = seconds; }

static int counted(const char *path) {
    return path && strncmp(path, folder, strlen(folder)) == 0;
}

static int open_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return counted(path);
}

/* Whether this call is to fail; does not return when it is to kill. */
static int fails(int fd, const void *bytes, size_t size) {
    long number = atomic_fetch_add(&count, 1) + 1;
    if (mode == KILL && number == target) {
        if (bytes) NEXT(ssize_t(*)(int, const void *, size_t), "write")(fd, bytes, size / 2);
        kill(getpid(), SIGKILL);
        pause();
    }
    if ((mode == ONCE && number == target) || (mode == EVER_SINCE && number >= target)) {
        errno = code;
        return 1;
    }
    return 0;
}

#define ON_FD(fd, bytes, size) \
    if (mode != OFF && open_below(fd) && fails(fd, bytes, size)) return -1
#define ON_PATH(path) \
    if (mode != OFF && counted(path) && fails(-1, NULL, 0)) return -1

#define PASS(kind, name, declared, given, check)                  \
    kind name declared {                                          \
        static kind(*real) declared;                              \
        if (!real) real = (kind(*) declared)dlsym(RTLD_NEXT, #name); \
        check;                                                    \
        return real given;                                        \
    }

PASS(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), ON_FD(fd, b, n))
PASS(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at), ON_FD(fd, NULL, 0))
PASS(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at), ON_FD(fd, NULL, 0))
PASS(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), ON_FD(fd, NULL, 0))
PASS(ssize_t, sendfile, (int fd, int from, off_t *at, size_t n), (fd, from, at, n), ON_FD(fd, NULL, 0))
PASS(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t n), (fd, from, at, n), ON_FD(fd, NULL, 0))
PASS(ssize_t, copy_file_range,
     (int from, off64_t *a, int fd, off64_t *b, size_t n, unsigned f), (from, a, fd, b, n, f),
     ON_FD(fd, NULL, 0))
PASS(int, fsync, (int fd), (fd), ON_FD(fd, NULL, 0))
PASS(int, fdatasync, (int fd), (fd), ON_FD(fd, NULL, 0))
PASS(int, ftruncate, (int fd, off_t n), (fd, n), ON_FD(fd, NULL, 0))
PASS(int, ftruncate64, (int fd, off64_t n), (fd, n), ON_FD(fd, NULL, 0))
PASS(int, rename, (const char *from, const char *to), (from, to), ON_PATH(to))
PASS(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), ON_PATH(to))
PASS(int, renameat2, (int a, const char *from, int b, const char *to, unsigned f),
     (a, from, b, to, f), ON_PATH(to))
PASS(int, mkdir, (const char *path, mode_t m), (path, m), ON_PATH(path))

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        static int (*real)(const char *, int, ...);                         \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t m = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        if (!real) real = NEXT(int (*)(const char *, int, ...), #name);     \
        if (flags & O_CREAT) ON_PATH(path);                                 \
        return real(path, flags, m);                                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                        \
    int name(int at, const char *path, int flags, ...) {                    \
        static int (*real)(int, const char *, int, ...);                    \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t m = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        if (!real) real = NEXT(int (*)(int, const char *, int, ...), #name); \
        if (flags & O_CREAT) ON_PATH(path);                                 \
        return real(at, path, flags, m);                                    \
    }
OPENAT(openat)
OPENAT(openat64)

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = NEXT(int (*)(clockid_t, struct timespec *), "clock_gettime");
    int done = real(id, now);
    if (done == 0 && clock_shift && id == CLOCK_REALTIME) now->tv_sec -= clock_shift;
    return done;
}
