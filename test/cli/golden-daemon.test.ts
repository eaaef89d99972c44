import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { type TranscriptOptions, transcript } from './transcript.ts';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});

/** What is written there is read and judged as golden.test.ts says. */
it('what an eviction looks like to whoever uses the commands', { timeout: 60_000 }, async () => {
  await using imds = await startTestImds({ service: { startAfterAck: '10m' } });
  await using machine = await createMachine();
  const { folder } = machine;
  await mkdir(join(folder, 'job'));
  await writeFile(join(folder, 'job/step'), 'x'.repeat(5000));
  const stop = await machine.hook('stop');
  const save = await machine.hook('save', 'echo saving; until_ go');
  const config = `
hooks:
  - { name: stop, run: [${stop}], timeout: 5s }
  - { name: resume, stage: on-resume, run: [${stop}], required: false }
checkpoint:
  store: { url: "${azurite.containerUrl('checkpoints')}", auth: { kind: azurite } }
  key: vm-1
  sets: [{ name: job, path: ${folder}/job }]
  background: false
`;
  await using daemon = await machine.start({ imds: imds.url, config });
  const texts: string[] = [];
  const evictd = (args: readonly string[], more: TranscriptOptions = {}) => {
    const end = args.includes('--') ? args.indexOf('--') : args.length;
    return transcript(args.toSpliced(end, 0, '--config', machine.configFile), {
      masks: [
        [` --config ${machine.configFile}`, ''],
        [folder, 'FOLDER'],
        [/127\.0\.0\.1:\d+/g, 'ADDRESS'],
        [/^\d\d:\d\d:\d\d\.\d{3} /gm, '00:00:00.000 '],
        [/(\w+Ms)=\d+/g, '$1=N'],
        [/^ +[\d.]+ m?s(?= )/gm, '      0 ms'],
        [/USED +/g, 'USED  '],
      ],
      ...more,
    });
  };
  const see = async (...args: readonly string[]) => void texts.push(await evictd(args));

  await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
  await see('checkpoint');
  await see('checkpoint', '--set', 'nope');
  await see('status');
  await see('wait', '--timeout', '10ms');

  const over = new AbortController();
  const registered = Promise.withResolvers<void>();
  const saving = Promise.withResolvers<void>();
  const hook = evictd(['hook', '--name', 'trainer', '--', save], {
    signal: over.signal,
    onWrite(text: string) {
      if (text.includes('registered as')) registered.resolve();
      if (text.includes('saving')) saving.resolve();
    },
  });
  await registered.promise;
  await see('hook', '--name', 'trainer', '--', '/bin/true');
  await see('hook', '--name', 'a/b', '--', '/bin/true');

  imds.addEvent({ id: '602D9444-D2CD-49C7-8624-8643E7171297', notBefore: '30s' });
  await daemon.waitForLog(isNote('hook-ended', { hook: 'stop' }));
  await saving.promise;
  await see('wait');
  await see('status');
  await machine.release('go');
  await daemon.waitForLog(isNote('drain-ended'));
  await see('status');
  await see('reports');
  await see('reports', 'show', '602d');
  await see('reports', 'show', '--html', '/nonexistent/report.html');
  over.abort();
  texts.push(await hook);
  await expect(texts.join('\n')).toMatchFileSnapshot('golden/eviction.txt');
});
