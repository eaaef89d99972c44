import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { METADATA_PACKS_MAX, type Manifest, type Takeover } from '../../../src/checkpoint/format/manifest.ts';
import {
  encodeSetEntry,
  encodeSetFormat,
  namedPaths,
  parseSetEntry,
  parseSetFormat,
  sha256Of,
} from '../../../src/checkpoint/format/manifest-json.ts';
import { packName } from '../../../src/checkpoint/format/names.ts';
import { anyPath, chunkOf, EPOCH, PROCESS, SPEC } from './tree-rig.ts';

const NAME = 'p/k/sets/data/checkpoints/00000042.json';
const EXPECTED = { set: 'data', id: '00000042' };
const NONE = { count: 0, paths: [] };

const HEAD = {
  id: '00000042',
  key: 'vm-1',
  set: 'data',
  parent: { id: '00000041', sha256: 'ab'.repeat(32) },
  epoch: EPOCH,
  process: PROCESS,
  writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot' },
  createdAt: '2026-01-01T00:00:00.000Z',
};
const TAKEOVER: Takeover = { kind: 'takeover', ...HEAD, adopts: { epoch: 'f'.repeat(16), seq: 7 } };
const MANIFEST: Manifest = {
  kind: 'checkpoint',
  ...HEAD,
  reason: 'notice',
  hash: SPEC,
  cut: { chunkBytes: 1024 ** 2, packBytes: 8 * 1024 ** 2 },
  seq: 12,
  totals: { files: 3, directories: 1, links: 1, bytes: 5000, bytesSent: 100 },
  changing: { count: 1, paths: ['a\udcff'] },
  lost: NONE,
  partial: { older: { count: 1, paths: ['a'] }, absent: NONE },
  root: { mode: 0o755, uid: 0, gid: 0 },
  tree: chunkOf(1, 500, { stored: 200 }),
  packs: null,
  metadata: [{ name: packName(EPOCH, PROCESS, 12), bytes: 1000, used: 900 }],
  listAgeMs: 1500,
};

const isBadManifest = expect.objectContaining({
  code: 'bad-manifest',
  message: expect.stringContaining(NAME),
});

test('a manifest has a member on each line', () => {
  expect(encodeSetEntry(MANIFEST).toString('utf8')).toBe(
    String.raw`{
  "version": 1,
  "kind": "checkpoint",
  "id": "00000042",
  "key": "vm-1",
  "set": "data",
  "parent": {"id":"00000041","sha256":"abababababababababababababababababababababababababababababababab"},
  "epoch": "0123456789abcdef",
  "process": "89abcdef",
  "writer": {"vmName":"vm-1","vmId":"id","bootId":"boot"},
  "createdAt": "2026-01-01T00:00:00.000Z",
  "reason": "notice",
  "hash": {"name":"gmac-128","key":"BwcHBwcHBwcHBwcHBwcHBw=="},
  "cut": {"chunkBytes":1048576,"packBytes":8388608},
  "seq": 12,
  "totals": {"files":3,"directories":1,"links":1,"bytes":5000,"bytesSent":100},
  "changing": {"count":1,"paths":["a\udcff"]},
  "lost": {"count":0,"paths":[]},
  "partial": {"older":{"count":1,"paths":["a"]},"absent":{"count":0,"paths":[]}},
  "root": {"mode":493,"uid":0,"gid":0},
  "tree": {"id":"00000000000000000000000000000001","plain":500,"stored":200,"pack":"0123456789abcdef-89abcdef-00000001","offset":4096},
  "packs": null,
  "metadata": [{"name":"0123456789abcdef-89abcdef-0000000c","bytes":1000,"used":900}],
  "listAgeMs": 1500
}
`,
  );
});

