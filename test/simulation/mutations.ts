import { CHECKPOINT_MUTATIONS } from './checkpoint-mutations.ts';
import type { Mutation } from './mutation.ts';

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
    seed: 4,
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
    seed: 27,
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
    seed: 3,
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
    seed: 2,
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
    seed: 37,
  },
  ...CHECKPOINT_MUTATIONS,
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
    seed: 58,
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
    seed: 80,
  },
  'journal without fsync': {
    replacements: [{ file: 'base/files/durable-file.ts', from: 'await handle.sync();', to: '' }],
    // Both files are kept in the same way.
    caughtAs: /journal unreadable|is told twice/,
    seed: 58,
  },
  'journal written in place': {
    replacements: [
      {
        file: 'base/files/durable-file.ts',
        from: 'const temporary = `${file}.new`;',
        to: 'const temporary = file;',
      },
      { file: 'base/files/durable-file.ts', from: 'await rename(temporary, file);', to: '' },
    ],
    caughtAs: /journal unreadable|is told twice/,
    seed: 8,
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
    seed: 169,
  },
  'a hook is told of an event that an earlier drain served': {
    replacements: [
      {
        file: 'daemon/perform.ts',
        from: 'deadlineAt !== undefined && firstSeenAt >= drain.startedAt',
        to: 'true',
      },
    ],
    caughtAs: /runs for a second drain|past the end of work/,
    seed: 4805,
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
    seed: 12,
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
    seed: 13,
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
    seed: 1,
  },
} as const satisfies Readonly<Record<string, Mutation>>;

export type MutationName = keyof typeof MUTATIONS;

export function isMutationName(name: string): name is MutationName {
  return Object.hasOwn(MUTATIONS, name);
}
