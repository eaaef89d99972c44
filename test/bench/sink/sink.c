#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink.h"

#define READ_BYTES (128 * 1024)

/* Bodies of blobs whose names have this in them are kept; NULL: none. */
static const char *keep;
static SSL_CTX *tls;

/* Reads one request; false at the end of the connection. */
static int next(struct wire *wire, struct request *request) {
  char *end, value[64], target[8192];
  while (!(end = memmem(wire->in + wire->at, wire->filled - wire->at, "\r\n\r\n", 4)))
    if (wire->filled - wire->at >= sizeof request->head || !wire_more(wire)) return 0;
  size_t length = (size_t)(end - wire->in) - wire->at + 2;
  snprintf(request->head, sizeof request->head, "%.*s", (int)length, wire->in + wire->at);
  wire->at += length + 2;
  if (sscanf(request->head, "%7s %8191s", request->method, target) != 2) return 0;
  char *query = strchr(target, '?');
  if (query) *query = 0;
  snprintf(request->query, sizeof request->query, "%.4000s", query ? query + 1 : "");
  snprintf(request->path, sizeof request->path, "%.2000s", target + 1);
  decode(request->path);
  request->length = request_header(request, "content-length", value, sizeof value) ? (size_t)atol(value) : 0;
  if (request_header(request, "expect", value, sizeof value) && !wire_write(wire, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return 0;
  int is_text = request_asks(request, "comp", "blocklist") || (strstr(request->path, ".json") && request->length < 1 << 27);
  int is_kept = is_text || (keep && strstr(request->path, keep));
  request->body = is_kept && *request->method == 'P' ? malloc(request->length + 1) : NULL;
  if (request->body) request->body[request->length] = 0;
  return wire_body(wire, request->body, request->length);
}

static void *serve(void *argument) {
  struct wire *wire = argument;
  struct request *request = malloc(sizeof *request);
  if (!wire->ssl || SSL_accept(wire->ssl) == 1)
    while (next(wire, request) && answer(wire, request)) continue;
  if (wire->ssl) SSL_free(wire->ssl);
  close(wire->fd);
  free(request);
  free(wire);
  return NULL;
}

static int listen_on(uint16_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 1024)) return -1;
  getsockname(fd, (struct sockaddr *)&address, &size);
  *port = ntohs(address.sin_port);
  return fd;
}

static void *accept_all(void *argument) {
  int is_tls = ((int *)argument)[1], listener = ((int *)argument)[0];
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct wire *wire = calloc(1, sizeof *wire);
    wire->fd = fd;
    if (is_tls) {
      wire->ssl = SSL_new(tls);
      SSL_set_fd(wire->ssl, fd);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, serve, wire);
    pthread_detach(thread);
  }
  return NULL;
}

/* sink CERT KEY [KEEP]: prints its two ports, ends with its standard input. */
int main(int count, char **values) {
  if (count < 3) return 2;
  keep = count > 3 ? values[3] : NULL;
  signal(SIGPIPE, SIG_IGN);
  tls = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_file(tls, values[1], SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(tls, values[2], SSL_FILETYPE_PEM) != 1)
    return 1;
  /* Several records a call of the kernel, not one for the head of each and one for the rest. */
  SSL_CTX_set_read_ahead(tls, 1);
  SSL_CTX_set_default_read_buffer_len(tls, READ_BYTES);
  uint16_t http, https;
  static int plain[2], secure[2];
  plain[0] = listen_on(&http);
  secure[0] = listen_on(&https);
  secure[1] = 1;
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, accept_all, plain);
  pthread_create(&threads[1], NULL, accept_all, secure);
  printf("{\"http\":%d,\"https\":%d}\n", http, https);
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
  return 0;
}
