import { abandonOn, boundedSignal } from '../base/abort.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { askDaemon } from '../control/client.ts';
import { checkEvents, checkInstance, checkProxy, checkSpot } from './doctor-azure.ts';
import type { Patient } from './doctor-facts.ts';
import { type Finding, type Found, failBy, ok, warn } from './doctor-finding.ts';
import {
  checkDaemon,
  checkHooks,
  checkLimits,
  checkSets,
  checkState,
  checkUnit,
  checkWatchers,
} from './doctor-machine.ts';
import { checkFit, checkStore } from './doctor-store.ts';
import { secretFaults } from './secret-check.ts';
import type { Status } from './status.ts';

interface Check {
  readonly name: string;
  readonly run: (patient: Patient, signal: AbortSignal) => Promise<Found[]>;
  /** When it doesn't end by itself. */
  readonly limitMs?: number;
}

const LIMIT_MS = 30_000;

/** In the order in which they are made: later ones know what earlier ones have learned. */
const CHECKS: readonly Check[] = [
  { name: 'config', run: checkConfig },
  { name: 'metadata', run: checkInstance },
  { name: 'spot', run: checkSpot },
  { name: 'events', run: checkEvents, limitMs: 150_000 },
  { name: 'proxy', run: checkProxy },
  { name: 'watchers', run: checkWatchers },
  { name: 'daemon', run: checkRunning },
  { name: 'unit', run: checkUnit },
  { name: 'state', run: checkState },
  { name: 'limits', run: checkLimits },
  { name: 'hooks', run: checkHooks },
  { name: 'sets', run: checkSets },
  { name: 'store', run: checkStore },
  { name: 'window', run: checkFit, limitMs: 6 * 60_000 },
];

/**
 * Looks at all that an eviction depends on, one check after the other, and hands on each finding at once. Changes
 * nothing, but for a probe blob that is removed. A check that throws has failed; rejects only with the signal's reason.
 */
export async function examine(
  patient: Patient,
  onFinding: (finding: Finding) => void,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const { name, run, limitMs = LIMIT_MS } of CHECKS) {
    using bound = boundedSignal(patient.clock, limitMs, signal);
    const found = await abandonOn(bound.signal, run(patient, bound.signal)).catch((error: unknown) => [
      failBy(error),
    ]);
    signal.throwIfAborted();
    for (const one of found) {
      const finding = { check: name, ...one };
      findings.push(finding);
      onFinding(finding);
    }
  }
  return findings;
}

async function checkConfig({ loaded }: Patient): Promise<Found[]> {
  const { config, files, warnings } = loaded;
  const read =
    files.length === 0 ? warn('there is no config file, the defaults apply') : ok(files.join(', '));
  const secrets = (await secretFaults(config)).map((text) => warn(text));
  return [read, ...warnings.map((text) => warn(text)), ...secrets];
}

const ASK_MS = 5000;

/** Learns the daemon's view, for the checks after it. */
async function checkRunning(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { socket } = patient.loaded.config.control;
  try {
    // The daemon is of the same build.
    patient.daemon = (await askDaemon(socket, 'GET', '/v1/status', { timeoutMs: ASK_MS, signal })) as Status;
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-running')) {
      return [{ ...failBy(error), text: `evictd does not answer: ${messageOf(error)}` }];
    }
  }
  return checkDaemon(patient);
}
