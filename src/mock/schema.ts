import * as z from 'zod';

import { EvictdError, messageOf } from '../base/errors.ts';
import { parseDuration, parseSize } from '../base/units.ts';

/** `30s` in milliseconds. */
const Duration = z.string().transform((text, context) => convert(parseDuration, text, context));
/** `-30s` too. */
const SignedDuration = z.string().transform((text, context) => {
  const ms = convert(parseDuration, text.replace(/^[-+]/, ''), context);
  return text.startsWith('-') ? -ms : ms;
});
const Size = z.string().transform((text, context) => convert(parseSize, text, context));

/** An event to announce. Keys: see manual.ts. */
export const EventSpec = strict({
  id: z.string().min(1).max(100).optional(),
  type: z.string().min(1).max(100).default('Preempt'),
  status: oneOf('Scheduled', 'Started').default('Scheduled'),
  notBefore: SignedDuration.optional(),
  resources: z.array(z.string()).max(1000).default(['self']),
  source: oneOf('Platform', 'User').default('Platform'),
  description: z.string().default(''),
  durationSeconds: z.number().int().default(-1),
  autoStart: z.boolean().default(true),
  startedFor: Duration.optional(),
  override: z.record(z.string(), z.unknown()).default({}),
  omit: z.array(z.string()).default([]),
});
export type EventSpec = z.output<typeof EventSpec>;
export type EventInput = z.input<typeof EventSpec>;

const scope = {
  on: oneOf('events', 'ack', 'instance', 'token', 'all').default('events'),
  count: z.number().int().positive().optional(),
  for: Duration.optional(),
};

/** A fault of the service. Kinds: see manual.ts. */
export const FaultSpec = z.discriminatedUnion(
  'kind',
  [
    strict({ kind: z.literal('hang'), ...scope }),
    strict({ kind: z.literal('slow'), delay: Duration, ...scope }),
    strict({ kind: z.literal('status'), status: z.number().int().min(200).max(599), ...scope }),
    strict({ kind: z.literal('redirect'), to: z.string().min(1), ...scope }),
    strict({ kind: z.literal('empty'), ...scope }),
    strict({ kind: z.literal('html'), ...scope }),
    strict({ kind: z.literal('huge'), size: Size.prefault('2MiB'), ...scope }),
    strict({ kind: z.literal('truncated'), ...scope }),
    strict({ kind: z.literal('reset'), after: oneOf('request', 'body').default('request'), ...scope }),
    strict({ kind: z.literal('broken-event'), ...scope }),
    strict({ kind: z.literal('unknown-fields'), ...scope }),
    strict({ kind: z.literal('unknown-type'), ...scope }),
    strict({ kind: z.literal('missing-fields'), ...scope }),
    strict({ kind: z.literal('iso-dates'), ...scope }),
    strict({ kind: z.literal('wrong-weekday'), ...scope }),
    strict({ kind: z.literal('skewed-date'), by: SignedDuration, ...scope }),
  ],
  {
    error:
      'allowed kinds: hang, slow, status, redirect, empty, html, huge, truncated, reset, broken-event, ' +
      'unknown-fields, unknown-type, missing-fields, iso-dates, wrong-weekday, skewed-date',
  },
);
export type FaultSpec = z.output<typeof FaultSpec>;
export type FaultInput = z.input<typeof FaultSpec>;

const Vm = strict({
  name: z.string().min(1).default('fleet_0'),
  vmId: z.string().default('7f9d7a2e-3c5e-4b62-9a10-0d5c1f8e6b01'),
  scaleSet: z.string().default('fleet'),
  location: z.string().default('westeurope'),
  zone: z.string().default('1'),
  tags: z.record(z.string(), z.string()).default({}),
  priority: z.string().default('Spot'),
  evictionPolicy: z.string().default('Delete'),
});

const Service = strict({
  apiVersions: z.array(z.string()).min(1).optional(),
  firstAnswerDelay: Duration.prefault('0s'),
  rateLimit: z.number().int().min(0).default(5),
  startAfterAck: Duration.prefault('1s'),
  startedFor: Duration.prefault('10s'),
});

const Token = strict({
  ttl: Duration.prefault('24h'),
  tenantId: z.string().default('5f2f0f1b-9d0e-4c63-8f4f-2f3f1f0a7c11'),
  clientIds: z.array(z.string()).optional(),
});

const Step = strict({
  at: Duration,
  event: EventSpec.optional(),
  withdraw: z.string().min(1).optional(),
  fault: FaultSpec.optional(),
  clock: SignedDuration.optional(),
  incarnation: z.number().int().min(0).optional(),
}).refine((step) => Object.values(step).filter((value) => value !== undefined).length === 2, {
  error: 'a step has `at` and exactly one of: event, withdraw, fault, clock, incarnation',
});

/** A whole scenario. Keys: see manual.ts. */
export const Scenario = strict({
  vm: Vm.prefault({}),
  service: Service.prefault({}),
  token: Token.prefault({}),
  timeline: z.array(Step).max(1000).default([]),
});
export type Scenario = z.output<typeof Scenario>;
export type ScenarioInput = z.input<typeof Scenario>;
export type Step = z.output<typeof Step>;

/** `{"shift": "-1h"}` as it comes in, and with the text read. */
export const ClockRequest = strict({ shift: z.string() });
export const ClockChange = strict({ shift: SignedDuration });
/** `{"value": 1}` */
export const IncarnationChange = strict({ value: z.number().int().min(0) });

function strict<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `unknown key; allowed: ${Object.keys(shape).join(', ')}`
        : undefined,
  });
}

function oneOf<const Values extends readonly [string, ...string[]]>(...values: Values) {
  return z.enum(values, { error: `allowed: ${values.join(', ')}` });
}

function convert(parse: (text: string) => number, text: string, context: z.core.$RefinementCtx): number {
  try {
    return parse(text);
  } catch (error) {
    const remedy = error instanceof EvictdError ? error.remedy : undefined;
    context.issues.push({
      code: 'custom',
      message: remedy === undefined ? messageOf(error) : `${messageOf(error)}; ${remedy}`,
      input: text,
    });
    return z.NEVER;
  }
}
