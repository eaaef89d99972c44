import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { Status } from '../daemon/status.ts';

const PEERS_SHOWN = 4;

/** One screen that is understood at a glance, also at night. */
export function describeStatus(status: Status): string {
  const { poll, drain, store } = status;
  const lines = [
    ['phase', describePhase(status)],
    ['vm', status.vmName ?? 'not known yet'],
    ['last poll', describePoll(poll)],
    ...status.events.map((event) => ['event', describeEvent(event)]),
    ...(drain === undefined ? [] : [['drain', describeDrain(drain)]]),
    ...(drain === undefined ? status.hooks.map(describeHook) : drain.hooks.map(describeRun)).map((text) => [
      'hook',
      text,
    ]),
    ...status.peerHooks.map((hook) => ['peer hook', describePeerHook(hook)]),
    ...status.peers.map((peer) => ['peer', describePeer(peer)]),
    ...status.sets.map((set) => ['set', describeSet(set, drain)]),
    ...(store === undefined ? [] : [['store', describeStore(store)]]),
    ...(drain === undefined ? [['a notice now', describeNotice(status)]] : []),
  ];
  return lines.map(([label, text]) => `${(label ?? '').padEnd(13)}${text ?? ''}\n`).join('');
}

const PHASES: Readonly<Record<string, string>> = {
  identifying: 'waiting for the own name',
  watching: 'no event for this VM',
  'before-checkpoint': 'DRAINING: hooks before the checkpoint run',
  checkpoint: 'DRAINING: the checkpoint is uploaded',
  'after-checkpoint': 'DRAINING: hooks after the checkpoint run',
  report: 'DRAINING: the report is stored',
  ack: 'DRAINING: the event is acknowledged',
  waiting: 'drained, waiting for the eviction',
  withdrawn: 'the event is gone, what runs may finish',
  resuming: 'the VM lives on, on-resume hooks run',
};

function describePhase({ phase, dryRun }: Status): string {
  const words = PHASES[phase];
  return `${phase}${words === undefined ? '' : ` (${words})`}${dryRun ? ', dry run' : ''}`;
}

function describeEvent({ type, id, status, leftMs, ack }: Status['events'][number]): string {
  return `${type} ${id} (${status}${leftMs === undefined ? '' : `, ${left(leftMs)}`}, ack ${ack})`;
}

type Drain = NonNullable<Status['drain']>;

function describeDrain({ outcome, leftMs }: Drain): string {
  return `${outcome ?? 'under way'}${leftMs === undefined ? '' : `, ${left(leftMs)}`}`;
}

function describeHook({ name, stage, order, timeoutMs, required, on }: Status['hooks'][number]): string {
  return [
    `${name} (${stage}): order ${order}`,
    `up to ${formatDuration(timeoutMs)}`,
    ...(required ? [] : ['optional']),
    ...(on === undefined ? [] : [`only ${on.join(' and ')}`]),
  ].join(', ');
}

function describePeerHook({ name, order, timeoutMs }: Status['hooks'][number]): string {
  return `${name}: order ${order}, up to ${formatDuration(timeoutMs)}`;
}

function describePeer({ type, eventId, resources, hooks }: Status['peers'][number]): string {
  const names = resources.slice(0, PEERS_SHOWN).join(' ');
  const more = resources.length > PEERS_SHOWN ? ` and ${resources.length - PEERS_SHOWN} more` : '';
  return [`${type} ${eventId} of ${names}${more}`, ...hooks.map(describeRun)].join('; ');
}

function describeRun({ name, stage, state, attempt, durationMs, detail }: Drain['hooks'][number]): string {
  const word = state === 'running' ? 'for' : 'after';
  const time = durationMs === undefined ? '' : ` ${word} ${formatDuration(durationMs)}`;
  return [
    `${name} (${stage}): ${state}${time}`,
    ...(attempt > 1 ? [`attempt ${attempt}`] : []),
    ...(detail === undefined ? [] : [detail]),
  ].join(', ');
}

function describeStore({ ready, error }: NonNullable<Status['store']>): string {
  if (!ready) return `not ready: ${error ?? 'opening'}`;
  return error === undefined ? 'ready' : `ready, but: ${error}`;
}

/** What it would have to do; while a drain is under way nobody asks. */
function describeNotice({ hooks, sets, upload }: Status): string {
  if (sets.length > 0) return describeUpload(upload);
  return hooks.length > 0
    ? 'would only run the hooks'
    : 'WOULD SAVE NOTHING: there are neither hooks nor sets';
}

function describeUpload({ bytesLeft, bytesPerSecond, expectedMs, windowMs }: Status['upload']): string {
  if (bytesLeft === undefined || expectedMs === undefined) return 'unknown (not scanned yet)';
  const time = `about ${formatDuration(expectedMs)} of ${formatDuration(windowMs)}`;
  const reservation = bytesPerSecond === undefined ? ' (no rate measured yet)' : '';
  return `would have to move ${formatSize(bytesLeft)}, ${time}${reservation}`;
}

function describePoll({ lastGoodAgoMs, consecutiveFailures, lastError }: Status['poll']): string {
  const good =
    lastGoodAgoMs === undefined ? 'none answered yet' : `answered ${formatDuration(lastGoodAgoMs)} ago`;
  return consecutiveFailures === 0
    ? good
    : `${good}, ${consecutiveFailures} failed since: ${lastError ?? ''}`;
}

function describeSet(
  { name, files, bytes, bytesStored, committedAgoMs, checkpointId }: Status['sets'][number],
  drain: Drain | undefined,
): string {
  const run = drain?.sets.find((set) => set.name === name);
  const attempt = run !== undefined && run.attempt > 1 ? ` (attempt ${run.attempt})` : '';
  const now = run === undefined ? '' : `${run.state}${run.late ? ' late' : ''}${attempt}; `;
  const committed =
    committedAgoMs === undefined
      ? 'no checkpoint known yet'
      : `checkpoint ${checkpointId ?? ''} ${formatDuration(Math.max(0, committedAgoMs))} ago`;
  return `${name}: ${now}${committed}; ${formatCount(files, 'file')}, ${formatSize(bytes)}, of it in the store ${formatSize(bytesStored)}`;
}

function left(ms: number): string {
  return ms > 0 ? `${formatDuration(ms)} left` : 'past its time';
}
