import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { restore } from '../../src/checkpoint/restore.ts';
import { committed, laterClock, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const MANIFEST = 'p/vm-1/job/checkpoints/00000001.json';

/** A target with a folder beside it that nothing may be written to. */
async function battlefield() {
  const folder = await testFolder();
  const target = join(folder.path, 'target');
  const outside = join(folder.path, 'outside');
  await mkdir(target);
  await mkdir(outside);
  await writeFile(join(outside, 'victim'), 'untouched');
  return {
    target,
    outside,
    /** What there is beside the target. */
    async rest() {
      const tree = await readTree(outside);
      return {
        names: (await readdir(folder.path)).toSorted(),
        outside: Object.keys(tree),
        victim: tree['victim'],
      };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function checkpointOf(tree: Parameters<typeof writeTree>[1]) {
  await using from = await testFolder();
  await writeTree(from.path, tree);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  return service;
}

const ROUNDS_MIN = 20;
const LINKS_MIN = 20;

test.each(['a/b', 'a'])(
  'a workload that keeps swapping the folder %s for a link does not lead a restore outside',
  async (swapped) => {
    const service = await checkpointOf({
      ...Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [`a/b/f${i}`, { kind: 'file' as const, content: `${i}` }]),
      ),
      'a/b/link': { kind: 'link', target: 'f1' },
      'a/b/deeper/victim': { kind: 'file', content: 'evil' },
    });
    await using field = await battlefield();
    await mkdir(join(field.target, 'a/b/deeper'), { recursive: true });
    await mkdir(join(field.outside, 'b/deeper'), { recursive: true });
    await mkdir(join(field.outside, 'deeper'), { recursive: true });
    const before = await field.rest();
    const place = join(field.target, swapped);
    const aside = join(field.target, 'aside');
    const over = new AbortController();
    const links = { count: 0 };
    const swapping = keepSwapping({ place, aside, outside: field.outside, links }, over.signal);
    // On a busy machine several restores may fit between two swaps.
    for (let round = 0; round < ROUNDS_MIN || links.count < LINKS_MIN; round++) {
      const outcome = await restoreJob(service.connect(), field.target).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvictdError);
    }
    over.abort();
    await swapping;
    expect(await field.rest()).toEqual(before);
  },
);

type Swapping = {
  readonly place: string;
  readonly aside: string;
  readonly outside: string;
  readonly links: { count: number };
};

/** Until the signal: now the folder is there, now a link; counts how often there was a link. */
async function keepSwapping({ place, aside, outside, links }: Swapping, signal: AbortSignal): Promise<void> {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  while (!signal.aborted) {
    await attempt(() => rename(place, aside));
    if (await attempt(() => symlink(outside, place))) links.count++;
    await turn();
    await attempt(() => rm(place, { recursive: true }));
    await attempt(() => rename(aside, place));
    await turn();
  }
}

/** The restore works there too, so a step may find something else than the one before has left. */
async function attempt(step: () => Promise<void>): Promise<boolean> {
  try {
    await step();
    return true;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return false;
    throw error;
  }
}

test('links in the places of the marks and of a folder are not written through', async () => {
  const service = await checkpointOf({ 'dir/a': { kind: 'file', content: 'a' } });
  await using field = await battlefield();
  const victim = join(field.outside, 'victim');
  for (const name of ['.evictd-restored', '.evictd-restoring'])
    await symlink(victim, join(field.target, name));
  const signal = new AbortController().signal;
  await restore(
    { ...PLACE, target: field.target, mark: { machine: 'm' } },
    { store: service.connect(), clock: laterClock },
    signal,
  );
  expect(await readFile(victim, 'utf8')).toBe('untouched');
  expect(JSON.parse(await readFile(join(field.target, '.evictd-restored'), 'utf8'))).toMatchObject({
    machine: 'm',
  });
  await rm(join(field.target, 'dir'), { recursive: true });
  await symlink(field.outside, join(field.target, 'dir'));
  await expect(restoreJob(service.connect(), field.target)).rejects.toMatchObject({ code: 'unsafe-target' });
  expect(await readlink(join(field.target, 'dir'))).toBe(field.outside);
});

test('a folder in the place of a file is named and left alone', async () => {
  const service = await checkpointOf({ 'dir/a': { kind: 'file', content: 'a' } });
  await using field = await battlefield();
  await mkdir(join(field.target, 'dir/a'), { recursive: true });
  await writeFile(join(field.target, 'dir/a/precious'), 'data');
  await expect(restoreJob(service.connect(), field.target)).rejects.toMatchObject({
    code: 'unsafe-target',
    message: expect.stringContaining('"dir/a"'),
  });
  expect(await readFile(join(field.target, 'dir/a/precious'), 'utf8')).toBe('data');
});

/** Where a change is made: picked by a number from all places that the document has. */
type Place = { readonly parent: Record<string, unknown>; readonly key: string };

function placesOf(value: unknown, places: Place[] = []): Place[] {
  if (typeof value !== 'object' || value === null) return places;
  // Of JSON, so what isn't null is an object or an array, and both have keys.
  const parent = value as Record<string, unknown>;
  for (const key of Object.keys(parent)) {
    places.push({ parent, key });
    placesOf(parent[key], places);
  }
  return places;
}

const hostileText = fc.constantFrom(
  '..',
  '../outside/victim',
  '/etc/passwd',
  'a/../../outside/victim',
  'dir',
  'dir/a',
  'link/x',
  'link',
  '.',
  '',
  'x\0y',
  '\ud800',
  '\udcff',
  'x'.repeat(5000),
  '.evictd-restored',
  'files/../../other',
);
const replacement = fc.oneof(
  hostileText,
  fc.integer(),
  fc.constantFrom(0, -1, 2 ** 31, 2 ** 40, 2 ** 53, 1.5, 1e308, 0o4777),
  fc.constant(null),
  fc.boolean(),
  fc.constant([]),
  fc.constant({}),
);
const mutation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('set'), at: fc.nat(), value: replacement, from: fc.nat() }),
  },
  // Another value of the same type has the right form more often.
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('copy'), at: fc.nat(), value: fc.constant(0), from: fc.nat() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('remove'), at: fc.nat(), value: fc.constant(0), from: fc.nat() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('repeat'), at: fc.nat(), value: fc.constant(0), from: fc.nat() }),
  },
);

