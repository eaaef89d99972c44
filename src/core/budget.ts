import type { MonotonicMs, WallMs } from '../base/clock.ts';
import type { ScheduledEvent } from './event.ts';
import type { Policy } from './policy.ts';
import type { UploadEstimate } from './ports.ts';
import type { Drain, HookRun } from './state.ts';

/** Assumed until a rate was measured: what a small VM with a cold connection reaches. */
const BYTES_PER_SECOND_ASSUMED = 50 * 1024 * 1024;
/** Commit, snapshot and manifest cost a few round trips even with nothing to send. */
const COMMIT_MS = 500;
/** However much there is to upload, the hooks keep a quarter: without them the workload would go on writing. */
const UPLOAD_SHARE_MAX = 0.75;
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

/** Milliseconds the upload is expected to take, from what is left and the measured rate. */
export function expectedUploadMs(upload: UploadEstimate | undefined): number {
  if (upload === undefined) return 0;
  return COMMIT_MS + (upload.bytesLeft / (upload.bytesPerSecond ?? BYTES_PER_SECOND_ASSUMED)) * 1000;
}

/**
 * Milliseconds for one hook that is about to start, or undefined when there is no time left.
 * What remains of the window, less the expected upload, is shared among this and all later groups in proportion
 * to their own timeouts, so that a hook that hangs can't use up the time of those after it.
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
    hook.stage === 'before-checkpoint' && drain.sets.length > 0
      ? Math.min(expectedUploadMs(moment.upload), left * UPLOAD_SHARE_MAX)
      : 0;
  const share = Math.min(1, (left - upload) / laterGroupsMs(drain));
  return Math.min(left, Math.max(GRANT_MS_MIN, hook.timeoutMs * share));
}

/**
 * When the hooks that run have to end now that the window is shorter; undefined: they fit as they are.
 * What is left of their time and the timeouts of all later groups are cut alike, as at a start.
 */
export function shorterHooksEndAt(
  policy: Policy,
  drain: Drain,
  moment: { at: MonotonicMs; upload: UploadEstimate | undefined },
): MonotonicMs | undefined {
  const { at } = moment;
  const ends = drain.hooks.flatMap((hook) => (isRunningInWindow(hook) ? [hook.run.endsAt] : []));
  if (ends.length === 0) return undefined;
  // As if they were about to start, with what is left of their time.
  const hooks = drain.hooks.map((hook) =>
    isRunningInWindow(hook)
      ? { ...hook, timeoutMs: Math.max(0, hook.run.endsAt - at), run: { kind: 'pending' } as const }
      : hook,
  );
  const [longest] = hooks
    .filter((_, index) => drain.hooks[index]?.run.kind === 'running')
    .sort((a, b) => b.timeoutMs - a.timeoutMs);
  const grant = longest === undefined ? undefined : grantMs(policy, { ...drain, hooks }, longest, moment);
  const endAt = at + (grant ?? 0);
  return endAt < Math.max(...ends) ? endAt : undefined;
}

export function isRunningInWindow(hook: HookRun): hook is HookRun & { run: { kind: 'running' } } {
  return hook.run.kind === 'running' && hook.stage !== 'on-resume';
}

/** When the checkpoint stage makes room for the `after-checkpoint` hooks even if sets still fail. */
export function checkpointSoftEndAt(policy: Policy, drain: Drain, startedAt: MonotonicMs): MonotonicMs {
  const end = workEndAt(policy, drain);
  const after = groupsMs(drain.hooks.filter((hook) => hook.stage === 'after-checkpoint'));
  return end - Math.min(after, Math.max(0, end - startedAt) / 2);
}

function laterGroupsMs(drain: Drain): number {
  const open = drain.hooks.filter((hook) => hook.stage !== 'on-resume' && hook.run.kind === 'pending');
  return Math.max(1, groupsMs(open));
}

/** Sum over the groups (stage and order) of each group's longest timeout. */
function groupsMs(hooks: readonly HookRun[]): number {
  const longest = new Map<string, number>();
  for (const hook of hooks) {
    const group = `${hook.stage}/${hook.order}`;
    longest.set(group, Math.max(longest.get(group) ?? 0, hook.timeoutMs));
  }
  return [...longest.values()].reduce((sum, ms) => sum + ms, 0);
}