test('a takeover and a format have, too', () => {
  expect(encodeSetEntry(TAKEOVER).toString('utf8')).toMatch(
    /^\{\n {2}"version": 1,\n {2}"kind": "takeover",\n.*\n {2}"adopts": \{"epoch":"f{16}","seq":7\}\n\}\n$/s,
  );
  expect(encodeSetFormat({ hash: SPEC, cut: MANIFEST.cut }).toString('utf8')).toBe(`{
  "version": 1,
  "hash": {"name":"gmac-128","key":"BwcHBwcHBwcHBwcHBwcHBw=="},
  "cut": {"chunkBytes":1048576,"packBytes":8388608}
}
`);
});

test('what was encoded is read back', () => {
  const { partial: _, ...whole } = MANIFEST;
  const first = { ...whole, id: '00000001', parent: null, tree: null, metadata: [] };
  for (const entry of [MANIFEST, TAKEOVER, whole, first, { ...TAKEOVER, adopts: null }]) {
    expect(parseSetEntry(encodeSetEntry(entry), NAME, { ...EXPECTED, id: entry.id })).toEqual(entry);
  }
  const format = { hash: { name: 'sha256-128', key: SPEC.key } as const, cut: MANIFEST.cut };
  expect(parseSetFormat(encodeSetFormat(format), 'format.json')).toEqual(format);
});

test('members that a later version added are left alone', () => {
  const later = JSON.stringify({ version: 1, ...MANIFEST, later: [1], writer: { ...HEAD.writer, later: 1 } });
  expect(parseSetEntry(Buffer.from(later), NAME, EXPECTED)).toEqual(MANIFEST);
});

test('a newer version is told', () => {
  const isNewer = expect.objectContaining({ code: 'manifest-version' });
  expect(() => parseSetEntry(Buffer.from('{"version":2}'), NAME, EXPECTED)).toThrow(isNewer);
  expect(() => parseSetFormat(Buffer.from('{"version":2}'), NAME)).toThrow(isNewer);
});

