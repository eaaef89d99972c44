import * as z from 'zod';

import { Checkpoint } from './schema-checkpoint.ts';
import { Events } from './schema-events.ts';
import { Hook } from './schema-hooks.ts';
import {
  absolutePath,
  choice,
  duration,
  flag,
  formatExactDuration,
  listenAddress,
  parseHttpUrl,
  text,
} from './schema-leaf.ts';
import { Notification } from './schema-notify.ts';

const Imds = z.strictObject({
  endpoint: text({
    description: 'Base address of the Instance Metadata Service.',
    allowed: 'http://HOST[:PORT] without a path',
    test: (value) => {
      const url = parseHttpUrl(value);
      return url?.protocol === 'http:' && url.pathname === '/' && url.search === '' && url.hash === '';
    },
    wrong: 'not a base address',
  }).default('http://169.254.169.254'),
  pollInterval: duration({
    description:
      'Time between two polls. The service allows 5 requests a second for all programs of the VM together.',
    min: '250ms',
    max: '1m',
  }).prefault('1s'),
  requestTimeout: duration({
    description: 'Time for one request. The first one after boot gets its own long timeout.',
    min: '100ms',
    max: '1m',
  }).prefault('3s'),
  apiVersion: text({
    description:
      'Version of the Scheduled Events API; auto takes 2024-07-09 where it is offered, else 2020-07-01.',
    allowed: 'auto, or a date such as 2020-07-01',
    test: (value) => value === 'auto' || /^\d{4}-\d{2}-\d{2}$/.test(value),
    wrong: 'not a version',
  }).default('auto'),
});

const Vm = z.strictObject({
  name: text({
    description:
      "This VM's name in Azure (compute.name, for example fleet_2); auto asks the metadata service.",
    allowed: 'auto, or the name of a VM',
    test: (value) => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$/.test(value),
    wrong: 'not the name of a VM',
  }).default('auto'),
});

const Window = z
  .strictObject({
    notice: duration({
      description: 'Most that is ever counted on between the notice of an eviction and its end.',
      min: '1s',
      max: '15m',
    }).prefault('30s'),
    urgent: duration({
      description: 'Counted on when an event gives no usable time or has already started.',
      min: '500ms',
      max: '15m',
    }).prefault('10s'),
    reserve: duration({
      description: 'Kept at the end for the acknowledgement.',
      min: '100ms',
      max: '1m',
    }).prefault('2s'),
  })
  .superRefine(({ notice, urgent, reserve }, context) => {
    if (reserve >= urgent) {
      const message = `not less than window.urgent (${formatExactDuration(urgent)})`;
      const params = { allowed: 'less than window.urgent', against: 'urgent' };
      context.addIssue({ code: 'custom', path: ['reserve'], message, params });
    }
    if (urgent > notice) {
      const message = `more than window.notice (${formatExactDuration(notice)})`;
      const params = { allowed: 'at most window.notice', against: 'notice' };
      context.addIssue({ code: 'custom', path: ['urgent'], message, params });
    }
  });

/** The whole configuration. Durations are in milliseconds, sizes in bytes once it is parsed. */
export const Config = z.strictObject({
  imds: Imds.prefault({}).meta({ description: 'The Instance Metadata Service, where the events come from.' }),
  vm: Vm.prefault({}).meta({ description: 'This machine.' }),
  window: Window.prefault({}).meta({ description: 'How much time an event leaves.' }),
  events: Events.prefault({}).meta({ description: 'What each type of event means here.' }),
  hooks: z.array(Hook).prefault([]).meta({ description: 'Drain hooks.', 'x-allowed': 'a list of hooks' }),
  hooksDir: absolutePath(
    'Folder of executables that run in name order at stage before-checkpoint; it may be missing.',
  ).default('/etc/evictd/hooks.d'),
  checkpoint: Checkpoint.optional(),
  metrics: z
    .strictObject({ listen: listenAddress('Where Prometheus fetches the metrics.', '127.0.0.1:9464') })
    .optional()
    .meta({ description: 'Metrics. Default: off.' }),
  health: z
    .strictObject({
      listen: listenAddress(
        'Where load balancers ask: 200, and 503 from the first moment of a drain.',
        '0.0.0.0:8080',
      ),
      failWhenBlind: flag(
        'Also 503 while the metadata service does not answer, so that no notice would be seen. The body says `blind` in any case.',
      ).default(false),
    })
    .optional()
    .meta({ description: 'Health probe. Default: off.' }),
  notify: z
    .array(Notification)
    .default([])
    .meta({ description: 'Notifications.', 'x-allowed': 'a list of notifications' }),
  log: z
    .strictObject({
      level: choice(['trace', 'debug', 'info', 'warn', 'error'], 'Least level that is logged.').default(
        'info',
      ),
      format: choice(
        ['auto', 'json', 'text'],
        'json: one object on each line. text: lines for people. auto: text on a terminal, otherwise json.',
      ).default('auto'),
    })
    .prefault({})
    .meta({ description: 'The log, on standard output.' }),
  state: z
    .strictObject({ dir: absolutePath('Folder of the journal.').default('/var/lib/evictd') })
    .prefault({})
    .meta({ description: 'What a restart goes on from.' }),
  control: z
    .strictObject({
      socket: absolutePath('Unix socket of the running daemon.')
        // sockaddr_un has 108 bytes with the final zero.
        .refine((value) => Buffer.byteLength(value) <= 107, 'longer than the 107 bytes of a socket path')
        .default('/run/evictd/evictd.sock'),
    })
    .prefault({})
    .meta({ description: 'How the other commands reach the daemon.' }),
});
export type Config = z.output<typeof Config>;

export type { Checkpoint, CheckpointSet, StoreConfig } from './schema-checkpoint.ts';
export type { EventsConfig } from './schema-events.ts';
export type { Hook } from './schema-hooks.ts';
export type { Notification } from './schema-notify.ts';
