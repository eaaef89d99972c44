import type { Status } from '../daemon/status.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import { type Command, EXIT } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';

const ANSWER_MS = 5000;

export const statusCommand: Command = {
  name: 'status',
  summary: "show the running daemon's view",
  options: [CONFIG_OPTION, JSON_OPTION],
  async run({ options, env, out, signal }) {
    const { askDaemon } = await import('../control/client.ts');
    const { config } = await loadConfigFor({ options, env });
    const answer = await askDaemon(config.control.socket, 'GET', '/v1/status', {
      timeoutMs: ANSWER_MS,
      signal,
    });
    // The daemon is of the same build; an older one only lacks lines here.
    out.write(options['json'] === true ? `${JSON.stringify(answer)}\n` : describeStatus(answer as Status));
    return EXIT.done;
  },
};

export function describeStatus(status: Status): string {
  const { poll, drain, upload, store } = status;
  const lines = [
    ['phase', status.phase + (status.dryRun ? ' (dry run)' : '')],
    ['vm', status.vmName ?? 'not known yet'],
    ['last poll', describePoll(poll)],
    ...status.events.map(({ id, type, status: state, leftMs, ack }) => [
      'event',
      `${type} ${id} (${state}${leftMs === undefined ? '' : `, ${left(leftMs)}`}, ack ${ack})`,
    ]),
    ...(drain === undefined ? [] : [['drain', describeDrain(drain)]]),
    ...(drain?.hooks ?? []).map((hook) => ['hook', describeHook(hook)]),
    ...status.sets.map((set) => ['set', describeSet(set)]),
    ...(store === undefined ? [] : [['store', describeStore(store)]]),
    ...(status.sets.length === 0 ? [] : [['a notice now', describeUpload(upload)]]),
  ];
  return lines.map(([label, text]) => `${(label ?? '').padEnd(13)}${text ?? ''}\n`).join('');
}

function describeDrain({ outcome, leftMs }: NonNullable<Status['drain']>): string {
  return `${outcome ?? 'under way'}${leftMs === undefined ? '' : `, ${left(leftMs)}`}`;
}

type DrainHook = NonNullable<Status['drain']>['hooks'][number];

function describeHook({ name, stage, state, attempt, durationMs, detail }: DrainHook): string {
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

function describeUpload({ bytesLeft }: Status['upload']): string {
  return bytesLeft === undefined
    ? 'unknown (not scanned yet)'
    : `would have to move ${formatSize(bytesLeft)}`;
}

function describePoll({ lastGoodAgoMs, consecutiveFailures, lastError }: Status['poll']): string {
  const good =
    lastGoodAgoMs === undefined ? 'none answered yet' : `answered ${formatDuration(lastGoodAgoMs)} ago`;
  return consecutiveFailures === 0
    ? good
    : `${good}, ${consecutiveFailures} failed since: ${lastError ?? ''}`;
}

function describeSet({
  name,
  files,
  bytes,
  bytesStored,
  committedAgoMs,
  checkpointId,
}: Status['sets'][number]): string {
  const committed =
    committedAgoMs === undefined
      ? 'not committed yet'
      : `checkpoint ${checkpointId ?? ''} ${formatDuration(Math.max(0, committedAgoMs))} ago`;
  return `${name}: ${committed}; ${files} files, ${formatSize(bytes)}, of it in the store ${formatSize(bytesStored)}`;
}

function left(ms: number): string {
  return ms > 0 ? `${formatDuration(ms)} left` : 'past its time';
}
