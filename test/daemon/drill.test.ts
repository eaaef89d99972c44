import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { parseReport } from '../../src/observe/drain-report.ts';
import { startAzurite, type Azurite } from '../support/azurite.ts';
import { createBlobProxy } from '../support/blob-proxy.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { createSlowLink } from '../support/slow-link.ts';
import { openTestStore } from '../support/test-store.ts';
import { createDrillRig, type DrillRig } from './drill-rig.ts';
import { soon } from './support.ts';

const MIB = 1024 ** 2;

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

/** Evicts the machine for real (its store and its metadata service are the tests'); answers the stored report. */
async function evict(rig: DrillRig, imds: Awaited<ReturnType<typeof startTestImds>>, storeUrl: string) {
  await using daemon = await rig.machine.start({ imds: imds.url, config: rig.config });
  await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
  await expect.poll(async () => (await daemon.status()).upload.bytesLeft, { timeout: 20_000 }).toBeDefined();
  const { id } = imds.addEvent({ notBefore: '60s', autoStart: false });
  await daemon.waitForLog(isNote('drain-ended'), 60_000);
  await using store = await openTestStore(storeUrl);
  const report = parseReport(await store.text(`pre/line/reports/${id}.json`));
  imds.withdraw(id);
  if (typeof report === 'string') throw new Error(report);
  return report;
}

describe('the numbers of a drill', () => {
  it(
    'say what a set that does not fit would take: just the bytes that a real drain of it then moves',
    async () => {
      const storeUrl = azurite.containerUrl();
      await using link = await createSlowLink(storeUrl, MIB);
      await using imds = await startTestImds();
      await using rig = await createDrillRig(
        { imds: imds.url, storeUrl: link.url },
        { config: 'window: { notice: 60s, urgent: 60s, reserve: 1s }' },
      );
      for (let file = 0; file < 120; file++) await rig.write(`f${file}`, randomBytes(32 * 1024));

      const drill = await rig.drill({ noticeMs: 3000 });
      expect(drill).toMatchObject({ verdict: 'too-slow', windowMs: 3000, committedMs: undefined });
      expect(drill.neededMs).toBeGreaterThan(drill.windowMs);
      expect(drill.upload.bytesLeft).toBeGreaterThan(0);
      expect(drill.reasons).toMatchObject([expect.stringContaining('set job was not committed')]);
      expect(drill.advice).toContainEqual(expect.stringContaining('move less of the set job'));

      const real = await evict(rig, imds, storeUrl);
      const { bytesSent, bytesLeft } = drill.upload;
      const metadataBytes = (real.sets[0]?.bytesSent ?? 0) - bytesSent - bytesLeft;
      expect(metadataBytes).toBeGreaterThan(0);
      expect(metadataBytes).toBeLessThan(16 * 1024);
    },
    PROCESS_TEST_MS,
  );

  it.each([
    ['as it is', ''],
    ['compressed', ', compress: zstd'],
  ])(
    'are those of what changed since the last checkpoint, stored %s',
    async (_, set) => {
      const storeUrl = azurite.containerUrl();
      await using imds = await startTestImds();
      await using rig = await createDrillRig({ imds: imds.url, storeUrl }, { set });
      const large = randomBytes(12 * MIB);
      await rig.write('large.bin', large);
      for (let file = 0; file < 5; file++) await rig.write(`f${file}`, randomBytes(5000));
      await evict(rig, imds, storeUrl);
      const before = await rig.blobs();

      large.write('changed', 9 * MIB);
      await rig.write('large.bin', large);
      await rig.write('f1', randomBytes(7000));
      await rig.write('new', randomBytes(3000));
      const drill = await rig.drill();
      expect(drill).toMatchObject({ verdict: 'fits', reasons: [], leftBehind: undefined });
      expect(drill.report.sets).toMatchObject([{ state: 'committed', id: '00000003', files: 7 }]);
      expect(await rig.blobs()).toEqual(before);

      const real = await evict(rig, imds, storeUrl);
      expect(real.sets).toMatchObject([{ state: 'committed', id: '00000003', files: 7 }]);
      // Names of packs and processes, compressed, are some bytes more or less.
      expect(Math.abs(drill.upload.bytesSent - (real.sets[0]?.bytesSent ?? 0))).toBeLessThan(100);
      expect(drill.upload.bytesSent).toBeLessThan(5 * MIB);
    },
    PROCESS_TEST_MS,
  );
});

