import { wrapWords } from '../base/wrap.ts';
import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { Status } from '../daemon/status.ts';
import { GREEN, RED, YELLOW, paint } from './colors.ts';

const PEERS_SHOWN = 4;

const VERDICTS: Readonly<
  Record<Status['protection']['verdict'], { readonly words: string; readonly color: number }>
> = {
  blind: { words: 'BLIND', color: RED },
  unprotected: { words: 'UNPROTECTED', color: RED },
  'at-risk': { words: 'AT RISK', color: YELLOW },
  protected: { words: 'PROTECTED', color: GREEN },
  draining: { words: 'DRAINING', color: YELLOW },
  drained: { words: 'DRAINED', color: GREEN },
  failed: { words: 'DRAIN FAILED', color: RED },
};
const LABEL_CELLS = 13;
const NO_LABEL = ' '.repeat(LABEL_CELLS);
/** Narrower than that nobody reads. */
const COLUMNS_MIN = 20;

/** One screen that is understood at a glance, also at night: first the verdict, why, and what to do. */
export function describeStatus(
  status: Status,
  {
    hasColors = false,
    columns = Infinity,
  }: { readonly hasColors?: boolean; readonly columns?: number | undefined } = {},
): string {
  const { poll, drain, store } = status;
  const { words, color } = VERDICTS[status.protection.verdict];
  const verdict = paint(words, `1;${color}`, hasColors);
  const [first = '', ...more] = reasonsOf(status);
  const lines = [
    [`${verdict}${' '.repeat(LABEL_CELLS - words.length)}`, first],
    ...more.map((text) => ['', text]),
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
  return lines
    .map(([label = '', text = '']) => {
      const [begin = '', ...rest] = wrapWords(text, Math.max(columns - LABEL_CELLS - 1, COLUMNS_MIN));
      return [`${label.padEnd(LABEL_CELLS)}${begin}\n`, ...rest.map((line) => `${NO_LABEL}  ${line}\n`)].join(
        '',
      );
    })
    .join('');
}

/** Why the verdict is what it is, with what to do on lines of their own. */
function reasonsOf({ protection, drain, events }: Status): readonly string[] {
  const { verdict, reasons } = protection;
  if (drain !== undefined && verdict === 'failed') return failureOf(drain, events);
  if (verdict === 'drained') return ['all is saved; the event was served'];
  if (verdict === 'draining') return [`for the event ${drain?.eventId ?? ''}`];
  if (reasons.length === 0) return ['a notice would be seen, and what it has to save fits'];
  return reasons.flatMap(({ text, remedy }) => (remedy === undefined ? [text] : [text, `→ ${remedy}`]));
}

/** What was not done, what is being done about it, and what a person can do. */
function failureOf(drain: Drain, events: Status['events']): readonly string[] {
  const ack = events.find(({ id }) => id === drain.eventId)?.ack;
  const acknowledged = ack === 'accepted' ? 'acknowledged all the same' : 'not acknowledged';
  const open = drain.sets.filter(({ state }) => state !== 'committed');
  const why = (detail: string | undefined) => (detail === undefined ? '' : ` (${detail})`);
  const lost = [
    ...open.map(({ name, detail }) => `the set ${name} is not committed${why(detail)}`),
    ...drain.hooks
      .filter(({ state }) => state === 'failed' || state === 'skipped')
      .map(
        ({ name, state, detail }) =>
          `the hook ${name} ${state === 'failed' ? 'failed' : 'did not run'}${why(detail)}`,
      ),
  ];
  const names = open.map(({ name }) => name).join(', ');
  const isTried = open.some(
    ({ state }) => state === 'committing' || state === 'retrying' || state === 'pending',
  );
  return [
    acknowledged,
    ...lost,
    ...(open.length === 0
      ? []
      : [
          `→ ${isTried ? 'it is tried again for as long as the VM is there' : 'it is not tried again by itself'}: ` +
            `evictd checkpoint, or copy ${names} elsewhere by hand`,
        ]),
  ];
}

const PHASES: Readonly<Record<string, string>> = {
  blind: 'the metadata service does not answer',
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

function describePhase({ phase, dryRun, drain }: Status): string {
  const isFailed = phase === 'waiting' && drain?.outcome === 'failure';
  const words = isFailed ? 'not all was done; waiting for the eviction' : PHASES[phase];
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
function describeNotice({ protection, hooks, sets, upload }: Status): string {
  const { verdict } = protection;
  if (sets.length > 0 && (verdict === 'blind' || verdict === 'unprotected')) return 'would save NOTHING';
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
  { name, scanned, files, bytes, bytesStored, committedAgoMs, checkpointId }: Status['sets'][number],
  drain: Drain | undefined,
): string {
  const run = drain?.sets.find((set) => set.name === name);
  const attempt = run !== undefined && run.attempt > 1 ? ` (attempt ${run.attempt})` : '';
  const now = run === undefined ? '' : `${run.state}${run.late ? ' late' : ''}${attempt}; `;
  const committed =
    committedAgoMs === undefined
      ? 'no checkpoint known yet'
      : `checkpoint ${checkpointId ?? ''} ${formatDuration(Math.max(0, committedAgoMs))} ago`;
  const content = scanned
    ? `${formatCount(files, 'file')}, ${formatSize(bytes)}, of it in the store ${formatSize(bytesStored)}`
    : 'not looked at yet';
  return `${name}: ${now}${committed}; ${content}`;
}

function left(ms: number): string {
  return ms > 0 ? `${formatDuration(ms)} left` : 'past its time';
}
