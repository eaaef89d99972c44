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
static size_t blobs;
static uint64_t writes;

void store_lock(void) { pthread_mutex_lock(&lock); }
void store_unlock(void) { pthread_mutex_unlock(&lock); }

static uint32_t mix(const char *text) {
  uint32_t hash = 2166136261u;
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
  return hash;
}

struct blob *store_find(const char *name, int create) {
  struct blob **place = &names[mix(name) % NAMES];
  for (struct blob *blob = *place; blob; blob = blob->next)
    if (!strcmp(blob->name, name)) return blob;
  if (!create) return NULL;
  struct blob *blob = calloc(1, sizeof *blob);
  blob->name = strdup(name);
  blob->next = *place;
  *place = blob;
  blobs++;
  return blob;
}

static int by_name(const void *one, const void *other) {
  return strcmp((*(struct blob *const *)one)->name, (*(struct blob *const *)other)->name);
}

struct blob **store_all(size_t *count) {
  struct blob **all = malloc((blobs + 1) * sizeof *all);
  *count = 0;
  for (size_t i = 0; i < NAMES; i++)
    for (struct blob *blob = names[i]; blob; blob = blob->next) all[(*count)++] = blob;
  qsort(all, *count, sizeof *all, by_name);
  return all;
}

static struct block *staged(struct blob *blob, const char *id) {
  struct block *block = blob->staged[mix(id) % BUCKETS];
  while (block && strcmp(block->id, id)) block = block->next;
  return block;
}

void blob_stage(struct blob *blob, struct block *block) {
  struct block *same = staged(blob, block->id);
  if (same) {
    same->bytes = block->bytes;
    same->data = block->data;
    return;
  }
  struct block **place = &blob->staged[mix(block->id) % BUCKETS];
  block->next = *place;
  *place = block;
}

static struct version *replace(struct blob *blob, struct version *version, const char *headers) {
  time_t now = time(NULL);
  struct tm utc;
  strftime(version->modified, sizeof version->modified, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
  snprintf(version->etag, sizeof version->etag, "\"0x%llX\"", (unsigned long long)++writes + 0x8D0000000ull);
  version->headers = strdup(headers);
  for (size_t i = 0; i < version->count; i++) version->bytes += version->blocks[i]->bytes;
  memset(blob->staged, 0, sizeof blob->staged);
  return blob->current = version;
}

struct version *blob_put(struct blob *blob, struct block *content, const char *headers) {
  struct version *version = calloc(1, sizeof *version);
  version->blocks = malloc(sizeof *version->blocks);
  version->blocks[0] = content;
  version->count = 1;
  return replace(blob, version, headers);
}

/* A table of the committed blocks, so that long lists take no quadratic time. */
static struct block **committed(const struct blob *blob, size_t *mask) {
  size_t count = blob->current ? blob->current->count : 0;
  for (*mask = 15; *mask < count * 2; *mask = *mask * 2 + 1) continue;
  struct block **table = calloc(*mask + 1, sizeof *table);
  for (size_t i = 0; i < count; i++) {
    size_t at = mix(blob->current->blocks[i]->id) & *mask;
    while (table[at]) at = (at + 1) & *mask;
    table[at] = blob->current->blocks[i];
  }
  return table;
}

struct version *blob_commit(struct blob *blob, const char *list, const char *headers) {
  struct version *version = calloc(1, sizeof *version);
  size_t room = 0, mask;
  struct block **table = committed(blob, &mask);
  for (const char *at = strstr(list, "<BlockList>"); (at = at ? strchr(at + 1, '<') : NULL);) {
    const char *start = strchr(at, '>'), *end = start ? strchr(start, '<') : NULL;
    char id[100];
    if (at[1] == '/' || !end || end == start + 1 || end - start > (long)sizeof id) continue;
    snprintf(id, sizeof id, "%.*s", (int)(end - start - 1), start + 1);
    struct block *block = at[1] == 'C' ? NULL : staged(blob, id);
    for (size_t i = mix(id) & mask; !block && table[i]; i = (i + 1) & mask)
      if (!strcmp(table[i]->id, id)) block = table[i];
    if (!block) {
      free(table);
      return NULL;
    }
    if (version->count == room)
      version->blocks = realloc(version->blocks, (room = room * 2 + 16) * sizeof *version->blocks);
    version->blocks[version->count++] = block;
    at = end;
  }
  free(table);
  return replace(blob, version, headers);
}

struct snapshot *blob_snapshot(struct blob *blob) {
  struct snapshot *snapshot = calloc(1, sizeof *snapshot);
  unsigned long long number = ++writes;
  snprintf(snapshot->id, sizeof snapshot->id, "2026-01-01T00:%02llu:%02llu.%07lluZ",
           number / 600000000 % 60, number / 10000000 % 60, number % 10000000);
  snapshot->version = blob->current;
  snapshot->next = blob->snapshots;
  return blob->snapshots = snapshot;
}

struct version *blob_version(struct blob *blob, const char *id) {
  if (!id) return blob->current;
  for (struct snapshot *snapshot = blob->snapshots; snapshot; snapshot = snapshot->next)
    if (!strcmp(snapshot->id, id)) return snapshot->version;
  return NULL;
}

void blob_remove(struct blob *blob, const char *id) {
  if (!id) {
    blob->current = NULL;
    blob->snapshots = NULL;
    return;
  }
  struct snapshot **place = &blob->snapshots;
  while (*place && strcmp((*place)->id, id)) place = &(*place)->next;
  if (*place) *place = (*place)->next;
}

int blob_is_staged(const struct blob *blob) {
  for (size_t i = 0; i < BUCKETS; i++)
    if (blob->staged[i]) return 1;
  return 0;
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
