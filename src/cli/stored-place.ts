import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { BlobStore } from '../checkpoint/store/store.ts';
import type { Workers } from '../checkpoint/worker/workers.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import type { KeyFacts } from '../daemon/key.ts';
import type { Invocation, OptionSpec } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { textOption } from './options.ts';

export const KEY_OPTION: OptionSpec = {
  name: 'key',
  value: 'K',
  description: "whose checkpoints, as it stands in the store (default: this VM's, by checkpoint.key)",
};

/** The store of the configuration, and the place in it that a command works on. */
export interface StoredPlace extends AsyncDisposable {
  readonly config: Config;
  readonly checkpoint: Checkpoint;
  readonly store: BlobStore;
  readonly workers: Workers;
  /** Below the container; may be empty. */
  readonly prefix: string;
  /** Empty with --all-keys, which needs no metadata service: it may be asked from anywhere. */
  readonly key: string;
}

// After boot, the metadata service may take two minutes for its first answer.
const INSTANCE_WAIT_MS = 180_000;

/**
 * Opens the store without the daemon. Rejects `config-invalid`, `no-store`, `usage` (a bad --key), `timeout` when the
 * key needs the metadata service and it doesn't answer, and what opening the store rejects with.
 */
export async function openStoredPlace(invocation: Invocation, clock: Clock): Promise<StoredPlace> {
  const { options, env, err, signal } = invocation;
  const { openStore } = await import('../daemon/wire-store.ts');
  const { config } = await loadConfigFor({ options, env });
  const { checkpoint } = config;
  if (checkpoint === undefined) {
    throw new EvictdError('no-store', 'the configuration has no checkpoint section, so there is no store', {
      remedy: 'set checkpoint.store.url in the config file, or EVICTD_CHECKPOINT_STORE_URL',
    });
  }
  const wanted = textOption(options, 'key');
  if (wanted !== undefined) checkKey(wanted);
  const notify = (text: string) => err.write(`evictd: ${text}\n`);
  const isAllKeys = options['all-keys'] === true;
  const key = wanted ?? (isAllKeys ? '' : await ownKey(config, checkpoint.key, { clock, notify }, signal));
  const opened = await openStore(config, checkpoint, { clock });
  const { store, workers, target } = opened;
  try {
    // The emulator begins without containers; elsewhere a missing one is an error of the command itself.
    if (checkpoint.store.auth.kind === 'azurite') await store.ensureContainer(signal);
  } catch (error) {
    await opened.close();
    throw error;
  }
  return {
    config,
    checkpoint,
    store,
    workers,
    prefix: target.prefix,
    key,
    [Symbol.asyncDispose]: () => opened.close(),
  };
}

/** `what` is `no report`, for example. Names where was looked for it, since that may be wrong. */
export function nothingFound(what: string, { store, key }: StoredPlace, remedy: string): EvictdError {
  const where = key === '' ? '' : ` under the key ${key}`;
  return new EvictdError('nothing-found', `there is ${what} in ${store.describe}${where}`, { remedy });
}

/** What checkpoint.key stands for on this VM. */
async function ownKey(
  config: Config,
  template: string,
  { clock, notify }: { readonly clock: Clock; readonly notify: (text: string) => void },
  signal: AbortSignal,
): Promise<string> {
  const { expandKey, needsInstance } = await import('../daemon/key.ts');
  const { configuredVmName } = await import('../daemon/policy.ts');
  const vmName = configuredVmName(config);
  const known: KeyFacts = { name: vmName ?? '', vmId: '', scaleSet: '', tags: {} };
  if (!needsInstance(template, vmName)) return expandKey(template, known);

  const { createInstanceClient } = await import('../imds/instance.ts');
  const { endpoint, requestTimeout } = config.imds;
  const client = createInstanceClient({ endpoint, timeoutMs: requestTimeout }, { clock });
  using bound = boundedSignal(clock, INSTANCE_WAIT_MS, signal);
  let isFirst = true;
  try {
    const instance = await client.getUntilFound(bound.signal, (error) => {
      const reason = `the metadata service (${endpoint}) gives no instance document: ${messageOf(error)}`;
      if (isFirst) notify(`${reason}; asking again for up to 3 minutes, or give --key`);
      isFirst = false;
    });
    return expandKey(template, { ...instance, name: vmName ?? instance.name });
  } catch (error) {
    if (signal.aborted || !bound.signal.aborted) throw error;
    const message = `the metadata service (${endpoint}) has not said in 3 minutes whose checkpoints these are`;
    throw new EvictdError('timeout', message, {
      remedy: 'give --key, or check the route to it',
      cause: error,
    });
  } finally {
    await client.close();
  }
}

function checkKey(key: string): void {
  const isFine = key.split('/').every((part) => /^[A-Za-z0-9._-]{1,200}$/.test(part) && !/^\.+$/.test(part));
  if (isFine) return;
  throw new EvictdError('usage', `--key ${JSON.stringify(key)} is not a key`, {
    remedy: 'write it as it stands in the store: letters, digits, ".", "_", "-", parts separated by "/"',
  });
}
