import assert from 'node:assert/strict';
import { join } from 'node:path';

import { errnoOf } from '../../src/base/errors.ts';
import { INITIAL_STATE, type State } from '../../src/core/state.ts';
import type { Journal } from '../../src/journal/journal.ts';

/** Where a journal lies, with the program's own ways to it. */
export interface JournalDisk {
  /** An empty one, new each time. */
  readonly folder: () => Promise<string>;
  /** As a process that has just started. */
  readonly open: (dir: string, bootId?: string) => Journal;
  readonly read: (path: string) => Promise<string>;
  readonly write: (path: string, content: string | Buffer) => Promise<void>;
  readonly names: (dir: string) => Promise<string[]>;
  readonly link: (target: string, path: string) => Promise<void>;
  /** Undefined where the disk does only what it should. */
  readonly fragile?: FragileDisk;
}

export interface FragileDisk {
  /** Runs `act`, whose n-th change of the disk fails; answers what it rejects with. */
  readonly failAt: (n: number, code: string, act: () => Promise<void>) => Promise<unknown>;
  /** Runs `act` in a process that dies right before or after a change, and cuts the power; false when it lives on. */
  readonly dieAt: (n: number, act: () => Promise<void>) => Promise<boolean>;
}

export interface JournalRule {
  readonly title: string;
  readonly run: () => Promise<void>;
}

export const BOOT = 'this-boot';
const FILE = 'journal.json';
const STEPS_MAX = 40;

export function stateOf(vmName: string): State {
  return { ...INITIAL_STATE, vmName };
}

