import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import { type Instance, createInstanceClient } from '../imds/instance.ts';
import { cacheInstance, readCachedInstance } from './instance-cache.ts';

/** Who this VM is. */
export interface Identity {
  /** Resolves when it is known; rejects only with the signal's reason. */
  instance(signal: AbortSignal): Promise<Instance>;
  stop(): void;
}

export interface IdentityOptions {
  readonly endpoint: string;
  readonly requestTimeoutMs: number;
  /** The config's name for this VM, where it has one: it stands whatever the metadata says. */
  readonly vmName: string | undefined;
  /** Where the document of this boot is kept; undefined keeps nothing (dry run). */
  readonly stateDir: string | undefined;
  readonly bootId: string;
}

/** A configured name can do without the document after this long; only the manifest then lacks the VM's id. */
const NAMED_WAIT_MS = 5000;

/**
 * Finds out in the background who this VM is: from this boot's cache, else from the metadata service, as long as it
 * takes. Nothing on the way of an eviction waits for it where the name is known already.
 */
export function startIdentity(
  options: IdentityOptions,
  dependencies: {
    readonly clock: Clock;
    /** Called later, never from within this call; not for a configured name, which is known anyway. */
    readonly onName: (vmName: string) => void;
    readonly onFailure: (error: EvictdError) => void;
    readonly onCacheFailed: (error: unknown) => void;
  },
): Identity {
  const { clock } = dependencies;
  const stopping = new AbortController();
  const client = createInstanceClient(
    { endpoint: options.endpoint, timeoutMs: options.requestTimeoutMs },
    { clock },
  );
  const found = find();
  // It rejects only when stopped, and then nobody waits for it any more.
  found.catch(() => undefined);

  async function find(): Promise<Instance> {
    const { stateDir, bootId, vmName } = options;
    const cached = stateDir === undefined ? undefined : await readCachedInstance(stateDir, bootId);
    const instance = cached ?? (await client.getUntilFound(stopping.signal, dependencies.onFailure));
    if (cached === undefined && stateDir !== undefined) {
      await cacheInstance(stateDir, bootId, instance).catch(dependencies.onCacheFailed);
    }
    if (vmName !== undefined) return { ...instance, name: vmName };
    dependencies.onName(instance.name);
    return instance;
  }

  return {
    async instance(signal) {
      if (options.vmName === undefined) return abandonOn(signal, found);
      using bound = boundedSignal(clock, NAMED_WAIT_MS, signal);
      try {
        return await abandonOn(bound.signal, found);
      } catch (error) {
        if (signal.aborted) throw error;
        return instanceNamed(options.vmName);
      }
    },
    stop() {
      stopping.abort();
      void client.close();
    },
  };
}

/** All that is known without the instance document. */
export function instanceNamed(name: string): Instance {
  return { name, vmId: '', scaleSet: '', location: '', zone: '', tags: {}, priority: '', evictionPolicy: '' };
}
