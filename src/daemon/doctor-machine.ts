import { constants } from 'node:fs';
import { access, readFile, readdir, stat, statfs } from 'node:fs/promises';

import type { Clock } from '../base/clock.ts';
import { isErrno, messageOf } from '../base/errors.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import { askManager } from '../hooks/manager.ts';
import { createJournal, readBootId } from '../journal/journal.ts';
import { checkAttributes } from './doctor-attributes.ts';
import type { Patient } from './doctor-facts.ts';
import { type Found, fail, ok, warn } from './doctor-finding.ts';
import { examineHooks } from './hook-check.ts';
import { NOTHING_TO_DO, isNothingToDo } from './nothing-to-do.ts';

/** Every hook as the runner looks at it before a start; none is started. */
export async function checkHooks({ loaded, clock, env, daemon }: Patient): Promise<Found[]> {
  const { hooks, problems } = await examineHooks(loaded, { clock, environment: env });
  // The daemon also knows those that programs have registered.
  if (isNothingToDo(daemon?.hooks.length ?? hooks, loaded.config.checkpoint?.sets.length))
    return [
      fail(NOTHING_TO_DO, 'write the config; `evictd config reference` explains every key, README has one'),
    ];
  if (problems.length === 0)
    return [ok(hooks === 0 ? 'none are configured' : `${hooks}, all could be started`)];
  return problems.map(({ text, remedy, isFault }) => (isFault ? fail(text, remedy) : warn(text, remedy)));
}

/** Programs that also watch Scheduled Events, and by an acknowledgement could cut a drain short. */
const WATCHERS: readonly { readonly name: string; readonly pattern: RegExp; readonly remedy: string }[] = [
  {
    name: "CycleCloud's agent (jetpack)",
    pattern: /\bjetpackd?\b/,
    remedy: 'set cyclecloud.monitor_scheduled_events = false in the cluster template',
  },
  {
    name: "AKS's node-problem-detector",
    pattern: /\bnode-problem-detector\b|\bcheck_scheduledevent/,
    remedy: 'on nodes of AKS leave the draining to AKS, or turn its auto-drain off',
  },
  {
    name: 'aks-node-termination-handler',
    pattern: /\baks-node-termination-handler\b|\baksnth\b/,
    remedy: 'let only one of the two drain this node',
  },
  {
    name: 'azure-scheduledevents-manager',
    pattern: /\bazure-scheduledevents?-(?:manager|exporter)\b/,
    remedy: 'stop it, or turn its acknowledgements off',
  },
  {
    name: "Pacemaker's azure-events agent",
    pattern: /\bazure-events(?:-az)?\b/,
    remedy: 'let only one of the two acknowledge',
  },
];

const PROCESSES_MAX = 20_000;

/** Looks at the command lines of all processes. */
export async function checkWatchers(): Promise<Found[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).slice(0, PROCESSES_MAX);
  const found = new Map<string, string>();
  for (const pid of pids) {
    const line = await commandLine(pid);
    const watcher = WATCHERS.find(({ pattern }) => pattern.test(line));
    if (watcher !== undefined && !found.has(watcher.name)) found.set(watcher.name, pid);
  }
  if (found.size === 0) return [ok('no other program is known to watch Scheduled Events here')];
  return [...found].map(([name, pid]) =>
    warn(
      `${name} (process ${pid}) also watches Scheduled Events: it may acknowledge what evictd still drains for`,
      WATCHERS.find((watcher) => watcher.name === name)?.remedy,
    ),
  );
}

/** Program and script, without what is passed to them. */
async function commandLine(pid: string): Promise<string> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, 2).join(' ');
  } catch (error) {
    // It has ended meanwhile, or is hidden.
    if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return '';
    throw error;
  }
}

/** The journal and the file indexes are written there, during a drain too. */
const SPACE_FAIL = 16 * 1024 ** 2;
const SPACE_WARN = 256 * 1024 ** 2;

export async function checkState({ loaded }: Patient): Promise<Found[]> {
  const { dir } = loaded.config.state;
  try {
    await access(dir, constants.W_OK | constants.X_OK);
  } catch (error) {
    const isMissing = isErrno(error, 'ENOENT');
    if (isMissing) return [warn(`state.dir: ${dir} is not there yet`, 'the daemon makes it at its start')];
    return [
      fail(
        `state.dir: ${dir} can't be written: ${messageOf(error)}`,
        'run this as root, or correct its owner',
      ),
    ];
  }
  const { bavail, bsize, ffree, files } = await statfs(dir);
  const free = bavail * bsize;
  const space = `state.dir: ${dir} has ${formatSize(free)} free`;
  const room = `make room on the disk of ${dir}`;
  // File systems that make inodes as they need them count none.
  const isOutOfInodes = files > 0 && ffree === 0;
  return [
    isOutOfInodes
      ? fail(`state.dir: ${dir} has no inode left`, room)
      : free < SPACE_FAIL
        ? fail(space, room)
        : free < SPACE_WARN
          ? warn(space, room)
          : ok(space),
    await checkJournal(dir),
  ];
}

async function checkJournal(dir: string): Promise<Found> {
  const journal = createJournal({ dir, bootId: await readBootId() });
  const reason = await journal.problem();
  return reason === undefined
    ? ok('the journal is readable')
    : warn(`${journal.file} can't be read: ${reason}`, 'nothing to do: it is set aside at the next start');
}

