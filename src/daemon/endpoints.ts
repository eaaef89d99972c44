import type { Clock } from '../base/clock.ts';
import { buildInfo } from '../base/version.ts';
import type { Config } from '../config/schema.ts';
import { healthPage } from '../observe/health.ts';
import { startHttpListener } from '../observe/http-listener.ts';
import type { Log } from '../observe/log.ts';
import type { Metrics, Snapshot } from '../observe/metrics.ts';

/** What the config asks for; nothing in a dry run, whose ports and answers are those of the daemon beside it. */
export type EndpointConfig = Pick<Config, 'metrics' | 'health' | 'checkpoint'>;

/** Loaded only where they are wanted: the client library costs memory. */
export async function loadMetrics(config: EndpointConfig): Promise<Metrics | undefined> {
  if (config.metrics === undefined) return undefined;
  const { createMetrics } = await import('../observe/metrics.ts');
  return createMetrics({
    version: buildInfo().version,
    nodeVersion: process.versions.node,
    sets: config.checkpoint?.sets.map(({ name }) => name) ?? [],
  });
}

export interface EndpointSources {
  readonly metrics: Metrics | undefined;
  readonly snapshot: () => Snapshot;
  readonly drain: () => { readonly phase: string } | undefined;
  readonly isBlind: () => boolean;
}

/** Opens the metrics and health endpoints. A port that can't be had is said, and tried again. */
export function startEndpoints(
  config: EndpointConfig,
  { metrics, snapshot, drain, isBlind }: EndpointSources,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): AsyncDisposable {
  const dependenciesOf = (key: string) => ({
    clock,
    onListening: (port: number) => log.info('endpoint is open', { endpoint: key, port }),
    onProblem: ({ code, message, remedy }: { code: string; message: string; remedy?: string | undefined }) =>
      log.error('endpoint can not be opened, trying again', { code, detail: message, remedy }),
  });
  const listeners: AsyncDisposable[] = [];
  if (config.metrics !== undefined && metrics !== undefined) {
    const options = { key: 'metrics.listen', listen: config.metrics.listen, paths: ['/metrics'] };
    listeners.push(startHttpListener(options, () => metrics.page(snapshot()), dependenciesOf('metrics')));
  }
  if (config.health !== undefined) {
    const options = {
      key: 'health.listen',
      listen: config.health.listen,
      paths: ['/', '/health', '/healthz'],
    };
    const { failWhenBlind } = config.health;
    const page = () => healthPage(drain(), { isBlind: isBlind(), failWhenBlind });
    listeners.push(startHttpListener(options, page, dependenciesOf('health')));
  }
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(listeners.map((listener) => listener[Symbol.asyncDispose]()));
    },
  };
}
