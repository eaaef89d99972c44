/**
 * The checkpoint engine in a process of its own, as the daemon holds it: long-lived, with a timer beside it.
 * Started by `startEngine` (engine-process.ts), which sends it commands over the channel of `fork`.
 */
import { readFile } from 'node:fs/promises';

import { systemClock } from '../../src/base/clock.ts';
import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { createCheckpointer } from '../../src/checkpoint/checkpointer.ts';
import type { EngineAnswer, EngineCommand, EngineSetup } from './engine-process.ts';

const TICK_MS = 20;
const SET = 'job';

async function main(setup: EngineSetup): Promise<void> {
  const store = await createAzureBlobStore({
    url: setup.url,
    auth: { kind: 'sas', file: setup.signatureFile },
    ca: await readFile(setup.caFile, 'utf8'),
  });
  const place = { prefix: '', key: setup.key };
  const checkpointer = createCheckpointer(
    {
      ...place,
      sets: [{ name: SET, path: setup.folder, include: ['**'], exclude: [], priority: 50 }],
      writer: { vmName: 'bench', vmId: 'bench', bootId: 'bench' },
      ...(setup.indexDirectory !== undefined && { indexDirectory: setup.indexDirectory }),
    },
    { store, clock: systemClock },
  );
  const { signal } = new AbortController();
  const late = startTicks();

  async function perform(command: EngineCommand): Promise<void> {
    switch (command.kind) {
      case 'stage':
        return checkpointer.stage(SET, signal);
      case 'commit': {
        const result = await checkpointer.commit({ set: SET, reason: 'notice' }, signal);
        if (result.kind === 'failed') throw new Error(`${result.code}: ${result.detail}`);
        return undefined;
      }
      case 'restore': {
        // Where nothing is restored, none of it is in memory.
        const { restore } = await import('../../src/checkpoint/restore.ts');
        await restore({ ...place, set: SET, target: command.target }, { store, clock: systemClock }, signal);
        return undefined;
      }
      case 'warm':
        return store.keepWarm(signal);
    }
  }

  process.on('message', (message) => {
    // Sent by startEngine only.
    const command = message as EngineCommand;
    void measure(
      () => perform(command),
      late,
      () => checkpointer.activity().get(SET),
    ).then((answer) => process.send?.(answer));
  });
  process.on('disconnect', () => void checkpointer.close().then(() => process.exit()));
  process.send?.('ready');
}

async function measure(
  work: () => Promise<void>,
  late: number[],
  activity: () => { readonly bytesSent: number; readonly bytesRead: number } | undefined,
): Promise<EngineAnswer> {
  const before = { ...activity() };
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  late.length = 0;
  let error: string | undefined;
  try {
    await work();
  } catch (thrown) {
    error = String(thrown);
  }
  const ms = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpu);
  const after = activity();
  const status = await readFile('/proc/self/status', 'utf8');
  return {
    ...(error !== undefined && { error }),
    ms,
    cpuMs: (user + system) / 1000,
    rssPeakBytes: Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024,
    bytesSent: (after?.bytesSent ?? 0) - (before.bytesSent ?? 0),
    bytesRead: (after?.bytesRead ?? 0) - (before.bytesRead ?? 0),
    lateMs: [...late],
  };
}

/** How late a timer comes that is due every 20 ms: what a poll would have to wait. */
function startTicks(): number[] {
  const late: number[] = [];
  let due = performance.now() + TICK_MS;
  const tick = () => {
    const now = performance.now();
    late.push(Math.max(0, now - due));
    due = now + TICK_MS;
    setTimeout(tick, TICK_MS);
  };
  setTimeout(tick, TICK_MS);
  return late;
}

const [setup] = process.argv.slice(2);
// Written by startEngine.
await main(JSON.parse(setup ?? '') as EngineSetup);
