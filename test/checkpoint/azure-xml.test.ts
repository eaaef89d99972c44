import { expect, test } from 'vitest';

import { parseBlobPage, parseBlockPage } from '../../src/checkpoint/azure-xml.ts';

const HEAD = '\uFEFF<?xml version="1.0" encoding="utf-8"?>';

/** As the service lists blobs: learn.microsoft.com/rest/api/storageservices/list-blobs. */
function listing(blobs: string, rest = '<NextMarker />'): string {
  return `${HEAD}<EnumerationResults ServiceEndpoint="https://a/" ContainerName="c"><Prefix> p</Prefix>${blobs}${rest}</EnumerationResults>`;
}

test('names come as they are, whatever is in them', () => {
  const names = ['<Name> a &amp; &lt;b&gt; &quot;c&quot; </Name>', '<Name>1.0</Name>', '<Name>true</Name>'];
  const properties = '<Properties><Etag>0x8D</Etag><Content-Length>5</Content-Length></Properties>';
  const blobs = names.map((name) => `<Blob>${name}${properties}</Blob>`).join('');
  const page = parseBlobPage(listing(`<Blobs>${blobs}</Blobs>`, '<NextMarker>more</NextMarker>'));
  expect(page.blobs.map(({ name }) => name)).toEqual([' a & <b> "c" ', '1.0', 'true']);
  expect(page.blobs[0]).toMatchObject({ etag: '"0x8D"', bytes: 5 });
  expect(page.next).toBe('more');
});

test('a name that XML can not hold comes as in a URL', () => {
  const blobs = '<Blobs><BlobPrefix><Name Encoded="true">a%EF%BF%BEb%20/</Name></BlobPrefix></Blobs>';
  expect(parseBlobPage(listing(blobs)).prefixes).toEqual(['a\uFFFEb /']);
});

test('snapshots say when, what is not committed has neither ETag nor date, and a page may be empty', () => {
  const snapshot =
    '<Blob><Name>a</Name><Snapshot>2026-01-01T00:00:00.0000000Z</Snapshot><Properties /></Blob>';
  expect(parseBlobPage(listing(`<Blobs>${snapshot}</Blobs>`)).blobs).toEqual([
    { name: 'a', snapshot: '2026-01-01T00:00:00.0000000Z', etag: '""', bytes: 0, modifiedAt: 0 },
  ]);
  expect(parseBlobPage(listing('<Blobs />'))).toEqual({ blobs: [], prefixes: [], next: '' });
  expect(parseBlobPage(listing('<Blobs>\n</Blobs>')).blobs).toEqual([]);
});

test('a block list has what is committed and what is not', () => {
  const block = (name: string) => `<Block><Name>${name}</Name><Size>7</Size></Block>`;
  const text = `${HEAD}<BlockList><CommittedBlocks>${block('YQ==')}${block('Yg==')}</CommittedBlocks><UncommittedBlocks /></BlockList>`;
  expect(parseBlockPage(text)).toEqual({
    committed: [
      { id: 'YQ==', bytes: 7 },
      { id: 'Yg==', bytes: 7 },
    ],
    uncommitted: [],
  });
});

test.each([
  '',
  '<html><body>sign in</body></html>',
  '{"error":"x"}',
  listing('<Blobs><Blob><Name>a</Name><Properties /></Blob>').slice(0, -40),
  listing('<Blobs><Blob><Name>a</Name></Blob></Blobs>'),
  listing('<Blobs><Blob><Properties><Content-Length>many</Content-Length></Properties></Blob></Blobs>'),
  listing(''),
])('%j is no listing', (text) => {
  expect(() => parseBlobPage(text)).toThrow(expect.objectContaining({ code: 'bad-answer' }));
  expect(() => parseBlockPage(text)).toThrow(expect.objectContaining({ code: 'bad-answer' }));
});
