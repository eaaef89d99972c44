import type { ControlHandlers } from '../../src/control/server.ts';
import { type MemoryBlobs, createMemoryBlobs } from '../support/memory-blobs.ts';
import { type Agenda, createAgenda } from './agenda.ts';
import { createDisk } from './disk.ts';
import { type Facts, createFacts } from './facts.ts';
import { type Guest, type GuestProcess, WALL_EPOCH, wallMs } from './guest.ts';
import { type Ledger, createLedger } from './ledger.ts';
import { KEY, PREFIX, type Plan, SELF, makePlan } from './plan.ts';
import { type Random, createRandom } from './random.ts';
import { type Rules, createRules } from './rules.ts';
import { type Span, type Workload, createWorkload } from './workload.ts';

/** Everything of one life. */
export interface World {
  readonly seed: number;
  readonly plan: Plan;
  readonly agenda: Agenda;
  readonly random: Random;
  readonly facts: Facts;
  readonly rules: Rules;
  readonly guest: Guest;
  readonly service: MemoryBlobs;
  readonly ledger: Ledger;
  /** By the name of the VM on which they work. */
  readonly workloads: Map<string, readonly Workload[]>;
  readonly trace: (text: string) => void;
  /** The daemon that runs at the moment, and how it is asked; see doors.ts. */
  process: GuestProcess | undefined;
  handlers: ControlHandlers | undefined;
  /** All others, dead ones too. */
  readonly besides: GuestProcess[];
  processes: number;
  /** Somebody is paused for so long right before the entry that would be written; see others.ts. */
  onPaused: (forMs: number) => void;
  /** Somebody prunes within that time; see others.ts. */
  tidyWithin: (ms: number) => void;
  /** Nobody else comes any more. */
  isOver: boolean;
  /** Nothing has kept the daemon from going on since then. */
  undisturbedSince: number;
  diskHasFailed: boolean;
  /** The workload, by a hook. */
  isStopped: boolean;
}

/** The kernel's clock for files. */
const TICK_MS = 4;

export function createWorld(
  seed: number,
  settled: () => Promise<void>,
  trace: (text: string) => void,
): World {
  const random = createRandom(seed);
  const plan = makePlan(random);
  const agenda = createAgenda(settled);
  const facts = createFacts();
  const times = {
    bootedAt: -60_000,
    wallOffset: plan.isCalm ? 0 : random.between(-5000, 5000),
    rate: plan.rate,
    frozenUntil: 0,
  };
  const disk = createDisk(() => BigInt(Math.floor(wallMs(times, agenda) / TICK_MS) * TICK_MS) * 1_000_000n);
  // The same object: a step of the clock is one for the disk too.
  const guest: Guest = Object.assign(times, { name: SELF, disk, bootId: '', isAlive: true });
  const { config, events } = plan;
  const workloads = (config.checkpoint?.sets ?? []).map(({ name }) =>
    createWorkload({ set: name, flushes: plan.flushes }, { disk, agenda, random }),
  );
  const service = createMemoryBlobs({ pageMax: plan.pageMax, wallMs: () => WALL_EPOCH + agenda.now() });
  const say = (text: string) => trace(`${(agenda.now() / 1000).toFixed(3).padStart(8)}  ${text}`);
  const ledger = createLedger({
    prefix: PREFIX,
    key: KEY,
    service,
    now: agenda.now,
    broken: (what) => void facts.violations.push(what),
    onEntry({ set, id, role, epoch }, entry) {
      const doubts = entry.kind === 'checkpoint' ? [...entry.changing.paths, ...entry.lost.paths] : [];
      say(
        `${entry.kind} ${set} ${id} of ${role}, epoch ${epoch}${doubts.length > 0 ? `, doubts: ${doubts.join(' ')}` : ''}`,
      );
    },
  });
  const versionsOf = (set: string, span: Span) =>
    workloads.find((workload) => workload.set === set)?.versionsOf(span) ?? [];
  const world: World = {
    seed,
    plan,
    agenda,
    random,
    facts,
    rules: createRules({
      config,
      events,
      facts,
      ledger,
      versionsOf,
      now: agenda.now,
      mayForget: () => world.diskHasFailed,
    }),
    guest,
    service,
    ledger,
    workloads: new Map([[SELF, workloads]]),
    trace: say,
    process: undefined,
    handlers: undefined,
    besides: [],
    onPaused: () => undefined,
    tidyWithin: () => undefined,
    isOver: false,
    processes: 0,
    undisturbedSince: 0,
    diskHasFailed: false,
    isStopped: false,
  };
  makeFolders(world, '/proc/sys/kernel/random');
  world.guest.disk.mkdir('/state', 0o700);
  boot(world);
  return world;
}

function makeFolders({ guest: { disk } }: World, path: string): void {
  let at = '';
  for (const part of path.split('/').slice(1)) {
    at += `/${part}`;
    if (disk.inode(at) === undefined) disk.mkdir(at, 0o755);
  }
}

/** The kernel names the boot. */
export function boot({ guest, facts }: World): void {
  const { disk } = guest;
  guest.bootId = `boot-${facts.powerCuts}`;
  const fd = disk.open('/proc/sys/kernel/random/boot_id', 'w');
  const text = Buffer.from(`${guest.bootId}\n`);
  disk.write(fd, text, 0, text.length, 0);
  disk.close(fd);
  disk.flush();
}
