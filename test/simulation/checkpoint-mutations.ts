import type { Mutation } from './mutation.ts';

/** Mistakes of what commits, prunes and removes. */
export const CHECKPOINT_MUTATIONS = {
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
    caughtAs: /names the pack|is not in the store any more|was changed while it was being sent/,
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
    seed: 4,
  },
  'no takeover': {
    replacements: [
      {
        file: 'checkpoint/commit/own/ownership.ts',
        from: 'if (!held.isOwned) await takeOverSet(context, signal);',
        to: 'held.isOwned = takeOverSet !== undefined;',
      },
    ],
    caughtAs: /which never took the set over|came between/,
    seed: 2,
  },
  'ids become free, and nobody looks after the manifest': {
    replacements: [
      {
        file: 'checkpoint/retention/retain.ts',
        from: 'entry !== newestTakeover && ageMs > TAKEOVER_MS',
        to: 'entry !== newest',
      },
      {
        file: 'checkpoint/commit/write/write-checkpoint.ts',
        from: 'const checked = afterwards(work, point, signal);',
        to: 'const checked = afterwards === undefined ? afterwards(work, point, signal) : Promise.resolve();',
      },
    ],
    caughtAs: /came between|was there before|names the pack|is not in the store any more/,
    seed: 225,
  },
  'an equal checkpoint is answered without a look at who else wrote': {
    replacements: [
      {
        file: 'checkpoint/commit/own/ownership.ts',
        from: 'check: (signal) => check(context, signal),',
        to: 'check: async (signal) => void (held.isOwned || (await check(context, signal))),',
      },
    ],
    caughtAs: /was there before|came between/,
    seed: 647,
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
    seed: 5,
  },
  'what the newest checkpoint does not keep is relied on': {
    replacements: [
      {
        file: 'checkpoint/commit/write/write-checkpoint.ts',
        from: 'pack: (name: PackName) => used.has(name)',
        to: 'pack: (_name: PackName) => true',
      },
    ],
    caughtAs: /names the pack|is not in the store any more/,
    seed: 156,
  },
  'what only an older checkpoint reaches is taken for stored': {
    replacements: [
      {
        file: 'checkpoint/commit/own/set-entries.ts',
        from: 'for (const id of ids.toReversed())',
        to: 'for (const id of ids)',
      },
    ],
    caughtAs: /names the pack|is not in the store any more/,
    seed: 872,
  },
  'the index of another boot is trusted by times alone': {
    replacements: [
      {
        file: 'checkpoint/index/content.ts',
        from: 'return JSON.stringify([store, root, bootId]);',
        to: 'return JSON.stringify([store, root, bootId.length]);',
      },
      {
        file: 'checkpoint/commit/look/trust.ts',
        from: 'record.readAt - record.seenAt >= DOUBTFUL_MS &&',
        to: '',
      },
    ],
    caughtAs: /as it never was|different moments/,
    seed: 1300,
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
    seed: 6,
  },
  'a file that is written to is read once': {
    replacements: [
      {
        file: 'checkpoint/commit/send/read-files.ts',
        from: 'if (!isWholly || missingMs > 0) {',
        to: 'if (bytesOf(chunks) < 0) {',
      },
    ],
    caughtAs: /as it never was|different moments/,
    seed: 85,
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
    seed: 9,
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
    seed: 9,
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
    seed: 649,
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
    seed: 184,
  },
} as const satisfies Record<string, Mutation>;
