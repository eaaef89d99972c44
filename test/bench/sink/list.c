#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink.h"

#define PAGE 5000

static void add_name(struct text *xml, const char *name) {
  text_add(xml, "<Name>");
  for (size_t plain; *name; name += plain) {
    plain = strcspn(name, "&<>");
    text_add(xml, "%.*s", (int)plain, name);
    if (name[plain]) text_add(xml, "&%s;", name[plain] == '&' ? "amp" : name[plain] == '<' ? "lt" : "gt"), plain++;
  }
  text_add(xml, "</Name>");
}

static void add_blob(struct text *xml, const char *name, const struct blob *blob) {
  text_add(xml, "<Blob>");
  add_name(xml, name);
  text_add(xml,
           "<Properties><Last-Modified>%s</Last-Modified><Etag>%.*s</Etag>"
           "<Content-Length>%zu</Content-Length><Content-Type>application/octet-stream</Content-Type>"
           "<BlobType>BlockBlob</BlobType></Properties></Blob>",
           blob->modified, (int)strlen(blob->etag) - 2, blob->etag + 1, blob->bytes);
}

int list_blobs(struct wire *wire, struct request *request) {
  char prefix[2048] = "", delimiter[8] = "", marker[2048] = "", max[16] = "";
  char place[4200], from[4200], folder[2048] = "";
  request_parameter(request, "prefix", prefix, sizeof prefix);
  request_parameter(request, "delimiter", delimiter, sizeof delimiter);
  request_parameter(request, "marker", marker, sizeof marker);
  request_parameter(request, "maxresults", max, sizeof max);
  size_t base = (size_t)snprintf(place, sizeof place, "%s/%s", request->path, prefix) - strlen(prefix), count;
  size_t left = *max ? (size_t)atol(max) : PAGE, at = 0;
  snprintf(from, sizeof from, "%s/%s", request->path, marker);
  struct text xml = {0};
  text_add(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"%s\"><Blobs>", request->path);
  store_lock();
  struct blob **all = store_list(place, from, &count);
  for (; at < count && left > 0; at++) {
    const char *name = all[at]->name + base;
    const char *cut = *delimiter ? strstr(name + strlen(prefix), delimiter) : NULL;
    if (cut) {
      size_t length = (size_t)(cut - name) + 1;
      if (!strncmp(folder, name, length) && !folder[length]) continue;
      snprintf(folder, sizeof folder, "%.*s", (int)length, name);
      text_add(&xml, "<BlobPrefix>");
      add_name(&xml, folder);
      text_add(&xml, "</BlobPrefix>");
    } else add_blob(&xml, name, all[at]);
    left--;
  }
  /* Marked by the next one's name. One in a folder that was listed already would list that again. */
  while (at < count && *folder && !strncmp(all[at]->name + base, folder, strlen(folder))) at++;
  text_add(&xml, "</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", at < count ? all[at]->name + base : "");
  store_unlock();
  free(all);
  int done = reply(wire, "200 OK", "Content-Type: application/xml\r\n", xml.bytes, xml.length);
  free(xml.bytes);
  return done;
}
