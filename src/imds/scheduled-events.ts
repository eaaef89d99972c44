import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { EventDocument } from '../core/event.ts';
import type { AckResult } from '../core/ports.ts';
import { createVersionChooser } from './api-version.ts';
import { type DroppedEntry, createDocumentReader } from './parse.ts';
import { detailOf, statusError } from './status.ts';
import { type Answer, createTransport } from './transport.ts';

export interface ScheduledEventsOptions {
  /** Base URL without a path. */
  readonly endpoint: string;
  /** `auto`: the newest one where it is offered, else the current one. */
  readonly apiVersion: string;
  /** Larger answers are refused. Default 1 MiB. */
  readonly responseBytesMax?: number;
}

export interface Poll {
  readonly document: EventDocument;
  /** Entries that were left out because they were broken. */
  readonly dropped: readonly DroppedEntry[];
  /** From sending to the last byte, a second question for another version included. */
  readonly latencyMs: number;
  readonly apiVersion: string;
}

export interface ScheduledEventsClient {
  /**
   * Asks for the events once. Rejects with an EvictdError: `imds-timeout`, `imds-unreachable`, `imds-too-large`,
   * `imds-redirect`, `imds-not-found`, `imds-updating`, `imds-throttled`, `imds-server-error`, `imds-refused`,
   * `imds-empty`, `imds-not-json`, `imds-bad-document`, `aborted`.
   */
  get(timeoutMs: number, signal: AbortSignal): Promise<Poll>;
  /** Approves the event for every VM that it names. Never rejects; ends with the signal, and after 10 s at the latest. */
  acknowledge(eventId: string, signal: AbortSignal): Promise<AckResult>;
  close(): Promise<void>;
}

const RESPONSE_BYTES_MAX = 1024 ** 2;
// The metadata team's word for the slowest answer of a healthy service.
const ACK_TIMEOUT_MS = 10_000;

/**
 * The Scheduled Events endpoint.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
 */
export function createScheduledEventsClient(
  options: ScheduledEventsOptions,
  dependencies: { readonly clock: Clock },
): ScheduledEventsClient {
  const { clock } = dependencies;
  const { endpoint, responseBytesMax = RESPONSE_BYTES_MAX } = options;
  const transport = createTransport({ endpoint, responseBytesMax }, { clock });
  const versions = createVersionChooser(options.apiVersion, clock);
  const readDocument = createDocumentReader();

  async function get(timeoutMs: number, signal: AbortSignal): Promise<Poll> {
    const sentAt = clock.monotonicMs();
    const ask = (version: string): Promise<Answer> => {
      const leftMs = Math.max(timeoutMs - (clock.monotonicMs() - sentAt), 1);
      return transport.request({ method: 'GET', path: eventsPath(version) }, leftMs, signal);
    };
    let version = versions.next();
    let answer = await ask(version);
    const other = versions.instead(version, answer.status);
    if (other !== undefined) {
      version = other;
      answer = await ask(version);
      versions.instead(version, answer.status);
    }
    if (answer.status !== 200) throw statusError(answer, `scheduled events (api-version ${version})`);
    const { document, dropped } = readDocument(answer.body, answer.date);
    versions.worked(version, sentAt);
    const now = clock.monotonicMs();
    return {
      document: { ...document, serverNow: advance(document.serverNow, now - answer.headersAt) },
      dropped,
      latencyMs: now - sentAt,
      apiVersion: version,
    };
  }

  async function acknowledge(eventId: string, signal: AbortSignal): Promise<AckResult> {
    try {
      const answer = await transport.request(
        {
          method: 'POST',
          path: eventsPath(versions.settled()),
          body: JSON.stringify({ StartRequests: [{ EventId: eventId }] }),
        },
        ACK_TIMEOUT_MS,
        signal,
      );
      if (answer.status === 200) return { kind: 'accepted' };
      const detail = `status ${answer.status}${detailOf(answer)}`;
      return answer.status === 400 ? { kind: 'refused', detail } : { kind: 'failed', detail };
    } catch (error) {
      return { kind: 'failed', detail: messageOf(error) };
    }
  }

  return { get, acknowledge, close: () => transport.close() };
}

function eventsPath(version: string): string {
  return `/metadata/scheduledevents?api-version=${encodeURIComponent(version)}`;
}

/** A body that came in slowly is read when the server's clock has gone on; whole seconds, as the header has them. */
function advance(serverNow: number | undefined, sinceHeadersMs: number): number | undefined {
  return serverNow === undefined ? undefined : serverNow + Math.floor(sinceHeadersMs / 1000) * 1000;
}
