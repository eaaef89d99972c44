import { Config } from '../../src/config/schema.ts';
import type { SimulatedEvent } from './imds.ts';
import type { Random } from './random.ts';

/** What a life is to bring, all of it from its seed. Times in ms. */
export interface Plan {
  /** Nothing goes wrong but the eviction. */
  readonly isCalm: boolean;
  readonly config: Config;
  readonly events: SimulatedEvent[];
  /** After that nothing goes wrong any more, and all events are gone. */
  readonly quietFrom: number;
  readonly endsAt: number;
  readonly imdsTrouble: number;
  readonly storeTrouble: number;
  /** While the store can't be reached at all. */
  readonly outage: { readonly from: number; readonly until: number };
  readonly diskTrouble: number;
  readonly crashes: {
    readonly most: number;
    readonly likely: number;
    readonly from: number;
    /** How likely one follows the end of a hook, in the rest of the drain. */
    readonly afterHook: number;
  };
  readonly killsAt: readonly number[];
  readonly powerCutsAt: readonly number[];
  readonly stopsAt: readonly number[];
  readonly freezes: readonly { readonly at: number; readonly forMs: number }[];
  readonly clockSteps: readonly { readonly at: number; readonly byMs: number }[];
  readonly checkpointsAt: readonly number[];
  /** How likely a request that goes wrong arrives long after. */
  readonly late: number;
  /** Of a page of a listing at most. */
  readonly pageMax: number;
  /** Ids of entries that the service doesn't let go. */
  readonly keptEntries: readonly string[];
  readonly others: readonly OtherPlan[];
  readonly workEveryMs: number;
  /** How likely the disk is up to date after a change. */
  readonly flushes: number;
  /** A file is written to more often than it can be read. */
  readonly burstsAt: readonly number[];
  /** How likely another process is paused at the worst of moments, and for how long at most. */
  readonly pauses: { readonly likely: number; readonly forMs: number };
  readonly bytesPerMs: number;
  readonly latencyMs: number;
  readonly rate: number;
}

/** Somebody else who works on the same checkpoints; see others.ts. */
export interface OtherPlan {
  readonly kind: 'vm' | 'container' | 'clone' | 'command' | 'laptop';
  readonly startsAt: number;
  /** It begins with what the newest checkpoints have. */
  readonly restoresFirst: boolean;
  readonly steps: readonly OtherStep[];
  readonly freezes: readonly { readonly at: number; readonly forMs: number }[];
  readonly sleeps: boolean;
}

export interface OtherStep {
  readonly at: number;
  readonly what: 'stage' | 'commit' | 'prune' | 'restore' | 'restart';
}

export const PREFIX = 'p';
export const KEY = 'job';
export const SELF = 'fleet_2';
export const RESERVE_MS = 2000;

export function makePlan(random: Random): Plan {
  const isCalm = random.chance(0.15);
  const isRough = !isCalm && random.chance(0.5);
  const times = (most: number, from: number, until: number) =>
    isCalm ? [] : Array.from({ length: random.whole(0, most) }, () => random.between(from, until));
  const quietFrom = random.between(40_000, 120_000);
  const events = makeEvents(random, isCalm, quietFrom);
  const firstAt = Math.min(...events.map(({ announcedAt }) => announcedAt), quietFrom);
  const powerCutsAt = isRough && random.chance(0.6) ? times(1, 5000, quietFrom) : [];
  // What was saved right before, and what is there right after it.
  const aroundCuts = powerCutsAt.flatMap((at) => [
    at - random.between(200, 3000),
    at + random.between(4000, 9000),
  ]);
  const checkpointsAt = [...times(3, 2000, quietFrom), ...aroundCuts];
  const outageFrom = random.between(0, quietFrom);
  const config = makeConfig(random, isCalm);
  return {
    isCalm,
    config,
    events,
    quietFrom,
    endsAt: quietFrom + 200_000,
    imdsTrouble: isCalm ? 0 : random.pick([0, 0.05, 0.3]),
    storeTrouble: isCalm ? 0 : random.pick([0, 0.02, 0.1, 0.3]),
    outage: isRough
      ? { from: outageFrom, until: outageFrom + random.between(1000, 30_000) }
      : { from: 0, until: 0 },
    diskTrouble: isRough && random.chance(0.3) ? random.pick([0.02, 0.2, 1]) : 0,
    crashes: isCalm
      ? { most: 0, likely: 0, from: 0, afterHook: 0 }
      : {
          most: random.whole(0, 3),
          likely: random.pick([0.002, 0.01, 0.05]),
          from: random.pick([0, firstAt, firstAt]),
          afterHook: random.pick([0, 0.3, 0.6]),
        },
    killsAt: times(1, 0, quietFrom),
    powerCutsAt,
    stopsAt: times(1, 0, quietFrom),
    freezes: random.chance(0.3)
      ? times(2, 0, quietFrom).map((at) => ({ at, forMs: random.between(100, 12_000) }))
      : [],
    clockSteps: times(2, 0, quietFrom).map((at) => ({ at, byMs: random.between(-3_600_000, 3_600_000) })),
    checkpointsAt,
    late: random.pick([0, 0.1, 0.4]),
    pageMax: random.pick([5000, 5000, 3]),
    keptEntries: isRough && random.chance(0.2) ? [random.whole(2, 9)].map((id) => `0000000${id}`) : [],
    others: isCalm ? [] : makeOthers(random, quietFrom),
    burstsAt: [
      ...times(2, 2000, quietFrom),
      ...checkpointsAt.slice(0, 2).map((at) => at - random.between(-100, 500)),
    ],
    pauses: { likely: random.pick([0, 0.1, 0.3]), forMs: random.pick([5000, 60_000]) },
    flushes: random.pick([0.1, 0.7]),
    workEveryMs: random.pick([300, 2000, 10_000]),
    bytesPerMs: isCalm ? 1000 : random.pick([config.checkpoint?.background === false ? 0.7 : 5, 50, 1000]),
    latencyMs: isCalm ? 10 : random.pick([2, 20, 150]),
    rate: 1 + random.between(-0.0003, 0.0003),
  };
}

