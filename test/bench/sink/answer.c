#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>

#include "sink.h"

static atomic_long latency_us, requests, writes, bytes_in, request_ids, manifest_us;
/* Read in place of content that was thrown away. */
static char filler[1 << 20];

void decode(char *text) {
  char *to = text;
  for (; *text; text++) {
    unsigned byte;
    if (*text == '%' && sscanf(text + 1, "%2x", &byte) == 1) {
      *to++ = (char)byte;
      text += 2;
    } else *to++ = *text;
  }
  *to = 0;
}

char *request_parameter(const struct request *request, const char *name, char *value, size_t room) {
  size_t length = strlen(name);
  for (const char *at = request->query; *at; at += *at == '&') {
    const char *end = strchrnul(at, '&');
    if (!strncasecmp(at, name, length) && at[length] == '=') {
      snprintf(value, room, "%.*s", (int)(end - at - (long)length - 1), at + length + 1);
      decode(value);
      return value;
    }
    at = end;
  }
  return NULL;
}

int request_asks(const struct request *request, const char *name, const char *wanted) {
  char value[64];
  return request_parameter(request, name, value, sizeof value) && !strcmp(value, wanted);
}

const char *request_header(const struct request *request, const char *name, char *value, size_t room) {
  char wanted[80];
  snprintf(wanted, sizeof wanted, "\r\n%s:", name);
  const char *at = strcasestr(request->head, wanted);
  if (!at) return NULL;
  at += strlen(wanted);
  while (*at == ' ') at++;
  snprintf(value, room, "%.*s", (int)strcspn(at, "\r"), at);
  return value;
}

int reply(struct wire *wire, const char *status, const char *headers, const char *body, size_t length) {
  long delay = latency_us;
  if (delay > 0) nanosleep(&(struct timespec){delay / 1000000, delay % 1000000 * 1000}, NULL);
  char head[8192], date[40];
  time_t now = time(NULL);
  struct tm utc;
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
  int size = snprintf(head, sizeof head,
                      "HTTP/1.1 %s\r\nServer: sink\r\nx-ms-version: 2021-08-06\r\nx-ms-request-id: sink-%ld\r\n"
                      "Date: %s\r\n%sContent-Length: %zu\r\n\r\n",
                      status, ++request_ids, date, headers, length);
  if (body && length > 0 && length < sizeof head - (size_t)size) {
    memcpy(head + size, body, length);
    return wire_write(wire, head, (size_t)size + length);
  }
  return wire_write(wire, head, (size_t)size) && (!body || wire_write(wire, body, length));
}

int refuse(struct wire *wire, const char *status, const char *code) {
  char headers[200];
  snprintf(headers, sizeof headers, "x-ms-error-code: %s\r\n", code);
  return reply(wire, status, headers, "", 0);
}

/* What comes back with the blob: what describes its content. */
static void described(const struct request *request, char *headers, size_t room) {
  struct text text = {0};
  text_add(&text, "%s", "");
  for (const char *at = request->head; (at = strstr(at, "\r\n")); at += 2) {
    int length = (int)strcspn(at + 2, "\r");
    if (!strncasecmp(at + 2, "x-ms-meta-", 10)) text_add(&text, "%.*s\r\n", length, at + 2);
    if (!strncasecmp(at + 2, "x-ms-blob-content-md5:", 22))
      text_add(&text, "Content-MD5:%.*s\r\n", length - 22, at + 24);
  }
  snprintf(headers, room, "%s", text.bytes);
  free(text.bytes);
}

static int holds(const struct request *request, const struct blob *blob, const char **status, const char **code) {
  char value[128];
  if (request_header(request, "if-none-match", value, sizeof value) && *value == '*' && blob) {
    *status = "409 Conflict";
    *code = "BlobAlreadyExists";
    return 0;
  }
  if (request_header(request, "if-match", value, sizeof value) && (!blob || (strcmp(value, blob->etag) && *value != '*'))) {
    *status = "412 Precondition Failed";
    *code = "ConditionNotMet";
    return 0;
  }
  return 1;
}

static struct block *block_of(const struct request *request) {
  struct block *block = calloc(1, sizeof *block);
  block->bytes = request->length;
  block->data = request->body;
  return block;
}

static int stage_block(struct wire *wire, struct request *request) {
  char id[400];
  if (!request_parameter(request, "blockid", id, sizeof id)) return 0;
  struct block *block = block_of(request);
  snprintf(block->id, sizeof block->id, "%.99s", id);
  store_lock();
  blob_stage(store_make(request->path), block);
  store_unlock();
  return reply(wire, "201 Created", "x-ms-request-server-encrypted: true\r\n", "", 0);
}

