import { readFile } from 'node:fs/promises';

import { isErrno } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { Config } from '../config/schema.ts';
import { concerns } from '../core/event.ts';
import { createInstanceClient } from '../imds/instance.ts';
import { createScheduledEventsClient } from '../imds/scheduled-events.ts';
import type { Patient } from './doctor-facts.ts';
import { type Found, fail, ok, warn } from './doctor-finding.ts';
import { configuredVmName } from './policy.ts';

/** The metadata service, and what it says of this VM. */
export async function checkInstance(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { config } = patient.loaded;
  const { endpoint, requestTimeout } = config.imds;
  const client = createInstanceClient({ endpoint, timeoutMs: requestTimeout }, patient);
  try {
    const instance = await client.get(signal);
    patient.instance = instance;
    const { name, scaleSet, location } = instance;
    const place = [scaleSet === '' ? undefined : `of the scale set ${scaleSet}`, location || undefined];
    const found = ok([`${endpoint} answers: this VM is ${name}`, ...place.filter(Boolean)].join(', '));
    const configured = configuredVmName(config);
    const shared = isSharedKey(config, scaleSet)
      ? [
          warn(
            `checkpoint.key is ${config.checkpoint?.key ?? ''} on each VM of the scale set ${scaleSet}: two of them at once are a conflict`,
            'put {vmName} or a tag of the VM into checkpoint.key, or keep the scale set at one VM',
          ),
        ]
      : [];
    if (configured === undefined || configured.toLowerCase() === name.toLowerCase())
      return [found, ...shared];
    return [
      found,
      ...shared,
      fail(
        `vm.name is ${configured}, but events name this VM ${name}: none of its events would be noticed`,
        'leave out vm.name',
      ),
    ];
  } finally {
    await client.close();
  }
}

/** Nothing in the key tells one VM of the scale set from another. */
export function isSharedKey({ checkpoint }: Pick<Config, 'checkpoint'>, scaleSet: string): boolean {
  if (checkpoint === undefined || scaleSet === '') return false;
  return !/\{(?:vmName|vmId|tag:)/.test(checkpoint.key);
}

/** Only Spot VMs are told of an eviction. */
export async function checkSpot({ instance }: Patient): Promise<Found[]> {
  if (instance === undefined)
    return [warn('not known whether this is a Spot VM: the metadata service does not say')];
  const { priority, evictionPolicy } = instance;
  const isSpot = ['spot', 'low'].includes(priority.toLowerCase());
  if (isSpot) return [ok(`a ${priority} VM, eviction policy ${evictionPolicy || 'unknown'}`)];
  return [
    warn(
      `not a Spot VM (priority ${priority || 'Regular'}): it gets no Preempt events, others it does`,
      'create the VM with --priority Spot if it should be one',
    ),
  ];
}

/** The first answer after boot takes up to two minutes: the question turns the service on. */
const FIRST_ANSWER_MS = 130_000;
const SLOW_MS = 4000;
/** Shared keys and signatures are refused with a clock that is off by more. */
const SKEW_REFUSED_MS = 15 * 60_000;
const SKEW_WARN_MS = 30_000;

/** Scheduled Events, and by its answer the clock. */
export async function checkEvents(patient: Patient, signal: AbortSignal): Promise<Found[]> {
  const { config } = patient.loaded;
  const { clock } = patient;
  const client = createScheduledEventsClient(config.imds, { clock });
  const text = 'waiting for the first answer of Scheduled Events, which can take two minutes after boot';
  using _slow = clock.timer(SLOW_MS, () => patient.onProgress(text));
  try {
    const { document, apiVersion, latencyMs } = await client.get(FIRST_ANSWER_MS, signal);
    const name = configuredVmName(config) ?? patient.instance?.name;
    const own = document.events.filter((event) => name !== undefined && concerns(event, name));
    const answered = `enabled, api-version ${apiVersion}, answered in ${formatDuration(latencyMs)}`;
    const announced =
      own.length === 0
        ? ok(`${answered}, no event for this VM`)
        : warn(
            `${answered}; announced for this VM: ${own.map(({ type, id }) => `${type} ${id}`).join(', ')}`,
          );
    return [announced, clockSkew(document.serverNow, clock.wallMs())];
  } finally {
    await client.close();
  }
}

function clockSkew(serverNow: number | undefined, wallMs: number): Found {
  if (serverNow === undefined) return warn('the clock could not be compared: the answer has no date');
  const skewMs = wallMs - serverNow;
  const off = `the clock of this VM is ${formatDuration(Math.abs(skewMs))} ${skewMs < 0 ? 'behind' : 'ahead'}`;
  const remedy = 'synchronise it (chronyd or systemd-timesyncd)';
  if (Math.abs(skewMs) > SKEW_REFUSED_MS)
    return fail(`${off}: the store refuses signatures with such a time`, remedy);
  // Whole seconds, and the time of the answer.
  if (Math.abs(skewMs) > SKEW_WARN_MS)
    return warn(`${off}; deadlines are right all the same, times in reports are not`, remedy);
  return ok('the clock agrees with the metadata service');
}

const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', 'https_proxy', 'HTTPS_PROXY'];
const IMDS_ADDRESS = '169.254.169.254';

/** evictd uses no proxy. Hooks and other programs that ask the metadata service would, where variables say so. */
export async function checkProxy({ env }: Patient): Promise<Found[]> {
  const machine = await environmentFile('/etc/environment');
  const places = [
    { where: 'the environment', variables: env },
    { where: '/etc/environment', variables: machine },
  ];
  const captured = places.flatMap(({ where, variables }) => {
    const exempt = `${variables['no_proxy'] ?? ''},${variables['NO_PROXY'] ?? ''}`.split(/[,\s]+/);
    if (exempt.includes(IMDS_ADDRESS) || exempt.includes('*')) return [];
    return PROXY_VARIABLES.filter((name) => (variables[name] ?? '') !== '').map(
      (name) => `${name} in ${where}`,
    );
  });
  if (captured.length === 0) return [ok('no proxy variable would capture the metadata service')];
  return [
    warn(
      `${captured.join(', ')}: evictd uses no proxy, but other programs would ask it for the metadata service`,
      `add ${IMDS_ADDRESS} to no_proxy and NO_PROXY`,
    ),
  ];
}

async function environmentFile(file: string): Promise<Record<string, string>> {
  try {
    const lines = (await readFile(file, 'utf8')).split('\n');
    const pairs = lines.map((line) => /^\s*(?:export\s+)?(\w+)="?([^"]*)"?\s*$/.exec(line));
    return Object.fromEntries(
      pairs.flatMap((pair) => (pair === null ? [] : [[pair[1] ?? '', pair[2] ?? '']])),
    );
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES')) return {};
    throw error;
  }
}
