import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, it } from 'vitest';

import type { DrainReport } from '../../src/observe/drain-report.ts';
import { reportPage } from '../../src/observe/report-page.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-page-'));
});
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

const REPORT: DrainReport = {
  version: 1,
  eventId: 'E1',
  eventType: 'Preempt',
  eventStatus: 'Scheduled',
  resources: ['spot_3'],
  vmName: 'spot_3',
  evictdVersion: '1.0.0',
  noticedAt: '2026-01-01T00:00:00.000Z',
  windowMs: 30_000,
  writtenMs: 12_000,
  outcome: 'success',
  timeline: [{ phase: 'before-checkpoint', atMs: 0 }],
  hooks: [
    {
      name: '<script>document.title = "run"</script>',
      stage: 'before-checkpoint',
      required: true,
      attempt: 1,
      state: 'succeeded',
      startedMs: 0,
      durationMs: 9000,
    },
  ],
  sets: [],
  acks: [],
  log: ['<img src=x onerror="document.title = 1">'],
};

it('the page of a drill is what a browser shows, and nothing in it runs', { timeout: 60_000 }, async () => {
  const rehearsed = { title: 'Drill', verdict: 'FITS', lines: ['make the hook quicker'] };
  const page = reportPage(REPORT, rehearsed);
  await writeFile(join(folder, 'page.html'), page);
  const url = `file://${folder}/page.html`;
  const args = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${folder}/profile`];
  const shown = await promisify(execFile)('chromium', [...args, '--dump-dom', url], { timeout: 50_000 });
  expect(shown.stdout).toContain('<title>Drill: Preempt of spot_3: FITS</title>');
  expect(shown.stdout.match(/<rect /g)).toHaveLength(2);
  expect(shown.stdout).toContain('<p>make the hook quicker</p>');
  const picture = join(folder, 'page.png');
  await promisify(execFile)('chromium', [...args, `--screenshot=${picture}`, url], { timeout: 50_000 });
  // An empty page of this size is a tenth of that.
  expect((await readFile(picture)).length).toBeGreaterThan(20_000);
});
