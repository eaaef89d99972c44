import { expect, it } from 'vitest';

import { INITIAL_STATE } from '../../src/core/state.ts';
import { createSystemdDrain } from '../../src/daemon/systemd-drain.ts';
import { Life, event, hook, noticed, policyWith } from '../core/support.ts';
import { manualClock } from '../imds/support.ts';

const DRAINING = noticed().state;

function follower() {
  const clock = manualClock();
  const asked: string[] = [];
  const manager = {
    tell: async (verb: string) => void asked.push(verb),
    forgetUnits: async () => void asked.push('forget'),
  };
  const systemd = createSystemdDrain({ clock, manager, onFailure: (error) => asked.push(String(error)) });
  return { clock, asked, systemd };
}

it('starts the target with the drain, stops it and removes the hooks after it, each once', async () => {
  const { clock, asked, systemd } = follower();
  for (const state of [DRAINING, DRAINING, INITIAL_STATE, INITIAL_STATE]) {
    systemd.follow(state);
    await clock.advance(100);
  }
  expect(asked).toEqual(['start', 'stop', 'forget']);
});

it('leaves the hooks of a drain alone that begins before the older ones are removed', async () => {
  const { clock, asked, systemd } = follower();
  systemd.follow(INITIAL_STATE);
  await clock.advance(10);
  systemd.follow(DRAINING);
  await clock.advance(100);
  expect(asked).toEqual(['start']);
  systemd.follow(INITIAL_STATE);
  await clock.advance(100);
  expect(asked).toEqual(['start', 'stop', 'forget']);
});

it('leaves a hook for peers alone while it runs, and removes it then', async () => {
  const { clock, asked, systemd } = follower();
  const life = new Life(policyWith({ peerHooks: [hook('ring')] }));
  life.document([event({ resources: ['fleet_1'] })]);
  systemd.follow(DRAINING);
  systemd.follow(life.state);
  await clock.advance(100);
  expect(asked).toEqual(['stop']);
  life.tick(60_000);
  systemd.follow(life.state);
  await clock.advance(100);
  expect(asked).toEqual(['stop', 'forget']);
});