function mutate(
  document: unknown,
  { do: what, at, value, from }: { do: string; at: number; value: unknown; from: number },
) {
  const places = placesOf(document);
  const place = places[at % places.length];
  if (place === undefined) return;
  const alike = places.filter(({ parent, key }) => typeof parent[key] === typeof place.parent[place.key]);
  const other = alike[from % alike.length] ?? place;
  if (what === 'set') place.parent[place.key] = value;
  else if (what === 'copy') place.parent[place.key] = structuredClone(other.parent[other.key]);
  else if (what === 'remove') Reflect.deleteProperty(place.parent, place.key);
  else if (Array.isArray(place.parent)) place.parent.push(structuredClone(place.parent[Number(place.key)]));
}

test('whatever is changed in a manifest, a restore stays inside its target and ends in order', async () => {
  const service = await checkpointOf({
    'dir/a': { kind: 'file', content: 'a' },
    'dir/b/big': { kind: 'file', content: pattern(9 * 1024 ** 2) },
    'dir/empty': { kind: 'folder' },
    link: { kind: 'link', target: '../outside' },
  });
  let original = '';
  service.corrupt(MANIFEST, (content) => {
    original = content.toString();
    return content;
  });
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
      const document: unknown = JSON.parse(original);
      for (const one of mutations) mutate(document, one);
      service.corrupt(MANIFEST, () => Buffer.from(JSON.stringify(document)));
      await using field = await battlefield();
      const before = await field.rest();
      const outcome: unknown = await restoreJob(service.connect(), field.target).catch(
        (error: unknown) => error,
      );
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvictdError);
      else accepted++;
      expect(await field.rest()).toEqual(before);
      const names = await readdir(field.target, { recursive: true });
      expect(names.filter((name) => name.includes('.evictd-restore-'))).toEqual([]);
    }),
    { numRuns: 300 },
  );
  // Otherwise only the schema was tested.
  expect(accepted).toBeGreaterThan(10);
}, 120_000);
