import type { Replacement } from './boot.ts';

/** A mistake that somebody could make, and how the simulation has to put it. */
export interface Mutation {
  readonly replacements: readonly Replacement[];
  readonly caughtAs: RegExp;
  /** From here on it is found after some lives. */
  readonly seed: number;
}

const PERSIST = 'await persist(state);';
const PERFORM = 'for (const effect of effects) dependencies.perform(effect);';

export const MUTATIONS = {
  'no own-VM filter': {
    replacements: [
      {
        file: 'core/event.ts',
        from: 'return event.resources.some((resource) => resource.toLowerCase() === own);',
        to: 'return own.length > 0;',
      },
    ],
    caughtAs: /another VM's event/,
    seed: 1003,
  },
  'shared events are ours': {
    replacements: [
      {
        file: 'core/event.ts',
        from: 'return event.resources.some((resource) => resource.toLowerCase() !== own);',
        to: 'return own.length === 0;',
      },
    ],
    caughtAs: /an ack for the shared event/,
    seed: 5,
  },
  'ack before commit': {
    replacements: [
      {
        file: 'core/decide.ts',
        from: "(drain.phase !== 'ack' && drain.phase !== 'waiting')) return 'unfinished';\n  return drain.outcome === 'success' ?",
        to: "drain.phase === 'before-checkpoint') return 'unfinished';\n  return drain.outcome !== 'failure' ?",
      },
    ],
    caughtAs: /was not committed since the hooks ended/,
    seed: 2,
  },
  'ack although a required hook failed': {
    replacements: [
      {
        file: 'core/drain.ts',
        from: 'hooksSucceeded(drain) && setsSucceeded(drain)',
        to: 'setsSucceeded(drain)',
      },
    ],
    caughtAs: /an ack for .* though hook .* did not succeed/,
    seed: 1019,
  },
  'ack again after it was accepted': {
    replacements: [
      {
        file: 'core/ack.ts',
        from: "ack: result.kind === 'failed' ?",
        to: "ack: result.kind !== 'refused' ?",
      },
    ],
    caughtAs: /a second ack/,
    seed: 1,
  },
  'checkpoint beside the hooks': {
    replacements: [
      {
        file: 'core/drain.ts',
        from: "stageIsOver(next, 'before-checkpoint') ? enter(context, next, 'checkpoint')",
        to: "next.hooks.length >= 0 ? enter(context, next, 'checkpoint')",
      },
    ],
    caughtAs: /an ack for .* though|was not acknowledged/,
    seed: 2,
  },
  'manifest before its packs': {
    replacements: [
      {
        file: 'checkpoint/pack/courier.ts',
        from: 'const { outcome, isVersioned } = await createOnce(store, packPrefix + name, body, options, lifetime);',
        to: `const outcome = 'created';
      const isVersioned = false;
      void createOnce(store, packPrefix + name, body, options, lifetime).catch(() => undefined);`,
      },
    ],
    caughtAs: /names the pack|is not in the store any more/,
    seed: 1,
  },
  'a pack is filled anew while it is being sent': {
    replacements: [
      {
        file: 'checkpoint/pack/begun-packs.ts',
        from: 'courier.send(pack.seal(), () => void spare.push(pack.memory));',
        to: 'courier.send(pack.seal(), () => undefined);\n    spare.push(pack.memory);',
      },
    ],
    caughtAs: /was changed while it was being sent|can't be restored/,
    seed: 1,
  },
  'no takeover': {
    replacements: [
      {
        file: 'checkpoint/commit/ownership.ts',
        from: 'if (!held.isOwned) await takeOverSet(context, signal);',
        to: 'held.isOwned = takeOverSet !== undefined;',
      },
    ],
    caughtAs: /which never took the set over|came between/,
    seed: 1,
  },
  'ids become free, and nobody looks after the manifest': {
    replacements: [
      {
        file: 'checkpoint/retention/retain.ts',
        from: 'entry !== newestTakeover && ageMs > TAKEOVER_MS',
        to: 'entry !== newest',
      },
      {
        file: 'checkpoint/commit/write-checkpoint.ts',
        from: 'const checked = afterwards(work, point, signal);',
        to: 'const checked = afterwards === undefined ? afterwards(work, point, signal) : Promise.resolve();',
      },
    ],
    caughtAs: /came between|was there before/,
    seed: 1,
  },
  'an equal checkpoint is answered without a look at who else wrote': {
    replacements: [
      {
        file: 'checkpoint/commit/ownership.ts',
        from: 'check: (signal) => check(context, signal),',
        to: 'check: async (signal) => void (held.isOwned || (await check(context, signal))),',
      },
    ],
    caughtAs: /was there before|came between/,
    seed: 1,
  },
  'a lost answer is taken for a conflict': {
    replacements: [
      {
        file: 'checkpoint/index/local-index.ts',
        from: 'tries: (id) => content().tries.get(id) ?? new Set(),',
        to: 'tries: () => new Set(),',
      },
    ],
    caughtAs: /a conflict with nobody/,
    seed: 1,
  },
  'what the newest checkpoint does not keep is relied on': {
    replacements: [
      {
        file: 'checkpoint/commit/write-checkpoint.ts',
        from: 'pack: (name: PackName) => used.has(name)',
        to: 'pack: (_name: PackName) => true',
      },
    ],
    caughtAs: /names the pack|is not in the store any more/,
    seed: 1,
  },
  'what only an older checkpoint reaches is taken for stored': {
    replacements: [
      {
        file: 'checkpoint/commit/set-entries.ts',
        from: 'for (const id of ids.toReversed())',
        to: 'for (const id of ids)',
      },
    ],
    caughtAs: /names the pack|is not in the store any more/,
    seed: 1,
  },
  'the index of another boot is trusted by times alone': {
    replacements: [
      {
        file: 'checkpoint/index/content.ts',
        from: 'return JSON.stringify([store, root, bootId]);',
        to: 'return JSON.stringify([store, root, bootId.length]);',
      },
      {
        file: 'checkpoint/commit/trust.ts',
        from: 'record.readAt - record.seenAt >= DOUBTFUL_MS &&',
        to: '',
      },
    ],
    caughtAs: /as it never was|different moments/,
    seed: 1,
  },
  'a changed file is not looked at': {
    replacements: [
      {
        file: 'checkpoint/scan/file-stat.ts',
        from: 'one.mtimeNs === other.mtimeNs &&\n    one.ctimeNs === other.ctimeNs &&',
        to: '',
      },
    ],
    caughtAs: /as it never was|different moments/,
    seed: 17,
  },
  'a file that is written to is read once': {
    replacements: [
      {
        file: 'checkpoint/commit/read-files.ts',
        from: 'if (!isWholly || missingMs > 0) {',
        to: 'if (bytesOf(chunks) < 0) {',
      },
    ],
    caughtAs: /as it never was|different moments/,
    seed: 1,
  },
  'the newest checkpoint is pruned too': {
    replacements: [
      {
        file: 'checkpoint/retention/retain.ts',
        from: 'if (isOfUse || entry === newest || kept.has(entry.id) || ageMs <= YOUNG_MS) continue;',
        to: 'if ((isOfUse && kept.size > 9) || ageMs <= YOUNG_MS) continue;',
      },
    ],
    caughtAs: /was committed and is gone|can't be restored/,
    seed: 14,
  },
  'packs are pruned that a checkpoint needs': {
    replacements: [
      {
        file: 'checkpoint/retention/prune-look.ts',
        from: 'for await (const { name } of walkPackUses(entry.packs, pieces(entry), signal)) packs.delete(name);',
        to: 'void walkPackUses;',
      },
    ],
    caughtAs: /was deleted, though/,
    seed: 1,
  },
  'pruning lists entries before packs, and does not look again': {
    replacements: [
      {
        file: 'checkpoint/retention/prune.ts',
        from: `  const packs = await listPacks(store, setPrefix(place) + PACKS, signal);
  const listed = await listEntries(store, place, signal);`,
        to: `  const listed = await listEntries(store, place, signal);
  const packs = await listPacks(store, setPrefix(place) + PACKS, signal);`,
      },
      {
        file: 'checkpoint/retention/prune.ts',
        from: 'newest?.id !== newestNow?.id ||',
        to: 'false ||',
      },
      {
        file: 'checkpoint/retention/prune.ts',
        from: 'entries.some(({ id }) => !known.has(id)) ||',
        to: 'known.size === 0 ||',
      },
      {
        file: 'checkpoint/retention/prune.ts',
        from: 'newest?.modifiedAt !== newestNow?.modifiedAt ||',
        to: '',
      },
    ],
    caughtAs: /was deleted, though|names the pack|is not in the store any more/,
    seed: 1,
  },
  'a manifest that stays gives its packs away': {
    replacements: [
      {
        file: 'checkpoint/retention/prune.ts',
        from: 'for (const id of staying) if (!(await dropNamed(dead, id)))',
        to: 'for (const id of staying) if (id.length === 0)',
      },
    ],
    caughtAs: /was deleted, though/,
    seed: 1,
  },
  'journal after effect': {
    replacements: [
      { file: 'daemon/loop.ts', from: PERSIST, to: PERFORM },
      {
        file: 'daemon/loop.ts',
        from: `if (stopped) return;\n      ${PERFORM}`,
        to: `${PERSIST}\n      if (stopped) return;`,
      },
    ],
    caughtAs: /runs twice|runs for a second drain|second ack/,
    seed: 1024,
  },
  'hooks that ended run again after a restart': {
    replacements: [
      {
        file: 'core/drain.ts',
        from: "hook.run.kind === 'running' ? { ...hook",
        to: "hook.run.kind !== 'pending' ? { ...hook",
      },
    ],
    caughtAs: /runs twice .* though its result was known/,
    seed: 1021,
  },
  'journal without fsync': {
    replacements: [{ file: 'base/durable-file.ts', from: 'await handle.sync();', to: '' }],
    // Both files are kept in the same way.
    caughtAs: /journal unreadable|is told twice/,
    seed: 2010,
  },
  'journal written in place': {
    replacements: [
      {
        file: 'base/durable-file.ts',
        from: 'const temporary = `${file}.new`;',
        to: 'const temporary = file;',
      },
      { file: 'base/durable-file.ts', from: 'await rename(temporary, file);', to: '' },
    ],
    caughtAs: /journal unreadable|is told twice/,
    seed: 4,
  },
  'wall clock in the deadline': {
    replacements: [
      {
        file: 'core/announcements.ts',
        from: 'policy.drain ? at + windowMs(context.policy, event, document.serverNow)',
        to: 'policy.drain ? at + windowMs(context.policy, event, context.now.wallAt)',
      },
    ],
    caughtAs: /after the deadline|past the end of work/,
    seed: 1024,
  },
  'a hook is told of an event that an earlier drain served': {
    replacements: [
      {
        file: 'daemon/perform.ts',
        from: 'deadlineAt !== undefined && firstSeenAt >= drain.startedAt',
        to: 'true',
      },
    ],
    caughtAs: /runs for a second drain/,
    seed: 5004840,
  },
  'a window that gets shorter': {
    replacements: [
      {
        file: 'core/drain.ts',
        from: 'if (lostMs < JITTER_MS) return step(drain);',
        to: 'if (lostMs < Infinity) return step(drain);',
      },
    ],
    caughtAs: /after the deadline|past the end of work/,
    seed: 1044,
  },
  'one document without it means gone': {
    replacements: [
      {
        file: 'core/event-facts.ts',
        from: 'ABSENCES_MEAN_GONE = 2;',
        to: 'ABSENCES_MEAN_GONE = 1;',
      },
    ],
    caughtAs: /runs for a second drain|past the end of work|after the deadline/,
    seed: 1,
  },
  'a withdrawal is not noticed': {
    replacements: [
      {
        file: 'core/announcements.ts',
        from: 'const drainGone = ',
        to: 'const drainGone = state.stopping && ',
      },
    ],
    caughtAs: /not watching/,
    seed: 2,
  },
  'each notice is told again and again': {
    replacements: [{ file: 'daemon/outbox.ts', from: 'if (entries.has(one.id)) continue;', to: '' }],
    caughtAs: /is told twice/,
    seed: 1002,
  },
} as const satisfies Readonly<Record<string, Mutation>>;

export type MutationName = keyof typeof MUTATIONS;

export function isMutationName(name: string): name is MutationName {
  return Object.hasOwn(MUTATIONS, name);
}
