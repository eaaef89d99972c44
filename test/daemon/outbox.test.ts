import { mkdir } from 'node:fs/promises';

import { expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { EvictdError } from '../../src/base/errors.ts';
import { openOutbox } from '../../src/daemon/outbox.ts';
import type { DrainNews } from '../../src/observe/drain-news.ts';
import { event } from '../core/support.ts';
import { testFolder } from '../support/file-tree.ts';

function news(id: string): DrainNews {
  return { id, kind: 'notice', vmName: 'vm', event: event(), at: Date.now(), windowMs: 30_000 };
}

async function outboxIn(dir: string) {
  const told: string[] = [];
  const failures: unknown[] = [];
  const outbox = await openOutbox(dir, {
    clock: systemClock,
    tellers: new Map(['one', 'two', 'three'].map((name) => [name, async () => undefined])),
    onTold: (receiver, { id }) => told.push(`${receiver} ${id}`),
    onFailed: (_receiver, _news, error: EvictdError) => failures.push(error),
    onNotKept: (error) => failures.push(error),
  });
  return { outbox, told, failures };
}

it('a folder that can not be written keeps nobody from being told', async () => {
  await using folder = await testFolder();
  const { outbox, told, failures } = await outboxIn(`${folder.path}/missing`);
  outbox.offer([news('a'), news('b')]);
  await expect
    .poll(() => told.toSorted())
    .toEqual(['one a', 'one b', 'three a', 'three b', 'two a', 'two b']);
  outbox.offer([news('c')]);
  await outbox.stop();
  expect(told.filter((one) => one.endsWith('c')).toSorted()).toEqual(['one c', 'three c', 'two c']);
  expect(failures).toMatchObject([{ code: 'ENOENT' }]);
});

it('nor does one that can not be read', async () => {
  await using folder = await testFolder();
  await mkdir(`${folder.path}/outbox.json`);
  const { outbox, told } = await outboxIn(folder.path);
  outbox.offer([news('a')]);
  await outbox.stop();
  expect(told).toHaveLength(3);
});
