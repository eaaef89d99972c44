import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

import { boundedSignal } from '../base/abort.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import { rehearsalPrefix } from '../checkpoint/commit/rehearsal-store.ts';
import { createProbe } from '../checkpoint/store/probe.ts';
import type { UploadEstimate } from '../core/ports.ts';
import { expectedUploadMs } from '../core/budget.ts';
import { readBootId } from '../journal/journal.ts';
import type { Patient } from './doctor-facts.ts';
import { type Found, fail, failBy, ok, warn } from './doctor-finding.ts';
import { copyIndexes } from './drill-engine.ts';
import { instanceNamed } from './identity.ts';
import type { Instance } from '../imds/instance.ts';
import { expandKey, needsInstance } from './key.ts';
import { configuredVmName } from './policy.ts';
import { openCheckpoints } from './wire-checkpoints.ts';
import { type OpenStore, openStore } from './wire-store.ts';

const TRY_MS = 20_000;

/** Name, TLS, token, role, container, and whether all that a checkpoint needs may be done: with a probe of some bytes. */
export async function checkStore(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { loaded, clock } = patient;
  const { checkpoint } = loaded.config;
  if (checkpoint === undefined) return [ok('no checkpoint section: evictd only runs hooks and acknowledges')];
  const opened = await openStore(loaded.config, checkpoint, { clock });
  try {
    using bound = boundedSignal(clock, TRY_MS, signal);
    await reach(opened, bound.signal);
    const { prefix } = opened.target;
    const isNamed = !needsInstance(checkpoint.key, undefined) || nameOf(patient) !== undefined;
    const key = isNamed ? expandKey(checkpoint.key, instanceOf(patient)) : undefined;
    const below = key === undefined ? folder(prefix) : rehearsalPrefix({ prefix, key });
    return [
      ok(`${opened.store.describe} is reachable, key ${key ?? 'unknown'}`),
      await tryOut(opened, `${below}doctor/`, bound.signal),
    ];
  } finally {
    await opened.close();
  }
}

async function reach(opened: OpenStore, signal: AbortSignal): Promise<void> {
  try {
    await opened.store.ensureContainer(signal);
  } catch (error) {
    // A try that is over before it has failed says nothing; why there is no token does.
    throw opened.tokenError() ?? error;
  }
}

async function tryOut({ store }: OpenStore, below: string, signal: AbortSignal): Promise<Found> {
  try {
    await createProbe(store, below)(signal);
    return ok('writing, listing, reading and removing work');
  } catch (error) {
    const { text, remedy } = failBy(error);
    return fail(text, remedy);
  }
}

function nameOf({ loaded, instance, daemon }: Patient): string | undefined {
  return configuredVmName(loaded.config) ?? instance?.name ?? daemon?.vmName;
}

function instanceOf(patient: Patient): Instance {
  const name = nameOf(patient) ?? hostname();
  return { ...(patient.instance ?? instanceNamed(name)), name };
}

function folder(prefix: string): string {
  return prefix === '' ? '' : `${prefix}/`;
}

/** A notice may leave no more than this: less than 10 s, with the commit itself. */
const SHORT_WINDOW_MS = 8000;
const LOOK_MS = 5 * 60_000;

/** What a notice now would have to move, against the window. */
export async function checkFit(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { loaded, daemon } = patient;
  const { checkpoint, window } = loaded.config;
  if (checkpoint === undefined || checkpoint.sets.length === 0) return [ok('there is no set to upload')];
  const upload = daemon?.upload ?? (await estimateWithoutDaemon(patient, checkpoint, signal));
  const expectedMs = expectedUploadMs(upload);
  if (upload.bytesLeft === undefined || expectedMs === undefined) {
    return [
      warn('not known yet what a notice would have to move', 'ask again when evictd has looked at the files'),
    ];
  }
  const rate =
    upload.bytesPerSecond === undefined
      ? 'at an assumed 50 MiB/s'
      : `at the measured ${formatSize(upload.bytesPerSecond)}/s`;
  const text = `a notice now has ${formatSize(upload.bytesLeft)} to move, about ${formatDuration(expectedMs)} ${rate}`;
  const remedy =
    'exclude what can be made anew, stage more often (checkpoint.background), and rehearse it: evictd drill';
  const windowMs = window.notice - window.reserve;
  if (expectedMs > windowMs)
    return [fail(`${text}: more than the ${formatDuration(windowMs)} of window.notice`, remedy)];
  if (expectedMs > SHORT_WINDOW_MS) {
    return [warn(`${text}: notices of less than ${formatDuration(SHORT_WINDOW_MS)} happen`, remedy)];
  }
  return [ok(text)];
}

/** As the daemon would find out: asks the store, looks at the files, sends nothing. */
async function estimateWithoutDaemon(
  patient: Patient,
  checkpoint: NonNullable<Patient['loaded']['config']['checkpoint']>,
  signal: AbortSignal,
): Promise<UploadEstimate> {
  const { loaded, clock } = patient;
  const { config } = loaded;
  using bound = boundedSignal(clock, LOOK_MS, signal);
  const indexDirectory = await mkdtemp(join(tmpdir(), 'evictd-doctor-'));
  try {
    await copyIndexes(config.state.dir, indexDirectory);
    const instance = async () => instanceOf(patient);
    const engine = await openCheckpoints(
      { config, checkpoint, bootId: await readBootId(), instance, indexDirectory },
      { clock, onNote: () => undefined },
      bound.signal,
    );
    try {
      for (const { name } of checkpoint.sets) await engine.port.prepare(name, bound.signal);
      return engine.port.estimate();
    } finally {
      await engine.close();
    }
  } finally {
    await rm(indexDirectory, { recursive: true, force: true });
  }
}
