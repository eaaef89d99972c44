import type { MonotonicMs, WallMs } from '../base/clock.ts';
import type { ScheduledEvent } from './event.ts';
import type { Policy } from './policy.ts';
import type { UploadEstimate } from './ports.ts';
import type { Drain, HookRun } from './state.ts';

/** Assumed until a rate was measured: what a small VM with a cold connection reaches. */
const BYTES_PER_SECOND_ASSUMED = 50 * 1024 * 1024;
/** Looking again, listing and the manifest cost a few round trips even with nothing to send. */
const COMMIT_MS = 500;
/** However much there is to upload, the hooks keep a quarter: without them the workload would go on writing. */
const UPLOAD_SHARE_MAX = 0.75;
/** As long as nobody knows, as for some seconds after a restart, both get the same. */
const UPLOAD_SHARE_UNKNOWN = 0.5;
/** Below this a hook isn't worth starting. */
const GRANT_MS_MIN = 50;

/**
 * Milliseconds from now until the end of the window.
 * `serverNow` is the answer's Date header: NotBefore is only compared with the clock that made it,
 * so that a wrong guest clock changes nothing.
 */
export function windowMs(policy: Policy, event: ScheduledEvent, serverNow: WallMs | undefined): number {
  const { noticeMs, urgentMs, reserveMs } = policy.window;
  if (event.status === 'Started' || event.notBefore === undefined || serverNow === undefined) return urgentMs;
  const left = event.notBefore - serverNow;
  // With no more than the reserve left there would be no time for any work; as good as started.
  if (left <= reserveMs) return urgentMs;
  return event.type === 'Preempt' ? Math.min(left, noticeMs) : left;
}

/** When hooks and uploads end; the rest is for the report and the ack. */
export function workEndAt(policy: Policy, drain: Drain): MonotonicMs {
  return drain.deadlineAt - policy.window.reserveMs;
}

/** Milliseconds the upload is expected to take, from what is left and the measured rate; undefined while that isn't known. */
export function expectedUploadMs({ bytesLeft, bytesPerSecond }: UploadEstimate): number | undefined {
  if (bytesLeft === undefined) return undefined;
  return COMMIT_MS + (bytesLeft / (bytesPerSecond ?? BYTES_PER_SECOND_ASSUMED)) * 1000;
}

/** Milliseconds of the `left` that hooks leave to the upload. */
function keptForUploadMs(upload: UploadEstimate | undefined, left: number): number {
  if (upload === undefined) return 0;
  return Math.min(expectedUploadMs(upload) ?? left * UPLOAD_SHARE_UNKNOWN, left * UPLOAD_SHARE_MAX);
}

/**
 * Milliseconds for one hook that is about to start, or undefined when there is no time left.
 * What remains of the window, less the expected upload, is shared among this and all later groups: the same for each,
 * but what a short one doesn't need goes to the longer ones. So a hook that hangs can't use up the time of those after
 * it, and a short hook isn't cut because of a long one. Guests share what the whole time of all others leaves; one that
 * runs beside others has at least their time, which costs nobody anything.
 */
export function grantMs(
  policy: Policy,
  drain: Drain,
  hook: HookRun,
  moment: { at: MonotonicMs; upload: UploadEstimate | undefined },
): number | undefined {
  if (hook.stage === 'on-resume') return hook.timeoutMs;
  const left = workEndAt(policy, drain) - moment.at;
  if (left < GRANT_MS_MIN) return undefined;
  const upload =
    hook.stage === 'before-checkpoint' && drain.sets.length > 0 ? keptForUploadMs(moment.upload, left) : 0;
  const open = drain.hooks.filter(({ stage, run }) => stage !== 'on-resume' && run.kind === 'pending');
  const [guests, hosts] = [open.filter(isGuest), open.filter((one) => !isGuest(one))];
  const share = fairShareMs(left - upload, groupTimes(hosts));
  if (!isGuest(hook)) return Math.min(left, Math.max(GRANT_MS_MIN, Math.min(hook.timeoutMs, share)));
  const beside = hosts.filter(({ stage, order }) => stage === hook.stage && order === hook.order);
  const ofHosts = Math.min(share, ...groupTimes(beside));
  const hostsMs = groupTimes(hosts).reduce((sum, ms) => sum + ms, 0);
  const rest = fairShareMs(left - upload - hostsMs, groupTimes(guests));
  const grant = Math.min(left, hook.timeoutMs, Math.max(rest, beside.length > 0 ? ofHosts : 0));
  return grant < GRANT_MS_MIN ? undefined : grant;
}

function isGuest(hook: HookRun): boolean {
  return hook.isGuest === true;
}

/** The largest share such that everybody gets it, or less when it wants less, and the sum is no more than `total`. */
function fairShareMs(total: number, wanted: readonly number[]): number {
  let left = Math.max(0, total);
  const ascending = [...wanted].sort((a, b) => a - b);
  for (const [index, want] of ascending.entries()) {
    const share = left / (ascending.length - index);
    if (want >= share) return share;
    left -= want;
  }
  return Infinity;
}

/**
 * When the hooks that run have to end now that the window is shorter by `lostMs`; undefined: they fit as they are.
 * They share what is left with all later groups, as at a start, but lose no more than the window did.
 */
export function shorterHooksEndAt(
  policy: Policy,
  drain: Drain,
  moment: { at: MonotonicMs; upload: UploadEstimate | undefined },
  lostMs: number,
): MonotonicMs | undefined {
  const { at } = moment;
  const latest = Math.max(
    ...drain.hooks.map((hook) => (isRunningInWindow(hook) ? hook.run.endsAt : -Infinity)),
  );
  if (latest === -Infinity) return undefined;
  // As if they were about to start, with what is left of their time.
  const rests = drain.hooks.map((hook) =>
    isRunningInWindow(hook)
      ? { ...hook, timeoutMs: Math.max(0, hook.run.endsAt - at), run: { kind: 'pending' } as const }
      : hook,
  );
  const longest = rests.find((_, index) => endsAtOf(drain.hooks[index]) === latest);
  const grant =
    longest === undefined ? undefined : grantMs(policy, { ...drain, hooks: rests }, longest, moment);
  const endAt = Math.min(workEndAt(policy, drain), Math.max(at + (grant ?? 0), latest - lostMs));
  return endAt < latest ? endAt : undefined;
}

function endsAtOf(hook: HookRun | undefined): MonotonicMs | undefined {
  return hook !== undefined && isRunningInWindow(hook) ? hook.run.endsAt : undefined;
}

export function isRunningInWindow(hook: HookRun): hook is HookRun & { run: { kind: 'running' } } {
  return hook.run.kind === 'running' && hook.stage !== 'on-resume';
}

/** When the checkpoint stage makes room for the `after-checkpoint` hooks even if sets still fail. */
export function checkpointSoftEndAt(policy: Policy, drain: Drain, startedAt: MonotonicMs): MonotonicMs {
  const end = workEndAt(policy, drain);
  // Room is made for what the config asks for.
  const times = groupTimes(drain.hooks.filter((hook) => hook.stage === 'after-checkpoint' && !isGuest(hook)));
  const after = times.reduce((sum, ms) => sum + ms, 0);
  return end - Math.min(after, Math.max(0, end - startedAt) / 2);
}

/** Of each group (stage and order) its longest timeout. */
function groupTimes(hooks: readonly HookRun[]): number[] {
  const longest = new Map<string, number>();
  for (const hook of hooks) {
    const group = `${hook.stage}/${hook.order}`;
    longest.set(group, Math.max(longest.get(group) ?? 0, hook.timeoutMs));
  }
  return [...longest.values()];
}
