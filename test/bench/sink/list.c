#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink.h"

int list_blocks(struct wire *wire, struct request *request) {
  struct text xml = {0};
  store_lock();
  struct blob *blob = store_find(request->path, 0);
  char etag[100] = "";
  text_add(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><CommittedBlocks>");
  if (blob && blob->current) {
    snprintf(etag, sizeof etag, "ETag: %s\r\n", blob->current->etag);
    for (size_t i = 0; i < blob->current->count; i++) {
      const struct block *block = blob->current->blocks[i];
      if (*block->id) text_add(&xml, "<Block><Name>%s</Name><Size>%zu</Size></Block>", block->id, block->bytes);
    }
  }
  text_add(&xml, "</CommittedBlocks><UncommittedBlocks>");
  for (size_t i = 0; blob && i < BUCKETS; i++)
    for (const struct block *block = blob->staged[i]; block; block = block->next)
      text_add(&xml, "<Block><Name>%s</Name><Size>%zu</Size></Block>", block->id, block->bytes);
  text_add(&xml, "</UncommittedBlocks></BlockList>");
  store_unlock();
  char headers[200];
  snprintf(headers, sizeof headers, "%sContent-Type: application/xml\r\n", etag);
  int done = blob ? reply(wire, "200 OK", headers, xml.bytes, xml.length) : refuse(wire, "404 Not Found", "BlobNotFound");
  free(xml.bytes);
  return done;
}

static void add_name(struct text *xml, const char *name) {
  text_add(xml, "<Name>");
  for (size_t plain; *name; name += plain) {
    plain = strcspn(name, "&<>");
    text_add(xml, "%.*s", (int)plain, name);
    if (name[plain]) text_add(xml, "&%s;", name[plain] == '&' ? "amp" : name[plain] == '<' ? "lt" : "gt"), plain++;
  }
  text_add(xml, "</Name>");
}

static void add_version(struct text *xml, const char *name, const struct version *version, const char *snapshot) {
  text_add(xml, "<Blob>");
  add_name(xml, name);
  if (snapshot) text_add(xml, "<Snapshot>%s</Snapshot>", snapshot);
  text_add(xml,
           "<Properties><Last-Modified>%s</Last-Modified><Etag>%.*s</Etag>"
           "<Content-Length>%zu</Content-Length><Content-Type>application/octet-stream</Content-Type>"
           "<BlobType>BlockBlob</BlobType></Properties></Blob>",
           version->modified, (int)strlen(version->etag) - 2, version->etag + 1, version->bytes);
}

/* The newest is the first of the list, and comes last. */
static void add_snapshots(struct text *xml, const char *name, const struct snapshot *snapshot) {
  if (!snapshot) return;
  add_snapshots(xml, name, snapshot->next);
  add_version(xml, name, snapshot->version, snapshot->id);
}

int list_blobs(struct wire *wire, struct request *request) {
  char prefix[2048] = "", delimiter[8] = "", include[200] = "", place[2048], folder[2048] = "";
  request_parameter(request, "prefix", prefix, sizeof prefix);
  request_parameter(request, "delimiter", delimiter, sizeof delimiter);
  request_parameter(request, "include", include, sizeof include);
  size_t base = (size_t)snprintf(place, sizeof place, "%s/", request->path), count;
  struct text xml = {0};
  text_add(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"%s\"><Blobs>", request->path);
  store_lock();
  struct blob **all = store_all(&count);
  for (size_t i = 0; i < count; i++) {
    const char *name = all[i]->name + base;
    const struct version *version = all[i]->current;
    int is_shown = version || (strstr(include, "uncommittedblobs") && blob_is_staged(all[i]));
    if (strncmp(all[i]->name, place, base) || !is_shown || strncmp(name, prefix, strlen(prefix))) continue;
    const char *cut = *delimiter ? strstr(name + strlen(prefix), delimiter) : NULL;
    if (cut) {
      size_t length = (size_t)(cut - name) + 1;
      if (!strncmp(folder, name, length) && !folder[length]) continue;
      snprintf(folder, sizeof folder, "%.*s", (int)length, name);
      text_add(&xml, "<BlobPrefix>");
      add_name(&xml, folder);
      text_add(&xml, "</BlobPrefix>");
      continue;
    }
    if (strstr(include, "snapshots")) add_snapshots(&xml, name, all[i]->snapshots);
    if (version) {
      add_version(&xml, name, version, NULL);
      continue;
    }
    text_add(&xml, "<Blob>");
    add_name(&xml, name);
    text_add(&xml, "<Properties></Properties></Blob>");
  }
  store_unlock();
  free(all);
  text_add(&xml, "</Blobs><NextMarker /></EnumerationResults>");
  int done = reply(wire, "200 OK", "Content-Type: application/xml\r\n", xml.bytes, xml.length);
  free(xml.bytes);
  return done;
}
