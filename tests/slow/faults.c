/* Preloaded into a process: ends it by SIGKILL at the n-th change that it makes to files below a
 * folder. Counts write, pwrite, fsync, fdatasync, ftruncate, link, rename, unlink and mkdir, those
 * of SQLite too. A torn write puts half of the bytes on the disk first.
 *
 * cc -shared -fPIC -o faults.so faults.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at, seen;
static int torn;

void faults_arm(const char *path, long n, int half)
{
    snprintf(folder, sizeof folder, "%s", path);
    at = n;
    seen = 0;
    torn = half;
}

long faults_seen(void) { return seen; }

static int below(const char *path)
{
    char whole[PATH_MAX * 2], here[PATH_MAX];
    if (!folder[0]) return 0;
    if (path[0] != '/' && getcwd(here, sizeof here)) {
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        path = whole;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int open_below(int fd)
{
    char link[64], path[PATH_MAX];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Whether the process dies in this call. */
static int last(int counts) { return counts && ++seen == at; }

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    if (last(open_below(fd))) {
        if (torn) real(fd, data, size / 2);
        die();
    }
    return real(fd, data, size);
}

#define PWRITE(name)                                                    \
    ssize_t name(int fd, const void *data, size_t size, off_t offset)   \
    {                                                                   \
        REAL(name);                                                     \
        if (last(open_below(fd))) {                                     \
            if (torn) real(fd, data, size / 2, offset);                 \
            die();                                                      \
        }                                                               \
        return real(fd, data, size, offset);                            \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define OF_FD(name)                        \
    int name(int fd)                       \
    {                                      \
        REAL(name);                        \
        if (last(open_below(fd))) die();   \
        return real(fd);                   \
    }
OF_FD(fsync)
OF_FD(fdatasync)

#define TRUNCATE(name)                     \
    int name(int fd, off_t size)           \
    {                                      \
        REAL(name);                        \
        if (last(open_below(fd))) die();   \
        return real(fd, size);             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define OF_TWO(name)                                \
    int name(const char *from, const char *to)      \
    {                                               \
        REAL(name);                                 \
        if (last(below(to))) die();                 \
        return real(from, to);                      \
    }
OF_TWO(link)
OF_TWO(rename)

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(linkat);
    if (last(below(to))) die();
    return real(a, from, b, to, flags);
}

int unlink(const char *path)
{
    REAL(unlink);
    if (last(below(path))) die();
    return real(path);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    if (last(below(path))) die();
    return real(path, mode);
}
