import type { Answer } from './http-listener.ts';

/**
 * For load balancers: 200, and 503 from the first moment of a drain until everything is undone after a withdrawal; also
 * while no notice would be seen, where `failWhenBlind` says so.
 */
export function healthPage(
  drain: { readonly phase: string } | undefined,
  { isBlind, failWhenBlind }: { readonly isBlind: boolean; readonly failWhenBlind: boolean },
): Answer {
  const status = drain !== undefined ? 'draining' : isBlind ? 'blind' : 'ok';
  const isFailure = drain !== undefined || (isBlind && failWhenBlind);
  const body = drain === undefined ? { status } : { status, phase: drain.phase };
  return {
    status: isFailure ? 503 : 200,
    contentType: 'application/json',
    body: `${JSON.stringify(body)}\n`,
  };
}
