import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { StoredChunk } from '../../src/checkpoint/format/chunk.ts';
import type { Entry } from '../../src/checkpoint/format/entry.ts';
import { encodeSetEntry, parseSetEntry } from '../../src/checkpoint/format/manifest-json.ts';
import { pathProblem } from '../../src/base/files/path-name.ts';
import { type TreeEntry, cutLeaves, walkTree } from '../../src/checkpoint/format/tree/tree.ts';
import { type IndexPlace, openLocalIndex } from '../../src/checkpoint/index/local-index.ts';
import { loadConfig } from '../../src/config/load.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import { readCachedInstance } from '../../src/daemon/instance-cache.ts';
import { openOutbox } from '../../src/daemon/outbox.ts';
import { createOutputLines, DEFAULT_OUTPUT_LIMITS } from '../../src/hooks/output.ts';
import { parseDocument } from '../../src/imds/parse.ts';
import { createJournal } from '../../src/journal/journal.ts';
import { parseScenario } from '../../src/mock/scenario.ts';
import { never } from '../support/checkpoints.ts';
import { testFolder } from '../support/file-tree.ts';
import { fuzz, mutated, RUNS } from './fuzz.ts';

vi.setConfig({ testTimeout: 120_000 });

const EVENTS = JSON.stringify({
  DocumentIncarnation: 3,
  Events: [
    {
      EventId: '602d9444-d2cd-49c7-8624-8643e7171297',
      EventStatus: 'Scheduled',
      EventType: 'Preempt',
      ResourceType: 'VirtualMachine',
      Resources: ['fleet_2', 'fleet_3'],
      NotBefore: 'Mon, 19 Sep 2016 18:29:47 GMT',
      Description: '',
      EventSource: 'Platform',
      DurationInSeconds: -1,
    },
  ],
});

test('the events document', async () => {
  const dates = fc.constantFrom(undefined, '', 'Mon, 19 Sep 2016 18:29:47 GMT', 'now', 'x'.repeat(1000));
  await fuzz(
    fc.tuple(mutated(EVENTS), dates),
    ([body, date]) => parseDocument(body, date),
    ({ document, dropped }) => {
      expect(document.events.length).toBeLessThanOrEqual(2000);
      expect(dropped.length).toBeLessThanOrEqual(20);
    },
  );
});

const REF: StoredChunk = {
  id: '0123456789abcdef0123456789abcdef',
  plain: 4096,
  stored: 512,
  pack: '0123456789abcdef-01234567-00000001',
  offset: 0,
};
const NONE = { count: 0, paths: [] };
const MANIFEST = encodeSetEntry({
  kind: 'checkpoint',
  id: '00000007',
  key: 'vm-1',
  set: 'job',
  parent: { id: '00000005', sha256: 'ab'.repeat(32) },
  epoch: '0123456789abcdef',
  process: '01234567',
  writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot' },
  createdAt: '2026-01-01T00:00:00.000Z',
  hash: { name: 'gmac-128', key: 'AAECAwQFBgcICQoLDA0ODw==' },
  cut: { chunkBytes: 2 ** 20, packBytes: 2 ** 23 },
  reason: 'command',
  seq: 1,
  totals: { files: 1, directories: 1, links: 2, bytes: 5000, bytesSent: 5000 },
  changing: NONE,
  lost: { count: 1, paths: ['a/lost'] },
  partial: { older: { count: 1, paths: ['a/b'] }, absent: NONE },
  root: { mode: 0o755, uid: 0, gid: 0 },
  tree: REF,
  packs: { ...REF, offset: 512 },
  metadata: [{ name: REF.pack, bytes: 2000, used: 1024 }],
  listAgeMs: 0,
}).toString();

test('a manifest: what is accepted can be written again', async () => {
  await fuzz(
    mutated(MANIFEST),
    (body) => parseSetEntry(body, 'the manifest', { set: 'job', id: '00000007' }),
    (entry) => {
      const written = encodeSetEntry(entry);
      expect(parseSetEntry(written, 'the manifest', { set: 'job', id: '00000007' })).toEqual(entry);
    },
  );
});

const ATTRIBUTES = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 1n };
const ENTRIES: readonly TreeEntry[] = [
  { type: 'directory', path: 'a', ...ATTRIBUTES },
  { type: 'file', path: 'a/b', ...ATTRIBUTES, size: 5000, chunks: [REF, { plain: 904 }] },
  { type: 'symlink', path: 'link', target: 'anywhere', ...ATTRIBUTES },
  { type: 'hardlink', path: 'other-name', target: 'a/b' },
];

test('a tree: what is accepted names nothing outside of the target', async () => {
  const leaves = [...cutLeaves(ENTRIES)].map(({ bytes }) => Buffer.from(bytes).toString());
  await fuzz(
    mutated(...leaves),
    async (body) => {
      const entries: Entry[] = [];
      const root = { ...REF, plain: body.length };
      for await (const entry of walkTree(root, async () => body, never())) entries.push(entry);
      return entries;
    },
    (entries) => {
      for (const entry of entries) {
        expect(pathProblem(entry.path)).toBeUndefined();
        if (entry.type === 'hardlink') expect(pathProblem(entry.target)).toBeUndefined();
      }
    },
  );
});

