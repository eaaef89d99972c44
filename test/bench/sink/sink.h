/*
 * A Blob Storage look-alike that costs so little that a benchmark measures its client: one thread for each connection,
 * bodies thrown away as they come (or kept, to be read back). It answers the requests that evictd, rclone and azcopy
 * make of a container; it checks conditions, but neither signatures nor anything else.
 */
#ifndef SINK_H
#define SINK_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/* One connection, with or without TLS. */
struct wire {
  int fd;
  SSL *ssl;
  char in[65536];
  size_t at, filled;
};

/* Fills `in` further; false at the end of the connection. */
int wire_more(struct wire *wire);
/* Takes `count` bytes of body, as fast as the link allows: into `into`, or nowhere when that is NULL. */
int wire_body(struct wire *wire, char *into, size_t count);
int wire_write(struct wire *wire, const void *bytes, size_t count);
/* What all connections together may take in; 0: whatever comes. */
void wire_link(double megabits);

struct block {
  char id[100];
  size_t bytes;
  /* NULL when bodies are thrown away. */
  char *data;
  struct block *next;
};

#define BUCKETS 64

struct blob {
  char *name;
  /* Nothing was committed under this name, or it was removed. */
  int is_absent;
  char etag[32];
  char modified[40];
  /* Header lines: metadata, content type, MD5. */
  char *headers;
  size_t bytes, count;
  struct block **blocks;
  struct block *staged[BUCKETS];
  struct blob *next;
};

/* All of them expect the lock to be held. */
void store_lock(void);
void store_unlock(void);
/* One without content when there is none yet; never NULL. */
struct blob *store_make(const char *name);
/* NULL: there is none with content. */
struct blob *store_find(const char *name);
/* Those with content whose names begin with `prefix` and come at `from` or after it, in order; the caller frees the array. */
struct blob **store_list(const char *prefix, const char *from, size_t *count);
/* Forgets all of them; to be called while nobody reads. */
void store_clear(void);
void blob_stage(struct blob *blob, struct block *block);
/* Takes the block list apart; false when it names a block that isn't there. */
int blob_commit(struct blob *blob, const char *list, const char *headers);
void blob_put(struct blob *blob, struct block *content, const char *headers);
void blob_remove(struct blob *blob);

struct request {
  char method[8];
  /* Without the query, decoded: ACCOUNT/CONTAINER/NAME. */
  char path[2048];
  char query[4096];
  char head[32768];
  size_t length;
  char *body;
};

void decode(char *text);
int request_asks(const struct request *request, const char *name, const char *wanted);
/* The value of a header; NULL when it isn't there. */
const char *request_header(const struct request *request, const char *name, char *value, size_t room);
/* A parameter of the query, decoded; NULL when it isn't there. */
char *request_parameter(const struct request *request, const char *name, char *value, size_t room);
/* Whole answers; false when the connection is of no more use. */
int reply(struct wire *wire, const char *status, const char *headers, const char *body, size_t length);
int refuse(struct wire *wire, const char *status, const char *code);
int list_blobs(struct wire *wire, struct request *request);
/* Answers a request that was read to its end; false when the connection is of no more use. */
int answer(struct wire *wire, struct request *request);

/* A growing text. */
struct text {
  char *bytes;
  size_t length, room;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
