import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as z from 'zod';

import { bootMachine, until } from './nspawn.ts';
import type { Bind, Machine } from './nspawn.ts';
import type { Suite } from './nspawn-root.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TOOLS = '/opt/test';
const IMDS = '169.254.169.254';

/** Where a gate is, the hook of that stage waits until it is gone. */
export type Gate = 'before' | 'after';

export interface InstalledVm {
  readonly machine: Machine;
  /** Announces a Preempt of this VM that is over soon after its acknowledgement. */
  announce(id: string, startedFor?: string): Promise<void>;
  acks(id: string): Promise<number>;
  /** Number of polls that the metadata service has answered. */
  polls(): Promise<number>;
  /** `STAGE EVENT ATTEMPT` of each start of a test hook, oldest first. */
  hookCalls(id: string): Promise<string[]>;
  hold(gate: Gate): Promise<void>;
  release(gate: Gate): Promise<void>;
  property(unit: string, name: string): Promise<string>;
  untilActive(unit: string): Promise<void>;
}

export interface Disk {
  readonly folder: string;
  readonly suite: Suite;
  /** compute.name. */
  readonly vmName: string;
}

/** A file of the machine before its first boot. */
export type Files = Readonly<Record<string, string | { readonly text: string; readonly mode: number }>>;

/**
 * What stands around evictd on an Azure VM: the metadata service on its real address, a blob store, a workload that is
 * enabled but knows nothing of evictd, and cloud-init with its user-data. All of it is back after a reboot.
 */
export async function createDisk(
  { folder, vmName }: Disk,
  userData: string,
  more: Files = {},
): Promise<void> {
  await writeFiles(folder, {
    '/var/lib/cloud/seed/nocloud/user-data': userData,
    '/var/lib/cloud/seed/nocloud/meta-data': `instance-id: ${vmName}\nlocal-hostname: vm\n`,
    '/etc/cloud/cloud.cfg.d/90-test.cfg':
      'datasource_list: [NoCloud, None]\nnetwork: { config: disabled }\nlocale: false\nssh_deletekeys: false\n',
    '/etc/systemd/system/mock-imds.service': unit(
      [
        `ExecStartPre=ip address replace ${IMDS}/32 dev lo`,
        `ExecStart=${TOOLS}/node ${TOOLS}/evictd.js mock-imds --listen ${IMDS}:80 --vm-name ${vmName}`,
      ],
      FIRST,
    ),
    '/etc/systemd/system/azurite.service': unit(
      [
        `ExecStart=${TOOLS}/node ${TOOLS}/node_modules/azurite/dist/src/blob/main.js --location /var/azurite --silent --skipApiVersionCheck --disableTelemetry`,
        "ExecStartPost=sh -c 'until curl --silent http://127.0.0.1:10000; do sleep 0.1; done'",
      ],
      FIRST,
    ),
    '/etc/systemd/system/job.service': unit(['ExecStart=/usr/local/bin/job']),
    '/usr/local/bin/job': { text: JOB, mode: 0o755 },
    '/usr/local/bin/gated-hook': { text: HOOK, mode: 0o755 },
    '/etc/evictd/conf.d/60-test.yaml': HOOKS,
    // The real time would only make the test longer.
    '/etc/systemd/system/evictd.service.d/watchdog.conf': '[Service]\nWatchdogSec=6s\n',
    ...more,
  });
  const wants = join(folder, 'upper/etc/systemd/system/multi-user.target.wants');
  await mkdir(wants, { recursive: true });
  for (const name of ['mock-imds.service', 'azurite.service']) await symlink(`../${name}`, join(wants, name));
}

/** A worker that counts its steps, and writes down from where it starts and, when it is asked to end, how far it came. */
export const JOB = `#!/bin/sh
cd /var/lib/job 2>/dev/null || { mkdir /var/lib/job && cd /var/lib/job; }
step=$(cat step 2>/dev/null || echo 0)
echo "from $step" | tee -a starts
trap 'echo "stopped at $step" > end; exit 0' TERM
while :; do step=$((step + 1)); echo "$step" > step; sleep 0.1 & wait $!; done
`;

const HOOK = `#!/bin/sh
echo "$1 $EVICTD_EVENT_ID $EVICTD_ATTEMPT" >> /var/log/hooks.calls
while [ -e "/run/hold.$1" ]; do sleep 0.05; done
`;

