import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { openFileIndex } from '../../src/checkpoint/file-index.ts';
import { parseManifest } from '../../src/checkpoint/manifest.ts';
import { pathProblem } from '../../src/checkpoint/path-name.ts';
import { loadConfig } from '../../src/config/load.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import { readCachedInstance } from '../../src/daemon/instance-cache.ts';
import { openOutbox } from '../../src/daemon/outbox.ts';
import { createOutputLines, DEFAULT_OUTPUT_LIMITS } from '../../src/hooks/output.ts';
import { parseDocument } from '../../src/imds/parse.ts';
import { createJournal } from '../../src/journal/journal.ts';
import { parseScenario } from '../../src/mock/scenario.ts';
import { never } from '../support/old-checkpoints.ts';
import { testFolder } from '../support/file-tree.ts';
import { manifestFile } from '../support/manifest-file.ts';
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

const HEAD = {
  version: 1,
  id: '00000007',
  key: 'vm-1',
  set: 'job',
  createdAt: '2026-01-01T00:00:00.000Z',
  reason: 'command',
  writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot', process: 'p' },
  totals: { files: 1, bytes: 1, bytesSent: 0 },
  filesChanging: 0,
  root: { mode: 0o755, uid: 0, gid: 0 },
};
const ENTRIES = {
  files: [manifestFile('a/b')],
  directories: [{ path: 'a', mode: 0o755, mtimeNs: '1', uid: 0, gid: 0 }],
  symlinks: [{ path: 'link', target: 'anywhere', uid: 0, gid: 0 }],
  hardLinks: [{ path: 'other-name', target: 'a/b' }],
};
const MANIFEST = JSON.stringify({ ...HEAD, ...ENTRIES });

test('a manifest: what is accepted names nothing outside of the target', async () => {
  await fuzz(
    mutated(MANIFEST, inLines()),
    (body) => parseManifest(body, 'the manifest', { set: 'job', id: '00000007' }, never()),
    (manifest) => {
      for (const list of ['files', 'directories', 'symlinks', 'hardLinks'] as const) {
        for (const { path } of manifest[list]) expect(pathProblem(path)).toBeUndefined();
      }
      for (const { target } of manifest.hardLinks) expect(pathProblem(target)).toBeUndefined();
    },
  );
});

/** As evictd writes it. */
function inLines(): string {
  const lists = Object.entries(ENTRIES).map(
    ([name, entries]) => `"${name}":[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]`,
  );
  return `${JSON.stringify(HEAD).slice(0, -1)},${lists.join(',')}}\n`;
}

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

test('the file index, the outbox and the cached instance: what is damaged is not used', async () => {
  await using folder = await testFolder();
  const index = join(folder.path, 'index');
  const written = await openFileIndex({ file: index, root: '/set', bootId: 'boot' }, () => undefined);
  const stat = { size: 5, mtimeNs: 1n, ctimeNs: 1n, ino: 1n, dev: 1n };
  written.set('a', { stat, readAtMs: 1, blockSize: 4096, blocks: [`${'A'.repeat(22)}==`] });
  await written.save();
  await fuzz(mutated(await readFile(index, 'utf8')), async (body) => {
    await writeFile(index, body);
    await openFileIndex({ file: index, root: '/set', bootId: 'boot' }, () => undefined);
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
