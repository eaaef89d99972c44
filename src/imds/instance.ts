import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { imdsError } from './error.ts';
import { parseJson, reasonOf } from './parse.ts';
import { ComputeAnswer } from './schema.ts';
import { statusError } from './status.ts';
import { createTransport, type Transport } from './transport.ts';

/** What the VM is, by its metadata. Empty strings where the service knows nothing. */
export interface Instance {
  /** The name that events use in `Resources`; not the host name. */
  readonly name: string;
  readonly vmId: string;
  readonly scaleSet: string;
  readonly location: string;
  readonly zone: string;
  readonly tags: Readonly<Record<string, string>>;
  /** `Spot`, `Low`, `Regular`; compare case-insensitively. */
  readonly priority: string;
  readonly evictionPolicy: string;
}

export interface InstanceClient {
  /** Asks once. Rejects with an EvictdError of the codes that the Scheduled Events client has. */
  get(signal: AbortSignal): Promise<Instance>;
  /**
   * Asks until there is an answer; a 404 is normal just after boot. Rejects only when the signal ends it.
   * Not for the eviction path: nothing there may wait for the instance document.
   */
  getUntilFound(signal: AbortSignal, onFailure?: (error: EvictdError) => void): Promise<Instance>;
  close(): Promise<void>;
}

/** The first with `priority` is 2020-12-01; the second is the first with `tagsList`, for hosts that lag behind. */
const API_VERSIONS = ['2021-02-01', '2019-06-04'] as const;
const RESPONSE_BYTES_MAX = 1024 ** 2;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 5000;

/** Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service */
export function createInstanceClient(
  options: { readonly endpoint: string; readonly timeoutMs: number },
  dependencies: { readonly clock: Clock; readonly random?: () => number },
): InstanceClient {
  const { clock, random = Math.random } = dependencies;
  const transport = createTransport(
    { endpoint: options.endpoint, responseBytesMax: RESPONSE_BYTES_MAX },
    { clock },
  );
  const get = (signal: AbortSignal) => readInstance(transport, options.timeoutMs, signal);
  return {
    get,
    async getUntilFound(signal, onFailure) {
      for (let attempt = 0; ; attempt++) {
        try {
          return await get(signal);
        } catch (error) {
          if (signal.aborted || !(error instanceof EvictdError)) throw error;
          onFailure?.(error);
        }
        const longestMs = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 10), BACKOFF_MAX_MS);
        await sleep(clock, longestMs * (0.5 + random() / 2), signal);
      }
    },
    close: () => transport.close(),
  };
}

async function readInstance(transport: Transport, timeoutMs: number, signal: AbortSignal): Promise<Instance> {
  const [first, second] = API_VERSIONS;
  let answer = await transport.request({ method: 'GET', path: computePath(first) }, timeoutMs, signal);
  if (answer.status === 400) {
    answer = await transport.request({ method: 'GET', path: computePath(second) }, timeoutMs, signal);
  }
  if (answer.status !== 200) throw statusError(answer, 'instance document');
  const compute = ComputeAnswer.safeParse(parseJson(answer.body));
  if (!compute.success) {
    throw imdsError('imds-bad-document', `the instance document can't be used: ${reasonOf(compute.error)}`);
  }
  const { name, vmId, vmScaleSetName, location, zone, priority, evictionPolicy } = compute.data;
  return {
    name,
    vmId,
    scaleSet: vmScaleSetName,
    location,
    zone,
    tags: tagsOf(compute.data),
    priority,
    evictionPolicy,
  };
}

function computePath(version: string): string {
  return `/metadata/instance/compute?api-version=${version}&format=json`;
}

/** `tags` is ambiguous where a value holds `;` or `:`, so it only serves when there is no list. */
function tagsOf(compute: ComputeAnswer): Record<string, string> {
  if (compute.tagsList !== undefined) {
    return Object.fromEntries(compute.tagsList.map(({ name, value }) => [name, value]));
  }
  const pairs = compute.tags.split(';').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const colon = pair.indexOf(':');
      return colon === -1 ? [pair, ''] : [pair.slice(0, colon), pair.slice(colon + 1)];
    }),
  );
}
