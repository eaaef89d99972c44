import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { listProcesses } from '../../src/hooks/process-group.ts';
import { type Azurite, startAzurite } from '../support/azurite.ts';
import { type BlobProxy, type ProxiedRequest, operations } from '../support/blob-proxy.ts';
import { type EvictdProcess, PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { until } from '../support/spot-vm.ts';
import { type CrashRig, NOTICE, PACKS, createRig } from './crash-rig.ts';

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});

const isPack = (request: ProxiedRequest) => operations.put(request) && request.path.includes('/packs/');
const isOfModel = (request: ProxiedRequest) => isPack(request) && request.bytes > 4 * 1024 ** 2;
const isOfSmall = (request: ProxiedRequest) => isPack(request) && !isOfModel(request);
const isEntry = (request: ProxiedRequest) =>
  operations.put(request) && /\/checkpoints\/\d+\.json$/.test(request.path);
const isReport = (request: ProxiedRequest) => operations.put(request) && request.path.includes('/reports/');

/** Names of the model's packs that the target has got since the proxy's last reset. */
function packsThatArrived(proxy: BlobProxy): string[] {
  return proxy.requests.filter((one) => isOfModel(one) && one.status === 201).map(({ path }) => path);
}

/** Whether the daemon has kept in mind that it has sent these, and what of the model is in them. */
async function areKnown(vm: CrashRig['vm'], packs: readonly string[]): Promise<boolean> {
  const lines = (await readFile(join(vm.folder, 'state/job.index.jsonl'), 'utf8')).split('\n');
  const ofModel = lines.filter((line) => line.includes('model.bin'));
  return packs.every((path) => ofModel.some((line) => line.includes(basename(path))));
}

/** Starts the daemon again and waits until it has ended the drain; checks what has to hold whenever it was killed. */
async function expectToFinish({ vm, after }: CrashRig, eventId: string): Promise<EvictdProcess> {
  const daemon = await vm.daemon();
  await vm.imds.waitForAck(eventId, AbortSignal.timeout(25_000));
  await daemon.line('drain-ended', { outcome: 'success' });
  await daemon.stop();
  expect(await vm.restored()).toEqual(after);
  expect(vm.imds.acks()).toMatchObject([{ eventId, known: true }]);
  return daemon;
}

/** A zombie is dead: in a container nobody may reap it. */
function isAlive(pid: number): boolean {
  return listProcesses().some((entry) => entry.pid === pid);
}

interface Instant {
  readonly when: string;
  readonly match: (request: ProxiedRequest) => boolean;
  /** `hang`: the store has not heard of the request; `hang-answer`: it has done it, but the daemon doesn't know. */
  readonly fault: 'hang' | 'hang-answer';
  /** Of so many matching requests the last one and those after it are hit. */
  readonly nth?: number;
  /** Packs of the model that the restarted daemon sends. */
  readonly packsLeft: number;
  /** Is the new checkpoint complete already? */
  readonly complete?: true;
  /** It has to take the set over: nothing is known of earlier lives. */
  readonly forgot?: true;
}

const INSTANTS: readonly Instant[] = [
  { when: 'before the takeover', match: isEntry, fault: 'hang', packsLeft: PACKS, forgot: true },
  {
    when: 'when the takeover is written and its answer not seen',
    match: isEntry,
    fault: 'hang-answer',
    packsLeft: PACKS,
    forgot: true,
  },
  { when: 'before the first pack is sent', match: isOfModel, fault: 'hang', packsLeft: PACKS },
  { when: 'in the middle of sending', match: isOfModel, fault: 'hang', nth: 2, packsLeft: PACKS - 1 },
  { when: 'when all large files are sent', match: isOfSmall, fault: 'hang', packsLeft: 0 },
  {
    when: 'when all is sent and answers not seen',
    match: isOfSmall,
    fault: 'hang-answer',
    packsLeft: 0,
  },
  { when: 'before the manifest', match: isEntry, fault: 'hang', packsLeft: 0 },
  {
    when: 'when the manifest is written and its answer not seen',
    match: isEntry,
    fault: 'hang-answer',
    packsLeft: 0,
    complete: true,
  },
  {
    when: 'between the manifest and the acknowledgement',
    match: isReport,
    fault: 'hang',
    packsLeft: 0,
    complete: true,
  },
];

