import { expect, test } from 'vitest';

import { expectWhole } from '../../support/made-whole.ts';
import { HOUR, createRig } from './prune-rig.ts';

test("guests' checkpoints push out none but their own", async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  for (const a of ['2', '3', '4']) await writer.commit({ a });
  for (const a of ['5', '6', '7', '8']) await writer.commit({ a }, { isGuest: true });
  rig.later(2 * HOUR);
  expect(await rig.prune(2)).toMatchObject({ removed: ['00000002', '00000005', '00000006'] });
  await writer.commit({ a: '9' });
  await writer.commit({ a: '10' });
  rig.later(2 * HOUR);
  expect(await rig.prune(2)).toMatchObject({ removed: ['00000003', '00000004'] });
  expect(rig.ids()).toEqual(['00000001', '00000007', '00000008', '00000009', '00000010']);
  await expectWhole(rig.store);
});