const HOOKS = `hooks:
  - { name: before, run: [/usr/local/bin/gated-hook, before], timeout: 25s, order: 60 }
  - { name: after, run: [/usr/local/bin/gated-hook, after], timeout: 25s, stage: after-checkpoint }
  - { name: resumed, run: [/usr/local/bin/gated-hook, resumed], stage: on-resume }
`;

// Azure is there before the VM is.
const FIRST = 'Before=evictd.service evictd-restore.service';

function unit(service: readonly string[], order = ''): string {
  return `[Unit]\n${order}\n[Service]\n${service.join('\n')}\n[Install]\nWantedBy=multi-user.target\n`;
}

/** Writes them to a disk that was not booted yet. */
export async function writeFiles(folder: string, files: Files): Promise<void> {
  for (const [path, file] of Object.entries(files)) {
    const { text, mode } = typeof file === 'string' ? { text: file, mode: 0o644 } : file;
    const target = join(folder, 'upper', path);
    await mkdir(dirname(target), { recursive: true, mode: 0o755 });
    await writeFile(target, text);
    // Whatever the umask is.
    await chmod(target, mode);
  }
}

/** Boots it and waits until cloud-init has done its work. */
export async function bootInstalledVm(disk: Disk, binds: readonly Bind[]): Promise<InstalledVm> {
  const machine = await bootMachine(
    [
      { host: process.execPath, inside: `${TOOLS}/node` },
      { host: join(ROOT, 'node_modules'), inside: `${TOOLS}/node_modules` },
      { host: join(ROOT, 'dist/evictd.js'), inside: `${TOOLS}/evictd.js` },
      ...binds,
    ],
    { root: { suite: disk.suite }, disk: disk.folder },
  );
  try {
    const cloudInit = await machine.inside(['cloud-init', 'status', '--wait', '--long'], {
      timeoutMs: 90_000,
    });
    // 2: done, but something was only a warning.
    if (cloudInit.code !== 0 && cloudInit.code !== 2) throw new Error(await cloudInitTrouble(machine));
    return createVm(machine);
  } catch (error) {
    await machine.stop();
    throw error;
  }
}

async function cloudInitTrouble(machine: Machine): Promise<string> {
  const said = await machine.inside(['journalctl', '--no-pager', '--lines=150']);
  return `cloud-init failed:\n${said.stdout}`;
}

const Log = z.object({
  requests: z.array(z.object({ method: z.string() })),
  acks: z.array(z.object({ eventId: z.string() })),
});

function createVm(machine: Machine): InstalledVm {
  const imds = (path: string, ...options: string[]) =>
    machine.output(['curl', '--silent', '--show-error', '--fail', ...options, `http://${IMDS}/mock/${path}`]);
  const log = async () => Log.parse(JSON.parse(await imds('log')));
  const property = async (unitName: string, name: string) =>
    (await machine.output(['systemctl', 'show', '--value', `--property=${name}`, unitName])).trim();
  return {
    machine,
    property,
    async announce(id, startedFor = '1s') {
      await imds('events', '--data', JSON.stringify({ id, notBefore: '30s', startedFor }));
    },
    acks: async (id) => (await log()).acks.filter(({ eventId }) => eventId === id).length,
    polls: async () => (await log()).requests.length,
    async hookCalls(id) {
      const { stdout } = await machine.inside(['grep', ` ${id} `, '/var/log/hooks.calls']);
      return stdout.split('\n').filter(Boolean);
    },
    hold: async (gate) => void (await machine.output(['touch', `/run/hold.${gate}`])),
    release: async (gate) => void (await machine.output(['rm', `/run/hold.${gate}`])),
    async untilActive(name) {
      await until(`${name} to be active`, async () => (await property(name, 'ActiveState')) === 'active');
    },
  };
}

/** User-data of the project with the places that are to be replaced filled in for this machine. */
export async function userDataFor(
  name: 'install' | 'golden-image',
  replacements: Readonly<Record<string, string>> = {},
): Promise<string> {
  const text = await readFile(join(ROOT, `packaging/cloud-init/${name}.yaml`), 'utf8');
  const all = {
    'https://ACCOUNT.blob.core.windows.net/CONTAINER': 'http://127.0.0.1:10000/devstoreaccount1/checkpoints',
    '{ kind: managed-identity, clientId: CLIENT_ID }': '{ kind: azurite }',
    ...replacements,
  };
  return Object.entries(all).reduce((result, [place, value]) => {
    if (!result.includes(place)) throw new Error(`${name}.yaml has no ${place}`);
    return result.replaceAll(place, value);
  }, text);
}
