import { findManifest, restoreManifest } from '../../src/checkpoint/restore.ts';
import { setPrefix } from '../../src/checkpoint/blob-name.ts';
import { messageOf } from '../../src/base/errors.ts';
import { createDoors } from './doors.ts';
import { createDisk } from './disk.ts';
import { type Guest, type GuestProcess, createGuestClock, running } from './guest.ts';
import { type Workload, sameTree, treeOf } from './workload.ts';
import type { World } from './world.ts';

const PREFIX = 'p';
const KEY = 'job';

/**
 * Another VM takes over: every checkpoint that is there comes back as its files were at one moment, and none is missing
 * that was said to be there.
 */
export async function checkRestores(world: World): Promise<void> {
  const { plan, facts, workloads, agenda } = world;
  const keep = plan.config.checkpoint?.keep ?? 1;
  for (const workload of workloads) {
    const there = idsOf(world, workload.set);
    const claimed = facts.claims.filter(({ set }) => set === workload.set);
    for (const { id } of claimed) {
      const isPruned = there.filter((other) => other > id).length >= keep;
      if (!there.includes(id) && !isPruned)
        facts.violations.push(`${workload.set} ${id} was committed and is gone`);
    }
    for (const id of there) {
      const back = restoreOnNewVm(world, workload, id);
      let isOver = false;
      void back.finally(() => (isOver = true));
      await agenda.play(Infinity, () => !isOver);
      const wrong = await back;
      if (wrong !== undefined) facts.violations.push(`${workload.set} ${id}: ${wrong}`);
    }
  }
}

function idsOf({ service }: World, set: string): string[] {
  const prefix = `${setPrefix({ prefix: PREFIX, key: KEY, set })}checkpoints/`;
  const names = service.names().filter((name) => name.startsWith(prefix));
  return names.map((name) => name.slice(prefix.length, -'.json'.length)).sort();
}

/** Answers what is wrong with it. */
async function restoreOnNewVm(world: World, workload: Workload, id: string): Promise<string | undefined> {
  const { agenda, random } = world;
  const disk = createDisk(() => BigInt(Math.floor(agenda.now())) * 1_000_000n);
  const guest: Guest = {
    name: 'fleet_3',
    disk,
    bootId: 'other',
    bootedAt: agenda.now(),
    wallOffset: 0,
    rate: 1,
    frozenUntil: 0,
    isAlive: true,
  };
  const process: GuestProcess = {
    guest,
    number: 0,
    stop: new AbortController(),
    isAlive: () => true,
    kill: () => undefined,
    doors: createDoors(world),
    clock: createGuestClock(guest, agenda, random, (fire) => running.run(process, fire)),
  };
  const options = { prefix: PREFIX, key: KEY, set: workload.set, at: id, target: '/back' };
  const { signal } = new AbortController();
  let isChanging = false;
  try {
    await running.run(process, async () => {
      const dependencies = { store: process.doors.store(process), clock: process.clock };
      const found = await findManifest(dependencies.store, options, signal);
      isChanging = found.filesChanging > 0;
      await restoreManifest(found, options, dependencies, signal);
    });
  } catch (error) {
    return `can't be restored: ${messageOf(error)}`;
  }
  const tree = treeOf(disk, '/back');
  const versions = versionsFor(world, workload, id);
  if (versions.some((version) => sameTree(version.tree, tree))) return undefined;
  const odd = [...tree].find(([path, line]) => !versions.some((version) => version.tree.get(path) === line));
  if (odd !== undefined) return `restored ${odd.join(': ')}, as it never was`;
  // Files that go on changing may be of different moments, and the checkpoint says so.
  return isChanging ? undefined : `restored files of different moments: ${JSON.stringify([...tree])}`;
}

/** How the files were at the moments that the checkpoint may be of. */
function versionsFor({ facts }: World, { set, versions }: Workload, id: string) {
  const of = (one: { readonly set: string; readonly id: string }) => one.set === set && one.id === id;
  const until = facts.manifests.find(of)?.at ?? Infinity;
  const since = Math.max(...facts.claims.filter(of).map((claim) => claim.since), 0);
  return versions.filter(({ at }, index) => at <= until && (versions[index + 1]?.at ?? Infinity) > since);
}
