import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import * as z from 'zod';

import { NOTE_MESSAGES } from '../../src/daemon/notes.ts';
import { type Bind, type Machine, bootMachine, until } from '../support/nspawn.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const UNITS = ['evictd.service', 'evictd-restore.service', 'evictd.slice', 'evictd-preempt.target'];
const MockLog = z.object({
  requests: z.array(z.unknown()),
  acks: z.array(z.object({ eventId: z.string() })),
});

/** A machine with the daemon as its service and the mock metadata service on its real address. */
export interface Rig extends AsyncDisposable {
  readonly machine: Machine;
  announce(id: string, type?: string): Promise<void>;
  withdraw(id: string): Promise<void>;
  acks(id: string): Promise<number>;
  property(unit: string, name: string): Promise<string>;
  /** What a unit logged (default: the daemon), with the priority that journald gave each line. */
  log(unit?: string): Promise<Record<string, unknown>[]>;
  /** Waits for a line of the daemon with this message that `fits`. */
  logged(
    message: string,
    fits?: (line: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>>;
  /** The lines of a file inside; none when it isn't there. */
  lines(file: string): Promise<string[]>;
  /** Waits for so many more polls of the daemon, one a second. */
  polls(count: number): Promise<void>;
  /** Waits until the daemon has gone back to watching so many times. */
  watchesAgain(times: number): Promise<void>;
}

export interface RigOptions {
  readonly config: string;
  /** By their path in /etc/evictd, executable. */
  readonly scripts?: Readonly<Record<string, string>>;
  /** By their path in /etc/systemd/system. */
  readonly units?: Readonly<Record<string, string>>;
  readonly binds?: readonly Bind[];
}

/** A service of the test's own that lives until the very end of a shutdown, as what is outside of a VM does. */
export const OUTSIDE_SERVICE = ['systemd-run', '--quiet', '--property=DefaultDependencies=no'];

/** Boots it, with the mock up and the daemon not yet started. */
export async function bootRig(options: RigOptions): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-rig-'));
  const machine = await writeFiles(folder, options).then((binds) => bootMachine(binds));
  const dispose = async () => {
    await machine.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await startMock(machine);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { ...createRig(machine), [Symbol.asyncDispose]: dispose };
}

async function writeFiles(folder: string, { config, scripts = {}, units = {}, binds = [] }: RigOptions) {
  const files = [
    { path: 'etc/config.yaml', text: config, mode: 0o644 },
    ...Object.entries(scripts).map(([name, text]) => ({ path: `etc/${name}`, text, mode: 0o755 })),
    ...Object.entries(units).map(([name, text]) => ({ path: `units/${name}`, text, mode: 0o644 })),
  ];
  for (const { path, text, mode } of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text, { mode });
  }
  const system = '/etc/systemd/system';
  const tops = new Set(Object.keys(units).map((name) => name.split('/')[0] ?? name));
  return [
    { host: process.execPath, inside: '/usr/bin/node' },
    { host: process.execPath, inside: '/usr/lib/evictd/node' },
    { host: join(ROOT, 'packaging/files/evictd'), inside: '/usr/bin/evictd' },
    { host: join(folder, 'etc'), inside: '/etc/evictd' },
    { host: join(ROOT, 'dist/evictd.js'), inside: '/usr/lib/evictd/evictd.js' },
    { host: join(ROOT, 'systemd/evictd.sysusers'), inside: '/usr/lib/sysusers.d/evictd.conf' },
    ...UNITS.map((name) => ({ host: join(ROOT, 'systemd', name), inside: `${system}/${name}` })),
    ...[...tops].map((name) => ({ host: join(folder, 'units', name), inside: `${system}/${name}` })),
    ...binds,
  ];
}

async function startMock(machine: Machine): Promise<void> {
  await machine.output(['ip', 'address', 'add', '169.254.169.254/32', 'dev', 'lo']);
  const program = ['node', '/usr/lib/evictd/evictd.js', 'mock-imds'];
  const address = ['--listen', '169.254.169.254:80', '--vm-name', 'fleet_2'];
  await machine.output([...OUTSIDE_SERVICE, '--unit=mock-imds', ...program, ...address]);
  const probe = ['node', '-e', 'fetch("http://169.254.169.254/mock/state")'];
  await until('the mock to answer', async () => (await machine.inside(probe)).code === 0);
}

function createRig(machine: Machine): Omit<Rig, typeof Symbol.asyncDispose> {
  async function mock(method: string, path: string, body = ''): Promise<unknown> {
    const program = `const [method, path, body] = process.argv.slice(1);
      const answer = await fetch('http://169.254.169.254/mock/' + path, { method, body: body || null });
      if (!answer.ok) throw new Error(await answer.text());
      console.log(await answer.text());`;
    const argv = ['node', '--input-type=module', '-e', program, method, path, body];
    return JSON.parse((await machine.output(argv)) || 'null');
  }
  const mockLog = async () => MockLog.parse(await mock('GET', 'log'));
  async function log(unit = 'evictd.service'): Promise<Record<string, unknown>[]> {
    return (await machine.journal(unit)).flatMap(({ MESSAGE = '', PRIORITY }) =>
      MESSAGE.startsWith('{')
        ? // Its lines are objects; a test that finds something else fails.
          [{ priority: PRIORITY, ...(JSON.parse(MESSAGE) as Record<string, unknown>) }]
        : [],
    );
  }
  return {
    machine,
    async announce(id, type = 'Preempt') {
      await mock('POST', 'events', JSON.stringify({ id, type, notBefore: '30s', startedFor: '1s' }));
    },
    async withdraw(id) {
      await mock('DELETE', `events/${id}`);
    },
    acks: async (id) => (await mockLog()).acks.filter(({ eventId }) => eventId === id).length,
    property: async (unit, name) =>
      (await machine.output(['systemctl', 'show', '--value', `--property=${name}`, unit])).trim(),
    log,
    logged: (message, fits = () => true) =>
      until(`"${message}"`, async () => (await log()).find((line) => line['msg'] === message && fits(line))),
    lines: async (file) => (await machine.inside(['cat', file])).stdout.split('\n').filter(Boolean),
    async polls(count) {
      const before = (await mockLog()).requests.length;
      await until(`${count} polls`, async () => (await mockLog()).requests.length >= before + count);
    },
    async watchesAgain(times) {
      await until('the drain to be over', async () => {
        const messages = (await log()).map(({ msg }) => msg);
        return messages.filter((msg) => msg === NOTE_MESSAGES['watching-again']).length === times;
      });
    },
  };
}
