import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { type SpotVm, type SpotVmOptions, createSpotVm } from '../support/spot-vm.ts';

let azurite: Azurite;
let url: string;

beforeAll(async () => {
  azurite = await startAzurite();
  url = azurite.containerUrl();
});
afterAll(async () => {
  await azurite?.stop();
});

const TIMES = /\d+(?:\.\d)? (?:ms|s|min \d+ s)\b/g;

function masked(text: string, vm: SpotVm): string {
  return text
    .replaceAll(vm.folder, 'FOLDER')
    .replaceAll(vm.imds.vmName, 'VM')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(TIMES, 'N s')
    .replaceAll(/  +/g, '  ');
}

/** A VM that has been through a whole drain; answers the event's id. */
async function drained(
  notice: string,
  options: SpotVmOptions,
  prepare: (vm: SpotVm) => Promise<void> = async () => undefined,
) {
  const vm = await createSpotVm({ store: { url: `${url}/fleet`, auth: { kind: 'azurite' } }, ...options });
  await prepare(vm);
  const daemon = await vm.daemon();
  const eventId = vm.preempt(notice);
  await daemon.line('phase', { phase: 'waiting' });
  await daemon.stop();
  return { vm, eventId };
}

describe('the report of a drain', { timeout: PROCESS_TEST_MS }, () => {
  test('is listed and shown from any machine, and says what was lost', async () => {
    const saving = drained('30s', { key: 'europe/saved' }, async ({ job }) => {
      await writeFile(join(job, 'state'), 'x'.repeat(2048));
    });
    // A set that can't be saved uses up the window.
    const losing = drained('5s', {
      key: 'lost',
      hooks: [{ name: 'stop', script: 'echo "<script>alert(1)</script>" >&2; exit 3' }],
      config: {
        checkpoint: {
          store: { url: `${url}/fleet`, auth: { kind: 'azurite' } },
          key: 'lost',
          sets: [{ name: 'job', path: '/nowhere/<b>job</b>' }],
          background: false,
        },
      },
    });
    const [saved, lost] = await Promise.all([saving, losing]);
    await using vm = saved.vm;
    await using other = lost.vm;

    // Another VM's eyes.
    const one = await vm.command('reports');
    expect(one.code).toBe(0);
    expect(masked(one.output, vm).replace(saved.eventId, 'EVENT')).toBe(`\
NOTICED  KEY  VM  TYPE  WINDOW  USED  OUTCOME  LOST  EVENT
TIME  europe/saved  VM  Preempt  N s  N s  success  -  EVENT`);
    // Also where there is no metadata service.
    const all = await vm.command('reports', '--all-keys', '--json', '--imds', 'http://127.0.0.1:9');
    const listed = (JSON.parse(all.output) as { reports: readonly { key: string }[] }).reports;
    expect(listed.map(({ key }) => key).toSorted()).toEqual(['europe/saved', 'lost']);

    const shown = await vm.command(
      'reports',
      'show',
      lost.eventId.slice(0, 8).toLowerCase(),
      '--key',
      'lost',
    );
    expect(shown.code).toBe(0);
    const [text, log] = masked(shown.output, other)
      .replaceAll(lost.eventId, 'EVENT')
      .split('last lines of the log:\n');
    expect(text).toBe(`\
Preempt EVENT of VM
noticed TIME: failure, N s of N s used before the acknowledgement
NOT SAVED: job (size unknown, no checkpoint at all).

  N s  before-checkpoint
  N s  hook stop failed after N s: FOLDER/stop ended with exit code 3
  N s  checkpoint
  N s  after-checkpoint
  N s  report
  N s  set job failed: the folder /nowhere/<b>job</b> of checkpoint set job is not there; check checkpoint.sets[].path, and that its disk is mounted
  ack of EVENT when this was written: open

`);
    expect(log).toContain('error hook ended  hook=stop');

    const file = join(vm.folder, 'report.html');
    expect(await vm.command('reports', 'show', '--key', 'lost', '--html', file)).toMatchObject({
      code: 0,
      output: '',
    });
    const page = await readFile(file, 'utf8');
    expect(page).toContain('&lt;b&gt;job&lt;/b&gt;');
    expect(page).not.toContain('<script>');
  });
});

describe('with an empty store', { timeout: PROCESS_TEST_MS }, () => {
  test('both commands end with 3 and say where they looked', async () => {
    await using vm = await createSpotVm({
      store: { url: azurite.containerUrl(), auth: { kind: 'azurite' } },
    });
    const listed = await vm.command('reports', '--key', 'nobody');
    expect(listed.code).toBe(3);
    expect(listed.output).toMatch(
      /^evictd: there is no report in .* under the key nobody\n {2}→ `evictd reports /,
    );
    const shown = await vm.command('reports', 'show', 'abc', '--key', 'nobody');
    expect(shown.code).toBe(3);
    expect(shown.output).toContain('an event that begins with "abc"');
    expect(await readFile(join(vm.folder, 'hooks.log'), 'utf8')).toBe('');
  });
});
