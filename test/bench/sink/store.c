#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sink.h"

#define NAMES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct blob *names[NAMES];
static uint64_t writes;

void store_lock(void) { pthread_mutex_lock(&lock); }
void store_unlock(void) { pthread_mutex_unlock(&lock); }

static uint32_t mix(const char *text) {
  uint32_t hash = 2166136261u;
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
  return hash;
}

static struct blob *find(const char *name) {
  struct blob *blob = names[mix(name) % NAMES];
  while (blob && strcmp(blob->name, name)) blob = blob->next;
  return blob;
}

struct blob *store_find(const char *name) {
  struct blob *blob = find(name);
  return blob && !blob->is_absent ? blob : NULL;
}

struct blob *store_make(const char *name) {
  struct blob *blob = find(name), **place = &names[mix(name) % NAMES];
  if (blob) return blob;
  blob = calloc(1, sizeof *blob);
  blob->name = strdup(name);
  blob->is_absent = 1;
  blob->next = *place;
  return *place = blob;
}

static int by_name(const void *one, const void *other) {
  return strcmp((*(struct blob *const *)one)->name, (*(struct blob *const *)other)->name);
}

struct blob **store_list(const char *prefix, const char *from, size_t *count) {
  size_t room = 16, length = strlen(prefix);
  struct blob **all = malloc(room * sizeof *all);
  *count = 0;
  for (size_t i = 0; i < NAMES; i++)
    for (struct blob *blob = names[i]; blob; blob = blob->next) {
      if (blob->is_absent || strncmp(blob->name, prefix, length) || strcmp(blob->name, from) < 0) continue;
      if (*count == room) all = realloc(all, (room *= 2) * sizeof *all);
      all[(*count)++] = blob;
    }
  qsort(all, *count, sizeof *all, by_name);
  return all;
}

static void free_chain(struct block *block) {
  for (struct block *next; block; block = next) {
    next = block->next;
    free(block->data);
    free(block);
  }
}

/* Blocks that were committed are the blob's, and in no chain any more. */
static void drop_content(struct blob *blob) {
  for (size_t i = 0; i < blob->count; i++) {
    free(blob->blocks[i]->data);
    free(blob->blocks[i]);
  }
  free(blob->blocks);
  free(blob->headers);
  blob->blocks = NULL;
  blob->headers = NULL;
  blob->count = blob->bytes = 0;
}

void store_clear(void) {
  for (size_t i = 0; i < NAMES; i++) {
    for (struct blob *blob = names[i], *next; blob; blob = next) {
      next = blob->next;
      drop_content(blob);
      for (size_t bucket = 0; bucket < BUCKETS; bucket++) free_chain(blob->staged[bucket]);
      free(blob->name);
      free(blob);
    }
    names[i] = NULL;
  }
}

void blob_stage(struct blob *blob, struct block *block) {
  struct block **place = &blob->staged[mix(block->id) % BUCKETS];
  block->next = *place;
  *place = block;
}

/* Takes a staged block out of its chain. */
static struct block *unstage(struct blob *blob, const char *id) {
  struct block **place = &blob->staged[mix(id) % BUCKETS];
  while (*place && strcmp((*place)->id, id)) place = &(*place)->next;
  struct block *block = *place;
  if (block) *place = block->next;
  return block;
}

static void replace(struct blob *blob, struct block **blocks, size_t count, const char *headers) {
  time_t now = time(NULL);
  struct tm utc;
  drop_content(blob);
  strftime(blob->modified, sizeof blob->modified, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
  snprintf(blob->etag, sizeof blob->etag, "\"0x%llX\"", (unsigned long long)++writes + 0x8D0000000ull);
  blob->headers = strdup(headers);
  blob->blocks = blocks;
  blob->count = count;
  for (size_t i = 0; i < count; i++) blob->bytes += blocks[i]->bytes;
  blob->is_absent = 0;
}

void blob_put(struct blob *blob, struct block *content, const char *headers) {
  struct block **blocks = malloc(sizeof *blocks);
  *blocks = content;
  replace(blob, blocks, 1, headers);
}

/* Only of blocks that were staged since: nobody here names committed ones. */
int blob_commit(struct blob *blob, const char *list, const char *headers) {
  size_t count = 0, room = 16;
  struct block **blocks = malloc(room * sizeof *blocks);
  for (const char *at = strstr(list, "<BlockList>"); (at = at ? strchr(at + 1, '<') : NULL);) {
    const char *start = strchr(at, '>'), *end = start ? strchr(start, '<') : NULL;
    char id[100];
    if (at[1] == '/' || !end || end == start + 1 || end - start > (long)sizeof id) continue;
    snprintf(id, sizeof id, "%.*s", (int)(end - start - 1), start + 1);
    if (count == room) blocks = realloc(blocks, (room *= 2) * sizeof *blocks);
    if (!(blocks[count++] = unstage(blob, id))) return 0;
    at = end;
  }
  replace(blob, blocks, count, headers);
  return 1;
}

void blob_remove(struct blob *blob) {
  drop_content(blob);
  blob->is_absent = 1;
}

void text_add(struct text *text, const char *format, ...) {
  for (;;) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text->bytes + text->length, text->room - text->length, format, values);
    va_end(values);
    if (text->length + (size_t)length < text->room) {
      text->length += (size_t)length;
      return;
    }
    text->bytes = realloc(text->bytes, text->room = text->room * 2 + (size_t)length + 256);
  }
}