describe('a drill', () => {
  it('runs the hooks as a drill, then those of on-resume, and leaves the daemon alone', async () => {
    const storeUrl = azurite.containerUrl();
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl });
    const hook = await rig.machine.hook('stop', 'echo "drill=$EVICTD_DRILL" >> "$(dirname $0)/hooks.log"');
    const config = `${rig.config}
hooks:
  - { name: stop, run: [${hook}] }
  - { name: again, run: [${await rig.machine.hook('again')}], stage: on-resume }
`;
    await rig.write('f', 'content');
    await using daemon = await rig.machine.start({ imds: imds.url, config });
    await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
    const drill = await rig.drill();
    expect(drill).toMatchObject({ verdict: 'fits', resumed: [{ name: 'again', kind: 'succeeded' }] });
    expect(await rig.machine.hookLog()).toEqual([
      expect.stringMatching(/^stop start type=Preempt stage=before-checkpoint attempt=1 left=(29|30)$/),
      'drill=1',
      'stop end',
      expect.stringMatching(/^again start type=Preempt stage=on-resume/),
      'again end',
    ]);
    expect(imds.acks()).toEqual([]);
    expect(await daemon.status()).toMatchObject({ phase: 'watching', events: [] });
    expect(await rig.blobs()).toEqual([]);
  });

  it('that is interrupted ends its hooks, undoes what it did, and leaves nothing in the store', async () => {
    const storeUrl = azurite.containerUrl();
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl });
    const config = `${rig.config}
hooks:
  - { name: slow, run: [${await rig.machine.hook('slow', 'until_ never')}] }
  - { name: again, run: [${await rig.machine.hook('again')}], stage: on-resume }
`;
    await rig.write('f', randomBytes(2 * MIB));
    await rig.machine.configure({ imds: imds.url, config });
    const interrupting = new AbortController();
    const drilling = rig.drill({ signal: interrupting.signal });
    drilling.catch(() => undefined);
    await expect.poll(() => rig.machine.hookLog(), { timeout: 20_000 }).toHaveLength(1);
    await expect.poll(() => rig.blobs(), { timeout: 20_000 }).not.toEqual([]);
    interrupting.abort(new Error('Ctrl-C'));
    await expect(drilling).rejects.toThrow('Ctrl-C');
    expect((await rig.machine.hookLog()).map((line) => line.split(' type')[0])).toEqual([
      'slow start',
      'again start',
      'again end',
    ]);
    expect(await rig.blobs()).toEqual([]);
  });

  it('ends at once when the daemon tells of a real notice, and does not undo what the real drain does', async () => {
    const storeUrl = azurite.containerUrl();
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl });
    const config = `${rig.config}
hooks:
  - { name: stop, run: [${await rig.machine.hook('stop', '[ $EVICTD_DRILL = 0 ] || until_ never')}] }
  - { name: again, run: [${await rig.machine.hook('again')}], stage: on-resume }
`;
    await rig.write('f', 'content');
    await using daemon = await rig.machine.start({ imds: imds.url, config });
    await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
    const drilling = rig.drill();
    drilling.catch(() => undefined);
    await expect.poll(() => rig.machine.hookLog(), { timeout: 20_000 }).toHaveLength(1);
    imds.addEvent({ notBefore: '30s', autoStart: false });
    await expect(drilling).rejects.toMatchObject({ code: 'real-notice' });
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect((await rig.machine.hookLog()).map((line) => line.split(' type')[0])).toEqual([
      'stop start',
      'stop start',
      'stop end',
    ]);
    expect((await rig.blobs()).filter((name) => name.includes('drill/'))).toEqual([]);
  });

  it('removes what one that was killed has left behind', async () => {
    const storeUrl = azurite.containerUrl();
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl });
    await rig.write('f', 'content');
    await using store = await openTestStore(storeUrl);
    await store.ensureContainer(soon());
    const create = (name: string) =>
      store.create(name, Buffer.from('x'), { contentType: 'application/octet-stream' }, soon());
    await create('pre/line/drill/sets/job/packs/0123456789abcdef-01234567-00000001');
    await create('pre/line/drill/sets/job/checkpoints/00000002.json');
    await create('pre/other/drill/sets/job/checkpoints/00000002.json');
    const told: string[] = [];
    await rig.drill({ onProgress: (text) => told.push(text) });
    expect(told[0]).toBe('removed 2 blobs that an earlier drill had left behind');
    expect(await rig.blobs()).toEqual(['pre/other/drill/sets/job/checkpoints/00000002.json']);
  });

  it('is refused beside another one, for a window that is none, and where a Preempt does not drain', async () => {
    const storeUrl = azurite.containerUrl();
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl });
    await rig.write('f', 'content');
    const [first, second] = await Promise.allSettled([rig.drill(), rig.drill()]);
    expect([first.status, second.status].toSorted()).toEqual(['fulfilled', 'rejected']);
    await expect(rig.drill({ noticeMs: 2000 })).rejects.toMatchObject({ code: 'usage' });
    const config = `${rig.config}\nevents: { Preempt: { drain: false } }\n`;
    await rig.machine.configure({ imds: imds.url, config });
    await expect(rig.drill()).rejects.toMatchObject({ code: 'drill-refused' });
  });

  it('tells a hook that fails from one that is too slow', async () => {
    await using imds = await startTestImds();
    await using rig = await createDrillRig({ imds: imds.url, storeUrl: azurite.containerUrl() });
    const hooks = async (body: string) => {
      const hook = await rig.machine.hook('stop', body);
      const config = `hooks: [{ name: stop, run: [${hook}], timeout: 300ms }]\n`;
      await rig.machine.configure({ imds: imds.url, config });
    };
    await hooks('exit 3');
    const broken = await rig.drill();
    expect(broken).toMatchObject({ verdict: 'fails', neededMs: undefined });
    expect(broken.reasons).toEqual([expect.stringMatching(/^hook stop failed after .* exit code 3/)]);
    await hooks('until_ never');
    const slow = await rig.drill();
    expect(slow).toMatchObject({ verdict: 'too-slow', neededMs: undefined });
    expect(slow.reasons).toEqual([expect.stringMatching(/^hook stop failed after .* did not end/)]);
  });

  it('tells a store that refuses from one that is too slow', async () => {
    await using imds = await startTestImds();
    await using proxy = await createBlobProxy(azurite.containerUrl());
    await using rig = await createDrillRig(
      { imds: imds.url, storeUrl: proxy.url },
      { config: 'window: { notice: 12s, urgent: 12s, reserve: 1s }' },
    );
    await rig.write('f', 'content');
    let isOver = false;
    proxy.fail({
      fault: { kind: 'status', status: 403 },
      match: ({ method, path }) => !isOver && method === 'PUT' && path.includes('/job/'),
      times: 1e6,
    });
    const onProgress = (text: string) => (isOver ||= text.includes('window is over'));
    const drill = await rig.drill({ onProgress });
    expect(drill).toMatchObject({ verdict: 'fails', neededMs: undefined, leftBehind: undefined });
    expect(drill.reasons).toEqual([expect.stringMatching(/^set job was not committed: .* HTTP 403/)]);
  });
});
