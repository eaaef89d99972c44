import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { DrainNews } from '../../src/observe/drain-news.ts';
import { createWebhook } from '../../src/observe/webhook.ts';
import { event } from '../core/support.ts';
import { testFolder } from '../support/file-tree.ts';
import { startHttpReceiver } from '../support/http-receiver.ts';

const NEWS: DrainNews = {
  id: 'A1/notice/0',
  kind: 'notice',
  vmName: 'fleet_2',
  event: event(),
  at: 0,
  windowMs: 30_000,
};

/** Tells a webhook whose file holds this text. */
async function tell(text: string): Promise<void> {
  await using folder = await testFolder();
  const urlFile = join(folder.path, 'url');
  await writeFile(urlFile, text, { mode: 0o600 });
  const webhook = createWebhook({ urlFile, template: 'slack' }, { clock: systemClock, random: Math.random });
  await webhook(NEWS, AbortSignal.timeout(5000));
}

const URL_OF_IT = 'https://hooks.slack.com/services/T0/B0/xyz';
const PLAIN_HTTP = 'plain http is only accepted for this machine itself';

test.each([
  ['http://hooks.slack.com/services/T0/B0/xyz', PLAIN_HTTP],
  ['HTTP://10.0.0.4:8080/xyz', PLAIN_HTTP],
  ['http://localhost.example.com/xyz', PLAIN_HTTP],
  ['https://ops:xyz@hooks.internal/', 'user name or password'],
  ['hooks.slack.com/services/T0/B0/xyz', 'no http or https URL'],
  [`${URL_OF_IT} # ops`, 'more than one word'],
  [`${URL_OF_IT}\n${URL_OF_IT}`, 'more than one line'],
  [`"${URL_OF_IT}`, 'no http or https URL'],
  [`<${URL_OF_IT}>`, 'no http or https URL'],
  [`${URL_OF_IT}"`, 'quotes'],
  [`${URL_OF_IT}\u200b`, "can't be seen"],
  [`SLACK_URL=${URL_OF_IT}`, 'assigns a variable'],
  [`export URL='${URL_OF_IT}'`, 'assigns a variable'],
])('the address %j is refused before anything is sent, and not shown', async (text, problem) => {
  const refused = tell(text);
  await expect(refused).rejects.toMatchObject({
    code: 'bad-credential',
    message: expect.stringContaining(problem),
  });
  await expect(refused).rejects.not.toThrow('xyz');
});

test('plain http is accepted for this machine itself, and an address in quotes', async () => {
  await using receiver = await startHttpReceiver();
  await tell(`${receiver.url}/T0\n`);
  await tell(`"${receiver.url}/T0"\r\n`);
  await tell(`\uFEFF'${receiver.url}/T0'`);
  expect(receiver.requests.map(({ path }) => path)).toEqual(['/T0', '/T0', '/T0']);
});
