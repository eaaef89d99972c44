import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { createMachine } from '../support/daemon.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { soon } from './support.ts';

const starts = (lines: readonly string[]) =>
  lines.filter((line) => line.includes(' start ')).map((line) => line.split(' ')[0]);

describe.concurrent('hooksDir', () => {
  it('is looked into again while the daemon runs, and run in name order after the configured hooks', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const configured = await machine.hook('configured');
    const config = `hooks: [{ name: configured, run: [${configured}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    await mkdir(machine.hooksDir, { mode: 0o755 });
    await machine.hook('hooks.d/20-second');
    await machine.hook('hooks.d/10-first');
    await writeFile(join(machine.hooksDir, '30-readme.md'), 'not a hook', { mode: 0o644 });
    // A look may fall between two of these files.
    const all = ['hooks.d/10-first', 'hooks.d/20-second'];
    const read = await daemon.waitForLog(
      ({ msg, hooks, ignored }) =>
        msg === 'hooksDir read' &&
        JSON.stringify(hooks) === JSON.stringify(all) &&
        JSON.stringify(ignored) !== '[]',
    );
    expect(read).toMatchObject({ ignored: [{ name: '30-readme.md', why: expect.any(String) }] });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(starts(await machine.hookLog())).toEqual(['configured', ...all]);
    expect((await daemon.status()).drain?.hooks.map(({ name }) => name)).toEqual(['configured', ...all]);
  });

  it('that others can write is refused, with the remedy, and the configured hooks still run', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await mkdir(machine.hooksDir);
    await chmod(machine.hooksDir, 0o777);
    await machine.hook('hooks.d/10-evil');
    const configured = await machine.hook('configured');
    const config = `hooks: [{ name: configured, run: [${configured}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const refused = await daemon.waitForLog(isMessage('hooksDir refused, continuing without it'));
    expect(refused).toMatchObject({
      level: 'error',
      detail: expect.stringContaining(machine.hooksDir),
      remedy: expect.stringContaining('chmod go-w'),
    });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(starts(await machine.hookLog())).toEqual(['configured']);
  });

  it('with a program that others can write: the hook is refused and nothing is acknowledged', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await mkdir(machine.hooksDir, { mode: 0o755 });
    await chmod(await machine.hook('hooks.d/10-evil'), 0o777);
    await machine.hook('hooks.d/20-good');
    await using daemon = await machine.start({ imds: imds.url });
    imds.addEvent();
    const ended = await daemon.waitForLog(isNote('hook-ended', { hook: 'hooks.d/10-evil' }));
    expect(ended).toMatchObject({ reason: 'refused', detail: expect.stringContaining('chmod go-w') });
    await daemon.waitForLog(isNote('ack-withheld', { reason: 'unsuccessful' }));
    expect(starts(await machine.hookLog())).toEqual(['hooks.d/20-good']);
    expect(imds.acks()).toEqual([]);
  });
});
