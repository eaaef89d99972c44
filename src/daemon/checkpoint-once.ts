import { hostname } from 'node:os';

import { boundedSignal } from '../base/abort.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { pruneSet } from '../checkpoint/retention/prune.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import type { CheckpointRequest } from '../control/protocol.ts';
import type { CheckpointPort } from '../core/ports.ts';
import type { Instance } from '../imds/instance.ts';
import { readBootId } from '../journal/journal.ts';
import { lockState } from '../journal/state-lock.ts';
import { type Identity, instanceNamed, startIdentity } from './identity.ts';
import { needsInstance } from './key.ts';
import { configuredVmName } from './policy.ts';
import { type OpenEngine, openCheckpoints } from './wire-checkpoints.ts';
import { type CheckpointAnswer, checkpointNow } from './wire-control.ts';

export interface CheckpointWatcher {
  /** See `CheckpointerDependencies`. */
  readonly onNote: (set: string, error: EvictdError) => void;
  /** How far it is can be asked from now on. */
  readonly onBegin: (progress: CheckpointPort['progress']) => void;
}

/** Takes a checkpoint in this process, for machines where no daemon runs. Rejects with why it can't be opened. */
export async function checkpointWithoutDaemon(
  config: Config,
  request: Partial<CheckpointRequest>,
  { onNote, onBegin }: CheckpointWatcher,
  signal: AbortSignal,
): Promise<CheckpointAnswer> {
  const { checkpoint } = config;
  if (checkpoint === undefined) return checkpointNow(config, undefined, request, signal);
  const bootId = await readBootId();
  // One process at a time has the local indexes, and with them an epoch.
  await using _lock = await lockState(config.state.dir, signal);
  using identity = instanceWithoutDaemon(config, bootId);
  const opened = await openCheckpoints(
    { config, checkpoint, bootId, instance: identity.instance },
    { clock: systemClock, onNote },
    signal,
  );
  try {
    onBegin(() => opened.port.progress());
    const answer = await checkpointNow(config, opened.port, request, signal);
    for (const result of answer.sets) {
      if (result.id !== undefined) await prune(opened, result.set, checkpoint.keep, signal);
    }
    return answer;
  } finally {
    await opened.close();
  }
}

/** Who this VM is, for somebody at a terminal, who doesn't wait for ever. Dispose it to end the asking. */
export function instanceWithoutDaemon(
  config: Config,
  bootId: string,
): Disposable & { readonly instance: (signal: AbortSignal) => Promise<Instance> } {
  const { endpoint, requestTimeout: requestTimeoutMs } = config.imds;
  const vmName = configuredVmName(config);
  const identity = startIdentity(
    { endpoint, requestTimeoutMs, vmName, stateDir: config.state.dir, bootId },
    {
      clock: systemClock,
      onName: () => undefined,
      onFailure: () => undefined,
      onCacheFailed: () => undefined,
    },
  );
  const { checkpoint } = config;
  const isNeeded = checkpoint !== undefined && needsInstance(checkpoint.key, vmName);
  const nameOnly = isNeeded ? undefined : instanceNamed(vmName ?? hostname());
  return {
    instance: (signal) => knownWithin(identity, nameOnly, signal),
    [Symbol.dispose]: () => identity.stop(),
  };
}

/** The checkpoint is there, and that is the answer: what goes wrong here, `evictd checkpoints prune` tells. */
async function prune(
  { place, store }: OpenEngine,
  set: string,
  keep: Checkpoint['keep'],
  signal: AbortSignal,
): Promise<void> {
  using bound = boundedSignal(systemClock, PRUNE_MS, signal);
  try {
    await pruneSet({ place: { ...place, set }, keep, dryRun: false }, { store }, bound.signal);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
  }
}

const PRUNE_MS = 60_000;
const IDENTITY_MS = 30_000;
/** Where the key needs no instance document; only the manifest then may name the host in place of the VM. */
const DISPENSABLE_MS = 3000;

async function knownWithin(
  identity: Identity,
  otherwise: Instance | undefined,
  signal: AbortSignal,
): Promise<Instance> {
  const limitMs = otherwise === undefined ? IDENTITY_MS : DISPENSABLE_MS;
  using bound = boundedSignal(systemClock, limitMs, signal);
  try {
    return await identity.instance(bound.signal);
  } catch (error) {
    if (signal.aborted) throw error;
    if (otherwise !== undefined) return otherwise;
    throw new EvictdError('no-identity', 'the metadata service does not say who this VM is', {
      remedy: 'set a checkpoint.key without placeholders, or run where the metadata service answers',
      cause: error,
    });
  }
}
