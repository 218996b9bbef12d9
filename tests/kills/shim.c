/* Ends the process by SIGKILL before the k-th call that changes a file below a folder, or stops it (SIGSTOP) before every one, and in the
   middle of every write, so that its parent can copy what a kill would leave. Preloaded (LD_PRELOAD) by server.py.

   Counted: opening for writing, writing, truncating, renaming, linking, deleting files and folders, making folders; of the C library and
   of its buffered files, which TensorFlow uses. The counter is in memory that a forked process shares with its parent. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static long kill_at;
static int is_paused;
static long *calls;

/* at: 0 counts only, -1 stops before every call, k > 0 kills before the k-th. */
long kills_arm(const char *folder, long at) {
  if (!calls) calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *calls = 0;
  kill_at = at;
  strncpy(below, folder, PATH_MAX - 1);
  return 0;
}

/* While paused nothing is counted: what stands in for another process writes. */
void kills_pause(int on) { is_paused = on; }

long kills_calls(void) { return calls ? *calls : 0; }

static int is_below(const char *path) {
  size_t length = strlen(below);
  return length && !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

/* Whether a path, seen from a folder, is below the one that is watched. */
static int is_watched(int folder, const char *path) {
  char whole[2 * PATH_MAX], base[PATH_MAX], link[64];
  if (!below[0] || !path) return 0;
  if (path[0] == '/') return is_below(path);
  if (folder == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, base, sizeof base - 1);
    if (n < 0) return 0;
    base[n] = 0;
  }
  snprintf(whole, sizeof whole, "%s/%s", base, path);
  return is_below(whole);
}

static int is_watched_file(int number) {
  char link[64], path[PATH_MAX];
  if (!below[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return is_below(path);
}

static void count(void) {
  if (is_paused) return;
  if (__sync_add_and_fetch(calls, 1) == kill_at) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  if (kill_at < 0) kill(getpid(), SIGSTOP);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    va_list more;                                                         \
    va_start(more, flags);                                                \
    mode_t mode = va_arg(more, mode_t);                                   \
    va_end(more);                                                         \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && is_watched(AT_FDCWD, path)) count(); \
    return REAL(name)(path, flags, mode);                                 \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                      \
  int name(int folder, const char *path, int flags, ...) {                \
    va_list more;                                                         \
    va_start(more, flags);                                                \
    mode_t mode = va_arg(more, mode_t);                                   \
    va_end(more);                                                         \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && is_watched(folder, path)) count(); \
    return REAL(name)(folder, path, flags, mode);                         \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                       \
  FILE *name(const char *path, const char *mode) {                        \
    if (strpbrk(mode, "wa+") && is_watched(AT_FDCWD, path)) count();      \
    return REAL(name)(path, mode);                                        \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int number, const void *content, size_t size) {
  size_t half = 0;
  if (is_watched_file(number)) {
    count();
    if (kill_at < 0 && size > 1) {
      half = REAL(write)(number, content, size / 2);
      count();
    }
  }
  return half + REAL(write)(number, (const char *)content + half, size - half);
}

ssize_t writev(int number, const struct iovec *parts, int n) {
  if (is_watched_file(number)) count();
  return REAL(writev)(number, parts, n);
}

#define PWRITE(name, offset_t)                                            \
  ssize_t name(int number, const void *content, size_t size, offset_t at) { \
    if (is_watched_file(number)) count();                                 \
    return REAL(name)(number, content, size, at);                         \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

size_t fwrite(const void *content, size_t size, size_t n, FILE *file) {
  if (below[0] && is_watched_file(fileno(file))) {
    count();
    if (kill_at < 0 && size * n > 1) {
      size_t half = size * n / 2;
      REAL(fwrite)(content, 1, half, file);
      REAL(fflush)(file);
      count();
      return REAL(fwrite)((const char *)content + half, 1, size * n - half, file) == size * n - half ? n : 0;
    }
  }
  return REAL(fwrite)(content, size, n, file);
}

int fflush(FILE *file) {
  if (below[0] && file && is_watched_file(fileno(file))) count();
  return REAL(fflush)(file);
}

int fclose(FILE *file) {
  if (below[0] && is_watched_file(fileno(file))) count();
  return REAL(fclose)(file);
}

int ftruncate(int number, off_t size) {
  if (is_watched_file(number)) count();
  return REAL(ftruncate)(number, size);
}

int ftruncate64(int number, off64_t size) {
  if (is_watched_file(number)) count();
  return REAL(ftruncate64)(number, size);
}

#define TWO_PATHS(name)                                                   \
  int name(const char *from, const char *to) {                            \
    if (is_watched(AT_FDCWD, from) || is_watched(AT_FDCWD, to)) count();  \
    return REAL(name)(from, to);                                          \
  }
TWO_PATHS(rename)
TWO_PATHS(link)
TWO_PATHS(symlink)

int renameat(int a, const char *from, int b, const char *to) {
  if (is_watched(a, from) || is_watched(b, to)) count();
  return REAL(renameat)(a, from, b, to);
}

int symlinkat(const char *target, int folder, const char *path) {
  if (is_watched(folder, path)) count();
  return REAL(symlinkat)(target, folder, path);
}

#define ONE_PATH(name)                                                    \
  int name(const char *path) {                                            \
    if (is_watched(AT_FDCWD, path)) count();                              \
    return REAL(name)(path);                                              \
  }
ONE_PATH(unlink)
ONE_PATH(rmdir)
ONE_PATH(remove)

int unlinkat(int folder, const char *path, int flags) {
  if (is_watched(folder, path)) count();
  return REAL(unlinkat)(folder, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  if (is_watched(AT_FDCWD, path)) count();
  return REAL(mkdir)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
  if (is_watched(folder, path)) count();
  return REAL(mkdirat)(folder, path, mode);
}
