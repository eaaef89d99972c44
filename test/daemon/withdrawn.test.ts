import { describe, expect, it } from 'vitest';

import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, soon } from './support.ts';

const hooksOf = (stop: string, resume: string) =>
  `hooks: [{ name: stop, run: [${stop}] }, { name: resume, stage: on-resume, run: [${resume}] }]`;

function firstWords(lines: readonly string[]): string[] {
  return lines.map((line) => line.split(' ').slice(0, 2).join(' '));
}

describe.concurrent('an event that vanishes', () => {
  it('runs the on-resume hooks once, and a new event drains again', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = hooksOf(await machine.hook('stop'), await machine.hook('resume'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const first = imds.addEvent({ autoStart: false });
    await imds.waitForAck(first.id, soon());
    imds.withdraw(first.id);
    await daemon.waitForLog(isNote('watching-again'));
    await polls(imds, 3);
    expect(firstWords(await machine.hookLog())).toEqual([
      'stop start',
      'stop end',
      'resume start',
      'resume end',
    ]);
    // It has no window: nothing is about to end.
    expect((await machine.hookLog())[2]).toContain('stage=on-resume attempt=1 left=none');
    expect(await daemon.status()).toMatchObject({ phase: 'watching', events: [] });

    const second = imds.addEvent({ autoStart: false });
    await imds.waitForAck(second.id, soon());
    await daemon.waitForLog(
      (line) => isNote('drain-ended')(line) && daemon.logged(isNote('drain-ended')) === 2,
    );
    expect(firstWords(await machine.hookLog()).slice(4)).toEqual(['stop start', 'stop end']);
    expect(imds.acks()).toHaveLength(2);
  });

  it('in the middle of a hook lets the hook end, acknowledges nothing, and resumes', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = hooksOf(await machine.hook('stop', 'until_ go'), await machine.hook('resume'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent();
    await daemon.waitForLog(isNote('event-noticed'));
    imds.withdraw(id);
    await daemon.waitForLog(isNote('phase', { phase: 'withdrawn' }));
    await polls(imds, 2);
    expect((await daemon.status()).drain?.hooks).toMatchObject([
      { name: 'stop', state: 'running' },
      { name: 'resume', state: 'pending' },
    ]);
    await machine.release('go');
    await daemon.waitForLog(isNote('watching-again'));
    expect(firstWords(await machine.hookLog())).toEqual([
      'stop start',
      'stop end',
      'resume start',
      'resume end',
    ]);
    expect(imds.acks()).toEqual([]);
  });

  it('is gone only when it is absent from two good documents: neither one, nor errors, nor broken documents count', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = hooksOf(await machine.hook('stop', 'until_ go'), await machine.hook('resume'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent({ id: 'comes-and-goes' });
    await daemon.waitForLog(isNote('event-noticed'));
    for (let round = 0; round < 3; round++) {
      // From the answer of one poll to the next: exactly one document is without the event.
      const nextAnswer = () => polls(imds, 1);
      await nextAnswer();
      imds.withdraw(id);
      await nextAnswer();
      imds.addEvent({ id });
    }
    imds.withdraw(id);
    imds.fault({ kind: 'broken-event', count: 4 });
    await polls(imds, 3);
    imds.addEvent({ id });
    await polls(imds, 2);
    imds.fault({ kind: 'status', status: 500, count: 6 });
    const failures = () => imds.requests().filter(({ status }) => status === 500).length;
    await imds.waitFor(() => failures() >= 6, soon());
    await polls(imds, 2);
    expect(daemon.logged(isNote('event-gone'))).toBe(0);
    expect((await daemon.status()).phase).toBe('before-checkpoint');
    await machine.release('go');
    await imds.waitForAck(id, soon());
    expect(firstWords(await machine.hookLog())).toEqual(['stop start', 'stop end']);
  });

  it('and comes back while the on-resume hooks run cancels these and drains', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const stop = await machine.hook('stop');
    const resume = await machine.hook('resume', 'until_ never');
    await using daemon = await machine.start({ imds: imds.url, config: hooksOf(stop, resume) });
    const first = imds.addEvent({ autoStart: false });
    await imds.waitForAck(first.id, soon());
    imds.withdraw(first.id);
    await daemon.waitForLog(isNote('phase', { phase: 'resuming' }));
    const second = imds.addEvent();
    await imds.waitForAck(second.id, soon());
    expect(firstWords(await machine.hookLog())).toEqual([
      'stop start',
      'stop end',
      'resume start',
      'stop start',
      'stop end',
    ]);
  });
});
