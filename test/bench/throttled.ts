import type { Clock } from '../../src/base/clock.ts';
import { createConcurrencyLimit } from '../../src/checkpoint/store/concurrency-limit.ts';
import { RETRY_DEFAULTS, withRetries, type Failure } from '../../src/checkpoint/store/retry.ts';

/**
 * A fleet that is evicted at once, on one storage account. The clients' retries and their window of requests are the
 * real ones; time is simulated, so that a thousand of them fit into one process and each run gives the same figures.
 */
export interface ThrottledResult {
  readonly name: 'throttled';
  readonly case: string;
  readonly clients: number;
  /** No client could do it faster: by the requests or by the bytes that the account takes. */
  readonly leastS: number;
  readonly firstS: number;
  readonly medianS: number;
  readonly lastS: number;
  readonly failed: number;
  /** Of what the account was asked for. */
  readonly refusedShare: number;
  /** The most requests that arrived within 100 ms. */
  readonly peak: number;
}

interface Account {
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  /** What refusals say, in seconds; undefined: nothing. */
  readonly retryAfterS: number | undefined;
  /** Refused whatever there is to do. */
  readonly refusedAnyway?: number;
}

interface Case {
  readonly name: string;
  readonly clients: number;
  readonly packs: number;
  readonly account: Account;
}

const MIB = 1024 ** 2;
const PACK_BYTES = 8 * MIB;
/** Of an Azure account: 20,000 requests and 60 Gbit/s; scaled down for the first cases, so that they are the bottleneck. */
const BYTES_PER_SECOND = 7.5e9;
const CASES: readonly Case[] = [
  one('one VM, half of all refused', 1, 64, {
    requestsPerSecond: 1e6,
    retryAfterS: 1,
    refusedAnyway: 0.5,
  }),
  one('1,000 VMs, few requests allowed', 1000, 8, { requestsPerSecond: 1000, retryAfterS: undefined }),
  one('the same, Retry-After 1 s', 1000, 8, { requestsPerSecond: 1000, retryAfterS: 1 }),
  one('1,000 VMs, little bandwidth', 1000, 8, { requestsPerSecond: 20_000, retryAfterS: 1 }, 2e9),
  one('1,000 VMs, limits of an account', 1000, 16, { requestsPerSecond: 20_000, retryAfterS: 1 }),
];

function one(
  name: string,
  clients: number,
  packs: number,
  account: Omit<Account, 'bytesPerSecond'>,
  bytesPerSecond = BYTES_PER_SECOND,
): Case {
  return { name, clients, packs, account: { ...account, bytesPerSecond } };
}

export async function* measureThrottled(): AsyncGenerator<ThrottledResult> {
  for (const each of CASES) yield await simulate(each);
}

/** The notice is seen by the clients within so long: they poll once a second. */
const NOTICE_MS = 1000;
/** As many packs as are under way at once in a client. */
const PACKS_IN_FLIGHT = 6;
const LATENCY_MS = 10;
/** A queue that is longer is refused. */
const QUEUE_MS_MAX = 1000;
const LIMIT_MS = 600_000;
const PEAK_MS = 100;

export async function simulate({ name, clients, packs, account }: Case): Promise<ThrottledResult> {
  const world = createWorld();
  const random = createRandom(1);
  const server = createAccount(account, world, random);
  const ends: number[] = [];
  let failed = 0;
  for (let client = 0; client < clients; client++) {
    world.clock.timer(random() * NOTICE_MS, () => {
      checkpoint(world.clock, server, packs, random).then(
        () => ends.push(world.clock.monotonicMs()),
        () => failed++,
      );
    });
  }
  await world.run(() => ends.length + failed === clients);
  ends.sort((a, b) => a - b);
  // Metadata, the manifest and a listing come on top of the packs.
  const leastMs = Math.max(
    (clients * (packs + 3)) / account.requestsPerSecond,
    (clients * packs * PACK_BYTES) / account.bytesPerSecond,
  );
  const at = (share: number) => (ends[Math.ceil(share * ends.length) - 1] ?? Number.NaN) / 1000;
  return {
    name: 'throttled',
    case: name,
    clients,
    leastS: leastMs,
    firstS: (ends[0] ?? Number.NaN) / 1000,
    medianS: at(0.5),
    lastS: at(1),
    failed,
    refusedShare: server.refused() / server.asked(),
    peak: server.peak(),
  };
}

