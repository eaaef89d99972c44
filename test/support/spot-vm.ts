import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { z } from 'zod';

import { type Clock, systemClock } from '../../src/base/clock.ts';
import { restoreSet } from '../../src/checkpoint/restore/restore-set.ts';
import { createLocalWorkers } from './local-workers.ts';
import type { Config } from '../../src/config/schema.ts';
import type { ScenarioInput } from '../../src/mock/schema.ts';
import type { MockImds } from '../../src/mock/server.ts';
import { type EvictdProcess, runEvictd, startEvictd } from './evictd-process.ts';
import { readTree } from './file-tree.ts';
import { startTestImds } from './mock-imds.ts';
import { openTestStore } from './test-store.ts';

type ConfigFile = z.input<typeof Config>;
type CheckpointConfig = NonNullable<ConfigFile['checkpoint']>;

const FIXTURES = fileURLToPath(new URL('../fixtures/hooks/', import.meta.url));

export interface SpotVmOptions {
  /** `checkpoint.store`; none: a VM with hooks only. */
  readonly store?: CheckpointConfig['store'];
  /** PEM to trust for it. */
  readonly ca?: string | undefined;
  readonly key?: string;
  readonly hooks?: readonly HookScript[];
  /** Over the rest of the config. */
  readonly config?: Partial<ConfigFile>;
  /** Over the rest of its `checkpoint`. */
  readonly checkpoint?: Partial<CheckpointConfig>;
  /** Over the rest of the set `job`. */
  readonly set?: Partial<NonNullable<CheckpointConfig['sets']>[number]>;
  readonly scenario?: ScenarioInput;
  /** The metadata service's. */
  readonly clock?: Clock;
  /** Of every evictd. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface HookScript extends Partial<NonNullable<ConfigFile['hooks']>[number]> {
  readonly name: string;
  /** Shell lines that follow the one which notes the start. */
  readonly script?: string;
  /** Instead: one of test/fixtures/hooks, copied. */
  readonly fixture?: string;
  /** Of the copied or written file. */
  readonly mode?: number;
}

/** A VM under a mock metadata service, with folders of its own, on which evictd runs as a real process. */
export interface SpotVm extends AsyncDisposable {
  readonly imds: MockImds;
  readonly folder: string;
  readonly configFile: string;
  /** The folder of the set `job`. */
  readonly job: string;
  readonly key: string;
  /** Starts the daemon and waits until it knows its name and has opened the store; each time on the same state. */
  daemon(): Promise<EvictdProcess>;
  /** Starts the daemon and waits for nothing. */
  start(): Promise<EvictdProcess>;
  /** A command on the same config. */
  command(...args: string[]): ReturnType<typeof runEvictd>;
  /** Announces a Preempt of this VM; answers its id. */
  preempt(notice?: string): string;
  /** `NAME ATTEMPT` for each hook that was started, in order. */
  hookStarts(): Promise<string[]>;
  /** What a checkpoint (default: the newest) restores to. */
  restored(at?: string): Promise<Record<string, string>>;
}

export async function createSpotVm(options: SpotVmOptions = {}): Promise<SpotVm> {
  const { store, env = {}, hooks = [] } = options;
  const folder = await mkdtemp(join(tmpdir(), 'evictd-vm-'));
  const job = join(folder, 'job');
  await mkdir(job);
  // Acknowledged events start at once and last, so that what is acknowledged stays to be seen.
  const service = { startAfterAck: '0s', startedFor: '10m' };
  const imds = await startTestImds({ service, ...options.scenario }, options.clock);
  const key = options.key ?? imds.vmName;
  const config: ConfigFile = {
    hooks: await writeHooks(folder, hooks),
    hooksDir: join(folder, 'hooks.d'),
    imds: { endpoint: imds.url, pollInterval: '250ms' },
    ...(store !== undefined && {
      checkpoint: {
        store,
        key,
        sets: [{ name: 'job', path: job, ...options.set }],
        background: false,
        ...options.checkpoint,
      },
    }),
    state: { dir: join(folder, 'state') },
    control: { socket: join(folder, 'evictd.sock') },
    ...options.config,
  };
  const file = join(folder, 'config.yaml');
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  const started: EvictdProcess[] = [];
  const start = async () => {
    const daemon = startEvictd(['run', '--config', file], { env });
    started.push(daemon);
    return daemon;
  };
  let restores = 0;
  return {
    imds,
    folder,
    configFile: file,
    job,
    key,
    start,
    async daemon() {
      const daemon = await start();
      await daemon.line('evictd started');
      // After a restart the name is known from the journal.
      if (store !== undefined) await daemon.line('checkpoint store is ready');
      return daemon;
    },
    command: (...args) => runEvictd([...args, '--config', file], { env }),
    preempt: (notice = '30s') => imds.addEvent({ notBefore: notice }).id,
    hookStarts: async () => (await readFile(join(folder, 'hooks.log'), 'utf8')).split('\n').slice(0, -1),
    async restored(at) {
      const target = join(folder, `restored-${++restores}`);
      await restoreJob(options, { key, target, ...(at !== undefined && { at }) });
      return readTree(target);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(started.map((daemon) => daemon.kill()));
      await imds.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function writeHooks(folder: string, hooks: readonly HookScript[]) {
  await writeFile(join(folder, 'hooks.log'), '');
  return Promise.all(
    hooks.map(async ({ script = '', fixture, mode = 0o755, ...hook }) => {
      const program = join(folder, hook.name);
      const note = `echo "${hook.name} $EVICTD_ATTEMPT" >> ${join(folder, 'hooks.log')}`;
      if (fixture === undefined) await writeFile(program, `#!/bin/sh\n${note}\n${script}\n`);
      else await copyFile(join(FIXTURES, fixture), program);
      // Whatever the umask is.
      await chmod(program, mode);
      return { run: [program], ...hook };
    }),
  );
}

/** In this process, as it is quicker; that `evictd restore` does the same is tested elsewhere. */
async function restoreJob(
  { store, ca }: SpotVmOptions,
  { key, ...options }: { readonly key: string; readonly target: string; readonly at?: string },
): Promise<void> {
  if (store === undefined) throw new Error('this VM has no store');
  await using azure = await openTestStore(store.url, ca);
  const place = { prefix: azure.target.prefix, key, set: 'job' };
  const workers = createLocalWorkers({ store: azure, clock: systemClock });
  await restoreSet(
    { place, ...options },
    { store: azure, workers, clock: systemClock },
    AbortSignal.timeout(20_000),
  );
}

/** Waits for a condition that nothing announces. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const endsAt = performance.now() + 25_000;
  while (!condition()) {
    if (performance.now() > endsAt) throw new Error(`no ${what} within 25 s`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