/** Folders of the sets. */
export async function checkSets({ loaded }: Patient, signal: AbortSignal): Promise<Found[]> {
  const sets = loaded.config.checkpoint?.sets ?? [];
  const found = await Promise.all(
    sets.map(async ({ name, path }) => {
      try {
        if (!(await stat(path)).isDirectory()) return fail(`set ${name}: ${path} is not a folder`);
        await access(path, constants.R_OK | constants.X_OK);
        if ((await readdir(path)).length === 0)
          return warn(`set ${name}: ${path} is empty`, "nothing to do, unless the set's path is another");
        return [ok(`set ${name}: ${path} can be read`), ...(await checkAttributes(name, path, signal))];
      } catch (error) {
        if (isErrno(error, 'ENOENT')) {
          return fail(`set ${name}: ${path} does not exist`, "create it, or correct the set's path");
        }
        return fail(
          `set ${name}: ${path} can't be read: ${messageOf(error)}`,
          'run this as root, as the daemon does',
        );
      }
    }),
  );
  if (sets.length === 0) return [];
  return [...found.flat(), ...judgeHardLinks(await readFile('/proc/sys/fs/protected_hardlinks', 'utf8'))];
}

/** By the kernel's setting: may users link what they can't read? A link in a set's folder is uploaded with the rest. */
export function judgeHardLinks(setting: string): Found[] {
  if (setting.trim() !== '0') return [];
  return [
    warn(
      'fs.protected_hardlinks is 0: who writes into a folder of a set can have any file of that disk uploaded',
      'sysctl -w fs.protected_hardlinks=1, and the same in /etc/sysctl.d',
    ),
  ];
}

/** Connections to the store, files that are read, hooks' pipes. */
const OPEN_FILES_MIN = 1024;

/** Of the daemon where it runs, otherwise of this process. */
export async function checkLimits({ daemon }: Patient): Promise<Found[]> {
  const whose = daemon === undefined ? 'self' : String(daemon.pid);
  const limits = await readFile(`/proc/${whose}/limits`, 'utf8');
  const open = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  if (open === undefined || Number(open) >= OPEN_FILES_MIN)
    return [ok(`up to ${open ?? 'any number of'} open files`)];
  return [
    warn(
      `only ${open} files may be open at a time`,
      'raise LimitNOFILE of evictd.service (systemctl edit evictd)',
    ),
  ];
}

const UNIT = 'evictd.service';
const ASK_MS = 5000;

/** Will systemd start it at the next boot, and notice when it hangs? */
export async function checkUnit({ clock }: Pick<Patient, 'clock'>, signal: AbortSignal): Promise<Found[]> {
  if (!(await isThere('/run/systemd/system')))
    return [warn('systemd does not run here: something else has to start evictd')];
  const unit = await showUnit(clock, signal);
  const value = (name: string) => unit.get(name) ?? '';
  if (value('LoadState') !== 'loaded') {
    return [
      warn(
        `${UNIT} is ${value('LoadState') || 'unknown'}`,
        'install the unit, if systemd is to start evictd',
      ),
    ];
  }
  const isEnabled = value('UnitFileState') === 'enabled';
  const isActive = value('ActiveState') === 'active';
  return [
    isActive
      ? ok(`${UNIT} is active, restarted ${value('NRestarts') || '0'} times`)
      : fail(
          `${UNIT} is ${value('ActiveState')}`,
          'systemctl start evictd; journalctl -u evictd says why it ended',
        ),
    isEnabled
      ? ok(`${UNIT} is started at boot`)
      : warn(`${UNIT} is ${value('UnitFileState')}: it is not started at boot`, 'systemctl enable evictd'),
    ...(value('WatchdogUSec') === '0' || value('WatchdogUSec') === 'infinity'
      ? [warn(`${UNIT} has no watchdog: a daemon that hangs stays so`, 'set WatchdogSec=15s')]
      : []),
  ];
}

async function showUnit(clock: Clock, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const properties = ['LoadState', 'ActiveState', 'UnitFileState', 'WatchdogUSec', 'NRestarts'];
  const args = ['show', ...properties.map((name) => `--property=${name}`), '--', UNIT];
  const { stdout } = await askManager('systemctl', args, { clock, limitMs: ASK_MS, signal });
  return new Map(
    stdout.split('\n').map((line) => {
      const [name = '', ...rest] = line.split('=');
      return [name, rest.join('=')];
    }),
  );
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

/** Polls further apart than this much more than planned are a daemon that is blind. */
const QUIET_MS = 15_000;

/** Does it answer, does it hear the metadata service, can it store? */
export async function checkDaemon({ daemon, loaded }: Patient): Promise<Found[]> {
  if (daemon === undefined) {
    return [
      fail('evictd is not running: an eviction now would not be noticed', 'systemctl enable --now evictd'),
    ];
  }
  const { phase, pid, poll, store, dryRun } = daemon;
  const running = `evictd runs (process ${pid}), ${phase}`;
  const quietMs = loaded.config.imds.pollInterval + QUIET_MS;
  const findings = [dryRun ? warn(`${running}, as a dry run: it would do nothing`) : ok(running)];
  if (poll.lastGoodAgoMs === undefined || poll.lastGoodAgoMs > quietMs) {
    const since =
      poll.lastGoodAgoMs === undefined ? 'never yet' : `not for ${formatDuration(poll.lastGoodAgoMs)}`;
    findings.push(
      fail(`the metadata service has answered it ${since}: ${poll.lastError ?? 'no error is known'}`),
    );
  }
  if (store !== undefined && (!store.ready || store.error !== undefined)) {
    findings.push(fail(`it can't store checkpoints: ${store.error ?? 'the store is not open yet'}`));
  }
  return findings;
}