/** What the journal does on every disk. With node:assert, since they also run in a process of their own. */
export function journalRules(disk: JournalDisk): readonly JournalRule[] {
  const rules: JournalRule[] = [];
  const rule = (title: string, run: () => Promise<void>) => void rules.push({ title, run });
  /** A folder whose journal holds `old`. */
  const written = async () => {
    const dir = await disk.folder();
    await disk.open(dir).write(stateOf('old'));
    const file = join(dir, FILE);
    return { dir, file, text: await disk.read(file) };
  };
  const vmName = async (dir: string) => {
    const found = await disk.open(dir).load();
    return found.kind === 'same-boot' ? found.state.vmName : found.kind;
  };

  rule('holds nothing at first, and makes its folder', async () => {
    const dir = join(await disk.folder(), 'var', 'lib');
    assert.deepEqual(await disk.open(dir).load(), { kind: 'nothing' });
    await disk.open(dir).checkFolder();
    assert.deepEqual(await disk.open(dir).load(), { kind: 'nothing' });
    assert.deepEqual(await disk.names(dir), []);
  });

  rule('gives back the newest state, and tells another boot', async () => {
    const { dir } = await written();
    await disk.open(dir).write(stateOf('new'));
    assert.equal(await vmName(dir), 'new');
    const found = await disk.open(dir, 'next-boot').load();
    assert.ok(found.kind === 'earlier-boot' && found.state.vmName === 'new');
    assert.deepEqual(await disk.names(dir), [FILE]);
  });

  rule('keeps the newest of writes that overlap, whole', async () => {
    const { dir } = await written();
    const journal = disk.open(dir);
    await Promise.all(Array.from({ length: 50 }, async (_, n) => journal.write(stateOf(`vm${n}`))));
    assert.equal(await vmName(dir), 'vm49');
    assert.deepEqual(await disk.names(dir), [FILE]);
  });

  rule('cut off anywhere it is set aside, and the next write is good', async () => {
    const { dir, file, text } = await written();
    const step = Math.ceil(text.length / 25);
    for (let length = 0; length < text.length - 1; length += step) {
      const torn = text.slice(0, length);
      await disk.write(file, torn);
      const found = await disk.open(dir).load();
      assert.equal(found.kind, 'unreadable');
      assert.equal(await disk.read(`${file}.unreadable`), torn);
      await disk.open(dir).write(stateOf('new'));
      assert.equal(await vmName(dir), 'new');
    }
  });

  const damaged: readonly (readonly [string, (text: string) => string | Buffer])[] = [
    ['binary', () => Buffer.from([0, 255, 1, 254, 0, 0, 128, 10])],
    ['of a newer version', (text) => text.replace('"version":1', '"version":2')],
    ['of another shape', () => '[1,2]'],
    ['larger than any journal', () => Buffer.alloc(16 * 1024 ** 2 + 1, ' ')],
  ];
  for (const [what, damage] of damaged) {
    rule(`${what}, it is set aside and said`, async () => {
      const { dir, file, text } = await written();
      await disk.write(file, damage(text));
      const problem = await disk.open(dir).problem();
      const found = await disk.open(dir).load();
      assert.ok(found.kind === 'unreadable' && found.reason === problem && problem.length < 1000);
      assert.deepEqual(await disk.names(dir), [`${FILE}.unreadable`]);
      assert.equal(await vmName(dir), 'nothing');
    });
  }

  rule('what a crash left beside it does not disturb', async () => {
    const { dir, file, text } = await written();
    await disk.write(`${file}.new`, text.slice(0, 100));
    assert.equal(await vmName(dir), 'old');
    await disk.open(dir).write(stateOf('new'));
    assert.equal(await vmName(dir), 'new');
    assert.deepEqual(await disk.names(dir), [FILE]);
  });

  rule(
    'a link in its place, or in that of the temporary file, is replaced and never written through',
    async () => {
      for (const suffix of ['', '.new']) {
        const { dir, file } = await written();
        const precious = join(await disk.folder(), 'precious');
        await disk.write(precious, 'of somebody else');
        await disk.write(file, '');
        await disk.open(dir).load();
        await disk.link(precious, file + suffix);
        await disk.open(dir).write(stateOf('new'));
        assert.equal(await disk.read(precious), 'of somebody else');
        assert.equal(await vmName(dir), 'new');
      }
    },
  );

  const { fragile } = disk;
  if (fragile === undefined) return rules;

  for (const code of ['ENOSPC', 'EIO', 'EROFS']) {
    rule(
      `when any step fails with ${code}, it is rejected, the old or the new state is there, and the next write is good`,
      async () => {
        const { dir } = await written();
        let steps = 0;
        for (let hasFailed = true; hasFailed && steps < STEPS_MAX; steps++) {
          await disk.open(dir).write(stateOf('old'));
          const journal = disk.open(dir);
          const error: unknown = await fragile.failAt(steps, code, async () => journal.write(stateOf('new')));
          hasFailed = error !== undefined;
          if (hasFailed) assert.equal(errnoOf(error), code);
          const found = await vmName(dir);
          assert.ok(found === 'old' || found === 'new', `step ${steps}: ${found}`);
          await journal.write(stateOf('newer'));
          assert.equal(await vmName(dir), 'newer');
          assert.deepEqual(await disk.names(dir), [FILE]);
        }
        assert.ok(steps > 5 && steps < STEPS_MAX, `${steps} steps`);
      },
    );
  }

  rule(
    'when the process dies at any step and the power goes, the old or the new state is there',
    async () => {
      const seen = new Set<string | undefined>();
      let steps = 0;
      for (let hasDied = true; hasDied && steps < STEPS_MAX; steps++) {
        const { dir } = await written();
        hasDied = await fragile.dieAt(steps, async () => disk.open(dir).write(stateOf('new')));
        const found = await vmName(dir);
        assert.ok(found === 'old' || found === 'new', `step ${steps}: ${found}`);
        if (!hasDied) assert.equal(found, 'new');
        seen.add(found);
        await disk.open(dir).write(stateOf('newer'));
        assert.equal(await vmName(dir), 'newer');
      }
      assert.deepEqual(seen, new Set(['old', 'new']));
      assert.ok(steps < STEPS_MAX);
    },
  );
  return rules;
}
