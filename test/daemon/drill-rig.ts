import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { systemClock } from '../../src/base/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Effect } from '../../src/core/effect.ts';
import { runDrill } from '../../src/daemon/drill.ts';
import type { DrillResult } from '../../src/daemon/drill-result.ts';
import { tailing } from '../../src/daemon/log-tail.ts';
import { createLog } from '../../src/observe/log.ts';
import { createMachine, type Machine } from '../support/daemon.ts';
import { openTestStore } from '../support/test-store.ts';

/** A pretended VM with a set `job` whose files the test writes. */
export interface DrillRig extends AsyncDisposable {
  readonly machine: Machine;
  /** The folder of the set. */
  readonly job: string;
  readonly config: string;
  write(name: string, content: string | Buffer): Promise<void>;
  drill(options?: DrillAsk): Promise<DrillResult>;
  /** Names of all blobs of the container. */
  blobs(): Promise<string[]>;
}

export interface DrillAsk {
  readonly noticeMs?: number;
  readonly signal?: AbortSignal;
  readonly onNote?: (note: Extract<Effect, { kind: 'note' }>) => void;
  readonly onProgress?: (text: string) => void;
}

export async function createDrillRig(
  places: { readonly imds: string; readonly storeUrl: string },
  more: { readonly set?: string; readonly config?: string } = {},
): Promise<DrillRig> {
  const machine = await createMachine();
  const job = join(machine.folder, 'job');
  await mkdir(job);
  const config = `${more.config ?? ''}
checkpoint:
  store: { url: "${places.storeUrl}/pre", auth: { kind: azurite } }
  key: line
  sets: [{ name: job, path: ${job}${more.set ?? ''} }]
  background: false
`;
  await machine.configure({ imds: places.imds, config });
  return {
    machine,
    job,
    config,
    write: (name, content) => writeFile(join(job, name), content),
    async drill({ noticeMs, signal = new AbortController().signal, onNote, onProgress } = {}) {
      const tail = tailing({ write: (_line, done) => done(true) });
      const log = createLog({ level: 'info', journald: false, destination: tail }, { clock: systemClock });
      return runDrill(
        {
          config: (await loadConfig({ file: machine.configFile, env: {} })).config,
          env: { PATH: process.env['PATH'] },
          noticeMs,
        },
        {
          clock: systemClock,
          log,
          logLines: () => tail.lines(),
          onNote: onNote ?? (() => undefined),
          onProgress: onProgress ?? (() => undefined),
        },
        signal,
      );
    },
    async blobs() {
      await using store = await openTestStore(places.storeUrl);
      return await store.names();
    },
    [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose](),
  };
}
