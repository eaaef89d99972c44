import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { reportPage } from '../../src/observe/report-page.ts';
import { drainReport, hookReport } from '../support/drain-report.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-page-'));
});
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

const REPORT = drainReport({
  timeline: [{ phase: 'before-checkpoint', atMs: 0 }],
  hooks: [hookReport({ name: '<script>document.title = "run"</script>', startedMs: 0, durationMs: 9000 })],
  sets: [],
  log: ['<img src=x onerror="document.title = 1">'],
});

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
