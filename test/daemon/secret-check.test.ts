import { chmod } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { secretFaults } from '../../src/daemon/secret-check.ts';
import { configFolder, loadText } from '../config/support.ts';

test('a check says of each file with a secret what is wrong with it, and shows none', async () => {
  const folder = await configFolder();
  const write = async (name: string, text: string) => {
    const file = await folder.write(name, text);
    await chmod(file, 0o600);
    return file;
  };
  const files = {
    sas: await write('sas', 'https://other.blob.core.windows.net/ckpt?sv=1&sig=TOPSECRET'),
    good: await write('good', 'https://hooks.internal/TOPSECRET'),
    plain: await write('plain', 'http://hooks.internal/TOPSECRET'),
  };
  const { config } = await loadText(
    'checkpoint:\n' +
      `  store: { url: "https://acc.blob.core.windows.net/ckpt", auth: { kind: sas, file: ${files.sas} } }\n` +
      'notify:\n' +
      ` - { name: good, webhook: { url-file: ${files.good} } }\n` +
      ` - { name: plain, webhook: { url-file: ${files.plain} } }\n` +
      ' - { name: gone, webhook: { url-file: /missing/url } }\n',
  );
  const faults = await secretFaults(config);
  expect(faults).toEqual([
    expect.stringContaining('notify "gone", url-file: /missing/url is not there'),
    expect.stringContaining(
      `checkpoint.store.auth.file: the URL in ${files.sas} is not one of acc/ckpt; write the token`,
    ),
    `notify "plain", url-file: the URL in ${files.plain} is not usable: plain http is only accepted for this machine itself; write https://`,
  ]);
  expect(faults.join()).not.toContain('TOPSECRET');
});