interface Server {
  readonly retryAfterS: number | undefined;
  /** False: refused. */
  readonly ask: (bytes: number) => Promise<boolean>;
  readonly asked: () => number;
  readonly refused: () => number;
  readonly peak: () => number;
}

/** What a drain sends: packs, then one request after the other. */
async function checkpoint(
  clock: Clock,
  { ask, retryAfterS }: Server,
  packs: number,
  random: () => number,
): Promise<void> {
  const limit = createConcurrencyLimit({ requestsMax: 64 }, { clock });
  const { signal } = new AbortController();
  const hedges = { count: 0 };
  const explain = (): Failure => ({
    code: 'throttled',
    reason: '503',
    retry: retryAfterS === undefined ? { kind: 'backoff' } : { kind: 'after', delayMs: retryAfterS * 1000 },
  });
  const request = (bytes: number) =>
    withRetries(
      {
        what: 'ask',
        hedgeAfterMs: LIMIT_MS,
        async run() {
          const isServed = await ask(bytes);
          if (!isServed) throw new Error('503');
        },
      },
      { ...RETRY_DEFAULTS, tryTimeoutMs: LIMIT_MS },
      { clock, random, explain, renew: async () => false, hedges, limit },
      signal,
    );
  let left = packs;
  const lane = async () => {
    while (left-- > 0) await request(PACK_BYTES);
  };
  await Promise.all(Array.from({ length: PACKS_IN_FLIGHT }, lane));
  for (let more = 0; more < 3; more++) await request(0);
}

/** Serves what its limits allow, one after the other, and refuses what would have to queue for long. */
function createAccount(account: Account, { clock }: World, random: () => number): Server {
  let freeAt = 0;
  let asked = 0;
  let refused = 0;
  const arrivals = new Map<number, number>();
  return {
    retryAfterS: account.retryAfterS,
    asked: () => asked,
    refused: () => refused,
    peak: () => Math.max(...arrivals.values()),
    ask(bytes) {
      const now = clock.monotonicMs();
      const slot = Math.floor(now / PEAK_MS);
      arrivals.set(slot, (arrivals.get(slot) ?? 0) + 1);
      asked++;
      const isRefused = freeAt - now > QUEUE_MS_MAX || random() < (account.refusedAnyway ?? 0);
      if (isRefused) refused++;
      else {
        const costMs = Math.max(1000 / account.requestsPerSecond, (bytes * 1000) / account.bytesPerSecond);
        freeAt = Math.max(freeAt, now) + costMs;
      }
      const answerAt = (isRefused ? now : freeAt) + LATENCY_MS;
      return new Promise((resolve) => void clock.timer(answerAt - now, () => resolve(!isRefused)));
    },
  };
}

interface World {
  readonly clock: Clock;
  /** Until `isOver`, at most for `LIMIT_MS`. */
  run(isOver: () => boolean): Promise<void>;
}

/** Time that passes only from one timer to the next, in whole milliseconds. */
function createWorld(): World {
  let now = 0;
  const due = new Map<number, Set<() => void>>();
  return {
    clock: {
      monotonicMs: () => now,
      wallMs: () => now,
      timer(delayMs, fire) {
        const at = Math.max(now + 1, Math.ceil(now + delayMs));
        const all = due.get(at) ?? new Set();
        due.set(at, all.add(fire));
        return { [Symbol.dispose]: () => void all.delete(fire) };
      },
    },
    async run(isOver) {
      for (; now < LIMIT_MS && !isOver(); now++) {
        const all = due.get(now);
        if (all === undefined) continue;
        due.delete(now);
        for (const fire of all) fire();
        // All that follows from it without waiting.
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

/** The same numbers in [0, 1) each time (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const THROTTLED_HEADER = [
  '',
  'least possible',
  'first done',
  'median',
  'last',
  'failed',
  'refused',
  'peak in 100 ms',
];

export function throttledRow(result: ThrottledResult): string[] {
  const { leastS, firstS, medianS, lastS, failed, refusedShare, peak } = result;
  return [
    result.case,
    ...[leastS, firstS, medianS, lastS].map((seconds) => `${seconds.toFixed(1)} s`),
    String(failed),
    `${(refusedShare * 100).toFixed(0)} %`,
    String(peak),
  ];
}
