/* Preloaded: from the Nth write below a folder on, write() and fsync() fail as a broken disk does.

   arm() is called in the process under test. EINTR hits one write alone, as a signal does. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static int error_number;
static atomic_int until_failure;

void arm(const char *below, int error, int nth) {
  snprintf(folder, sizeof folder, "%s/", below);
  error_number = error;
  until_failure = nth;
}

static int fails(int descriptor) {
  char link[64], path[4096];
  if (!error_number) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, folder, strlen(folder))) return 0;
  int left = atomic_fetch_sub(&until_failure, 1);
  if (error_number == EINTR ? left != 1 : left > 1) return 0;
  errno = error_number;
  return 1;
}

#define FORWARD(result, name, parameters, arguments)                        \
  result name parameters {                                                  \
    static result(*next) parameters;                                        \
    if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name);        \
    return fails(descriptor) ? -1 : next arguments;                         \
  }

FORWARD(ssize_t, write, (int descriptor, const void *data, size_t size), (descriptor, data, size))
FORWARD(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t offset),
        (descriptor, data, size, offset))
FORWARD(ssize_t, writev, (int descriptor, const struct iovec *parts, int count),
        (descriptor, parts, count))
FORWARD(int, fsync, (int descriptor), (descriptor))
