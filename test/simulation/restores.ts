import { findManifest, restoreManifest } from '../../src/checkpoint/restore.ts';
import { setPrefix } from '../../src/checkpoint/blob-name.ts';
import { messageOf } from '../../src/base/errors.ts';
import { KEY, PREFIX, createOtherVm, startBeside } from './beside.ts';
import { running } from './guest.ts';
import { sameTree, treeOf } from './workload.ts';
import type { World } from './world.ts';

/**
 * Another VM takes over: every checkpoint that is there comes back as its files were at one moment, and none is missing
 * that was said to be there.
 */
export async function checkRestores(world: World): Promise<void> {
  const { plan, facts, agenda } = world;
  const keep = plan.config.checkpoint?.keep ?? 1;
  for (const { name: set } of plan.config.checkpoint?.sets ?? []) {
    const there = idsOf(world, set);
    for (const { id } of facts.claims.filter((claim) => claim.set === set)) {
      const isPruned = there.filter((other) => other > id).length >= keep;
      if (!there.includes(id) && !isPruned) facts.violations.push(`${set} ${id} was committed and is gone`);
    }
    for (const id of there) {
      const back = restoreOnNewVm(world, set, id);
      let isOver = false;
      void back.finally(() => (isOver = true));
      await agenda.play(Infinity, () => !isOver);
      const wrong = await back;
      if (wrong !== undefined) facts.violations.push(`${set} ${id}: ${wrong}`);
    }
  }
}

function idsOf({ service }: World, set: string): string[] {
  const prefix = `${setPrefix({ prefix: PREFIX, key: KEY, set })}checkpoints/`;
  const names = service.names().filter((name) => name.startsWith(prefix));
  return names.map((name) => name.slice(prefix.length, -'.json'.length)).sort();
}

/** Answers what is wrong with it. */
async function restoreOnNewVm(world: World, set: string, id: string): Promise<string | undefined> {
  const guest = createOtherVm(world, 'fleet_3');
  const process = startBeside(world, guest);
  const options = { prefix: PREFIX, key: KEY, set, at: id, target: '/back' };
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
  const tree = treeOf(guest.disk, '/back');
  const versions = versionsFor(world, set, id);
  if (versions.some((version) => sameTree(version.tree, tree))) return undefined;
  const odd = [...tree].find(([path, line]) => !versions.some((version) => version.tree.get(path) === line));
  if (odd !== undefined) return `restored ${odd.join(': ')}, as it never was`;
  // Files that go on changing may be of different moments, and the checkpoint says so.
  return isChanging ? undefined : `restored files of different moments: ${JSON.stringify([...tree])}`;
}

/** How the files of its writer were at the moments that the checkpoint may be of. */
function versionsFor({ facts, workloads }: World, set: string, id: string) {
  const of = (one: { readonly set: string; readonly id: string }) => one.set === set && one.id === id;
  const manifest = facts.manifests.find(of);
  const versions =
    workloads.get(manifest?.writer ?? '')?.find((workload) => workload.set === set)?.versions ?? [];
  const since = Math.max(...facts.claims.filter(of).map((claim) => claim.since), 0);
  return versions.filter(
    ({ at }, index) => at <= (manifest?.at ?? Infinity) && (versions[index + 1]?.at ?? Infinity) > since,
  );
}
