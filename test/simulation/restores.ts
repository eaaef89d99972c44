import { messageOf } from '../../src/base/errors.ts';
import { findCheckpoints } from '../../src/checkpoint/index/find-checkpoint.ts';
import { restoreSet } from '../../src/checkpoint/restore/restore-set.ts';
import { createOtherVm, startBeside } from './beside.ts';
import { running } from './guest.ts';
import { KEY, PREFIX } from './plan.ts';
import { simulatedWorkers } from './sim-workers.ts';
import { type Tree, sameTree, treeOf } from './workload.ts';
import type { World } from './world.ts';

/**
 * Another VM takes over: every checkpoint that is there comes back as its files were at one moment, and none is missing
 * that was said to be there.
 */
export async function checkRestores(world: World): Promise<void> {
  const { plan, facts, ledger, agenda } = world;
  const keep = Number(plan.config.checkpoint?.keep ?? 1);
  for (const { name: set } of plan.config.checkpoint?.sets ?? []) {
    const there = ledger.there(set).flatMap(({ kind, id }) => (kind === 'checkpoint' ? [id] : []));
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

/** Answers what is wrong with it. */
async function restoreOnNewVm(world: World, set: string, id: string): Promise<string | undefined> {
  const guest = createOtherVm(world, 'fleet_3');
  const process = startBeside(world, guest, 'restorer');
  const place = { prefix: PREFIX, key: KEY, set };
  const { signal } = new AbortController();
  let hasDoubts = false;
  let isPartial = false;
  const lostPaths = new Set<string>();
  try {
    await running.run(process, async () => {
      const workers = simulatedWorkers(process);
      const { store } = workers;
      for await (const { manifest } of findCheckpoints({ place, at: id }, store, signal)) {
        const { changing, lost } = manifest;
        hasDoubts = changing.count + lost.count > 0;
        isPartial = manifest.partial !== undefined;
        for (const path of lost.paths) lostPaths.add(path);
      }
      await restoreSet({ place, at: id, target: '/back' }, { store, workers, clock: process.clock }, signal);
    });
  } catch (error) {
    return `can't be restored: ${messageOf(error)}`;
  }
  const tree = treeOf(guest.disk, '/back');
  const versions = versionsFor(world, set, id);
  if (versions.some((version) => sameTree(version, tree))) return undefined;
  const isOdd = ([path, line]: readonly [string, string]) =>
    !versions.some((version) => version.get(path) === line) &&
    !((isPartial || lostPaths.has(path)) && wasEver(world, set, path, line));
  const odd = [...tree].find(isOdd);
  if (odd !== undefined) return `restored ${odd.join(': ')}, as it never was`;
  // Files that go on changing may be of different moments, and the checkpoint says so.
  return hasDoubts || isPartial
    ? undefined
    : `restored files of different moments: ${JSON.stringify([...tree])}`;
}

/** What can't be had is taken from the checkpoint before, whose ever that was. */
function wasEver({ workloads }: World, set: string, path: string, line: string): boolean {
  const all = [...workloads.values()].flat().filter((workload) => workload.set === set);
  return all.some(({ versions }) => versions.some(({ tree }) => tree.get(path) === line));
}

/** How the files of its writer were at the moments that the checkpoint may be of, by all that was said of it. */
function versionsFor({ facts, ledger, workloads }: World, set: string, id: string): readonly Tree[] {
  const entry = ledger.of(set, id);
  const workload = workloads.get(entry?.writer ?? '')?.find((one) => one.set === set);
  if (entry === undefined || workload === undefined) return [];
  const madeAt = entry.at;
  const claims = facts.claims.filter(
    (claim) => claim.set === set && claim.id === id && claim.writer === entry.writer,
  );
  const spans = claims.map(({ since, at }) => ({ madeAt, since, until: Math.max(at, madeAt) }));
  const all = workload.versionsOf({ madeAt, since: 0, until: madeAt });
  return spans.reduce((left, span) => {
    const those = new Set(workload.versionsOf(span));
    return left.filter((version) => those.has(version));
  }, all);
}