describe('refused, naming blob and place', () => {
  test.each([
    [{ id: '00000043' }, 'checkpoints/00000043.json'],
    [{ set: 'other' }, 'the set "other"'],
    [{ parent: { id: '00000042', sha256: 'ab'.repeat(32) } }, 'its parent is 00000042'],
    [{ parent: { id: '00000041', sha256: 'AB'.repeat(32) } }, 'parent.sha256'],
    [{ kind: 'other' }, 'kind'],
    [{ version: 0 }, 'version'],
    [{ version: '1' }, 'version'],
    [{ epoch: '../../x' }, 'epoch'],
    [{ hash: { name: 'md5', key: SPEC.key } }, 'hash.name'],
    [{ hash: { name: 'gmac-128', key: 'x' } }, 'hash.key'],
    [{ cut: { chunkBytes: 0, packBytes: 1 } }, 'cut.chunkBytes'],
    [{ cut: { chunkBytes: 1, packBytes: 2 ** 40 } }, 'cut.packBytes'],
    [{ tree: { ...chunkOf(1), stored: 4097 } }, 'tree'],
    [{ tree: { ...chunkOf(1), pack: '../x' } }, 'tree.pack'],
    [{ metadata: [{ name: 'x', bytes: 1, used: 1 }] }, 'metadata.0.name'],
    [{ totals: { ...MANIFEST.totals, bytes: 2 ** 53 } }, 'totals.bytes'],
    [{ createdAt: 'yesterday' }, 'createdAt'],
    [{ root: { mode: 0o10000, uid: 0, gid: 0 } }, 'root.mode'],
    [{ lost: { count: 1, paths: Array.from({ length: 101 }, () => 'a') } }, 'lost.paths'],
  ])('%j', (change, place) => {
    const bytes = Buffer.from(JSON.stringify({ version: 1, ...MANIFEST, ...change }));
    expect(() => parseSetEntry(bytes, NAME, EXPECTED)).toThrow(isBadManifest);
    expect(() => parseSetEntry(bytes, NAME, EXPECTED)).toThrow(place);
  });

  test.each([
    '',
    'null',
    '[]',
    '{}',
    '"x"',
    '{"version":1}',
    '{"__proto__":{"version":1}}',
    '['.repeat(30_000) + ']'.repeat(30_000),
    ' '.repeat(70_000),
  ])('what is none: %#', (text) => {
    expect(() => parseSetEntry(Buffer.from(text), NAME, EXPECTED)).toThrow(isBadManifest);
    expect(() => parseSetFormat(Buffer.from(text), NAME)).toThrow(
      expect.objectContaining({ code: 'bad-format', message: expect.stringContaining(NAME) }),
    );
  });

  test('whatever was changed in it', () => {
    const text = encodeSetEntry(MANIFEST);
    const change = fc.tuple(
      fc.nat(),
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom('set', 'cut', 'double'),
    );
    fc.assert(
      fc.property(change, ([pick, value, how]) => {
        const at = pick % text.length;
        const bytes = Buffer.from(text);
        if (how === 'set') bytes[at] = value;
        const end = bytes.subarray(how === 'double' ? Math.max(0, at - value) : at);
        const changed = how === 'cut' ? bytes.subarray(0, at) : Buffer.concat([bytes.subarray(0, at), end]);
        try {
          expect(parseSetEntry(changed, NAME, EXPECTED)).toMatchObject(EXPECTED);
        } catch (error) {
          if (!(error instanceof EvictdError)) throw error;
          expect(['bad-manifest', 'manifest-version']).toContain(error.code);
          expect(error.message).toContain(NAME);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a manifest that can not be read back is not made', () => {
  test.each([
    { writer: { vmName: 'x'.repeat(300), vmId: '', bootId: '' } },
    { seq: 0.5 },
    {
      metadata: Array.from({ length: METADATA_PACKS_MAX + 1 }, (_, seq) => ({
        name: packName(EPOCH, PROCESS, seq),
        bytes: 1,
        used: 1,
      })),
    },
  ])('%#', (change) => {
    expect(() => encodeSetEntry({ ...MANIFEST, ...change })).toThrow(
      expect.objectContaining({ code: 'bad-manifest' }),
    );
  });

  test('nor is one of more than 64 KiB', () => {
    const lost = { count: 100, paths: Array.from({ length: 100 }, () => 'x'.repeat(1000)) };
    expect(() => encodeSetEntry({ ...MANIFEST, lost })).toThrow(
      expect.objectContaining({ code: 'manifest-too-large' }),
    );
  });
});

describe('named paths', () => {
  test('are the first hundred, and count all', () => {
    const paths = Array.from({ length: 250 }, (_, index) => `file-${index}`);
    expect(namedPaths(paths)).toEqual({ count: 250, paths: paths.slice(0, 100) });
    expect(namedPaths([])).toEqual(NONE);
  });

  test('leave room in the manifest, however long they are, and however many packs there are', () => {
    const long = fc.array(fc.oneof(anyPath, fc.constantFrom('\u0001'.repeat(4095), '日'.repeat(1365))), {
      minLength: 1,
      maxLength: 300,
    });
    const metadata = Array.from({ length: METADATA_PACKS_MAX }, (_, seq) => ({
      name: packName(EPOCH, PROCESS, seq),
      bytes: 2 ** 27,
      used: 2 ** 27,
    }));
    fc.assert(
      fc.property(long, (paths) => {
        const named = namedPaths(paths);
        const full = {
          ...MANIFEST,
          metadata,
          changing: named,
          lost: named,
          partial: { older: named, absent: named },
        };
        expect(encodeSetEntry(full).length).toBeLessThanOrEqual(64 * 1024);
      }),
      { numRuns: 50 },
    );
  });
});

test('a sha256 is in hex', () => {
  expect(sha256Of(Buffer.from('abc'))).toBe(createHash('sha256').update('abc').digest('hex'));
});
