import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

import { boundedSignal } from '../base/abort.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';
import { keyPrefix } from '../checkpoint/blob-name.ts';
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
import { openStore } from './wire-store.ts';

const TRY_MS = 20_000;

/** Name, TLS, token, role, container, and whether all that a checkpoint needs may be done: with a probe of one byte. */
export async function checkStore(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { loaded, clock } = patient;
  const { checkpoint } = loaded.config;
  if (checkpoint === undefined) return [ok('no checkpoint section: evictd only runs hooks and acknowledges')];
  const store = await openStore(loaded.config, checkpoint, { clock });
  try {
    using bound = boundedSignal(clock, TRY_MS, signal);
    await reach(store, bound.signal);
    const { prefix } = store.target;
    const isNamed = !needsInstance(checkpoint.key, undefined) || nameOf(patient) !== undefined;
    const key = isNamed ? expandKey(checkpoint.key, instanceOf(patient)) : undefined;
    const below = key === undefined ? folder(prefix) : keyPrefix({ prefix, key });
    const probe = `${below}evictd-doctor/${randomUUID()}`;
    return [
      ok(`${store.describe} is reachable, key ${key ?? 'unknown'}`),
      ...(await tryOut(store, probe, bound.signal)),
    ];
  } finally {
    store.stop();
  }
}

async function reach(store: AzureBlobStore, signal: AbortSignal): Promise<void> {
  try {
    await store.ensureContainer(signal);
  } catch (error) {
    // A try that is over before it has failed says nothing; why there is no token does.
    throw store.tokenError() ?? error;
  }
}

/** Each thing that a commit, its restore and retention do, on a blob that is removed whatever happens. */
async function tryOut(store: AzureBlobStore, probe: string, signal: AbortSignal): Promise<Found[]> {
  const write = { condition: { ifNone: true }, metadata: {}, contentType: 'text/plain' } as const;
  const id = Buffer.alloc(32).toString('base64');
  let doing = 'write';
  try {
    await store.stageBlock(probe, id, Buffer.from('.'), signal);
    const { etag } = await store.commitBlocks(probe, [id], write, signal);
    doing = 'take snapshots of';
    await store.snapshot(probe, etag, signal);
    doing = 'list';
    for await (const _item of store.list(probe, signal, { snapshots: true })) break;
    doing = 'read';
    await store.read(probe, { bytesMax: 1 }, signal);
    doing = 'remove';
    await store.remove(probe, {}, signal);
    return [ok('writing, snapshots, reading and removing work')];
  } catch (error) {
    const { text, remedy } = failBy(error);
    const left = doing === 'write' ? undefined : await removed(store, probe, signal);
    const account = 'use an account that has them: no rule of immutability, and blob snapshots';
    const isFeature = error instanceof EvictdError && error.code === 'refused';
    return [
      fail(`evictd may not ${doing} blobs: ${text}`, isFeature ? account : remedy),
      ...(left === undefined ? [] : [left]),
    ];
  }
}

async function removed(
  store: AzureBlobStore,
  probe: string,
  signal: AbortSignal,
): Promise<Found | undefined> {
  try {
    await store.remove(probe, {}, signal);
    return undefined;
  } catch (error) {
    return warn(`the probe ${probe} is left behind: ${messageOf(error)}`, 'remove it when that is possible');
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