describe('killed with -9', () => {
  test.for(INSTANTS)('$when: nothing is lost, sent twice or run twice', async (instant) => {
    await using rig = await createRig(azurite);
    const { vm, proxy } = rig;
    if (instant.forgot === true) await rm(join(vm.folder, 'state/job.index.jsonl'));
    let seen = 0;
    const isHit = (request: ProxiedRequest) => instant.match(request) && ++seen >= (instant.nth ?? 1);
    proxy.fail({ fault: { kind: instant.fault }, match: isHit, times: Infinity });
    const daemon = await vm.daemon();
    const eventId = vm.preempt(NOTICE);
    await daemon.line('hook-ended', { hook: 'early', result: 'succeeded' });
    await proxy.arrived(instant.match, instant.nth);
    // Those before it have had their answers.
    const isSent = () => packsThatArrived(proxy).length >= PACKS - instant.packsLeft;
    await until('answers to packs', isSent);
    await expect.poll(() => areKnown(vm, packsThatArrived(proxy)), { timeout: 20_000 }).toBe(true);
    await daemon.kill();
    proxy.dropClients();

    expect(packsThatArrived(proxy)).toHaveLength(PACKS - instant.packsLeft);
    proxy.reset();
    expect(await vm.restored()).toEqual(instant.complete === true ? rig.after : rig.before);
    if (instant.complete === true) expect(await vm.restored('00000002')).toEqual(rig.before);
    expect(vm.imds.acks()).toEqual([]);

    proxy.reset();
    await expectToFinish(rig, eventId);
    expect(packsThatArrived(proxy)).toHaveLength(instant.packsLeft);
    expect(await vm.hookStarts()).toEqual(['early 1', 'late 1']);
  });
});

describe('killed with -9 in other moments', () => {
  test('while a hook runs: its rest is ended, it runs again as attempt 2, ended ones do not', async () => {
    // The first attempt would never end, and outlives the daemon.
    const script = 'echo "process $$"; [ "$EVICTD_ATTEMPT" = 1 ] && exec sleep 600; true';
    await using rig = await createRig(azurite, {
      hooks: [
        { name: 'early', order: 10, script: '' },
        { name: 'slow', order: 20, script },
        { name: 'late', stage: 'after-checkpoint', script: '' },
      ],
    });
    const { vm } = rig;
    const daemon = await vm.daemon();
    const eventId = vm.preempt(NOTICE);
    const { text } = await daemon.line('hook output', { hook: 'slow' });
    await daemon.kill();
    const first = Number(String(text).replace('process ', ''));
    expect(isAlive(first)).toBe(true);
    expect(await vm.restored()).toEqual(rig.before);
    await expectToFinish(rig, eventId);
    expect(isAlive(first)).toBe(false);
    expect(await vm.hookStarts()).toEqual(['early 1', 'slow 1', 'slow 2', 'late 1']);
  });

  test('when the acknowledgement is accepted and its answer not seen: no second one is sent', async () => {
    await using rig = await createRig(azurite);
    const { vm } = rig;
    const daemon = await vm.daemon();
    // Called by the mock before it answers.
    using _ = vm.imds.subscribe((activity) => {
      if (activity.kind === 'ack') void daemon.kill();
    });
    const eventId = vm.preempt(NOTICE);
    await daemon.ended;
    await vm.imds.waitFor(() => vm.imds.state().events[0]?.status === 'Started', AbortSignal.timeout(25_000));
    expect(await vm.restored()).toEqual(rig.after);
    await expectToFinish(rig, eventId);
    expect(vm.imds.requests().filter(({ method }) => method === 'POST')).toHaveLength(1);
    expect(await vm.hookStarts()).toEqual(['early 1', 'late 1']);
  });

  test('when the acknowledgement never arrived: it is sent by the restarted daemon', async () => {
    await using rig = await createRig(azurite);
    const { vm } = rig;
    const daemon = await vm.daemon();
    vm.imds.fault({ kind: 'hang', on: 'ack', count: 1 });
    const eventId = vm.preempt(NOTICE);
    const isPost = () => vm.imds.requests().some(({ method }) => method === 'POST');
    await vm.imds.waitFor(isPost, AbortSignal.timeout(25_000));
    await daemon.kill();
    expect(vm.imds.acks()).toEqual([]);
    await expectToFinish(rig, eventId);
    expect(await vm.hookStarts()).toEqual(['early 1', 'late 1']);
  });

  test('again and again: the drain still ends once', async () => {
    await using rig = await createRig(azurite);
    const { vm, proxy } = rig;
    const eventId = vm.preempt(NOTICE);
    for (const match of [isOfModel, isOfSmall, isEntry]) {
      proxy.reset();
      proxy.fail({ fault: { kind: 'hang' }, match, times: Infinity });
      const daemon = await vm.start();
      await proxy.arrived(match);
      await daemon.kill();
    }
    proxy.reset();
    await expectToFinish(rig, eventId);
    expect((await vm.hookStarts()).filter((start) => start.startsWith('late'))).toEqual(['late 1']);
  });
});
