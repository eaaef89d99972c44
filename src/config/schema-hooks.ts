import * as z from 'zod';

import { redact } from '../base/redact.ts';
import { STAGES } from '../core/policy.ts';
import {
  choice,
  duration,
  flag,
  httpUrl,
  integer,
  isCleanAbsolutePath,
  isEventType,
  name,
  text,
} from './schema-leaf.ts';
import { plainHttpFault } from './store-url.ts';

const ACTIONS = ['run', 'systemd', 'http'] as const;

export const Hook = z
  .strictObject({
    name: name(
      'Name in the log, status and reports; files of conf.d change a hook by its name.',
      'stop-workers',
    ),
    on: z
      .array(
        text({
          description: 'Event type.',
          allowed: 'an event type such as Preempt',
          test: isEventType,
          wrong: 'not an event type',
          example: 'Preempt',
        }),
      )
      .min(1)
      .optional()
      .meta({ description: 'Event types it runs for. Default: every type with drain: true.' }),
    scope: choice(
      ['own', 'peers'],
      "Whose events: this VM's, or those that name only other VMs; then it is no part of a drain and has no window.",
    ).default('own'),
    stage: choice(STAGES, 'When it runs. Only with scope: own.').default('before-checkpoint'),
    order: integer({
      description: 'Lower runs first; the same order runs in parallel.',
      min: 0,
      max: 10_000,
    }).default(50),
    timeout: duration({
      description: 'The most it may take; cut further to what the budget leaves.',
      min: '100ms',
      max: '1h',
    }).prefault('10s'),
    required: flag('Its failure means that the event is not acknowledged.').default(true),
    run: z
      .array(z.string().meta({ description: 'Argument.', 'x-allowed': 'text' }))
      .refine((argv) => isProgram(argv[0] ?? ''), 'does not start with a program')
      .optional()
      .meta({
        description: 'Program and arguments, started without a shell.',
        'x-allowed':
          'a list: a program (its absolute path, or a name that is looked up in PATH), then its arguments',
        'x-example': ['/usr/local/bin/stop-workers', '--now'],
      }),
    user: text({
      description: "User the program runs as. Default: the daemon's own. Only with run.",
      allowed: 'a user name or numeric id',
      test: (value) => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}\$?$/.test(value),
      wrong: 'not a user name',
      example: 'worker',
    }).optional(),
    systemd: z
      .strictObject({
        unit: text({
          description: 'Unit with its suffix.',
          allowed: 'a unit name such as nginx.service',
          test: (value) =>
            /^[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|target|socket|timer|slice|scope|mount|path)$/.test(value),
          wrong: 'not a unit name',
          example: 'nginx.service',
        }),
        action: choice(
          ['start', 'stop', 'restart', 'kill'],
          'What is done to the unit; waited for, except that kill only sends the signal.',
        ),
        signal: choice(
          ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGKILL'],
          'Sent to all processes of the unit. Default: SIGTERM. Only with kill.',
        ).optional(),
      })
      .superRefine(({ action, signal }, context) => {
        if (signal === undefined || action === 'kill') return;
        const params = { allowed: 'signal only beside action: kill' };
        context.addIssue({ code: 'custom', path: ['signal'], message: 'given without kill', params });
      })
      .optional()
      .meta({ description: 'Acts on a systemd unit instead of running a program.' }),
    http: z
      .strictObject({
        url: httpUrl(
          'Where the event is sent as a CloudEvents JSON body.',
          'https://scheduler.internal/drain',
        ),
        method: choice(['POST', 'PUT', 'PATCH'], 'Request method.').default('POST'),
      })
      .superRefine(({ url }, context) => {
        // What is sent is no secret, but the address can be one.
        const fault = redact(url) === url ? undefined : plainHttpFault(url, 'the secret in it');
        if (fault !== undefined) context.addIssue({ code: 'custom', path: ['url'], ...fault });
      })
      .optional()
      .meta({ description: 'Sends a request instead of running a program.' }),
  })
  .superRefine((hook, context) => {
    const actions = ACTIONS.filter((action) => hook[action] !== undefined);
    if (actions.length !== 1) {
      const message =
        actions.length === 0
          ? 'has none of run, systemd and http'
          : `has ${actions.join(' and ')}, but may have only one of run, systemd and http`;
      context.addIssue({ code: 'custom', message, params: { allowed: 'exactly one of them' } });
    }
    if (hook.scope === 'peers' && hook.stage !== 'before-checkpoint') {
      const params = { allowed: 'stage only with scope: own' };
      context.addIssue({ code: 'custom', path: ['stage'], message: 'given with scope: peers', params });
    }
    if (hook.user !== undefined && hook.run === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['user'],
        message: 'given without run',
        params: { allowed: 'user only beside run' },
      });
    }
  })
  .meta({ description: 'One drain hook. Exactly one of run, systemd and http says what it does.' });
export type Hook = z.output<typeof Hook>;

/** A path relative to wherever the daemon was started would be a surprise; a bare name is not. */
function isProgram(program: string): boolean {
  return program.includes('/') ? isCleanAbsolutePath(program) : program !== '';
}
