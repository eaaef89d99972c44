import { isIPv6 } from 'node:net';

import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import { mockManual } from '../mock/manual.ts';
import type { MockImds } from '../mock/server.ts';
import type { Activity } from '../mock/world.ts';
import { type Command, EXIT, type Output } from './command.ts';
import { reportFailure } from './failure.ts';
import { JSON_OPTION, textOption } from './options.ts';

const DEFAULT_LISTEN = '127.0.0.1:1338';

export const mockImdsCommand: Command = {
  name: 'mock-imds',
  summary: 'run a mock of the Azure metadata service',
  description:
    'Scheduled events, instance document and identity tokens, as strict as the real service. Events and faults come ' +
    'from a scenario file and, while it runs, over HTTP. Runs until interrupted.',
  manual: mockManual(`http://${DEFAULT_LISTEN}`),
  options: [
    { name: 'listen', value: 'ADDR', description: `HOST:PORT to listen on (default ${DEFAULT_LISTEN})` },
    { name: 'scenario', value: 'FILE', description: 'scenario file (YAML)' },
    {
      name: 'vm-name',
      value: 'NAME',
      description: "compute.name of the mocked VM, instead of the scenario's",
    },
    JSON_OPTION,
  ],
  async run({ options, out, err, signal }) {
    const { loadScenario, scenarioOf } = await import('../mock/scenario.ts');
    const { startMockImds } = await import('../mock/server.ts');
    const { host, port } = parseAddress(textOption(options, 'listen') ?? DEFAULT_LISTEN);
    const file = textOption(options, 'scenario');
    const vmName = textOption(options, 'vm-name');
    let scenario;
    try {
      scenario = file === undefined ? scenarioOf({}) : await loadScenario(file);
    } catch (error) {
      // A file that can't be used is the user's input like any option.
      const code = reportFailure(error, err);
      return code === EXIT.bug ? code : EXIT.usage;
    }
    const json = options['json'] === true;
    const mock = await startMockImds(
      { host, port, scenario, ...(vmName === undefined ? {} : { vmName }) },
      { clock: systemClock },
    );
    using _subscription = mock.subscribe((activity) => print(activity, json, out));
    announce(mock, json, out);
    await aborted(signal);
    await mock.close();
    return EXIT.done;
  },
};

/** `HOST:PORT` or `[IPV6]:PORT`. Throws `usage`. */
function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535 || (match?.[1] !== undefined && !isIPv6(host))) {
    throw new EvictdError('usage', `--listen ${JSON.stringify(text)} is not an address`, {
      remedy: `write HOST:PORT, for example ${DEFAULT_LISTEN} or [::1]:1338`,
    });
  }
  return { host, port };
}

function announce(mock: MockImds, json: boolean, out: Output): void {
  if (json) {
    out.write(`${JSON.stringify({ kind: 'listening', at: now(), url: mock.url, vmName: mock.vmName })}\n`);
    return;
  }
  out.write(
    `Mock metadata service of VM ${mock.vmName} on ${mock.url}\n` +
      `  point evictd at it:  evictd run --imds ${mock.url}\n` +
      `  announce a Preempt:  curl -d '{"type":"Preempt","notBefore":"30s"}' ${mock.url}/mock/events\n`,
  );
}

function print(activity: Activity, json: boolean, out: Output): void {
  // Shown once, when it has ended.
  if (activity.kind === 'request') return;
  out.write(json ? `${JSON.stringify({ at: now(), ...activity })}\n` : `${now()}  ${describe(activity)}\n`);
}

function describe(activity: Exclude<Activity, { kind: 'request' }>): string {
  switch (activity.kind) {
    case 'answer': {
      const { method, path, status } = activity.request;
      return `${method} ${path} → ${status ?? 'no answer'}`;
    }
    case 'ack':
      return `ack of ${activity.ack.eventId}${activity.ack.known ? '' : ' (no such event)'}`;
    case 'event': {
      const { event, change, incarnation } = activity;
      return `${event.type} ${event.id} ${change} (incarnation ${incarnation}; ${event.resources.join(', ')})`;
    }
    case 'fault': {
      const { kind, on, count, for: forMs } = activity.fault;
      const limits = [
        ...(count === undefined ? [] : [`${count} times`]),
        ...(forMs === undefined ? [] : [`for ${formatDuration(forMs)}`]),
      ];
      return `fault ${kind} on ${on}${limits.length === 0 ? '' : ` ${limits.join(', ')}`}`;
    }
    case 'clock':
      return `clock shifted by ${activity.shiftMs} ms`;
    case 'problem':
      return `problem: ${activity.message}`;
  }
}

function now(): string {
  return new Date(systemClock.wallMs()).toISOString();
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
