import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';

import type { Clock } from '../base/clock.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { askManager } from './manager.ts';

/** Of a transient unit, as systemd.service(5) and org.freedesktop.systemd1(5) call it. */
export interface UnitState {
  readonly active: string;
  /** `success`, `exit-code`, `signal`, `timeout`, …; says something once the unit is over. */
  readonly result: string;
  /** Exit code or number of the signal of its program. */
  readonly status: number;
  /** Empty when its program was the last of its processes. */
  readonly controlGroup: string;
}

const PREFIX = 'evictd-hook-';
const PROPERTIES = ['LoadState', 'ActiveState', 'Result', 'ExecMainStatus', 'ControlGroup'];
const NAME_MAX = 100;
const FORGET_MS = 5000;
/** Units of `systemd-run` are described here (systemd.unit(5), "Unit File Load Path"). */
const TRANSIENT = '/run/systemd/transient';

/** The unit of a hook in a drain: readable, and nobody else's. */
export function hookUnit(hook: string, drainId: string): string {
  const digest = createHash('sha256').update(`${hook}\0${drainId}`).digest('hex').slice(0, 12);
  const readable = hook.replaceAll(/[^A-Za-z0-9_.-]/g, '-').slice(0, NAME_MAX);
  return `${PREFIX}${readable}-${digest}.service`;
}

/** `none`: there is no such unit. `unknown`: the manager gave no answer. Never rejects. */
export async function findUnit(
  unit: string,
  clock: Clock,
  limitMs: number,
): Promise<UnitState | 'none' | 'unknown'> {
  const args = ['show', ...PROPERTIES.map((name) => `--property=${name}`), '--', unit];
  const answer = await askManager('systemctl', args, { clock, limitMs }).catch(() => undefined);
  if (answer?.code !== 0) return 'unknown';
  const properties = new Map(
    answer.stdout.split('\n').map((line) => {
      const [name = '', ...value] = line.split('=');
      return [name, value.join('=')];
    }),
  );
  const value = (name: string) => properties.get(name) ?? '';
  if (value('LoadState') !== 'loaded') return 'none';
  return {
    active: value('ActiveState'),
    result: value('Result'),
    status: Number(value('ExecMainStatus')),
    controlGroup: value('ControlGroup'),
  };
}

/** Inactive it is only before its start is taken up: when it has ended it stays active, or failed. */
export function isOver({ active }: UnitState): boolean {
  return active === 'active' || active === 'failed';
}

/**
 * Removes the units of hooks (or just those of `names`), and ends what may still run of them: for when no drain needs
 * their results any more. Rejects with `systemd-failed`.
 */
export async function forgetUnits(clock: Clock, names?: readonly string[]): Promise<void> {
  const units = (await transientUnits()).filter((unit) => names?.includes(unit) !== false);
  if (units.length === 0) return;
  // A unit that failed is forgotten by the second, one that succeeded by the first; the other then finds nothing.
  for (const verb of ['stop', 'reset-failed']) {
    await askManager('systemctl', [verb, '--', ...units], { clock, limitMs: FORGET_MS });
  }
}

async function transientUnits(): Promise<readonly string[]> {
  try {
    const names = await readdir(TRANSIENT);
    return names.filter((name) => name.startsWith(PREFIX) && name.endsWith('.service'));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw new EvictdError('systemd-failed', `${TRANSIENT} can't be read`, { cause: error });
  }
}
