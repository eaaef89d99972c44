import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it, onTestFinished } from 'vitest';

import { parseReport } from '../../src/observe/drain-report.ts';
import { startAzurite } from '../support/azurite.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { openTestStore } from '../support/test-store.ts';

it(
  'the report of a drain whose store was away is stored once it is back, by the next process too',
  { timeout: 90_000 },
  async () => {
    const azurite = await startAzurite({ persistent: true });
    onTestFinished(() => azurite.stop());
    const url = azurite.containerUrl();
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await mkdir(join(machine.folder, 'job'));
    await writeFile(join(machine.folder, 'job/step'), 'work');
    const config = `
window: { notice: 3s, urgent: 3s, reserve: 1s }
checkpoint:
  store: { url: "${url}/pre", auth: { kind: azurite } }
  key: line
  sets: [{ name: job, path: ${machine.folder}/job }]
`;
    const waiting = () => readdir(join(machine.stateDir, 'reports'));
    let id = '';
    {
      await using daemon = await machine.start({ imds: imds.url, config });
      await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
      await azurite.shutDown();
      ({ id } = imds.addEvent({ notBefore: '3s', autoStart: false }));
      await daemon.waitForLog(({ msg }) => msg === 'report of the drain not stored, trying again later');
      await expect.poll(() => waiting().catch(() => [])).toEqual([`${id}.json`]);
      await daemon.waitForLog(isNote('drain-ended'));
      imds.withdraw(id);
      await daemon.waitForLog(isNote('watching-again'));
    }
    await azurite.restart();
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog(
      ({ msg, eventId }) => msg === 'report of an earlier drain stored' && eventId === id,
      60_000,
    );
    expect(await waiting()).toEqual([]);
    await using store = await openTestStore(url);
    const report = parseReport(await store.text(`pre/line/reports/${id}.json`));
    expect(report).toMatchObject({ eventId: id, outcome: 'failure', sets: [{ name: 'job' }] });
    expect(await store.text(`pre/line/reports/${id}.html`)).toContain(id);
  },
);
