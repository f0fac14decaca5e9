/* Lets the n-th write, sync, truncation or rename of a process fail, also those of C libraries (SQLite).
   cc -shared -fPIC -o failing.so failing.c -ldl; LD_PRELOAD=failing.so; arm(n, errno) and met() by ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/types.h>

static volatile int left, code, hits;

void arm(int n, int error) { hits = 0; code = error; left = n; }
int met(void) { left = 0; return hits; }

static int fails(void) {
    if (left <= 0 || --left) return 0;
    hits++;
    errno = code;
    return 1;
}

#define REAL(name, kind) kind real = (kind)dlsym(RTLD_NEXT, name)
typedef ssize_t (*write_t)(int, const void *, size_t);
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);
typedef int (*sync_t)(int);
typedef int (*cut_t)(int, off_t);
typedef int (*rename_t)(const char *, const char *);

ssize_t write(int f, const void *d, size_t n) { REAL("write", write_t); return f > 2 && fails() ? -1 : real(f, d, n); }
ssize_t pwrite(int f, const void *d, size_t n, off_t o) { REAL("pwrite", pwrite_t); return fails() ? -1 : real(f, d, n, o); }
ssize_t pwrite64(int f, const void *d, size_t n, off_t o) { REAL("pwrite64", pwrite_t); return fails() ? -1 : real(f, d, n, o); }
int fsync(int f) { REAL("fsync", sync_t); return fails() ? -1 : real(f); }
int fdatasync(int f) { REAL("fdatasync", sync_t); return fails() ? -1 : real(f); }
int ftruncate(int f, off_t n) { REAL("ftruncate", cut_t); return fails() ? -1 : real(f, n); }
int ftruncate64(int f, off_t n) { REAL("ftruncate64", cut_t); return fails() ? -1 : real(f, n); }
int rename(const char *a, const char *b) { REAL("rename", rename_t); return fails() ? -1 : real(a, b); }
