import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { AZURITE_KEY, type Azurite, startAzurite } from '../support/azurite.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { transcript } from './transcript.ts';

/*
 * What users see of each command, whole, in golden/: to be read, and looked at in each diff. `vitest -u` writes it anew.
 */

let azurite: Azurite;
let folder: string;
beforeAll(async () => {
  azurite = await startAzurite();
  folder = await mkdtemp(join(tmpdir(), 'evictd-golden-'));
});
afterAll(async () => {
  await azurite?.stop();
  await rm(folder, { recursive: true, force: true });
});

function evictd(...args: readonly string[]): Promise<string> {
  return transcript(args, {
    env: { PATH: '/usr/bin:/bin' },
    masks: [
      [folder, 'FOLDER'],
      // With its metadata, which is compressed: ids are by a key of chance.
      [/"bytesSent":70[4-6]\d\d/g, '"bytesSent":70500'],
      [/68\.[789] KiB/g, '68.8 KiB'],
    ],
  });
}

/** One after the other, with an empty line between them. */
async function session(lines: readonly (readonly string[])[]): Promise<string> {
  const texts: string[] = [];
  for (const args of lines) texts.push(await evictd(...args));
  return texts.join('\n');
}

async function configFile(name: string, text: string, mode = 0o600): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

describe('the golden text', () => {
  it('of a wrong command line', async () => {
    const text = await session([
      [],
      ['statsu'],
      ['config'],
      ['status', '--jsn'],
      ['status', 'now'],
      ['wait', '--timeout', 'soon'],
      ['wait', '--timeout'],
      ['hook'],
      ['hook', '--', 'no-such-program'],
      ['hook', '--stage', 'later', '--', 'true'],
      ['hook', '--order', 'first', '--', 'true'],
      ['checkpoint', 'job'],
      ['drill', '--notice', 'half an hour'],
      ['completion'],
      ['completion', 'tcsh'],
      ['mock-imds', '--listen', 'nowhere'],
      ['mock-imds', '--scenario', '/nonexistent/scenario.yaml'],
      ['run', '--config', '/nonexistent/config.yaml'],
      ['run', '--imds', 'nowhere'],
    ]);
    await expect(text).toMatchFileSnapshot('golden/usage.txt');
  });

  it('of config check and config show', async () => {
    const nothing = await configFile('nothing.yaml', '{}\n');
    const small = await configFile(
      'small.yaml',
      'hooksDir: /nonexistent\nhooks:\n  - { name: stop, run: [/bin/true] }\n',
    );
    const gone = await configFile('gone.yaml', 'hooks:\n  - { name: stop, run: [/nonexistent/stop] }\n');
    const bad = await configFile(
      'bad.yaml',
      `window: { notice: 30 }
hoks: []
hooks:
  - { name: stop, run: [stop.sh], timeout: 8 }
checkpoint:
  store: { url: "https://account.blob.core.windows.net" }
  sets:
    - { name: job }
`,
    );
    const open = await configFile('open.yaml', '{}\n', 0o666);
    const broken = await configFile('broken.yaml', 'hooks: [\n');
    const text = await session([
      ['config', 'check', '--config', small],
      ['config', 'check', '--config', small, '--json'],
      ['config', 'check', '--config', nothing],
      ['config', 'check', '--config', gone],
      ['config', 'check', '--config', bad],
      ['config', 'check', '--config', bad, '--json'],
      ['config', 'check', '--config', open],
      ['config', 'check', '--config', broken],
      ['config', 'show', '--config', small],
    ]);
    await expect(text).toMatchFileSnapshot('golden/config.txt');
  });

  it('of a machine without a daemon, and of a config without a store', async () => {
    const config = await configFile(
      'hooks-only.yaml',
      `control: { socket: ${folder}/evictd.sock }\nstate: { dir: ${folder}/state }\n`,
    );
    const text = await session([
      ['status', '--config', config],
      ['status', '--watch', '--config', config],
      ['wait', '--config', config],
      ['hook', '--config', config, '--', 'true'],
      ['checkpoint', '--config', config],
      ['checkpoints', '--config', config],
      ['checkpoints', 'show', '--config', config],
      ['checkpoints', 'prune', '--config', config],
      ['restore', '--config', config],
      ['reports', '--config', config],
      ['reports', 'show', '--config', config],
    ]);
    await expect(text).toMatchFileSnapshot('golden/no-daemon.txt');
  });

  it('of the commands on the store', { timeout: 120_000 }, async () => {
    await mkdir(join(folder, 'job'));
    await writeFile(join(folder, 'job/model.bin'), 'x'.repeat(70_000));
    await writeFile(join(folder, 'job/step'), '7\n');
    await using imds = await startTestImds({ vm: { name: 'vm-1' } });
    const storeConfig = (name: string, url: string, auth: string) =>
      configFile(
        name,
        `imds: { endpoint: "${imds.url}" }
checkpoint:
  store: { url: "${url}", auth: ${auth} }
  key: team/{vmName}
  sets:
    - { name: job, path: ${folder}/job }
  keep: 1
state: { dir: ${folder}/state }
control: { socket: ${folder}/evictd.sock }
`,
      );
    const url = azurite.containerUrl('checkpoints');
    const config = await storeConfig('store.yaml', url, '{ kind: azurite }');
    const string = await configFile(
      'connection-string',
      `DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=${AZURITE_KEY};BlobEndpoint=${azurite.origin}/devstoreaccount1;\n`,
    );
    const keyed = `{ kind: connection-string, file: ${string} }`;
    const noContainer = await storeConfig('no-container.yaml', azurite.containerUrl('nowhere'), keyed);
    const noSecret = await storeConfig('no-secret.yaml', url, '{ kind: sas, file: /nonexistent/sas }');
    const to = join(folder, 'to');
    const text = await session([
      ['checkpoints', '--config', config],
      ['checkpoints', 'prune', '--config', config],
      ['restore', '--config', config],
      ['reports', '--config', config],
      ['reports', '--config', config, '--all-keys'],
      ['reports', '--config', config, '--json'],
      ['reports', 'show', '--config', config],
      ['reports', 'show', '602d9444', '--config', config],
      ['checkpoint', '--config', config],
      ['checkpoint', '--config', config, '--json'],
      ['checkpoint', '--config', config, '--set', 'nope'],
      ['checkpoints', '--config', config],
      ['checkpoints', '--config', config, '--json'],
      ['checkpoints', '--config', config, '--set', 'nope'],
      ['checkpoints', '--config', config, '--key', 'team/vm-2'],
      ['checkpoints', '--config', config, '--key', '../vm-2'],
      ['checkpoints', 'show', '7', '--config', config],
      ['checkpoints', 'diff', '00000002', '00000002', '--config', config],
      ['checkpoints', 'diff', '00000002', '00000007', '--config', config],
      ['checkpoints', 'verify', '--config', config],
      ['checkpoints', 'verify', '--config', config, '--sample', '5'],
      ['checkpoints', 'keep', '00000002', '--config', config],
      ['checkpoints', 'keep', '00000002', '--config', config, '--json'],
      ['checkpoints', 'keep', '00000002', '--release', '--config', config],
      ['checkpoints', 'prune', '--config', config],
      ['checkpoints', 'prune', '--config', config, '--json'],
      ['checkpoints', 'prune', '--config', config, '--set', 'nope'],
      ['restore', '--config', config, '--wait', '5'],
      ['restore', '--config', config, '--to', to],
      ['restore', '--config', config, '--to', to],
      ['restore', '--config', config, '--to', to, '--json'],
      ['restore', '--config', config, '--to', to, '--at', '7'],
      ['restore', '--config', config, '--to', '/proc/nowhere'],
      ['restore', '--config', config, '--set', 'nope'],
      ['restore', '--config', config],
      ['restore', '--config', config],
      ['checkpoint', '--config', noContainer],
      ['checkpoints', '--config', noContainer],
      ['restore', '--config', noContainer, '--to', to],
      ['checkpoints', '--config', noSecret],
    ]);
    await expect(text).toMatchFileSnapshot('golden/store.txt');
  });
});
