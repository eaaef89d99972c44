import { chmod } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { missingSecrets } from '../../src/config/secret-files.ts';
import { configFolder, loadText } from './support.ts';

const STORE = 'checkpoint:\n  store: { url: "https://acc.blob.core.windows.net/ckpt" }\n';

describe('warnings', () => {
  test('name a file with a secret that everybody may read', async () => {
    const folder = await configFolder();
    const secret = await folder.write('sas', 'sv=1&sig=x');
    const text = `${STORE.replace(' }', `, auth: { kind: sas, file: ${secret} } }`)}  sets: [{ name: a, path: /v }]\n`;
    expect((await loadText(text)).warnings).toEqual([
      `checkpoint.store.auth.file: ${secret} holds a secret and can be read by everybody (mode 0644); run: chmod o-rwx ${secret}`,
    ]);
    await chmod(secret, 0o640);
    expect((await loadText(text)).warnings).toEqual([]);
  });

  test('of a check name files with secrets that are missing, but not those that systemd brings', async () => {
    const folder = await configFolder();
    const present = await folder.write('url', 'https://hooks.internal/x');
    const { config } = await loadText(
      `${STORE.replace(' }', ', auth: { kind: sas, file: /missing/sas } }')}  sets: [{ name: a, path: /v }]\n` +
        'notify:\n' +
        ` - { name: there, webhook: { url-file: ${present} } }\n` +
        ' - { name: gone, webhook: { url-file: /missing/url } }\n' +
        ' - { name: unit, webhook: { url-file: /run/credentials/evictd.service/url } }\n',
    );
    expect(missingSecrets(config)).toEqual([
      expect.stringContaining('checkpoint.store.auth.file: /missing/sas is not there'),
      expect.stringContaining('notify "gone", url-file: /missing/url is not there'),
    ]);
  });

  test('name what would save nothing or be cut', async () => {
    const { warnings } = await loadText(
      'events: { Preempt: { drain: false }, Terminate: { drain: false, checkpoint: true } }\n' +
        'hooks:\n' +
        '  - { name: slow, run: [/b], timeout: 45s, on: [Reboot, Preemt] }\n' +
        '  - { name: after, run: [/b], timeout: 45s, stage: on-resume }\n' +
        '  - { name: who, run: [/b],\n      user: }\n' +
        'imds:\n  # pollInterval: 2s\n' +
        'checkpoint:\n',
    );
    expect(warnings).toEqual([
      expect.stringMatching(/config\.yaml:6:7: hooks\[2\]\.user has no value, so it sets nothing$/),
      expect.stringMatching(/config\.yaml:9:1: checkpoint has no value, so it sets nothing$/),
      'events.Preempt.drain: false, so no hook runs and nothing is saved when the VM is about to go',
      'events.Terminate.drain: false, so no hook runs when the VM is about to go',
      expect.stringContaining('"slow" is set for Reboot, which doesn\'t drain'),
      expect.stringMatching(/"slow" is set for Preemt, which .*; did you mean Preempt\?$/),
      expect.stringContaining('"slow" may take 45.0 s, but a notice gives 30.0 s'),
    ]);
  });

  test('name a store without sets and hooks that never run', async () => {
    const { warnings } = await loadText(`${STORE}hooks: [{ name: h, run: [/b], on: [Freeze] }]\n`);
    expect(warnings).toEqual([
      expect.stringContaining('no set'),
      expect.stringContaining('"h" is set for Freeze'),
    ]);
  });
});