test('the journal: never an exception, and what is read can be gone on with', async () => {
  await using folder = await testFolder();
  const options = { dir: folder.path, bootId: 'boot' };
  await createJournal(options).write(INITIAL_STATE);
  const file = join(folder.path, 'journal.json');
  const cases = mutated(await readFile(file, 'utf8'));
  await fuzz(cases, async (body) => {
    await writeFile(file, body);
    const found = await createJournal(options).load();
    expect(found.kind).not.toBe('nothing');
    if (found.kind === 'same-boot') await createJournal(options).write(found.state);
  });
});

test('the local index, the outbox and the cached instance: what is damaged is not used', async () => {
  await using folder = await testFolder();
  const place: IndexPlace = {
    file: join(folder.path, 'index'),
    store: 'container vm-1/sets/job/',
    root: '/set',
    bootId: 'boot',
    hash: 'gmac-128',
    cut: { chunkBytes: 2 ** 20, packBytes: 2 ** 23 },
  };
  const written = await openLocalIndex(place, () => undefined);
  const point = { id: '00000007', sha256: 'ab'.repeat(32) };
  const stat = { size: 5000, mtimeNs: 1n, ctimeNs: 1n, ino: 1n, dev: 1n };
  const chunks = [REF, { plain: 904 }];
  written.set('a/b', { stat, seenAt: 1, readAt: 2, chunks, isVersion: true });
  written.setPart('a/c', stat, 0, chunks);
  written.notePack(REF.pack, 2000);
  await written.noteTry(point);
  await written.rebase(point, new Map([['leaf', REF]]), { file: () => true, pack: () => true });
  await written.save();
  await written.close();
  await fuzz(mutated(await readFile(join(folder.path, 'index'), 'utf8')), async (body) => {
    await writeFile(join(folder.path, 'index'), body);
    await (await openLocalIndex(place, () => undefined)).close();
  });
  const news = { id: 'x', kind: 'notice', at: systemClock.wallMs() };
  const outbox = JSON.stringify({ version: 1, entries: [{ news, done: ['ops'] }] });
  await fuzz(mutated(outbox), async (body) => {
    await writeFile(join(folder.path, 'outbox.json'), body);
    const opened = await openOutbox(folder.path, {
      clock: systemClock,
      tellers: new Map([['ops', async () => undefined]]),
      onTold: () => undefined,
      onFailed: () => undefined,
      onNotKept: () => undefined,
    });
    await opened.stop();
  });
  const instance = {
    name: 'a',
    vmId: '',
    scaleSet: '',
    location: '',
    zone: '',
    tags: {},
    priority: '',
    evictionPolicy: '',
  };
  const cases = await fuzz(mutated(JSON.stringify({ bootId: 'boot', instance })), async (body) => {
    await writeFile(join(folder.path, 'instance.json'), body);
    const found = await readCachedInstance(folder.path, 'boot');
    if (found !== undefined) expect(found.name).not.toBe('');
  });
  expect(cases).toBe(RUNS);
});

const CONFIG = `
imds: { pollInterval: 1s }
hooks:
  - { name: stop, run: [/bin/true, --now], timeout: 8s, on: [Preempt] }
  - { name: tell, http: { url: "https://scheduler.internal/drain" } }
checkpoint:
  store: { url: "https://account.blob.core.windows.net/c", auth: { kind: managed-identity } }
  key: '{vmName}'
  sets:
    - { name: job, path: /var/lib/job, exclude: ['*.tmp'] }
`;
const SCENARIO = `
vm: { name: fleet_2 }
timeline:
  - { at: 5s, event: { type: Preempt, notBefore: 30s } }
  - { at: 6s, fault: { kind: hang, count: 1 } }
`;

test('the configuration, a scenario: problems with their place, also in an anchor bomb', async () => {
  await using folder = await testFolder();
  const file = join(folder.path, 'config.yaml');
  const load = async (body: Buffer) => {
    await writeFile(file, body, { mode: 0o600 });
    return loadConfig({ file, env: {} });
  };
  // A wrong one takes long, as each of its problems is looked up.
  await fuzz(mutated(CONFIG), load, undefined, Math.ceil(RUNS / 3));
  const cases = await fuzz(mutated(SCENARIO), (body) =>
    parseScenario(body.toString('latin1'), 'scenario.yaml'),
  );
  expect(cases).toBe(RUNS);
});

test('hook output: bounded, whatever it is and however it is cut', async () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 20_000 }).map((array) => Buffer.from(array)),
    fc.constantFrom(Buffer.alloc(300_000, 'x'), Buffer.alloc(100_000, '\n'), Buffer.alloc(50_000)),
    mutated('a line\nanother \u001B[31mred\u001B[0m one\r\n\u0000\n'),
  );
  const { linesMax, totalBytesMax } = DEFAULT_OUTPUT_LIMITS;
  await fuzz(fc.array(bytes, { maxLength: 8 }), (chunks) => {
    let lines = 0;
    let characters = 0;
    const output = createOutputLines(DEFAULT_OUTPUT_LIMITS, ({ text }) => {
      lines++;
      characters += text.length;
      expect(text).not.toContain('\n');
    });
    for (const chunk of chunks) output.write('stdout', chunk);
    output.end();
    expect(lines).toBeLessThanOrEqual(linesMax + 1);
    expect(characters).toBeLessThanOrEqual(totalBytesMax + 200);
  });
});