function makeConfig(random: Random, isCalm: boolean): Config {
  const drains = {
    drain: true,
    ack: isCalm ? 'after-success' : random.pick(['after-success', 'after-success', 'always']),
  };
  const sets = Array.from({ length: random.whole(1, 2) }, (_, index) => ({
    name: `set${index}`,
    path: `/data/set${index}`,
    priority: random.whole(1, 2),
    compress: random.pick(['none', 'none', 'zstd']),
    ...(index === 0 && { atDeadline: 'files', together: ['c/**', 'f.bin'] }),
  }));
  const hooks = Array.from({ length: random.whole(0, 4) }, (_, index) => ({
    name: `hook${index}`,
    stage: random.pick(['before-checkpoint', 'before-checkpoint', 'after-checkpoint', 'on-resume']),
    order: random.whole(1, 2),
    timeout: isCalm ? '5s' : random.pick(['500ms', '5s', '40s']),
    required: random.chance(0.7),
    run: ['/bin/true'],
    ...(random.chance(0.4) && { on: random.pick([['Preempt'], ['Terminate'], ['Terminate', 'Preempt']]) }),
  }));
  return Config.parse({
    hooks,
    hooksDir: '/etc/none',
    events: {
      Preempt: drains,
      Terminate: drains,
      ackShared: random.chance(0.1),
    },
    checkpoint: {
      store: { url: 'http://127.0.0.1:10000/devstoreaccount1/world/p', auth: { kind: 'azurite' } },
      key: 'job',
      sets,
      ...(random.chance(0.3) && { background: false }),
      ...(random.chance(0.5) && { every: '10s' }),
      keep: random.whole(1, 4),
    },
    ...(random.chance(0.7) && {
      notify: [{ name: 'ops', webhook: { 'url-file': '/etc/ops', template: 'cloudevents' } }],
    }),
    state: { dir: '/state' },
  });
}

function makeOthers(random: Random, quietFrom: number): readonly OtherPlan[] {
  const count = random.pick([0, 0, 1, 1, 1, 2]);
  return Array.from({ length: count }, (): OtherPlan => {
    const kind = random.pick(['vm', 'vm', 'container', 'clone', 'command', 'laptop'] as const);
    const startsAt = random.between(2000, quietFrom);
    const steps = Array.from({ length: random.whole(1, 8) }, (): OtherStep => {
      const at = random.between(startsAt, quietFrom + 10_000);
      const what = kind === 'laptop' ? random.pick(['prune', 'restore'] as const) : random.pick(STEPS);
      return { at, what };
    });
    const restoresFirst = kind === 'vm' && random.chance(0.5);
    const freezes = Array.from({ length: random.whole(0, 2) }, () => ({
      at: random.between(startsAt, quietFrom),
      forMs: random.between(100, 90_000),
    }));
    return { kind, startsAt, restoresFirst, steps, freezes, sleeps: random.chance(0.3) };
  });
}

const STEPS = ['stage', 'stage', 'commit', 'commit', 'commit', 'prune', 'restore', 'restart'] as const;

function makeEvents(random: Random, isCalm: boolean, quietFrom: number): SimulatedEvent[] {
  const count = isCalm ? 1 : random.whole(0, 5);
  const latest = Math.max(4000, quietFrom - 35_000);
  let lastAt = 0;
  return Array.from({ length: count }, (_, index): SimulatedEvent => {
    const isSoonAfter = index > 0 && random.chance(0.4);
    const announcedAt = isSoonAfter ? lastAt + random.between(100, 15_000) : random.between(3000, latest);
    lastAt = announcedAt;
    const noticeMs = isCalm ? 30_000 : random.pick([30_000, 30_000, 15_000, 5000, 300_000, -5000]);
    const isWithdrawn = !isCalm && random.chance(0.5);
    return {
      id: `${random.chance(0.5) ? 'AAAA' : 'aaaa'}-${index}`,
      type: isCalm ? 'Preempt' : random.pick(TYPES),
      resources: isCalm ? [SELF] : random.pick(RESOURCES),
      source: random.pick(['Platform', 'User']),
      announcedAt,
      notBefore: announcedAt + noticeMs,
      // Somebody else of those whom it hits may have approved it.
      startsAt:
        !isCalm && random.chance(0.3)
          ? announcedAt + random.between(500, 15_000)
          : announcedAt + Math.max(0, noticeMs + random.between(0, 2000)),
      goneAt: isWithdrawn ? announcedAt + random.between(500, 60_000) : Infinity,
    };
  });
}

const TYPES = [
  'Preempt',
  'Preempt',
  'Preempt',
  'Terminate',
  'Terminate',
  'Reboot',
  'Redeploy',
  'Freeze',
  'SpotRebalanceRecommendation',
  'Novelty',
] as const;

const RESOURCES: readonly [readonly string[], ...(readonly string[])[]] = [
  [SELF],
  [SELF],
  [SELF],
  [SELF.toUpperCase()],
  [SELF, 'fleet_9'],
  ['fleet_9'],
  ['fleet_9', 'fleet_22'],
  [],
];
