import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { startPoller } from '../../src/imds/poller.ts';
import type { ScheduledEventsClient } from '../../src/imds/scheduled-events.ts';
import { until } from '../support/spot-vm.ts';
import { deadline, startClient } from './support.ts';

export interface Trouble<How> {
  readonly name: string;
  readonly how: How;
  /** What may come of it: `document`, or the codes of errors. */
  readonly outcomes: readonly string[];
}

/** A metadata service whose document doesn't change. */
export interface ServiceUnderTest<How> extends AsyncDisposable {
  readonly url: string;
  /** In place of the good answers to so many requests of the method. */
  trouble(how: How, method: 'GET' | 'POST', times: number): void;
  /** Requests that have come in. */
  requests(): number;
  /** Connections that are open; undefined where that can't be seen. */
  connections?(): number;
  /** Resolves when what it has ended is gone. */
  settled?(): Promise<void>;
}

const PATIENCE_MS = 5000;
/** Of what never answers. */
const SHORT_MS = 150;
/** Of a whole answer; its body says nothing to an acknowledgement. */
const WITH_STATUS_200 = new Set(['document', 'imds-empty', 'imds-not-json', 'imds-bad-document']);
const MESSAGE_CHARACTERS_MAX = 500;
/** A connection each for two polls and an acknowledgement, and one that is still opening. */
const CONNECTIONS_MAX = 4;

/** What a client does with a service, whatever that answers. */
export function describeMetadataClient<How>(
  title: string,
  start: () => Promise<ServiceUnderTest<How>>,
  troubles: readonly Trouble<How>[],
): void {
  describe(`metadata client contract: ${title}`, () => {
    let service: ServiceUnderTest<How>;
    let client: ScheduledEventsClient & AsyncDisposable;
    beforeAll(async () => {
      service = await start();
    });
    afterAll(() => service[Symbol.asyncDispose]());
    let first: number | undefined;
    const named = troubles.map((trouble) => [trouble.name, trouble] as const);
    const incarnation = async () => {
      const { document } = await client.get(PATIENCE_MS, deadline());
      return document.incarnation;
    };
    // On a connection that was kept, as nearly every poll is.
    beforeEach(async () => {
      client = startClient(service.url);
      first = await incarnation();
      return () => client.close();
    });

    test.for(named)('answer to a poll: %s', async ([, { how, outcomes }]) => {
      const before = service.requests();
      service.trouble(how, 'GET', 1);
      const isMute = outcomes.includes('imds-timeout');
      const outcome = await client
        .get(isMute ? SHORT_MS : PATIENCE_MS, deadline())
        .then(
          ({ document }) => (document.incarnation === first ? 'document' : 'another document'),
          explained,
        );
      expect(outcomes).toContain(outcome);
      expect(service.requests() - before).toBe(1);
      await service.settled?.();
      expect(await incarnation()).toBe(first);
    });

    test.for(named)('answer to an acknowledgement: %s', async ([, { how, outcomes }]) => {
      const before = service.requests();
      service.trouble(how, 'POST', 1);
      const isMute = outcomes.includes('imds-timeout');
      const result = await client.acknowledge('E1', isMute ? AbortSignal.timeout(SHORT_MS) : deadline());
      const mayBeAccepted = outcomes.some((outcome) => WITH_STATUS_200.has(outcome));
      expect(['refused', 'failed', ...(mayBeAccepted ? ['accepted'] : [])]).toContain(result.kind);
      expect(service.requests() - before).toBe(1);
      await service.settled?.();
      expect(await incarnation()).toBe(first);
    });

    test('two requests at a time, also when none is ever answered; and no connection is left', async () => {
      await using mute = await start();
      const trouble = troubles.find(({ outcomes }) => outcomes.includes('imds-timeout'));
      if (trouble === undefined) throw new Error('no trouble leaves the client waiting');
      const codes = new Set<string>();
      await using polled = startClient(mute.url);
      mute.trouble(trouble.how, 'GET', 1000);
      const poller = startPoller(
        { intervalMs: 10, requestTimeoutMs: 50, longTimeoutMs: 60 },
        {
          clock: systemClock,
          client: polled,
          onPoll: () => codes.add('document'),
          onFailure: ({ code }) => codes.add(code),
        },
      );
      await until('eight requests', () => {
        expect(poller.health().inFlight).toBeLessThanOrEqual(2);
        expect(mute.connections?.() ?? 0).toBeLessThanOrEqual(CONNECTIONS_MAX);
        return mute.requests() >= 8;
      });
      expect([...codes]).toEqual(['imds-timeout']);
      await poller.stop();
      await polled.close();
      await until('the end of all connections', () => (mute.connections?.() ?? 0) === 0);
    });
  });
}

/** The code of an error that somebody can do something with. */
function explained(error: unknown): string {
  if (!(error instanceof EvictdError)) throw error;
  expect(error.message.length).toBeLessThan(MESSAGE_CHARACTERS_MAX);
  expect(error.message).not.toMatch(/\p{Cc}/u);
  expect(error.remedy).toMatch(/\w+ \w+/);
  return error.code;
}
