import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Config, Notification } from '../config/schema.ts';
import type { State } from '../core/state.ts';
import { newsOf } from '../observe/drain-news.ts';
import type { Log } from '../observe/log.ts';
import { type Teller, createWebhook } from '../observe/webhook.ts';
import { type Outbox, openOutbox } from './outbox.ts';

export interface NotifyDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly onResult: (result: 'sent' | 'failed') => void;
}

/** Tells those outside of notices and outcomes. */
export interface Notifications {
  onDecided(state: State): void;
  stop(): Promise<void>;
}

/** The config's `notify` section at work; undefined without one. A dry run only says what it would tell. */
export async function wireNotify(
  { config, dryRun: isDry }: { readonly config: Config; readonly dryRun: boolean },
  { clock, log, onResult }: NotifyDependencies,
): Promise<Notifications | undefined> {
  if (config.notify.length === 0) return undefined;
  const tellers = new Map(
    config.notify.map((one) => [one.name, isDry ? async () => undefined : tellerOf(config, one, clock)]),
  );
  const outbox: Outbox = await openOutbox(isDry ? undefined : config.state.dir, {
    clock,
    tellers,
    onTold: (notification, { id, kind }) => {
      log.info(isDry ? 'dry run: would notify' : 'notified', { notification, kind, id });
      if (!isDry) onResult('sent');
    },
    onFailed: (notification, { id, kind }, { code, message, remedy }) => {
      log.error('not notified, continuing', { notification, kind, id, code, detail: message, remedy });
      onResult('failed');
    },
    onNotKept: (error) =>
      log.error('list of notifications not kept, continuing', { detail: messageOf(error) }),
  });
  return {
    onDecided: (state) => outbox.offer(newsOf(state, clock.wallMs())),
    stop: () => outbox.stop(),
  };
}

function tellerOf(config: Config, { webhook, storageQueue }: Notification, clock: Clock): Teller {
  if (webhook !== undefined) {
    const options = { urlFile: webhook['url-file'], template: webhook.template };
    return createWebhook(options, { clock, random: Math.random });
  }
  let opened: Promise<Teller> | undefined;
  return async (news, signal) => {
    // Opened at the first message: the SDK costs memory, and a wrong credential must not keep the daemon from starting.
    opened ??= openQueue(config, storageQueue?.url ?? '', clock);
    opened.catch(() => (opened = undefined));
    await (
      await opened
    )(news, signal);
  };
}

/** With the credential of the checkpoint store; a VM without one uses its managed identity. */
async function openQueue(config: Config, url: string, clock: Clock): Promise<Teller> {
  const { createQueueTeller } = await import('../observe/storage-queue.ts');
  const { createUndiciHttpClient } = await import('../checkpoint/store/azure/undici-http-client.ts');
  const { openQueueCredential } = await import('./wire-store.ts');
  const httpClient = createUndiciHttpClient({ origin: new URL(url).origin, connectionsMax: 1 });
  return createQueueTeller(url, await openQueueCredential(config, url, clock), httpClient);
}
