#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sink.h"

static long receive(struct wire *wire, char *into, size_t room) {
  if (wire->ssl) return SSL_read(wire->ssl, into, (int)(room > 1 << 30 ? 1 << 30 : room));
  return recv(wire->fd, into, room, 0);
}

int wire_more(struct wire *wire) {
  if (wire->at == wire->filled) wire->at = wire->filled = 0;
  if (wire->at > 0 && wire->filled == sizeof wire->in) {
    memmove(wire->in, wire->in + wire->at, wire->filled - wire->at);
    wire->filled -= wire->at;
    wire->at = 0;
  }
  long count = receive(wire, wire->in + wire->filled, sizeof wire->in - wire->filled);
  if (count <= 0) return 0;
  wire->filled += (size_t)count;
  return 1;
}

static pthread_mutex_t link_lock = PTHREAD_MUTEX_INITIALIZER;
static double link_megabits, link_free_s;

void wire_link(double megabits) { link_megabits = megabits; }

/* As if all that comes had to pass a link, one after the other. */
static void pass_link(size_t bytes) {
  if (link_megabits <= 0) return;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  double at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
  pthread_mutex_lock(&link_lock);
  link_free_s = (link_free_s > at ? link_free_s : at) + (double)bytes * 8 / link_megabits / 1e6;
  double wait = link_free_s - at;
  pthread_mutex_unlock(&link_lock);
  if (wait > 0.001) nanosleep(&(struct timespec){(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)}, NULL);
}

int wire_body(struct wire *wire, char *into, size_t count) {
  char scratch[32768];
  size_t here = wire->filled - wire->at < count ? wire->filled - wire->at : count;
  if (into) memcpy(into, wire->in + wire->at, here);
  wire->at += here;
  for (size_t done = here; done < count;) {
    long more;
    size_t left = count - done;
    if (into) more = receive(wire, into + done, left);
    /* The kernel drops what nobody wants to see. */
    else if (!wire->ssl) more = recv(wire->fd, NULL, left, MSG_TRUNC);
    else more = receive(wire, scratch, left < sizeof scratch ? left : sizeof scratch);
    if (more <= 0) return 0;
    done += (size_t)more;
    pass_link((size_t)more);
  }
  return 1;
}

int wire_write(struct wire *wire, const void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const char *from = (const char *)bytes + done;
    size_t left = count - done;
    long more = wire->ssl ? SSL_write(wire->ssl, from, (int)(left > 1 << 30 ? 1 << 30 : left))
                          : send(wire->fd, from, left, MSG_NOSIGNAL);
    if (more <= 0) return 0;
    done += (size_t)more;
  }
  return 1;
}
