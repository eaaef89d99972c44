import type { WallMs } from '../base/clock.ts';
import { eventDocument } from '../core/event-document.ts';
import type { ScheduledEvent } from '../core/event.ts';
import type { HookVariable } from '../core/hook-variables.ts';
import type { HookRequest } from '../core/ports.ts';
import type { Account } from './account.ts';

/** Variables of the daemon that a hook may see. A list of what is allowed: nobody can list all secrets. */
const INHERITED = new Set(['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR']);

/** As the portal and ARM take them, in any script. */
const VM_NAME = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}._()-]*$/u;
const PEERS_MAX = 1000;

/** What a daemon started with an empty environment searches. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The whole environment of a hook.
 * `EVICTD_DEADLINE` and `EVICTD_SECONDS_LEFT` are there only when the window has an end (not for `on-resume` and peers);
 * the deadline is written on the guest's wall clock, because that is what the hook can compare it with.
 * `EVICTD_TIMEOUT_SECONDS` is when the hook is killed at the latest; SIGTERM comes up to a second before.
 */
export function hookEnvironment(
  daemon: Readonly<Record<string, string | undefined>>,
  account: Account | undefined,
  request: HookRequest,
  now: { readonly spentMs: number; readonly wallMs: WallMs },
): Record<string, string> {
  const environment: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const [name, value] of Object.entries(daemon)) {
    if (value !== undefined && (INHERITED.has(name) || name.startsWith('LC_'))) environment[name] = value;
  }
  if (account?.switching === true) {
    environment['HOME'] = account.home;
    environment['USER'] = account.name;
    environment['LOGNAME'] = account.name;
    environment['SHELL'] = account.shell;
    // The daemon's own temporary folder is usually closed to others.
    delete environment['TMPDIR'];
  }
  const own: Partial<Record<HookVariable, string>> = {};
  // A NUL can't stand in an environment; the two texts come from outside.
  own.EVICTD_EVENT_ID = withoutNul(request.event.id);
  own.EVICTD_EVENT_TYPE = withoutNul(request.event.type);
  own.EVICTD_HOOK = request.name;
  own.EVICTD_STAGE = request.stage;
  own.EVICTD_SCOPE = request.stage === 'peer-notice' ? 'peers' : 'own';
  if (request.stage === 'peer-notice') {
    // Room for a whole scale set; stdin has them all. What is no name could be words, options or patterns to a shell.
    const names = request.event.resources.filter((name) => VM_NAME.test(name));
    own.EVICTD_PEERS = names.slice(0, PEERS_MAX).join(' ');
  }
  own.EVICTD_ATTEMPT = String(request.attempt);
  own.EVICTD_DRILL = request.drill ? '1' : '0';
  own.EVICTD_TIMEOUT_SECONDS = wholeSeconds(request.timeoutMs);
  if (request.checkpoint !== undefined) own.EVICTD_CHECKPOINT = request.checkpoint;
  if (request.windowLeftMs !== undefined) {
    const leftMs = request.windowLeftMs - now.spentMs;
    own.EVICTD_DEADLINE = new Date(now.wallMs + leftMs).toISOString();
    own.EVICTD_SECONDS_LEFT = wholeSeconds(leftMs);
  }
  return { ...environment, ...own };
}

/** One line of JSON. */
export function eventJson(event: ScheduledEvent): string {
  return `${JSON.stringify(eventDocument(event))}\n`;
}

export function withoutNul(text: string): string {
  return text.replaceAll('\0', '');
}

function wholeSeconds(ms: number): string {
  return String(Math.max(0, Math.floor(ms / 1000)));
}