static int write_blob(struct wire *wire, struct request *request) {
  char headers[4096], answer[512];
  const char *status = "400 Bad Request", *code = "InvalidBlockList";
  int is_list = request_asks(request, "comp", "blocklist"), done = 0;
  described(request, headers, sizeof headers);
  store_lock();
  if (holds(request, store_find(request->path), &status, &code)) {
    struct blob *blob = store_make(request->path);
    if (is_list) done = blob_commit(blob, request->body, headers);
    else blob_put(blob, block_of(request), headers), done = 1;
    snprintf(answer, sizeof answer, "ETag: %s\r\nLast-Modified: %s\r\n", blob->etag, blob->modified);
  }
  store_unlock();
  if (is_list || !done) free(request->body);
  if (!done) return refuse(wire, status, code);
  done = reply(wire, "201 Created", answer, "", 0);
  if (strstr(request->path, "/checkpoints/")) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    manifest_us = now.tv_sec * 1000000 + now.tv_nsec / 1000;
  }
  return done;
}

/* What of a block is wanted, when the blob's bytes from `from` to `to` are and it begins at `start`. */
static int write_block(struct wire *wire, const struct block *block, size_t start, size_t from, size_t to) {
  size_t first = from > start ? from - start : 0, last = to < start + block->bytes ? to - start : block->bytes;
  if (block->data) return wire_write(wire, block->data + first, last - first);
  for (; first < last; first += sizeof filler)
    if (!wire_write(wire, filler, last - first < sizeof filler ? last - first : sizeof filler)) return 0;
  return 1;
}

/* Nobody replaces or removes what is read here meanwhile. */
static int read_blob(struct wire *wire, struct request *request, int with_body) {
  char value[128], headers[8192];
  store_lock();
  struct blob *blob = store_find(request->path);
  store_unlock();
  if (!blob) return refuse(wire, "404 Not Found", "BlobNotFound");
  size_t from = 0, to = blob->bytes;
  const char *range = request_header(request, "x-ms-range", value, sizeof value);
  if (!range) range = request_header(request, "range", value, sizeof value);
  if (range) {
    size_t last = blob->bytes - 1;
    sscanf(range, "bytes=%zu-%zu", &from, &last);
    to = last + 1 < blob->bytes ? last + 1 : blob->bytes;
  }
  int size = snprintf(headers, sizeof headers,
                      "%sETag: %s\r\nLast-Modified: %s\r\nx-ms-blob-type: BlockBlob\r\nAccept-Ranges: bytes\r\n"
                      "Content-Type: application/octet-stream\r\n",
                      blob->headers, blob->etag, blob->modified);
  if (range)
    snprintf(headers + size, sizeof headers - (size_t)size, "Content-Range: bytes %zu-%zu/%zu\r\n", from, to - 1, blob->bytes);
  const char *status = range ? "206 Partial Content" : "200 OK";
  if (!with_body || from >= to) return reply(wire, status, headers, NULL, with_body ? 0 : blob->bytes);
  if (!reply(wire, status, headers, NULL, to - from)) return 0;
  size_t start = 0;
  for (size_t i = 0; i < blob->count && start < to; start += blob->blocks[i++]->bytes)
    if (start + blob->blocks[i]->bytes > from && !write_block(wire, blob->blocks[i], start, from, to)) return 0;
  return 1;
}

static int remove_blob(struct wire *wire, struct request *request) {
  const char *status = "404 Not Found", *code = "BlobNotFound";
  store_lock();
  struct blob *blob = store_find(request->path);
  int may = blob && holds(request, blob, &status, &code);
  if (may) blob_remove(blob);
  store_unlock();
  return may ? reply(wire, "202 Accepted", "x-ms-delete-type-permanent: true\r\n", NULL, 0) : refuse(wire, status, code);
}

/* Not part of the service: /sink/stats, with ?us=N and ?megabits=N; /sink/clear */
static int control(struct wire *wire, struct request *request) {
  char value[64], json[400];
  struct rusage used;
  if (request_parameter(request, "us", value, sizeof value)) latency_us = atol(value);
  if (request_parameter(request, "megabits", value, sizeof value)) wire_link(atof(value));
  store_lock();
  if (!strcmp(request->path, "sink/clear")) store_clear();
  store_unlock();
  getrusage(RUSAGE_SELF, &used);
  int size = snprintf(json, sizeof json,
                      "{\"requests\":%ld,\"writes\":%ld,\"bytesIn\":%ld,\"cpuMs\":%ld,\"manifestMs\":%.3f}", (long)requests,
                      (long)writes, (long)bytes_in,
                      (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                          (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000,
                      (double)manifest_us / 1000);
  return reply(wire, "200 OK", "Content-Type: application/json\r\n", json, (size_t)size);
}

int answer(struct wire *wire, struct request *request) {
  if (!strncmp(request->path, "sink/", 5)) return control(wire, request);
  requests++;
  bytes_in += (long)request->length;
  int is_container = request_asks(request, "restype", "container"), is_write = *request->method == 'P';
  if (is_container && request_asks(request, "comp", "list")) return list_blobs(wire, request);
  if (is_container) return reply(wire, is_write ? "201 Created" : "200 OK", "ETag: \"0x1\"\r\n", NULL, 0);
  if (request_asks(request, "comp", "properties")) return refuse(wire, "404 Not Found", "ResourceNotFound");
  if (is_write) writes++;
  if (is_write) return request_asks(request, "comp", "block") ? stage_block(wire, request) : write_blob(wire, request);
  if (*request->method == 'D') return remove_blob(wire, request);
  return read_blob(wire, request, *request->method == 'G');
}
